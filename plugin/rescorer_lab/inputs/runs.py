"""Runs: which documents a system returned for which topic, best first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from rescorer_lab.errors import LabError
from rescorer_lab.inputs.lines import BadLine, form, lines, picked
from rescorer_lab.inputs.qrels import DOCUMENTS, TOPICS, Qrels

Run = dict[str, dict[str, float]]
"""Topic → document → score; documents stand best first."""

SCORES = ("score", "_score")
TREC_COLUMNS = 6


def read(path: Path) -> Run:
    """A run of TREC's six columns, CSV, TSV or JSONL; equal scores keep the order of the file.

    Raises BadLine for a score that is no number and for a document that stands twice; LabError for an empty file.
    """
    found: Run = {}
    entries = _of_trec(path) if form(path) == "trec" else picked(path, (TOPICS, DOCUMENTS, SCORES), {})
    for number, (topic, document, raw) in entries:
        try:
            score = float(raw)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise BadLine(path, number, f"has the score {raw!r}", "write a finite number")
        listed = found.setdefault(topic, {})
        if document in listed:
            raise BadLine(path, number, f"returns {document} for topic {topic} again", "leave one of them out")
        listed[document] = score
    if not found:
        raise LabError(f"{path} holds no hit", "write one a line: topic, Q0, document, rank, score, name")
    return {topic: dict(sorted(listed.items(), key=lambda entry: -entry[1])) for topic, listed in found.items()}


def write(path: Path, run: Run, name: str) -> None:
    """A run as a TREC file; scores in full, so that it reads back as it was."""
    with path.open("w", encoding="utf-8") as file:
        for topic, listed in run.items():
            for rank, (document, score) in enumerate(listed.items(), 1):
                file.write(f"{topic} Q0 {document} {rank} {score!r} {name}\n")


def coverage(run: Run, qrels: Qrels, depth: int) -> float:
    """The part of the first ``depth`` documents of each judged topic that somebody has judged.

    LabError where none is: the run is of another collection, or ids are written otherwise.
    """
    shown = judged = 0
    for topic, listed in run.items():
        if topic in qrels:
            first = list(listed)[:depth]
            shown += len(first)
            judged += sum(document in qrels[topic] for document in first)
    if not judged:
        raise LabError(
            f"none of the {shown:,} documents that the run returns for judged topics is judged",
            "give qrels of the same collection; ids are compared as they are written",
        )
    return judged / shown


def _of_trec(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(path):
        cells = line.split()
        if len(cells) != TREC_COLUMNS:
            wrong = f"holds {len(cells)} columns instead of {TREC_COLUMNS}"
            raise BadLine(path, number, wrong, "write topic, Q0, document, rank, score, name")
        yield number, [cells[0], cells[2], cells[4]]
