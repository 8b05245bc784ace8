"""The contract with a real sidecar and the real cross-encoder behind all four classes, for what a fake can't show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.hits_contract.checks import first_stage, ids, outcome, same_hits
from end_to_end.hits_contract.corpus import ASKED, CLAIM, ONE, THREE
from end_to_end.hits_contract.four_ways import Way

pytestmark = pytest.mark.slow

WINDOW = 12
ENTRY = {"cross_encoder": {"window_size": WINDOW, "max_tokens": 128, "budget_ms": 60_000}}
BODY: dict[str, Any] = {"query": ASKED, "rescore": ENTRY}
PAIR = ["d5", "d40"]
"""Two documents of different weight for the claim."""


@pytest.fixture
def asked(way: Way, sidecar: str) -> Iterator[Any]:
    """A call of a client that asks the real sidecar: method and arguments as for ``way.ask``."""
    with way.another(rescorer=sidecar) as client:
        yield lambda method, **arguments: way.through(client, method, **{"request_timeout": 60, **arguments})


def test_the_models_order_is_that_of_its_scores(way: Way, asked: Any) -> None:
    """M19: twelve are scored and seven shown, best logit first, each hit the engine's; the model is named."""
    answer, first = asked("search", index=THREE, body={**BODY, "size": 7}), first_stage(way, THREE)
    assert (outcome(answer), answer["rescore"]["scored"]) == (("reranked", None), WINDOW)
    said = answer["rescore"]["hits"]
    logits = [entry["cross_encoder_score"] for entry in said]
    assert logits == sorted(logits, reverse=True) == [hit["_score"] for hit in answer["hits"]["hits"]]
    assert len(set(logits)) == len(logits) == 7
    assert (
        [entry["_id"] for entry in said] == ids(answer) == [ids(first)[entry["first_stage_rank"] - 1] for entry in said]
    )
    same_hits(answer, first)
    assert "MiniLM" in answer["rescore"]["model"]


def test_the_next_page_scores_nothing_twice(way: Way, asked: Any) -> None:
    """M9, M20: each page that touches the window comes out of the sidecar's cache, and pages join without gap."""
    whole = asked("search", index=THREE, body={**BODY, "size": 20})
    walked: list[str] = []
    for begin in range(0, 20, 5):
        answer = asked("search", index=THREE, body={**BODY, "from": begin, "size": 5})
        walked += ids(answer)
        if begin < WINDOW:
            assert (answer["rescore"]["scored"], answer["rescore"]["cached"]) == (WINDOW, WINDOW)
    assert walked == ids(whole)


def test_searches_that_come_together_have_the_scores_of_each_alone(way: Way, asked: Any) -> None:
    """M20: an msearch through the real sidecar gives the pages that its searches give one by one."""
    bodies = [{**BODY, "size": 4}, {**BODY, "query": {"match": {"body": "gene therapy in mice"}}, "size": 4}]
    lines = [line for body in bodies for line in ({"index": ONE}, body)]
    together = asked("msearch", body=lines)["responses"]
    alone = [asked("search", index=ONE, body=body) for body in bodies]
    assert [answer["hits"] for answer in together] == [answer["hits"] for answer in alone]
    assert [outcome(answer) for answer in together] == [("reranked", None)] * 2


def test_a_text_above_the_limit_is_counted(way: Way, asked: Any) -> None:
    """Texts are cut to max_tokens and the answer says how many were; the order stays a defined one."""
    entry = {"cross_encoder": {**ENTRY["cross_encoder"], "max_tokens": 32}}
    answer = asked("search", index=ONE, body={"query": ASKED, "rescore": entry, "size": 5})
    assert (outcome(answer), len(ids(answer))) == (("reranked", None), 5)
    assert 0 < answer["rescore"]["truncated"] <= WINDOW


def test_a_long_text_is_read_in_chunks(way: Way, asked: Any) -> None:
    """In chunks nothing is cut off below their bound, and the hits are the engine's, best logit first."""
    entry = {"cross_encoder": {**ENTRY["cross_encoder"], "long_texts": {"chunk_tokens": 64, "most_chunks": 16}}}
    answer, first = (
        asked("search", index=THREE, body={"query": ASKED, "rescore": entry, "size": 7}),
        first_stage(way, THREE),
    )
    said = answer["rescore"]
    assert (outcome(answer), said["scored"], said["truncated"]) == (("reranked", None), WINDOW, 0)
    assert said["chunks"] > WINDOW
    assert [hit["_score"] for hit in answer["hits"]["hits"]] == [entry["cross_encoder_score"] for entry in said["hits"]]
    same_hits(answer, first)


def test_a_cascade_of_two_models_keeps_its_survivors_on_top(
    way: Way, sidecar_of_two: str, cross_encoder: Path, recovered: Path
) -> None:
    """Four of twelve reach the second model; its scores stand above all others, and no hit is lost."""
    stages = [{"model": cross_encoder.name, "keep": 4}, {"model": recovered.name}]
    entry = {"cross_encoder": {**ENTRY["cross_encoder"], "cascade": stages}}
    with way.another(rescorer=sidecar_of_two) as client:
        body = {"query": ASKED, "rescore": entry, "size": 20}
        answer = way.through(client, "search", index=THREE, body=body, request_timeout=60)
    said = answer["rescore"]
    assert outcome(answer) == ("reranked", None)
    assert [(stage["model"], stage["scored"]) for stage in said["stages"]] == [
        (cross_encoder.name, WINDOW),
        (recovered.name, 4),
    ]
    assert [entry["stage"] for entry in said["hits"][:WINDOW]] == [2] * 4 + [1] * (WINDOW - 4)
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(ids(answer)) == sorted(ids(first_stage(way, THREE))[:20])
    same_hits(answer, first_stage(way, THREE))


def test_the_same_pair_has_the_same_score_on_both_engines(engines: tuple[Way, Way], sidecar: str) -> None:
    """Which engine found a document changes nothing about its score."""
    body = {
        "query": {"ids": {"values": PAIR}},
        "rescore": {"cross_encoder": {**ENTRY["cross_encoder"], "query_text": CLAIM}},
    }
    found = []
    for way in engines:
        with way.another(rescorer=sidecar) as client:
            answer = way.through(client, "search", index=ONE, body=body, request_timeout=60)
            found.append({hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]})
    assert found[0] == found[1]
    assert set(found[0]) == set(PAIR)
