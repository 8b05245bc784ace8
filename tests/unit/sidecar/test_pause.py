"""Pauses: when something is left alone, for how long, and what ends it."""

from __future__ import annotations

from rescorer_sidecar.pause import FAILURES, FIRST_S, LONGEST_S, Pause


def test_failures_in_a_row_begin_a_pause() -> None:
    """The third failure begins a second's pause, and two failures with a success between them begin none."""
    pause = Pause()
    assert [pause.failed(10.0) for _ in range(FAILURES - 1)] == [False] * (FAILURES - 1)
    pause.worked()
    assert [pause.failed(10.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    assert pause.holds(10.0 + FIRST_S - 0.01)
    assert not pause.holds(10.0 + FIRST_S)


def test_each_pause_is_twice_as_long_until_something_works() -> None:
    """Pauses double up to the longest; the first success makes the next one short again."""
    pause, lengths = Pause(), []
    for _ in range(8):
        assert pause.failed(0.0, at_once=True)
        lengths.append(pause.until_s)
    assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_S, LONGEST_S, LONGEST_S]
    pause.worked()
    assert pause.failed(0.0, at_once=True)
    assert pause.until_s == FIRST_S
