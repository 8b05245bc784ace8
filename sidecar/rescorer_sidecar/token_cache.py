"""Texts that were tokenised already: their token ids, an LRU bounded in bytes.

What is kept of a text does not depend on the query beside it: the ids of its beginning, as far as they are certain, up
to the length limit. So a known text behind a new query is not read again.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from dataclasses import dataclass

ENTRY_BYTES = 400
"""What one entry holds in CPython 3.11 besides its ids: digest, value, array and its place in the order, at most."""

TOKEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first ids of a text; ``is_whole`` if there are no more."""

    ids: array[int]
    is_whole: bool

    def cut(self, room: int) -> tuple[tuple[int, ...], bool] | None:
        """The text's first ``room`` ids and whether it has more; ``None`` where that can't be told from these."""
        if not self.is_whole and len(self.ids) < room:
            return None
        return tuple(self.ids[:room]), not self.is_whole or len(self.ids) > room


class TokenCache:
    """Beginnings by the digest of their text; used by several threads."""

    def __init__(self, most_bytes: int) -> None:
        self._entries: OrderedDict[bytes, Beginning] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()  # guards all three; nothing else is taken while it is held

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes) -> Beginning | None:
        """What is known of a text."""
        with self._lock:
            found = self._entries.get(digest)
            if found is not None:
                self._entries.move_to_end(digest)
            return found

    def put(self, digest: bytes, beginning: Beginning) -> None:
        """Remember a text; those longest unused give way."""
        with self._lock:
            replaced = self._entries.pop(digest, None)
            self._bytes += _size(beginning) - (_size(replaced) if replaced else 0)
            self._entries[digest] = beginning
            while self._bytes > self._most_bytes:
                _, gone = self._entries.popitem(last=False)
                self._bytes -= _size(gone)


def _size(beginning: Beginning) -> int:
    return ENTRY_BYTES + TOKEN_BYTES * len(beginning.ids)
