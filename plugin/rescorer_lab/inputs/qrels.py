"""Qrels: which document is how relevant to which topic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rescorer_lab.errors import LabError
from rescorer_lab.inputs.lines import BadLine, form, lines, picked
from rescorer_lab.inputs.topics import Topic

Qrels = dict[str, dict[str, int]]

TOPICS = ("query_id", "query-id", "qid", "topic", "topic_id")
DOCUMENTS = ("doc_id", "corpus-id", "document_id", "docid", "docno", "document", "_id")
GRADES = ("grade", "score", "relevance", "rel", "label")
LEAST_GRADE, MOST_GRADE = -10, 1000
LEAST_OVERLAP = 0.01
"""Topics and qrels that share less than this part of the smaller of them are of different collections."""

TREC_COLUMNS = 4
BARE = {3: (0, 1, 2), 4: (0, 2, 3)}
"""Where topic, document and grade stand in a table without a heading, by the number of its columns."""


def read(path: Path) -> Qrels:
    """Grades by topic and document, in the order of the file: TREC's four columns, BEIR's TSV, CSV or JSONL.

    A judgment that is repeated counts once. Raises BadLine for one that is repeated with another grade, for a grade
    that is no whole number of -10 to 1,000 and for a line of other columns; LabError for a file without judgments.
    """
    found: Qrels = {}
    entries = _of_trec(path) if form(path) == "trec" else picked(path, (TOPICS, DOCUMENTS, GRADES), BARE)
    for number, (topic, document, raw) in entries:
        grade = _GRADES.get(raw)
        if grade is None:
            grade = _grade(path, number, raw)
        judged = found.setdefault(topic, {})
        if judged.setdefault(document, grade) != grade:
            wrong = f"grades {document} with {grade} for topic {topic}, and an earlier line with {judged[document]}"
            raise BadLine(path, number, wrong, "leave one of them out")
    if not found:
        raise LabError(f"{path} holds no judgment", "write one a line: topic, 0, document, grade")
    return found


def check_overlap(topics: dict[str, Topic], qrels: Qrels) -> list[str]:
    """The ids of the judged topics, in the topics' order; LabError where hardly any are: other collections'."""
    judged = [topic for topic in topics if topic in qrels]
    if len(judged) < LEAST_OVERLAP * min(len(topics), len(qrels)) or not judged:
        raise LabError(
            f"{len(judged)} of {len(topics):,} topics are among the {len(qrels):,} judged ones",
            "give qrels of the same collection; ids are compared as they are written",
        )
    return judged


_GRADES = {str(grade): grade for grade in range(LEAST_GRADE, MOST_GRADE + 1)}


def _grade(path: Path, number: int, raw: str) -> int:
    try:
        value = float(raw)
    except ValueError:
        value = float("nan")
    if value != value // 1 or not LEAST_GRADE <= value <= MOST_GRADE:
        mend = f"write a whole number of {LEAST_GRADE} to {MOST_GRADE}; more than 0 is relevant"
        raise BadLine(path, number, f"has the grade {raw!r}", mend)
    return int(value)


def _of_trec(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(path):
        cells = line.split()
        if len(cells) != TREC_COLUMNS:
            wrong = f"holds {len(cells)} columns instead of {TREC_COLUMNS}"
            raise BadLine(path, number, wrong, "write topic, 0, document, grade; or call the file .tsv, .csv or .jsonl")
        del cells[1]
        yield number, cells
