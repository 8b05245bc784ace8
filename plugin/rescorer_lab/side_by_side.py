"""Two lists of one query beside each other: what stood where before, what stands there after, who moved how far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

JUDGED = "★"
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """Document ids best first, under a heading each; ``titles`` of all of them; ``judged``: document → grade."""

    before: Sequence[str]
    after: Sequence[str]
    headings: tuple[str, str]
    titles: Mapping[str, str]
    judged: Mapping[str, int]


def table(lists: Lists) -> Table:
    """The first ten hits before and after, what moved by how much, and where the relevant documents went."""
    found = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False, title_justify="left", caption_justify="left")
    found.caption = Text(whereabouts(lists))
    found.add_column("", justify="right", width=2, no_wrap=True)
    for heading in lists.headings:
        found.add_column(heading, ratio=1, no_wrap=True, overflow="ellipsis")
    found.add_column("moved", justify="right", width=5, no_wrap=True)
    for place in range(min(SHOWN, max(len(lists.before), len(lists.after)))):
        shown = [_title(lists, ids[place]) if place < len(ids) else Text() for ids in (lists.before, lists.after)]
        found.add_row(str(place + 1), *shown, _way(lists, place))
    return found


def moved(before: int, after: int) -> Text:
    """How far a hit went, from places counted from 0: ``▲5`` up, ``▼2`` down, ``=`` where it was."""
    if before == after:
        return Text("=", style="dim")
    up = before > after
    return Text(f"{'▲' if up else '▼'}{abs(before - after)}", style="green" if up else "red")


def whereabouts(lists: Lists) -> str:
    """Where each relevant document stood and stands."""
    relevant = [document for document, grade in lists.judged.items() if grade > 0]
    ways = [f"{_place(lists.before, document)} → {_place(lists.after, document)}" for document in relevant[:SHOWN]]
    more = f", and {len(relevant) - SHOWN} more" if len(relevant) > SHOWN else ""
    return f"{JUDGED} judged relevant: {', '.join(ways)}{more}"


def _way(lists: Lists, place: int) -> Text:
    if place >= len(lists.after):
        return Text()
    document = lists.after[place]
    return moved(list(lists.before).index(document), place) if document in lists.before else Text("new", style="green")


def _title(lists: Lists, document: str) -> Text:
    is_relevant = lists.judged.get(document, 0) > 0
    mark = JUDGED if is_relevant else " "
    return Text(f"{mark} {lists.titles.get(document, document)}", style="bold" if is_relevant else "")


def _place(listed: Sequence[str], document: str) -> str:
    return f"rank {list(listed).index(document) + 1}" if document in listed else f"not in the first {len(listed)}"
