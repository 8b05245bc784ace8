"""Two drivers that run a flow: the flow says what it wants, the driver does it, and hands back result or error.

Both engines' clients use both; a new engine brings only its doors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from rescorer.afterwards import Afterwards, AsyncAfterwards
from rescorer.domain import (
    Effect,
    Embed,
    Flow,
    OpenPointInTime,
    ReadMapping,
    Render,
    Score,
    ScoreLater,
    ScoreMany,
    Search,
    SearchMany,
    SearchManyTemplates,
    SearchTemplate,
)
from rescorer.errors import ScorerUnavailable
from rescorer.scorers import AsyncScorer, Scorer

T = TypeVar("T")
NO_SCORER = "this client has no sidecar; name one when it is made, such as rescorer='localhost:50051'"

EngineEffect = Search | SearchMany | SearchTemplate | SearchManyTemplates | Render | OpenPointInTime | ReadMapping


def as_it_is(answer: Any) -> Any:
    """The answer itself."""
    return answer


@dataclass(frozen=True, slots=True)
class Doors:
    """What a flow's effects lead to: blocking ones, for :func:`run`, or awaitable ones, for :func:`run_async`.

    engine: does what an effect says and answers, or raises the engine's own error. received: the answer as JSON.
    afterwards: scores what nobody waits for.
    """

    engine: Callable[[EngineEffect], Any]
    scorer: Scorer | AsyncScorer | None
    received: Callable[[Any], Any] = as_it_is
    afterwards: Afterwards | AsyncAfterwards = field(default_factory=Afterwards)

    def perform(self, effect: Effect) -> Any:
        """Do what the effect says, or begin it and return an awaitable; what the door raises goes on to the flow."""
        if not isinstance(effect, Score | ScoreMany | ScoreLater | Embed):
            return self.engine(effect)
        if self.scorer is None:
            raise ScorerUnavailable(NO_SCORER)
        if isinstance(effect, Score):
            return self.scorer.score(effect.request, effect.timeout_s)
        if isinstance(effect, ScoreLater):
            return self.afterwards.begin(self.scorer, effect)  # type: ignore[arg-type]  # both are of one kind
        if isinstance(effect, ScoreMany):
            return self.scorer.score_many(effect.requests, effect.timeout_s)
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
            step = partial(flow.send, doors.received(doors.perform(effect)))
        except Exception as error:  # noqa: BLE001 - the flow decides what an error means
            step = partial(flow.throw, error)
        except BaseException:  # cancelled, or interrupted: the flow ends here and now, not when it is collected
            flow.close()
            raise


async def run_async(flow: Flow[T], doors: Doors) -> T:
    """Run a flow to its end in this event loop; a search that is cancelled ends its flow."""
    step: Callable[[], Effect] = partial(next, flow)
    while True:
        try:
            effect = step()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any
        try:
            step = partial(flow.send, doors.received(await doors.perform(effect)))
        except Exception as error:  # noqa: BLE001 - the flow decides what an error means
            step = partial(flow.throw, error)
        except BaseException:  # cancelled, or interrupted: the flow ends here and now, not when it is collected
            flow.close()
            raise
