"""Fields as the one text that the tokenizer reads, and where they lie in its tokens.

Fields are read together, not one by one: so a text that fits has the tokens that its lines have as a plain text.
"""

from __future__ import annotations

import operator
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding

from rescorer_sidecar.chunks import WORD_TOKENS, Part
from rescorer_sidecar.domain import Field, Text
from rescorer_sidecar.token_cache import Beginning


@dataclass(frozen=True, slots=True)
class Joined:
    """Fields one a line; ``marks`` holds the character where each label begins, its text begins and its text ends."""

    text: str
    marks: tuple[tuple[int, int, int], ...]
    is_cut: tuple[bool, ...]


def lines(text: Text) -> str:
    """The whole text as the model reads it, where nothing has to be cut."""
    if isinstance(text, str):
        return text
    return "\n".join(f"{field.label}: {field.text}" if field.label else field.text for field in text)


def joined(fields: Sequence[Field], keep: int, characters: int) -> Joined:
    """The fields, of each own text the characters for ``keep`` tokens or its bound, at ``characters`` a token."""
    pieces: list[str] = []
    marks, at = [], 0
    for place, field in enumerate(fields):
        label = ("\n" if place else "") + (f"{field.label}: " if field.label else "")
        text = field.text[: (1 + min(field.max_tokens or keep, keep)) * characters]
        marks.append((at, at + len(label), at + len(label) + len(text)))
        at = marks[-1][2]
        pieces += (label, text)
    is_cut = tuple(end - text < len(field.text) for (_, text, end), field in zip(marks, fields, strict=True))
    return Joined("".join(pieces), tuple(marks), is_cut)


def read(fields: Sequence[Field], whole: Joined, encoding: Encoding, keep: int) -> Beginning:
    """The fields' tokens, about ``keep`` of each at most, the last word of a text that was cut left out."""
    starts, offsets, all_ids = _starts(encoding.word_ids), encoding.offsets, encoding.ids
    ids, kept, parts = array("i"), bytearray(), []
    label = 0
    for place, (field, (_, begin, finish)) in enumerate(zip(fields, whole.marks, strict=True), 1):
        text = bisect_left(offsets, begin, lo=label, key=_last_character)
        end = bisect_left(offsets, finish, lo=text, key=_last_character) if place < len(fields) else len(all_ids)
        is_cut = whole.is_cut[place - 1]
        last = min(max(text, starts.rfind(1, text, end)) if is_cut else end, text + keep + WORD_TOKENS)
        at = len(ids)
        parts.append(Part(at, at + text - label, at + last - label, field.max_tokens, last == end and not is_cut))
        ids.extend(all_ids[label:last])
        kept += starts[label:last]
        label = end
    is_whole = all(part.is_whole and not 0 < part.most < part.length for part in parts)
    is_labelled = any(field.label or field.max_tokens for field in fields)
    return Beginning(ids, is_whole, tuple(parts), bytes(kept), is_labelled)


def _starts(words: Sequence[int | None]) -> bytes:
    """1 for each token whose word is another one than that of the token before."""
    return b"\1" + bytes(map(operator.ne, words[1:], words[:-1])) if words else b""


def _last_character(offsets: tuple[int, int]) -> int:
    return max(offsets[0], offsets[1] - 1)
