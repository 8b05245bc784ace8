"""Breakers on a given clock: when one opens, for how long, who finds out, and what a failure is."""

from __future__ import annotations

import pytest

from rescorer.breaker import WORTH_S, Breaker, Rule, verdict
from rescorer.errors import BadScores, ScorerError, ScorerOverloaded, ScorerRefused, ScorerTimeout, ScorerUnavailable
from rescorer.testing import FakeClock

RULE = Rule(failures=3, first_open_s=1.0, most_open_s=4.0)


@pytest.fixture
def clock() -> FakeClock:
    """Begins at a time that is not 0, as real clocks do."""
    return FakeClock(1000.0)


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    """Opens after three failures, without jitter."""
    return Breaker(clock, lambda: 0.0, RULE)


def _fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.end("failed", is_probe=breaker.begin())


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    """Two failures change nothing, an answer between them and the third starts the count anew."""
    _fail(breaker, 2)
    breaker.end("answered", is_probe=breaker.begin())
    _fail(breaker, 2)
    assert (breaker.state, breaker.failures, breaker.may_begin()) == ("closed", 2, True)
    _fail(breaker)
    assert (breaker.state, breaker.may_begin(), breaker.retry_in_s, breaker.opened) == ("open", False, 1.0, 1)


def test_one_call_finds_out_and_closes_it(breaker: Breaker, clock: FakeClock) -> None:
    """After its time one call may be made, no second beside it, and its answer lets everybody in again."""
    _fail(breaker, 3)
    clock.advance(1.0)
    assert (breaker.state, breaker.may_begin(), breaker.retry_in_s) == ("half_open", True, 0.0)
    assert breaker.begin()
    assert not breaker.may_begin()
    breaker.end("answered", is_probe=True)
    assert (breaker.state, breaker.may_begin(), breaker.failures, breaker.retry_in_s) == ("closed", True, 0, None)


def test_it_stays_open_twice_as_long_each_time_up_to_a_bound(breaker: Breaker, clock: FakeClock) -> None:
    """1, 2, 4, 4 seconds; after an answer it begins with 1 again."""
    _fail(breaker, 3)
    stayed = []
    for _ in range(4):
        stayed.append(breaker.retry_in_s)
        clock.advance(breaker.retry_in_s or 0.0)
        _fail(breaker)
    assert stayed == [1.0, 2.0, 4.0, 4.0]
    clock.advance(4.0)
    breaker.end("answered", is_probe=breaker.begin())
    _fail(breaker, 3)
    assert breaker.retry_in_s == 1.0


def test_jitter_shortens_by_a_quarter_at_most() -> None:
    """Clients that saw the same sidecar die do not come back in the same moment."""
    assert [RULE.open_s(1, draw) for draw in (0.0, 0.5, 1.0)] == [1.0, 0.875, 0.75]
    assert RULE.open_s(10_000, 0.0) == 4.0


def test_calls_that_began_before_it_opened_do_not_open_it_again(breaker: Breaker) -> None:
    """Twenty calls in flight when a sidecar dies count as one opening."""
    begun = [breaker.begin() for _ in range(20)]
    for is_probe in begun:
        breaker.end("failed", is_probe=is_probe)
    assert (breaker.opened, breaker.retry_in_s, breaker.failures) == (1, 1.0, 20)


def test_an_answer_to_an_earlier_call_closes_it(breaker: Breaker) -> None:
    """Whoever answers lives, whenever the question was asked."""
    is_probe = breaker.begin()
    _fail(breaker, 3)
    breaker.end("answered", is_probe=is_probe)
    assert breaker.state == "closed"


def test_a_call_that_finds_nothing_out_leaves_it_to_the_next(breaker: Breaker, clock: FakeClock) -> None:
    """Cancelled by its caller, it says nothing, and another one may find out at once."""
    _fail(breaker, 3)
    clock.advance(1.0)
    breaker.end("unknown", is_probe=breaker.begin())
    assert (breaker.state, breaker.may_begin()) == ("half_open", True)


def test_a_call_that_never_ends_does_not_block_it_for_ever(breaker: Breaker, clock: FakeClock) -> None:
    """Long overdue, the one that was to find out is not waited for."""
    _fail(breaker, 3)
    clock.advance(1.0)
    breaker.begin()
    clock.advance(4.0)
    assert breaker.may_begin()


@pytest.mark.parametrize(
    ("error", "given_s", "is_its_word", "said"),
    [
        (ScorerUnavailable("gone"), 0.001, False, "failed"),
        (BadScores("nonsense"), 0.001, False, "failed"),
        (ScorerTimeout("late"), WORTH_S, False, "failed"),
        (ScorerTimeout("late"), WORTH_S / 2, False, "unknown"),
        (ScorerTimeout("late"), 10.0, True, "answered"),
        (ScorerOverloaded("full"), 1.0, True, "answered"),
        (ScorerRefused("no such model"), 1.0, True, "answered"),
        (ScorerError("broken inside"), 1.0, True, "unknown"),
    ],
)
def test_what_an_error_says_about_its_sidecar(error: ScorerError, given_s: float, is_its_word: bool, said: str) -> None:
    """Silence and nonsense are failures, any word is life, and a time-out counts where there was time."""
    assert verdict(error, given_s, is_its_word=is_its_word) == said
