"""Work in a thread that does not come back: nobody can end it, but whoever waits for it can be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Overdue:
    """Calls ``tell`` once where :meth:`cancel` was not called within ``after_s`` seconds; 0 never does.

    The time is waited for in two halves: a process that was stopped finds its timers due when it goes on, and what
    stood still with it gets the second half.
    """

    def __init__(self, after_s: float, tell: Callable[[], None]) -> None:
        self._half_s = after_s / 2
        self._tell = tell
        self.is_told = False
        self._timer = self._later(self._half_over) if after_s else None

    def cancel(self) -> None:
        """It came back."""
        if self._timer is not None:
            self._timer.cancel()

    def _half_over(self) -> None:
        self._timer = self._later(self._over)

    def _over(self) -> None:
        self.is_told = True
        self._tell()

    def _later(self, then: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._half_s, then)
