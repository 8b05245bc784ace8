"""An evaluation as one page that can be mailed: the tables of the terminal, and plots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from rescorer_lab import side_by_side
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import significance, svg, tables
from rescorer_lab.evaluation.movers import Mover
from rescorer_lab.evaluation.story import Told
from rescorer_lab.side_by_side import Lists


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, and its class: ``best``, ``better``, ``worse`` or none."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of the terminal as the page's template takes it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page."""

    heading: str
    says: str = ""
    plot: Markup | None = None
    table: Grid | None = field(default=None)


def write(path: Path, told: Told, *, title: str, made: Mapping[str, Any], price: float | None) -> Path:
    """Write the page; returns its absolute path. ``made``: how, with which versions and on what. Raises LabError."""
    measure = next(iter(next(iter(told.measured.values())).means))
    return rendered(
        path,
        title=title,
        subtitle=f"{len(next(iter(told.measured.values())).rows):,} judged topics; {measure} decides",
        warnings=told.warnings,
        sections=list(_sections(told, measure, price)),
        made=json.dumps(made, indent=2, ensure_ascii=False),
    )


def rendered(path: Path, **parts: Any) -> Path:
    """Fill the template and write it whole or not at all."""
    template = resources.files("rescorer_lab.evaluation").joinpath("page.html.jinja").read_text(encoding="utf-8")
    html = Environment(autoescape=True, trim_blocks=True).from_string(template).render(**parts)
    path = path.absolute()
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(html, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise LabError(f"{path} can't be written: {error.strerror}", "name another folder with --out") from error
    return path


def grid(table: Table) -> Grid:
    """A terminal's table with its texts and marks."""
    columns = [list(column.cells) for column in table.columns]
    return Grid(
        headings=[str(column.header) for column in table.columns],
        rows=[[_cell(cell) for cell in row] for row in zip(*columns, strict=True)],
        caption=str(table.caption or ""),
    )


def compared(path: Path, told: Told, found: Sequence[Mover], *, made: Mapping[str, Any], says: str) -> Path:
    """Write the page of two systems: their difference, every topic's gain, and the biggest movers. Raises LabError."""
    (entry,) = told.comparisons
    moved = [
        Section(heading=f"“{mover.topic.text}”", says=f"{entry.measure} {mover.gain:+.3f}", table=_lists(mover.lists))
        for mover in found
    ]
    first, *others = _sections(told, entry.measure, None)
    return rendered(
        path,
        title=f"{entry.before} → {entry.after}",
        subtitle=says,
        warnings=told.warnings,
        sections=[first, *moved, *others],
        made=json.dumps(made, indent=2, ensure_ascii=False),
    )


def _lists(lists: Lists) -> Grid:
    return grid(side_by_side.table(lists))


def _sections(told: Told, measure: str, price: float | None) -> Iterator[Section]:
    yield Section(
        heading="How good the lists are",
        says=f"{measure} with its 95 % interval; the dashed mark is what the best order of its window would reach.",
        plot=svg.intervals(_bars(told, measure), measure),
        table=grid(tables.quality(told.measured)),
    )
    others = tables.further(told.measured)
    if others is not None:
        yield Section(heading="By other measures", table=grid(others))
    if told.comparisons:
        yield Section(
            heading="What is a difference, and what is chance",
            plot=svg.intervals(_gains(told), f"gain in {measure}", zero=True),
            table=grid(tables.differences(told)),
        )
    yield Section(heading="Where it fails", table=grid(tables.failures(told.measured)))
    costs = tables.costs(told.measured, price)
    if costs is not None:
        timed = [
            svg.Point(name=name, x=found.latency_ms["total_ms"]["p50"], y=found.means[measure])
            for name, found in told.measured.items()
            if found.ms
        ]
        plot = svg.scatter(timed, "quality and latency", "p50, milliseconds", measure)
        yield Section(heading="What it costs", plot=plot, table=grid(costs))
    if told.support is not None:
        yield Section(heading="Whether the answer is there to be read", table=grid(tables.supported(told.support)))
        if told.support.gains:
            yield Section(heading="What changes in that", table=grid(tables.support_gained(told.support)))
    for kind, values in told.slices.items():
        yield Section(heading=f"By {kind}", table=grid(tables.sliced(kind, values)))


def _bars(told: Told, measure: str) -> list[svg.Bar]:
    found = []
    for name, measured in told.measured.items():
        values = list(measured.of(measure).values())
        low, high = significance.interval(values)
        found.append(svg.Bar(name=name, mean=sum(values) / len(values), low=low, high=high, most=measured.ceiling))
    return found


def _gains(told: Told) -> list[svg.Bar]:
    return [
        svg.Bar(
            name=f"{entry.before} → {entry.after}",
            mean=entry.difference.mean,
            low=entry.difference.low,
            high=entry.difference.high,
        )
        for entry in told.comparisons
    ]


def _cell(cell: Any) -> Cell:
    if not isinstance(cell, Text):
        return Cell(str(cell))
    return Cell(cell.plain, {"bold": "best", "green": "better", "red": "worse"}.get(str(cell.style), ""))
