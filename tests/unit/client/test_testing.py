"""``assert_contract`` and ``assert_page_contract``: what they let pass, and that they let nothing else pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer.errors import ScorerUnavailable
from rescorer.testing import FakeScorer, assert_contract, assert_page_contract
from unit.client.fake_clients import KINDS, client, made, official, settled
from unit.client.fake_engine import FakeEngine, hit, reversing
from unit.client.test_contract_properties import Drawing, drawings

ASKED = {"document_fields": ["title"]}
AGGREGATIONS = {"aggregations": {"years": {"buckets": [{"key": 2000, "doc_count": 3}]}}, "profile": {"shards": []}}


def asked(scorer: Any = None, *, begin: int = 0, size: int = 30, hits: int = 12, **said: Any) -> tuple[Any, Any]:
    """What the engine answers to one search, and what our client makes of it."""
    engine = FakeEngine(hits=[hit(place) for place in range(hits)], extra=copy.deepcopy(AGGREGATIONS))
    body = {"query": {"match": {"title": "words"}}, "from": begin, "size": size}
    before = client(engine).search(index="articles", body=body)
    ours = client(engine, rescorer=scorer or FakeScorer(reversing))
    body["rescore"] = {"cross_encoder": {**ASKED, **said}}
    return before, ours.search(index="articles", body=body)


def breaches(judge: Callable[[Any, Any], None], before: Any, after: Any) -> list[str]:
    """The lines of the failure, without the first."""
    with pytest.raises(AssertionError) as caught:
        judge(before, after)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


MUTATIONS: dict[str, Callable[[Any], None]] = {
    "a hit lost": lambda answer: answer["hits"]["hits"].pop(2),
    "a hit doubled": lambda answer: answer["hits"]["hits"].insert(1, copy.deepcopy(answer["hits"]["hits"][1])),
    "a hit doubled in another's place": lambda answer: answer["hits"]["hits"].__setitem__(
        2, {**answer["hits"]["hits"][1], "_score": answer["hits"]["hits"][2]["_score"]}
    ),
    "a hit invented": lambda answer: answer["hits"]["hits"].append(
        {**hit(99), "_score": answer["hits"]["hits"][-1]["_score"]}
    ),
    "a hit invented in another's place": lambda answer: answer["hits"]["hits"].__setitem__(
        0, {**answer["hits"]["hits"][0], "_id": "d99"}
    ),
    "a field changed": lambda answer: answer["hits"]["hits"][0]["_source"].update(year=1999),
    "a type changed": lambda answer: answer["hits"]["hits"][0]["_source"].update(
        year=float(answer["hits"]["hits"][0]["_source"]["year"])
    ),
    "a field gone": lambda answer: answer["hits"]["hits"][1]["_source"].pop("title"),
    "a key added": lambda answer: answer["hits"]["hits"][1].update(fields={"title": ["x"]}),
    "a hit of another index": lambda answer: answer["hits"]["hits"][1].update(_index="others"),
    "two hits swapped": lambda answer: answer["hits"].update(
        hits=[answer["hits"]["hits"][1], answer["hits"]["hits"][0], *answer["hits"]["hits"][2:]]
    ),
    "a score risen": lambda answer: answer["hits"]["hits"][-1].update(_score=1e9),
    "a score gone": lambda answer: answer["hits"]["hits"][0].update(_score=None),
    "a score that is no number": lambda answer: answer["hits"]["hits"][1].update(_score=float("nan")),
    "max_score of somebody else": lambda answer: answer["hits"].update(max_score=-1e9),
    "max_score gone": lambda answer: answer["hits"].pop("max_score"),
    "another total": lambda answer: answer["hits"]["total"].update(value=77),
    "aggregations changed": lambda answer: answer["aggregations"]["years"]["buckets"][0].update(doc_count=4),
    "aggregations gone": lambda answer: answer.pop("aggregations"),
    "a part added": lambda answer: answer.update(extra={}),
    "timed_out changed": lambda answer: answer.update(timed_out=True),
    "no outcome": lambda answer: answer.pop("rescore"),
    "an outcome that is none": lambda answer: answer.update(rescore="yes"),
    "an outcome without its keys": lambda answer: answer["rescore"].pop("reason"),
    "a status that nobody knows": lambda answer: answer["rescore"].update(status="fine"),
    "a status that is not so": lambda answer: answer["rescore"].update(status="skipped", reason="size_zero"),
    "partial with every score": lambda answer: answer["rescore"].update(status="partial", reason="deadline_exceeded"),
    "a reason without need": lambda answer: answer["rescore"].update(reason="no_hits"),
    "counts that do not fit": lambda answer: answer["rescore"].update(scored=1000),
    "no counts": lambda answer: answer["rescore"].update(scored=None),
    "no totals": lambda answer: answer["rescore"].update(totals=None),
    "hits not told": lambda answer: answer["rescore"]["hits"].pop(),
    "hits told in another order": lambda answer: answer["rescore"]["hits"].reverse(),
    "a rank told wrongly": lambda answer: answer["rescore"]["hits"][0].update(first_stage_rank=77),
    "a rank told twice": lambda answer: answer["rescore"]["hits"][0].update(
        first_stage_rank=answer["rescore"]["hits"][1]["first_stage_rank"]
    ),
    "a first-stage score told wrongly": lambda answer: answer["rescore"]["hits"][0].update(first_stage_score=0.125),
}
"""Ways in which an answer of three hits or more can break the contract."""

OF_SHARED_HITS = {
    "a rank told wrongly",
    "a first-stage score told wrongly",
    "a hit invented in another's place",
    "a field changed",
    "a type changed",
    "a field gone",
    "a key added",
}
"""What two pages tell about a hit that both show, and about no other."""


@pytest.mark.parametrize("size", [12, 30])
@pytest.mark.parametrize("window", [1, 5, 12, 100])
def test_what_our_client_answers_keeps_the_contract(window: int, size: int) -> None:
    """Any window, with the whole list asked for, is let pass by both judges."""
    before, after = asked(window_size=window, size=size)
    assert after["rescore"]["status"] == "reranked"
    assert_contract(before, after)
    assert_page_contract(before, after)


@pytest.mark.parametrize("begin", [0, 2, 4, 6, 8, 12, 40])
@pytest.mark.parametrize("window", [1, 5, 9, 100])
def test_each_page_of_our_client_keeps_the_contract(window: int, begin: int) -> None:
    """A page that holds other hits than the first stage's, across the seam and past the window, is let pass."""
    before, after = asked(window_size=window, begin=begin, size=4)
    assert_page_contract(before, after)


@pytest.mark.parametrize(
    ("scorer", "said", "status"),
    [
        (FakeScorer(failure=ScorerUnavailable("gone")), {}, "fallback"),
        (None, {"enabled": False}, "skipped"),
        (None, {"min_score": -996.5}, "reranked"),
        (None, {"min_score": 1e6}, "reranked"),
    ],
)
def test_what_was_not_wholly_rescored_keeps_it_too(scorer: Any, said: Any, status: str) -> None:
    """A fallback, a skipped search and one with ``min_score`` are let pass: the first in the engine's own order."""
    before, after = asked(scorer, **said)
    assert after["rescore"]["status"] == status
    assert_contract(before, after)
    assert_page_contract(before, after)


def test_explain_and_times_may_differ() -> None:
    """``took``, ``profile``, handles, and under ``explain`` the two keys of each hit are no breach."""
    before, after = asked()
    after.update(took=99, profile={"shards": [1]}, pit_id="other", _scroll_id="other")
    after["hits"]["hits"][0].update(_rescore={"model": "m"}, _explanation={"value": 1.0})
    assert_contract(before, after)


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_of_each_official_client_are_judged(kind: str) -> None:
    """A dict and an ``ObjectApiResponse`` alike, from clients of both engines, sync and async."""
    engine = FakeEngine()
    search = {"index": "articles", "body": {"query": {"match": {"title": "words"}}, "size": 20}}
    before = await settled(official(kind, engine).search(**search))
    engine.profile = ASKED
    after = await settled(made(kind, engine, FakeScorer(reversing)).search(**search))
    assert_contract(before, after)
    assert_page_contract(before, after)
    after["hits"]["hits"].pop()
    with pytest.raises(AssertionError, match="is lost"):
        assert_contract(before, after)


@settings(deadline=None)
@given(drawing=drawings(), begin=st.integers(0, 20), size=st.integers(0, 30))
def test_nothing_that_the_client_answers_is_refused(drawing: Drawing, begin: int, size: int) -> None:
    """Any list, window, score mode, view, partial answer and page is let pass."""
    view = {} if drawing.view is None else {"_source": drawing.view}
    for judge, at, many in ((assert_page_contract, begin, size), (assert_contract, 0, 30)):
        body = {"query": {"match": {"title": "words"}}, "from": at, "size": many, **view}
        judge(client(FakeEngine(hits=drawing.hits)).search(index="a", body=body), drawing.search(at, many))


@settings(deadline=None)
@given(name=st.sampled_from(sorted(MUTATIONS)), window=st.integers(3, 15), hits=st.integers(4, 12))
def test_a_mutated_answer_is_always_caught(name: str, window: int, hits: int) -> None:
    """Whatever the window and the list, each way to break the contract is a breach of it."""
    before, after = copy.deepcopy(_kept(window=window, hits=hits))
    MUTATIONS[name](after)
    with pytest.raises(AssertionError):
        assert_contract(before, after)


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(MUTATIONS.keys() - OF_SHARED_HITS)),
    window=st.integers(5, 15),
    begin=st.integers(0, 4),
    size=st.integers(3, 5),
)
def test_a_mutated_page_is_always_caught(name: str, window: int, begin: int, size: int) -> None:
    """The same for any page that touches the window, as far as two pages tell."""
    before, after = copy.deepcopy(_kept(window=window, begin=begin, size=size))
    MUTATIONS[name](after)
    with pytest.raises(AssertionError):
        assert_page_contract(before, after)


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_page_of_shared_hits_tells_everything(name: str) -> None:
    """Where both pages show the same hits, every way to break the contract is caught on a page as well."""
    before, after = asked(window_size=4, size=4)
    MUTATIONS[name](after)
    assert breaches(assert_page_contract, before, after)


@cache
def _kept(*, window: int, hits: int = 12, begin: int = 0, size: int = 30) -> tuple[Any, Any]:
    """An answer is made once, since making clients is what takes time."""
    return asked(window_size=window, hits=hits, begin=begin, size=size)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a hit lost", "hit articles/d9 is lost"),
        ("a hit doubled", "hit articles/d10 is doubled"),
        ("a hit invented", "hit articles/d99 is invented"),
        ("a field changed", "hit articles/d11: _source.year was 2011 and is 1999"),
        ("a field gone", "hit articles/d10: _source.title is missing"),
        ("a key added", "hit articles/d10: fields was not there before"),
        ("a score risen", "scores rise: hit articles/d0 at place 12 has 1000000000.0, after -999.0"),
        ("max_score gone", "max_score is None, and the first score -989.0"),
        ("another total", "hits.total.value was 12 and is 77"),
        ("aggregations gone", "aggregations is missing"),
        ("no outcome", "rescore is missing: nobody asked for rescoring; client.rescorer.explain(…) says why"),
        ("a rank told wrongly", "hit articles/d11: its first-stage rank is told as 77, and before it stands at 12"),
    ],
)
def test_a_breach_is_one_line_that_says_which_hit_and_which_key(name: str, line: str) -> None:
    """The failure names hit, key, what was and what is."""
    before, after = asked()
    MUTATIONS[name](after)
    assert line in breaches(assert_contract, before, after)


def test_a_page_given_for_a_whole_list_says_which_judge_to_take() -> None:
    """Where before does not hold the window, the first line says so, instead of a riddle about lost hits."""
    before, after = asked(size=4)
    (first, *_) = breaches(assert_contract, before, after)
    assert first.startswith("before holds 4 of the window's 12 hits")
    assert "assert_page_contract" in first


def test_a_hit_in_the_place_of_another_is_invented() -> None:
    """On a page, a foreign hit that is told to stand at a rank of before's is named with the hit that stands there."""
    before, after = asked(size=4, window_size=4)
    MUTATIONS["a hit invented in another's place"](after)
    after["rescore"]["hits"][0]["_id"] = "d99"
    assert "hit articles/d99 is invented: its first-stage rank 4 is that of articles/d3" in breaches(
        assert_page_contract, before, after
    )


def test_a_tail_out_of_order_is_caught() -> None:
    """Hits past the window stand last and in first-stage order, as the outcome tells their ranks."""
    before, after = asked(window_size=5)
    for listed in (after["hits"]["hits"], after["rescore"]["hits"]):
        listed[-1], listed[-2] = listed[-2], listed[-1]
    for entry in after["hits"]["hits"][-2:]:
        entry["_score"] = -5000.0
    assert "hit articles/d10, first-stage rank 11, stands below the tail, which is in first-stage order" in breaches(
        assert_contract, before, after
    )


@pytest.mark.parametrize("wrong", [None, [], {}, {"hits": {}}, {"hits": {"hits": None}}, {"hits": {"hits": [1]}}, 3])
def test_what_is_no_search_answer_is_named(wrong: Any) -> None:
    """An answer without hits is said to be none, on whichever side it stands."""
    _, after = asked()
    for pair, name in (((wrong, after), "before"), ((after, wrong), "after")):
        with pytest.raises(AssertionError, match=f"{name} is no search answer"):
            assert_contract(*pair)


def test_a_changed_fallback_is_caught() -> None:
    """Where nothing was rescored, order and scores must be the engine's own."""
    before, after = asked(FakeScorer(failure=ScorerUnavailable("gone")))
    swapped = copy.deepcopy(after)
    swapped["hits"]["hits"].reverse()
    assert "the order changed, and the status is 'fallback'" in breaches(assert_contract, before, swapped)
    after["hits"]["hits"][0]["_score"] += 1
    assert breaches(assert_contract, before, after) == [
        "hit articles/d0: its score changed, and the status is 'fallback'"
    ]


def test_many_breaches_are_counted_not_listed() -> None:
    """The message stays readable: twenty lines and how many more there are."""
    before, after = asked()
    for entry in after["hits"]["hits"]:
        entry["_source"].update(year=0, title="", body="")
    lines = breaches(assert_contract, before, after)
    assert len(lines) == 21
    assert lines[-1] == "and 16 more"
