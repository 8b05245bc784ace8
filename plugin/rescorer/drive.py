"""Two drivers that run a flow: the flow says what it wants, the driver does it, and hands back result or error.

Both engines' clients use both; a new engine brings only its ``search`` and ``read_mapping``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from rescorer.domain import Call, Effect, Flow, ReadMapping, Score, Search
from rescorer.errors import ScorerUnavailable
from rescorer.scorers import AsyncScorer, Scorer

T = TypeVar("T")
NO_SCORER = "this client has no sidecar; name one when it is made, such as rescorer='localhost:50051'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What a flow's effects lead to: all of them blocking, for :func:`run`, or all awaitable, for :func:`run_async`."""

    search: Callable[[Call], Any]
    read_mapping: Callable[[Mapping[str, Any]], Any]
    scorer: Scorer | AsyncScorer | None

    def perform(self, effect: Effect) -> Any:
        """Do what the effect says, or begin it and return an awaitable; what the door raises goes on to the flow."""
        if isinstance(effect, Search):
            return self.search(effect.call)
        if isinstance(effect, ReadMapping):
            return self.read_mapping(effect.options)
        if self.scorer is None:
            raise ScorerUnavailable(NO_SCORER)
        if isinstance(effect, Score):
            return self.scorer.score(effect.request, effect.timeout_s)
        return self.scorer.embed(effect.request, effect.timeout_s)


def run(flow: Flow[T], doors: Doors) -> T:
    """Run a flow to its end in this thread and return what it returns."""
    step: Callable[[], Effect] = partial(next, flow)
    while True:
        try:
            effect = step()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any
        try:
            step = partial(flow.send, doors.perform(effect))
        except Exception as error:  # noqa: BLE001 - the flow decides what an error means
            step = partial(flow.throw, error)


async def run_async(flow: Flow[T], doors: Doors) -> T:
    """Run a flow to its end in this event loop; a search that is cancelled ends its flow."""
    step: Callable[[], Effect] = partial(next, flow)
    while True:
        try:
            effect = step()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any
        try:
            step = partial(flow.send, await doors.perform(effect))
        except Exception as error:  # noqa: BLE001 - the flow decides what an error means
            step = partial(flow.throw, error)
