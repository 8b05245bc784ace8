"""The hits contract over generated answers: any list, window, page, mode, view and partial answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from rescorer.config import ScoreMode
from rescorer.domain import ScoreRequest, Scores
from rescorer.errors import Reason
from rescorer.testing import FakeScorer
from unit.client.fake_clients import client
from unit.client.fake_engine import FakeEngine

FIELDS = ("title", "body", "year")
MODES = st.sampled_from(get_args(ScoreMode))
VIEWS = st.sampled_from([None, True, False, ["title"], ["year", "body"], []])


class Drawn(FakeScorer):
    """Answers with drawn logits by document, and leaves out those that were drawn as too late."""

    def __init__(self, logits: dict[str, float], late: frozenset[str]) -> None:
        super().__init__(lambda query, text: logits[text])
        self.late = late

    def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """The drawn logits."""
        whole = super().score(request, timeout_s)
        texts = {candidate.id: candidate.fields[0][1] for candidate in request.candidates}
        results = [scored for scored in whole.results if texts[scored.id] not in self.late]
        if not results or len(results) == len(whole.results):
            return whole
        return Scores(results=results[::-1], model=whole.model, reason=Reason.DEADLINE_EXCEEDED)


@dataclass
class Drawing:
    """One generated first stage and how it is asked for."""

    hits: list[dict[str, Any]]
    scorer: Drawn
    said: dict[str, Any]
    view: Any

    def search(self, begin: int, size: int) -> Any:
        """One page of it through our client."""
        body: dict[str, Any] = {"query": {"match": {"title": "words"}}, "from": begin, "size": size}
        body |= {"rescore": {"cross_encoder": {"document_fields": ["title"], **self.said}}}
        body |= {} if self.view is None else {"_source": self.view}
        return client(FakeEngine(hits=self.hits), rescorer=self.scorer).search(index="a", body=body)

    def first_stage(self) -> dict[str, dict[str, Any]]:
        """The same hits as the engine shows them to a caller with this view, by id, without score."""
        body = {} if self.view is None else {"_source": self.view}
        plain = client(FakeEngine(hits=self.hits)).search(index="a", body={**body, "size": len(self.hits)})
        return {hit["_id"]: _without_score(hit) for hit in plain["hits"]["hits"]}


def _without_score(hit: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in hit.items() if key != "_score"}


@st.composite
def drawings(draw: Any) -> Drawing:
    """Up to 25 hits with falling, often equal scores; logits often equal too; some scored too late."""
    firsts = sorted(draw(st.lists(st.integers(0, 12), min_size=1, max_size=25)), reverse=True)
    names = [f"text {place}" for place in range(len(firsts))]
    logits = {name: draw(st.sampled_from([-11.5, -3.0, -3.0, 0.0, 2.5, 9.75])) for name in names}
    hits = [
        {"_index": "a", "_id": f"d{place}", "_score": float(first), "_source": dict.fromkeys(FIELDS, names[place])}
        for place, first in enumerate(firsts)
    ]
    late = draw(st.frozensets(st.sampled_from(names), max_size=3))
    said = {"window_size": draw(st.integers(1, 30)), "score_mode": draw(MODES)}
    said |= {"query_weight": draw(st.floats(-1, 2)), "rescore_query_weight": draw(st.floats(-1, 2))}
    return Drawing(hits, Drawn(logits, late), said, draw(VIEWS))


@given(drawing=drawings())
def test_hits_are_permuted_and_scores_never_rise(drawing: Drawing) -> None:
    """M2, M3, M9, M11, M22: every hit once, as the engine shows it, the window above the tail in every mode."""
    answer = drawing.search(0, 30)
    found = answer["hits"]["hits"]
    assert {hit["_id"]: _without_score(hit) for hit in found} == drawing.first_stage()
    assert len(found) == len(drawing.hits)
    scores = [hit["_score"] for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert answer["hits"]["max_score"] == scores[0]
    window = {hit["_id"] for hit in drawing.hits[: drawing.said["window_size"]]}
    assert {hit["_id"] for hit in found[: len(window)]} == window
    tail = [hit["_id"] for hit in found[len(window) :]]
    assert tail == [hit["_id"] for hit in drawing.hits[len(window) :]]


@given(drawing=drawings(), page_size=st.integers(1, 9))
def test_pages_laid_end_to_end_are_the_long_list(drawing: Drawing, page_size: int) -> None:
    """M9, M20: any page size walks the same list, with the same scores as long as a page touches the window."""
    whole = drawing.search(0, 30)["hits"]["hits"]
    walked = []
    for begin in range(0, 30, page_size):
        answer = drawing.search(begin, page_size)
        page = answer["hits"]["hits"]
        if begin < drawing.said["window_size"]:
            assert page == whole[begin : begin + page_size]
        walked += [hit["_id"] for hit in page]
    assert walked == [hit["_id"] for hit in whole]


@given(drawing=drawings())
def test_the_outcome_agrees_with_the_hits(drawing: Drawing) -> None:
    """F2: status, counts and each hit's way in the outcome are those of the list beside it."""
    answer = drawing.search(0, 30)
    outcome, found = answer["rescore"], answer["hits"]["hits"]
    asked = min(drawing.said["window_size"], len(drawing.hits))
    told = {entry["_id"]: entry for entry in outcome["hits"]}
    assert [entry["_id"] for entry in outcome["hits"]] == [hit["_id"] for hit in found]
    assert sum(entry["cross_encoder_score"] is not None for entry in outcome["hits"]) == outcome["scored"]
    assert outcome["status"] == ("reranked" if outcome["scored"] == asked else "partial")
    for place, hit in enumerate(drawing.hits):
        assert (told[hit["_id"]]["first_stage_rank"], told[hit["_id"]]["first_stage_score"]) == (
            place + 1,
            hit["_score"],
        )


@given(drawing=drawings())
def test_replace_ranks_by_logit_and_then_by_first_stage(drawing: Drawing) -> None:
    """S1: among the scored hits a higher logit comes first, and between equal ones the first stage decides."""
    drawing.said["score_mode"] = "replace"
    entries = drawing.search(0, 30)["rescore"]["hits"]
    keys = [
        (-entry["cross_encoder_score"], entry["first_stage_rank"])
        for entry in entries
        if entry["cross_encoder_score"] is not None
    ]
    assert keys == sorted(keys)
