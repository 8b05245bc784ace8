"""The hits contract over generated answers: any list, window, page, mode, view, scorer, partial answer and way in."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer import filter_path
from rescorer.config import ScoreMode
from rescorer.domain import Engine, Scored, ScoreRequest, Scores
from rescorer.errors import Reason, ScorerError
from rescorer.testing import FakeScorer, assert_contract
from unit.client import fake_clients
from unit.client.fake_engine import FakeEngine

FIELDS = ("title", "body", "year")
QUERY = {"match": {"title": "words"}}
MODES = st.sampled_from(get_args(ScoreMode))
AT_EASE = settings(max_examples=60, deadline=None)
"""A machine that does other work is no reason to fail."""

VIEWS = st.sampled_from([None, True, False, ["title"], ["year", "body"], []])
ENGINES: st.SearchStrategy[Engine] = st.sampled_from(["opensearch", "elasticsearch"])
CHOICES = st.sampled_from(
    [
        False,
        {"novelty": {"weight": 0.4}, "duplicates": {"threshold": 0.3}, "depth": 4},
        {"brevity": {"weight": 0.5, "words": 1}, "sources": {"field": "year", "weights": {"text 1": 1.5, "text 2": 0}}},
    ]
)
_FILTERS = (
    "hits.hits._id hits.hits._score hits took hits.total **._id hits.* -hits.hits._source -hits.max_score"
    " -hits.hits._id rescore.status -rescore.hits -took nothing hits.hits.fields"
)
FILTERS = st.lists(st.sampled_from(_FILTERS.split()), min_size=1, max_size=3)


class Drawn(FakeScorer):
    """Answers with drawn logits by document, and leaves out those that were drawn as too late."""

    def __init__(self, logits: dict[str, float], late: frozenset[str]) -> None:
        super().__init__(lambda query, text: logits[text])
        self.logits = logits
        self.late = late

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """The drawn logits."""
        answers = super().score_many(requests, timeout_s)
        return [self._in_time(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def _in_time(self, request: ScoreRequest, whole: Scores | ScorerError) -> Scores | ScorerError:
        assert isinstance(whole, Scores)
        texts = {candidate.id: candidate.fields[0][1] for candidate in request.candidates}
        results = [scored for scored in whole.results if texts[scored.id] not in self.late]
        if not results or len(results) == len(whole.results):
            return whole
        return Scores(results=results[::-1], model=whole.model, reason=Reason.DEADLINE_EXCEEDED)


@dataclass
class Drawing:
    """One generated first stage and how it is asked for."""

    engine: Engine
    hits: list[dict[str, Any]]
    scorer: Any
    said: dict[str, Any]
    view: Any

    def client(self) -> Any:
        """A client of ours in front of it."""
        return fake_clients.made(self.engine, FakeEngine(hits=self.hits), self.scorer)

    def body(self, begin: int, size: int, **more: Any) -> dict[str, Any]:
        """The search of one page."""
        body: dict[str, Any] = {"query": QUERY, "from": begin, "size": size, **more}
        body |= {"rescore": {"cross_encoder": {"document_fields": ["title"], **self.said}}}
        return body | ({} if self.view is None else {"_source": self.view})

    def search(self, begin: int, size: int, **more: Any) -> Any:
        """One page of it through our client."""
        return fake_clients.plain(self.client().search(index="a", body=self.body(begin, size, **more)))

    def first_stage(self, **more: Any) -> Any:
        """The official client's answer to the same search."""
        body = {key: value for key, value in self.body(0, 30, **more).items() if key != "rescore"}
        client = fake_clients.official(self.engine, FakeEngine(hits=self.hits))
        return fake_clients.plain(client.search(index="a", body=body))


def _without_score(hit: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in hit.items() if key != "_score"}


def _ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def _untimed(answer: Any) -> Any:
    """The answer without what the clock says."""
    outcome = {key: value for key, value in answer.get("rescore", {}).items() if key not in ("took", "timings")}
    return {**answer, "rescore": outcome}


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
    said |= {"select": draw(CHOICES)}
    return Drawing(draw(ENGINES), hits, Drawn(logits, late), said, draw(VIEWS))


@AT_EASE
@given(drawing=drawings())
def test_hits_are_permuted_and_scores_never_rise(drawing: Drawing) -> None:
    """M2, M3, M9, M11, M22: every hit once, as the engine shows it, the window above the tail in every mode."""
    answer, before = drawing.search(0, 30), drawing.first_stage()
    assert_contract(before, answer)
    found = answer["hits"]["hits"]
    first = {hit["_id"]: _without_score(hit) for hit in before["hits"]["hits"]}
    assert {hit["_id"]: _without_score(hit) for hit in found} == first
    assert len(found) == len(drawing.hits)
    scores = [hit["_score"] for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert answer["hits"]["max_score"] == scores[0]
    window = {hit["_id"] for hit in drawing.hits[: drawing.said["window_size"]]}
    assert {hit["_id"] for hit in found[: len(window)]} == window
    tail = [hit["_id"] for hit in found[len(window) :]]
    assert tail == [hit["_id"] for hit in drawing.hits[len(window) :]]


@AT_EASE
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


@AT_EASE
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


@AT_EASE
@given(drawing=drawings())
def test_replace_ranks_by_logit_and_then_by_first_stage(drawing: Drawing) -> None:
    """S1: among the scored hits a higher logit comes first, and between equal ones the first stage decides."""
    drawing.said |= {"score_mode": "replace", "select": False}
    entries = drawing.search(0, 30)["rescore"]["hits"]
    keys = [
        (-entry["cross_encoder_score"], entry["first_stage_rank"])
        for entry in entries
        if entry["cross_encoder_score"] is not None
    ]
    assert keys == sorted(keys)


@AT_EASE
@given(pair=st.tuples(drawings(), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 12)), max_size=4)))
def test_an_msearch_answers_as_its_searches_alone_would(pair: tuple[Drawing, list[tuple[int, int]]]) -> None:
    """Any pages in one msearch, beside a search of the engine's own: each answer is that of a search of its own."""
    drawing, pages = pair
    lines: list[Any] = [{}, {"query": QUERY, "size": 3}]
    for begin, size in pages:
        lines += [{"index": "a"}, drawing.body(begin, size)]
    before = copy.deepcopy(lines)
    answer = fake_clients.plain(drawing.client().msearch(index="a", body=lines))
    own, *rescored = answer["responses"]
    assert "rescore" not in own
    assert [_untimed({**entry, "status": 200}) for entry in rescored] == [
        _untimed({**drawing.search(begin, size), "status": 200}) for begin, size in pages
    ]
    assert lines == before
    assert drawing.scorer.calls <= 1 + len(pages)


@AT_EASE
@given(drawing=drawings(), shown=FILTERS, begin=st.integers(0, 8))
def test_filter_path_cuts_the_same_answer(drawing: Drawing, shown: list[str], begin: int) -> None:
    """What any filter leaves is that part of the whole rescored answer, though it may hide all that we need."""
    whole = drawing.search(begin, 10)
    client = drawing.client()
    cut = fake_clients.plain(client.search(index="a", body=drawing.body(begin, 10), filter_path=shown))
    wanted = filter_path.filtered(whole, shown, drawing.engine)
    assert {**cut, "rescore": None} == {**wanted, "rescore": None}
    outcome, told = cut.get("rescore", {}), wanted.get("rescore", {})
    assert outcome.keys() == told.keys()
    assert all(outcome[key] == told[key] for key in told if key not in ("took", "timings"))


@AT_EASE
@given(
    drawing=drawings(), least=st.sampled_from([-20.0, -11.5, -3.0, 0.0, 1.0, 9.75, 10.0]), page_size=st.integers(1, 9)
)
def test_min_score_leaves_what_scores_as_high_in_the_same_order(drawing: Drawing, least: float, page_size: int) -> None:
    """Of the whole list: hits scored so high, and those that time was too short for; pages are cut from that."""
    whole = drawing.search(0, 30)
    in_window = {hit["_id"] for hit in drawing.hits[: drawing.said["window_size"]]}
    wanted = [
        entry["_id"]
        for entry in whole["rescore"]["hits"]
        if entry["_id"] in in_window and (entry["cross_encoder_score"] is None or entry["cross_encoder_score"] >= least)
    ]
    drawing.said["min_score"] = least
    found = drawing.search(0, 30)
    assert _ids(found) == wanted
    assert found["rescore"]["totals"]["left_out"] == len(drawing.hits) - len(wanted)
    assert found["hits"]["max_score"] == (found["hits"]["hits"][0]["_score"] if wanted else None)
    assert found["hits"]["total"] == whole["hits"]["total"]
    walked = [name for begin in range(0, 30, page_size) for name in _ids(drawing.search(begin, page_size))]
    assert walked == wanted


@AT_EASE
@given(drawing=drawings(), groups=st.lists(st.integers(0, 6), min_size=25, max_size=25))
def test_groups_are_rescored_by_their_head(drawing: Drawing, groups: list[int]) -> None:
    """M2: under collapse each group comes once, with its head, and groups past the window follow below, in order."""
    for hit, group in zip(drawing.hits, groups, strict=False):
        hit["_source"] = {**hit["_source"], "group": f"g{group}"}
    more = {"collapse": {"field": "group", "inner_hits": {"name": "all"}}}
    before, after = drawing.first_stage(**more), drawing.search(0, 30, **more)
    assert_contract(before, after)
    shown = [hit["fields"]["group"][0] for hit in after["hits"]["hits"]]
    assert len(shown) == len(set(shown)) == len(set(groups[: len(drawing.hits)]))
    window = drawing.said["window_size"]
    assert _ids(after)[window:] == _ids(before)[window:]
    scores = [hit["_score"] for hit in after["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)


NONSENSE = st.sampled_from(
    ["shuffled", "doubled", "missing", "nan", "foreign", "swapped", "none", "too many", "infinite"]
)


class Broken(FakeScorer):
    """Answers with drawn logits by document, in an answer that is broken in drawn ways."""

    def __init__(self, logits: dict[str, float], ways: list[str], place: int) -> None:
        super().__init__(lambda query, text: logits[text])
        self.ways = ways
        self.place = place
        self.is_whole = False

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """Each answer, broken; whole where a later way mends what an earlier one broke."""
        return [self._broken(answer) for answer in super().score_many(requests, timeout_s)]

    def _broken(self, answer: Scores | ScorerError) -> Any:
        assert isinstance(answer, Scores)
        results = list(answer.results)
        for way in self.ways:
            if not results or way == "none":
                return None
            place = self.place % len(results)
            scored = results[place]
            results = {
                "shuffled": results[place:] + results[:place],
                "doubled": [*results, scored],
                "missing": results[:place] + results[place + 1 :],
                "nan": [*results[:place], replace(scored, logit=float("nan")), *results[place + 1 :]],
                "infinite": [*results[:place], replace(scored, score=float("inf")), *results[place + 1 :]],
                "foreign": [*results[:place], replace(scored, id="9:x"), *results[place + 1 :]],
                "swapped": [replace(other, index=len(results) - 1 - other.index) for other in results],
                "too many": [*results, replace(scored, index=len(results))],
            }[way]
        self.is_whole = sorted(results, key=_place) == sorted(answer.results, key=_place)
        return replace(answer, results=results)


def _place(scored: Scored) -> int:
    return scored.index


@AT_EASE
@given(
    drawing=drawings(), ways=st.lists(NONSENSE, min_size=1, max_size=3), place=st.integers(0, 30), many=st.booleans()
)
def test_each_score_reaches_its_own_hit_or_none_does(drawing: Drawing, ways: list[str], place: int, many: bool) -> None:
    """M1: shuffled, doubled, missing, foreign or no numbers: each score is that of its hit, or the fallback is told."""
    logits = drawing.scorer.logits
    drawing.scorer = Broken(logits, ways, place)
    if many:
        lines = [{}, drawing.body(0, 30)]
        (answer,) = fake_clients.plain(drawing.client().msearch(index="a", body=lines))["responses"]
    else:
        answer = drawing.search(0, 30)
    outcome, before = answer["rescore"], drawing.first_stage()
    if outcome["status"] == "fallback":
        assert outcome["reason"] == "bad_scores"
        assert answer["hits"] == before["hits"]
        return
    assert outcome["status"] == "reranked"
    assert drawing.scorer.is_whole
    texts = {hit["_id"]: hit["_source"]["title"] for hit in drawing.hits}
    for entry in outcome["hits"]:
        assert entry["cross_encoder_score"] in (None, logits[texts[entry["_id"]]])
    assert_contract(before, {key: value for key, value in answer.items() if key != "status"})
