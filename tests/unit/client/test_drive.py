"""The two drivers do the same, and errors go where the story can see them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rescorer.domain import Call, Embed, EmbedRequest, Flow, ReadMapping, Score, ScoreRequest, Search
from rescorer.drive import Doors, run, run_async
from rescorer.errors import ScorerUnavailable
from rescorer.testing import AsyncFakeScorer, FakeScorer

Drive = Callable[..., Any]
SCORE = Score(ScoreRequest(query="q", candidates=[]), 1.0)
EMBED = Embed(EmbedRequest(texts=["t"], kind="query"), 2.0)


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Drive:
    """Runs a flow with one of the two drivers, over a search that answers or fails."""

    def driven(flow: Flow[Any], search: Callable[[Call], Any], scorer: FakeScorer | None = None) -> Any:
        def engine(effect: Any) -> Any:
            return dict(effect.options) if isinstance(effect, ReadMapping) else search(effect.call)

        async def engine_later(effect: Any) -> Any:
            return engine(effect)

        if request.param == "sync":
            return run(flow, Doors(engine, scorer))
        inner = None if scorer is None else AsyncFakeScorer(scorer)
        return asyncio.run(run_async(flow, Doors(engine_later, inner)))

    return driven


def test_each_effect_reaches_its_door(drive: Drive) -> None:
    """Results come back to the flow in the order of its wishes, with the time limits that it gave."""
    scorer = FakeScorer()

    def story() -> Flow[Any]:
        found = yield Search(Call({"a": 1}, {}))
        mapping = yield ReadMapping({"index": "i"})
        scores = yield SCORE
        vectors = yield EMBED
        return found, mapping, scores.model, len(vectors)

    assert drive(story(), lambda call: call.body, scorer) == ({"a": 1}, {"index": "i"}, "fake", 1)
    assert scorer.timeouts_s == [1.0, 2.0]


def test_an_error_can_be_caught_by_the_flow(drive: Drive) -> None:
    """What a door raises is raised inside the story, at the wish that caused it."""

    def story() -> Flow[str]:
        try:
            yield Search(Call(None, {}))
        except KeyError as error:
            return f"caught {error}"
        return "missed"

    def search(call: Call) -> Any:
        raise KeyError("gone")

    assert drive(story(), search) == "caught 'gone'"


def test_an_error_that_nobody_catches_reaches_the_caller(drive: Drive) -> None:
    """The engine's own error passes through both drivers as the same object."""
    error = LookupError("engine")

    def story() -> Flow[None]:
        yield Search(Call(None, {}))

    def search(call: Call) -> Any:
        raise error

    with pytest.raises(LookupError) as caught:
        drive(story(), search)
    assert caught.value is error


@pytest.mark.parametrize("effect", [SCORE, EMBED])
def test_without_a_scorer_the_flow_is_told(drive: Drive, effect: Any) -> None:
    """A client without sidecar fails in the story, where the fallback is decided."""

    def story() -> Flow[str]:
        try:
            yield effect
        except ScorerUnavailable:
            return "told"
        return "not told"

    assert drive(story(), lambda call: None) == "told"
