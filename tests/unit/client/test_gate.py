"""The gate: which searches are left alone, what they are answered, and that nothing else is changed by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer import gate
from rescorer.errors import InvalidSetting, Reason
from rescorer.gate import Gate
from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import plain, settled
from unit.client.fake_engine import PROFILE, FakeEngine, hit

Made = Callable[..., Any]
TYPES: dict[str, Any] = {"query_types": ["code", "one_word", "quoted"]}


def reason_of(said: dict[str, Any], query: str) -> Reason | None:
    """Why a gate leaves a query alone."""
    closed = gate.of_query(gate.SHAPE.read(said, "gate"), query)
    return None if closed is None else closed.reason


@pytest.mark.parametrize(
    "query", ["AB-1234", "978-3-16-148410-0", " B07XJ8C8F5 ", "RFC 7231", "sku4711 sku4712", "٣٤٥٦"]
)
def test_codes_are_known_by_their_digits(query: str) -> None:
    """Every word holds three digits or more, or is an abbreviation in capitals beside one that does."""
    assert reason_of({"query_types": ["code"]}, query) is Reason.GATE_CODE


@pytest.mark.parametrize(
    "query", ["", "iphone 15", "covid-19", "rfc 7231", "error 4711 on start", "RFC", "MISSPELLED 7231"]
)
def test_what_only_holds_a_number_is_no_code(query: str) -> None:
    """A word beside it makes a question of it."""
    assert reason_of({"query_types": ["code"]}, query) is None


@pytest.mark.parametrize(("query", "is_one"), [("refund", True), (" refund\n", True), ("résumé", True), ("a b", False)])
def test_one_word_stands_alone(query: str, is_one: bool) -> None:
    """White space around it counts for nothing."""
    assert (reason_of({"query_types": ["one_word"]}, query) is Reason.GATE_ONE_WORD) == is_one


@pytest.mark.parametrize("query", ["航空券をキャンセルする", "ยกเลิกเที่ยวบิน", "取消航班"])
def test_scripts_without_spaces_are_never_one_word(query: str) -> None:
    """Nobody knows how many words they are."""
    assert reason_of({"query_types": ["one_word"]}, query) is None


@pytest.mark.parametrize(
    ("query", "is_quoted"),
    [('"cancel a flight"', True), ("„Flug stornieren“", True), ('"a" and "b"', False), ('""', False), ('"a', False)],
)
def test_a_quoted_query_is_quoted_as_a_whole(query: str, is_quoted: bool) -> None:
    """Two quotations with words between are no exact phrase."""
    assert (reason_of({"query_types": ["quoted"]}, query) is Reason.GATE_QUOTED) == is_quoted


@pytest.mark.parametrize("query", ["AB-17", "ab-17", "  ab-17  "])
def test_patterns_are_of_the_whole_query_in_any_case(query: str) -> None:
    """As file names are matched; the answer names the pattern and not the query."""
    closed = gate.of_query(Gate(patterns={"part": "AB-[0-9]*"}), query)
    assert closed == gate.Closed(Reason.GATE_PATTERN, "the query has the form that the gate calls 'part'")
    assert gate.of_query(Gate(patterns={"part": "AB-[0-9]*"}), f"about {query}") is None


def test_a_pattern_cannot_hold_up_the_application() -> None:
    """What a careless pattern of many stars is asked of a long query is answered at once, and not after years."""
    pattern, query = "*a" * 90 + "b", "a" * 20_000
    assert gate.of_query(Gate(patterns={"slow": pattern}), query) is None


@pytest.mark.parametrize(
    ("first", "second", "is_left"),
    [(20.0, 10.0, True), (20.0, 10.1, False), (0.0, 0.0, False), (-1.0, -2.0, False), (None, 1.0, False)],
)
def test_a_clear_winner_leads_by_its_share(first: float | None, second: float | None, is_left: bool) -> None:
    """The margin is a share of the first score; without two scores, or at 0 and below, nobody leads."""
    closed = gate.of_scores(Gate(margin=0.5), first, second)
    assert (closed is not None) == is_left
    assert closed is None or closed.detail == "the first hit leads by 0.500 of its score, and the margin is 0.5"


async def test_without_a_gate_every_search_is_rescored(made: Made) -> None:
    """It is opt-in."""
    answer = plain(await settled(made(FakeEngine(profile=PROFILE)).search(index="articles", body=_asked("sku-4711"))))
    assert answer["rescore"]["status"] == "reranked"


def _asked(query: str, **more: Any) -> dict[str, Any]:
    return {"query": {"match": {"title": query}}, **more}


@pytest.mark.parametrize("query", ["refund", "AB-1234", '"a b"'])
async def test_a_search_that_the_gate_leaves_alone_is_the_engines(made: Made, scorer: FakeScorer, query: str) -> None:
    """The caller's own request is sent, the engine's own answer handed on, the sidecar never asked."""
    engine = FakeEngine(profile={**PROFILE, "gate": TYPES})
    answer = plain(await settled(made(engine).search(index="articles", body=_asked(query, size=3))))
    assert [found["_id"] for found in answer["hits"]["hits"]] == ["d0", "d1", "d2"]
    assert answer["hits"]["hits"][0] == hit(0)
    assert engine.searches()[0].body == _asked(query, size=3)
    assert scorer.requests == []
    outcome = answer["rescore"]
    assert outcome["status"] == "skipped"
    assert outcome["reason"].startswith("gate_")
    assert query not in outcome["detail"]


async def test_a_clear_winner_is_known_after_the_engine_has_answered(made: Made, scorer: FakeScorer) -> None:
    """The page is cut from the first stage, and what was read for the model is taken out again."""
    hits = [{**hit(place), "_score": 40.0 / (place + 1)} for place in range(8)]
    engine = FakeEngine(hits=hits, profile={**PROFILE, "gate": {"margin": 0.4}})
    body = _asked("cancel a flight", **{"from": 1, "size": 3, "_source": ["year"]})
    answer = plain(await settled(made(engine).search(index="articles", body=body)))
    assert answer["rescore"]["reason"] == "gate_margin"
    assert answer["hits"]["hits"] == [{**entry, "_source": {"year": entry["_source"]["year"]}} for entry in hits[1:4]]
    assert scorer.requests == []


async def test_a_request_switches_the_profiles_gate_off(made: Made) -> None:
    """``"gate": false`` in the request wins over the profile's."""
    engine = FakeEngine(profile={**PROFILE, "gate": TYPES})
    body = _asked("refund", rescore={"cross_encoder": {"gate": False}})
    assert plain(await settled(made(engine).search(index="articles", body=body)))["rescore"]["status"] == "reranked"


async def test_of_many_searches_each_has_its_own_gate(made: Made, scorer: FakeScorer) -> None:
    """An ``msearch`` scores what is worth it and leaves the rest alone."""
    engine = FakeEngine(profile={**PROFILE, "gate": TYPES})
    lines = [{"index": "articles"}, _asked("refund"), {"index": "articles"}, _asked("how do i get a refund")]
    answer = plain(await settled(made(engine).msearch(body=lines)))
    told = [entry["rescore"] for entry in answer["responses"]]
    assert [outcome["status"] for outcome in told] == ["skipped", "reranked"]
    assert told[0]["reason"] == "gate_one_word"
    assert [request.query for request in scorer.requests] == ["how do i get a refund"]


async def test_a_hybrid_search_has_a_gate_too(made: Made) -> None:
    """Its lists are fused as ever, in first-stage order."""
    hybrid = {"text_fields": ["title"], "vector_field": "v", "fusion": "rrf"}
    engine = FakeEngine(profile={**PROFILE, "gate": TYPES, "hybrid": hybrid})
    answer = plain(await settled(made(engine).hybrid_search("articles", "refund", size=4)))
    assert answer["rescore"]["reason"] == "gate_one_word"
    assert [found["_id"] for found in answer["hits"]["hits"]] == ["d0", "d1", "d2", "d3"]


async def test_the_plan_tells_what_the_gate_would_do(made: Made) -> None:
    """``explain`` says that it would skip, why, and where the gate stands."""
    engine = FakeEngine(profile={**PROFILE, "gate": {"patterns": {"part": "ab-*"}}})
    told = plain(await settled(made(engine).rescorer.explain("articles", _asked("AB-17"))))
    assert (told["would"], told["reason"]) == ("skip", "gate_pattern")
    assert "'part'" in told["detail"]
    assert told["settings"]["gate"] == {
        "value": {"patterns": {"part": "ab-*"}, "audit": 0.0},
        "from": "mappings._meta.rescorer.gate",
    }


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (True, 'gate: True must be an object, such as {"query_types": ["code"], "margin": 0.5}, or false'),
        ({}, 'gate: {} must be an object, such as {"query_types": ["code"], "margin": 0.5}, or false'),
        ({"margins": 1}, "gate.margins: 1 stands under an unknown key; did you mean margin?"),
        ({"margin": 0}, "gate.margin: 0 must be above 0 and at most 1"),
        ({"audit": 1.5}, "gate.audit: 1.5 must be at least 0 and at most 1"),
        ({"margin": "0.5"}, "gate.margin: '0.5' must be a finite number"),
        ({"query_types": "code"}, """gate.query_types: 'code' must be a list, such as ["code", "one_word"]"""),
        ({"query_types": ["word"]}, "gate.query_types[0]: 'word' must be one of code, one_word, quoted"),
        ({"query_types": ["code", "code"]}, "gate.query_types: ['code', 'code'] names a value twice"),
        ({"patterns": ["a*"]}, """gate.patterns: ['a*'] must be an object, such as {"part number": "[a-z][a-z]-*"}"""),
        ({"patterns": {"part": 7}}, "gate.patterns.part: 7 must be a string that is not empty"),
        ({"patterns": {"part": "a" * 201}}, "is longer than 200 characters; shorten it"),
    ],
)
def test_a_wrong_gate_is_refused_before_anything_is_sent(said: Any, message: str) -> None:
    """Path, value and mend."""
    engine = FakeEngine()
    client = fake_clients.client(engine, rescorer=FakeScorer())
    with pytest.raises(InvalidSetting) as refused:
        client.search(index="a", body=_asked("x", rescore={"cross_encoder": {"gate": said}}))
    assert str(refused.value).startswith("rescore.cross_encoder.gate")
    assert str(refused.value).endswith(message)
    assert engine.sent == []


@settings(max_examples=200, deadline=None)
@given(query=st.text(max_size=30), said=st.sampled_from([TYPES, {"patterns": {"a": "*a*", "b": "[", "c": "[!]?]*"}}]))
def test_any_query_meets_any_gate(query: str, said: dict[str, Any]) -> None:
    """Whatever is asked, the gate opens or closes, and its reason holds nothing of what was asked."""
    closed = gate.of_query(gate.SHAPE.read(said, "gate"), query)
    assert closed is None or closed.reason.startswith("gate_")
