"""Scores that are known already: an LRU bounded in bytes, keyed by everything that decides a score."""

from __future__ import annotations

import hashlib

from cachetools import LRUCache

from rescorer_sidecar.domain import PairScore

ENTRY_BYTES = 400
"""What one entry holds in CPython 3.11: key, value object, two dictionary slots and the list that keeps the order."""


def pair_key(model_digest: str, max_tokens: int, query: str, text: str) -> bytes:
    """16 bytes over model (weights, tokenizer, configuration), limit, query and text; lengths keep the parts apart."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (model_digest, str(max_tokens), query, text):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.digest()


class ScoreCache:
    """Pair scores by :func:`pair_key`; owned by the event loop, so it needs no lock."""

    def __init__(self, most_bytes: int) -> None:
        self._entries: LRUCache[bytes, PairScore] = LRUCache(maxsize=max(0, most_bytes // ENTRY_BYTES))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> PairScore | None:
        """The known score of a pair, if any."""
        return self._entries.get(key)

    def put(self, key: bytes, score: PairScore) -> None:
        """Remember a pair's score; the one longest unused gives way."""
        if self._entries.maxsize >= 1:
            self._entries[key] = score
