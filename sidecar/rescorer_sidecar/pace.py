"""How many tokens a forward may hold, learnt from how long forwards took; pure, with the times given.

A forward of n tokens is taken to cost ``a + b · n`` seconds; ``a`` and ``b`` come from least squares over past
forwards, whose weight falls by 1/32 with each new one. The budget is what takes about 75 ms, so that work that comes
next never waits longer than that for a forward that has begun. Where the fixed cost ``a`` is high the target is four
times that, so that no more than a quarter of the time is spent on beginning, but never more than 150 ms.
"""

from __future__ import annotations

TARGET_S = 0.075
START_TOKENS = 2048
LEAST_TOKENS = 512
MOST_TOKENS = 32_768
MOST_S = 0.15

_FADE = 1 - 1 / 32
_TRUSTED_AFTER = 8
_OUTLIER = 3.0
_CHANGED_AFTER = 3
"""So many outliers in a row are no outliers: the machine has changed, and what was learnt is forgotten."""

_LEAST_SPREAD = 0.1
"""Sizes that differ by less than this part of their mean say nothing about the fixed cost."""


class Pace:
    """Learns what a token costs."""

    def __init__(self) -> None:
        self._most_tokens = MOST_TOKENS
        self._count = self._outliers = 0
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """A forward of so many tokens took so long. What is far off the line counts as three times off, no more."""
        if tokens <= 0 or seconds <= 0:
            return
        if self._count >= _TRUSTED_AFTER:
            seconds = self._believed(seconds, self.seconds(tokens))
        self._count += 1
        self._weight = self._weight * _FADE + 1
        self._x = self._x * _FADE + tokens
        self._y = self._y * _FADE + seconds
        self._xx = self._xx * _FADE + tokens * tokens
        self._xy = self._xy * _FADE + tokens * seconds

    def _believed(self, seconds: float, expected: float) -> float:
        bounded = min(max(seconds, expected / _OUTLIER), expected * _OUTLIER)
        self._outliers = 0 if bounded == seconds else self._outliers + 1
        if self._outliers < _CHANGED_AFTER:
            return bounded
        self._forget()
        return seconds

    def _forget(self) -> None:
        self._count = self._outliers = 0
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    @property
    def learnt(self) -> tuple[float, float] | None:
        """Seconds of a forward and of each of its tokens; None before anything was learnt."""
        return self._line() if self._count else None

    def seconds(self, tokens: int) -> float:
        """What a forward of so many tokens should take; 0 before anything was learnt."""
        fixed_s, token_s = self._line()
        return fixed_s + token_s * tokens

    @property
    def budget_tokens(self) -> int:
        """The most tokens of the next forward."""
        if not self._count:
            return min(START_TOKENS, self._most_tokens)
        fixed_s, token_s = self._line()
        target_s = min(max(TARGET_S, 4 * fixed_s), MOST_S)
        tokens = (target_s - fixed_s) / token_s
        return int(min(max(tokens, LEAST_TOKENS), self._most_tokens))

    def overflowed(self, tokens: int) -> None:
        """A forward of so many tokens ran out of memory: from now on at most half of it."""
        self._most_tokens = max(1, min(self._most_tokens, tokens // 2))

    def _line(self) -> tuple[float, float]:
        """Seconds of a forward and of a token, neither negative; a token costs at least a quarter of the mean."""
        if not self._count:
            return 0.0, 0.0
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        spread = self._xx / self._weight - mean_x * mean_x
        token_s = mean_y / mean_x
        if spread > (_LEAST_SPREAD * mean_x) ** 2:
            slope = (self._xy / self._weight - mean_x * mean_y) / spread
            if slope > 0:  # else large forwards were the fast ones: the machine has changed, the line says nothing
                token_s = min(max(slope, token_s / 4), token_s)
        return mean_y - token_s * mean_x, token_s
