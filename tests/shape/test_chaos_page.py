"""docs/chaos.md names exactly the faults that ``make chaos`` runs, and shows a run of all of them."""

from __future__ import annotations

import re

from chaos import faults, table
from shape.source import ROOT

PAGE = (ROOT / "docs" / "chaos.md").read_text(encoding="utf-8")


def _rows(head: str) -> list[list[str]]:
    """The cells of the table under the heading whose first column is called ``head``, without its two first lines."""
    drawn = re.search(rf"^\| {head} .*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert drawn is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in drawn.group(1).splitlines()]


def test_the_page_lists_the_faults_in_the_words_of_the_list() -> None:
    """Name, what is done, and whether it is in the short form, in order."""
    listed = [[one.name, one.about, "yes" if one.is_short else ""] for one in faults.ALL.values()]
    assert _rows("name") == listed


def test_the_page_shows_a_run_of_the_whole_list_that_lost_nothing() -> None:
    """A line for each fault, in order, with the columns of the table, and no hit lost in any."""
    shown = _rows(table.HEADS[0])
    assert [row[0] for row in shown] == list(faults.ALL)
    assert {row[table.HEADS.index("hits lost")] for row in shown} == {"0"}
