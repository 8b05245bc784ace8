"""Time in a flow: a clock that is told the time, and what each step may still use."""

from __future__ import annotations

from typing import Any

import pytest

from rescorer import flow
from rescorer.budget import NoTimeLeft, Watch
from rescorer.context import Context
from rescorer.domain import Call, Effect, Embed, Flow, ReadMapping, Score, Scored, ScoreRequest, Scores, Search
from rescorer.errors import Reason, ScorerTimeout
from rescorer.hybrid import Wanted
from rescorer.pages import Page
from rescorer.profiles import ProfileCache
from rescorer.testing import FakeClock
from unit.client import contexts
from unit.client.fake_engine import PROFILE, hit

ASKED = {"match": {"body": "cancel a flight"}}
SAID = {"document_fields": ["title"], "window_size": 5}
ANSWER = {"hits": {"total": {"value": 12}, "max_score": 30.0, "hits": [hit(place) for place in range(10)]}}


class Script:
    """Runs a flow: each effect takes a given time of the clock, and is remembered with its own limit."""

    def __init__(self, clock: FakeClock, *, search_s: float = 0.0, score_s: float = 0.0, embed_s: float = 0.0) -> None:
        self.clock = clock
        self.takes_s = {Search: search_s, Score: score_s, Embed: embed_s, ReadMapping: 0.0}
        self.seen: list[Effect] = []
        self.mapping: Any = {}

    def limits_s(self) -> list[float]:
        """What the sidecar was given, in order."""
        return [effect.timeout_s for effect in self.seen if isinstance(effect, Score | Embed)]

    def run(self, running: Flow[Any]) -> Any:
        """The flow's result."""
        effect = next(running)
        while True:
            self.seen.append(effect)
            self.clock.advance(self.takes_s[type(effect)])
            try:
                if isinstance(effect, ReadMapping) and isinstance(self.mapping, Exception):
                    effect = running.throw(self.mapping)
                else:
                    effect = running.send(self._result(effect))
            except StopIteration as end:
                return end.value

    def _result(self, effect: Effect) -> Any:
        if isinstance(effect, Score):
            return _scores(effect.request)
        if isinstance(effect, Embed):
            return [[1.0, 0.0]]
        return ANSWER if isinstance(effect, Search) else self.mapping


def _scores(request: ScoreRequest) -> Scores:
    results = [
        Scored(id=candidate.id, index=place, logit=float(place), score=float(place))
        for place, candidate in enumerate(request.candidates)
    ]
    return Scores(results=results, model="m", timings={"forward_ms": 2.5})


@pytest.fixture
def clock() -> FakeClock:
    """Begins at a time that is not 0, as real clocks do."""
    return FakeClock(1000.0)


@pytest.fixture
def context(clock: FakeClock) -> Context:
    """A client with a sidecar, whose own timeout is 10 s."""
    return contexts.context(clock)


def _search(context: Context, script: Script, said: Any = None, **options: Any) -> Any:
    body = {"query": ASKED, "rescore": {"cross_encoder": {**SAID, **(said or {})}}}
    return script.run(flow.search(Call(body, options), context))


@pytest.mark.parametrize(
    ("said", "options", "search_s", "limit_s"),
    [
        ({"budget_ms": 120}, {}, 3.0, 0.12),
        ({"budget_ms": 9000}, {}, 3.0, 7.0),
        ({"budget_ms": 9000}, {"request_timeout": 4}, 3.0, 1.0),
        ({"budget_ms": 9000}, {"params": {"request_timeout": 3.5}}, 3.0, 0.5),
        ({"budget_ms": 500}, {"request_timeout": 60}, 3.0, 0.5),
        ({}, {}, 0.0, 10.0),
    ],
)
def test_the_sidecar_gets_what_is_left_of_the_search(
    context: Context, clock: FakeClock, said: Any, options: Any, search_s: float, limit_s: float
) -> None:
    """F8, F9: the budget, or less where the engine used up more of the request's own timeout."""
    script = Script(clock, search_s=search_s)
    _search(context, script, said, **options)
    assert script.limits_s() == [pytest.approx(limit_s)]


def test_a_search_that_used_up_its_time_asks_nobody(context: Context, clock: FakeClock) -> None:
    """F5: no time left gives the first stage at once, and says why; or the typed error."""
    script = Script(clock, search_s=5.0)
    answer = _search(context, script, request_timeout=5)
    assert script.limits_s() == []
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "no_time_left")
    with pytest.raises(ScorerTimeout, match="request_timeout"):
        _search(context, Script(clock, search_s=5.0), {"on_failure": "error"}, request_timeout=5)


def test_embedding_and_scoring_share_one_budget(context: Context, clock: FakeClock) -> None:
    """What the query vector took is not there for the scores, and the engine's time is not counted."""
    script = Script(clock, embed_s=0.2, search_s=1.0, score_s=0.1)
    meta = {**PROFILE, "budget_ms": 500, "hybrid": {"text_fields": ["title"], "vector_field": "v"}}
    script.mapping = {"articles": {"mappings": {"_meta": {"rescorer": meta}}}}
    hybrid = Wanted(text="cancel", page=Page(0, 10), options={"index": "articles"})
    answer = script.run(flow.hybrid_search(hybrid, context))
    assert script.limits_s() == [pytest.approx(0.5), pytest.approx(0.3)]
    timings = answer["rescore"]["timings"]
    assert timings["embedding_ms"] == pytest.approx(200)
    assert timings["first_stage_ms"] == pytest.approx(1000)
    assert timings["scoring_ms"] == pytest.approx(100)
    assert timings["total_ms"] == pytest.approx(1300)
    assert timings["sidecar_forward_ms"] == 2.5
    assert answer["rescore"]["took"] == 300


def test_a_profile_is_kept_for_its_time_and_read_again_after(context: Context, clock: FakeClock) -> None:
    """Within the time to live no second request is made; after it, one."""
    script = Script(clock)
    script.mapping = {"articles": {"mappings": {"_meta": {"rescorer": PROFILE}}}}
    for wait_s, reads in [(0.0, 1), (59.0, 1), (1.5, 2)]:
        clock.advance(wait_s)
        answer = script.run(flow.search(Call({"query": ASKED}, {"index": "articles"}), context))
        assert answer["rescore"]["status"] == "reranked"
        assert sum(isinstance(effect, ReadMapping) for effect in script.seen) == reads


def test_a_known_profile_outlives_a_failing_refresh(context: Context, clock: FakeClock) -> None:
    """An engine that hands out no mapping for a while does not switch rescoring off; it is asked again soon."""
    script = Script(clock)
    script.mapping = {"articles": {"mappings": {"_meta": {"rescorer": PROFILE}}}}
    script.run(flow.search(Call({"query": ASKED}, {"index": "articles"}), context))
    known, script.mapping = script.mapping, contexts.EngineFailedError("403")
    clock.advance(61.0)
    for _ in range(2):
        answer = script.run(flow.search(Call({"query": ASKED}, {"index": "articles"}), context))
        assert answer["rescore"]["status"] == "reranked"
    assert sum(isinstance(effect, ReadMapping) for effect in script.seen) == 2
    script.mapping = known
    clock.advance(7.0)
    script.run(flow.search(Call({"query": ASKED}, {"index": "articles"}), context))
    assert sum(isinstance(effect, ReadMapping) for effect in script.seen) == 3


def test_the_profile_cache_is_bounded(context: Context, clock: FakeClock) -> None:
    """Many index expressions do not grow a client without end: the oldest goes first."""
    script = Script(clock)
    small = ProfileCache(60.0, most=2)
    held = contexts.context(clock, small)
    for name in ("a", "b", "c", "c", "a"):
        script.run(flow.search(Call({"query": ASKED}, {"index": name}), held))
    reads = [effect.options["index"] for effect in script.seen if isinstance(effect, ReadMapping)]
    assert reads == ["a", "b", "c", "a"]


def test_the_watch_books_each_part_once(clock: FakeClock) -> None:
    """Laps of the same name add up, and only rescoring's own count against the budget."""
    watch = Watch(clock, timeout_s=10.0)
    clock.advance(1.0)
    watch.lap("engine", of_rescoring=False)
    clock.advance(0.25)
    watch.lap("ours", of_rescoring=True)
    clock.advance(0.25)
    watch.lap("ours", of_rescoring=True)
    assert watch.timings == {"engine": pytest.approx(1000), "ours": pytest.approx(500)}
    assert watch.left_s(800) == pytest.approx(0.3)
    clock.advance(0.31)
    with pytest.raises(NoTimeLeft) as caught:
        watch.left_s(800)
    assert caught.value.reason == Reason.NO_TIME_LEFT


def test_a_partial_answer_says_so(context: Context, clock: FakeClock) -> None:
    """Scored hits first, by score, then the unscored; the outcome is ``partial`` with its reason and count."""

    class Hurried(Script):
        def _result(self, effect: Effect) -> Any:
            if not isinstance(effect, Score):
                return super()._result(effect)
            whole = _scores(effect.request)
            return Scores(results=whole.results[:2], model="m", reason=Reason.DEADLINE_EXCEEDED)

    answer = _search(context, Hurried(clock))
    assert [entry["_id"] for entry in answer["hits"]["hits"]][:5] == ["d1", "d0", "d2", "d3", "d4"]
    outcome = answer["rescore"]
    assert (outcome["status"], outcome["reason"], outcome["scored"]) == ("partial", "deadline_exceeded", 2)


@pytest.mark.parametrize("odd", ["hits: []\n", [], {"error": "no such index", "status": 404}, {"hits": {}}, {}])
def test_an_answer_without_hits_is_handed_on(context: Context, clock: FakeClock, odd: Any) -> None:
    """YAML, ``ignore=404`` and the like come back as the engine sent them."""

    class Odd(Script):
        def _result(self, effect: Effect) -> Any:
            return odd if isinstance(effect, Search) else super()._result(effect)

    assert _search(context, Odd(clock)) is odd
