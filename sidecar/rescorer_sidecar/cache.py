"""Scores that are known already: an LRU bounded in bytes, keyed by everything that decides a score.

A key is 16 bytes over what all pairs of a request share (the model's digest, which covers weights, tokenizer and
configuration and with it how a pair is laid out; the length limit; the query) and 16 bytes over the text. The shared
part is hashed once a request. A chunk of a text is keyed by its tokens instead.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from rescorer_sidecar.domain import PairScore, Text, Tokens, text_digest

ENTRY_BYTES = 400
"""What one entry holds in CPython 3.11 at most: key, value object and its numbers, and its place in the order."""


def pair_keys(model_digest: str, max_tokens: int, query: str, texts: Sequence[Text]) -> list[bytes]:
    """32 bytes for each text; lengths keep the shared parts apart."""
    shared = hashlib.blake2b(digest_size=16)
    for part in (model_digest, str(max_tokens), query):
        raw = part.encode("utf-8", "surrogatepass")
        shared.update(len(raw).to_bytes(8, "little"))
        shared.update(raw)
    prefix = shared.digest()
    return [prefix + text_digest(text) for text in texts]


def row_keys(model_digest: str, rows: Sequence[Tokens]) -> list[bytes]:
    """32 bytes for each pair by its tokens and segments, whatever query and text they came from."""
    prefix = hashlib.blake2b(model_digest.encode(), digest_size=16, person=b"rows").digest()
    return [
        prefix + hashlib.blake2b(array("i", (*row.ids, *row.type_ids)).tobytes(), digest_size=16).digest()
        for row in rows
    ]


class ScoreCache:
    """Pair scores by their key; owned by the event loop, so it needs no lock."""

    def __init__(self, most_bytes: int) -> None:
        self._entries: OrderedDict[bytes, PairScore] = OrderedDict()
        self._most = max(0, most_bytes // ENTRY_BYTES)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held_bytes(self) -> int:
        """What it holds, at most."""
        return len(self._entries) * ENTRY_BYTES

    def known(self, keys: Sequence[bytes]) -> list[PairScore | None]:
        """The known score of each pair, or ``None``."""
        get, touch = self._entries.get, self._entries.move_to_end
        found = []
        for key in keys:
            score = get(key)
            if score is not None:
                touch(key)
            found.append(score)
        return found

    def put(self, key: bytes, score: PairScore) -> None:
        """Remember a pair's score; the one longest unused gives way."""
        if not self._most:
            return
        self._entries[key] = score
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)
