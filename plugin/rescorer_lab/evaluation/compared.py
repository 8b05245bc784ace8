"""Two systems, topic by topic: who wins, by how much, how sure that is, and whether it may be shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescorer_lab.evaluation import significance
from rescorer_lab.evaluation.figures import Measured
from rescorer_lab.evaluation.measures import JUDGED
from rescorer_lab.evaluation.significance import Difference
from rescorer_lab.evaluation.systems import System

FAR_APART = 0.05
"""Compared runs whose judged coverage differs by more are not measured alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``after`` over ``before`` in one measure. p: of the randomisation test; corrected: among all comparisons."""

    before: str
    after: str
    measure: str
    difference: Difference
    p: float
    corrected: float


def pairs(names: Sequence[str], systems: Sequence[System]) -> list[tuple[str, str]]:
    """What is compared: each system with the first one, and each rescored one with its own first stage as well."""
    alone = {system.first_stage: system.name for system in systems if not system.is_rescored}
    found = [(names[0], name) for name in names[1:]]
    bases = [(alone[system.first_stage], system.name) for system in systems if _has_base(system, alone)]
    return list(dict.fromkeys([*found, *(pair for pair in bases if pair[::-1] not in found)]))


def compared(found: Mapping[str, Measured], pairs: Sequence[tuple[str, str]], measure: str) -> list[Comparison]:
    """Every pair tested, their p-values corrected together (Holm)."""
    values = {name: measured.of(measure) for name, measured in found.items()}
    tested = {f"{before}\0{after}": significance.p_value(values[before], values[after]) for before, after in pairs}
    corrected = significance.holm(tested)
    return [
        Comparison(
            before=before,
            after=after,
            measure=measure,
            difference=significance.difference(values[before], values[after]),
            p=tested[f"{before}\0{after}"],
            corrected=corrected[f"{before}\0{after}"],
        )
        for before, after in pairs
    ]


def unlike(found: Mapping[str, Measured], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A warning for each pair whose first ten hits are judged to a different extent: a new system is judged less."""
    judged = {name: measured.means[JUDGED] for name, measured in found.items()}
    return [
        f"{before} and {after} are not judged alike: {judged[before]:.0%} and {judged[after]:.0%} of their first ten "
        "hits; unjudged hits count as not relevant, so the one with fewer judged is measured too low"
        for before, after in pairs
        if abs(judged[before] - judged[after]) > FAR_APART
    ]


def _has_base(system: System, alone: Mapping[str, str]) -> bool:
    return system.is_rescored and system.first_stage != "own" and system.first_stage in alone
