"""Lines and records of a file, each with its number, whatever the file's form."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rescorer_lab.errors import LabError

Record = Mapping[str, str]


class BadLine(LabError):
    """A line of a file is not what it should be; ``number`` counts from 1."""

    def __init__(self, path: Path, number: int, wrong: str, mend: str) -> None:
        self.path = path
        self.number = number
        super().__init__(f"{path}:{number}: {wrong}", mend)


def form(path: Path) -> str:
    """``jsonl``, ``csv``, ``tsv``, or ``trec`` for everything else; ``.gz`` at the end does not count."""
    name = path.name.removesuffix(".gz").lower()
    return {"jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "tsv": "tsv"}.get(name.rpartition(".")[2], "trec")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank, without its end. LabError, BadLine."""
    return ((number, text) for number, text in _all_lines(path) if text.strip())


def records(path: Path, known: Sequence[str]) -> Iterator[tuple[int, Record]]:
    """Number and fields of each record of a JSONL, CSV or TSV file.

    The first line of a CSV or TSV file names the columns where it holds one of ``known``; else columns are called
    ``0``, ``1``, …
    """
    return _of_json(path) if form(path) == "jsonl" else _of_table(path, known)


def one_of(record: Record, names: Sequence[str]) -> str | None:
    """The first of these fields that the record holds."""
    return next((record[name] for name in names if name in record), None)


def _all_lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                yield number, _decoded(path, number, raw)
    except (OSError, EOFError, zlib.error) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LabError(f"{path} can't be read: {what}", "name a file that is there and whole") from error


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raise BadLine(path, number, f"is not UTF-8 ({error.reason})", "convert the file to UTF-8") from error
    return text.removeprefix("\ufeff") if number == 1 else text


def _of_json(path: Path) -> Iterator[tuple[int, Record]]:
    for number, line in lines(path):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadLine(path, number, f"is no JSON ({error})", "write one JSON object a line") from error
        if not isinstance(found, dict):
            raise BadLine(path, number, f"holds a {type(found).__name__}", "write one JSON object a line")
        yield number, {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def _of_table(path: Path, known: Sequence[str]) -> Iterator[tuple[int, Record]]:
    texts = (text + "\n" for _, text in _all_lines(path))
    reader = csv.reader(texts, delimiter="\t" if form(path) == "tsv" else ",")
    names: list[str] | None = None
    for cells in filter(None, _cells(path, reader)):
        if names is None:
            heading = [cell.strip().lower() for cell in cells]
            names = heading if set(heading) & set(known) else [str(place) for place in range(len(cells))]
            if names is heading:
                continue
        if len(cells) != len(names):
            wrong = f"holds {len(cells)} columns, the first line {len(names)}"
            raise BadLine(path, reader.line_num, wrong, "quote what holds a separator")
        yield reader.line_num, dict(zip(names, cells, strict=True))


def _cells(path: Path, reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise LabError(f"{path} is no table: {error}", "quote what holds a separator or a line end") from error
