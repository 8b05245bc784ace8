"""From the records of all queries to the figures of tables and report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rescorer_lab import report
from rescorer_lab.collections import Collection
from rescorer_lab.demo.searches import FIRST_STAGE_OF, FIRST_STAGES, SYSTEMS, Record, Setup
from rescorer_lab.evaluation import measures, significance
from rescorer_lab.evaluation.measures import Evaluation
from rescorer_lab.evaluation.significance import Difference

PARTS = {"first_stage": "first_stage_ms", "scoring": "scoring_ms", "total": "total_ms"}
"""Name in the report → name in ``response["rescore"]["timings"]``."""

TIMED = "hybrid_rescored"
"""Its pairs are new to the sidecar, one search at a time; the other rescored searches find some in the cache."""

DECIDES = "nDCG@10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured.

    recall: of the window, per first stage. latency_ms: part → p50, p95. outcomes: ``status`` or ``status:reason`` →
    how many rescored searches had it; anything but ``reranked`` means that a rescored figure holds first stages.
    """

    of: Mapping[str, Evaluation]
    recall: Mapping[str, float]
    latency_ms: Mapping[str, Mapping[str, float]]
    outcomes: Mapping[str, int]

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """System → measure → mean."""
        return {system: found.means for system, found in self.of.items()}

    def gain(self, system: str) -> Difference:
        """nDCG@10 of a rescored system over that of its first stage."""
        before, after = self.of[FIRST_STAGE_OF[system]], self.of[system]
        return significance.difference(before.per_query[DECIDES], after.per_query[DECIDES])

    def gains(self, system: str) -> dict[str, float]:
        """The same per query."""
        before, after = self.of[FIRST_STAGE_OF[system]].per_query[DECIDES], self.of[system].per_query[DECIDES]
        return {query: after[query] - before[query] for query in after}


def measured(collection: Collection, records: Sequence[Record], window: int) -> Figures:
    """All measures of all systems over these records, at least one."""
    qrels = {record.query: collection.qrels[record.query] for record in records}
    runs = {system: {record.query: record.lists[system] for record in records} for system in SYSTEMS}
    recall = {
        system: next(iter(measures.window_recall(qrels, runs[system], window).means.values()))
        for system in FIRST_STAGES
    }
    timings = [record.rescore[TIMED]["timings"] for record in records]
    outcomes = Counter(_outcome(told) for record in records for told in record.rescore.values())
    return Figures(
        of={system: measures.evaluate(qrels, runs[system]) for system in SYSTEMS},
        recall=recall,
        latency_ms={part: measures.percentiles([entry[key] for entry in timings]) for part, key in PARTS.items()},
        outcomes=dict(sorted(outcomes.items())),
    )


def described(
    collection: Collection, documents: int, records: Sequence[Record], figures: Figures, setup: Setup
) -> dict[str, Any]:
    """The report: the figures, and all that it takes to make them again."""
    told = records[0].rescore[TIMED]
    return {
        "collection": collection.name,
        "documents": documents,
        "queries": len(records),
        "query_sample": "the first by SHA-256 of the query id",
        "metrics": figures.means,
        "window_recall": figures.recall,
        "latency_ms": figures.latency_ms,
        "latency_of": "hybrid + rescored, one search at a time, no pair cached",
        "nDCG@10_gain": {system: asdict(figures.gain(system)) for system in FIRST_STAGE_OF},
        "outcomes": figures.outcomes,
        "settings": {system: setup.rescore(system) for system in FIRST_STAGE_OF},
        "model": {"name": told["model"], "digest": told["model_digest"]},
        "versions": report.versions(),
        "machine": report.machine(),
        "per_query": {system: found.per_query[DECIDES] for system, found in figures.of.items()},
    }


def _outcome(told: Mapping[str, Any]) -> str:
    return f"{told['status']}:{told['reason']}" if told["reason"] else str(told["status"])
