"""How many tokens a second a model gets through while work waits for it, as it turned out; pure, with the times given.

What forwards take says less: not what lies between them, nor that several at once slow each other down.
"""

from __future__ import annotations

import math

FADE_S = 2.0
"""What was seen this long ago, in time under pressure, counts 1/e."""

TRUSTED_S = 0.2
"""Less time under pressure than this says nothing."""


class Throughput:
    """Counts tokens only while every worker runs and more waits."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._tokens = self._seconds = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens a second; None before enough was seen."""
        return self._tokens / self._seconds if self._seconds >= TRUSTED_S else None

    def ended(self, tokens: int, now_s: float) -> None:
        """A forward over so many tokens has ended."""
        if self._since_s is None:
            return
        passed_s = now_s - self._since_s
        fade = math.exp(-passed_s / FADE_S)
        self._tokens = self._tokens * fade + tokens
        self._seconds = self._seconds * fade + passed_s
        self._since_s = now_s

    def stands(self, now_s: float, *, is_pressed: bool) -> None:
        """Whether from now on every worker runs and more waits."""
        if not is_pressed:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
