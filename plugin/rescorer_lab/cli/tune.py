"""``rescorer tune``: the settings that pay, out of one retrieval and one scoring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rescorer_lab import connect, report
from rescorer_lab.cli import asked
from rescorer_lab.cli.asked import CollectionName, Depth, Lanes, QrelsFile, Sample, ScorerName, TopicsFile
from rescorer_lab.cli.doctor import SIDECAR, EngineUrl, SidecarAddress
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation.asking import Index
from rescorer_lab.evaluation.story import LANES
from rescorer_lab.show import Show
from rescorer_lab.tuning import settings, story, tables, written
from rescorer_lab.tuning.story import Wishes


def tune(
    index: Annotated[str, typer.Argument(help="The index whose profile is tuned.")],
    collection: CollectionName = None,
    topics: TopicsFile = None,
    qrels: QrelsFile = None,
    first_stage: Annotated[
        str | None,
        typer.Option(
            help="bm25 (no vectors are asked for) or hybrid; default: hybrid if the profile has a form of it."
        ),
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model of the sidecar; two make cascades too.")] = None,
    within_ms: Annotated[float | None, typer.Option(min=0, help="What a search may take; default: any time.")] = None,
    sample: Sample = None,
    depth: Depth = 100,
    lanes: Lanes = LANES,
    out: Annotated[Path, typer.Option(help="Folder for pools, reports and the tuned template.")] = Path("tuning"),
    engine_url: EngineUrl = connect.HERE,
    sidecar: SidecarAddress = SIDECAR,
    scorer: ScorerName = None,
) -> None:
    """Find the settings that pay: window, weights, fusion, model, cascade, from one retrieval and one scoring.

    Settings are chosen on half of the topics and reported on the other half. Nothing is written to the engine: the
    tuned profile is shown as a difference and left as a template, to be applied after it was read.
    """
    report.check_writable(out / "report.json")
    judged, show = asked.judged(topics, qrels, collection, sample), Show(Console())
    with asked.searching(engine_url, sidecar, scorer, lanes) as found:
        read, judged = asked.opened(found, index, depth, judged)
        wishes = Wishes(
            first_stage=_first_stage(first_stage, read), models=tuple(model or ("",)), within_ms=within_ms, lanes=lanes
        )
        lists = "both lists" if wishes.has_vectors else "the BM25 list"
        asks = f"{lists} of {len(judged.topics):,} topics of {judged.name}, {depth} deep, and all their scores"
        with show.step(asks), show.progress("topics", len(judged.topics)) as advance:
            story.make_pools(found.client, read, wishes, judged, out, advance)
    told = story.told(out, wishes, judged, read)
    for thing in tables.tables(told):
        show.thing(thing)
    tuned = settings.in_profile(read.written, told.chosen.settings, depth)
    _tell_profile(show, out, read, (read.written, tuned))
    made = {"command": asked.command(), "index": index, "depth": depth}
    made |= {"versions": report.versions(), "machine": report.machine()}
    page = written.write_page(out / "report.html", told, f"{judged.name} in {index}", made)
    show.line(f"\n{report.write(out / 'report.json', written.described(told, made))}\n{page}")


def _first_stage(said: str | None, index: Index) -> str:
    has_vectors = index.form is not None
    if said is None:
        return "hybrid" if has_vectors else "bm25"
    if said not in ("bm25", "hybrid"):
        raise LabError(f"--first-stage {said!r} is none", "write bm25 or hybrid")
    if said == "hybrid" and not has_vectors:
        raise LabError(f"the profile of {index.name!r} names no vector field", "write --first-stage bm25")
    return said


def _tell_profile(show: Show, out: Path, index: Index, profiles: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    lines = written.difference(*profiles)
    if not lines:
        show.line("\nThe index's profile says all this already.")
        return
    path = written.write_template(out / "templates", profiles[1], index.engine)
    show.heading("What changes in the profile")
    for line in lines:
        show.line(line)
    show.line(f"\nwritten: {path.absolute()}")
    show.line(f"look at it beside the engine's, then apply it: rescorer templates diff --folder {out / 'templates'}")
