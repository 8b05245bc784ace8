"""What interrupts the demo, and what can no longer interrupt its clean-up."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from rescorer_lab.demo import stack


def _marker(number: int, frame: object) -> None:
    """A handler that is nobody else's."""


@pytest.fixture(autouse=True)
def _known_handlers() -> Iterator[None]:
    """Every test begins with the same handlers and leaves those that were there."""
    before = {number: signal.signal(number, _marker) for number in stack.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", stack.SIGNALS, ids=lambda number: number.name)
def test_each_way_to_end_a_command_interrupts_it(number: signal.Signals) -> None:
    """Ctrl-C, a plain kill and a closed terminal all come as KeyboardInterrupt, so that everything is cleaned up."""
    with pytest.raises(KeyboardInterrupt), stack.interruptible():
        signal.raise_signal(number)


def test_a_second_signal_does_not_disturb_the_clean_up() -> None:
    """After the first signal the others are ignored until the end."""
    cleaned: list[signal.Signals] = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            for number in stack.SIGNALS:
                signal.raise_signal(number)
                cleaned.append(number)

    with pytest.raises(KeyboardInterrupt), stack.interruptible():
        work()
    assert cleaned == list(stack.SIGNALS)


def test_afterwards_signals_mean_what_they_meant() -> None:
    """Handlers are put back, also after an interruption."""
    with stack.interruptible():
        assert _marker not in [signal.getsignal(number) for number in stack.SIGNALS]
    assert [signal.getsignal(number) for number in stack.SIGNALS] == [_marker] * 3
    with pytest.raises(KeyboardInterrupt), stack.interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in stack.SIGNALS] == [_marker] * 3
