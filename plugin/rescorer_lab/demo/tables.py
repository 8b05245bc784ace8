"""The demo's tables: before and after for one query, figures for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rescorer_lab import side_by_side
from rescorer_lab.demo.searches import FIRST_STAGE_OF, SYSTEMS, Record
from rescorer_lab.evaluation.significance import Difference
from rescorer_lab.side_by_side import Lists

NAMES = {
    "bm25": "BM25",
    "knn": "kNN",
    "hybrid": "hybrid",
    "bm25_rescored": "BM25 + rescored",
    "hybrid_rescored": "hybrid + rescored",
    "bm25_model_alone": "BM25 + model alone",
    "hybrid_model_alone": "hybrid + model alone",
}
BEST = "◂ best"


@dataclass(frozen=True, slots=True)
class Pick:
    """A query chosen for showing: which, why, and the gain in nDCG@10 that it was chosen by."""

    record: Record
    why: str
    gain: float


def picked(records: Sequence[Record], gains: Mapping[str, float]) -> list[Pick]:
    """Three of the records: the largest gain, the median, the largest loss; fewer where there are fewer.

    Equal gains are taken in the order of the records, so that the same figures always choose the same queries.
    """
    ordered = sorted(records, key=lambda record: -gains[record.query])
    last = len(ordered) - 1
    places = {0: _extreme(gains[ordered[0].query], "largest gain", "smallest loss"), last // 2: "the median"}
    places[last] = _extreme(gains[ordered[last].query], "smallest gain", "largest loss")
    return [
        Pick(ordered[place], f"{why} among the first {len(records)} queries", gains[ordered[place].query])
        for place, why in sorted(places.items())
    ]


def worst(records: Sequence[Record], gains: Mapping[str, float]) -> Pick:
    """The record with the lowest gain, the first of equal ones."""
    found = min(records, key=lambda record: gains[record.query])
    gain = gains[found.query]
    return Pick(found, f"{_extreme(gain, 'smallest gain', 'largest loss')} among all {len(records)} queries", gain)


def before_after(pick: Pick, system: str, judged: Mapping[str, int]) -> Table:
    """One query's first ten hits before and after, what moved by how much, and where the judged documents went."""
    record = pick.record
    first_stage = FIRST_STAGE_OF[system]
    table = side_by_side.table(
        Lists(
            before=record.lists[first_stage],
            after=record.lists[system],
            headings=(f"before: {NAMES[first_stage]}", "after: rescored"),
            titles=record.titles,
            judged=judged,
        )
    )
    table.title = Text.assemble((f"“{record.text}”", "bold"), f"\n{pick.why}, nDCG@10 {pick.gain:+.3f}")
    return table


def figures(means: Mapping[str, Mapping[str, float]], recall: Mapping[str, float], window: int) -> Table:
    """Every measure of every system; the best of each column is marked.

    recall: system → recall of its window, for the first stages; a rescored list has the window of its first stage.
    """
    measures = list(means[SYSTEMS[0]])
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for measure in measures:
        table.add_column(measure, justify="right")
    table.add_column(f"recall of the window ({window})", justify="right")
    best = {measure: max(round(means[system][measure], 3) for system in SYSTEMS) for measure in measures}
    for system in SYSTEMS:
        cells = [_figure(means[system][measure], best[measure]) for measure in measures]
        table.add_row(NAMES[system], *cells, f"{recall[FIRST_STAGE_OF.get(system, system)]:.3f}")
    return table


def times(latency_ms: Mapping[str, Mapping[str, float]]) -> Table:
    """p50 and p95 of each part of a rescored search."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("milliseconds")
    for percentile in ("p50", "p95"):
        table.add_column(percentile, justify="right")
    for part, values in latency_ms.items():
        table.add_row(part.replace("_", " "), *(f"{values[percentile]:.0f}" for percentile in ("p50", "p95")))
    return table


def said(system: str, gain: Difference) -> str:
    """One difference in words, with its interval and the queries behind it."""
    return (
        f"{NAMES[FIRST_STAGE_OF[system]]} → {NAMES[system]}: nDCG@10 {gain.mean:+.3f} "
        f"(95 % interval {gain.low:+.3f} … {gain.high:+.3f}); "
        f"{gain.better} queries better, {gain.worse} worse, {gain.same} the same"
    )


def _extreme(gain: float, if_gain: str, if_loss: str) -> str:
    return f"the {if_gain}" if gain > 0 else f"the {if_loss}" if gain < 0 else "no change"


def _figure(value: float, best: float) -> Text:
    is_best = round(value, 3) == best
    return Text(f"{value:.3f} {BEST}" if is_best else f"{value:.3f} {' ' * len(BEST)}", style="bold" if is_best else "")
