"""Lines and records of a file, each with its number, whatever the file's form."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rescorer_lab.errors import LabError

Record = Mapping[str, str]
Names = Sequence[str]

_decode = json.JSONDecoder().decode


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
    return ((number, text) for number, text in _all_lines(path) if text and not text.isspace())


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and value of each line of a JSONL file; BadLine where one is no JSON object."""
    for number, line in lines(path):
        try:
            found = _decode(line)
        except (ValueError, RecursionError) as error:
            raise BadLine(path, number, f"is no JSON ({error})", "write one JSON object a line") from error
        if not isinstance(found, dict):
            raise BadLine(path, number, f"holds a {type(found).__name__}", "write one JSON object a line")
        yield number, found


def records(path: Path, known: Sequence[str]) -> Iterator[tuple[int, Record]]:
    """Number and fields of each record of a JSONL, CSV or TSV file.

    The first line of a CSV or TSV file names the columns where it holds one of ``known``; else columns are called
    ``0``, ``1``, …
    """
    if form(path) == "jsonl":
        for number, found in objects(path):
            yield number, {name: _text(value) for name, value in found.items()}
    else:
        names: list[str] = []
        for number, cells in _rows(path, known, names):
            yield number, dict(zip(names, cells, strict=True))


def picked(path: Path, wanted: Sequence[Names], bare: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, list[str]]]:
    """Number and, for each of ``wanted``, the first field of these names, of each record of a JSONL, CSV or TSV file.

    bare: places of the columns where the first line of a table does not name them, by their number.
    BadLine for a record that has none of the names.
    """
    if form(path) == "jsonl":
        for number, found in objects(path):
            yield number, [_text(found[_held(path, number, found, names)]).strip() for names in wanted]
        return
    columns: list[str] = []
    places: Sequence[int] = ()
    for number, cells in _rows(path, [name for names in wanted for name in names], columns):
        if not places:
            is_bare = columns[0] == "0" and len(columns) in bare
            named = [] if is_bare else [_held(path, number, columns, names) for names in wanted]
            places = bare[len(columns)] if is_bare else [columns.index(name) for name in named]
        yield number, [cells[place].strip() for place in places]


def one_of(record: Record, names: Sequence[str]) -> str | None:
    """The first of these fields that the record holds."""
    return next((record[name] for name in names if name in record), None)


def _held(path: Path, number: int, held: Container[str], names: Names) -> str:
    for name in names:
        if name in held:
            return name
    raise BadLine(path, number, f"has none of the fields {', '.join(names)}", "name the columns so")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else json.dumps(value)


def _all_lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                text = raw.decode("utf-8").strip("\r\n")
                yield number, text.removeprefix("\ufeff") if number == 1 else text
    except UnicodeDecodeError as error:
        raise BadLine(path, number, f"is not UTF-8 ({error.reason})", "convert the file to UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LabError(f"{path} can't be read: {what}", "name a file that is there and whole") from error


def _rows(path: Path, known: Sequence[str], names: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each row of a table; fills ``names`` with those of the columns before the first one."""
    texts = (text + "\n" for _, text in _all_lines(path))
    reader = csv.reader(texts, delimiter="\t" if form(path) == "tsv" else ",")
    for cells in filter(None, _cells(path, reader)):
        if not names:
            heading = [cell.strip().lower() for cell in cells]
            is_heading = bool(set(heading) & set(known))
            names.extend(heading if is_heading else [str(place) for place in range(len(cells))])
            if is_heading:
                continue
        if len(cells) != len(names):
            wrong = f"holds {len(cells)} columns, the first line {len(names)}"
            raise BadLine(path, reader.line_num, wrong, "quote what holds a separator")
        yield reader.line_num, cells


def _cells(path: Path, reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise LabError(f"{path} is no table: {error}", "quote what holds a separator or a line end") from error
