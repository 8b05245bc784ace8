"""Scores that are known already, here or in the cache that sidecars share."""

from __future__ import annotations

from collections.abc import Sequence

from rescorer_sidecar.cache import ScoreCache
from rescorer_sidecar.domain import PairScore
from rescorer_sidecar.shared_cache import SharedCache


class KnownScores:
    """The cache in process, and behind it a shared one, if any; owned by the event loop."""

    def __init__(self, near: ScoreCache, shared: SharedCache | None = None) -> None:
        self._near = near
        self.shared = shared

    def __len__(self) -> int:
        return len(self._near)

    @property
    def held_bytes(self) -> int:
        """What the cache in process holds, at most."""
        return self._near.held_bytes

    def known(self, keys: Sequence[bytes]) -> list[PairScore | None]:
        """The score of each pair that is known here, or ``None``."""
        return self._near.known(keys)

    async def found(self, keys: Sequence[bytes], within_s: float | None) -> list[PairScore | None]:
        """As :meth:`known`, and what the shared cache tells of the others within its few milliseconds."""
        scores = self._near.known(keys)
        missing = dict.fromkeys(key for key, score in zip(keys, scores, strict=True) if score is None)
        if self.shared is None or not missing:
            return scores
        told = await self.shared.known(list(missing), within_s)
        for key, score in told.items():
            self._near.put(key, score)
        # Meanwhile some may have been scored; without room here what was told is all that there is.
        return [score or told.get(key) for key, score in zip(keys, self._near.known(keys), strict=True)]

    def put(self, key: bytes, score: PairScore) -> None:
        """Remember a pair's score here, and tell the others."""
        self._near.put(key, score)
        if self.shared is not None:
            self.shared.put(key, score)

    async def close(self) -> None:
        """Let go of what is shared."""
        if self.shared is not None:
            await self.shared.close()
