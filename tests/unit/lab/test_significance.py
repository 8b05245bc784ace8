"""The randomisation test and its correction: known values, bounds, the same result every time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rescorer_lab.evaluation import significance


def _of(values: list[float]) -> dict[str, float]:
    return {str(place): value for place, value in enumerate(values)}


def test_a_gain_on_every_topic_has_the_p_of_flipping_all_signs() -> None:
    """Of the 2^8 ways to give eight equal gains a sign, two are as extreme: all up and all down."""
    before, after = _of([0.0] * 8), _of([0.1] * 8)
    assert significance.p_value(before, after) == pytest.approx(2 / 2**8, abs=0.003)


@given(st.lists(st.integers(-64, 64).map(lambda parts: parts / 64), min_size=2, max_size=60))
@settings(max_examples=20)
def test_the_p_value_is_the_one_of_scipy(gained: list[float]) -> None:
    """They differ by chance alone, by a standard deviation of 0.006 at most: ours draws 10,000 flips, scipy 100,000."""
    theirs = stats.permutation_test(
        (np.array(gained),), np.mean, permutation_type="samples", n_resamples=100_000, rng=np.random.default_rng(1)
    )
    ours = significance.p_value(_of([0.0] * len(gained)), _of(gained))
    assert ours == pytest.approx(float(theirs.pvalue), abs=0.03)


@pytest.mark.parametrize("topics", [100, 5_000])
def test_memory_is_bounded_whatever_the_number_of_topics(topics: int) -> None:
    """Ten thousand resamples of 5,000 topics would be 400 MB."""
    before, after = _of([0.0] * topics), _of([0.1, -0.1] * (topics // 2))
    tracemalloc.start()
    significance.difference(before, after)
    significance.p_value(before, after)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 60_000_000


def test_no_difference_at_all_is_certain_to_be_chance() -> None:
    """Equal systems have p = 1."""
    same = _of([0.2, 0.4, 0.6])
    assert significance.p_value(same, same) == 1.0


def test_one_topic_says_nothing() -> None:
    """However far apart, one pair of values has p = 1, and is no error."""
    assert significance.p_value({"q1": 0.0}, {"q1": 1.0}) == 1.0


def test_the_test_is_the_same_every_time() -> None:
    """Many topics are sampled, from a fixed seed."""
    before, after = _of([0.0] * 60), _of([place % 7 / 7 - 0.3 for place in range(60)])
    assert significance.p_value(before, after) == significance.p_value(before, after)


def test_holm_is_as_in_the_paper() -> None:
    """The smallest p counts as often as there are tests, the next once less, and none falls below the one before."""
    found = significance.holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert found == {"a": pytest.approx(0.03), "b": pytest.approx(0.06), "c": pytest.approx(0.06)}


@given(st.dictionaries(st.text("abcdef", min_size=1), st.floats(0, 1), min_size=1))
def test_a_corrected_p_is_never_smaller_and_never_above_one(p_values: dict[str, float]) -> None:
    """The correction only takes confidence away, keeps the order, and keeps probabilities."""
    found = significance.holm(p_values)
    assert list(found) == list(p_values)
    assert all(p_values[name] <= found[name] <= 1 for name in p_values)
    ordered = sorted(p_values, key=lambda name: p_values[name])
    assert [found[name] for name in ordered] == sorted(found.values())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_lies_within_the_extremes(values: list[float]) -> None:
    """The mean of a resample is never outside the values."""
    low, high = significance.interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
