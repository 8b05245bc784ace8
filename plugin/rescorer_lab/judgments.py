"""Judgments that nobody wrote by hand: graded, and kept as a folder that an evaluation reads, laid out as BEIR's."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from rescorer_lab.click_models import Estimate
from rescorer_lab.errors import LabError
from rescorer_lab.inputs.clicks import Clicks
from rescorer_lab.inputs.qrels import Qrels

CUTS = (0.05, 0.2, 0.5)
"""Relevance from which on a pair has grade 1, 2 and 3."""
LEAST_LOOKS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """How relevant a document is to a topic, and what that is known from (``about``, JSON values by name)."""

    topic: str
    document: str
    grade: int
    about: Mapping[str, Any] = field(default_factory=dict)


def topic_id(query: str) -> str:
    """An id for a topic that has only its text: the same text, the same id, whatever the log."""
    return hashlib.sha256(query.encode()).hexdigest()[:16]


def check_cuts(cuts: Sequence[float]) -> None:
    """LabError where grades can't be cut so: each cut is in 0 to 1 and greater than the one before."""
    if not cuts or sorted(set(cuts)) != list(cuts) or not 0 < cuts[0] <= cuts[-1] <= 1:
        raise LabError(
            f"--cuts {','.join(f'{cut:g}' for cut in cuts)} don't rise from above 0 to 1", "write 0.05,0.2,0.5"
        )


def of_clicks(
    clicks: Clicks, estimate: Estimate, *, cuts: Sequence[float] = CUTS, least_looks: float = LEAST_LOOKS
) -> list[Judgment]:
    """A judgment for each pair that was looked at ``least_looks`` times or more, in the order of the log."""
    check_cuts(cuts)
    grades = np.searchsorted(np.array(cuts), estimate.relevance, side="right")
    return [
        Judgment(
            topic=topic_id(clicks.pairs[number][0]),
            document=clicks.pairs[number][1],
            grade=int(grades[number]),
            about={
                "relevance": round(float(estimate.relevance[number]), 4),
                "looks": round(float(estimate.looks[number]), 1),
            },
        )
        for number in np.flatnonzero(estimate.looks >= least_looks)
    ]


def of_grades(qrels: Qrels, judge: str) -> list[Judgment]:
    """A judgment for each of these grades, which this judge gave."""
    return [
        Judgment(topic=topic, document=document, grade=grade, about={"judge": judge})
        for topic, judged in qrels.items()
        for document, grade in judged.items()
    ]


def counted(found: Sequence[Judgment], most: int) -> str:
    """How many judgments have which grade, in words."""
    grades = Counter(one.grade for one in found)
    return ", ".join(f"{grades[grade]:,} with grade {grade}" for grade in range(most + 1))


def write(folder: Path, texts: Mapping[str, str], judgments: Iterable[Judgment]) -> Path:
    """Write ``queries.jsonl``, ``qrels/test.tsv`` and ``judgments.jsonl`` into a folder; each is whole or not there.

    texts: topic id → text. Topics without a judgment are written, too. LabError where there is no judgment, and where
    it can't be written.
    """
    judged = list(judgments)
    if not judged:
        raise LabError("no pair has a judgment, and nothing is written", "lower --least-looks, or bring a longer log")
    asked = [{"_id": topic, "text": text} for topic, text in texts.items()]
    try:
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        _whole(folder / "queries.jsonl", lambda file: _lines(file, asked))
        _whole(folder / "qrels" / "test.tsv", lambda file: _table(file, judged))
        told = ({"query_id": one.topic, "doc_id": one.document, "grade": one.grade, **one.about} for one in judged)
        _whole(folder / "judgments.jsonl", lambda file: _lines(file, told))
    except OSError as error:
        raise LabError(f"{folder} can't be written: {error.strerror}", "name a folder of yours") from error
    return folder


def _whole(path: Path, fill: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        fill(file)
    partial.replace(path)


def _lines(file: TextIO, entries: Iterable[Mapping[str, Any]]) -> None:
    for entry in entries:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _table(file: TextIO, judged: Sequence[Judgment]) -> None:
    table = csv.writer(file, delimiter="\t", lineterminator="\n")
    table.writerow(("query-id", "corpus-id", "score"))
    table.writerows((one.topic, one.document, one.grade) for one in judged)
