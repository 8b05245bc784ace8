"""Choices of the second stage on real engines: what a gate leaves alone, what else than relevance orders the window."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from end_to_end.hits_contract import corpus
from end_to_end.hits_contract.checks import first_stage, ids, outcome, reordered, same_hits, same_rest
from end_to_end.hits_contract.corpus import ASKED, ONE, THREE, WINDOW
from end_to_end.hits_contract.four_ways import Way
from rescorer import choices, select
from rescorer.choices import Recency
from rescorer.domain import Audit
from rescorer.telemetry import Telemetry
from rescorer.testing import AsyncFakeScorer, FakeScorer


def _asking(**said: Any) -> dict[str, Any]:
    return {"query": ASKED, "size": 200, "rescore": {"cross_encoder": said}}


GATES = [
    ({"query_text": "AB-1234", "gate": {"query_types": ["code"]}}, "gate_code"),
    ({"gate": {"patterns": {"about cells": "* human cells"}}}, "gate_pattern"),
    ({"gate": {"margin": 1e-9}}, "gate_margin"),
]


@pytest.mark.parametrize(("said", "reason"), GATES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_search_that_the_gate_leaves_alone_is_the_first_stage(way: Way, said: dict[str, Any], reason: str) -> None:
    """Order, scores and every other part of the answer are the engine's, with what is hidden left out."""
    plain = first_stage(way, THREE, _source=["tag"])
    answer = way.search(THREE, {**_asking(**said), "_source": ["tag"]})
    assert outcome(answer) == ("skipped", reason)
    assert answer["hits"] == plain["hits"]
    same_rest(answer, plain)
    assert way.scorer.requests == []


@pytest.mark.parametrize(("said", "reason"), GATES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_gate_holds_on_every_page(way: Way, said: dict[str, Any], reason: str) -> None:
    """Pages laid end to end are the first stage, across the seam too."""
    walked: list[str] = []
    for begin in range(0, WINDOW + 10, 10):
        answer = way.search(ONE, {**_asking(**said), "from": begin, "size": 10})
        assert outcome(answer) in (("skipped", reason), ("skipped", "page_beyond_window"))
        walked += ids(answer)
    assert walked == ids(first_stage(way, ONE))[: len(walked)]


class Heard(Telemetry):
    """Collects audits, whichever thread or task they come from."""

    def __init__(self) -> None:
        self.audits: list[Audit] = []
        self.came = threading.Event()

    def audited(self, audit: Audit) -> None:
        """Keep it."""
        self.audits.append(audit)
        self.came.set()


def test_an_audited_search_is_the_first_stage_and_tells_what_was_lost(way: Way) -> None:
    """The answer is as without the audit; what rescoring would have made of the page is compared afterwards."""
    heard, scorer = Heard(), FakeScorer(corpus.logit)
    body = {**_asking(gate={"margin": 1e-9, "audit": 1}), "size": 10, "_source": ["tag"]}
    plain = way.plain_search(ONE, {"query": ASKED, "size": 10, "_source": ["tag"]})
    with way.another(rescorer=AsyncFakeScorer(scorer) if way.is_async else scorer, rescorer_telemetry=heard) as client:
        for _ in range(2):  # the first one's task has its turn at the latest while the second is asked
            answer = way.through(client, "search", index=ONE, body=body)
            assert outcome(answer) == ("skipped", "gate_margin")
            assert answer["hits"] == plain["hits"]
        assert heard.came.wait(30.0)
    first = ids(first_stage(way, ONE))
    both = set(reordered(first)[:10]) & set(first[:10])
    assert (heard.audits[0].depth, heard.audits[0].overlap) == (10, len(both) / 10)


CHOICES: dict[str, dict[str, Any]] = {
    "novelty": {"novelty": {"weight": 0.4}},
    "vectors": {"novelty": {"weight": 0.4, "vector_field": "v"}},
    "duplicates": {"duplicates": {"threshold": 0.002}},
    "brevity": {"brevity": {"weight": 0.5, "words": 60}},
    "recency": {"recency": {"field": "day", "weight": 0.5, "scale": "60d", "origin": "2024-12-31"}},
    "sources": {"sources": {"field": "tag", "weights": {"t1": 1.5, "t2": 0.5}}},
}
ALL = {key: value for name in ("novelty", "brevity", "recency", "sources") for key, value in CHOICES[name].items()}


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_permutes_the_window_and_moves_nothing_else(way: Way, name: str) -> None:
    """Hits are the engine's, what a choice reads is taken out again, the tail is as it was, scores never rise."""
    plain = first_stage(way, THREE, _source=False)
    answer = way.search(THREE, {**_asking(select=CHOICES[name]), "_source": False})
    assert outcome(answer) == ("reranked", None)
    same_hits(answer, plain)
    same_rest(answer, plain)
    before, after = ids(plain), ids(answer)
    assert sorted(after[:WINDOW]) == sorted(before[:WINDOW])
    assert after[WINDOW:] == before[WINDOW:]
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert after != ids(way.search(THREE, _asking()))
    assert answer["rescore"]["selected"]["unknown"] == {}


@pytest.mark.parametrize("shown", [True, False, ["title"], ["v"]], ids=str)
def test_what_a_choice_reads_is_shown_as_it_was_asked_for(way: Way, shown: Any) -> None:
    """Dates, tags and vectors are in the answer exactly where they are in the engine's own."""
    said = {**ALL, "novelty": {"weight": 0.4, "vector_field": "v"}}
    answer = way.search(ONE, {**_asking(select=said), "_source": shown})
    assert outcome(answer) == ("reranked", None)
    same_hits(answer, first_stage(way, ONE, _source=shown))


def test_pages_of_a_list_with_choices_are_the_long_list(way: Way) -> None:
    """The whole window is chosen from on every page."""
    whole = ids(way.search(THREE, _asking(select=ALL)))
    walked: list[str] = []
    for begin in range(0, WINDOW + 10, 10):
        walked += ids(way.search(THREE, {**_asking(select=ALL), "from": begin, "size": 10}))
    assert walked == whole[: len(walked)]


def test_hits_of_one_text_stand_behind_the_first_of_them(way: Way) -> None:
    """Of seven tags each is seen once before any comes twice, and each repetition names the hit that it repeats."""
    said = {"document_fields": ["tag"], "select": {"duplicates": {"threshold": 1}}}
    answer = way.search(ONE, {**_asking(**said), "explain": True})
    tags = [hit["_source"]["tag"] for hit in answer["hits"]["hits"][:WINDOW]]
    assert sorted(tags[:7]) == [f"t{number}" for number in range(7)]
    assert answer["rescore"]["selected"]["duplicates"] == WINDOW - 7
    by_id = {hit["_id"]: hit["_source"]["tag"] for hit in answer["hits"]["hits"]}
    for hit in answer["hits"]["hits"][7:WINDOW]:
        assert by_id[hit["_rescore"]["select"]["similar_to"]["_id"]] == hit["_source"]["tag"]


def test_each_choice_is_explained_in_the_hit(way: Way) -> None:
    """The score before and what was added make the final one; the engine's own explanation stands below."""
    answer = way.search(ONE, {**_asking(select=ALL), "explain": True})
    for hit in answer["hits"]["hits"][:WINDOW]:
        told, node = hit["_rescore"]["select"], hit["_explanation"]
        added = [told[name] for name in ("brevity", "recency", "source", "novelty") if name in told]
        assert hit["_score"] == pytest.approx(told["score"] + sum(added))
        assert [node["value"], node["details"][0]["value"]] == [hit["_score"], told["score"]]
        assert [entry["value"] for entry in node["details"][1:]] == added


@pytest.mark.parametrize("function", ["exp", "gauss", "linear"])
def test_recency_decays_as_the_engines_own_functions(way: Way, function: Any) -> None:
    """What is left of each document is what ``function_score`` of the same engine gives it."""
    how = {"origin": "2024-08-15", "scale": "40d", "offset": "5d", "decay": 0.3}
    wish = Recency(field="day", weight=1.0, function=function, **how)  # type: ignore[arg-type]  # decay is a number
    scored = {"query": {"match_all": {}}, function: {"day": how}, "boost_mode": "replace"}
    answer = way.plain_search(ONE, {"query": {"function_score": scored}, "size": 200})
    origin_s = choices.instant_s(wish.origin) or 0.0
    for hit in answer["hits"]["hits"]:
        age_s = abs((choices.instant_s(hit["_source"]["day"]) or 0.0) - origin_s)
        assert select.decayed(age_s, wish) == pytest.approx(hit["_score"], abs=1e-6)


def test_a_calibrated_score_is_what_min_score_cuts_at(way: Way) -> None:
    """Order of the model, scores of the curve; with ``min_score`` the rest is left out and counted, on every page."""
    curve = {"method": "platt", "slope": 0.5, "intercept": 7.0, "model": "fake"}
    whole = way.search(ONE, _asking(calibration=curve))
    assert (outcome(whole), whole["rescore"]["scale"]) == (("reranked", None), "calibrated")
    assert ids(whole) == reordered(ids(first_stage(way, ONE)))
    for hit in whole["hits"]["hits"][:WINDOW]:
        power = 0.5 * corpus.logit_of(int(hit["_id"][1:])) + 7.0
        assert hit["_score"] == pytest.approx(1 / (1 + math.exp(-power)))
    cut = way.search(ONE, _asking(calibration=curve, min_score=0.5))
    assert cut["hits"]["hits"] == [hit for hit in whole["hits"]["hits"][:WINDOW] if hit["_score"] >= 0.5]
    assert 0 < len(cut["hits"]["hits"]) < WINDOW
    assert cut["rescore"]["totals"]["left_out"] == len(whole["hits"]["hits"]) - len(cut["hits"]["hits"])


def test_an_auto_window_holds_the_contract(way: Way) -> None:
    """With time for all of them the window is every hit up to 200, in the model's order."""
    plain, answer = first_stage(way, ONE), way.search(ONE, _asking(window_size="auto"))
    count = len(plain["hits"]["hits"])
    assert outcome(answer) == ("reranked", None)
    assert (answer["rescore"]["window"], answer["rescore"]["choice"]["window"]) == (count, count)
    assert WINDOW < count <= 200
    assert ids(answer) == reordered(ids(plain), count)
    same_hits(answer, plain)
    same_rest(answer, plain)
