"""The budget for regressions, the biggest movers, and two lists beside each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_lab import side_by_side
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import movers
from rescorer_lab.evaluation.asking import Answer
from rescorer_lab.evaluation.movers import Budget
from rescorer_lab.inputs import Judged, Topic
from rescorer_lab.side_by_side import Lists

GAINS = {"a": 0.5, "b": -0.05, "c": -0.2, "d": 0.0, "e": -0.4}


def test_only_a_loss_over_the_bound_is_a_regression() -> None:
    """Small losses are noise; the bound itself is still allowed."""
    assert Budget(loss=0.1).lost(GAINS) == ["e", "c"]
    assert Budget(loss=0.2).lost(GAINS) == ["e"]


@pytest.mark.parametrize(("percent", "is_kept"), [(None, True), (40, True), (39.9, False), (0, False)])
def test_a_budget_is_kept_up_to_its_percentage(percent: float | None, is_kept: bool) -> None:
    """Two of five topics lose: 40 % is enough, less is not, and no budget allows all."""
    assert Budget(percent=percent).is_kept(GAINS) is is_kept


@pytest.mark.parametrize(("loss", "percent"), [(-1, None), (float("nan"), None), (0.1, 101), (0.1, -1)])
def test_a_budget_that_means_nothing_is_refused(loss: float, percent: float | None) -> None:
    """A negative loss and a percentage of more than all topics."""
    with pytest.raises(LabError, match="name"):
        Budget(loss=loss, percent=percent)


def test_the_biggest_movers_come_best_and_worst_first() -> None:
    """As many of each as asked for, and none that stays where it was."""
    assert movers.biggest(GAINS, 1) == ["a", "e"]
    assert movers.biggest(GAINS, 9) == ["a", "e", "c", "b"]


@given(st.dictionaries(st.text("abc", min_size=1), st.floats(-1, 1), max_size=20), st.integers(0, 5))
def test_no_mover_is_shown_twice(gains: dict[str, float], count: int) -> None:
    """Gains and losses never share a topic, and no more than twice the count are shown."""
    found = movers.biggest(gains, count)
    assert len(found) == len(set(found)) <= 2 * count


def test_a_mover_holds_what_both_systems_showed() -> None:
    """Each list is the system's own; the judged documents are those of the topic."""
    judged = Judged(topics={"t": Topic(id="t", text="x")}, qrels={"t": {"d1": 1}}, name="n")
    answers = [
        Answer(system="old", topic="t", hits=("d0", "d1"), scores=(2.0, 1.0)),
        Answer(system="new", topic="t", hits=("d1", "d0"), scores=(2.0, 1.0)),
    ]
    (found,) = movers.movers({"t": 0.4}, ["t"], judged, answers, ("old", "new"))
    assert (found.lists.before, found.lists.after, found.lists.judged) == (("d0", "d1"), ("d1", "d0"), {"d1": 1})
    assert movers.shown([found]) == {"d0", "d1"}


def test_lists_of_different_length_stand_beside_each_other() -> None:
    """Every place of the longer one has a row; what is new says so, and where the relevant went stands below."""
    lists = Lists(before=["a"], after=["n", "a", "b"], headings=("x", "y"), titles={"a": "A"}, judged={"b": 2, "z": 1})
    table = side_by_side.table(lists)
    assert table.row_count == 3
    assert [str(cell) for cell in table.columns[3].cells] == ["new", "▼1", "new"]
    assert side_by_side.whereabouts(lists).endswith(
        "not in the first 1 → rank 3, not in the first 1 → not in the first 3"
    )
