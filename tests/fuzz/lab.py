"""What the lab reads, fed with bytes: topics, qrels, runs, click logs, logs of outcomes, metrics.

Each target takes bytes, gives them as they are and once more as the lines that they choose, in each form of a file,
and raises where something else comes out than what the file holds, or an error that names the file.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuzz.choices import Choices
from fuzz.readers import folder
from rescorer_lab import answers, documents
from rescorer_lab.errors import LabError
from rescorer_lab.inputs import clicks, lines, qrels, runs, topics
from rescorer_lab.watching import seen


def _checked(condition: bool, claim: str) -> None:
    if not condition:
        raise AssertionError(claim)


COLUMNS = ("query_id", "doc_id", "score", "grade", "text", "_id", "q1", "q2", "d1", "d2", "0", "1", "-1", "3.5", "Q0")
CELLS = (
    *COLUMNS,
    "nan",
    "inf",
    "1e400",
    "1e-400",
    "10000000000000000000000",
    "1_0",
    "٣",
    '"',
    "<top>",
    "</top>",
    "\u2028",
)
TAGS = ("<top>", "</top>", "<num>", "Number: 1", "<title>", "<desc>", "cat", "</title>", "&amp;", "<topic number='7'>")


def lab_files(raw: bytes) -> None:
    """Bytes as topics, qrels and runs in each form: what they hold, or an error that names the file or a line of it."""
    for ending in ("trec", "tsv", "csv", "jsonl", "tsv.gz"):
        path = folder() / f"file.{ending}"
        contents = [raw, _table(Choices(raw), ending).encode("utf-8", "surrogatepass")]
        contents += [gzip.compress(contents[1])] if ending.endswith("gz") else []
        for content in contents:
            path.write_bytes(content)
            _read(path, content)


def _table(choices: Choices, ending: str) -> str:
    if ending == "jsonl":
        entry = "{%s}\n"
        rows = [
            [f'"{choices.of(COLUMNS)}": {_json(choices)}' for _ in range(choices.whole(5))]
            for _ in range(choices.whole(4))
        ]
        return "".join(entry % ", ".join(row) for row in rows)
    if ending == "trec" and choices.whole(1):
        return "\n".join(choices.text(TAGS) for _ in range(choices.whole(20)))
    between = {"trec": " ", "csv": ","}.get(ending, "\t")
    rows = [[choices.text(CELLS) for _ in range(choices.whole(6))] for _ in range(choices.whole(5))]
    return "\n".join(between.join(row) for row in rows)


def _json(choices: Choices) -> str:
    return choices.of(('"%s"', "%s", "[%s]", '"\\ud800%s"')) % choices.text(CELLS)


def _read(path: Path, content: bytes) -> None:
    readers: tuple[tuple[Callable[[Path], Any], Callable[[Any], bool]], ...] = (
        (topics.read, lambda found: all(topic.text.strip() and topic.id == name for name, topic in found.items())),
        (qrels.read, lambda found: all(-10 <= grade <= 1000 for judged in found.values() for grade in judged.values())),
        (runs.read, _is_run),
    )
    for read, is_sound in readers:
        try:
            found = read(path)
        except lines.BadLine as error:
            text = gzip.decompress(content) if path.suffix == ".gz" else content
            _checked(1 <= error.number <= 1 + text.count(b"\n") + text.count(b"\r"), f"no such line: {error}")
        except LabError as error:
            _checked(str(path) in str(error), f"an error that names no file: {error}")
        else:
            _checked(bool(found) and is_sound(found), f"{read.__module__} took {content[:80]!r} for {found}")


def _is_run(found: runs.Run) -> bool:
    for listed in found.values():
        scores = list(listed.values())
        if not all(map(math.isfinite, scores)) or scores != sorted(scores, reverse=True):
            return False
    again = folder() / "again.run"
    runs.write(again, found, "fuzz")
    return runs.read(again) == found


CLICK_COLUMNS = ("answer", "query", "document", "rank", "clicked")
RANKS = ("0", "1", "2", "999999999999", "9" * 5000, "-1", "yes", "d1", "q1")
UBI = ("user_query", "query_id", "query_response_hit_ids", "action_name", "event_attributes", "_source", "index")
UBI += ("id", "text", "answer", "answers")
UBI_VALUES = (
    "1", "null", "[]", "{}", '"q1"', '"click"', '"impression"', '["d1", 2, null]', "1e999", "9" * 400, "true",
    '{"object": {"object_id": "d1"}, "position": {"ordinal": 3}}',
    '{"object": {"object_id": ""}, "position": {"ordinal": 99999999999}}',
)  # fmt: skip


def click_logs(raw: bytes) -> None:
    """Bytes as click logs of either form, as documents that are to be judged, and as right answers."""
    choices = Choices(raw)
    rows = [[choices.text(RANKS).replace("\t", " ") for _ in CLICK_COLUMNS] for _ in range(choices.whole(5))]
    table = "\n".join("\t".join(row) for row in [list(CLICK_COLUMNS), *rows])
    ubi = "\n".join(_object(choices, UBI, UBI_VALUES) for _ in range(choices.whole(5)))
    readers: tuple[tuple[str, str, Callable[[Path], Any]], ...] = (
        ("clicks.tsv", table, clicks.read_table),
        ("ubi.jsonl", ubi, lambda path: clicks.read_ubi(path, path)),
        ("corpus.jsonl", ubi, lambda path: documents.of_file(path, {"q1", "1"})),
        ("answers.jsonl", ubi, answers.read),
    )
    for name, made, read in readers:
        for content in (raw, made.encode("utf-8", "surrogatepass")):
            path = folder() / name
            path.write_bytes(content)
            _named(path, read)


def _object(choices: Choices, names: Sequence[str], values: Sequence[str], *first: str) -> str:
    """A line of JSON, or nearly."""
    fields = {choices.of(names): choices.of(values) for _ in range(choices.whole(6))}
    return "{" + ", ".join([*first, *(f'"{name}": {value}' for name, value in fields.items())]) + "}"


STATUSES = ('"skipped"', "null", "3", "1e999", f"1{'0' * 400}", "[]", "[1e999]", '{"failed": null, "ndcg": "x"}', "{}")
OUTCOME = (
    *("at", "status", "reason", "scores", "took_ms", "scored", "truncated", "model", "digest", "scale", "audit"),
)
WHOLE = '"status": "reranked", "reason": null, "scores": [1], "took_ms": 1, "scored": 1, "truncated": 0, "model": "m"'
TIMES = ('"2026-11-30T12:00:00+00:00"', '"2026-11-30"', '"now"', "7", "null")
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
METRICS = (seen.SEARCHES, seen.AUDITS, *seen.NDCG, "other")
LABELS = ('{status="reranked",reason=""}', '{failed="",reason="a"}', '{failed="x",reason="a"}', '{a="', "{}")
SAMPLES = ("1", "-1", "NaN", "+Inf", "1e400", "x", *LABELS)


def outcome_logs(raw: bytes) -> None:
    """Bytes as a client's log of outcomes, and as its metrics."""
    choices = Choices(raw)
    made = "\n".join(
        _object(choices, OUTCOME, STATUSES, WHOLE, f'"at": {choices.of(TIMES)}') for _ in range(choices.whole(5))
    )
    path = folder() / "outcomes.jsonl"
    for content in (raw, made.encode()):
        path.write_bytes(content)
        _named(path, lambda path: seen.read([path], *NOVEMBER))
    samples = [choices.of(METRICS) + choices.of(SAMPLES) + " " + choices.of(SAMPLES) for _ in range(choices.whole(6))]
    told = "\n".join(samples)
    for text in (raw.decode("utf-8", "replace"), told):
        try:
            seen.of_metrics(text, told)
        except LabError as error:
            _checked("metrics" in str(error), f"an error that does not say what is wrong: {error}")


def _named(path: Path, read: Callable[[Path], Any]) -> None:
    try:
        read(path)
    except LabError as error:
        _checked(str(path) in str(error), f"an error that names no file: {error}")


TARGETS: tuple[Callable[[bytes], None], ...] = (lab_files, click_logs, outcome_logs)
