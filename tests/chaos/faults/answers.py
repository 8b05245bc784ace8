"""Sidecars that answer well-formed nonsense: the real answer of the real model, changed on its way."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from chaos.meddler import Change, Meddler, meddling
from chaos.scene import Scene, fault
from chaos.verdict import Seen
from rescorer_proto.v1 import rescorer_pb2


def _foreign(answer: Any) -> None:
    answer.results[0].id = "a hit that nobody asked about"


def _misplaced(answer: Any) -> None:
    first, second = answer.results[:2]
    first.index, second.index = second.index, first.index


def _doubled(answer: Any) -> None:
    answer.results[1].CopyFrom(answer.results[0])


def _not_a_number(answer: Any) -> None:
    answer.results[0].logit = math.nan


def _infinite(answer: Any) -> None:
    answer.results[0].logit = math.inf


def _too_few(answer: Any) -> None:
    del answer.results[3:]
    answer.status = rescorer_pb2.SCORE_STATUS_COMPLETE


def _too_many(answer: Any) -> None:
    answer.results.extend([answer.results[0]] * 100_000)


def _shuffled(answer: Any) -> None:
    results = list(answer.results)
    random.Random(7).shuffle(results)
    del answer.results[:]
    answer.results.extend(results)


def _all_nonsense(scene: Scene, change: Change) -> Meddler:
    """Searches of one sidecar that answers only so."""
    made: Meddler = scene.hold(meddling(scene.stack.steady_addresses[0], change))
    scene.searches([made.address])
    scene.proves(made.counts["answers changed"] > 0, f"{made.counts['answers changed']} answers were changed")
    said = {one.reason for one in scene.seen}
    scene.demand("bad_scores" in said, f"a reason is bad_scores; they are {', '.join(sorted(map(str, said)))}")
    return made


@fault("scores-of-foreign-hits", "An answer scores a hit that was not asked about.", may=("fallback",))
def foreign(scene: Scene) -> None:
    """It is never used."""
    _all_nonsense(scene, _foreign)


@fault("scores-at-wrong-places", "Two scores of an answer have changed their places.", may=("fallback",))
def misplaced(scene: Scene) -> None:
    """Each score has the id of its hit, so this is seen."""
    _all_nonsense(scene, _misplaced)


@fault("scores-doubled", "An answer scores one hit twice and another one not at all.", may=("fallback",))
def doubled(scene: Scene) -> None:
    """As many scores as candidates."""
    _all_nonsense(scene, _doubled)


@fault("scores-nan", "A score is NaN.", may=("fallback",), is_short=True)
def not_a_number(scene: Scene) -> None:
    """It would sort anywhere."""
    _all_nonsense(scene, _not_a_number)


@fault("scores-infinite", "A score is infinite.", may=("fallback",))
def infinite(scene: Scene) -> None:
    """It would stand above everything."""
    _all_nonsense(scene, _infinite)


@fault("scores-too-few", "An answer that says it is complete lacks most scores.", may=("fallback",))
def too_few(scene: Scene) -> None:
    """It is not partial, since it does not say so."""
    _all_nonsense(scene, _too_few)


@fault("scores-too-many", "An answer holds 100,000 scores for 6 candidates.", may=("fallback",))
def too_many(scene: Scene) -> None:
    """Counted before they are read."""
    made: Meddler = scene.hold(meddling(scene.stack.steady_addresses[0], _too_many))
    scene.searches([made.address], searches=20, budget_ms=2000.0)
    scene.proves(made.counts["answers changed"] > 0, f"{made.counts['answers changed']} answers were changed")


@fault("scores-shuffled", "An answer holds its scores in another order than they were asked for.", must=("reranked",))
def shuffled(scene: Scene) -> None:
    """Each score has the place of its hit, so the searches are reranked as ever."""
    made: Meddler = scene.hold(meddling(scene.stack.steady_addresses[0], _shuffled))
    first = next(scene.stack.numbers)
    through = scene.searches([made.address], searches=20, budget_ms=5000.0, first=first)
    straight = scene.searches(scene.stack.steady_addresses[:1], searches=20, budget_ms=5000.0, first=first)
    scene.proves(made.counts["answers changed"] == 40, f"{made.counts['answers changed']} answers were changed")
    scene.demand(_orders(through) == _orders(straight), "each search has the order that it has without the fault")


@fault("one-of-two-talks-nonsense", "One of two sidecars answers only NaN.", may=("reranked", "partial"))
def one_of_two(scene: Scene) -> None:
    """The other one is asked instead, inside the same budget."""
    made: Meddler = scene.hold(meddling(scene.stack.steady_addresses[0], _not_a_number))
    scene.searches([made.address, scene.stack.steady_addresses[1]], searches=20, budget_ms=5000.0)
    scene.proves(made.counts["answers changed"] > 0, f"{made.counts['answers changed']} answers were changed")


def _orders(seen: Sequence[Seen]) -> dict[int, Sequence[str]]:
    return {one.number: one.ids for one in seen}
