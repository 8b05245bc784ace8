"""An evaluation from inputs to figures: topics asked of systems, side by side, resumed where it was left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rescorer_lab import journal
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import asking, compared, figures, measures, slices
from rescorer_lab.evaluation.asking import Answer, Index
from rescorer_lab.evaluation.compared import Comparison
from rescorer_lab.evaluation.figures import Measured
from rescorer_lab.evaluation.supported import Support
from rescorer_lab.evaluation.systems import System
from rescorer_lab.inputs import Judged
from rescorer_lab.inputs.runs import Run
from rescorer_lab.journal import Journal
from rescorer_lab.lanes import side_by_side

MEASURES = ("nDCG@10", "MRR@10", "P@10", "MAP", "R@100", "success@10")
LANES = 4
ANSWERS = "answers.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is evaluated and how.

    measures: the first decides. lanes: topics under way at a time. runs: name → a run that was made elsewhere. slices:
    columns of the topics to slice by. price: of an hour of the sidecar's machine, in any money; None for no costs.
    order: the names in the order of the tables, where runs do not come last.
    """

    systems: tuple[System, ...]
    runs: Mapping[str, Run] = field(default_factory=dict)
    measures: tuple[str, ...] = MEASURES
    lanes: int = LANES
    slices: tuple[str, ...] = ()
    price: float | None = None
    order: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        measures.check(self.measures)

    @property
    def names(self) -> list[str]:
        """All that is measured, in the order of the tables."""
        return list(self.order) or [*(system.name for system in self.systems), *self.runs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an evaluation found. slices: kind → value → system → mean of the first measure, and ``topics``.

    support: where right answers are known, whether the first hits support them.
    """

    measured: Mapping[str, Measured]
    comparisons: Sequence[Comparison]
    slices: Mapping[str, Mapping[str, Mapping[str, float]]]
    warnings: Sequence[str]
    support: Support | None = None


def ask_all(
    client: Any, index: Index, wishes: Wishes, judged: Judged, folder: Path, advance: Callable[[int], None]
) -> float:
    """Ask every topic of every system, but for what ``folder`` holds already; returns the seconds that it took.

    Topics run side by side, the systems of one topic one after the other, so that pairs which two of them share are
    scored once. An interruption loses the topics under way and no other; so does an error, which is raised.
    """
    asking.check(index, wishes.systems)
    of = [
        index.name,
        index.depth,
        dict(index.written),
        [[topic.id, topic.text] for topic in judged.topics.values()],
        [system.digested for system in wishes.systems],
    ]
    begun_s = time.perf_counter()
    with Journal(folder / ANSWERS, of, _key) as kept:
        wanted = {
            topic: [system for system in wishes.systems if (system.name, topic) not in kept.done]
            for topic in judged.topics
        }
        advance(sum(not left for left in wanted.values()))

        def ask(topic: str) -> list[Answer]:
            return [asking.ask(client, index, system, judged.topics[topic]) for system in wanted[topic]]

        for together in side_by_side(ask, [topic for topic, left in wanted.items() if left], wishes.lanes):
            for answer in together:
                kept.add(answer.as_dict())
            advance(1)
    return time.perf_counter() - begun_s


def told(folder: Path, wishes: Wishes, judged: Judged, depth: int) -> Told:
    """The figures of a folder's answers, and of the runs beside them."""
    names = tuple(dict.fromkeys(wishes.measures))
    found = figures.measured(answers(folder, wishes, judged, depth), judged.qrels, names, depth)
    ordered = {name: found[name] for name in wishes.names}
    pairs = compared.pairs(wishes.names, wishes.systems)
    return Told(
        measured=ordered,
        comparisons=compared.compared(ordered, pairs, names[0]),
        slices=_sliced(ordered, judged, wishes, names[0]),
        warnings=[
            *judged.notes,
            *_not_held(wishes.runs, judged),
            *compared.unlike(ordered, pairs),
            *_not_rescored(ordered),
        ],
    )


def asked(folder: Path) -> Iterator[Answer]:
    """The answers that a folder holds, one at a time."""
    return map(Answer.of, journal.lines(folder / ANSWERS))


def answers(folder: Path, wishes: Wishes, judged: Judged, depth: int) -> Iterator[Answer]:
    """The answers of all systems and runs, one at a time."""
    if wishes.systems:
        yield from asked(folder)
    for name, run in wishes.runs.items():
        yield from _of_run(name, run, judged, depth)


def _key(told: Mapping[str, Any]) -> tuple[str, str]:
    return told["system"], told["topic"]


def _of_run(name: str, run: Run, judged: Judged, depth: int) -> Iterator[Answer]:
    """A run as answers; a topic that it does not hold found nothing."""
    if not run.keys() & judged.topics.keys():
        raise LabError(f"run {name!r} is of none of the {len(judged.topics):,} topics", "give a run of these topics")
    for topic in judged.topics:
        listed = run.get(topic, {})
        first = list(listed)[:depth]
        yield Answer(system=name, topic=topic, hits=tuple(first), scores=tuple(listed[hit] for hit in first))


def _not_held(runs: Mapping[str, Run], judged: Judged) -> Iterator[str]:
    """A run of some of the topics is measured on all of them, which may be a figure of the gap alone."""
    for name, run in runs.items():
        if missing := len(judged.topics.keys() - run.keys()):
            yield f"run {name!r} holds nothing for {missing:,} of {len(judged.topics):,} topics; each counts as 0"
        if others := len(run.keys() - judged.topics.keys()):
            yield f"run {name!r} also holds topics that are not measured: {others:,}"


def _sliced(
    found: Mapping[str, Measured], judged: Judged, wishes: Wishes, measure: str
) -> dict[str, dict[str, dict[str, float]]]:
    values = {name: measured.of(measure) for name, measured in found.items()}
    return {
        kind: {
            value: {"topics": len(ids), **{name: sum(of[id_] for id_ in ids) / len(ids) for name, of in values.items()}}
            for value, ids in of_kind.items()
        }
        for kind, of_kind in slices.sliced(judged.topics, wishes.slices).items()
    }


def _not_rescored(found: Mapping[str, Measured]) -> Iterator[str]:
    """A figure of a rescored system that holds first stages is no figure of it, and says so."""
    for name, measured in found.items():
        others = {outcome: count for outcome, count in measured.outcomes.items() if outcome != "reranked"}
        if others:
            listed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(others.items()))
            yield f"{name}: {listed} of {len(measured.rows)} searches; these hold first-stage lists, whole or in part"
        if len(measured.models) > 1:
            yield f"{name}: more than one model answered: {', '.join(sorted(measured.models))}"
