"""The window's order once more, by more than relevance: novelty, near-duplicates, brevity, recency, source.

**Scores.** Let *R* be the range of the window's scores (1 where all are equal). Brevity, recency and source move one
by a share of *R*: ``- R · weight · (1 - value)``, and a source by ``R · (its weight - 1)``. Novelty then takes the best
hit again and again, where each has lost ``R · w / (1 - w)`` times its similarity to the most similar of those already
taken. That is maximal marginal relevance (Carbonell and Goldstein, 1998), ``(1 - w) · relevance - w · similarity``,
divided by ``1 - w``: so the first hit keeps its score, and a loss is told in the score's own unit. What is taken so has
falling scores, and they are the final ones.

**Similarity**: words in common (Jaccard), for duplicates runs of three words; or the cosine of a vector field, from 0.

## Decisions
2026-11: sets are compared as they are, bit by bit. Rejected: minhash (datasketch), which pays where millions are
compared: a window has hundreds, of which ``depth`` are compared with the rest.
2026-11: the shares are added, not multiplied as in ``function_score``: logits are negative as often as not.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import mul
from typing import Any, NamedTuple

from rescorer.choices import Brevity, Recency, Select, Sources, duration_s
from rescorer.errors import BadScores
from rescorer.fuse import Moved, Ranked, never_rising

MOST_CHARACTERS = 50_000
"""Of a text that are compared and counted."""

RUN = 3
"""Words that near-duplicates have in common at a time."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")
"""A word; in scripts that put no space between words, a character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is read of a hit. age_s: seconds from the origin, whichever way; None where it has no date.

    vector: empty where it has none, or none is asked for.
    """

    text: str = ""
    age_s: float | None = None
    sources: Sequence[str] = ()
    vector: Sequence[float] = ()


class _Terms(NamedTuple):
    """How many terms a hit has, and which of those that others have too: bit for bit, numbered within the window."""

    size: int
    shared: int


@dataclass(slots=True)
class _Hit:
    """A hit that is being chosen. value: its score with ``changes`` added; loss: what novelty has taken from it."""

    ranked: Ranked
    changes: dict[str, float]
    unknown: tuple[str, ...]
    words: _Terms
    runs: _Terms
    direction: Sequence[float]
    value: float
    loss: float = 0.0
    similar_to: int | None = None
    is_duplicate: bool = False

    @property
    def standing(self) -> float:
        """Its score as it is now."""
        return self.value - self.loss

    def done(self) -> Ranked:
        """In its final place, with what moved it there."""
        moved = Moved(
            score=self.ranked.final,
            changes=self.changes | ({"novelty": -self.loss} if self.loss else {}),
            similar_to=self.similar_to,
            is_duplicate=self.is_duplicate,
            unknown=self.unknown,
        )
        return replace(self.ranked, final=self.standing, moved=moved)


def ordered(block: Sequence[Ranked], facts: Sequence[Facts], select: Select) -> list[Ranked]:
    """The scored hits, best first by all that is wished for: each once, with what moved it, by falling score.

    block: by falling score. facts: one for each of its hits, in its order. Raises BadScores where weights overflow.
    """
    span = (block[0].final - block[-1].final) or 1.0
    waiting = sorted(_hits(block, facts, select, span), key=lambda hit: -hit.value)
    taken: list[_Hit] = []
    behind: list[_Hit] = []
    compares = select.novelty is not None or select.duplicates is not None
    while compares and waiting and len(taken) < select.depth:
        best = max(waiting, key=lambda hit: hit.standing)
        waiting.remove(best)
        taken.append(best)
        for hit in waiting:
            _compare(hit, best, select, span)
        behind += [hit for hit in waiting if hit.is_duplicate]
        waiting = [hit for hit in waiting if not hit.is_duplicate]
    for rest in (waiting, behind):
        rest.sort(key=lambda hit: -hit.standing)
    found = [hit.done() for hit in (*taken, *waiting, *behind)]
    if not all(math.isfinite(ranked.final) for ranked in found):
        raise BadScores("select with these weights gives a score that is not finite")
    return never_rising(found)


def _hits(block: Sequence[Ranked], facts: Sequence[Facts], select: Select, span: float) -> Iterator[_Hit]:
    is_read = bool(select.brevity or select.duplicates or (select.novelty and not select.novelty.vector_field))
    said = [_WORD.findall(known.text[:MOST_CHARACTERS].casefold()) if is_read else [] for known in facts]
    runs = _terms([_runs(words) for words in said]) if select.duplicates else [_Terms(0, 0)] * len(said)
    for ranked, known, words, of_words, of_runs in zip(block, facts, said, _terms(said), runs, strict=True):
        added = changes(known, len(words), select, span)
        yield _Hit(
            ranked=ranked,
            changes=added,
            unknown=_unknown(known, select),
            words=of_words,
            runs=of_runs,
            direction=_direction(known.vector),
            value=ranked.final + sum(added.values()),
        )


def counted(order: Sequence[Ranked]) -> dict[str, Any]:
    """How many of the scored hits are near-duplicates, and how many have no value for a choice, by its name."""
    moved = [ranked.moved for ranked in order if ranked.moved is not None]
    unknown = Counter(name for entry in moved for name in entry.unknown)
    return {"duplicates": sum(entry.is_duplicate for entry in moved), "unknown": dict(unknown)}


def changes(facts: Facts, words: int, select: Select, span: float) -> dict[str, float]:
    """What brevity, recency and source add to a score, by name; nothing of what is not known."""
    found = {}
    if select.brevity is not None:
        found["brevity"] = -span * select.brevity.weight * (1 - brevity(words, select.brevity))
    if select.recency is not None and facts.age_s is not None:
        found["recency"] = -span * select.recency.weight * (1 - decayed(facts.age_s, select.recency))
    if select.sources is not None:
        found["source"] = span * (_source_weight(facts.sources, select.sources) - 1)
    return found


def _unknown(facts: Facts, select: Select) -> tuple[str, ...]:
    """The choices that a hit has no value for, so that they neither lift nor lower it."""
    asked = {
        "recency": select.recency is not None and facts.age_s is None,
        "source": select.sources is not None and not facts.sources,
        "novelty": select.novelty is not None and bool(select.novelty.vector_field) and not facts.vector,
    }
    return tuple(name for name, is_missing in asked.items() if is_missing)


def brevity(words: int, wish: Brevity) -> float:
    """1 up to so many words, and half at twice as many."""
    return 1.0 if words <= wish.words else wish.words / words


def decayed(age_s: float, wish: Recency) -> float:
    """What is left at this distance from the origin, 0 … 1, as the decay functions of both engines have it."""
    scale_s = duration_s(wish.scale)
    far_s = max(0.0, age_s - duration_s(wish.offset))
    if wish.function == "linear":
        return max(0.0, 1 - far_s * (1 - wish.decay) / scale_s)
    share = far_s / scale_s
    return math.exp(math.log(wish.decay) * (share if wish.function == "exp" else share * share))


def _source_weight(names: Sequence[str], wish: Sources) -> float:
    """Of several sources the largest weight counts."""
    return max((wish.weights[name] for name in names if name in wish.weights), default=wish.default)


def _compare(hit: _Hit, taken: _Hit, select: Select, span: float) -> None:
    if select.duplicates is not None and _alike(hit.runs, taken.runs) >= select.duplicates.threshold:
        hit.is_duplicate, hit.similar_to = True, taken.ranked.place
    elif select.novelty is not None:
        by_vector = bool(select.novelty.vector_field)
        alike = _cosine(hit.direction, taken.direction) if by_vector else _alike(hit.words, taken.words)
        loss = span * alike * select.novelty.weight / (1 - select.novelty.weight)
        if loss > hit.loss:
            hit.loss, hit.similar_to = loss, taken.ranked.place


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Each run of three words; of a shorter text all of it."""
    return list(zip(*(words[start:] for start in range(RUN)), strict=False)) or ([tuple(words)] if words else [])


def _terms(texts: Sequence[Sequence[Hashable]]) -> list[_Terms]:
    """The different terms of each text. Only those of several texts are numbered: the others are counted."""
    different = [set(terms) for terms in texts]
    counts = Counter(term for terms in different for term in terms)
    numbers = {term: number for number, term in enumerate(term for term, count in counts.items() if count > 1)}
    found = []
    for terms in different:
        bits = bytearray(len(numbers) // 8 + 1)
        for term in terms:
            number = numbers.get(term)
            if number is not None:
                bits[number >> 3] |= 1 << (number & 7)
        found.append(_Terms(len(terms), int.from_bytes(bits, "little")))
    return found


def _alike(one: _Terms, other: _Terms) -> float:
    """Jaccard's index."""
    both = (one.shared & other.shared).bit_count()
    return both / (one.size + other.size - both) if both else 0.0


def _direction(vector: Sequence[float]) -> list[float]:
    """The vector at length 1; empty where it has none."""
    length = math.sqrt(sum(map(mul, vector, vector)))
    return [number / length for number in vector] if 0 < length < math.inf else []


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """0 … 1; vectors that can't be compared have nothing in common."""
    return min(1.0, max(0.0, sum(map(mul, one, other)))) if len(one) == len(other) else 0.0
