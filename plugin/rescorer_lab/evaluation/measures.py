"""How good a list is: measures by ir-measures, per topic and on average.

A run here is topic id → document ids, best first. Scores are left out on purpose: trec_eval orders equal scores by
document id, which would measure a list that nobody was shown, so the rank alone is handed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np

from rescorer_lab.errors import LabError

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Sequence[str]]

SHOWN = ("nDCG@10", "MRR@10", "P@10")
"""What a search page is judged by; ``MRR@10`` is ir-measures' ``RR@10``."""

JUDGED = "Judged@10"
"""The part of the first ten hits that somebody judged."""

_THEIRS = {"MRR": "RR", "MAP": "AP", "success": "Success"}
"""Names of ours → names of ir-measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Measures of one run: ``per_query[measure][topic id]`` and their means over all judged topics."""

    per_query: Mapping[str, Mapping[str, float]]

    @property
    def means(self) -> dict[str, float]:
        """Measure → mean over the topics; not-a-number without topics."""
        return {
            name: float(np.mean(list(values.values()))) if values else float("nan")
            for name, values in self.per_query.items()
        }


def evaluate(qrels: Qrels, run: Run, names: Sequence[str] = SHOWN) -> Evaluation:
    """These measures of a run, for every topic in ``qrels``; a topic without hits counts as 0.

    Raises LabError for a name that ir-measures does not know.
    """
    judged = {query: dict(grades) for query, grades in qrels.items()}
    ranked = {
        query: {document: float(-rank) for rank, document in enumerate(run[query], 1)}
        for query in judged
        if run.get(query)  # an empty list is 0 by all of them, and no list to ir-measures' Judged
    }
    wanted = {_measure(name): name for name in names}
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for entry in ir_measures.iter_calc(list(wanted), judged, ranked):
        found[wanted[entry.measure]][entry.query_id] = float(entry.value)
    return Evaluation(
        per_query={name: {query: values.get(query, 0.0) for query in sorted(judged)} for name, values in found.items()}
    )


def check(names: Sequence[str]) -> None:
    """Raise LabError for a name that ir-measures does not know."""
    for name in names:
        _measure(name)


def window_recall(qrels: Qrels, run: Run, window: int) -> Evaluation:
    """Recall of the candidate window: the share of a topic's relevant documents among its first ``window`` hits.

    What is not in the window can't be rescored, so this bounds what rescoring can reach.
    """
    return evaluate(qrels, run, [f"R@{window}"])


def ceiling(qrels: Qrels, windows: Run, name: str) -> dict[str, float]:
    """What a measure would be per topic if each window were ordered as the judgments say: nothing reorders better."""
    best = {query: _best_order(windows.get(query, ()), grades) for query, grades in qrels.items()}
    return dict(evaluate(qrels, best, [name]).per_query[name])


def percentiles(values: Sequence[float], places: Sequence[int] = (50, 95)) -> dict[str, float]:
    """``p50``, ``p95``, …, interpolated linearly; not-a-number for all where there are no values."""
    if not values:
        return {f"p{place}": float("nan") for place in places}
    return {f"p{place}": float(found) for place, found in zip(places, np.percentile(values, places), strict=True)}


def _best_order(listed: Sequence[str], grades: Mapping[str, int]) -> list[str]:
    return sorted(listed, key=lambda document: -grades.get(document, 0))


def _measure(name: str) -> ir_measures.measures.Measure:
    base, _, depth = name.partition("@")
    theirs = _THEIRS.get(base, base)
    try:
        return ir_measures.parse_measure(f"{theirs}@{depth}" if depth else theirs)
    except (NameError, ValueError, TypeError) as error:
        mend = "write such as nDCG@10, MRR@10, P@10, MAP, R@100, success@10"
        raise LabError(f"{name!r} is no measure", mend) from error
