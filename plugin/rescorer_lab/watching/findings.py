"""What is alarming in live searches: shares, drift of scores, what gates cost. Chance is told from change.

A share alarms where even the lower end of its 95 % interval (Wilson 1927) is above the limit. Scores have drifted where
their population stability index is above it *and* the best scores of searches differ by a Kolmogorov-Smirnov test.
Below LEAST observations nothing alarms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from rescorer_lab.watching.seen import Losses, Seen

LEAST = 100
BINS = 10
SURE = 0.01
MOST_REASONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Above which a value alarms: shares of searches, the stability index of scores, nDCG that a gate costs."""

    fallback: float = 0.05
    partial: float = 0.1
    skipped: float = 1.0
    drift: float = 0.2
    loss: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. value: what is held against the limit; None where there is too little to tell."""

    name: str
    now: str
    before: str = ""
    value: float | None = None
    is_alarm: bool = False

    def as_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return asdict(self)


def findings(now: Seen, before: Seen, limits: Limits) -> list[Finding]:
    """Everything that can be told of what was seen, alarming or not, in the order in which it is read."""
    return [
        Finding(name="searches", now=f"{now.searches:,}", before=f"{before.searches:,}" if before.searches else ""),
        *(
            _share(status, now, before, limit)
            for status, limit in (
                ("fallback", limits.fallback),
                ("partial", limits.partial),
                ("skipped", limits.skipped),
            )
        ),
        *_times(now, before),
        *(_drift(model, now, before, limits.drift) for model in now.scores),
        *(_loss(reason, losses, before, limits.loss) for reason, losses in now.losses.items()),
        *_oddities(now),
    ]


def stability(before: Sequence[float], now: Sequence[float]) -> float:
    """Population stability index over the tenths of ``before``; half a value in each, so that none is empty."""
    edges = np.unique(np.quantile(before, np.linspace(0, 1, BINS + 1)[1:-1]))
    old, new = (
        np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) + 0.5
        for values in (before, now)
    )
    p, q = old / old.sum(), new / new.sum()
    return float(((q - p) * np.log(q / p)).sum())


def _share(status: str, now: Seen, before: Seen, limit: float) -> Finding:
    count = now.of(status)
    if not now.searches:
        return Finding(name=status, now="no search")
    low, high = map(float, stats.binomtest(count, now.searches).proportion_ci(method="wilson"))
    reasons = [(reason, many) for (found, reason), many in now.statuses.most_common() if found == status and reason]
    listed = ", ".join(f"{reason} {many:,}" for reason, many in reasons[:MOST_REASONS])
    told = f"{count / now.searches:.1%} ({low:.1%} … {high:.1%})"
    return Finding(
        name=status,
        now=f"{told}: {listed}" if listed else told,
        before=f"{before.of(status) / before.searches:.1%}" if before.searches else "",
        value=count / now.searches,
        is_alarm=now.searches >= LEAST and low > limit,
    )


def _times(now: Seen, before: Seen) -> Iterator[Finding]:
    if now.took_ms:
        yield Finding(name="rescoring, p50 and p95", now=_percentiles(now), before=_percentiles(before))
    if now.scored:
        yield Finding(
            name="truncated texts",
            now=f"{now.truncated / now.scored:.1%}",
            before=f"{before.truncated / before.scored:.1%}" if before.scored else "",
        )


def _percentiles(seen: Seen) -> str:
    return (
        " ms, ".join(f"{value:,.0f}" for value in np.percentile(seen.took_ms, [50, 95])) + " ms" if seen.took_ms else ""
    )


def _drift(model: str, now: Seen, before: Seen, limit: float) -> Finding:
    new, old = now.scores[model], before.scores.get(model, [])
    told = Finding(name=f"scores of {model}", now=_quantiles(new), before=_quantiles(old))
    if min(len(now.best[model]), len(before.best.get(model, ()))) < LEAST:
        return told
    index, p = stability(old, new), float(stats.ks_2samp(before.best[model], now.best[model]).pvalue)
    return Finding(
        name=told.name,
        now=f"{told.now}, stability index {index:.2f}",
        before=told.before,
        value=index,
        is_alarm=index > limit and p < SURE,
    )


def _quantiles(scores: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in np.quantile(scores, [0.1, 0.5, 0.9])) if scores else "none"


def _loss(reason: str, losses: Losses, before: Seen, limit: float) -> Finding:
    past = before.losses.get(reason)
    return Finding(
        name=f"cost of {reason}",
        now=f"{losses.mean:.3f} nDCG, {losses.count:,} audited",
        before=f"{past.mean:.3f} nDCG" if past else "",
        value=losses.mean,
        is_alarm=losses.count >= LEAST and losses.mean > limit,
    )


def _oddities(now: Seen) -> Iterator[Finding]:
    if now.failed:
        yield Finding(name="audits that failed", now=f"{now.failed:,}")
    if now.unread:
        yield Finding(name="lines that are none of ours", now=f"{now.unread:,}")
