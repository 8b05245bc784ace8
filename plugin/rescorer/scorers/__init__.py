"""Where scores come from: the Protocols, of which a sidecar over gRPC and a fake are two implementations.

Every implementation passes one contract suite, ``tests/contract/scorers``. What a scorer answers is not trusted:
:func:`rescorer.fuse.aligned` compares ids and places with the question. Whoever makes a scorer closes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rescorer.domain import EmbedRequest, ScoreRequest, Scores
from rescorer.errors import ScorerError


@runtime_checkable
class Scorer(Protocol):
    """Scores and embeds, within a time limit. Safe to call from several threads at once."""

    def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate, or those that the time is enough for; raises ScorerError."""
        ...

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """One entry per request, in order: its scores, or its error; raises ScorerError where all of it failed."""
        ...

    def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text, in the order of the texts; raises ScorerError."""
        ...


class AsyncScorer(Protocol):
    """The same for asyncio."""

    async def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate, or those that the time is enough for; raises ScorerError."""
        ...

    async def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """One entry per request, in order: its scores, or its error; raises ScorerError where all of it failed."""
        ...

    async def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text, in the order of the texts; raises ScorerError."""
        ...
