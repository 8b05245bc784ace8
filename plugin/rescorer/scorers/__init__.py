"""Where scores come from: the Protocols, of which a sidecar over gRPC and a fake are two implementations.

Every implementation passes one contract suite, ``tests/contract/scorers``. What a scorer answers is not trusted:
:func:`rescorer.fuse.aligned` compares ids and places with the question.
"""

from __future__ import annotations

from typing import Protocol

from rescorer.domain import EmbedRequest, ScoreRequest, Scores


class Scorer(Protocol):
    """Scores and embeds, within a time limit. Safe to call from several threads at once."""

    def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate, or those that the time is enough for; raises ScorerError."""
        ...

    def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text, in the order of the texts; raises ScorerError."""
        ...

    def close(self) -> None:
        """Let go of connections; may be called twice."""
        ...


class AsyncScorer(Protocol):
    """The same for asyncio."""

    async def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate, or those that the time is enough for; raises ScorerError."""
        ...

    async def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text, in the order of the texts; raises ScorerError."""
        ...

    async def close(self) -> None:
        """Let go of connections; may be called twice."""
        ...
