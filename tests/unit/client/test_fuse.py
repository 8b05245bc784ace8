"""The scorer's answer checked, and the one order made of two scores."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer import fuse
from rescorer.config import RescoreSettings, ScoreMode
from rescorer.domain import Candidate, Scored, Scores
from rescorer.errors import BadScores, Reason

CANDIDATES = [Candidate(f"{place}:d{place}", ()) for place in range(4)]


def _scored(place: int, logit: float = 1.0, **other: Any) -> Scored:
    return Scored(**{"id": f"{place}:d{place}", "index": place, "logit": logit, "score": logit, **other})


def _block(*logits: float | None) -> list[Scored | None]:
    return [None if logit is None else _scored(place, logit) for place, logit in enumerate(logits)]


def _places(ranked: list[fuse.Ranked]) -> list[int]:
    return [hit.place for hit in ranked]


def test_shuffled_scores_land_on_their_own_candidates() -> None:
    """M1: the order of the answer means nothing; id and index do."""
    results = [_scored(place, logit=10.0 * place) for place in (2, 0, 3, 1)]
    found = fuse.aligned(Scores(results=results), CANDIDATES)
    assert [scored.logit if scored else None for scored in found] == [0.0, 10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([_scored(0), _scored(1), _scored(2)], "misses 1 of 4"),
        ([], "misses 4 of 4"),
        ([*map(_scored, range(4)), _scored(1)], "twice"),
        ([*map(_scored, range(3)), _scored(3, id="3:other")], "not asked for"),
        ([*map(_scored, range(3)), _scored(3, index=4)], "not asked for"),
        ([*map(_scored, range(3)), _scored(3, index=-1)], "not asked for"),
        ([*map(_scored, range(3)), _scored(3, index=2)], "not asked for"),
        ([*map(_scored, range(3)), _scored(3, logit=math.nan)], "not finite"),
        ([*map(_scored, range(3)), _scored(3, logit=math.inf)], "not finite"),
        ([*map(_scored, range(3)), _scored(3, score=-math.inf)], "not finite"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(results: list[Scored], said: str) -> None:
    """M1: missing, doubled, foreign and non-finite scores never reach a hit."""
    with pytest.raises(BadScores, match=said):
        fuse.aligned(Scores(results=results), CANDIDATES)


def test_a_partial_answer_leaves_gaps() -> None:
    """What was not scored in time is None; a partial answer without any score is none at all."""
    partial = Scores(results=[_scored(2)], reason=Reason.DEADLINE_EXCEEDED)
    assert [scored is not None for scored in fuse.aligned(partial, CANDIDATES)] == [False, False, True, False]
    with pytest.raises(BadScores):
        fuse.aligned(Scores(results=[], reason=Reason.DEADLINE_EXCEEDED), CANDIDATES)


def test_equal_logits_keep_first_stage_order() -> None:
    """Ties are settled by the first stage."""
    ranked = fuse.ranked([4.0, 3.0, 2.0, 1.0], _block(0.5, 2.0, 0.5, 2.0), RescoreSettings())
    assert _places(ranked) == [1, 3, 0, 2]


def test_logits_that_float32_cannot_tell_apart_are_equal() -> None:
    """S1: ranking happens in float32, so noise past its precision changes no order."""
    ranked = fuse.ranked([2.0, 1.0], _block(7.0, 7.0 + 1e-9), RescoreSettings())
    assert _places(ranked) == [0, 1]


def test_logits_decide_where_a_sigmoid_would_tie() -> None:
    """S1: two strong logits whose sigmoid is 1.0 are ordered by logit."""
    window = [_scored(0, 40.0, score=1.0), _scored(1, 50.0, score=1.0)]
    ranked = fuse.ranked([2.0, 1.0], window, RescoreSettings(activation="sigmoid"))
    assert [(hit.place, hit.final) for hit in ranked] == [(1, 1.0), (0, 1.0)]


@pytest.mark.parametrize(
    ("mode", "finals"),
    [
        ("replace", [3.0, -2.0]),
        ("total", [21.5, 39.0]),
        ("multiply", [30.0, -40.0]),
        ("avg", [10.75, 19.5]),
        ("max", [20.0, 40.0]),
        ("min", [1.5, -1.0]),
    ],
)
def test_scores_combine_as_in_the_engines(mode: ScoreMode, finals: list[float]) -> None:
    """Each mode is mode(query_weight × first, rescore_query_weight × second), and ``replace`` the second alone."""
    settings = RescoreSettings(score_mode=mode, query_weight=2.0, rescore_query_weight=0.5)
    ranked = fuse.ranked([10.0, 20.0], _block(3.0, -2.0), settings)
    assert {hit.place: hit.final for hit in ranked} == dict(enumerate(finals))


def test_the_tail_continues_below_the_lowest_scored_hit() -> None:
    """M3, M22: the tail keeps its distances, below a window of negative logits, and no 0.0 is invented."""
    ranked = fuse.ranked([9.0, 8.0, 7.5, 5.0], _block(-8.0, -3.0), RescoreSettings())
    assert [(hit.place, hit.final) for hit in ranked] == [(1, -3.0), (0, -8.0), (2, -8.5), (3, -11.0)]


def test_unscored_candidates_follow_the_scored_ones_in_first_stage_order() -> None:
    """A partial window: scored by score, then the unscored, then the tail, and never a rising score."""
    ranked = fuse.ranked([9.0, 8.0, 7.0, 6.0, 5.0], _block(None, 1.0, None, 4.0), RescoreSettings())
    assert _places(ranked) == [3, 1, 0, 2, 4]
    assert [hit.final for hit in ranked] == [4.0, 1.0, 1.0, 1.0, 0.0]
    assert [hit.scored is None for hit in ranked] == [False, False, True, True, True]


def test_hits_without_first_stage_score_are_defined() -> None:
    """Where the engine gave no score, the second one stands alone and the tail stays level."""
    ranked = fuse.ranked([None, None, None], _block(1.0, 2.0), RescoreSettings(score_mode="total"))
    assert [(hit.place, hit.final) for hit in ranked] == [(1, 2.0), (0, 1.0), (2, 1.0)]


def test_weights_that_overflow_are_a_visible_error() -> None:
    """A score that is not finite is refused, not sent to the application."""
    with pytest.raises(BadScores, match="multiply"):
        fuse.ranked([1e300], _block(1e30), RescoreSettings(score_mode="multiply", query_weight=1e200))


FINITE = st.floats(-50, 50, width=32)


@st.composite
def _lists(draw: Any) -> tuple[list[float], list[float | None], RescoreSettings]:
    first = sorted(draw(st.lists(st.floats(0, 40), min_size=1, max_size=30)), reverse=True)
    window = draw(st.integers(1, len(first)))
    logits = draw(
        st.lists(st.none() | FINITE, min_size=window, max_size=window).filter(
            lambda some: any(logit is not None for logit in some)
        )
    )
    settings = RescoreSettings(
        score_mode=draw(st.sampled_from(get_args(ScoreMode))),
        query_weight=draw(st.floats(-2, 2)),
        rescore_query_weight=draw(st.floats(-2, 2)),
    )
    return first, logits, settings


@given(given_lists=_lists())
def test_every_hit_is_there_once_and_scores_never_rise(given_lists: Any) -> None:
    """M2, M3, M22: in every mode, with any weights, hits are permuted and the seam is monotone."""
    first, logits, settings = given_lists
    ranked = fuse.ranked(first, _block(*logits), settings)
    assert sorted(_places(ranked)) == list(range(len(first)))
    finals = [hit.final for hit in ranked]
    assert all(math.isfinite(final) for final in finals)
    assert finals == sorted(finals, reverse=True)
    scored = [hit.scored is not None for hit in ranked]
    assert scored == sorted(scored, reverse=True)
    below = [hit.place for hit in ranked if hit.scored is None]
    assert below == sorted(below)


@given(given_lists=_lists())
def test_ties_and_nothing_else_keep_first_stage_order(given_lists: Any) -> None:
    """Between two scored hits the higher score wins, and the first stage only where they are equal."""
    first, logits, settings = given_lists
    block = [hit for hit in fuse.ranked(first, _block(*logits), settings) if hit.scored is not None]
    for above, under in itertools.pairwise(block):
        assert above.final > under.final or above.place < under.place


class Odd(float):
    """A number of another class, as numpy's are."""


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "scores",
        Scores(results=None),  # type: ignore[arg-type]
        Scores(results=[None]),  # type: ignore[list-item]
        Scores(results=[("0:a", 0, 1.0)]),  # type: ignore[list-item]
        Scores(results=[Scored(id="0:a", index="0", logit=1.0, score=1.0)]),  # type: ignore[arg-type]
        Scores(results=[Scored(id="0:a", index=0, logit="1", score=1.0)]),  # type: ignore[arg-type]
        Scores(results=[Scored(id="0:a", index=0, logit=1.0, score=None)]),  # type: ignore[arg-type]
        Scores(results=[Scored(id="0:a", index=0, logit=True, score=1.0)]),
        Scores(results=[Scored(id="0:a", index=0, logit=10**400, score=1.0)]),
        Scores(results=[Scored(id="0:a", index=0, logit=1.0, score=1.0)], timings=None),  # type: ignore[arg-type]
        Scores(results=[Scored(id="0:a", index=0, logit=1.0, score=1.0)], timings={"a": "b"}),  # type: ignore[dict-item]
    ],
)
def test_what_is_no_answer_at_all_is_refused(answer: Any) -> None:
    """M1: whatever a scorer hands over, it is BadScores, never another error."""
    with pytest.raises(BadScores):
        fuse.aligned(answer, [Candidate("0:a", ())])


@pytest.mark.parametrize("number", [1, Odd(1.0), np.float32(1.0), np.int64(1)])
def test_numbers_of_other_classes_become_floats(number: Any) -> None:
    """A scorer may answer whole numbers or numpy's: what goes into the hits is a float, which JSON can write."""
    (found,) = fuse.aligned(
        Scores(results=[Scored(id="0:a", index=0, logit=number, score=number)]), [Candidate("0:a", ())]
    )
    assert found is not None
    assert (type(found.logit), type(found.score), found.score) == (float, float, 1.0)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 10**400, "7", [], True])
def test_a_first_stage_score_that_is_no_number_counts_as_none(odd: Any) -> None:
    """The engine's odd score joins no sum: its hit keeps its place, and every final score is a finite number."""
    window = [Scored(id="0:a", index=0, logit=1.0, score=1.0), Scored(id="1:b", index=1, logit=2.0, score=2.0)]
    order = fuse.ranked([odd, 3.0, odd, 2.0], window, RescoreSettings(score_mode="total"))
    assert [hit.place for hit in order] == [1, 0, 2, 3]
    assert [hit.final for hit in order] == [5.0, 1.0, 1.0, 0.0]
