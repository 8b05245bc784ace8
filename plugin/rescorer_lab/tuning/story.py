"""A tuning from topics to settings: pools made once, the grid derived on one half, the choice reported on the other."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rescorer_lab import journal
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import significance
from rescorer_lab.evaluation.asking import Index
from rescorer_lab.evaluation.significance import Difference
from rescorer_lab.inputs import Judged, Topic
from rescorer_lab.journal import Journal
from rescorer_lab.lanes import side_by_side
from rescorer_lab.tuning import derived, front, pools
from rescorer_lab.tuning.derived import Floats, Table
from rescorer_lab.tuning.front import Candidate, Costs, Saving
from rescorer_lab.tuning.pools import Pool
from rescorer_lab.tuning.settings import FirstStage, Settings, first_stages

POOLS = "pools.jsonl"
LEAST_TOPICS = 10
"""In a half; below that the halves say nothing about each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """models: names that the sidecar lists; empty is its default. first_stage: what the choice is made among.

    Only ``hybrid`` asks for vectors, which take an embedder.
    within_ms: what a search may take; None for any time. lanes: topics under way at a time.
    """

    first_stage: str
    models: tuple[str, ...] = ("",)
    within_ms: float | None = None
    lanes: int = 4

    @property
    def has_vectors(self) -> bool:
        """Whether kNN is asked beside BM25."""
        return self.first_stage == "hybrid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Settings beside the chosen ones, on the half that nothing was chosen on: ``name`` → mean, and the difference."""

    name: str
    settings: Settings
    tuning: float
    other: float
    difference: Difference
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a tuning found. other: the choice's mean on the other half. curve: window → mean on both halves."""

    halves: tuple[int, int]
    scored: int
    derived: int
    derived_s: float
    spent: Costs
    candidates: Sequence[Candidate]
    front: Sequence[Candidate]
    chosen: Candidate
    other: float
    reports: Sequence[Report]
    curve: Mapping[int, tuple[float, float]]
    savings: Sequence[Saving]
    warnings: Sequence[str]


def make_pools(
    client: Any, index: Index, wishes: Wishes, judged: Judged, folder: Path, advance: Callable[[int], None]
) -> None:
    """Ask every topic's lists and score every document in them, but for what ``folder`` holds already.

    LabError where there are too few topics to part them.
    """
    _check_halves(judged.topics)
    form = None if index.form is None else replace(index.form, k=index.depth)
    index = replace(index, form=form)
    topics = [[topic.id, topic.text] for topic in judged.topics.values()]
    of = [index.name, index.depth, dict(index.written), list(wishes.models), topics, wishes.has_vectors]

    def ask(topic: Topic) -> Pool:
        return pools.ask(client, index, topic, wishes.models, has_vectors=wishes.has_vectors)

    with Journal(folder / POOLS, of, _key) as kept:
        left = [topic for topic in judged.topics.values() if topic.id not in kept.done]
        advance(len(judged.topics) - len(left))
        for pool in side_by_side(ask, left, wishes.lanes):
            kept.add(pool.as_dict())
            advance(1)


def told(folder: Path, wishes: Wishes, judged: Judged, index: Index) -> Told:
    """Everything, derived from a folder's pools."""
    found = sorted((Pool(**told) for told in journal.lines(folder / POOLS)), key=lambda pool: _digest(pool.topic))
    halves = [pool for pool in found if _is_tuning(pool.topic)], [pool for pool in found if not _is_tuning(pool.topic)]
    tuning, other = (derived.table(half, judged.qrels) for half in halves)
    stages = first_stages(has_vectors=wishes.has_vectors)
    begun_s = time.perf_counter()
    spent = front.costs(found)
    candidates = front.candidates(tuning, stages, index.depth, wishes.models, spent)
    derived_s = time.perf_counter() - begun_s
    chosen = front.chosen([one for one in candidates if _is_open(one, wishes.first_stage)], wishes.within_ms)
    curves = [front.curve(table, chosen.settings, index.depth) for table in (tuning, other)]
    return Told(
        halves=(len(halves[0]), len(halves[1])),
        scored=sum(sum(pool.scored.values()) for pool in found),
        derived=len(candidates),
        derived_s=derived_s,
        spent=spent,
        candidates=candidates,
        front=front.front(candidates),
        chosen=chosen,
        other=float(derived.ndcg(other, derived.ordered(other, chosen.settings.first_stage), chosen.settings).mean()),
        reports=[_report(name, tuning, other, one, chosen.settings) for name, one in _beside(chosen, wishes, index)],
        curve={window: (float(curves[0][window].mean()), float(curves[1][window].mean())) for window in curves[0]},
        savings=front.savings(other, judged.topics, chosen.settings) if chosen.settings.window else [],
        warnings=judged.notes,
    )


def _is_open(candidate: Candidate, first_stage: str) -> bool:
    """Whether the choice may fall on it: kNN alone is shown in the front, and no profile asks for it."""
    return candidate.settings.first_stage.name == first_stage


def _beside(chosen: Candidate, wishes: Wishes, index: Index) -> list[tuple[str, Settings]]:
    """What the chosen settings are reported beside: its first stage alone, BM25, and rescoring as it comes."""
    bm25 = FirstStage(name="bm25")
    plain = FirstStage(name="hybrid", fusion="min_max", weight=0.5) if wishes.first_stage == "hybrid" else bm25
    found = {
        "BM25 alone": Settings(first_stage=bm25),
        "first stage alone": Settings(first_stage=chosen.settings.first_stage),
        "defaults": Settings(first_stage=plain, window=min(100, index.depth), model=wishes.models[0]),
    }
    first_of = {settings: name for name, settings in reversed(found.items()) if settings != chosen.settings}
    return [(name, settings) for name, settings in found.items() if first_of.get(settings) == name]


def _report(name: str, tuning: Table, other: Table, settings: Settings, chosen: Settings) -> Report:
    before, after = front.compared(other, settings), front.compared(other, chosen)
    on_tuning: Floats = derived.ndcg(tuning, derived.ordered(tuning, settings.first_stage), settings)
    return Report(
        name=name,
        settings=settings,
        tuning=float(on_tuning.mean()),
        other=sum(before.values()) / len(before),
        difference=significance.difference(before, after),
        p=significance.p_value(before, after),
    )


def _key(told: Mapping[str, Any]) -> str:
    topic: str = told["topic"]
    return topic


def _check_halves(topics: Collection[str]) -> None:
    tuning = sum(map(_is_tuning, topics))
    other = len(topics) - tuning
    if min(tuning, other) < LEAST_TOPICS:
        mend = f"give more judged topics: each half needs {LEAST_TOPICS}, better some hundreds"
        raise LabError(f"of {len(topics)} topics {tuning} are to tune on and {other} to report on", mend)


def _digest(topic: str) -> bytes:
    return hashlib.sha256(topic.encode()).digest()


def _is_tuning(topic: str) -> bool:
    """Half of all topics by the last bit of the SHA-256 of their ids: arbitrary, and the same everywhere."""
    return _digest(topic)[-1] % 2 == 0
