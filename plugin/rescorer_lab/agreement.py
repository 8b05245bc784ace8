"""How far two judges agree: Cohen's kappa by scikit-learn, with intervals, over the pairs that both judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rescorer_lab.errors import LabError
from rescorer_lab.inputs.qrels import Qrels

RESAMPLES = 200
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kappa:
    """Cohen's kappa: 1 is agreement, 0 what chance would bring. The bounds are those of a 95 % bootstrap interval.

    value: None where it is not defined, since a judge gives all pairs the same grade.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What two judges make of the same pairs.

    table: how many pairs have this grade of the first and that of the second. same: the part with equal grades.
    graded: kappa that weighs a difference by its square. relevant: by the other's grade from which on a pair counts as
    relevant, kappa of that against the first's grade above 0.
    """

    pairs: int
    same: float
    graded: Kappa
    relevant: Mapping[int, Kappa]
    table: Mapping[tuple[int, int], int]


def agreement(human: Qrels, other: Qrels) -> Agreement:
    """Compare two judges; LabError where there is no pair that both judged."""
    both = [
        (grade, other[topic][document])
        for topic, judged in human.items()
        for document, grade in judged.items()
        if document in other.get(topic, {})
    ]
    if not both:
        counts = f"{sum(map(len, human.values())):,} and {sum(map(len, other.values())):,}"
        raise LabError(f"of {counts} judgments none is about the same pair", "compare judgments of one collection")
    first, second = np.array(both, dtype=np.int64).T
    return Agreement(
        pairs=len(both),
        same=float((first == second).mean()),
        graded=_kappa(first, second, "quadratic"),
        relevant={
            grade: _kappa((first > 0).astype(np.int64), (second >= grade).astype(np.int64), None)
            for grade in range(1, max(1, int(second.max())) + 1)
        },
        table=dict(sorted(Counter(both).items())),
    )


def _kappa(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], weights: str | None) -> Kappa:
    value = _value(first, second, weights)
    if value is None:
        return Kappa(value=None)
    drawn = np.random.default_rng(SEED).integers(0, len(first), size=(RESAMPLES, len(first)))
    again = [found for rows in drawn if (found := _value(first[rows], second[rows], weights)) is not None]
    low, high = np.percentile(again or [value], [2.5, 97.5])
    return Kappa(value=value, low=float(low), high=float(high))


def _value(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], weights: str | None) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    if len(set(first.tolist())) == 1 or len(set(second.tolist())) == 1:
        return None
    return float(cohen_kappa_score(first, second, weights=weights))
