"""One search's time: what the engine used, what rescoring used, and what is left for the next call to the sidecar."""

from __future__ import annotations

from collections.abc import Callable

from rescorer.errors import Reason, ScorerTimeout

Clock = Callable[[], float]


class NoTimeLeft(ScorerTimeout):
    """The search had used up its time before the sidecar was asked."""

    reason = Reason.NO_TIME_LEFT


class Watch:
    """Begins with the search, now or at ``begun_s``; ``timeout_s`` bounds that, ``budget_ms`` the rescoring part alone.

    Every time is in seconds of the given clock, every ``_ms`` property in milliseconds.
    """

    def __init__(self, clock: Clock, timeout_s: float, begun_s: float | None = None) -> None:
        self._clock = clock
        self._begun_s = self._lap_s = clock() if begun_s is None else begun_s
        self._timeout_s = timeout_s
        self._rescoring_s = 0.0
        self.timings: dict[str, float] = {}

    def lap(self, name: str, *, of_rescoring: bool) -> None:
        """Book the time since the last lap under ``name``; that of rescoring counts against ``budget_ms``."""
        now_s = self._clock()
        self.timings[name] = self.timings.get(name, 0.0) + 1000 * (now_s - self._lap_s)
        if of_rescoring:
            self._rescoring_s += now_s - self._lap_s
        self._lap_s = now_s

    def left_s(self, budget_ms: float) -> float:
        """Seconds that the next call to the sidecar may take; raises NoTimeLeft where there are none."""
        now_s = self._clock()
        of_budget_s = budget_ms / 1000 - self._rescoring_s - (now_s - self._lap_s)
        left_s = min(of_budget_s, self._timeout_s - (now_s - self._begun_s))
        if left_s <= 0:
            raise NoTimeLeft("no time was left to ask the sidecar; raise request_timeout or budget_ms")
        return left_s

    def total_ms(self) -> float:
        """Milliseconds since the search began."""
        return 1000 * (self._clock() - self._begun_s)
