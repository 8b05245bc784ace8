"""``select``: what each choice does to an order and its scores, and that nothing is ever lost, doubled or invented."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer import choices, facts, select
from rescorer.choices import Brevity, Duplicates, Novelty, Recency, Select, Sources
from rescorer.domain import Candidate, Engine, Scored
from rescorer.errors import BadScores
from rescorer.fuse import Ranked
from rescorer.select import Facts
from rescorer.testing import FakeScorer, assert_contract
from unit.client import fake_clients
from unit.client.fake_clients import plain, settled
from unit.client.fake_engine import PROFILE, FakeEngine, hit

Made = Callable[..., Any]
AT_EASE = settings(max_examples=80, deadline=None)
DAY_S = 86_400.0


def block(*scores: float) -> list[Ranked]:
    """Scored hits in this order, each at its own place."""
    return [
        Ranked(place, score, Scored(id=str(place), index=place, logit=score, score=score))
        for place, score in enumerate(scores)
    ]


def ordered(wish: Select, scores: list[float], facts: list[Facts]) -> list[Ranked]:
    """What is made of hits with these scores."""
    return select.ordered(block(*scores), facts, wish)


def places(order: list[Ranked]) -> list[int]:
    """The order by first place."""
    return [ranked.place for ranked in order]


def texts(*said: str) -> list[Facts]:
    """Hits of which only the text is known."""
    return [Facts(text=text) for text in said]


def test_novelty_takes_the_best_that_is_not_yet_said() -> None:
    """Maximal marginal relevance: with weight 0.5 a hit that repeats the first wholly loses the whole range."""
    order = ordered(Select(novelty=Novelty(weight=0.5)), [4.0, 3.0, 0.0], texts("a b", "b a", "c d"))
    assert [(ranked.place, ranked.final) for ranked in order] == [(0, 4.0), (2, 0.0), (1, -1.0)]
    assert order[2].moved is not None
    assert (order[2].moved.changes, order[2].moved.similar_to) == ({"novelty": -4.0}, 0)


def test_half_the_words_in_common_cost_their_share() -> None:
    """Similarity is Jaccard's: two of four words are a half, and weight 0.2 makes a quarter of it."""
    order = ordered(Select(novelty=Novelty(weight=0.2)), [8.0, 4.0, 0.0], texts("a b c", "a b d", "e"))
    assert [(ranked.place, ranked.final) for ranked in order] == [(0, 8.0), (1, 4.0 - 8.0 * 0.25 * 0.5), (2, 0.0)]


def test_novelty_by_vectors_is_the_cosine() -> None:
    """Opposite vectors have nothing in common, and one without a vector is told, not guessed."""
    vectors = [[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [1.0, 1.0], []]
    facts = [Facts(text="same", vector=vector) for vector in vectors]
    order = ordered(Select(novelty=Novelty(weight=0.5, vector_field="v")), [5.0, 4.0, 3.0, 2.0, 1.0], facts)
    lost = {ranked.place: ranked.moved.changes.get("novelty", 0.0) for ranked in order if ranked.moved is not None}
    assert lost[1] == -4.0
    assert lost[2] == 0.0
    assert lost[3] == pytest.approx(-4.0 * math.sqrt(0.5))
    assert lost[4] == 0.0
    assert select.counted(order) == {"duplicates": 0, "unknown": {"novelty": 1}}


def test_near_duplicates_stand_behind_all_others_and_stay() -> None:
    """The better one of two keeps its place; the other is last of the window, not gone, and says of whom it is one."""
    long = "one two three four five six seven eight nine ten eleven twelve"
    said = texts(long, f"{long} more", "something else entirely here", f"{long} again")
    order = ordered(Select(duplicates=Duplicates(threshold=0.8)), [4.0, 3.0, 2.0, 1.0], said)
    assert places(order) == [0, 2, 1, 3]
    assert [ranked.final for ranked in order] == [4.0, 2.0, 2.0, 1.0]
    assert [ranked.moved.similar_to for ranked in order if ranked.moved is not None] == [None, None, 0, 0]
    assert select.counted(order)["duplicates"] == 2


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("", "", False),
        ("short", "Short!", True),
        ("short", "other", False),
        ("a b c d", "d c b a", False),
        ("航空券をキャンセルする", "航空券をキャンセルする。", True),
    ],
)
def test_near_duplicates_share_runs_of_words(one: str, other: str, is_one: bool) -> None:
    """Case and punctuation count for nothing, the order of words does, and two hits without text are no duplicates."""
    order = ordered(Select(duplicates=Duplicates()), [2.0, 1.0], texts(one, other))
    assert select.counted(order)["duplicates"] == is_one


def test_depth_bounds_how_many_places_are_chosen() -> None:
    """After so many, what is left follows by the scores that it has then."""
    said = texts("a", "b", "b", "a")
    order = ordered(Select(novelty=Novelty(weight=0.5), depth=1), [4.0, 3.0, 2.0, 1.0], said)
    assert [(ranked.place, ranked.final) for ranked in order] == [(0, 4.0), (1, 3.0), (2, 2.0), (3, -2.0)]


@pytest.mark.parametrize(("words", "left"), [(0, 1.0), (10, 1.0), (20, 0.5), (100, 0.1)])
def test_brevity_halves_at_twice_the_length(words: int, left: float) -> None:
    """Up to the bound nothing is lost."""
    assert select.brevity(words, Brevity(weight=1.0, words=10)) == left


def test_a_long_text_falls_behind_a_short_one_that_is_nearly_as_good() -> None:
    """E1: it loses its weight's share of the range, by how much too long it is."""
    order = ordered(Select(brevity=Brevity(weight=0.5, words=2)), [4.0, 3.5, 0.0], texts("a b c d", "a b", "a"))
    assert [(ranked.place, ranked.final) for ranked in order] == [(1, 3.5), (0, 3.0), (2, 0.0)]


@pytest.mark.parametrize(("function", "twice"), [("exp", 0.25), ("gauss", 0.0625), ("linear", 0.0)])
def test_decay_leaves_what_it_says_at_its_scale(function: Any, twice: float) -> None:
    """All of it up to the offset, a half at offset + scale, and at twice that what the function has there."""
    wish = Recency(field="day", weight=1.0, scale="10d", offset="2d", function=function)
    assert select.decayed(0.0, wish) == select.decayed(2 * DAY_S, wish) == 1.0
    assert select.decayed(12 * DAY_S, wish) == pytest.approx(0.5)
    assert select.decayed(22 * DAY_S, wish) == pytest.approx(twice)


def test_the_newer_of_two_equals_comes_first_and_one_without_date_is_left() -> None:
    """Where all scores are equal the range is 1; what has no date is neither lifted nor lowered, and counted."""
    facts = [Facts(age_s=90 * DAY_S), Facts(age_s=0.0), Facts()]
    wish = Select(recency=Recency(field="day", weight=0.5, scale="30d"))
    order = ordered(wish, [1.0, 1.0, 1.0], facts)
    assert places(order) == [1, 2, 0]
    assert order[2].final == pytest.approx(1.0 - 0.5 * (1 - 0.125))
    assert select.counted(order) == {"duplicates": 0, "unknown": {"recency": 1}}


def test_a_source_counts_by_its_table() -> None:
    """The largest weight of several sources; what the table does not name has the default."""
    wish = Select(sources=Sources(field="tag", weights={"good": 1.5, "bad": 0.5}, default=0.9))
    facts = [Facts(sources=["bad"]), Facts(sources=["bad", "good"]), Facts(sources=["new"]), Facts()]
    order = ordered(wish, [2.0, 1.0, 1.0, 0.0], facts)
    assert places(order) == [1, 0, 2, 3]
    assert [ranked.final for ranked in order] == pytest.approx([2.0, 1.0, 0.8, -0.2])


def test_weights_that_overflow_are_no_scores() -> None:
    """Never infinity, never a number that is none, and no other error."""
    heavy = Sources(field="a", weights={"a": 10.0}, default=10.0)
    brief = Brevity(weight=1.0, words=1)
    for wish in (Select(sources=heavy), Select(sources=heavy, brevity=brief, novelty=Novelty(weight=0.9))):
        for scores in ([1e308, -1e308], [1e308, 0.0]):
            with pytest.raises(BadScores, match="not finite"):
                ordered(wish, scores, texts("a b", "a b c"))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2026-01-31", 1_769_817_600.0),
        ("2026-01-31T00:00:00.000Z", 1_769_817_600.0),
        ("2026-01-31T01:00:00+01:00", 1_769_817_600.0),
        ("1769817600000", 1_769_817_600.0),
        ("20260131", 1_769_817_600.0),
        ("2026", 1_767_225_600.0),
        ("0", 0.0),
        ("31/01/2026", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_dates_are_read_as_engines_hold_them(said: str, seconds: float | None) -> None:
    """ISO 8601, milliseconds since 1970, a year; anything else is no date, and no error."""
    assert choices.instant_s(said) == seconds


WORDS = st.lists(st.sampled_from("abcdefg"), max_size=8).map(" ".join)
FACTS = st.builds(
    Facts,
    text=WORDS,
    age_s=st.none() | st.floats(0, 1e10),
    sources=st.lists(st.sampled_from(["good", "bad", "new"]), max_size=2),
    vector=st.just(()) | st.lists(st.floats(-2, 2), min_size=2, max_size=3),
)
WISHES = st.builds(
    Select,
    novelty=st.none() | st.builds(Novelty, weight=st.floats(0.05, 0.95), vector_field=st.sampled_from(["", "v"])),
    duplicates=st.none() | st.builds(Duplicates, threshold=st.floats(0.1, 1)),
    brevity=st.none() | st.builds(Brevity, weight=st.floats(0.1, 1), words=st.integers(1, 9)),
    recency=st.none() | st.just(Recency(field="day", weight=0.7, scale="1h")),
    sources=st.none() | st.just(Sources(field="tag", weights={"good": 3.0, "bad": 0.0})),
    depth=st.integers(1, 12),
)


@AT_EASE
@given(st.lists(st.tuples(st.sampled_from([-9.5, -1.0, 0.0, 2.0, 7.25]), FACTS), min_size=1, max_size=15), WISHES)
def test_select_permutes_and_its_scores_never_rise(drawn: list[tuple[float, Facts]], wish: Select) -> None:
    """Each hit once, whatever is wished; and the order is that of the final scores."""
    drawn.sort(key=lambda pair: -pair[0])
    order = ordered(wish, [score for score, _ in drawn], [facts for _, facts in drawn])
    assert sorted(places(order)) == list(range(len(drawn)))
    finals = [ranked.final for ranked in order]
    assert finals == sorted(finals, reverse=True)


HELD = {
    "_source": {"day": "2026-01-31", "tags": ["a", "b"], "deep": {"v": [1, 0.5]}, "days": ["2026-01-01", "no date"]},
    "fields": {"day": ["2025-01-31T00:00:00.000Z"], "v": [2.0, 3.0]},
}


def facts_of(said: dict[str, Any], *, whole: bool = True, now_s: float = 0.0) -> Facts:
    """What is read of a hit."""
    wish = choices.SHAPE.read(said, "select")
    return facts.of_hit(HELD, Candidate("0:a", (("Title", "one two"), ("", "three"))), wish, whole, now_s)


def test_facts_are_read_where_texts_are() -> None:
    """``_source`` first where it is whole, ``fields`` first where it is not; the text is that which the model read."""
    recency = {"recency": {"field": "day", "weight": 1, "scale": "1d", "origin": "2026-01-31"}}
    assert facts_of(recency).age_s == 0.0
    assert facts_of(recency, whole=False).age_s == 365 * DAY_S
    assert facts_of({"sources": {"field": "tags", "weights": {"a": 1}}}).sources == ["a", "b"]
    assert facts_of({"brevity": {"weight": 1}}).text == "one two three"


def test_of_several_dates_the_nearest_counts_and_what_is_none_is_passed_over() -> None:
    """Before or after the origin alike."""
    said = {"recency": {"field": "days", "weight": 1, "scale": "1d", "origin": "2026-01-03"}}
    assert facts_of(said).age_s == 2 * DAY_S
    assert facts_of({"recency": {**said["recency"], "field": "gone"}}).age_s is None


def test_vectors_are_read_from_fields_or_source() -> None:
    """As engines show them: Elasticsearch in ``fields``, OpenSearch in ``_source``; what is no vector is none."""
    for name, vector in (("v", [2.0, 3.0]), ("deep.v", [1.0, 0.5]), ("day", []), ("tags", []), ("gone.v", [])):
        assert facts_of({"novelty": {"weight": 0.5, "vector_field": name}}).vector == vector


def test_now_moves_in_steps_so_that_pages_fit_each_other() -> None:
    """A hundredth of the scale: two pages that are asked seconds apart have one origin."""
    said = {"recency": {"field": "day", "weight": 1, "scale": "100d"}}
    noon = 1_769_860_800.0
    assert facts_of(said, now_s=noon).age_s == facts_of(said, now_s=noon + 30).age_s == 0.0
    assert facts_of(said, now_s=noon + DAY_S).age_s == DAY_S


@pytest.mark.parametrize("view", [True, False, ["title"], ["day"]])
async def test_what_a_choice_reads_is_fetched_whatever_is_shown(made: Made, view: Any) -> None:
    """Nothing is unknown, and the answer shows what was asked for."""
    engine = FakeEngine(hits=corpus(), profile={**PROFILE, "select": SAID})
    body = {"query": {"match": {"title": "words"}}, "_source": view}
    answer = plain(await settled(made(engine).search(index="articles", body=body)))
    assert answer["rescore"]["selected"]["unknown"] == {}
    whole = {"title", "body", "day", "tag"} if view else set()
    expected = whole if isinstance(view, bool) else set(view)
    assert all(set(found.get("_source", {})) == expected for found in answer["hits"]["hits"])


SAID: dict[str, Any] = {
    "novelty": {"weight": 0.4},
    "duplicates": {"threshold": 0.9},
    "brevity": {"weight": 0.3, "words": 2},
    "recency": {"field": "day", "weight": 0.3, "scale": "5d", "origin": "2026-01-01"},
    "sources": {"field": "tag", "weights": {"t0": 1.3}},
}


def corpus(count: int = 14) -> list[dict[str, Any]]:
    """Hits with days, tags and texts, some of which repeat others."""
    found = []
    for place in range(count):
        source = {"title": f"title {place}", "body": f"body {place % 4} words", "day": f"2025-12-{1 + place % 28:02d}"}
        found.append({**hit(place), "_source": {**source, "tag": f"t{place % 3}"}})
    return found


@AT_EASE
@given(
    engine=st.sampled_from(["opensearch", "elasticsearch"]),
    names=st.sets(st.sampled_from(sorted(SAID)), min_size=1),
    window=st.integers(1, 16),
    view=st.sampled_from([None, True, False, ["title"], ["tag"], []]),
)
def test_the_contract_holds_under_every_choice(engine: Engine, names: set[str], window: int, view: Any) -> None:
    """Hits are the engine's but for their score, the window above the tail, pages cut from one list."""
    said = {"document_fields": ["title", "body"], "select": {name: SAID[name] for name in names}, "window_size": window}
    shown = {} if view is None else {"_source": view}
    body = {"query": {"match": {"title": "words"}}, "size": 20, **shown}
    scorer = FakeScorer(lambda query, text: -float(len(text) % 7))
    client = fake_clients.made(engine, FakeEngine(hits=corpus()), scorer)
    ours = {**body, "rescore": {"cross_encoder": said}}
    answer = plain(client.search(index="a", body=ours))
    before = plain(fake_clients.official(engine, FakeEngine(hits=corpus())).search(index="a", body=body))
    assert answer["rescore"]["status"] == "reranked"
    assert_contract(before, answer)
    ids = [found["_id"] for found in answer["hits"]["hits"]]
    assert ids[window:] == [f"d{place}" for place in range(min(window, 14), 14)]
    walked = [plain(client.search(index="a", body={**ours, "from": begin, "size": 5})) for begin in (0, 5, 10)]
    assert [found["_id"] for page in walked for found in page["hits"]["hits"]] == ids


async def test_each_choice_is_explained(made: Made) -> None:
    """Under ``explain`` a hit says what it had before, what each choice added, and whom it repeats."""
    engine = FakeEngine(hits=corpus(), profile={**PROFILE, "window_size": 14, "select": SAID})
    body = {"query": {"match": {"title": "words"}}, "explain": True, "size": 14}
    answer = plain(await settled(made(engine).search(index="articles", body=body)))
    for found in answer["hits"]["hits"]:
        told = found["_rescore"]["select"]
        added = [told[name] for name in ("brevity", "recency", "source", "novelty") if name in told]
        assert found["_score"] == pytest.approx(told["score"] + sum(added)) or told["is_duplicate"]
        node = found["_explanation"]
        assert node["value"] == found["_score"]
        assert "select" in node["description"]
        assert [entry["value"] for entry in node["details"][1:]] == added
        assert node["details"][0]["value"] == told["score"]
    assert answer["rescore"]["selected"] == {"duplicates": 0, "unknown": {}}
    assert answer["rescore"]["timings"]["select_ms"] >= 0
    repeated = {told["similar_to"]["_id"] for told in _told(answer) if told["similar_to"]}
    assert repeated <= {entry["_id"] for entry in corpus()}


def _told(answer: Any) -> list[Any]:
    return [found["_rescore"]["select"] for found in answer["hits"]["hits"]]


async def test_a_request_switches_the_profiles_choices_off(made: Made) -> None:
    """``"select": false`` gives the order of the model alone, and ``selected`` is null."""
    engine = FakeEngine(hits=corpus(), profile={**PROFILE, "select": SAID})
    body = {"query": {"match": {"title": "words"}}, "rescore": {"cross_encoder": {"select": False}}}
    answer = plain(await settled(made(engine).search(index="articles", body=body)))
    assert [found["_id"] for found in answer["hits"]["hits"]][:5] == ["d4", "d3", "d2", "d1", "d0"]
    assert answer["rescore"]["selected"] is None


async def test_of_many_searches_each_has_its_own_choices(made: Made) -> None:
    """An ``msearch`` orders each of its searches by what that one wishes."""
    engine = FakeEngine(hits=corpus(), profile={**PROFILE, "select": SAID})
    ask = {"query": {"match": {"title": "words"}}}
    lines = [
        {"index": "articles"},
        ask,
        {"index": "articles"},
        {**ask, "rescore": {"cross_encoder": {"select": False}}},
    ]
    answers = plain(await settled(made(engine).msearch(body=lines)))["responses"]
    assert [answer["rescore"]["selected"] is None for answer in answers] == [False, True]


async def test_the_plan_shows_what_is_wished(made: Made) -> None:
    """``explain`` and ``rescorer plan`` show the choices as they were written, and where."""
    engine = FakeEngine(profile={**PROFILE, "select": SAID})
    told = plain(await settled(made(engine).rescorer.explain("articles", {"query": {"match": {"title": "a b"}}})))
    shown = told["settings"]["select"]
    assert shown["from"] == "mappings._meta.rescorer.select"
    assert shown["value"]["recency"] == {**SAID["recency"], "decay": 0.5, "function": "exp", "offset": "0d"}
    assert shown["value"]["novelty"] == {"weight": 0.4}
