"""Scores that mean what they say: a curve from a model's logits to the share of hits that are relevant there.

``rescorer calibrate`` fits the curve to judgments and says how well it holds. It never falls, so the order stays the
model's, and ``min_score`` stands for the same thing whatever is asked.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from rescorer import checks, shapes
from rescorer.errors import InvalidSetting
from rescorer.shapes import Shape

MOST_POINTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Platt:
    """``1 / (1 + exp(-(slope · logit + intercept)))``, after Platt (1999).

    model: the name or digest of the model that it was fitted for; empty is any.
    is_probability: whether it was found to hold on judgments that it was not fitted to.
    """

    method: Literal["platt"]
    slope: float
    intercept: float
    model: str = ""
    is_probability: bool = False

    def value(self, logit: float) -> float:
        """The score of a logit, 0 … 1."""
        power = self.slope * logit + self.intercept
        return 1 / (1 + math.exp(-power)) if power >= 0 else math.exp(power) / (1 + math.exp(power))


@dataclass(frozen=True, slots=True, kw_only=True)
class Isotonic:
    """Straight lines between points (logit, score), level beyond the first and the last; the rest as :class:`Platt`."""

    method: Literal["isotonic"]
    points: tuple[tuple[float, float], ...]
    model: str = ""
    is_probability: bool = False

    def value(self, logit: float) -> float:
        """The score of a logit, 0 … 1."""
        after = bisect_right(self.points, logit, key=lambda point: point[0])
        if after in (0, len(self.points)):
            return self.points[min(after, len(self.points) - 1)][1]
        (left, low), (right, high) = self.points[after - 1 : after + 1]
        return low + (high - low) * ((logit - left) / (right - left))


Calibration: TypeAlias = Platt | Isotonic


def _points(value: Any, path: str) -> tuple[tuple[float, float], ...]:
    such = "must be a list of 2 to 1,000 points [logit, score], such as [[-4, 0.02], [3, 0.9]]"
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= MOST_POINTS:
        raise InvalidSetting(path, value, such)
    found = tuple(_point(point, f"{path}[{place}]", such) for place, point in enumerate(value))
    for place, ((left, low), (right, high)) in enumerate(pairwise(found)):
        if right <= left or high < low:
            where = f"{path}[{place + 1}]"
            raise InvalidSetting(where, list(found[place + 1]), "must rise: a higher logit than before, no lower score")
    return found


def _point(value: Any, path: str, such: str) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidSetting(path, value, such)
    return _LOGIT.read(value[0], f"{path}[0]"), _SCORE.read(value[1], f"{path}[1]")


def _read(value: Any, path: str) -> Calibration:
    if isinstance(value, Platt | Isotonic):
        return value
    if not isinstance(value, Mapping) or "method" not in value:
        such = '{"method": "platt", "slope": 1.2, "intercept": -0.5}, as rescorer calibrate writes it, or false'
        raise InvalidSetting(path, value, f"must be an object with a method, such as {such}")
    checks.one_of(Literal["platt", "isotonic"])(value["method"], f"{path}.method")
    found: Calibration = _BY_METHOD[value["method"]].read(value, path)
    return found


_LOGIT = shapes.number(-1e6, 1e6)
_SCORE = shapes.number(0, 1)
_PAIR = {"type": "array", "prefixItems": [_LOGIT.schema, _SCORE.schema], "minItems": 2, "maxItems": 2}
_BESIDE = {
    "model": Shape(checks.any_text, {"type": "string"}),
    "is_probability": Shape(checks.boolean, {"type": "boolean"}),
}
_BY_METHOD: Mapping[str, Shape] = {
    "platt": shapes.record(
        Platt,
        {
            "method": shapes.word(Literal["platt"]),
            "slope": shapes.number(0, 1e6, above=True),
            "intercept": _LOGIT,
            **_BESIDE,
        },
        "",
    ),
    "isotonic": shapes.record(
        Isotonic,
        {
            "method": shapes.word(Literal["isotonic"]),
            "points": Shape(_points, {"type": "array", "items": _PAIR, "minItems": 2, "maxItems": MOST_POINTS}),
            **_BESIDE,
        },
        "",
    ),
}
SHAPE = shapes.or_off(Shape(_read, {"anyOf": [shape.schema for shape in _BY_METHOD.values()]}))
