"""Each request of the service is seen here, however it ends: counted and timed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from rescorer_sidecar import errors
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.domain import EmbedAnswer, EmbedRequest, ScoreAnswer, ScoreRequest
from rescorer_sidecar.metrics import Ended, Metrics

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


class Observer:
    """Sees requests; ``label`` gives the name of a served model for what a request calls it."""

    def __init__(self, metrics: Metrics, clock: Clock, label: Callable[[ScoreRequest | EmbedRequest], str]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._label = label

    @contextlib.contextmanager
    def sees(self, request: ScoreRequest | EmbedRequest) -> Iterator[Seen]:
        """A request from here to the end of the block."""
        begun_s = self._clock.now_s()
        seen = Seen()
        try:
            yield seen
        except BaseException as error:
            self._ended(request, outcome_of(error), begun_s)
            raise
        self._ended(request, "partial" if _is_partial(seen.answer) else "complete", begun_s, seen.answer)

    def _ended(
        self,
        request: ScoreRequest | EmbedRequest,
        outcome: str,
        begun_s: float,
        answer: ScoreAnswer | EmbedAnswer | None = None,
    ) -> None:
        method, count = _method(request)
        self._metrics.ended(
            Ended(
                method=method,
                model=self._label(request) if answer is None else answer.model.name,
                outcome=outcome,
                caller=request.caller,
                candidates=count,
                seconds=self._clock.now_s() - begun_s,
            )
        )
        if answer is not None:
            self._metrics.answered(answer.timings, _truncated(answer))


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
