"""The verdict finds what it is there for: each kind of broken promise is a complaint, and a whole search none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos import table, verdict
from chaos.verdict import Promise, Seen

WELL = Seen(
    begun_s=0.0,
    elapsed_ms=120.0,
    engine_ms=10.0,
    allowed_ms=100.0,
    noise_ms=0.0,
    expected=["a", "b", "c"],
    ids=["c", "a", "b"],
    status="reranked",
)


def found(*seen: Seen, promise: Promise | None = None) -> str:
    """All complaints as one text."""
    return "\n".join(verdict.complaints(seen, promise or Promise()))


def test_a_search_with_all_its_hits_in_time_is_well() -> None:
    """Another order of the same hits, 10 ms after the budget, is as promised."""
    assert found(WELL) == ""


@pytest.mark.parametrize(
    ("ids", "lost"),
    [(["a", "b"], 1), (["a", "b", "b"], 2), (["a", "b", "c", "d"], 1), (["a", "b", "b", "c"], 1), ([], 3)],
)
def test_hits_are_compared_as_sets_that_count(ids: list[str], lost: int) -> None:
    """A hit that is missing, there twice, or foreign is lost."""
    assert found(replace(WELL, ids=ids)) == f"{lost} hits lost, doubled or foreign"


@pytest.mark.parametrize(
    ("status", "reason"), [(None, None), ("fallback", None), ("partial", None), ("skipped", "why")]
)
def test_an_answer_that_does_not_say_what_it_is_is_silent(status: str | None, reason: str | None) -> None:
    """No outcome, one without its reason, or a search that was skipped where rescoring was asked for."""
    assert "1 silent" in found(replace(WELL, status=status, reason=reason))


def test_later_than_the_grace_is_late_unless_the_machine_was() -> None:
    """Engine and budget are taken off, then 20 ms of grace, then what the machine kept it waiting."""
    late = replace(WELL, elapsed_ms=161.0)
    assert "51 ms after the budget" in found(late)
    assert found(replace(late, noise_ms=31.0)) == ""
    assert found(replace(late, elapsed_ms=161.0, engine_ms=41.0)) == ""


def test_one_of_a_hundred_may_be_late() -> None:
    """The 99th percentile of 100 searches leaves one out, and that of 99 none."""
    late = replace(WELL, elapsed_ms=5000.0)
    assert found(late, *[WELL] * 99) == ""
    assert "after the budget" in found(late, *[WELL] * 98)


def test_statuses_are_those_that_may_be_and_must_be() -> None:
    """A status that a fault excludes, and one that it asks for in vain, are both told."""
    promise = Promise(may=frozenset({"fallback"}), must=frozenset({"fallback"}))
    assert found(WELL, promise=promise).splitlines() == [
        "answers are reranked (None), which they may not be",
        "no answer is fallback",
    ]


def test_errors_are_those_that_are_expected() -> None:
    """An error is a complaint unless the official client would have it, too; it loses no hits."""
    failed = replace(WELL, ids=[], status=None, error="TransportError")
    assert found(failed, WELL) == "errors: 1 × TransportError"
    assert found(failed, WELL, promise=Promise(errors=frozenset({"TransportError"}))) == ""


def test_no_search_is_no_success() -> None:
    """A fault beside which nobody searched shows nothing."""
    assert "no search was made" in found()


def test_the_table_has_a_line_for_each_fault() -> None:
    """Name, searches, in budget, statuses, lost hits, errors; columns aligned."""
    seen = [WELL, replace(WELL, status="fallback", reason="x", ids=["a"]), replace(WELL, status=None, error="Oops")]
    drawn = table.lines([verdict.row("a-fault", seen, 1.0, [], [])])
    assert [cell.strip() for cell in drawn[2].strip("|").split("|")] == ["a-fault", "3", "3", "1/0/1", "2", "1 Oops"]
    assert len({len(line) for line in drawn}) == 1
