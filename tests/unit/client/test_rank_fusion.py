"""Several ranked lists made one, against sums done by hand and against a slow and obvious other way."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer.rank_fusion import LEAST, Fusion, fused

Listed = list[dict[str, Any]]


def _hits(scores: dict[str, float]) -> Listed:
    return [{"_index": "a", "_id": name, "_score": score} for name, score in scores.items()]


def _scores(listed: Any) -> dict[str, float]:
    return {hit["_id"]: hit["_score"] for hit in listed}


def test_rrf_adds_one_over_constant_plus_rank() -> None:
    """A hit of both lists has both of its parts, counted from rank 1."""
    found = fused([_hits({"x": 9, "y": 8}), _hits({"y": 1, "z": 1})], Fusion(kind="rrf", weights=(1, 1)))
    assert _scores(found) == pytest.approx({"y": 1 / 62 + 1 / 61, "x": 1 / 61, "z": 1 / 62})
    assert [hit["_id"] for hit in found] == ["y", "x", "z"]


def test_min_max_is_the_weighted_mean_and_never_quite_zero() -> None:
    """As OpenSearch: the lowest score of a list counts as 0.001, a missing hit as 0."""
    lists = [_hits({"x": 10, "y": 5, "z": 0}), _hits({"y": 3, "x": 1})]
    found = fused(lists, Fusion(kind="min_max", weights=(0.6, 0.4)))
    assert _scores(found) == pytest.approx({"x": 0.6 + 0.4 * LEAST, "y": 0.6 * 0.5 + 0.4, "z": 0.6 * LEAST})


@pytest.mark.parametrize("kind", ["min_max", "linear"])
def test_equal_scores_become_one(kind: Any) -> None:
    """A list of one hit, or of equal ones, says that each of them was found as well as any."""
    how = Fusion(kind=kind, weights=(1.0,), normalizers=("minmax",))
    assert _scores(fused([_hits({"x": 7, "y": 7})], how)) == {"x": 1.0, "y": 1.0}


def test_linear_normalizes_each_list_in_its_own_way() -> None:
    """Weighted sums of raw scores, of scores by their length, and of scores put between 0 and 1."""
    lists = [_hits({"x": 3, "y": 4}), _hits({"x": 3, "y": 4}), _hits({"x": 3, "y": 4})]
    how = Fusion(kind="linear", weights=(1, 2, 4), normalizers=("none", "l2_norm", "minmax"))
    assert _scores(fused(lists, how)) == pytest.approx({"y": 4 + 2 * 0.8 + 4, "x": 3 + 2 * 0.6})


def test_a_hit_is_shown_as_the_first_list_shows_it() -> None:
    """Highlights of the list that was asked first are kept, and explanations of all."""
    first = [{"_index": "a", "_id": "x", "_score": 2.0, "highlight": {"t": ["x"]}, "_explanation": {"value": 2.0}}]
    second = [{"_index": "a", "_id": "x", "_score": 5.0, "_explanation": {"value": 5.0}}]
    (found,) = fused([first, second], Fusion(kind="rrf", weights=(1, 1)))
    assert found["highlight"] == {"t": ["x"]}
    assert [entry["value"] for entry in found["_explanation"]["details"]] == [2.0, 5.0]
    assert first[0]["_score"] == 2.0


def test_the_same_id_in_two_indices_is_two_hits() -> None:
    """An id is unique in its index only."""
    lists = [[{"_index": "a", "_id": "x", "_score": 2.0}], [{"_index": "b", "_id": "x", "_score": 1.0}]]
    assert len(fused(lists, Fusion(kind="rrf", weights=(1, 1)))) == 2


LISTS = st.lists(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-50, 50)), max_size=8, unique_by=lambda pair: pair[0]),
    min_size=1,
    max_size=4,
)


@given(lists=LISTS, data=st.data())
def test_every_hit_comes_once_and_best_first(lists: list[list[tuple[str, float]]], data: st.DataObject) -> None:
    """Whatever the lists and the way: the union of their hits, each once, scores never rising, as a slow sum says."""
    weights = tuple(data.draw(st.lists(st.just(0.0) | st.floats(0.01, 3), min_size=len(lists), max_size=len(lists))))
    kind = data.draw(st.sampled_from(["rrf", "min_max", "linear"]))
    names = data.draw(st.lists(st.sampled_from(["minmax", "l2_norm", "none"]), min_size=4, max_size=4))
    how = Fusion(kind=kind, weights=weights, normalizers=tuple(names), rank_constant=data.draw(st.integers(1, 100)))
    listed = [_hits(dict(sorted(pairs, key=lambda pair: -pair[1]))) for pairs in lists]
    found = fused(listed, how)
    assert sorted(hit["_id"] for hit in found) == sorted({name for pairs in lists for name, _ in pairs})
    scores = [hit["_score"] for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert _scores(found) == pytest.approx({hit["_id"]: _slow(hit["_id"], listed, how) for hit in found})


def _slow(name: str, listed: list[Listed], how: Fusion) -> float:
    total = 0.0
    for place, hits in enumerate(listed):
        ids, scores = [hit["_id"] for hit in hits], [hit["_score"] for hit in hits]
        if name in ids:
            total += how.weights[place] * _part(ids.index(name), scores, how, place)
    return total / (sum(how.weights) or 1.0) if how.kind == "min_max" else total


def _part(rank: int, scores: list[float], how: Fusion, place: int) -> float:
    score, low, high = scores[rank], min(scores), max(scores)
    if how.kind == "rrf":
        return 1 / (how.rank_constant + rank + 1)
    between = 1.0 if low == high else (score - low) / (high - low)
    if how.kind == "min_max":
        return between or LEAST
    length = math.sqrt(math.fsum(value * value for value in scores))
    return {"minmax": between, "l2_norm": score / length if length else score, "none": score}[how.normalizers[place]]


@pytest.mark.parametrize("kind", ["rrf", "min_max", "linear"])
@pytest.mark.parametrize(
    "scores", [(1e308, -1e308), (float("inf"), 1.0), (float("nan"), 1.0), (10**400, 1), (None, 2.0)]
)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1e308, 1e308), (-1e308, 1e308), (0.0, 0.0)])
def test_every_fused_score_is_a_number_that_json_can_write(kind: Any, scores: Any, weights: Any) -> None:
    """Whatever the engine's scores and the weights: no infinity, nothing that is not a number, no hit lost."""
    listed: list[Listed] = [
        [{"_index": "a", "_id": str(place), "_score": score} for place, score in enumerate(scores)]
    ] * 2
    for names in (("minmax", "l2_norm"), ("none", "none")):
        found = fused(listed, Fusion(kind=kind, weights=weights, normalizers=names))
        assert sorted(hit["_id"] for hit in found) == ["0", "1"]
        assert all(math.isfinite(hit["_score"]) for hit in found)


def test_two_parts_too_large_for_a_float_cancel_out() -> None:
    """What is no number counts as nothing, neither for the hit nor against it."""
    how = Fusion(kind="linear", weights=(-1e308, 1e308), normalizers=("none", "none"))
    assert _scores(fused([_hits({"x": 1e308, "y": 0.0})] * 2, how)) == {"x": 0.0, "y": 0.0}


def test_scores_as_far_apart_as_floats_can_be_keep_their_order() -> None:
    """The difference of the highest and the lowest is no float, and each is still in its place between 0 and 1."""
    how = Fusion(kind="linear", weights=(1.0,), normalizers=("minmax",))
    assert _scores(fused([_hits({"x": 1e308, "y": 0.0, "z": -1e308})], how)) == {"x": 1.0, "y": 0.5, "z": 0.0}
