"""``rescorer calibrate``: a curve from a model's logits to probabilities, and whether it deserves the name."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from rescorer_lab import calibrate as fitting
from rescorer_lab import reliability, report
from rescorer_lab.calibrate import Figures, Fitted
from rescorer_lab.cli import asked
from rescorer_lab.inputs import qrels as judgments
from rescorer_lab.inputs import runs
from rescorer_lab.show import Show

SIGMOID, CALIBRATED = "sigmoid of the logit", "calibrated"


def calibrate(
    run: Annotated[Path, typer.Argument(help="A TREC run whose scores are the model's logits.")],
    qrels: Annotated[Path, typer.Option(help="TREC, BEIR's TSV, JSONL or CSV, also .gz.")],
    model: Annotated[str, typer.Option(help="The model that scored, as the sidecar lists it.")] = "",
    method: Annotated[
        fitting.Method, typer.Option(help="best takes the one that does better inside the fitted half.")
    ] = "best",
    relevant: Annotated[int, typer.Option(help="The least grade that counts as relevant.")] = 1,
    depth: Annotated[
        int, typer.Option(min=1, help="Documents of a topic that are read: the window, not the tail.")
    ] = 100,
    unjudged: Annotated[
        Literal["leave-out", "not-relevant"],
        typer.Option(help="not-relevant where only relevant documents were judged."),
    ] = "leave-out",
    out: Annotated[Path, typer.Option(help="Folder for calibration.json and reliability.svg.")] = Path("calibration"),
) -> None:
    """Fit a curve to judgments, so that scores mean the same for every query and min_score can be chosen by it.

    Half of the topics are fitted, the other half says how well the curve holds. Only where it holds there are the
    scores called probabilities.
    """
    report.check_writable(out / "calibration.json")
    judged = fitting.pairs(
        runs.read(run), judgments.read(qrels), relevant, depth, unjudged_count=unjudged == "not-relevant"
    )
    found = fitting.fitted(judged, method, model)
    show = Show(Console())
    _print(show, found)
    drawn = {CALIBRATED: found.calibrated, SIGMOID: found.sigmoid}
    plot = reliability.write(out / "reliability.svg", drawn, f"held-out half: {found.calibrated.pairs:,} pairs")
    curve = fitting.profile(found.curve)
    told = {**curve, **{key: value for key, value in asdict(found).items() if key != "curve"}}
    written = report.write(out / "calibration.json", {**told, "made": {"command": asked.command()}})
    show.line(f"\n{written}\n{plot}\n\nfor the profile or the request:\n{json.dumps(curve)}")


def _print(show: Show, found: Fitted) -> None:
    table = Table("held-out half", "Brier", "skill", "calibration error (95 %)", "worst bin", box=None)
    for name, entry in ((SIGMOID, found.sigmoid), (CALIBRATED, found.calibrated)):
        table.add_row(name, *_row(entry))
    show.thing(table)
    bins = Table("score", "pairs", "says", "is relevant (95 %)", box=None)
    for place, cell in enumerate(found.calibrated.bins):
        if cell is not None:
            between = f"{place / fitting.BINS:.1f} … {(place + 1) / fitting.BINS:.1f}"
            relevant = f"{cell.found:.3f} ({cell.low:.3f} … {cell.high:.3f})"
            bins.add_row(between, f"{cell.pairs:,}", f"{cell.said:.3f}", relevant)
    show.thing(bins)
    cuts = Table("min_score", "hits kept a topic", "of them relevant", "of all relevant", box=None)
    for cut in found.cuts:
        precision = "–" if cut.precision is None else f"{cut.precision:.1%}"
        cuts.add_row(f"{cut.min_score:.1f}", f"{cut.kept_a_topic:.1f}", precision, f"{cut.recall:.1%}")
    show.thing(cuts)
    show.line(f"\nfitted to {found.fitted_pairs:,} pairs; {found.unjudged:,} pairs that nobody judged")
    show.line(_verdict(found))


def _row(entry: Figures) -> list[Any]:
    error = f"{entry.error:.3f} ({entry.error_low:.3f} … {entry.error_high:.3f})"
    return [f"{entry.brier:.4f}", f"{entry.skill:+.1%}", error, f"{entry.off:.3f}"]


def _verdict(found: Fitted) -> str:
    if not found.doubts:
        return "the held-out half bears it out: these scores are probabilities"
    return f"these scores are no probabilities: {'; '.join(found.doubts)}"
