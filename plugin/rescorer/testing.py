"""For tests of an application that uses the client: scores without a sidecar, time without waiting."""

from __future__ import annotations

from rescorer.scorers.fake import AsyncFakeScorer, FakeScorer, shared_words

__all__ = ["AsyncFakeScorer", "FakeClock", "FakeScorer", "shared_words"]


class FakeClock:
    """Seconds that pass only when told to; give it as ``clock``, and ``advance`` as ``sleep``."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s
        self.waits_s: list[float] = []

    def __call__(self) -> float:
        """The time it is."""
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        self.waits_s.append(seconds)
