"""Each request of the service is seen here, however it ends: counted, timed, traced, and logged if it failed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rescorer_sidecar import errors
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.domain import EmbedAnswer, EmbedRequest, ScoreAnswer, ScoreRequest
from rescorer_sidecar.logs import Ration
from rescorer_sidecar.metrics import STAGES, Ended, Metrics
from rescorer_sidecar.tracing import RequestSpan, Tracing

logger = logging.getLogger(__name__)

OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (errors.InvalidRequest, "invalid"),
    (errors.UnknownModel, "unknown_model"),
    (errors.Overloaded, "overloaded"),
    (errors.NotReady, "not_ready"),
    (errors.DeadlineExceeded, "deadline_exceeded"),
    (asyncio.CancelledError, "cancelled"),
    (BaseException, "failed"),
)
"""What an error is called; the first that fits."""


@dataclass(slots=True)
class Seen:
    """A request on its way; ``answer`` is set by whoever has it."""

    answer: ScoreAnswer | EmbedAnswer | None = None


LEVELS = {"failed": logging.ERROR, "overloaded": logging.WARNING, "not_ready": logging.WARNING}
"""How loudly the log tells of an outcome; of others it tells as information, and of cancelled ones nothing."""


class Observer:
    """Sees requests; ``label`` gives the name of a served model for what a request calls it."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        label: Callable[[ScoreRequest | EmbedRequest], str],
        tracing: Tracing | None = None,
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._label = label
        self._tracing = tracing
        self._ration = Ration()

    @contextlib.contextmanager
    def sees(self, request: ScoreRequest | EmbedRequest) -> Iterator[Seen]:
        """A request from here to the end of the block."""
        begun_s = self._clock.now_s()
        seen = Seen()
        with self._span(request) as span:
            try:
                yield seen
            except BaseException as error:
                ended = self._ended(request, outcome_of(error), begun_s, None)
                self._tell(ended)
                if span is not None:
                    span.ended(ended.outcome, {"rescorer.model": ended.model}, is_failure=True)
                raise
            outcome = "partial" if _is_partial(seen.answer) else "complete"
            ended = self._ended(request, outcome, begun_s, seen.answer)
            if span is not None and seen.answer is not None:
                span.ended(outcome, _about(seen.answer), is_failure=False)
                span.stages({stage: ms(seen.answer.timings) for stage, ms in STAGES.items()})

    def _span(self, request: ScoreRequest | EmbedRequest) -> contextlib.AbstractContextManager[RequestSpan | None]:
        if self._tracing is None:
            return contextlib.nullcontext()
        method, count = _method(request)
        return self._tracing.request(method, {"rescorer.candidates": count, "rescorer.caller": request.caller})

    def _ended(
        self,
        request: ScoreRequest | EmbedRequest,
        outcome: str,
        begun_s: float,
        answer: ScoreAnswer | EmbedAnswer | None,
    ) -> Ended:
        method, count = _method(request)
        ended = Ended(
            method=method,
            model=self._label(request) if answer is None else answer.model.name,
            outcome=outcome,
            caller=request.caller,
            candidates=count,
            seconds=self._clock.now_s() - begun_s,
        )
        self._metrics.ended(ended)
        if answer is not None:
            self._metrics.answered(answer.timings, _truncated(answer))
        return ended

    def _tell(self, ended: Ended) -> None:
        if ended.outcome == "cancelled" or (left_out := self._ration.take(self._clock.now_s())) is None:
            return
        fields = {
            "outcome": ended.outcome,
            "method": ended.method,
            "model": ended.model,
            "caller": ended.caller,
            "candidates": ended.candidates,
            "ms": round(1000 * ended.seconds, 1),
            **({"left_out": left_out} if left_out else {}),
        }
        logger.log(LEVELS.get(ended.outcome, logging.INFO), "a request was not answered", extra={"fields": fields})


def outcome_of(error: BaseException) -> str:
    """One of :data:`rescorer_sidecar.metrics.OUTCOMES`."""
    return next(outcome for kind, outcome in OUTCOMES if isinstance(error, kind))


def _method(request: ScoreRequest | EmbedRequest) -> tuple[Literal["score", "embed"], int]:
    if isinstance(request, ScoreRequest):
        return "score", len(request.candidates)
    return "embed", len(request.texts)


def _is_partial(answer: ScoreAnswer | EmbedAnswer | None) -> bool:
    return isinstance(answer, ScoreAnswer) and not answer.is_complete


def _truncated(answer: ScoreAnswer | EmbedAnswer) -> int:
    if isinstance(answer, ScoreAnswer):
        return sum(entry.pair.truncated for entry in answer.results)
    return sum(entry.truncated for entry in answer.embeddings)


def _about(answer: ScoreAnswer | EmbedAnswer) -> dict[str, Any]:
    about = {"rescorer.model": answer.model.name, "rescorer.truncated": _truncated(answer)}
    if isinstance(answer, ScoreAnswer):
        about["rescorer.scored"] = len(answer.results)
        about["rescorer.cached"] = sum(entry.cached for entry in answer.results)
    return about
