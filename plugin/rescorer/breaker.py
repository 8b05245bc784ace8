"""A circuit breaker, one for each sidecar: after some failures in a row it is left alone, then one call finds out.

Pure: a clock and a draw (0 … 1, for jitter) are given, and whoever shares one between threads locks around it.

## Decisions
2026-11: what counts as a failure (:func:`verdict`): nobody answers, nonsense is answered, or no answer came in a time
that was worth its name. A time-out below WORTH_S says nothing: a search with 20 ms must not take a healthy sidecar from
everybody, and a frozen one costs such searches little. An answer of any kind (refused, overloaded, too late by its own
word) shows a sidecar that lives; one that says that it failed inside says neither, since the request may be at fault.
2026-11: five in a row, because one search makes up to three tries: a single search never opens a breaker. Open for two
seconds at most, so that a sidecar that was restarted is soon found again: what it costs is one call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rescorer.errors import BadScores, ScorerError, ScorerOverloaded, ScorerRefused, ScorerTimeout, ScorerUnavailable

WORTH_S = 0.1
"""A call that was given less says nothing about its sidecar where no answer came."""

State = Literal["closed", "open", "half_open"]
Verdict = Literal["answered", "failed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a breaker opens and for how long: twice as long each time in a row, up to a bound, a quarter less by lot."""

    failures: int = 5
    first_open_s: float = 0.5
    most_open_s: float = 2.0

    def open_s(self, times: int, draw: float) -> float:
        """Seconds that it stays open when it opens for this time in a row, from 1."""
        nominal_s = self.first_open_s * 2.0 ** min(times - 1, 16)
        return min(nominal_s, self.most_open_s) * (1.0 - draw / 4)


DEFAULT_RULE = Rule()


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarState:
    """One sidecar as this client sees it.

    state: ``closed`` is asked; ``open`` is left alone; ``half_open`` may be asked by one call, which decides.
    failures: in a row. retry_in_s: seconds until it may be asked again, 0 where it may be now; None while closed.
    calls: how many it was sent. opened: how often its breaker opened.
    """

    address: str
    state: State
    failures: int
    retry_in_s: float | None
    calls: int
    opened: int


class Breaker:
    """Closed, open or half open; told how each call that :meth:`begin` counted ended, in one of three ways."""

    def __init__(self, clock: Callable[[], float], draw: Callable[[], float], rule: Rule = DEFAULT_RULE) -> None:
        self._clock = clock
        self._draw = draw
        self._rule = rule
        self._times_in_a_row = 0
        self._due_s: float | None = None  # None while closed
        self._probed_until_s: float | None = None
        self.failures = 0
        self.calls = 0
        self.opened = 0

    @property
    def state(self) -> State:
        """What it is now."""
        if self._due_s is None:
            return "closed"
        return "half_open" if self._clock() >= self._due_s else "open"

    @property
    def retry_in_s(self) -> float | None:
        """Seconds until a call may find out; None while closed."""
        return None if self._due_s is None else max(0.0, self._due_s - self._clock())

    def may_begin(self) -> bool:
        """Whether a call may be made now: while half open one at a time, or another once that one is long overdue."""
        if self._due_s is None:
            return True
        is_probed = self._probed_until_s is not None and self._clock() < self._probed_until_s
        return self._clock() >= self._due_s and not is_probed

    def begin(self) -> bool:
        """Count a call; whether it is the one that finds out."""
        self.calls += 1
        if self._due_s is None:
            return False
        self._probed_until_s = self._clock() + self._rule.most_open_s
        return True

    def end(self, verdict: Verdict, *, is_probe: bool) -> None:
        """A call ended like this."""
        if verdict == "answered":
            self._close()
        elif verdict == "failed":
            self._fail(is_probe=is_probe)
        elif is_probe:
            self._probed_until_s = None

    def _close(self) -> None:
        self.failures = self._times_in_a_row = 0
        self._due_s = self._probed_until_s = None

    def _fail(self, *, is_probe: bool) -> None:
        self.failures += 1
        is_news = is_probe or self._due_s is None  # else it began before the breaker opened
        if is_news and self.failures >= self._rule.failures:
            self.opened += 1
            self._times_in_a_row += 1
            self._due_s = self._clock() + self._rule.open_s(self._times_in_a_row, self._draw())
            self._probed_until_s = None


def verdict(error: ScorerError, given_s: float, *, is_its_word: bool) -> Verdict:
    """What a call that ended with this error says about the sidecar.

    given_s: the time that it had. is_its_word: whether the sidecar itself said that time was over.
    """
    if isinstance(error, ScorerUnavailable | BadScores):
        return "failed"
    if isinstance(error, ScorerTimeout):
        if is_its_word:
            return "answered"
        return "failed" if given_s >= WORTH_S else "unknown"
    return "answered" if isinstance(error, ScorerOverloaded | ScorerRefused) else "unknown"
