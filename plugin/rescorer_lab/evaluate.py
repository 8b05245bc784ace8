"""How good a list is: measures by ir-measures, per query and on average, and how sure a difference is.

A run here is query id → document ids, best first. Scores are left out on purpose: trec_eval orders equal scores by
document id, which would measure a list that nobody was shown, so the rank alone is handed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Sequence[str]]

MEASURES = {"nDCG@10": "nDCG@10", "MRR@10": "RR@10", "P@10": "P@10"}
"""Name as shown → name in ir-measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Measures of one run: ``per_query[measure][query id]`` and their means over all judged queries."""

    per_query: Mapping[str, Mapping[str, float]]

    @property
    def means(self) -> dict[str, float]:
        """Measure → mean over the queries."""
        return {name: float(np.mean(list(values.values()))) for name, values in self.per_query.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of paired differences and the bounds of its 95 % interval; ``better + worse + same`` is all queries."""

    mean: float
    low: float
    high: float
    better: int
    worse: int
    same: int


def evaluate(qrels: Qrels, run: Run) -> Evaluation:
    """nDCG@10, MRR@10 and P@10 of a run, for every query in ``qrels``; a query without hits counts as 0."""
    return Evaluation(per_query={shown: _per_query(qrels, run, name) for shown, name in MEASURES.items()})


def window_recall(qrels: Qrels, run: Run, window: int) -> Evaluation:
    """Recall of the candidate window: the share of a query's relevant documents among its first ``window`` hits.

    What is not in the window can't be rescored, so this bounds what rescoring can reach.
    """
    return Evaluation(per_query={f"R@{window}": _per_query(qrels, run, f"R@{window}")})


def difference(before: Mapping[str, float], after: Mapping[str, float], *, resamples: int = 10_000) -> Difference:
    """Paired bootstrap over queries (Sakai 2006), percentile interval, always the same seed.

    ``before`` and ``after`` are one measure's values per query; both hold the same queries.
    """
    if before.keys() != after.keys() or not before:
        raise ValueError("a paired difference needs the same queries, at least one, on both sides")
    gains = np.array([after[query] - before[query] for query in sorted(before)])
    drawn = np.random.default_rng(0).integers(0, len(gains), size=(resamples, len(gains)))
    low, high = np.percentile(gains[drawn].mean(axis=1), [2.5, 97.5])
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    return Difference(
        mean=float(gains.mean()),
        low=float(low),
        high=float(high),
        better=better,
        worse=worse,
        same=len(gains) - better - worse,
    )


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50 and p95, interpolated linearly; not-a-number for both where there are no values."""
    if not values:
        return {"p50": float("nan"), "p95": float("nan")}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def _per_query(qrels: Qrels, run: Run, name: str) -> dict[str, float]:
    judged = {query: dict(grades) for query, grades in qrels.items()}
    ranked = {
        query: {document: float(-rank) for rank, document in enumerate(run.get(query, ()), 1)} for query in judged
    }
    measured = ir_measures.iter_calc([ir_measures.parse_measure(name)], judged, ranked)
    return dict(sorted((entry.query_id, float(entry.value)) for entry in measured))
