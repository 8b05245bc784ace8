"""The demo's tables say what moved, where the judged document went, and which figure is best."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from rescorer_lab import side_by_side
from rescorer_lab.demo import tables
from rescorer_lab.demo.searches import SYSTEMS
from rescorer_lab.demo.tables import Pick
from rescorer_lab.evaluation.significance import Difference
from unit.lab.demo_data import record


def _drawn(renderable: RenderableType, width: int = 140) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def _table(before: str, after: str, judged: dict[str, int], width: int = 140) -> str:
    pick = Pick(record(before=tuple(before), after=tuple(after)), "the median", 0.25)
    return _drawn(tables.before_after(pick, "hybrid_rescored", judged), width)


@pytest.mark.parametrize(("before", "after", "expected"), [(6, 1, "▲5"), (1, 3, "▼2"), (4, 4, "=")])
def test_moves_are_told_by_direction_and_distance(before: int, after: int, expected: str) -> None:
    """Up is ▲, down is ▼, each with how many places; what stayed is an equals sign."""
    assert side_by_side.moved(before, after).plain == expected


@given(st.permutations("abcdefghij"))
def test_moves_of_a_permutation_add_up_to_nothing(after: list[str]) -> None:
    """What some hits climb is what others fall, as long as the page is the window."""
    signs = {"▲": 1, "▼": -1}
    told = [side_by_side.moved("abcdefghij".index(document), place).plain for place, document in enumerate(after)]
    assert sum(signs.get(text[0], 0) * int(text[1:] or 0) for text in told) == 0


def test_before_and_after_stand_side_by_side() -> None:
    """Each row holds rank, the hit before, the hit after and its move."""
    lines = [line.split() for line in _table("abc", "bac", {}).splitlines() if line.strip().startswith(("1 ", "2 "))]
    assert lines[0] == ["1", "title", "of", "a", "title", "of", "b", "▲1"]
    assert lines[1] == ["2", "title", "of", "b", "title", "of", "a", "▼1"]


def test_judged_documents_are_marked_on_both_sides_and_followed() -> None:
    """A relevant document has its star before and after, and the caption says from where to where it went."""
    drawn = _table("abc", "bac", {"b": 1, "c": 0})
    assert drawn.count("★ title of b") == 2
    assert "★ title of c" not in drawn
    assert "judged relevant: rank 2 → rank 1" in drawn


def test_a_judged_document_that_nobody_found_is_told_too() -> None:
    """What is not in the window can't be rescored, and the caption says that it is not there."""
    assert "not in the first 3 → not in the first 3" in _table("abc", "bac", {"z": 1})


def test_a_hit_that_comes_from_below_the_page_shows_its_whole_way() -> None:
    """The first stage is listed as deep as the window, so that a climb from rank 12 is ▲11."""
    drawn = _table("abcdefghijkl", "labcdefghi", {"l": 1})
    assert "▲11" in drawn
    assert "rank 12 → rank 1" in drawn


def test_a_hit_that_was_not_in_the_list_before_is_new() -> None:
    """Where the first stage was not listed that deep, no distance is made up."""
    assert "new" in _table("abc", "abz", {})


def test_the_query_and_why_it_was_chosen_stand_above() -> None:
    """Nobody has to guess how the three queries were picked."""
    drawn = _table("abc", "bac", {})
    assert "“text of q0”" in drawn
    assert "the median, nDCG@10 +0.250" in drawn


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_narrow_terminal_gets_shorter_titles_and_no_broken_rows(width: int) -> None:
    """Ten hits are ten rows at any width, none longer than the terminal."""
    drawn = _table("abcdefghij", "jihgfedcba", {"a": 1}, width)
    rows = [line for line in drawn.splitlines() if line[:3].strip().isdigit()]
    assert len(rows) == 10
    assert max(map(len, drawn.splitlines())) <= width


def test_markup_in_a_title_is_text() -> None:
    """A title with brackets is shown as it is."""
    pick = Pick(record(before=("[red]x[/red]",), after=("[red]x[/red]",)), "the median", 0.0)
    assert "[red]x[/red]" in _drawn(tables.before_after(pick, "bm25_rescored", {}))


def test_the_three_queries_are_the_best_the_median_and_the_worst() -> None:
    """Of five, the first, third and last by gain are shown, each with its reason."""
    records = [record(f"q{number}") for number in range(5)]
    gains = {"q0": 0.1, "q1": -0.5, "q2": 0.0, "q3": 0.9, "q4": 0.3}
    found = tables.picked(records, gains)
    assert [pick.record.query for pick in found] == ["q3", "q0", "q1"]
    assert found[0].why.startswith("the largest gain")
    assert found[1].why.startswith("the median")
    assert found[2].why.startswith("the largest loss")
    assert [pick.gain for pick in found] == [0.9, 0.1, -0.5]


def test_a_loss_is_never_called_a_gain() -> None:
    """Where nothing got better the best one is the smallest loss, and where all did the worst is the smallest gain."""
    records = [record(f"q{number}") for number in range(3)]
    losses = tables.picked(records, {"q0": -0.1, "q1": -0.2, "q2": -0.3})
    assert losses[0].why.startswith("the smallest loss")
    assert tables.picked(records, {"q0": 0.1, "q1": 0.2, "q2": 0.3})[-1].why.startswith("the smallest gain")
    assert tables.picked(records, {"q0": 0.0, "q1": 0.0, "q2": 0.0})[0].why.startswith("no change")


def test_the_worst_of_all_is_shown_for_what_it_is() -> None:
    """The lowest gain is found and named a loss only where it is one."""
    records = [record(f"q{number}") for number in range(3)]
    found = tables.worst(records, {"q0": 0.1, "q1": -0.4, "q2": -0.4})
    assert (found.record.query, found.why, found.gain) == ("q1", "the largest loss among all 3 queries", -0.4)
    assert tables.worst(records, {"q0": 0.3, "q1": 0.1, "q2": 0.2}).why == "the smallest gain among all 3 queries"


@given(count=st.integers(1, 12))
def test_few_queries_are_shown_once_each(count: int) -> None:
    """However few there are, no query is shown twice and never more than three."""
    records = [record(f"q{number}") for number in range(count)]
    found = tables.picked(records, {entry.query: 0.0 for entry in records})
    names = [pick.record.query for pick in found]
    assert len(set(names)) == len(names) == min(count, 3)


def _means(best: str) -> dict[str, dict[str, float]]:
    return {
        system: {"nDCG@10": 0.9 if system == best else 0.5, "MRR@10": 0.45, "P@10": number / 10}
        for number, system in enumerate(SYSTEMS)
    }


@pytest.mark.parametrize("best", SYSTEMS)
def test_the_best_figure_of_a_column_is_marked(best: str) -> None:
    """The system with the highest nDCG@10 carries the mark in that column."""
    drawn = _drawn(tables.figures(_means(best), {"bm25": 0.8, "knn": 0.9, "hybrid": 0.95}, 30))
    (row,) = [line for line in drawn.splitlines() if "0.900 ◂ best" in line]
    assert row.split("0.900")[0].strip() == tables.NAMES[best]


def test_equal_best_figures_are_all_marked() -> None:
    """No system is made the winner of a tie."""
    drawn = _drawn(tables.figures(_means("bm25"), {"bm25": 0.8, "knn": 0.9, "hybrid": 0.95}, 30))
    assert drawn.count("0.450 ◂ best") == len(SYSTEMS)


def test_a_rescored_system_shows_the_recall_of_its_first_stage() -> None:
    """Rescoring permutes: its window is the first stage's."""
    drawn = _drawn(tables.figures(_means("bm25"), {"bm25": 0.812, "knn": 0.9, "hybrid": 0.956}, 30))
    assert drawn.count("0.812") == 3
    assert drawn.count("0.956") == 3
    assert "recall of the window (30)" in drawn


def test_times_stand_in_milliseconds() -> None:
    """Each part has a row with both percentiles."""
    drawn = _drawn(tables.times({"first_stage": {"p50": 12.4, "p95": 30.0}, "total": {"p50": 100.0, "p95": 200.6}}))
    assert ["first", "stage", "12", "30"] in [line.split() for line in drawn.splitlines()]
    assert ["total", "100", "201"] in [line.split() for line in drawn.splitlines()]


def test_a_difference_is_told_with_its_interval_and_its_queries() -> None:
    """Sign, bounds and the three counts are all in the sentence."""
    gain = Difference(mean=-0.02, low=-0.05, high=0.01, better=3, worse=5, same=2)
    said = tables.said("bm25_rescored", gain)
    assert "BM25 → BM25 + rescored: nDCG@10 -0.020 (95 % interval -0.050 … +0.010)" in said
    assert "3 queries better, 5 worse, 2 the same" in said
