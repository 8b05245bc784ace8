"""Texts that were tokenised already: their token ids, an LRU bounded in bytes.

What is kept of a text does not depend on the query beside it: the ids of its beginning, as far as they are certain, up
to the length limit. So a known text behind a new query is not read again.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from dataclasses import dataclass

from rescorer_sidecar.chunks import LongTexts, Part, Span, cut, shortened

ENTRY_BYTES = 400
"""What one entry holds in CPython 3.11 besides its ids: digest, value, array and its place in the order, at most."""

TOKEN_BYTES = 4
PART_BYTES = 300
"""What a field's place takes, and one byte a token says where words begin."""

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first ids of a text; ``is_whole`` if there are no more and all of them may be read.

    parts: where its fields lie; empty for a plain text. starts: for fields, 1 for each id that begins a word.
    is_labelled: a field has a label or a bound of its own; without any, fields are cut as one plain text.
    """

    ids: array[int]
    is_whole: bool
    parts: tuple[Part, ...] = ()
    starts: bytes = b""
    is_labelled: bool = False

    def has(self, count: int) -> bool:
        """Whether its first ``count`` ids are known, of each field if it has any, or all that there are."""
        if not self.parts:
            return self.is_whole or len(self.ids) >= count
        return all(part.has(count) for part in self.parts)

    def cut(self, room: int) -> tuple[Ids, bool] | None:
        """At most ``room`` ids of the text and whether it has more; ``None`` where that can't be told from these."""
        if self.is_whole and len(self.ids) <= room:
            return tuple(self.ids), False
        if not self.has(room):
            return None
        if not self.is_labelled:
            return tuple(self.ids[:room]), True
        found = shortened(self.parts, self.starts, room)
        return self._ids(found.chunks[0]), not found.is_whole

    def chunks(self, room: int, how: LongTexts) -> tuple[list[Ids], bool] | None:
        """The ids of each chunk and whether the text has more, as :meth:`cut`."""
        if not self.has(room * how.most_chunks):
            return None
        parts = self.parts or (Part(0, 0, len(self.ids), is_whole=self.is_whole),)
        found = cut(parts, self.starts, room, how)
        return [self._ids((*found.head, *chunk)) for chunk in found.chunks], not found.is_whole

    def _ids(self, spans: tuple[Span, ...]) -> Ids:
        return tuple(number for begin, end in spans for number in self.ids[begin:end])


class TokenCache:
    """Beginnings by the digest of their text; used by several threads."""

    def __init__(self, most_bytes: int) -> None:
        self._entries: OrderedDict[bytes, Beginning] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()  # guards all three; nothing else is taken while it is held

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held_bytes(self) -> int:
        """What it holds, at most."""
        return self._bytes

    def get(self, digest: bytes) -> Beginning | None:
        """What is known of a text."""
        with self._lock:
            found = self._entries.get(digest)
            if found is not None:
                self._entries.move_to_end(digest)
            return found

    def clear(self) -> None:
        """Forget all texts."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

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
    fields = PART_BYTES * len(beginning.parts) + len(beginning.starts)
    return ENTRY_BYTES + TOKEN_BYTES * len(beginning.ids) + fields
