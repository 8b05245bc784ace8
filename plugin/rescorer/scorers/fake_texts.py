"""How a fake scorer reads long texts: as the sidecar does, with words for tokens; for tests.

A pair has room for ``max_tokens`` words less the query's and three, as a BERT pair whose every word is a token; without
``max_tokens`` there is room for any text.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rescorer.config import LongTexts
from rescorer.domain import Candidate, ScoreRequest

SPECIAL_TOKENS = 3


@dataclass(frozen=True, slots=True)
class Read:
    """What is read of a candidate, one text for each chunk; ``truncated`` where that is not all."""

    chunks: tuple[str, ...]
    truncated: bool


def read(candidate: Candidate, request: ScoreRequest) -> Read:
    """What a model would read of the candidate: its fields under their bounds, whole or in chunks."""
    whole = [text.split() for _, text in candidate.fields]
    bounds = candidate.max_tokens or (0,) * len(whole)
    words = [said[: most or None] for said, most in zip(whole, bounds, strict=True)]
    is_whole = words == whole
    room = sys.maxsize
    if request.max_tokens:
        room = max(1, request.max_tokens - SPECIAL_TOKENS - len(request.query.split()))
    if request.long_texts is None and is_whole and sum(map(len, words)) <= room:
        return Read((" ".join(text for _, text in candidate.fields),), truncated=False)
    if request.long_texts is None:
        flat = [word for said in words for word in said]
        return Read((" ".join(flat[:room]),), truncated=not is_whole or len(flat) > room)
    return _chunks(words, room, request.long_texts, is_whole)


def pooled(logits: Sequence[float], top: int) -> float:
    """The mean of the ``top`` best logits, or of all where there are fewer."""
    best = sorted(logits, reverse=True)[:top]
    return math.fsum(best) / len(best)


def _chunks(words: Sequence[Sequence[str]], room: int, how: LongTexts, is_whole: bool) -> Read:
    head: list[str] = []
    for place, said in enumerate(words):
        if place == len(words) - 1 or len(head) + len(said) > room // 2:
            break
        head += said
    rest = [word for said in words for word in said][len(head) :]
    window = min(room - len(head), how.chunk_tokens or room)
    overlap = min(window // 8 if how.overlap_tokens is None else how.overlap_tokens, window // 2)
    step = window - overlap
    count = min(1 + max(0, -(-(len(rest) - window) // step)), how.most_chunks)
    parts = [rest[place * step : place * step + window] for place in range(count)]
    is_read = (count - 1) * step + window >= len(rest)
    return Read(tuple(" ".join([*head, *part]) for part in parts), truncated=not (is_whole and is_read))
