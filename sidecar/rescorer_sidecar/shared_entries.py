"""How a score lies in a cache that several sidecars share: its name there, and bytes that can be told from any others.

A name is the prefix with its version and a digest of the in-process key. An entry is a version byte, the logit as
float32, the token count, a flag, and a checksum that covers the key as well: an entry that was cut, changed, copied
under another name or written by something else is no entry.

## Decisions
2026-11: the checksum is 8 bytes of keyed BLAKE2b. Without a secret it finds accidents; with ``shared_cache_secret``
nobody who can write to the cache can make a score, and nobody who can read it can guess whose query a name stands for.
"""

from __future__ import annotations

import hashlib
import struct

from rescorer_sidecar.domain import PairScore

PREFIX = b"rescorer:1:"
VERSION = 1
_BODY = struct.Struct("<BfIB")
_SUM_BYTES = 8
ENTRY_BYTES = _BODY.size + _SUM_BYTES
_MOST_LOGIT = 3.4028234663852886e38
"""The largest float32; not-a-number and infinity fail the comparison with it."""


class Sealer:
    """Names and entries under one secret, which may be empty."""

    def __init__(self, secret: str) -> None:
        raw = secret.encode("utf-8", "surrogatepass")
        self._secret = hashlib.blake2b(raw, digest_size=64, person=b"secret").digest() if raw else b""

    def name(self, key: bytes) -> bytes:
        """Under which name the score of this in-process key lies."""
        return PREFIX + hashlib.blake2b(key, key=self._secret, digest_size=16, person=b"name").digest()

    def packed(self, key: bytes, score: PairScore) -> bytes | None:
        """The entry; ``None`` where the logit is no finite float32, which nobody should find again."""
        if not abs(score.logit) <= _MOST_LOGIT:
            return None
        body = _BODY.pack(VERSION, score.logit, score.token_count, score.truncated)
        return body + self._sum(key, body)

    def unpacked(self, key: bytes, entry: object) -> PairScore | None:
        """The score that lies in an entry; ``None`` where it is not one that was packed under this key and secret."""
        if not isinstance(entry, bytes) or len(entry) != ENTRY_BYTES:
            return None
        body = entry[: _BODY.size]
        version, logit, token_count, truncated = _BODY.unpack(body)
        if version != VERSION or entry[_BODY.size :] != self._sum(key, body) or not abs(logit) <= _MOST_LOGIT:
            return None
        return PairScore(logit=logit, token_count=token_count, truncated=bool(truncated))

    def _sum(self, key: bytes, body: bytes) -> bytes:
        return hashlib.blake2b(key + body, key=self._secret, digest_size=_SUM_BYTES, person=b"entry").digest()
