"""How much one caller may ask for: so many pairs and so many tokens a second; pure, the time given.

Each is a bucket that holds one second's worth. What a call asks for is taken out as soon as there is anything in it, so
that a call larger than the bucket is served, too; the bucket then owes, and later calls wait until it has been paid.

## Decisions
2026-11: a quota counts what is asked, not what is computed: who asks again for known scores spends no time of the
model, but a quota is what a caller was promised, and must not depend on what others have asked before.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MOST_CALLERS = 10_000
"""Beyond so many the one that has been silent for longest begins anew."""

LEAST_WAIT_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a caller may ask for in a second; 0 bounds nothing."""

    pairs_per_s: float = 0.0
    tokens_per_s: float = 0.0


NO_QUOTA = Quota()


@dataclass(slots=True)
class _Bucket:
    left: tuple[float, float]
    at_s: float


class Quotas:
    """What each caller has left."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, quota: Quota, asked: tuple[int, int], now_s: float) -> float:
        """Take these pairs and tokens out; seconds until it makes sense to ask again where there is nothing left."""
        rates = (quota.pairs_per_s, quota.tokens_per_s)
        if not any(rates):
            return 0.0
        bucket = self._buckets.get(caller) or _Bucket(rates, now_s)
        passed_s = now_s - bucket.at_s
        left = [min(rate, had + rate * passed_s) for rate, had in zip(rates, bucket.left, strict=True)]
        waits_s = [-had / rate for rate, had in zip(rates, left, strict=True) if rate and had <= 0]
        if not waits_s:
            left = [had - wanted for had, wanted in zip(left, asked, strict=True)]
        self._buckets[caller] = _Bucket((left[0], left[1]), now_s)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return max(LEAST_WAIT_S, *waits_s, 0.0) if waits_s else 0.0
