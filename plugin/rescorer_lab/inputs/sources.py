"""Topics and their judgments as one: out of two files, a BEIR folder, an ``ir_datasets`` name, or a mixture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescorer.errors import MissingExtra
from rescorer_lab.errors import LabError
from rescorer_lab.inputs import qrels as qrels_files
from rescorer_lab.inputs import topics as topics_files
from rescorer_lab.inputs.qrels import Qrels
from rescorer_lab.inputs.topics import Topic

IR_DATASETS = "ir_datasets:"
TOPICS_FILES = ("queries.jsonl", "queries.jsonl.gz", "topics.jsonl", "topics.tsv", "topics.csv", "topics.txt")
QRELS_FILES = ("qrels/test.tsv", "qrels/test.tsv.gz", "qrels.tsv", "qrels.txt", "qrels.csv", "qrels.jsonl")
NAMED = 3

Source = Path | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is asked and what is known to answer it. ``topics`` are the judged ones; both keep the order of the topics.

    name: what to call it in a report. notes: what was left out or looks odd, a sentence each, with counts.
    """

    topics: dict[str, Topic]
    qrels: Qrels
    name: str
    notes: tuple[str, ...] = ()


def judged(*, topics: Source | None = None, qrels: Source | None = None, collection: Source | None = None) -> Judged:
    """Topics and qrels that belong together.

    ``collection`` is a folder with both, such as BEIR's (``queries.jsonl`` and ``qrels/test.tsv``), or
    ``ir_datasets:NAME``; ``topics`` and ``qrels``, a file, a folder or such a name each, stand for themselves or win
    over the collection's. Topics that nobody judged and judgments of unknown topics are left out and told in ``notes``.

    Raises BadLine for a line that is wrong, LabError for what is missing or for qrels of another collection, with the
    counts, MissingExtra where ``ir_datasets`` is asked for and not installed.
    """
    asked, known = topics or collection, qrels or collection
    if asked is None or known is None:
        lacking = "topics" if asked is None else "qrels"
        raise LabError(f"there are no {lacking}", f"name a file with --{lacking}, or a folder or ir_datasets:NAME")
    return _paired(read_topics(asked), read_qrels(known), _name(collection or known))


def read_topics(source: Source) -> dict[str, Topic]:
    """Topics by id out of a file, a folder or ``ir_datasets:NAME``. The errors of :func:`judged`."""
    data = _ir_dataset(source, "queries")
    if data is None:
        return topics_files.read(_file(Path(source), TOPICS_FILES, "topics"))
    with _downloaded(source):
        found = {topic.id: topic for topic in map(_topic, data.queries_iter())}
    empty = [topic.id for topic in found.values() if not topic.text.strip()]
    if empty:
        raise LabError(f"{source} has {len(empty)} topics without a text: {_some(empty)}", "name another with --topics")
    return found


def read_qrels(source: Source) -> Qrels:
    """Grades by topic and document out of a file, a folder or ``ir_datasets:NAME``. The errors of :func:`judged`."""
    data = _ir_dataset(source, "qrels")
    if data is None:
        return qrels_files.read(_file(Path(source), QRELS_FILES, "qrels"))
    found: Qrels = {}
    with _downloaded(source):
        for entry in data.qrels_iter():
            found.setdefault(entry.query_id, {})[entry.doc_id] = int(entry.relevance)
    return found


def _paired(asked: dict[str, Topic], known: Qrels, name: str) -> Judged:
    ids = qrels_files.check_overlap(asked, known)
    return Judged(
        topics={topic: asked[topic] for topic in ids},
        qrels={topic: known[topic] for topic in ids},
        name=name,
        notes=tuple(_notes(asked, known, ids)),
    )


def _notes(asked: dict[str, Topic], known: Qrels, ids: list[str]) -> Iterator[str]:
    unjudged = [topic for topic in asked if topic not in known]
    if unjudged:
        yield f"{len(unjudged):,} of {len(asked):,} topics are judged by nobody and left out: {_some(unjudged)}"
    unknown = [topic for topic in known if topic not in asked]
    if unknown:
        yield f"{len(unknown):,} of {len(known):,} judged topics are not among the topics: {_some(unknown)}"
    barren = [topic for topic in ids if max(known[topic].values()) <= 0]
    if barren:
        yield f"{len(barren):,} topics have no relevant document, and every list measures 0: {_some(barren)}"


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")


def _name(source: Source) -> str:
    text = str(source)
    if text.startswith(IR_DATASETS):
        return text.removeprefix(IR_DATASETS)
    path = Path(source).resolve()
    return path.name if path.is_dir() else path.name.removesuffix(".gz").partition(".")[0]


def _file(path: Path, names: tuple[str, ...], what: str) -> Path:
    """The file itself, or the one of these names in the folder."""
    if not path.is_dir():
        return path
    found = next((path / name for name in names if (path / name).is_file()), None)
    if found is None:
        raise LabError(f"{path} holds no {what}, neither {' nor '.join(names)}", f"name the file with --{what}")
    return found


def _ir_dataset(source: Source, part: str) -> Any | None:
    """The dataset that this names; None where it is a path."""
    name = str(source)
    if not name.startswith(IR_DATASETS):
        return None
    try:
        import ir_datasets
    except ModuleNotFoundError as error:
        raise MissingExtra("ir-datasets", "ir-datasets") from error
    try:
        data = ir_datasets.load(name.removeprefix(IR_DATASETS))
    except KeyError as error:
        raise LabError(f"{name} is no dataset that ir_datasets knows", "see: ir_datasets list") from error
    if not getattr(data, f"has_{part}")():
        raise LabError(f"{name} has no {part}", "name a part of it that has, such as …/test")
    return data


@contextmanager
def _downloaded(source: Source) -> Iterator[None]:
    """Around reading a dataset, which the library downloads first where it has to."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise LabError(
            f"{source} can't be had: {error}", "see: ir_datasets list; or download its files yourself"
        ) from error


def _topic(query: Any) -> Topic:
    columns = {name: str(value) for name, value in query._asdict().items() if name not in ("query_id", "text")}
    return Topic(id=query.query_id, text=query.default_text(), columns=columns)
