"""Figures of calls and samples: pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from load.crowd import Call, Sample

NORMAL = 1.5
"""Times the usual median: a second whose median is below is a normal one."""


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies; not-a-number of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))] if ordered else float("nan")


def spread(calls: Sequence[Call]) -> dict[str, float]:
    """How long they took, in ms."""
    ms = [1000 * call.took_s for call in calls]
    return {"calls": len(ms), **{name: quantile(ms, at) for name, at in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}}


def counts(calls: Sequence[Call]) -> dict[str, int]:
    """How many had which outcome."""
    found: dict[str, int] = {}
    for call in calls:
        found[call.outcome] = found.get(call.outcome, 0) + 1
    return found


def pairs_per_s(calls: Sequence[Call], seconds: float, within_s: float) -> float:
    """Pairs of whole answers that came in time, for each second of the phase."""
    return sum(call.pairs for call in calls if call.outcome == "whole" and call.took_s <= within_s) / seconds


def capacity(calls: Sequence[Call]) -> float:
    """Pairs a second of a closed phase, up to its last answer."""
    return pairs_per_s(calls, max(call.ended_s for call in calls), float("inf"))


def overloaded(calls: Sequence[Call], seconds: float, deadline_s: float) -> dict[str, Any]:
    """What became of an open phase above capacity."""
    admitted = [call for call in calls if call.outcome in ("whole", "partial", "late")]
    return {
        "calls_per_s": len(calls) / seconds,
        "outcomes": counts(calls),
        "goodput_pairs_per_s": pairs_per_s(calls, seconds, deadline_s),
        "partial_pairs_per_s": sum(call.pairs for call in calls if call.outcome == "partial") / seconds,
        "admitted": spread(admitted),
        "refused": spread([call for call in calls if call.outcome == "refused"]),
    }


def normal_after_s(calls: Sequence[Call], usual_ms: float) -> float:
    """Seconds of a phase until the first second whose calls are whole and, by their median, as fast as usual."""
    last = int(max(call.due_s for call in calls))
    for second in range(last):
        during = [call for call in calls if second <= call.due_s < second + 1]
        is_whole = all(call.outcome == "whole" for call in during)
        if during and is_whole and 1000 * statistics.median(call.took_s for call in during) <= NORMAL * usual_ms:
            return float(second)
    return float("inf")


def used(samples: Sequence[Sample]) -> dict[str, float]:
    """What a process needed between its first and its last sample."""
    return {
        "rss_first_mb": samples[0].rss / 1e6,
        "rss_most_mb": max(sample.rss for sample in samples) / 1e6,
        "cpu_cores": (samples[-1].cpu_s - samples[0].cpu_s) / (samples[-1].at_s - samples[0].at_s),
    }


def slope(at_s: Sequence[float], values: Sequence[float], draws: int = 1000, block: int = 8) -> tuple[float, ...]:
    """What the values grow by in an hour, and the 95 % interval of that.

    Least squares, and what it makes of lines whose residuals are drawn anew in blocks, since neighbours in time
    resemble each other (moving block bootstrap).
    """
    hours, found = np.asarray(at_s) / 3600, np.asarray(values, dtype=float)
    line = np.polyfit(hours, found, 1)
    fitted = np.polyval(line, hours)
    residuals, chance = found - fitted, np.random.default_rng(0)
    block = max(1, min(block, len(found) // 4))
    begins = chance.integers(0, len(found) - block + 1, (draws, -(-len(found) // block)))
    drawn = residuals[begins[:, :, None] + np.arange(block)].reshape(draws, -1)[:, : len(found)]
    centred = hours - hours.mean()
    slopes = line[0] + (drawn - drawn.mean(axis=1, keepdims=True)) @ centred / (centred @ centred)
    return float(line[0]), *(float(one) for one in np.quantile(slopes, (0.025, 0.975)))


def later_to_earlier(earlier: Sequence[float], later: Sequence[float], draws: int = 1000) -> tuple[float, ...]:
    """The p99 of what came later to that of what came earlier, and the 95 % interval of that (bootstrap)."""
    chance = np.random.default_rng(0)
    both = (np.asarray(earlier), np.asarray(later))
    drawn = [[np.quantile(chance.choice(values, len(values)), 0.99) for values in both] for _ in range(draws)]
    ratios = [second / first for first, second in drawn]
    whole = np.quantile(both[1], 0.99) / np.quantile(both[0], 0.99)
    return float(whole), *(float(one) for one in np.quantile(ratios, (0.025, 0.975)))
