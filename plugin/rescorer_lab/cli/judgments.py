"""``rescorer judgments``: judgments out of what users clicked or a language model says, and how far judges agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from rescorer_lab.cli import judging
from rescorer_lab.cli.judging import Into
from rescorer_lab.errors import LabError

if TYPE_CHECKING:
    from rescorer_lab.inputs.clicks import Clicks

app = typer.Typer(
    help="Make judgments where nobody wrote any: out of clicks, or by a language model; compare judges.",
    no_args_is_help=True,
)

app.command(
    epilog="Example: rescorer judgments llm judged --topics topics.tsv --run bm25.run --index articles "
    "--endpoint http://localhost:8000/v1 --model my-model --against human.qrels"
)(judging.llm)
app.command(epilog="Example: rescorer judgments agreement human.qrels judged")(judging.agreement)


@app.command(
    epilog="Examples: rescorer judgments clicks judged --queries ubi_queries.ndjson --events ubi_events.ndjson, "
    "or: rescorer judgments clicks judged --table clicks.csv --model sdbn"
)
def clicks(
    into: Into,
    queries: Annotated[Path | None, typer.Option(help="ubi_queries of User Behavior Insights, a JSON a line.")] = None,
    events: Annotated[Path | None, typer.Option(help="ubi_events of User Behavior Insights, a JSON a line.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Instead: CSV, TSV or JSONL with answer, query, document, rank, clicked.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="The click model: pbm, or sdbn where a pair always has the same rank.")
    ] = "pbm",
    action: Annotated[list[str] | None, typer.Option(help="action_name that is a click; may be repeated.")] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Ranks of an answer that count; all if left out.")] = None,
    cuts: Annotated[str, typer.Option(help="Relevance from which on the grade is 1, 2, …")] = "0.05,0.2,0.5",
    least_looks: Annotated[float, typer.Option(min=0, help="How often a pair was looked at to be judged.")] = 5.0,
) -> None:
    """Turn a click log into graded judgments, and tell what the click model saw.

    The folder that is written is a collection: an evaluation reads it as it is.
    """
    from rescorer_lab import click_models, judgments

    if model not in click_models.MODELS:
        raise LabError(f"--model {model!r} is no click model", f"write {' or '.join(click_models.MODELS)}")
    bounds = _numbers(cuts)
    judgments.check_cuts(bounds)
    log = _log((queries, events, table), action, depth)
    estimate = click_models.MODELS[model](log)
    found = judgments.of_clicks(log, estimate, cuts=bounds, least_looks=least_looks)
    texts = {judgments.topic_id(query): query for query, _ in log.pairs}
    judgments.write(into, texts, found)
    console = Console(soft_wrap=True)
    answers = int(log.answer[-1]) + 1
    console.print(f"{answers:,} answers to {len(texts):,} queries, {int(log.clicked.sum()):,} clicks", highlight=False)
    console.print(_by_rank(estimate.examined.tolist()))
    for note in log.notes:
        console.print(f"left out: {note}", style="yellow", highlight=False)
    if model == "pbm" and (moved := click_models.moved_share(log)) < click_models.LEAST_MOVED:
        said = f"only {moved:.1%} of the pairs were seen at several ranks: pbm can't tell rank from relevance"
        console.print(f"{said}; take --model sdbn", style="yellow", highlight=False)
    typer.echo(f"{len(found):,} of {len(log.pairs):,} pairs judged: {judgments.counted(found, len(bounds))}")
    typer.secho(f"written: {into}", bold=True)


def _log(files: tuple[Path | None, Path | None, Path | None], action: list[str] | None, depth: int | None) -> Clicks:
    from rescorer_lab.inputs import clicks as logs

    queries, events, table = files
    if table is not None and queries is None and events is None:
        return logs.read_table(table, depth=depth)
    if table is not None or queries is None or events is None:
        raise LabError("one click log is needed", "name --queries and --events, or --table alone")
    return logs.read_ubi(queries, events, actions=tuple(action or logs.CLICK_ACTIONS), depth=depth)


def _numbers(said: str) -> list[float]:
    try:
        return [float(part) for part in said.split(",")]
    except ValueError as error:
        raise LabError(f"--cuts {said!r} are no numbers", "write 0.05,0.2,0.5") from error


def _by_rank(examined: list[float]) -> Table:
    first = examined[:10]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("rank")
    for rank in range(1, len(first) + 1):
        table.add_column(str(rank), justify="right")
    table.add_row("looked at", *(f"{part:.0%}" for part in first))
    return table
