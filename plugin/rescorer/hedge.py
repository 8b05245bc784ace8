"""When a call that is late gets a twin at another sidecar: after the p95 of the last answers, or a time that was given.

Pure; whoever shares one between threads locks around it.

## Decisions
2026-11: one call in ten at most gets a twin, and ten in a row: where everything is slow, twins would double the load
that makes it so. Measured are answers alone; until there are enough of them nothing is late by ``p95``.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rescorer.errors import InvalidSetting

SHARE = 0.1
MOST_SAVED = 10.0
LAST = 128
FEWEST = 20
MOST_MS = 86_400_000

Rule: TypeAlias = Literal["p95"] | float
"""``"p95"``, or milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedging:
    """What hedging did: ``calls`` in all, so many of them with a twin, so many twins that answered first.

    after_ms: when a call gets a twin now; None where hedging is off or not enough answers were measured.
    """

    calls: int
    hedged: int
    won: int
    after_ms: float | None


def checked(rule: Any) -> Rule | None:
    """The rule as it was given; raises InvalidSetting where it is none."""
    is_number = isinstance(rule, int | float) and not isinstance(rule, bool)
    if rule is None or rule == "p95" or (is_number and 0 < rule <= MOST_MS):
        return rule  # type: ignore[no-any-return]  # just looked at
    mend = f'must be "p95", a number of milliseconds above 0 and at most {MOST_MS:,}, or None'
    raise InvalidSetting("rescorer_hedge", rule, mend)


class Hedge:
    """Measures answers, and says when a call is late and whether it may have a twin."""

    def __init__(self, rule: Rule | None) -> None:
        self._rule = rule
        self._took_s: deque[float] = deque(maxlen=LAST)
        self._saved = 1.0
        self.calls = self.hedged = self.won = 0

    def begin(self) -> None:
        """A call begins, and earns its share of a twin."""
        self.calls += 1
        self._saved = min(MOST_SAVED, self._saved + SHARE)

    def note(self, took_s: float) -> None:
        """An answer came after so many seconds."""
        self._took_s.append(took_s)

    def after_s(self) -> float | None:
        """Seconds after which a call is late; None where nothing is."""
        if self._rule is None or isinstance(self._rule, int | float):
            return None if self._rule is None else self._rule / 1000
        if len(self._took_s) < FEWEST:
            return None
        return sorted(self._took_s)[math.ceil(0.95 * len(self._took_s)) - 1]

    def may_twin(self) -> bool:
        """Whether a late call may have a twin."""
        return self._saved >= 1.0

    def twin(self) -> None:
        """It gets one."""
        self._saved -= 1.0
        self.hedged += 1

    def told(self) -> Hedging:
        """The counts, and when a call is late now."""
        after_s = self.after_s()
        after_ms = None if after_s is None else 1000 * after_s
        return Hedging(calls=self.calls, hedged=self.hedged, won=self.won, after_ms=after_ms)
