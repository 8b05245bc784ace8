"""Cascades and choices in searches: the hits contract over generated ones, what the outcome tells, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer.config import ScoreMode
from rescorer.domain import Choice, Engine, Outcome, ScoreRequest, Scores, StageResult
from rescorer.errors import InvalidSetting, Reason, ScorerError
from rescorer.testing import FakeScorer, assert_contract, assert_page_contract
from unit.client import fake_clients
from unit.client.fake_engine import FakeEngine

QUERY = {"match": {"title": "words"}}
AT_EASE = settings(max_examples=60, deadline=None)
LOGITS = st.sampled_from([-11.5, -3.0, -3.0, 0.0, 2.5, 9.75])
NAMES = ("small", "middle", "large")


class Cut(FakeScorer):
    """A fake whose last stage gets no further than ``reach`` of its candidates before the time is over."""

    def __init__(self, logits: dict[str, dict[str, float]], reach: int) -> None:
        super().__init__({name: lambda _, text, own=own: own[text] for name, own in logits.items()})
        self.reach = reach

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """The whole answer, or what a sidecar says whose last stage was cut off: those it scored, then the others."""
        return [self._cut(entry) for entry in super().score_many(requests, timeout_s)]

    def _cut(self, scores: Scores | ScorerError) -> Scores | ScorerError:
        assert isinstance(scores, Scores)
        last = len(scores.stages)
        reached = sorted((entry for entry in scores.results if entry.stage == last), key=lambda entry: -entry.logit)
        if len(reached) <= self.reach:
            return scores
        cut_off = {entry.index for entry in reached[self.reach :]}
        return replace(
            scores,
            results=[replace(entry, stage=last - 1) if entry.index in cut_off else entry for entry in scores.results],
            reason=Reason.DEADLINE_EXCEEDED,
            stages=[*scores.stages[:-1], replace(scores.stages[-1], scored=self.reach)],
        )


@dataclass
class Drawing:
    """A first stage, and a cascade over it."""

    engine: Engine
    hits: list[dict[str, Any]]
    scorer: FakeScorer
    said: dict[str, Any]

    def search(self, begin: int, size: int, **more: Any) -> Any:
        """One page through our client."""
        client = fake_clients.made(self.engine, FakeEngine(hits=self.hits), self.scorer)
        return fake_clients.plain(client.search(index="a", body=self.body(begin, size, **more)))

    def body(self, begin: int, size: int, **more: Any) -> dict[str, Any]:
        """The search of one page."""
        rescore = {"rescore": {"cross_encoder": {"document_fields": ["title"], **self.said}}}
        return {"query": QUERY, "from": begin, "size": size, **rescore, **more}

    def first_stage(self, begin: int, size: int) -> Any:
        """What the official client answers."""
        client = fake_clients.official(self.engine, FakeEngine(hits=self.hits))
        return fake_clients.plain(client.search(index="a", body={"query": QUERY, "from": begin, "size": size}))


@st.composite
def drawings(draw: Any) -> Drawing:
    """Up to 25 hits, two or three stages with logits that are often equal, some of them cut off by time."""
    firsts = sorted(draw(st.lists(st.integers(0, 12), min_size=1, max_size=25)), reverse=True)
    texts = [f"text {place}" for place in range(len(firsts))]
    hits = [
        {"_index": "a", "_id": f"d{place}", "_score": float(first), "_source": {"title": texts[place]}}
        for place, first in enumerate(firsts)
    ]
    names = NAMES[: draw(st.integers(2, 3))]
    stages: list[dict[str, Any]] = [{"model": name, "keep": draw(st.integers(1, 30))} for name in names[:-1]]
    said = {"window_size": draw(st.integers(1, 30)), "score_mode": draw(st.sampled_from(get_args(ScoreMode)))}
    said |= {"query_weight": draw(st.floats(-1, 2)), "rescore_query_weight": draw(st.floats(-1, 2))}
    said |= {"cascade": [*stages, {"model": names[-1]}]}
    logits = {name: {text: draw(LOGITS) for text in texts} for name in names}
    engine = draw(st.sampled_from(get_args(Engine)))
    return Drawing(engine, hits, Cut(logits, draw(st.sampled_from([0, 1, 3, 30]))), said)


@AT_EASE
@given(drawing=drawings())
def test_a_cascade_permutes_hits_and_its_stages_stand_in_order(drawing: Drawing) -> None:
    """Every hit once, scores never rise, later stages above earlier ones above the tail, in every mode."""
    answer, before = drawing.search(0, 30), drawing.first_stage(0, 30)
    assert_contract(before, answer)
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    stages = [entry.get("stage", 0) for entry in answer["rescore"]["hits"]]
    assert stages == sorted(stages, reverse=True)
    assert stages.count(0) == max(0, len(drawing.hits) - drawing.said["window_size"])


@AT_EASE
@given(drawing=drawings())
def test_each_stage_has_the_order_of_its_own_model(drawing: Drawing) -> None:
    """Under ``replace``: inside a stage a higher logit of that stage's model stands first, then the first stage."""
    drawing.said["score_mode"] = "replace"
    told = drawing.search(0, 30)["rescore"]
    assert isinstance(drawing.scorer.logit, dict)
    for number, stage in enumerate(told["stages"], 1):
        entries = [entry for entry in told["hits"] if entry.get("stage") == number]
        own = drawing.scorer.logit[stage["model"]]
        ranks = [entry["first_stage_rank"] for entry in entries]
        if told["status"] == "reranked":
            assert ranks == sorted(ranks, key=lambda rank: (-own("", f"text {rank - 1}"), rank))


@AT_EASE
@given(drawing=drawings(), page_size=st.integers(1, 9))
def test_pages_of_a_cascade_laid_end_to_end_are_the_long_list(drawing: Drawing, page_size: int) -> None:
    """Each page is cut from one list, across both kinds of seam."""
    whole = drawing.search(0, 30)["hits"]["hits"]
    for begin in range(0, drawing.said["window_size"], page_size):
        answer = drawing.search(begin, page_size)
        assert answer["hits"]["hits"] == whole[begin : begin + page_size]
        assert_page_contract(drawing.first_stage(begin, page_size), answer)


def one(scorer: Any, **said: Any) -> Any:
    """A search of five hits through a client with this scorer."""
    texts = ["words", "words words", "other", "words words words", "none"]
    hits = [
        {"_index": "a", "_id": f"d{place}", "_score": 9.0 - place, "_source": {"title": text}}
        for place, text in enumerate(texts)
    ]
    return Drawing("opensearch", hits, scorer, said)


LENGTHS = {"small": lambda _, text: float(len(text)), "large": lambda _, text: -float(len(text))}


def test_the_outcome_tells_what_each_stage_did() -> None:
    """By hand: the small model keeps the three longest, the large one prefers short ones; nothing else was asked."""
    scorer = FakeScorer(LENGTHS)
    search = one(scorer, cascade=[{"model": "small", "keep": 3}, {"model": "large"}])
    answer = search.search(0, 10)
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["d0", "d1", "d3", "d2", "d4"]
    outcome = answer["rescore"]
    assert (outcome["status"], outcome["reason"], outcome["model"], outcome["choice"]) == (
        "reranked",
        None,
        "large",
        None,
    )
    assert outcome["stages"] == [
        {"model": "small", "candidates": 5, "scored": 5, "ms": 0.0},
        {"model": "large", "candidates": 3, "scored": 3, "ms": 0.0},
    ]
    assert [entry["stage"] for entry in outcome["hits"]] == [2, 2, 2, 1, 1]
    (request,) = scorer.requests
    assert (request.model, [(stage.model, stage.keep) for stage in request.cascade]) == (
        "",
        [("small", 3), ("large", 0)],
    )


def test_a_stage_that_was_cut_off_makes_the_answer_partial() -> None:
    """Every candidate has a score, but not every survivor that of the last stage: ``partial``, with the stage told."""
    logits = {
        name: {text: LENGTHS[name]("", text) for text in ("words", "words words", "other", "words words words", "none")}
        for name in LENGTHS
    }
    answer = one(Cut(logits, 1), cascade=[{"model": "small", "keep": 3}, {"model": "large"}]).search(0, 10)
    outcome = answer["rescore"]
    assert (outcome["status"], outcome["reason"], outcome["scored"]) == ("partial", "deadline_exceeded", 5)
    assert outcome["stages"][1] == {"model": "large", "candidates": 3, "scored": 1, "ms": 0.0}
    assert [entry["stage"] for entry in outcome["hits"]] == [2, 1, 1, 1, 1]


def test_explain_names_the_model_of_each_hits_stage() -> None:
    """The node and ``_rescore`` say whose score it is."""
    search = one(FakeScorer(LENGTHS), cascade=[{"model": "small", "keep": 3}, {"model": "large"}])
    found = search.search(0, 10, explain=True)["hits"]["hits"]
    assert [hit["_rescore"]["model"] for hit in found] == ["large"] * 3 + ["small"] * 2
    node = found[3]["_explanation"]["details"][0]
    assert node["description"] == "cross_encoder score, model small, stage 1 of the cascade"


class Chooses(FakeScorer):
    """A fake that answers as a sidecar which narrowed the window to two."""

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """The first two candidates."""
        (whole,) = super().score_many(requests, timeout_s)
        assert isinstance(whole, Scores)
        choice = Choice(model="small", window=2, reason="large needs 4010 of 60 ms (measured); so small scores 2 of 5")
        reason = Reason.DEADLINE_EXCEEDED
        return [replace(whole, model="small", results=whole.results[:2], choice=choice, reason=reason)]


def test_the_outcome_tells_what_auto_took_and_why() -> None:
    """Model, window and reason; where all was scored ``reranked``, where the window was narrowed ``partial``."""
    asked = {"model": "auto", "models": ["large", "small"], "budget_ms": 60}
    whole = one(FakeScorer(LENGTHS), **asked).search(0, 10)["rescore"]
    assert (whole["status"], whole["model"], whole["stages"]) == ("reranked", "large", None)
    assert whole["choice"] == {"model": "large", "window": 5, "reason": "a fake takes the best"}
    narrowed = one(Chooses(LENGTHS), **asked).search(0, 10)["rescore"]
    assert (narrowed["status"], narrowed["reason"], narrowed["scored"]) == ("partial", "deadline_exceeded", 2)
    assert narrowed["choice"]["window"] == 2
    assert narrowed["choice"]["reason"].startswith("large needs 4010 of 60 ms")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"cascade": [{"model": "a"}]}, "rescore.cross_encoder.cascade"),
        ({"cascade": [{"model": "a"}, {"model": "b", "keep": 2}]}, "rescore.cross_encoder.cascade[1].keep"),
        ({"cascade": [{"model": "a"}, {"model": "b"}], "model": "c"}, "rescore.cross_encoder.cascade"),
        ({"model": "auto"}, "rescore.cross_encoder.model"),
        ({"models": ["a"]}, "rescore.cross_encoder.models"),
    ],
)
def test_a_wrong_wish_for_models_is_refused_before_anything_is_sent(said: dict[str, Any], path: str) -> None:
    """Field, value and mend; neither engine nor sidecar hears of it."""
    scorer = FakeScorer()
    with pytest.raises(InvalidSetting) as refused:
        one(scorer, **said).search(0, 10)
    assert refused.value.path == path
    assert scorer.calls == 0


def test_a_stage_result_is_told_in_json_types() -> None:
    """Milliseconds are rounded as all times are."""
    told = Outcome(status="partial", stages=[StageResult(model="m", candidates=3, scored=1, ms=1.23456)]).as_dict()
    assert told["stages"] == [{"model": "m", "candidates": 3, "scored": 1, "ms": 1.235}]


class Answers(FakeScorer):
    """A fake that hands over what it was made with, changed by ``change``."""

    def __init__(self, change: Callable[[Scores], Scores]) -> None:
        super().__init__(LENGTHS)
        self.change = change

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """Each answer, changed."""
        answers = super().score_many(requests, timeout_s)
        return [self.change(entry) if isinstance(entry, Scores) else entry for entry in answers]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda scores: replace(scores, stages=[], results=[replace(entry, stage=0) for entry in scores.results]),
            "the scorer's answer tells of 0 stages, and 2 were asked for: update it",
        ),
        (
            lambda scores: replace(scores, results=[replace(entry, stage=3) for entry in scores.results]),
            "the scorer's answer holds a score of a stage that was not asked for",
        ),
        (
            lambda scores: replace(scores, results=[replace(entry, stage=0) for entry in scores.results]),
            "the scorer's answer holds a score of a stage that was not asked for",
        ),
        (lambda scores: replace(scores, stages=None), "in a form that is none of ours"),
        (lambda scores: replace(scores, stages=["small", "large"]), "in a form that is none of ours"),
        (lambda scores: replace(scores, choice="large"), "in a form that is none of ours"),
    ],
)
def test_a_scorer_that_ran_no_such_cascade_is_a_visible_fallback(change: Callable[[Scores], Scores], said: str) -> None:
    """An older sidecar scores with one model and knows no stages: that never passes for what was asked."""
    answer = one(Answers(change), cascade=[{"model": "small", "keep": 3}, {"model": "large"}]).search(0, 10)
    outcome = answer["rescore"]
    assert (outcome["status"], outcome["reason"]) == ("fallback", "bad_scores")
    assert said in outcome["detail"]
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == [f"d{place}" for place in range(5)]


class Narrow(FakeScorer):
    """A fake with time for ``count`` candidates, which says so as a sidecar does."""

    def __init__(self, count: int, told: Any = None) -> None:
        super().__init__(LENGTHS)
        self.count, self.told = count, told

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """The first scores of each answer."""
        return [self._cut(entry) for entry in super().score_many(requests, timeout_s)]

    def _cut(self, scores: Scores | ScorerError) -> Scores | ScorerError:
        assert isinstance(scores, Scores)
        assert scores.choice is not None
        kept = [entry for entry in scores.results if entry.index < self.count]
        told = replace(scores.choice, window=self.count if self.told is None else self.told)
        reason = None if len(kept) == len(scores.results) else Reason.DEADLINE_EXCEEDED
        return replace(scores, results=kept, choice=told, reason=reason)


def test_an_auto_window_is_what_the_budget_allows() -> None:
    """What was scored is the window, the rest the tail; that is what was asked for, so the answer is whole."""
    scorer = Narrow(3)
    answer = one(scorer, window_size="auto", model="small").search(0, 10)
    outcome = answer["rescore"]
    assert (outcome["status"], outcome["reason"], outcome["window"], outcome["scored"]) == ("reranked", None, 3, 3)
    assert outcome["choice"]["window"] == 3
    assert (scorer.requests[0].model, scorer.requests[0].models) == ("auto", ("small",))
    first = plain_ids(one(FakeScorer(LENGTHS), enabled=False).search(0, 10))
    assert plain_ids(answer)[3:] == first[3:]
    assert sorted(plain_ids(answer)[:3]) == sorted(first[:3])


def test_min_score_leaves_out_the_tail_of_an_auto_window() -> None:
    """What the window was not chosen for has no score, and is no part of it."""
    answer = one(Narrow(3), window_size="auto", model="small", min_score=-1e9).search(0, 10)
    assert len(answer["hits"]["hits"]) == 3


@pytest.mark.parametrize(("model", "asked"), [("small", ("small",)), (None, ("large", "small"))])
def test_an_auto_window_of_named_models_asks_for_them(model: str | None, asked: tuple[str, ...]) -> None:
    """One model, or the best of several for the budget; each may score fewer hits than there are."""
    scorer = Narrow(2)
    said = {"model": model} if model else {"model": "auto", "models": ["large", "small"]}
    outcome = one(scorer, window_size="auto", **said).search(0, 10)["rescore"]
    assert scorer.requests[0].models == asked
    assert (outcome["status"], outcome["window"]) == ("reranked", 2)


@pytest.mark.parametrize("told", [0, -3, 7, "three", None])
def test_nonsense_about_the_window_loses_no_score(told: Any) -> None:
    """Whatever a scorer says of its choice, what it scored is ranked, and every hit is there."""
    answer = one(Narrow(3, told), window_size="auto", model="small").search(0, 10)
    assert answer["rescore"]["scored"] == 3
    assert sorted(plain_ids(answer)) == sorted(plain_ids(one(FakeScorer(LENGTHS), enabled=False).search(0, 10)))


def test_an_auto_window_is_shown_as_it_was_written() -> None:
    """The plan says ``auto``, and up to 200 hits are asked for."""
    said = {"document_fields": ["title"], "window_size": "auto"}
    client = fake_clients.made("opensearch", FakeEngine(), FakeScorer(LENGTHS))
    told = client.rescorer.explain(index="a", body={"query": QUERY, "rescore": {"cross_encoder": said}})
    assert told["settings"]["window_size"]["value"] == "auto"
    assert told["sent"]["body"]["size"] == 200


def plain_ids(answer: Any) -> list[str]:
    """The ids of the page."""
    return [hit["_id"] for hit in answer["hits"]["hits"]]
