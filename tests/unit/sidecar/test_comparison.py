"""Whether a new version orders and scores as the old one: each figure against a way to work it out by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.comparison import Bounds, Sample, compare, distance, rank_correlation

LOGITS = st.lists(st.integers(-20, 20).map(float), min_size=3, max_size=12)


def sample(*pairs: tuple[float, float]) -> Sample:
    """One request's logits, old and new side by side."""
    return Sample(old=tuple(old for old, _ in pairs), new=tuple(new for _, new in pairs))


@given(LOGITS)
def test_a_version_beside_itself_has_no_objection(logits: list[float]) -> None:
    """The same logits from both versions agree in everything."""
    found = compare([Sample(old=tuple(logits), new=tuple(logits))])
    assert (found.rank_correlation, found.distance, found.shift) == (1.0, 0.0, 0.0)
    assert found.objections(Bounds()) == ()


def test_the_rank_correlation_is_spearmans() -> None:
    """Without ties it is 1 − 6 Σd² / n(n² − 1), for every order of five candidates."""
    old = (1.0, 2.0, 3.0, 4.0, 5.0)
    for new in itertools.permutations(old):
        moved = sum((a - b) ** 2 for a, b in zip(old, new, strict=True))
        assert rank_correlation(old, new) == pytest.approx(1 - 6 * moved / (5 * 24))


def test_ties_share_their_rank() -> None:
    """Two equal logits stand between the ranks that they would have: Pearson's over 1, 2.5, 2.5, 4 and 1, 2, 3, 4."""
    assert rank_correlation((0.0, 1.0, 1.0, 2.0), (0.0, 1.0, 2.0, 3.0)) == pytest.approx(4.5 / (4.5 * 5.0) ** 0.5)


def test_a_version_that_gives_all_candidates_one_score_does_not_agree() -> None:
    """Logits without any order correlate with nothing, and a request where neither has an order is no objection."""
    assert rank_correlation((1.0, 2.0, 3.0), (7.0, 7.0, 7.0)) == 0.0
    assert rank_correlation((2.0, 2.0, 2.0), (7.0, 7.0, 7.0)) == 1.0


@given(LOGITS, LOGITS)
def test_the_distance_is_the_largest_gap_of_the_two_distribution_functions(old: list[float], new: list[float]) -> None:
    """Nowhere do the shares of logits at or below a value differ by more, and somewhere by as much."""
    gaps = [
        abs(sum(value <= at for value in old) / len(old) - sum(value <= at for value in new) / len(new))
        for at in (*old, *new)
    ]
    assert distance(sorted(old), sorted(new)) == pytest.approx(max(gaps))


def test_a_moved_scale_is_told_though_the_order_is_the_same() -> None:
    """A version that adds 5 to every logit orders alike, and breaks what stands on the scale."""
    old = tuple(float(number) for number in range(11))
    found = compare([Sample(old=old, new=tuple(value + 5 for value in old))])
    assert found.rank_correlation == 1.0
    assert found.shift == pytest.approx(5 / 8)
    assert found.distance == pytest.approx(5 / 11)
    assert [line.split(" 0")[0] for line in found.objections(Bounds())] == [
        "distance of the score distributions",
        "quantile shift",
    ]


def test_a_turned_order_is_told_though_the_distribution_is_the_same() -> None:
    """A version that turns every order round keeps all quantiles, and is told by its rank correlation."""
    found = compare([sample((1.0, 3.0), (2.0, 2.0), (3.0, 1.0))] * 5)
    assert (found.rank_correlation, found.distance, found.shift) == (-1.0, 0.0, 0.0)
    assert found.objections(Bounds()) == ("rank correlation -1.00 is below 0.80",)


def test_requests_with_two_candidates_say_nothing() -> None:
    """An order of two is right by chance half of the time; with nothing longer there is no comparison."""
    with pytest.raises(ValueError, match="3 candidates or more"):
        compare([sample((1.0, 2.0), (2.0, 1.0))])


def test_a_scale_of_no_width_has_moved_without_bound() -> None:
    """Where the old version gives one logit to all, any other quantile is an infinite shift."""
    assert compare([sample((1.0, 2.0), (1.0, 3.0), (1.0, 4.0))]).shift == float("inf")
