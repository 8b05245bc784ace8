"""Hedging: when a call is late, and how many may have a twin."""

from __future__ import annotations

from typing import Any

import pytest

from rescorer.errors import InvalidSetting
from rescorer.hedge import FEWEST, LAST, MOST_SAVED, Hedge, checked


def test_late_is_what_the_p95_says_once_there_are_enough_answers() -> None:
    """After twenty answers the nineteenth quickest is the bound; old answers are forgotten."""
    hedge = Hedge("p95")
    for took_ms in range(1, FEWEST):
        hedge.note(took_ms / 1000)
    assert hedge.after_s() is None
    hedge.note(FEWEST / 1000)
    assert hedge.after_s() == 0.019
    for _ in range(LAST):
        hedge.note(0.5)
    assert hedge.after_s() == 0.5


def test_a_number_is_milliseconds_from_the_first_call_on() -> None:
    """What was said needs no measuring."""
    assert Hedge(30).after_s() == 0.03


def test_off_means_never() -> None:
    """Without a rule nothing is late, however much was measured."""
    hedge = Hedge(None)
    for _ in range(LAST):
        hedge.note(0.1)
    assert hedge.after_s() is None


def test_one_call_in_ten_gets_a_twin_at_most() -> None:
    """Everything slow: of a thousand late calls a tenth is doubled, and one beside that is saved from the start."""
    hedge = Hedge("p95")
    for _ in range(1000):
        hedge.begin()
        if hedge.may_twin():
            hedge.twin()
    told = hedge.told()
    assert told.calls == 1000
    assert 100 <= told.hedged <= 101


def test_what_was_saved_is_bounded() -> None:
    """After a quiet day ten calls in a row may have twins, not a thousand."""
    hedge = Hedge(5)
    for _ in range(1000):
        hedge.begin()
    in_a_row = 0
    while hedge.may_twin():
        hedge.twin()
        in_a_row += 1
    assert in_a_row == MOST_SAVED


@pytest.mark.parametrize("rule", ["p95", 1, 0.5, None])
def test_a_rule_is_taken_as_it_is(rule: Any) -> None:
    """The word, milliseconds, or nothing."""
    assert checked(rule) == rule


@pytest.mark.parametrize("rule", ["p99", "30", 0, -1, float("nan"), float("inf"), 10**400, True, []])
def test_what_is_no_rule_is_refused(rule: Any) -> None:
    """A wrong one is found when the client is made, and the message says what to write."""
    with pytest.raises(InvalidSetting, match=r'rescorer_hedge: .* must be "p95"'):
        checked(rule)
