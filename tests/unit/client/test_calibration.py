"""Calibrated scores: a curve that keeps the order, ``min_score`` on its scale, and no other model's scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer import calibration
from rescorer.errors import InvalidSetting
from rescorer.testing import FakeScorer, assert_contract
from unit.client import fake_clients
from unit.client.fake_clients import plain, settled
from unit.client.fake_engine import PROFILE, FakeEngine

Made = Callable[..., Any]
PLATT = {"method": "platt", "slope": 2.0, "intercept": 1.0}
ISOTONIC = {"method": "isotonic", "points": [[-2, 0.1], [0, 0.5], [1, 0.5], [3, 0.9]]}
ASKED = {"query": {"match": {"title": "words"}}, "size": 12}


def curve(said: dict[str, Any]) -> Callable[[float], float]:
    """The curve that settings describe."""
    found: Callable[[float], float] = calibration.SHAPE.read(said, "calibration").value
    return found


def rising(query: str, text: str) -> float:
    """Logits from 2.5 down by a half, for five hits of a window."""
    return 2.5 - int(text.split()[1]) / 2


@pytest.mark.parametrize(
    ("logit", "score"), [(-9, 0.1), (-2, 0.1), (-1, 0.3), (0, 0.5), (0.7, 0.5), (1, 0.5), (2, 0.7), (3, 0.9), (9, 0.9)]
)
def test_an_isotonic_curve_is_straight_between_its_points(logit: float, score: float) -> None:
    """And level beyond the first and the last."""
    assert curve(ISOTONIC)(logit) == pytest.approx(score)


@pytest.mark.parametrize("logit", [-1e300, -800.0, -0.5, 0.0, 3.0, 800.0, 1e300])
def test_platts_curve_is_a_sigmoid_of_a_line(logit: float) -> None:
    """However large the logit, it is a number in 0 … 1."""
    power = max(-700.0, min(700.0, 2.0 * logit + 1.0))
    assert curve(PLATT)(logit) == pytest.approx(1 / (1 + math.exp(-power)), abs=1e-300)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(0, 1)), min_size=2, max_size=8, unique_by=lambda point: point[0]),
    st.floats(-60, 60),
    st.floats(-60, 60),
)
def test_no_curve_turns_the_order(points: list[tuple[float, float]], one: float, other: float) -> None:
    """A higher logit never has a lower score, up to what float64 can hold."""
    logits, scores = sorted(left for left, _ in points), sorted(right for _, right in points)
    found = curve({"method": "isotonic", "points": [list(point) for point in zip(logits, scores, strict=True)]})
    low, high = sorted([one, other])
    assert found(low) <= found(high) + 1e-12
    assert 0 <= found(low) <= 1 + 1e-12


@pytest.mark.parametrize(("said", "scale"), [(PLATT, "calibrated"), ({**PLATT, "is_probability": True}, "probability")])
async def test_calibrated_scores_are_the_scores(made: Made, said: dict[str, Any], scale: str) -> None:
    """``_score`` and ``cross_encoder_score`` are the curve's, the order is the model's, and the scale is told."""
    engine = FakeEngine(profile={**PROFILE, "calibration": said, "activation": "sigmoid"})
    answer = plain(await settled(made(engine, scorer=FakeScorer(rising)).search(index="articles", body=ASKED)))
    before = plain(fake_clients.official("opensearch", FakeEngine()).search(index="articles", body=ASKED))
    assert_contract(before, answer)
    expected = [curve(PLATT)(2.5 - place / 2) for place in range(5)]
    assert [hit["_score"] for hit in answer["hits"]["hits"][:5]] == pytest.approx(expected)
    assert [hit["cross_encoder_score"] for hit in answer["rescore"]["hits"][:5]] == pytest.approx(expected)
    assert answer["rescore"]["scale"] == scale


async def test_min_score_is_on_the_calibrated_scale(made: Made) -> None:
    """What the curve puts below is left out, and counted; without the curve nothing would be."""
    engine = FakeEngine(profile={**PROFILE, "calibration": ISOTONIC, "min_score": 0.65})
    answer = plain(await settled(made(engine, scorer=FakeScorer(rising)).search(index="articles", body=ASKED)))
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["d0", "d1"]
    assert answer["rescore"]["totals"]["left_out"] == 10


async def test_hits_of_one_level_keep_the_models_order(made: Made) -> None:
    """Where the curve is level, equal scores do not fall back to the first stage's order."""
    flat = {"method": "isotonic", "points": [[-1000, 0.5], [1000, 0.5]]}
    engine = FakeEngine(profile={**PROFILE, "calibration": flat})
    answer = plain(await settled(made(engine).search(index="articles", body=ASKED)))
    assert [hit["_id"] for hit in answer["hits"]["hits"][:5]] == ["d4", "d3", "d2", "d1", "d0"]
    assert [hit["_score"] for hit in answer["hits"]["hits"][:5]] == [0.5] * 5


@pytest.mark.parametrize("model", ["fake", ""])
async def test_a_curve_of_this_model_is_used(made: Made, model: str) -> None:
    """Its name, or none at all."""
    engine = FakeEngine(profile={**PROFILE, "calibration": {**PLATT, "model": model}})
    answer = plain(await settled(made(engine).search(index="articles", body=ASKED)))
    assert answer["rescore"]["status"] == "reranked"


async def test_a_curve_of_another_model_is_a_visible_fallback(made: Made) -> None:
    """Its scores would mean nothing, and ``min_score`` would cut at random."""
    engine = FakeEngine(profile={**PROFILE, "calibration": {**PLATT, "model": "other"}, "min_score": 0.5})
    answer = plain(await settled(made(engine).search(index="articles", body=ASKED)))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "calibration_mismatch")
    assert "calibration is that of other, and the scores are of fake" in answer["rescore"]["detail"]
    assert [hit["_id"] for hit in answer["hits"]["hits"]][:3] == ["d0", "d1", "d2"]


async def test_a_cascade_of_the_request_does_not_meet_the_profiles_curve(made: Made) -> None:
    """Its scores are those of two models: told, not guessed; ``"calibration": false`` sets the curve aside."""
    scorer = FakeScorer({"small": rising, "large": rising})
    engine = FakeEngine(profile={**PROFILE, "calibration": PLATT})
    said: dict[str, Any] = {"cascade": [{"model": "small", "keep": 2}, {"model": "large"}]}
    body = {**ASKED, "rescore": {"cross_encoder": said}}
    answer = plain(await settled(made(engine, scorer=scorer).search(index="articles", body=body)))
    assert answer["rescore"]["reason"] == "calibration_mismatch"
    said["calibration"] = False
    answer = plain(await settled(made(engine, scorer=scorer).search(index="articles", body=body)))
    assert answer["rescore"]["status"] == "reranked"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"slope": 1}, "calibration: {'slope': 1} must be an object with a method, such as"),
        ({"method": "beta"}, "calibration.method: 'beta' must be one of platt, isotonic"),
        ({"method": "platt", "slope": 1}, """must hold "intercept\""""),
        ({"method": "platt", "slope": -1, "intercept": 0}, "calibration.slope: -1 must be above 0 and at most 1e+06"),
        (
            {"method": "isotonic", "points": [[0, 0]]},
            "calibration.points: [[0, 0]] must be a list of 2 to 1,000 points",
        ),
        ({"method": "isotonic", "points": [[0, 0], 1]}, "calibration.points[1]: 1 must be a list of 2 to 1,000 points"),
        ({"method": "isotonic", "points": [[0, 0], [1, 2]]}, "points[1][1]: 2 must be at least 0 and at most 1"),
        (
            {"method": "isotonic", "points": [[0, 0], [0, 1]]},
            "points[1]: [0.0, 1.0] must rise: a higher logit than before",
        ),
        (
            {"method": "isotonic", "points": [[0, 1], [1, 0]]},
            "points[1]: [1.0, 0.0] must rise: a higher logit than before",
        ),
    ],
)
def test_a_wrong_curve_is_refused_before_anything_is_sent(said: dict[str, Any], message: str) -> None:
    """Path, value and mend."""
    engine = FakeEngine()
    with pytest.raises(InvalidSetting) as refused:
        fake_clients.client(engine, rescorer=FakeScorer()).search(
            index="a", body={**ASKED, "rescore": {"cross_encoder": {"calibration": said}}}
        )
    assert message in str(refused.value)
    assert engine.sent == []
