"""Leaving something alone for a while after it failed several times in a row; pure, the clock is given."""

from __future__ import annotations

from dataclasses import dataclass, field

FAILURES = 3
FIRST_S = 1.0
LONGEST_S = 30.0


@dataclass(slots=True)
class Pause:
    """Each pause is twice as long as the one before, until something has worked again."""

    failures: int = field(default=0, init=False)
    until_s: float = field(default=0.0, init=False)
    next_s: float = field(default=FIRST_S, init=False)

    def holds(self, now_s: float) -> bool:
        """Whether it is to be left alone still."""
        return now_s < self.until_s

    def worked(self) -> None:
        """It answered; what failed before is forgotten."""
        self.failures, self.next_s = 0, FIRST_S

    def failed(self, now_s: float, *, at_once: bool = False) -> bool:
        """It did not answer; true if it is to be left alone from now on, which ``at_once`` makes so in any case."""
        self.failures += 1
        if self.failures < FAILURES and not at_once:
            return False
        self.failures = 0
        self.until_s = now_s + self.next_s
        self.next_s = min(2 * self.next_s, LONGEST_S)
        return True
