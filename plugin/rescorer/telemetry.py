"""What happened, counted, logged and told to whom the application names: no text of a query or document anywhere.

## Decisions
2026-11: a search is traced by a flow around its flow. A flow stands still exactly while what it asked for is done, so
that its steps are timed without a word about it in the drivers, for threads and asyncio alike, and at no cost where
nobody listens.
2026-11: what an application's telemetry raises is logged and breaks no search.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from rescorer.domain import Audit, Effect, Flow, Outcome
from rescorer.scorers.carried import CARRIED, Headers

_log = logging.getLogger(__name__)
T = TypeVar("T")
Block = contextlib.AbstractContextManager[Any]


class Telemetry:
    """Is told of searches, in their own thread or task; override what you want to know. It must not wait for anything.

    :class:`rescorer.otel.OpenTelemetry` and :class:`rescorer.prometheus.Prometheus` are two.
    """

    def note(self, outcome: Outcome) -> None:
        """One answer has this outcome."""

    def audited(self, audit: Audit) -> None:
        """A search that a gate left alone was scored afterwards: in a thread or task of its own."""

    def searching(self, name: str) -> Block:  # noqa: ARG002  # for those who override it
        """Around one search; ``name`` is the client's method."""
        return contextlib.nullcontext()

    def asking(self, effect: Effect) -> Block:  # noqa: ARG002  # for those who override it
        """Around one step of a search, such as the engine's answer or the sidecar's.

        What the block yields, pairs of key and value, goes to the sidecar as metadata.
        """
        return contextlib.nullcontext(())


class Tally:
    """Counts outcomes by status and reason, tells them, and logs each new reason for a fallback once.

    The first fallback of a reason is a WARNING, its repetitions are INFO; after an answer that was rescored,
    the next fallback is news again.
    """

    def __init__(self, listeners: Sequence[Telemetry] = ()) -> None:
        self._lock = threading.Lock()  # one short update; nothing else is called while it is held
        self._counts: Counter[tuple[str, str]] = Counter()
        self._known: set[str] = set()
        self._listeners = listeners

    def note(self, outcome: Outcome) -> None:
        """Count one answer, tell it, and log it if it is a fallback."""
        reason = "" if outcome.reason is None else str(outcome.reason)
        with self._lock:
            self._counts[outcome.status, reason] += 1
            is_news = outcome.status == "fallback" and reason not in self._known
            if outcome.status == "fallback":
                self._known.add(reason)
            elif outcome.status == "reranked":
                self._known.clear()
        if outcome.status == "fallback":
            level = logging.WARNING if is_news else logging.INFO
            _log.log(level, "answered in first-stage order (%s): %s", reason, outcome.detail)
        for listener in self._listeners:
            _guarded(partial(listener.note, outcome))

    def audited(self, audit: Audit) -> None:
        """Tell what a search that a gate left alone would have gained, and log it."""
        if audit.failed is None:
            _log.info(
                "audit of %s: overlap %.3f, ndcg %.3f at %d", audit.reason, audit.overlap, audit.ndcg, audit.depth
            )
        else:
            _log.info("audit of %s failed: %s", audit.reason, audit.failed)
        for listener in self._listeners:
            _guarded(partial(listener.audited, audit))

    def counts(self) -> dict[str, int]:
        """How many answers there were, by ``status`` or ``status:reason``."""
        with self._lock:
            return {":".join(filter(None, key)): count for key, count in sorted(self._counts.items())}


def told(flow: Flow[T], name: str, listeners: Sequence[Telemetry]) -> Flow[T]:
    """The flow, each of its steps told to the listeners, and all of it as one search."""
    with _All([partial(listener.searching, name) for listener in listeners]):
        step: Callable[[], Effect] = partial(next, flow)
        while True:
            try:
                effect = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any
            try:
                with _All([partial(listener.asking, effect) for listener in listeners]):
                    result = yield effect
                step = partial(flow.send, result)
            except Exception as error:  # noqa: BLE001  # the flow decides what an error means
                step = partial(flow.throw, error)


class _All:
    """Several blocks as one; their metadata are carried to the sidecar meanwhile, and none of them breaks anything.

    A flow that is given up may be closed anywhere, in another thread too: what is carried here is left alone then.
    """

    def __init__(self, blocks: Sequence[Callable[[], Block]]) -> None:
        self._blocks = blocks
        self._entered: list[Block] = []
        self._before: Headers = ()

    def __enter__(self) -> None:
        self._before = CARRIED.get()
        carried = self._before
        for make in self._blocks:
            block = _guarded(make)
            if block is None:
                continue
            headers = _guarded(block.__enter__)
            self._entered.append(block)
            carried += tuple(headers) if isinstance(headers, tuple | list) else ()
        CARRIED.set(carried)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        if kind is not GeneratorExit:
            CARRIED.set(self._before)
        for block in reversed(self._entered):
            _guarded(partial(block.__exit__, kind, error, frames))


def _guarded(tell: Callable[[], Any]) -> Any:
    try:
        return tell()
    except Exception as error:  # noqa: BLE001  # it is the application's own, and the search goes on without it
        _log.warning("telemetry failed, and the search goes on: %s", type(error).__name__)
        return None
