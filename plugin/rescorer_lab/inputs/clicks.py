"""Clicks: which documents an answer showed at which rank, and which of them were clicked.

Two forms: the logs of User Behavior Insights (https://github.com/o19s/ubi, schema 1.3: ``ubi_queries`` and
``ubi_events``, exported as one JSON object a line), and a table with a line for each document that was shown.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rescorer_lab.errors import LabError
from rescorer_lab.inputs.lines import BadLine, objects, picked
from rescorer_lab.inputs.qrels import DOCUMENTS

Numbers = npt.NDArray[np.int32]

ANSWERS = ("answer", "search_id", "query_id", "session", "session_id")
QUERIES = ("query", "user_query", "text")
RANKS = ("rank", "position", "ordinal")
CLICKED = ("clicked", "click", "clicks")
CLICK_ACTIONS = ("click", "click_through")
SHOWN_ACTIONS = ("impression",)
BULK_ACTIONS = {"index", "create"}
NAMED = 5
"""So many actions are named where none of them is a click."""

MOST_RANK = 99_999
"""Deeper nobody reads; what is counted by rank is as long as the deepest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicks:
    """One row for each document that an answer showed; an answer's rows stand together, best rank first.

    pairs: query and document of each pair's number. answer, pair, rank (from 1), clicked: the rows, all equally long.
    notes: what could not be used, a sentence each, with counts.
    """

    pairs: tuple[tuple[str, str], ...]
    answer: Numbers
    pair: Numbers
    rank: Numbers
    clicked: npt.NDArray[np.bool_]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Answer:
    """What one answer showed, document → rank, and which of that was clicked."""

    query: str
    shown: dict[str, int] = field(default_factory=dict)
    clicked: set[str] = field(default_factory=set)
    seen: dict[str, int] = field(default_factory=dict)


def normalised(query: str) -> str:
    """The query as one with others that differ in case and spaces only."""
    return " ".join(query.casefold().split())


def read_ubi(
    queries: Path, events: Path, *, actions: Collection[str] = CLICK_ACTIONS, depth: int | None = None
) -> Clicks:
    """Clicks out of ``ubi_queries`` and ``ubi_events``; lines of a bulk request and hits with ``_source`` do as well.

    Shown is what has impression events, or where an answer has none, ``query_response_hit_ids``, to ``depth``.
    Raises BadLine for a line that is no such object, LabError where no answer with hits is left, or no click on one.
    """
    notes: Counter[str] = Counter()
    others: Counter[str] = Counter()
    answers = _queries(queries, notes)
    for number, event in _documents(events):
        action = event.get("action_name")
        if action in actions or action in SHOWN_ACTIONS:
            answer = answers.get(str(event.get("query_id")))
            if answer is None:
                notes["events belong to no query of the log"] += 1
                continue
            document, ordinal = _object(events, number, event)
            if action in SHOWN_ACTIONS:
                answer.seen[document] = ordinal or answer.shown.get(document) or len(answer.seen) + 1
            else:
                answer.clicked.add(document)
        else:
            others[str(action)] += 1
    for answer in answers.values():
        answer.shown = answer.seen or answer.shown
    return _clicked(_rows(answers.values(), depth, notes, str(queries)), events, _to_be_named(others))


def read_table(path: Path, *, depth: int | None = None) -> Clicks:
    """Clicks out of CSV, TSV or JSONL with the fields answer, query, document, rank and clicked (0 or 1).

    Raises BadLine for a line that lacks one, for a rank that is no number from 1 on, for a document that an answer
    shows twice and for an answer with two queries; LabError where nothing is clicked.
    """
    answers: dict[str, _Answer] = {}
    for number, fields in picked(path, (ANSWERS, QUERIES, DOCUMENTS, RANKS, CLICKED), {}):
        identity, query, document, rank, clicked = _fields(path, number, fields)
        answer = answers.setdefault(identity, _Answer(query))
        if answer.query != query:
            wrong = f"asks {query!r} in answer {identity}, and an earlier line {answer.query!r}"
            raise BadLine(path, number, wrong, "give each answer an id of its own")
        if document in answer.shown:
            raise BadLine(path, number, f"shows {document} in answer {identity} again", "leave one of them out")
        answer.shown[document] = rank
        if clicked:
            answer.clicked.add(document)
    rows = _rows(answers.values(), depth, Counter(), str(path))
    return _clicked(rows, path, "write 1 for clicked where somebody clicked")


def _queries(path: Path, notes: Counter[str]) -> dict[str, _Answer]:
    """Answers by query id. A query that is logged again, as for its next page, continues its list."""
    found: dict[str, _Answer] = {}
    for number, query in _documents(path):
        text, hits = query.get("user_query"), query.get("query_response_hit_ids")
        if not isinstance(text, str | None) or not isinstance(hits, list | None):
            wrong = "has a user_query that is no text, or query_response_hit_ids that are no list"
            raise BadLine(path, number, wrong, "export ubi_queries as it is")
        if not text or not text.strip():
            notes["queries have no text"] += 1
        elif not query.get("query_id"):
            notes["queries have no query_id"] += 1
        else:
            answer = found.setdefault(str(query["query_id"]), _Answer(normalised(text)))
            for hit in hits or ():
                answer.shown.setdefault(str(hit), len(answer.shown) + 1)
    return found


def _documents(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The documents of an export; the lines of a bulk request that name an index are left out."""
    for number, found in objects(path):
        if len(found) == 1 and BULK_ACTIONS & found.keys():
            continue
        inner = found.get("_source", found)
        if not isinstance(inner, dict):
            raise BadLine(path, number, "has a _source that is no object", "export documents, one a line")
        yield number, inner


def _object(path: Path, number: int, event: Mapping[str, Any]) -> tuple[str, int | None]:
    """Which document an event is about, and at which rank it stood if that is said."""
    attributes = event.get("event_attributes")
    parts = attributes if isinstance(attributes, dict) else {}
    about, position = parts.get("object"), parts.get("position")
    document = about.get("object_id") if isinstance(about, dict) else None
    if not isinstance(document, str | int) or document == "":
        wrong = f"is a {event['action_name']} without event_attributes.object.object_id"
        raise BadLine(path, number, wrong, "log which document it was")
    ordinal = position.get("ordinal") if isinstance(position, dict) else None
    return str(document), ordinal if isinstance(ordinal, int) and 0 < ordinal <= MOST_RANK else None


def _fields(path: Path, number: int, fields: list[str]) -> tuple[str, str, str, int, bool]:
    answer, query, document, rank, clicked = fields
    if not rank.isdecimal() or len(rank) > len(str(MOST_RANK)) or int(rank) < 1:
        raise BadLine(path, number, f"has the rank {rank!r}", "write 1 for the first document")
    if clicked.lower() not in _CLICKED:
        raise BadLine(path, number, f"has {clicked!r} for clicked", "write 0 or 1")
    return answer, normalised(query), document, int(rank), _CLICKED[clicked.lower()]


_CLICKED = {"0": False, "false": False, "no": False, "": False, "1": True, "true": True, "yes": True}


def _rows(answers: Iterable[_Answer], depth: int | None, notes: Counter[str], source: str) -> Clicks:
    numbers: dict[tuple[str, str], int] = {}
    columns = {name: array("i") for name in ("answer", "pair", "rank", "clicked")}
    for place, answer in enumerate(answers):
        notes["clicks are on documents that were not shown"] += len(answer.clicked - answer.shown.keys())
        notes["answers showed nothing"] += not answer.shown
        for document, rank in sorted(answer.shown.items(), key=lambda entry: entry[1]):
            if depth is None or rank <= depth:
                columns["answer"].append(place)
                columns["pair"].append(numbers.setdefault((answer.query, document), len(numbers)))
                columns["rank"].append(rank)
                columns["clicked"].append(document in answer.clicked)
    if not numbers:
        said = "; ".join(f"{count:,} {what}" for what, count in notes.items() if count)
        raise LabError(f"{source} shows no document for any query{f': {said}' if said else ''}", "name another log")
    made = {name: np.array(values, dtype=np.int32) for name, values in columns.items()}
    return Clicks(
        pairs=tuple(numbers),
        answer=made["answer"],
        pair=made["pair"],
        rank=made["rank"],
        clicked=made["clicked"].astype(np.bool_),
        notes=tuple(f"{count:,} {what}" for what, count in notes.items() if count),
    )


def _to_be_named(others: Counter[str]) -> str:
    listed = ", ".join(f"{count:,} {action}" for action, count in others.most_common(NAMED))
    return f"name the action that is a click with --action; there are {listed}" if listed else "name another log"


def _clicked(rows: Clicks, source: Path, mend: str) -> Clicks:
    """The rows; judgments out of no click at all would say that everything is bad."""
    if not rows.clicked.any():
        said = "".join(f"; {note}" for note in rows.notes)
        raise LabError(f"{source} holds no click on any of {len(rows.clicked):,} documents that were shown{said}", mend)
    return rows
