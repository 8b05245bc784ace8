"""Measures and differences: known values, nothing forgotten, the same result every time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_lab.evaluation import measures, significance

QRELS = {"q1": {"a": 1, "b": 1}, "q2": {"c": 1}}


def test_measures_are_those_of_the_textbook() -> None:
    """nDCG@10, MRR@10 and P@10 of a list with its relevant documents at ranks 2 and 3, computed by hand."""
    found = measures.evaluate({"q1": QRELS["q1"]}, {"q1": ["x", "a", "b"]}).per_query
    gain = 1 / math.log2(3) + 1 / math.log2(4)
    ideal = 1 / math.log2(2) + 1 / math.log2(3)
    assert found["nDCG@10"]["q1"] == pytest.approx(gain / ideal)
    assert found["MRR@10"]["q1"] == pytest.approx(1 / 2)
    assert found["P@10"]["q1"] == pytest.approx(2 / 10)


def test_grades_count_in_ndcg() -> None:
    """The better document first is worth more than the worse one first."""
    qrels = {"q": {"good": 2, "fair": 1}}
    best = measures.evaluate(qrels, {"q": ["good", "fair"]}).means["nDCG@10"]
    turned = measures.evaluate(qrels, {"q": ["fair", "good"]}).means["nDCG@10"]
    assert best == pytest.approx(1.0)
    assert turned < best


def test_a_judged_query_without_hits_counts_as_zero() -> None:
    """Means are over all judged queries, also over those that found nothing or were never run."""
    found = measures.evaluate(QRELS, {"q1": [], "q2": ["c"]})
    assert found.per_query["nDCG@10"] == {"q1": 0.0, "q2": 1.0}
    assert found.means["MRR@10"] == pytest.approx(0.5)
    assert measures.evaluate(QRELS, {}).means == {"nDCG@10": 0.0, "MRR@10": 0.0, "P@10": 0.0}


def test_a_query_without_judgments_does_not_count() -> None:
    """A list for a query that nobody judged changes nothing."""
    run = {"q1": ["a"], "q2": ["c"]}
    assert measures.evaluate(QRELS, {**run, "q3": ["a"]}) == measures.evaluate(QRELS, run)


def test_rank_eleven_is_out_of_sight() -> None:
    """All three measures look at ten hits and no further."""
    run = {"q2": [*(f"x{place}" for place in range(10)), "c"]}
    assert set(measures.evaluate({"q2": QRELS["q2"]}, run).means.values()) == {0.0}


def test_the_order_of_the_list_decides_and_not_the_ids() -> None:
    """A list is measured as it was shown, whatever its ids sort like."""
    up = measures.evaluate({"q": {"z": 1}}, {"q": ["a", "z"]}).means["MRR@10"]
    down = measures.evaluate({"q": {"a": 1}}, {"q": ["z", "a"]}).means["MRR@10"]
    assert up == down == pytest.approx(0.5)


@pytest.mark.parametrize(("window", "expected"), [(1, 0.0), (2, 0.5), (3, 1.0), (30, 1.0)])
def test_window_recall_is_the_share_of_relevant_documents_in_the_window(window: int, expected: float) -> None:
    """Two relevant documents at ranks 2 and 3 come into the window one after the other."""
    found = measures.window_recall({"q1": QRELS["q1"]}, {"q1": ["x", "a", "b"]}, window)
    assert found.means == {f"R@{window}": pytest.approx(expected)}


def test_window_recall_counts_queries_without_hits() -> None:
    """A query that retrieved nothing lowers the mean."""
    assert measures.window_recall(QRELS, {"q2": ["c"]}, 5).means["R@5"] == pytest.approx(0.5)


values = st.dictionaries(st.text("abc", min_size=1), st.floats(0, 1), min_size=1, max_size=20)


@given(before=values, shift=st.floats(-1, 1))
def test_a_constant_shift_is_found_with_a_point_for_an_interval(before: dict[str, float], shift: float) -> None:
    """Where every query gains the same, mean and both bounds are that gain."""
    found = significance.difference(before, {query: value + shift for query, value in before.items()})
    assert found.mean == pytest.approx(shift, abs=1e-9)
    assert found.low == pytest.approx(shift, abs=1e-9)
    assert found.high == pytest.approx(shift, abs=1e-9)


@given(pairs=st.dictionaries(st.text("abc", min_size=1), st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_each_query_is_better_worse_or_the_same(pairs: dict[str, tuple[float, float]]) -> None:
    """The three counts add up to all queries, and each is what a plain comparison counts, rounding aside."""
    before = {query: pair[0] for query, pair in pairs.items()}
    after = {query: pair[1] for query, pair in pairs.items()}
    found = significance.difference(before, after)
    assert found.better == sum(a - b > significance.LEAST_GAIN for b, a in pairs.values())
    assert found.worse == sum(b - a > significance.LEAST_GAIN for b, a in pairs.values())
    assert found.better + found.worse + found.same == len(pairs)


def test_the_interval_is_the_same_every_time_and_holds_the_mean() -> None:
    """The bootstrap is seeded; its bounds lie on both sides of the mean and inside the extremes."""
    before = {str(number): 0.0 for number in range(40)}
    after = {str(number): number % 5 / 5 for number in range(40)}
    found = significance.difference(before, after)
    assert found == significance.difference(before, after)
    assert 0.0 < found.low < found.mean < found.high < 0.8


def test_the_interval_is_that_of_the_normal_distribution_for_many_queries() -> None:
    """For 400 queries the bounds are mean ± 1.96 standard errors, within a tenth of that width."""
    before = {str(number): 0.0 for number in range(400)}
    after = {str(number): float(number % 2) for number in range(400)}
    found = significance.difference(before, after)
    half = 1.96 * 0.5 / math.sqrt(400)
    assert found.high - found.mean == pytest.approx(half, rel=0.1)
    assert found.mean - found.low == pytest.approx(half, rel=0.1)


def test_a_difference_needs_the_same_queries_on_both_sides() -> None:
    """Unpaired values and no values at all are refused."""
    with pytest.raises(ValueError, match="same queries"):
        significance.difference({"a": 1.0}, {"b": 1.0})
    with pytest.raises(ValueError, match="same queries"):
        significance.difference({}, {})


def test_percentiles_are_interpolated() -> None:
    """The middle of 1 … 101 is 51 and its 95th percentile 96; of two values, the middle is between them."""
    assert measures.percentiles([float(number) for number in range(1, 102)]) == {"p50": 51.0, "p95": 96.0}
    assert measures.percentiles([1.0, 3.0])["p50"] == 2.0


def test_no_values_have_no_percentiles() -> None:
    """Nothing measured is not-a-number, and no exception."""
    assert all(math.isnan(value) for value in measures.percentiles([]).values())
