"""``rescorer judgments``: judgments out of what users clicked or a language model says, and how far judges agree."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from rescorer_lab.errors import LabError

if TYPE_CHECKING:
    from rescorer_lab.agreement import Kappa
    from rescorer_lab.inputs import Qrels
    from rescorer_lab.inputs.clicks import Clicks
    from rescorer_lab.judgments import Judgment

app = typer.Typer(
    help="Make judgments where nobody wrote any: out of clicks, or by a language model; compare judges.",
    no_args_is_help=True,
)

Into = Annotated[Path, typer.Argument(help="Folder to write queries.jsonl, qrels/test.tsv and judgments.jsonl into.")]


@app.command(
    epilog="Examples: rescorer judgments clicks judged --queries ubi_queries.ndjson --events ubi_events.ndjson, "
    "or: rescorer judgments clicks judged --table clicks.csv --model sdbn"
)
def clicks(  # each is an option of the command line
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
    typer.echo(f"{len(found):,} of {len(log.pairs):,} pairs judged: {_graded(found, len(bounds))}")
    typer.secho(f"written: {into}", bold=True)


@app.command(
    epilog="Example: rescorer judgments llm judged --topics topics.tsv --run bm25.run --documents corpus.jsonl "
    "--endpoint http://localhost:8000/v1 --model my-model --against human.qrels"
)
def llm(
    into: Into,
    topics: Annotated[str, typer.Option(help="What is asked: a file, a BEIR folder, or ir_datasets:NAME.")],
    run: Annotated[list[Path], typer.Option(help="A run whose first documents are judged; may be repeated.")],
    documents: Annotated[
        Path, typer.Option(help="Texts as JSONL with an id, a title and a text, such as corpus.jsonl.")
    ],
    endpoint: Annotated[str, typer.Option(help="An OpenAI-compatible endpoint, up to /v1.", envvar="OPENAI_BASE_URL")],
    model: Annotated[str, typer.Option(help="The model's name there.")],
    depth: Annotated[int, typer.Option(min=1, help="Documents of each topic and run that are judged.")] = 10,
    against: Annotated[str, typer.Option(help="Human judgments to show agreement with: file, folder, name.")] = "",
    sample: Annotated[int, typer.Option(min=1, help="Pairs of --against to ask about.")] = 200,
    settings: Annotated[str, typer.Option(help="JSON that goes into each request.")] = '{"temperature": 0}',
    key_variable: Annotated[str, typer.Option(help="The variable that holds the endpoint's key.")] = "OPENAI_API_KEY",
    at_once: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    kept: Annotated[Path | None, typer.Option(help="Where answers are kept; INTO/answers.sqlite if left out.")] = None,
) -> None:
    """Let a language model grade what runs return, 0 to 3, and show how far it agrees with humans.

    Each answer is kept as it comes: after Ctrl-C or a failure the same command asks the rest only.
    """
    from rescorer_lab import endpoint as endpoints
    from rescorer_lab import inputs, judge, judgments
    from rescorer_lab.inputs import runs

    asked = inputs.read_topics(topics)
    pairs = judge.pool(asked, [runs.read(path) for path in run], depth)
    human = inputs.read_qrels(against) if against else {}
    checked = judge.sampled(human, asked, sample)
    texts = judge.texts(documents, {document for _, document in (*pairs, *checked)})
    every = [pair for pair in dict.fromkeys((*pairs, *checked)) if pair[1] in texts]
    key = os.environ.get(key_variable, "")
    door = endpoints.Endpoint(url=endpoint, model=model, key=key, settings=_settings(settings), at_once=at_once)
    prompts = [judge.prompt(asked[topic].text, texts[document]) for topic, document in every]
    with endpoints.Kept(kept or into / "answers.sqlite") as answers, _progress("pairs judged", len(every)) as tell:
        replies = endpoints.ask(door, prompts, answers, tell)
    read = judge.read(every, replies)
    found = judgments.of_grades(judge.as_qrels(read.grades, pairs), model)
    judgments.write(into, {topic: entry.text for topic, entry in asked.items()}, found)
    typer.echo(f"{len(found):,} of {len(pairs):,} pairs judged: {_graded(found, judge.MOST_GRADE)}")
    spent = [sum(reply.prompt_tokens for reply in replies), sum(reply.completion_tokens for reply in replies)]
    typer.echo(f"tokens, kept answers counted: {spent[0]:,} read, {spent[1]:,} written")
    _warn(
        ("pairs have no text among the documents", [pair for pair in pairs if pair[1] not in texts]),
        (
            f"texts were cut after {judge.MOST_CHARACTERS:,} characters",
            [pair for pair in every if judge.is_cut(texts[pair[1]])],
        ),
        ("answers have no grade and judge nothing", [f"{pair} {why}" for pair, why in read.unread.items()]),
    )
    if against:
        _show_agreement(human, judge.as_qrels(read.grades, every))
    typer.secho(f"written: {into}", bold=True)


@app.command(epilog="Example: rescorer judgments agreement human.qrels judged")
def agreement(
    human: Annotated[str, typer.Argument(help="Judgments by humans: a file, a folder, or ir_datasets:NAME.")],
    other: Annotated[str, typer.Argument(help="Judgments to compare with them.")],
) -> None:
    """Show how far two judges agree on the pairs that both judged: Cohen's kappa, with intervals, and a table."""
    from rescorer_lab import inputs

    _show_agreement(inputs.read_qrels(human), inputs.read_qrels(other))


def _show_agreement(human: Qrels, other: Qrels) -> None:
    from rescorer_lab import agreement as rooms

    found = rooms.agreement(human, other)
    typer.secho(f"agreement on {found.pairs:,} pairs that both judged", bold=True)
    typer.echo(f"  same grade {found.same:.1%}; kappa of grades, by squared difference, {_kappa(found.graded)}")
    for grade, kappa in found.relevant.items():
        typer.echo(f"  kappa of relevant or not, from grade {grade} on, {_kappa(kappa)}")
    grades = sorted({grade for _, grade in found.table})
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("human \\ other")
    for grade in grades:
        table.add_column(str(grade), justify="right")
    for row in sorted({grade for grade, _ in found.table}):
        table.add_row(str(row), *(str(found.table.get((row, grade), 0)) for grade in grades))
    Console().print(table)


def _kappa(kappa: Kappa) -> str:
    if kappa.value is None:
        return "is not defined: a judge gives all pairs the same"
    return f"{kappa.value:.2f} (95 % interval {kappa.low:.2f} … {kappa.high:.2f})"


def _graded(found: Sequence[Judgment], most: int) -> str:
    grades = Counter(one.grade for one in found)
    return ", ".join(f"{grades[grade]:,} with grade {grade}" for grade in range(most + 1))


def _warn(*told: tuple[str, Sequence[object]]) -> None:
    for what, which in told:
        if which:
            typer.secho(f"{len(which):,} {what}, such as {which[0]}", fg="yellow")


def _settings(said: str) -> dict[str, Any]:
    try:
        found = json.loads(said)
    except ValueError as error:
        raise LabError(f"--settings is no JSON: {error}", """write '{"temperature": 0}'""") from error
    if not isinstance(found, dict):
        raise LabError(f"--settings {said} is no object", """write '{"temperature": 0}'""")
    return found


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error; calling what is yielded moves it by one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


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
