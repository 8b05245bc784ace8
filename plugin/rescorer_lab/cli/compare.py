"""``rescorer compare``: two systems, topic by topic, and whether the second may take the place of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from rescorer_lab import connect, report, side_by_side
from rescorer_lab.cli import asked
from rescorer_lab.cli.asked import CollectionName, Depth, Lanes, QrelsFile, Sample, ScorerName, TopicsFile
from rescorer_lab.cli.doctor import SIDECAR, EngineUrl, SidecarAddress
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import movers, overlap, page, significance, story, summary, systems, tables
from rescorer_lab.evaluation.movers import Budget, Mover
from rescorer_lab.evaluation.story import LANES, MEASURES, Told, Wishes
from rescorer_lab.inputs import Judged, runs
from rescorer_lab.show import Show


def compare(
    before: Annotated[str, typer.Argument(help="A system, such as bm25, or the file of a TREC run.")],
    after: Annotated[str, typer.Argument(help="A system, such as bm25+rescore, or the file of a TREC run.")],
    index: Annotated[str | None, typer.Option(help="The index that is asked; two runs need none.")] = None,
    collection: CollectionName = None,
    topics: TopicsFile = None,
    qrels: QrelsFile = None,
    measure: Annotated[str, typer.Option(help="What a topic gains or loses in.")] = MEASURES[0],
    lose_over: Annotated[float, typer.Option(help="A topic that loses more counts as a regression.")] = 0.1,
    at_most: Annotated[float | None, typer.Option(help="Percentage of regressions; with more, exit code 1.")] = None,
    show_movers: Annotated[
        int, typer.Option("--movers", min=0, help="So many of the largest gains, and of the largest losses.")
    ] = 2,
    sample: Sample = None,
    depth: Depth = 100,
    lanes: Lanes = LANES,
    out: Annotated[Path, typer.Option(help="Folder for answers, report.json and report.html.")] = Path("comparison"),
    engine_url: EngineUrl = connect.HERE,
    sidecar: SidecarAddress = SIDECAR,
    scorer: ScorerName = None,
) -> None:
    """Compare two systems query by query: wins, losses, biggest movers side by side, and a budget for regressions.

    The exit code is 1 where more topics lose than --at-most allows, so that a pipeline can refuse a change.
    """
    budget, wishes = Budget(loss=lose_over, percent=at_most), _wishes((before, after), measure, lanes, index)
    report.check_writable(out / "report.json")
    judged, show = asked.judged(topics, qrels, collection, sample), Show(Console())
    if index is None:
        told = story.told(out, wishes, judged, depth)
        overlap.in_runs(wishes.runs, judged)
        found = _movers(told, wishes, judged, out, (depth, show_movers))
    else:
        with asked.searching(engine_url, sidecar, scorer, lanes) as engine:
            read, judged = asked.opened(engine, index, depth, judged)
            with show.progress("topics", len(judged.topics)) as advance:
                story.ask_all(engine.client, read, wishes, judged, out, advance)
            told = story.told(out, wishes, judged, depth)
            found = _movers(told, wishes, judged, out, (depth, show_movers))
            titles = movers.titles(engine.client, read, movers.shown(found))
            found = [replace(mover, lists=replace(mover.lists, titles=titles)) for mover in found]
    gains = _gains(told)
    said = _said(told, budget, gains)
    _print(show, told, found, said)
    made = {"command": asked.command(), "index": index, "depth": depth, "machine": report.machine()}
    lost = {"over": budget.loss, "topics": budget.lost(gains), "at_most_percent": budget.percent}
    described = summary.described(told, judged, wishes, made) | {"gains": gains, "regressions": lost}
    written = report.write(out / "report.json", described)
    show.line(f"\n{written}\n{page.compared(out / 'report.html', told, found, made=made, says=said)}")
    if not budget.is_kept(gains):
        raise typer.Exit(1)


def _wishes(sides: tuple[str, str], measure: str, lanes: int, index: str | None) -> Wishes:
    if sides[0] == sides[1]:
        raise LabError(f"both sides are {sides[0]!r}", "name two systems or runs that differ")
    files = {side: runs.read(Path(side)) for side in sides if Path(side).is_file()}
    found = systems.read_all([side for side in sides if side not in files])
    names = [side if side in files else systems.read(side).name for side in sides]
    if found and index is None:
        raise LabError(f"system {found[0].name!r} needs an index", "name it with --index")
    return Wishes(systems=found, runs=files, measures=(measure,), lanes=lanes, order=tuple(names))


def _movers(told: Told, wishes: Wishes, judged: Judged, out: Path, sizes: tuple[int, int]) -> list[Mover]:
    gains, (depth, count) = _gains(told), sizes
    (entry,) = told.comparisons
    answers = story.answers(out, wishes, judged, depth)
    return movers.movers(gains, movers.biggest(gains, count), judged, answers, (entry.before, entry.after))


def _gains(told: Told) -> dict[str, float]:
    (entry,) = told.comparisons
    return significance.gains(*(told.measured[name].of(entry.measure) for name in (entry.before, entry.after)))


def _said(told: Told, budget: Budget, gains: Mapping[str, float]) -> str:
    """The verdict in two sentences."""
    (entry,) = told.comparisons
    of, lost = entry.difference, len(budget.lost(gains))
    allowed = "" if budget.percent is None else f"; allowed are {budget.percent:g} %"
    return (
        f"{entry.measure} {of.mean:+.3f} (95 % interval {of.low:+.3f} … {of.high:+.3f}, p {entry.p:.3f}): "
        f"{of.better} topics gain, {of.worse} lose, {of.same} stay. "
        f"{lost} of {len(gains)} lose over {budget.loss:g} ({lost / len(gains):.1%}{allowed})."
    )


def _print(show: Show, told: Told, found: Sequence[Mover], said: str) -> None:
    for thing in tables.tables(told, None):
        show.thing(thing)
    for mover in found:
        lists: Any = side_by_side.table(mover.lists)
        lists.title = Text.assemble((f"“{mover.topic.text}”", "bold"), f"\n{mover.gain:+.3f}")
        show.thing(lists)
    show.line(f"\n{said}")
