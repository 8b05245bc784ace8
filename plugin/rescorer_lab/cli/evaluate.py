"""``rescorer evaluate``: systems side by side on judged topics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rescorer_lab import connect, report
from rescorer_lab.cli import asked, contexts
from rescorer_lab.cli.asked import CollectionName, Depth, Lanes, QrelsFile, Sample, ScorerName, TopicsFile
from rescorer_lab.cli.contexts import AnswersFile, ContextFields, ContextHits, JudgeEndpoint, JudgeModel, Tokenizer
from rescorer_lab.cli.doctor import SIDECAR, EngineUrl, SidecarAddress
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import page, story, summary, systems, tables, terms
from rescorer_lab.evaluation.asking import Index
from rescorer_lab.evaluation.story import LANES, MEASURES, Told, Wishes
from rescorer_lab.inputs import Judged
from rescorer_lab.show import Show

OUT = Path("evaluation")

SystemNames = Annotated[
    list[str] | None,
    typer.Option(help="bm25, knn, hybrid or @search.json, +rescore:KEY=VALUE,…; default: all that there are"),
]
OutFolder = Annotated[Path, typer.Option(help="Folder for answers, runs, report.json and report.html.")]


def evaluate(
    index: Annotated[str, typer.Argument(help="The index that is asked.")],
    collection: CollectionName = None,
    topics: TopicsFile = None,
    qrels: QrelsFile = None,
    system: SystemNames = None,
    run: Annotated[list[str] | None, typer.Option(help="NAME=FILE, a run that was made elsewhere.")] = None,
    measure: Annotated[list[str] | None, typer.Option(help=f"The first decides; default: {' '.join(MEASURES)}")] = None,
    slice_by: Annotated[list[str] | None, typer.Option("--slice", help="A column of the topics to slice by.")] = None,
    sample: Sample = None,
    depth: Depth = 100,
    lanes: Lanes = LANES,
    out: OutFolder = OUT,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Of the sidecar's machine, in any money.")] = None,
    answers: AnswersFile = None,
    context_hits: ContextHits = 5,
    context_field: ContextFields = None,
    tokenizer: Tokenizer = None,
    endpoint: JudgeEndpoint = "",
    judge_model: JudgeModel = "",
    engine_url: EngineUrl = connect.HERE,
    sidecar: SidecarAddress = SIDECAR,
    scorer: ScorerName = None,
) -> None:
    """Prove what rescoring does, on your index and your judgments: quality, significance, failures, slices, cost.

    Interrupted, it goes on where it was when it is called again. Nothing is written to the index.
    """
    wishes = Wishes(
        systems=systems.read_all(system or ()),
        runs=dict(map(asked.run_file, run or ())),
        measures=tuple(measure or MEASURES),
        lanes=lanes,
        slices=tuple(slice_by or ()),
        price=price_per_hour,
    )
    beside = contexts.wanted(answers, context_hits, context_field, tokenizer, endpoint, judge_model)
    report.check_writable(out / "report.json")
    judged, show = asked.judged(topics, qrels, collection, sample), Show(Console())
    _check_columns(judged.topics.values(), wishes.slices)
    with asked.searching(engine_url, sidecar, scorer, lanes) as found:
        read, judged = asked.opened(found, index, depth, judged)
        wishes = wishes if wishes.names else replace(wishes, systems=_usual(read))
        asks = f"{len(judged.topics):,} topics of {judged.name}, {len(wishes.systems)} systems, {lanes} at a time"
        with show.step(asks), show.progress("topics", len(judged.topics)) as advance:
            took_s = story.ask_all(found.client, read, wishes, judged, out, advance)
        lists, judged = story.answers(out, wishes, judged, depth), terms.marked(found.client, read, judged)
        sliced = replace(wishes, slices=(terms.COLUMN, *wishes.slices))
        told = beside.added(story.told(out, sliced, judged, depth), lists, judged.topics, found.client, read, out)
    for thing in tables.tables(told, price_per_hour):
        show.thing(thing)
    made = {"command": asked.command(), "index": index, "depth": depth, "lanes": lanes, "took_s": round(took_s, 1)}
    for path in _written(out, told, judged, wishes, made):
        show.line(str(path))


def _written(out: Path, told: Told, judged: Judged, wishes: Wishes, made: dict[str, Any]) -> tuple[Path, Path]:
    """The report and the page; the runs beside them."""
    made |= {"versions": report.versions(), "machine": report.machine()}
    summary.write_runs(out, wishes, judged)
    written = report.write(out / "report.json", summary.described(told, judged, wishes, made))
    title = f"{judged.name} in {made['index']}"
    return written, page.write(out / "report.html", told, title=title, made=made, price=wishes.price)


def _usual(index: Index) -> tuple[systems.System, ...]:
    """What is asked where nothing is named: both first stages that there are, each with and without rescoring."""
    first_stages = ["bm25"] if index.form is None else ["bm25", "hybrid"]
    return systems.read_all([f"{one}{rescored}" for one in first_stages for rescored in ("", "+rescore")])


def _check_columns(topics: Any, columns: tuple[str, ...]) -> None:
    known = sorted({name for topic in topics for name in topic.columns})
    for column in columns:
        if column not in known:
            have = f"they have {', '.join(known)}" if known else "they have none"
            raise LabError(f"--slice {column!r} is no column of the topics", have)
