"""Whether a new version of a model orders and scores as the one that serves; pure, over pairs that both have scored.

Two questions, since callers use scores in two ways. Does it put the same candidates first: Spearman's rank correlation
within each request, averaged over requests. Does it keep the scale, on which thresholds and the weights beside the
first stage stand: the largest distance of the two distribution functions (Kolmogorov and Smirnov's), and how far the
quantiles have moved, in spreads of the old.

## Decisions
2026-11: bounds between what should pass and what should not, by benchmarks/swap.py: another number format keeps a
rank correlation of 0.99 and a distance of 0.03; another tokenizer's ids leave 0.74, since BM25's window shares its
words with the query whatever their ids. Noise of 40 % of the weights' spread (0.81, 0.28) is just let through. A good
model on another scale is refused: that is to be told, and to be forced by somebody who has looked.
2026-11: no significance test. With thousands of pairs any difference is significant; what counts is its size.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_CANDIDATES = 3
"""An order of fewer says nothing."""

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The logits of one request's candidates from both versions, place by place."""

    old: tuple[float, ...]
    new: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.old) != len(self.new):
            raise ValueError(f"{len(self.old)} logits of the old version and {len(self.new)} of the new")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a new version must keep to: the least mean rank correlation, the most distance, the most quantile shift."""

    rank_correlation: float = 0.8
    distance: float = 0.4
    shift: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was found. ``shift``: the largest move of a quantile, in the old version's distance from 10 % to 90 %."""

    requests: int
    pairs: int
    rank_correlation: float
    distance: float
    shift: float
    old_quantiles: tuple[float, ...]
    new_quantiles: tuple[float, ...]

    def objections(self, bounds: Bounds) -> tuple[str, ...]:
        """What speaks against the new version, each with its figure and bound; none where nothing does."""
        found = []
        if self.rank_correlation < bounds.rank_correlation:
            found.append(f"rank correlation {self.rank_correlation:.2f} is below {bounds.rank_correlation:.2f}")
        if self.distance > bounds.distance:
            found.append(f"distance of the score distributions {self.distance:.2f} is above {bounds.distance:.2f}")
        if self.shift > bounds.shift:
            found.append(f"quantile shift {self.shift:.2f} is above {bounds.shift:.2f}")
        return tuple(found)


def compare(samples: Sequence[Sample]) -> Comparison:
    """Compare over these requests; ValueError where there are none of :data:`LEAST_CANDIDATES` candidates or more."""
    telling = [sample for sample in samples if len(sample.old) >= LEAST_CANDIDATES]
    if not telling:
        raise ValueError(f"no request with {LEAST_CANDIDATES} candidates or more")
    old = sorted(logit for sample in telling for logit in sample.old)
    new = sorted(logit for sample in telling for logit in sample.new)
    old_quantiles = tuple(_quantile(old, part) for part in QUANTILES)
    new_quantiles = tuple(_quantile(new, part) for part in QUANTILES)
    moved = max(abs(after - before) for before, after in zip(old_quantiles, new_quantiles, strict=True))
    spread = old_quantiles[-1] - old_quantiles[0]
    return Comparison(
        requests=len(telling),
        pairs=len(old),
        rank_correlation=math.fsum(rank_correlation(sample.old, sample.new) for sample in telling) / len(telling),
        distance=distance(old, new),
        shift=moved / spread if spread else (math.inf if moved else 0.0),
        old_quantiles=old_quantiles,
        new_quantiles=new_quantiles,
    )


def rank_correlation(old: Sequence[float], new: Sequence[float]) -> float:
    """Spearman's, -1 to 1, ties sharing their mean rank; 1 where neither has an order, 0 where one of them has none."""
    one, other = _ranks(old), _ranks(new)
    mean = (len(old) + 1) / 2
    spread_one, spread_other = (math.fsum((rank - mean) ** 2 for rank in ranks) for ranks in (one, other))
    if not spread_one or not spread_other:
        return float(spread_one == spread_other)
    together = math.fsum((a - mean) * (b - mean) for a, b in zip(one, other, strict=True))
    return together / math.sqrt(spread_one * spread_other)


def distance(old: Sequence[float], new: Sequence[float]) -> float:
    """The most by which the two distribution functions differ, 0 to 1; both sorted."""
    return max(abs(bisect_right(old, at) / len(old) - bisect_right(new, at) / len(new)) for at in (*old, *new))


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    return [(first[value] + 1 + bisect_right(ordered, value)) / 2 for value in values]


def _quantile(ordered: Sequence[float], part: float) -> float:
    place = part * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
