"""How sure a difference is: bootstrap intervals, a randomisation test, and Holm's correction for several tests.

Bootstrap: Sakai, SIGIR 2006. Randomisation of paired differences (signs flipped): Smucker, Allan, Carterette, CIKM
2007, by scipy. Correction: Holm, Scandinavian Journal of Statistics 6, 1979. The same seed every time, so the same
figures give the same intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 10_000
SEED = 0
CELLS = 1_000_000
"""Resampled values that are held at a time, however many topics there are."""

LEAST_GAIN = 1e-9
"""Below this two figures are the same: what is left is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of paired differences and the bounds of its 95 % interval; ``better + worse + same`` is all topics."""

    mean: float
    low: float
    high: float
    better: int
    worse: int
    same: int


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile interval of a mean over topics; not-a-number without values."""
    found = np.asarray(values, dtype=float)
    if not len(found):
        return float("nan"), float("nan")
    rng, rows = np.random.default_rng(SEED), _rows(len(found))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows):
        part = means[start : start + rows]
        part[:] = found[rng.integers(0, len(found), size=(len(part), len(found)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _rows(topics: int) -> int:
    """How many resamples of so many topics are held at a time."""
    return max(1, min(1_000, CELLS // topics))


def gains(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each topic gains, in the order of the ids. ValueError where the two sides hold other topics, or none."""
    if before.keys() != after.keys() or not before:
        raise ValueError("a paired difference needs the same queries, at least one, on both sides")
    return {query: after[query] - before[query] for query in sorted(before)}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> Difference:
    """The paired difference of one measure's values per topic."""
    found = np.array(list(gains(before, after).values()))
    low, high = interval(found.tolist())
    better, worse = int((found > LEAST_GAIN).sum()), int((found < -LEAST_GAIN).sum())
    return Difference(
        mean=float(found.mean()), low=low, high=high, better=better, worse=worse, same=len(found) - better - worse
    )


def p_value(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """How often chance alone, flipping the sign of each topic's gain, makes a mean at least as far from 0.

    One topic says nothing: 1.
    """
    found = np.array(list(gains(before, after).values()))
    if len(found) == 1 or not (np.abs(found) > LEAST_GAIN).any():
        return 1.0
    tested = stats.permutation_test(
        (found,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_rows(len(found)),
        rng=np.random.default_rng(SEED),
    )
    return float(tested.pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Each p-value as if it had been tested alone, its chance of a false alarm among all of them kept (Holm 1979)."""
    corrected, floor, count = {}, 0.0, len(p_values)
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        floor = max(floor, min(1.0, (count - place) * p_values[name]))
        corrected[name] = floor
    return {name: corrected[name] for name in p_values}
