"""From derived figures to a choice: the front of quality and time, the curve over the window, what a gate saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rescorer import gate
from rescorer.gate import Gate
from rescorer_lab.errors import LabError
from rescorer_lab.inputs import Topic
from rescorer_lab.tuning import derived
from rescorer_lab.tuning.derived import Floats, Ordered, Table
from rescorer_lab.tuning.pools import Pool
from rescorer_lab.tuning.settings import WINDOWS, FirstStage, Settings, grid

WITHIN = 0.005
"""Settings whose quality lies this close to the best are as good; the fastest of them is chosen."""

MARGINS = (0.05, 0.1, 0.2, 0.3, 0.5)
KINDS: tuple[Literal["code", "one_word", "quoted"], ...] = ("code", "one_word", "quoted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Milliseconds, measured while the pools were made: each first-stage list, and a pair of each model."""

    first_stage_ms: Mapping[str, float]
    pair_ms: Mapping[str, float]

    def of(self, settings: Settings) -> float:
        """What a search with these settings takes, as far as lists and forward passes decide it."""
        names = ("bm25", "knn") if settings.first_stage.name == "hybrid" else (settings.first_stage.name,)
        ms = sum(self.first_stage_ms[name] for name in names)
        if settings.window:
            ms += settings.window * self.pair_ms[settings.model]
        if settings.cascade:
            model, keep = settings.cascade
            ms += keep * self.pair_ms[model]
        return ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Settings with their mean nDCG@10 on the tuning half and what a search with them takes."""

    settings: Settings
    quality: float
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What a gate would do: the part of topics that it leaves alone, and what the mean nDCG@10 loses by that."""

    gate: str
    skipped: float
    loss: float


def costs(pools: Sequence[Pool]) -> Costs:
    """Medians of the lists, and the forward pass per pair that was scored anew. LabError where no pair was."""
    lists = {name for pool in pools for name in pool.lists}
    first = {name: float(np.median([pool.ms[name] for pool in pools if name in pool.ms])) for name in sorted(lists)}
    pairs: dict[str, float] = {}
    for model in {model for pool in pools for model in pool.scored}:
        scored = sum(pool.scored[model] for pool in pools)
        if not scored:
            raise LabError("every pair came from the sidecar's cache, so nothing tells what one costs", "restart it")
        pairs[model] = sum(pool.ms[f"forward {model}"] for pool in pools) / scored
    return Costs(first_stage_ms=first, pair_ms=pairs)


def candidates(
    table: Table, first_stages: Sequence[FirstStage], depth: int, models: Sequence[str], spent: Costs
) -> list[Candidate]:
    """The whole grid, derived: the mean over these topics of each."""
    found = []
    for first_stage in first_stages:
        first = derived.ordered(table, first_stage)
        for settings in grid(first_stage, models, depth):
            quality = float(derived.ndcg(table, first, settings).mean())
            found.append(Candidate(settings=settings, quality=quality, ms=spent.of(settings)))
    return found


def front(found: Sequence[Candidate]) -> list[Candidate]:
    """Those that nothing beats in quality without taking longer, the fastest first."""
    kept: list[Candidate] = []
    for candidate in sorted(found, key=lambda one: (one.ms, -one.quality)):
        if not kept or candidate.quality > kept[-1].quality + 1e-9:
            kept.append(candidate)
    return kept


def chosen(found: Sequence[Candidate], budget_ms: float | None) -> Candidate:
    """The fastest of those as good as the best that the budget allows; LabError where it allows none."""
    allowed = [one for one in found if budget_ms is None or one.ms <= budget_ms]
    if not allowed:
        least = min(one.ms for one in found)
        raise LabError(
            f"no settings take {budget_ms:g} ms or less", f"the fastest take {least:.0f} ms: raise --within-ms"
        )
    best = max(one.quality for one in allowed)
    return min((one for one in allowed if one.quality >= best - WITHIN), key=lambda one: (one.ms, -one.quality))


def curve(table: Table, settings: Settings, depth: int) -> dict[int, Floats]:
    """Window → nDCG@10 of every topic, all else as chosen; 0 is the first stage alone."""
    first = derived.ordered(table, settings.first_stage)
    windows = [0, *(window for window in WINDOWS if window <= depth and _fits(window, settings))]
    return {window: derived.ndcg(table, first, replace(settings, window=window)) for window in windows}


def savings(table: Table, topics: Mapping[str, Topic], settings: Settings) -> list[Saving]:
    """What each gate would leave alone and what that would cost, on these topics."""
    first = derived.ordered(table, settings.first_stage)
    before = derived.ndcg(table, first, Settings(first_stage=settings.first_stage))
    after = derived.ndcg(table, first, settings)
    found = []
    for kind in KINDS:
        closed = [gate.of_query(Gate(query_types=(kind,)), topics[topic].text) is not None for topic in table.topics]
        found.append(_saving(f"query_types: {kind}", np.array(closed), after - before))
    if settings.first_stage.fusion != "rrf":
        leads = derived.leads(first)
        found += [_saving(f"margin: {margin:g}", leads >= margin, after - before) for margin in MARGINS]
    return [saving for saving in found if saving.skipped]


def compared(table: Table, settings: Settings) -> dict[str, float]:
    """Topic → nDCG@10 under these settings."""
    first: Ordered = derived.ordered(table, settings.first_stage)
    return dict(zip(table.topics, derived.ndcg(table, first, settings).tolist(), strict=True))


def _saving(name: str, closed: np.ndarray, gains: Floats) -> Saving:
    return Saving(gate=name, skipped=float(closed.mean()), loss=float((gains * closed).mean()))


def _fits(window: int, settings: Settings) -> bool:
    return settings.cascade is None or settings.cascade[1] < window
