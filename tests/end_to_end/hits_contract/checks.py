"""What every test of the contract compares: ids, the order that the scorer makes, and hits as the engine shows them."""

from __future__ import annotations

from typing import Any

from end_to_end.hits_contract import corpus
from end_to_end.hits_contract.corpus import WINDOW
from end_to_end.hits_contract.four_ways import Way

RENEWED = ("took", "rescore")
"""Parts of an answer that differ from call to call, or that only ours has."""


def ids(answer: Any) -> list[str]:
    """The ids of the page."""
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def outcome(answer: Any) -> tuple[str, str | None]:
    """Status and reason."""
    return answer["rescore"]["status"], answer["rescore"]["reason"]


def reordered(first: list[str], window: int = WINDOW) -> list[str]:
    """A first-stage list in the order that the scorer makes of its window; equal logits keep first-stage order."""
    return sorted(first[:window], key=lambda name: -corpus.logit_of(int(name[1:]))) + first[window:]


def without_score(hit: Any) -> Any:
    """The hit without what rescoring may change."""
    return {key: value for key, value in hit.items() if key != "_score"}


def same_hits(ours: Any, theirs: Any) -> None:
    """Each of our hits equals the engine's hit of that id in everything but the score."""
    first = {(hit["_index"], hit["_id"]): without_score(hit) for hit in theirs["hits"]["hits"]}
    for hit in ours["hits"]["hits"]:
        assert without_score(hit) == first[hit["_index"], hit["_id"]]


def same_rest(ours: Any, theirs: Any, *but: str) -> None:
    """Every other part of the answer is the engine's."""
    apart = {*RENEWED, "hits", *but}
    assert {key: value for key, value in ours.items() if key not in apart} == {
        key: value for key, value in theirs.items() if key not in apart
    }
    assert ours["hits"].get("total") == theirs["hits"].get("total")


def first_stage(way: Way, index: str | None, **body: Any) -> Any:
    """The whole first-stage list from the official client."""
    return way.plain_search(index, {"query": corpus.ASKED, "size": 200, **body})


def rescored(way: Way, index: str | None, **body: Any) -> Any:
    """The same list from ours; it was rescored."""
    answer = way.search(index, {"query": corpus.ASKED, "size": 200, **body})
    assert outcome(answer) == ("reranked", None)
    return answer


def contract(way: Way, index: str | None, **body: Any) -> Any:
    """The whole contract for one search: order, seam, hits, totals and every other part; returns our answer."""
    first, answer = first_stage(way, index, **body), rescored(way, index, **body)
    assert ids(answer) == reordered(ids(first))
    same_hits(answer, first)
    same_rest(answer, first)
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["hits"]["max_score"] == scores[0]
    assert answer["rescore"]["totals"]["first_stage"] == first["hits"].get("total")
    return answer
