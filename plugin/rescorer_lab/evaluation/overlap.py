"""Whether judgments and documents are of one collection: where not, every figure is 0 and looks like bad search.

Judgments and topics are compared where they are read, :func:`rescorer_lab.inputs.judged`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rescorer_lab.errors import LabError
from rescorer_lab.evaluation.asking import NOT_RESCORED, Index
from rescorer_lab.inputs import Judged
from rescorer_lab.inputs.qrels import LEAST_OVERLAP
from rescorer_lab.inputs.runs import Run

AT_ONCE = 10_000
"""Ids that the engine is asked for in one request."""

MEND = "give judgments of the documents that are searched; ids are compared as they are written"


def in_index(client: Any, index: Index, judged: Judged) -> Judged:
    """The judgments, with a note where the index lacks documents of theirs; LabError where it has hardly any."""
    ids = sorted({document for of_topic in judged.qrels.values() for document in of_topic})
    found = sum(_count(client, index.name, ids[begin : begin + AT_ONCE]) for begin in range(0, len(ids), AT_ONCE))
    says = f"of {len(ids):,} judged documents {found:,} are in {index.name!r}"
    if found < max(1, LEAST_OVERLAP * len(ids)):
        raise LabError(says, MEND)
    if found >= len(ids):
        return judged
    return replace(judged, notes=(*judged.notes, f"{says}; what it lacks is never retrieved"))


def in_runs(runs: Mapping[str, Run], judged: Judged) -> None:
    """LabError where no run returns any document that was judged for its topic."""
    lists = [(topic, listed) for run in runs.values() for topic, listed in run.items()]
    if not any(judged.qrels.get(topic, {}).keys() & listed.keys() for topic, listed in lists):
        raise LabError(f"no judged document is in {' or '.join(map(repr, runs))}", MEND)


def _count(client: Any, name: str, ids: list[str]) -> int:
    """How many of these documents an index has; one that several indices behind the name have counts in each."""
    body = {"query": {"ids": {"values": ids}}, "size": 0, "track_total_hits": True, "rescore": NOT_RESCORED}
    return int(client.search(index=name, body=body)["hits"]["total"]["value"])
