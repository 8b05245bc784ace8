"""Which pairs a request asks for, and how their scores become its candidates' scores.

A candidate is one pair, or under ``chunks`` as many as its text needs; it has a score when all of them have one.

## Decisions
2026-11: a text in chunks is read before anything is looked up, since only its tokens tell how many pairs it is. A
chunk's key is over its tokens, so that it is known again whatever text it stands in; a text that is one chunk has the
key that it has without chunks: one score for both.
2026-11: reading stops where half of the time is gone; what was not read by then has no score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rescorer_sidecar.cache import pair_keys, row_keys
from rescorer_sidecar.chunks import LongTexts, pooled
from rescorer_sidecar.domain import Chunks, PairScore, ScoredCandidate, ScoreRequest, Text, Tokens
from rescorer_sidecar.flights import Reader
from rescorer_sidecar.tokenise import LEAST_TEXT_TOKENS

MOST_CHUNKS = 64
PART_TEXTS = 32
PART_CHARACTERS = 262_144
"""How much is cut at a time, one text at least; in between the time is looked at."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The pairs of all candidates in their order, and what stands under each key: a text, or its tokens.

    read: how each candidate was cut, as far as candidates were read; ``None`` where each is one pair.
    """

    keys: Sequence[bytes]
    said: Sequence[Text | Tokens]
    read: Sequence[Chunks] | None = None

    def results(
        self, request: ScoreRequest, known: Sequence[PairScore | None], fresh: Mapping[bytes, PairScore | None]
    ) -> tuple[ScoredCandidate, ...]:
        """A score for each candidate whose pairs all have one: ``known`` by place, or ``fresh`` by key."""
        scores = [score or fresh.get(key) for key, score in zip(self.keys, known, strict=True)]
        if self.read is None:
            return tuple(
                ScoredCandidate(id=candidate.id, index=index, pair=pair, cached=known[index] is not None)
                for index, candidate in enumerate(request.candidates)
                if (pair := scores[index]) is not None
            )
        return tuple(self._of_chunks(request, scores, [score is not None for score in known]))

    def _of_chunks(
        self, request: ScoreRequest, scores: Sequence[PairScore | None], cached: Sequence[bool]
    ) -> Iterator[ScoredCandidate]:
        begin, how = 0, request.long_texts or LongTexts()
        for index, cut in enumerate(self.read or ()):
            end = begin + len(cut.pairs)
            pairs = [score for score in scores[begin:end] if score is not None]
            if len(pairs) == len(cut.pairs):
                logits = [pair.logit for pair in pairs]
                pair = PairScore(
                    logit=pooled(logits, how.top),
                    token_count=sum(pair.token_count for pair in pairs),
                    truncated=cut.truncated,
                )
                yield ScoredCandidate(
                    id=request.candidates[index].id,
                    index=index,
                    pair=pair,
                    cached=all(cached[begin:end]),
                    chunk_count=len(pairs),
                    best_chunk=logits.index(max(logits)),
                )
            begin = end


def whole(request: ScoreRequest, digest: str, limit: int) -> Wanted:
    """One pair for each candidate, not read yet."""
    texts = [candidate.text for candidate in request.candidates]
    return Wanted(pair_keys(digest, limit, request.query, texts), texts)


async def chunked(
    request: ScoreRequest, digest: str, limit: int, reader: Reader, is_late: Callable[[], bool]
) -> Wanted:
    """The chunks of each candidate, read part by part while there is time."""
    how = request.long_texts or LongTexts()
    texts = [candidate.text for candidate in request.candidates]
    read: list[Chunks] = []
    for part in _parts(texts):
        if read and is_late():
            break
        read += await reader.chunks(request.query, part, limit, how)
    own_keys = pair_keys(digest, limit, request.query, texts[: len(read)])
    keys: list[bytes] = []
    for cut, own_key in zip(read, own_keys, strict=True):
        keys += [own_key] if len(cut.pairs) == 1 and not cut.truncated else row_keys(digest, cut.pairs)
    return Wanted(keys, [row for cut in read for row in cut.pairs], read)


def _parts(texts: Sequence[Text]) -> Iterator[list[Text]]:
    part: list[Text] = []
    left = PART_CHARACTERS
    for text in texts:
        size = len(text) if isinstance(text, str) else sum(len(field.text) for field in text)
        if part and (size > left or len(part) == PART_TEXTS):
            yield part
            part, left = [], PART_CHARACTERS
        part.append(text)
        left -= size
    if part:
        yield part


def violations(how: LongTexts | None) -> list[tuple[str, str]]:
    """What is wrong with the way to cut, as (field path, what and how to mend it)."""
    if how is None:
        return []
    found = []
    if 0 < how.chunk_tokens < LEAST_TEXT_TOKENS:
        found.append(("chunk_tokens", f"is {how.chunk_tokens} and must be {LEAST_TEXT_TOKENS} or more, or 0"))
    if how.chunk_tokens and (how.overlap_tokens or 0) > how.chunk_tokens // 2:
        found.append(("overlap_tokens", f"is {how.overlap_tokens} and may be {how.chunk_tokens // 2}, half of a chunk"))
    if how.most_chunks > MOST_CHUNKS:
        found.append(("most_chunks", f"is {how.most_chunks} and may be {MOST_CHUNKS}"))
    if how.top > how.most_chunks:
        found.append(("top", f"is {how.top} and may be {how.most_chunks}, the most chunks"))
    return [(f"options.long_texts.{field}", wrong) for field, wrong in found]
