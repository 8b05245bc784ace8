"""What a cascade does with logits: who survives, and that two stages' scores make one order that never rises."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.cascade import joined, ranked, survivors

MOST = 2.0**100
LOGITS = st.floats(-MOST, MOST, width=32)
CLOSE = st.sampled_from([-1.0, 0.0, -0.0, 1.0, 1 + 2.0**-23, 2.0**-149, -(2.0**-149), MOST])
LOWER = st.dictionaries(st.integers(0, 30), LOGITS | CLOSE, min_size=1)


@st.composite
def two_stages(draw: st.DrawFn) -> tuple[dict[int, float], dict[int, float]]:
    """The later stage's logits of some of the earlier stage's candidates, and the earlier stage's of all."""
    lower = draw(LOWER)
    above = draw(st.sets(st.sampled_from(sorted(lower))))
    return {place: draw(LOGITS | CLOSE) for place in above}, lower


def float32(value: float) -> float:
    """The value as the wire carries it."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


@given(two_stages())
def test_every_candidate_keeps_its_place_and_no_other_comes(stages: tuple[dict[int, float], dict[int, float]]) -> None:
    """Joining is a permutation: the places that went in come out, each with one finite float32."""
    upper, lower = stages
    found = joined(upper, lower)
    assert found.keys() == lower.keys()
    assert all(math.isfinite(value) and float32(value) == value for value in found.values())


@given(two_stages())
def test_no_survivor_ends_below_a_candidate_that_is_none(stages: tuple[dict[int, float], dict[int, float]]) -> None:
    """Every logit above the seam is really higher than every one below, on the wire too."""
    upper, lower = stages
    found = joined(upper, lower)
    below = lower.keys() - upper.keys()
    assert all(found[high] > found[low] for high in upper for low in below)


@given(two_stages())
def test_each_stage_keeps_its_own_order(stages: tuple[dict[int, float], dict[int, float]]) -> None:
    """Above the seam logits are as they were; below it higher stays higher and equal stays equal."""
    upper, lower = stages
    found = joined(upper, lower)
    assert {place: found[place] for place in upper} == upper
    below = sorted(lower.keys() - upper.keys())
    for one in below:
        for other in below:
            assert (found[one] < found[other]) == (lower[one] < lower[other])


@given(two_stages(), st.data())
def test_three_stages_are_one_order(stages: tuple[dict[int, float], dict[int, float]], data: st.DataObject) -> None:
    """Joined from the last stage down, each stage stands above the one before it."""
    middle, first = stages
    last = {place: data.draw(LOGITS) for place in survivors(middle, 3)}
    found = joined(joined(last, middle), first) if middle else joined({}, first)
    groups = [last.keys(), middle.keys() - last.keys(), first.keys() - middle.keys()]
    lowest = math.inf
    for group in groups:
        values = [found[place] for place in group]
        assert all(value < lowest for value in values)
        lowest = min([lowest, *values])


def test_the_join_continues_by_the_earlier_stages_distances() -> None:
    """By hand: the seam is at 2.0 of the earlier stage and at -1.0 of the later one."""
    assert joined({0: 4.0, 2: -1.0}, {0: 2.0, 1: 1.5, 2: 3.0, 3: -6.0}) == {0: 4.0, 2: -1.0, 1: -1.5, 3: -9.0}


def test_survivors_that_the_next_stage_could_not_score_lead_what_is_below() -> None:
    """By hand: 1 was to survive with 5.0 and has no score; it stands one step below the seam, the rest by distance."""
    found = joined({0: 7.0}, {0: 2.0, 1: 5.0, 2: 4.0})
    assert ranked(found) == [0, 1, 2]
    assert 6.999 < found[1] < 7.0
    assert found[2] == pytest.approx(6.0, abs=1e-5)


@pytest.mark.parametrize(("upper", "lower"), [({}, {0: 1.5, 1: -2.0}), ({0: 3.0, 1: 1.0}, {0: 0.0, 1: 9.0})])
def test_one_stage_alone_has_its_own_logits(upper: Mapping[int, float], lower: Mapping[int, float]) -> None:
    """Where the later stage has scored nothing, or everything, there is no seam."""
    assert joined(upper, lower) == (upper or lower)


@given(LOWER, st.integers(0, 40))
def test_the_highest_survive(logits: dict[int, float], keep: int) -> None:
    """At most as many as asked, none with a lower logit than one that does not survive, equals by place."""
    kept = survivors(logits, keep)
    rest = [place for place in logits if place not in kept]
    assert len(kept) == (min(keep, len(logits)) if keep else len(logits))
    assert all((-logits[one], one) < (-logits[other], other) for one in kept for other in rest)
