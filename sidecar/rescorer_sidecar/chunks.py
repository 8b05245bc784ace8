"""How a text that is too long is cut, and how the logits of its chunks become one; pure.

A text is a row of parts, one for each of its fields: the tokens of its label, then those of its own text. Two ways to
make it fit into the room that the query leaves:

- :func:`shortened`: each part loses its end. Labels stay; a part keeps what its own bound allows; parts with a bound
  are served first, the others share what is left in their order, so that what one does not need goes to the next.
- :func:`cut`: the parts that stand first, as far as they are short, become the head of every chunk; what follows is cut
  into overlapping chunks.

## Decisions
2026-11: a part is cut at the end of a word where one lies within WORD_TOKENS of the bound: half a word is another word.
Rejected: always at a word, which costs a text without spaces all that it is. A plain text, and fields without label
and bound, are cut under ``truncate`` at the last token, as every library does, so that their score is theirs.
2026-11: the head holds labels and texts up to half of the room, then the label of the part that is cut. Rejected: the
parts behind the long one too; they stand in the last chunk, where they are read once.
2026-11: a candidate has a score when all its chunks have one. The best of those that were ready would depend on the
time of day, and rank a document low because its best chunk came late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""First token and the one behind the last."""

WORD_TOKENS = 16
"""How many tokens a part may give up so that it ends with a whole word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongTexts:
    """How a text that does not fit is cut into chunks.

    chunk_tokens: most tokens of a chunk besides its head; 0 for as many as there is room for.
    overlap_tokens: tokens that a chunk shares with the next, at most half a chunk; ``None`` for an eighth of a chunk.
    most_chunks: what lies beyond so many is not read. top: the mean of so many best logits is the candidate's.
    """

    chunk_tokens: int = 0
    overlap_tokens: int | None = None
    most_chunks: int = 16
    top: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """Where a field lies in a text's tokens: its label from ``begin``, its own text from ``text`` to ``end``.

    most: bound for the tokens of its own text; 0 for none. is_whole: whether its own text ends there.
    """

    begin: int
    text: int
    end: int
    most: int = 0
    is_whole: bool = True

    @property
    def length(self) -> int:
        """Tokens of its own text that are known."""
        return self.end - self.text

    def has(self, count: int) -> bool:
        """Whether its first ``count`` tokens, or all that it may keep, are known."""
        return self.is_whole or self.length >= min(self.most or count, count)


@dataclass(frozen=True, slots=True)
class Cut:
    """Spans of a text's tokens: those of ``head``, then those of one of the ``chunks``, are what the model reads.

    is_whole: nothing of the text is left out.
    """

    head: tuple[Span, ...]
    chunks: tuple[tuple[Span, ...], ...]
    is_whole: bool


def spans(count: int, window: int, overlap: int, most: int) -> list[Span]:
    """Windows over ``count`` tokens, each with ``overlap`` tokens of the one before; ``most`` of them, at least one.

    Each but the last one is ``window`` long, and none lies within another.
    """
    step = window - overlap
    needed = 1 + max(0, math.ceil((count - window) / step))
    return [(place * step, min(place * step + window, count)) for place in range(min(needed, most))]


def pooled(logits: Sequence[float], top: int) -> float:
    """The mean of the ``top`` highest logits, or of all where there are fewer; 1 is the highest alone."""
    best = sorted(logits, reverse=True)[: max(1, top)]
    return math.fsum(best) / len(best)


def shares(parts: Sequence[Part], room: int) -> list[int]:
    """How many tokens of its own text each part keeps where all labels stay and ``room`` tokens are allowed."""
    left = max(0, room - sum(part.text - part.begin for part in parts))
    kept = [0] * len(parts)
    for place in sorted(range(len(parts)), key=lambda place: not parts[place].most):
        part = parts[place]
        kept[place] = min(part.length, part.most or left, left)
        left -= kept[place]
    return kept


def shortened(parts: Sequence[Part], starts: bytes, room: int) -> Cut:
    """One chunk of at most ``room`` tokens: every label, and what :func:`shares` allows of each text.

    starts: 1 for each token that begins a word.
    """
    kept = shares(parts, room)
    found = [span for part, count in zip(parts, kept, strict=True) for span in _kept(part, count, starts)]
    is_whole = all(part.is_whole and part.length == count for part, count in zip(parts, kept, strict=True))
    return Cut((), (_taken(found, 0, room),), is_whole)


def cut(parts: Sequence[Part], starts: bytes, room: int, how: LongTexts) -> Cut:
    """Chunks of at most ``room`` tokens each, their head included, ``how.chunk_tokens`` without it; one if it fits."""
    lines = [_kept(part, min(part.length, part.most or part.length), starts) for part in parts]
    flat = [span for line in lines for span in line]
    is_whole = all(part.is_whole and line[-1][1] == part.end for part, line in zip(parts, lines, strict=True))
    count = _tokens(flat)
    head = _head(lines, room // 2)
    window = min(room - head, how.chunk_tokens or room)
    overlap = min(window // 8 if how.overlap_tokens is None else how.overlap_tokens, window // 2)
    windows = spans(count - head, window, overlap, how.most_chunks)
    chunks = tuple(_taken(flat, head + begin, head + end) for begin, end in windows)
    return Cut(_taken(flat, 0, head), chunks, is_whole and windows[-1][1] == count - head)


def _head(lines: Sequence[Sequence[Span]], most: int) -> int:
    """How many first tokens stand before every chunk: whole fields and one more label, ``most`` at most."""
    found = before = 0
    for label, text in lines:
        if before + (label[1] - label[0]) > most:
            break
        found = before + label[1] - label[0]
        before = found + text[1] - text[0]
    return found


def _kept(part: Part, count: int, starts: bytes) -> tuple[Span, Span]:
    """A part's label and the first ``count`` tokens of its text, or a few less, up to a word's end."""
    end = part.text + count
    if count < part.length or not part.is_whole:
        word = next((place for place in range(end, max(part.text, end - WORD_TOKENS), -1) if _begins(starts, place)), 0)
        end = word or end
    return (part.begin, part.text), (part.text, end)


def _begins(starts: bytes, place: int) -> bool:
    return place >= len(starts) or starts[place] == 1


def _tokens(flat: Sequence[Span]) -> int:
    return sum(end - begin for begin, end in flat)


def _taken(flat: Sequence[Span], first: int, last: int) -> tuple[Span, ...]:
    """The tokens ``first`` to ``last`` of those that the spans name, counted over all of them."""
    found, before = [], 0
    for begin, end in flat:
        low, high = max(first - before, 0), min(last - before, end - begin)
        if low < high:
            found.append((begin + low, begin + high))
        before += end - begin
    return tuple(found)
