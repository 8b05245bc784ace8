"""Several ranked lists of hits made one: reciprocal rank fusion, and weighted sums of normalized scores.

**rrf**: a hit at rank r (from 1) of a list gets weight / (rank_constant + r), summed over the lists that hold it;
Cormack, Clarke, Büttcher, SIGIR 2009; as OpenSearch's ``score-ranker-processor`` and Elasticsearch's ``rrf``.

**min_max**: each list's scores to 0 … 1, then their weighted mean, a missing hit counting as 0; as OpenSearch's
``normalization-processor`` with ``min_max`` and ``arithmetic_mean``: the lowest score becomes 0.001 rather than 0, and
where all scores are equal each becomes 1.

**linear**: the weighted sum of scores under one normalizer per list, as Elasticsearch's ``linear``: ``minmax`` (equal
scores become 1), ``l2_norm`` or ``none``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Normalizer = Literal["minmax", "l2_norm", "none"]
Hit: TypeAlias = Mapping[str, Any]
LEAST = 0.001
"""OpenSearch's stand-in for a normalized score of 0, which would mean that the hit was not found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """How lists become one. weights: one per list. normalizers: one per list, for ``linear`` alone."""

    kind: Literal["rrf", "min_max", "linear"]
    weights: tuple[float, ...]
    rank_constant: int = 60
    normalizers: tuple[Normalizer, ...] = ()


def fused(lists: Sequence[Sequence[Hit]], how: Fusion) -> list[Hit]:
    """One list of the hits of all lists, best first, each once, with its fused ``_score``.

    A hit that several lists hold is shown as the first of them shows it. Equal scores keep the order of the lists.
    """
    scores: dict[tuple[Any, Any], float] = {}
    shown: dict[tuple[Any, Any], list[Hit]] = {}
    for place, hits in enumerate(lists):
        for hit, part in zip(hits, _parts(hits, how, place), strict=True):
            key = (hit.get("_index"), hit.get("_id"))
            scores[key] = scores.get(key, 0.0) + part
            shown.setdefault(key, []).append(hit)
    finite = {key: _finite(score) for key, score in scores.items()}
    order = sorted(shown, key=lambda key: -finite[key])
    return [_shown(shown[key], finite[key], how) for key in order]


def _finite(number: float) -> float:
    """The nearest number that JSON can write; 0 for what is none, such as the difference of two that are too large."""
    return 0.0 if number != number else max(-sys.float_info.max, min(sys.float_info.max, number))  # noqa: PLR0124


def _parts(hits: Sequence[Hit], how: Fusion, place: int) -> list[float]:
    """What each hit of one list adds to its fused score."""
    weight = how.weights[place]
    if how.kind == "rrf":
        return [weight / (how.rank_constant + rank) for rank in range(1, len(hits) + 1)]
    scores = [_score(hit) for hit in hits]
    if how.kind == "min_max":
        share = weight / (sum(how.weights) or 1.0)
        return [share * (score or LEAST) for score in _min_max(scores)]
    return [weight * score for score in _NORMALIZED[how.normalizers[place]](scores)]


def _score(hit: Hit) -> float:
    try:
        return _finite(float(hit.get("_score") or 0.0))
    except OverflowError:
        return 0.0


def _min_max(scores: Sequence[float]) -> list[float]:
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    if low == high:
        return [1.0] * len(scores)
    if math.isinf(high - low):  # halves of them are as far apart as floats can be
        return _min_max([score / 2 for score in scores])
    return [(score - low) / (high - low) for score in scores]


def _l2_norm(scores: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(score * score for score in scores))
    return [score / length for score in scores] if length else list(scores)


_NORMALIZED: Mapping[Normalizer, Callable[[Sequence[float]], list[float]]] = {
    "minmax": _min_max,
    "l2_norm": _l2_norm,
    "none": list,
}


def _shown(found: Sequence[Hit], score: float, how: Fusion) -> Hit:
    hit = {**found[0], "_score": score}
    if "_explanation" in hit:
        parts = [entry["_explanation"] for entry in found if "_explanation" in entry]
        hit["_explanation"] = {"value": score, "description": f"fused by the client: {how.kind}", "details": parts}
    return hit
