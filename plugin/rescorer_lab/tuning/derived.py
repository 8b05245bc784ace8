"""nDCG@10 of any settings, for all topics at once, out of pools: what the client would return, without asking it.

Shapes: topics T × documents U, padded; a document that a list does not hold has no score there (not-a-number).
nDCG as in trec_eval: grades as gains, discount log2(rank + 1), the ideal list over all judged documents.

## Decisions
2026-11: the orders are the client's own, derived again on arrays, because 1,000 settings × 300 topics through
:func:`rescorer.fuse.ranked` take minutes. A property test holds both to the same list, ties included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rescorer.rank_fusion import LEAST
from rescorer_lab.evaluation.measures import Qrels
from rescorer_lab.tuning.pools import BM25, KNN, Pool
from rescorer_lab.tuning.settings import FirstStage, Settings

Floats: TypeAlias = NDArray[np.float64]
SHOWN = 10
DISCOUNTS = 1 / np.log2(np.arange(2, SHOWN + 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Pools as arrays. lists, ranks, logits: T × U by name; gains: T × U; ideal: T, the best DCG@10 there can be."""

    topics: tuple[str, ...]
    lists: Mapping[str, Floats]
    ranks: Mapping[str, Floats]
    logits: Mapping[str, Floats]
    gains: Floats
    ideal: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A first stage's order: ``scores``, ``gains`` and ``logits`` in it, best first; no document: score -inf."""

    scores: Floats
    gains: Floats
    logits: Mapping[str, Floats]


def table(pools: Sequence[Pool], qrels: Qrels) -> Table:
    """The arrays of these pools."""
    names = dict.fromkeys(name for pool in pools for name in pool.lists)
    models = dict.fromkeys(model for pool in pools for model in pool.logits)
    lists = {name: [pool.lists.get(name, {}) for pool in pools] for name in names}
    ranks = {name: [dict(zip(listed, count(1), strict=False)) for listed in of] for name, of in lists.items()}
    gains = [{document: max(0, grade) for document, grade in qrels[pool.topic].items()} for pool in pools]
    best = [sorted(of.values(), reverse=True)[:SHOWN] for of in gains]
    return Table(
        topics=tuple(pool.topic for pool in pools),
        lists={name: _grid(pools, of) for name, of in lists.items()},
        ranks={name: _grid(pools, of) for name, of in ranks.items()},
        logits={model: _grid(pools, [pool.logits[model] for pool in pools]) for model in models},
        gains=np.nan_to_num(_grid(pools, gains)),
        ideal=np.array([float(np.dot(grades, DISCOUNTS[: len(grades)])) for grades in best]),
    )


def _grid(pools: Sequence[Pool], told: Sequence[Mapping[str, float]]) -> Floats:
    """T × U: what is told of each pool's documents."""
    width = max([1, *(len(pool.documents) for pool in pools)])  # no list may hold anything
    found = np.full((len(pools), width), np.nan)
    for row, (pool, of) in enumerate(zip(pools, told, strict=True)):
        found[row, : len(pool.documents)] = [of.get(document, np.nan) for document in pool.documents]
    return found


def ordered(found: Table, first_stage: FirstStage) -> Ordered:
    """All documents in the order of this first stage; equal scores keep the order of the lists, as in the client."""
    scores = _scores(found, first_stage)
    keys = -scores if first_stage.name == "hybrid" else np.nan_to_num(found.ranks[first_stage.name], nan=np.inf)
    order = np.argsort(keys, axis=1, kind="stable")
    return Ordered(
        scores=np.take_along_axis(scores, order, 1),
        gains=np.take_along_axis(np.where(np.isinf(scores), 0.0, found.gains), order, 1),
        logits={model: np.take_along_axis(logits, order, 1) for model, logits in found.logits.items()},
    )


def ndcg(found: Table, first: Ordered, settings: Settings) -> Floats:
    """nDCG@10 of every topic; 0 where nothing relevant is judged. ``first`` is the order of its first stage."""
    gains = first.gains[:, :SHOWN] if not settings.window else _rescored(first, settings)
    reached = gains @ DISCOUNTS[: gains.shape[1]]
    return np.divide(reached, found.ideal, out=np.zeros_like(reached), where=found.ideal > 0)


def leads(first: Ordered) -> Floats:
    """By what share of its score the first hit leads the second, as the gate's margin sees it; -inf where unknown."""
    if first.scores.shape[1] < 2:
        return np.full(len(first.scores), -np.inf)
    best, second = first.scores[:, 0], first.scores[:, 1]
    known = np.isfinite(best) & np.isfinite(second) & (best > 0)
    return np.where(known, (best - second) / np.where(known, best, 1.0), -np.inf)


def _rescored(first: Ordered, settings: Settings) -> Floats:
    """Gains of the first ten hits: the window by its final score, then the tail."""
    window = slice(0, settings.window)
    keys = _keys(first.scores[:, window], first.logits[settings.model][:, window], settings.weight)
    order = np.argsort(-keys, axis=1, kind="stable")
    if settings.cascade:
        order = _again(order, keys, first.logits[settings.cascade[0]][:, window], settings.cascade[1])
    moved = np.take_along_axis(first.gains[:, window], order[:, :SHOWN], 1)
    return np.concatenate([moved, first.gains[:, settings.window : SHOWN]], axis=1)


def _keys(scores: Floats, logits: Floats, weight: float) -> Floats:
    """What the window is ordered by; places without a document come last."""
    with np.errstate(invalid="ignore"):
        keys = scores + weight * logits if weight else logits.astype(np.float32).astype(np.float64)
    return np.where(np.isinf(scores), -np.inf, keys)


def _again(order: NDArray[np.intp], keys: Floats, logits: Floats, keep: int) -> NDArray[np.intp]:
    """The best ``keep`` of an order, ordered again by a later stage's logits; equal ones in first-stage order."""
    kept = np.sort(order[:, :keep], axis=1)
    is_there = np.isfinite(np.take_along_axis(keys, kept, 1))
    later = np.where(is_there, np.take_along_axis(logits, kept, 1).astype(np.float32), -np.inf)
    best = np.take_along_axis(kept, np.argsort(-later, axis=1, kind="stable"), 1)
    return np.concatenate([best, order[:, keep:]], axis=1)


def _scores(found: Table, first_stage: FirstStage) -> Floats:
    if first_stage.name != "hybrid":
        alone = found.lists[first_stage.name]
        return np.where(np.isnan(alone), -np.inf, alone)
    if first_stage.fusion == "rrf":
        halves = [1 / (first_stage.rank_constant + found.ranks[name]) for name in (BM25, KNN)]
    else:
        halves = [_min_max(found.lists[name]) for name in (BM25, KNN)]
    weights = (first_stage.weight, round(1 - first_stage.weight, 3))
    fused = sum(weight * np.nan_to_num(half) for weight, half in zip(weights, halves, strict=True))
    return np.where(np.isnan(halves[0]) & np.isnan(halves[1]), -np.inf, fused)


def _min_max(scores: Floats) -> Floats:
    """Each list to 0 … 1, its lowest to LEAST; where all are equal, 1."""
    low = np.nanmin(np.where(np.isnan(scores), np.inf, scores), axis=1, keepdims=True)
    high = np.nanmax(np.where(np.isnan(scores), -np.inf, scores), axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(low == high, 1.0, (scores - low) / (high - low))
    return np.where(np.isnan(scores), np.nan, np.where(scaled == 0, LEAST, scaled))
