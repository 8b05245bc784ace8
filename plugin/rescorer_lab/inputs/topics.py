"""Topics: what people ask, each with its id, and columns of its own to slice by."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rescorer_lab.errors import LabError
from rescorer_lab.inputs.lines import BadLine, Record, form, lines, one_of, records

IDS = ("_id", "id", "query_id", "query-id", "qid", "topic", "topic_id")
TEXTS = ("text", "query", "title", "question")

_BLOCK = re.compile(r"<top(?:ic)?\b([^>]*)>(.*?)</top(?:ic)?>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"""<num>\s*(?:number:)?\s*([^\s<]+)|\bnumber\s*=\s*["']([^"']+)["']""", re.IGNORECASE)
_TITLE = re.compile(r"<(?:title|query)>\s*(?:topic:)?(.*?)(?=<)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One question; ``columns`` are the further fields of its record."""

    id: str
    text: str
    columns: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> dict[str, Topic]:
    """Topics by id, in the order of the file: TREC's tags, ``id<TAB>text`` lines, CSV, TSV or JSONL.

    Raises BadLine for an empty text or id and for an id that stands twice, LabError for a file without topics.
    """
    found: dict[str, Topic] = {}
    at: dict[str, int] = {}
    for number, topic in _read(path):
        if not topic.id or not topic.text.strip():
            what = "id" if not topic.id else "text"
            raise BadLine(path, number, f"has a topic with an empty {what}", "give each topic an id and a text")
        if topic.id in found:
            raise BadLine(path, number, f"repeats topic {topic.id} of line {at[topic.id]}", "leave one of them out")
        found[topic.id], at[topic.id] = topic, number
    if not found:
        raise LabError(f"{path} holds no topic", "write one a line: its id, a tab, its text")
    return found


def _read(path: Path) -> Iterator[tuple[int, Topic]]:
    if form(path) != "trec":
        return (_of_record(path, number, record) for number, record in records(path, (*IDS, *TEXTS)))
    _, first = next(lines(path), (1, ""))
    return _of_tags(path) if first.lstrip().startswith("<") else _of_lines(path)


def _of_record(path: Path, number: int, record: Record) -> tuple[int, Topic]:
    identity, text = one_of(record, (*IDS, "0")), one_of(record, (*TEXTS, "1"))
    if identity is None or text is None:
        missing = IDS if identity is None else TEXTS
        raise BadLine(path, number, f"has none of the fields {', '.join(missing)}", "name the columns so")
    known = {*IDS, *TEXTS, "0", "1"}
    further = {name: value for name, value in record.items() if name not in known}
    return number, Topic(id=identity.strip(), text=text, columns=further)


def _of_lines(path: Path) -> Iterator[tuple[int, Topic]]:
    for number, line in lines(path):
        identity, _, text = line.partition("\t") if "\t" in line else line.partition(" ")
        yield number, Topic(id=identity.strip(), text=text.strip())


def _of_tags(path: Path) -> Iterator[tuple[int, Topic]]:
    numbered = list(lines(path))
    whole = "\n".join(text for _, text in numbered)
    for block in _BLOCK.finditer(whole):
        number = numbered[whole.count("\n", 0, block.start())][0]
        named = _NUMBER.search(block[0])
        title = _TITLE.search(block[0])
        if named is None or title is None:
            lacking = "<num>" if named is None else "<title>"
            raise BadLine(path, number, f"begins a topic without {lacking}", "give each topic a <num> and a <title>")
        text = " ".join(html.unescape(title[1]).split())
        yield number, Topic(id=named[1] or named[2], text=text)
