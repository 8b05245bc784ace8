"""What an evaluation leaves behind for machines: its report, and a TREC run per system."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rescorer_lab.evaluation import story
from rescorer_lab.evaluation.figures import Measured
from rescorer_lab.evaluation.significance import interval
from rescorer_lab.evaluation.story import Told, Wishes
from rescorer_lab.evaluation.tables import forward_s
from rescorer_lab.inputs import Judged

UNFIT = re.compile(r"[^\w+.-]+")
"""What a file's name is spared of a system's."""


def described(told: Told, judged: Judged, wishes: Wishes, made: Mapping[str, Any]) -> dict[str, Any]:
    """The report: every figure, per topic as well, and all that it takes to make them again."""
    return {
        "collection": judged.name,
        "topics": len(judged.topics),
        "decides": wishes.measures[0],
        "systems": {name: _system(found, wishes.measures[0]) for name, found in told.measured.items()},
        "differences": [asdict(entry) for entry in told.comparisons],
        "slices": told.slices,
        "support": None if told.support is None else told.support.as_dict(),
        "warnings": list(told.warnings),
        "made": made,
        "per_topic": {name: _per_topic(found) for name, found in told.measured.items()},
    }


def write_runs(folder: Path, wishes: Wishes, judged: Judged) -> None:
    """``runs/NAME.trec`` for each system that was asked, streamed; equal scores keep their order by their ranks."""
    target = folder / "runs"
    target.mkdir(exist_ok=True)
    files = {
        system.name: (target / f"{UNFIT.sub('_', system.name)}.trec").open("w", encoding="utf-8")
        for system in wishes.systems
    }
    try:
        for answer in story.answers(folder, replace(wishes, runs={}), judged, 0):
            for rank, (document, score) in enumerate(zip(answer.hits, answer.scores, strict=True), 1):
                files[answer.system].write(f"{answer.topic} Q0 {document} {rank} {score!r} {answer.system}\n")
    finally:
        for file in files.values():
            file.close()


def _system(found: Measured, measure: str) -> dict[str, Any]:
    low, high = interval(list(found.of(measure).values()))
    return {
        "measures": found.means,
        "interval": {"measure": measure, "low": low, "high": high},
        "window_recall": found.recall,
        "ceiling": found.ceiling,
        "topics_by_kind": found.kinds,
        "outcomes": dict(found.outcomes),
        "models": dict(found.models),
        "pairs": dict(found.counts),
        "latency_ms": found.latency_ms,
        "forward_s_per_1000_searches": forward_s(found),
    }


def _per_topic(found: Measured) -> dict[str, Any]:
    return {
        topic: {**row.values, "window_recall": row.recall, "ceiling": row.ceiling, "kind": row.kind}
        for topic, row in found.rows.items()
    }
