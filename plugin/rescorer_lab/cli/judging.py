"""``rescorer judgments llm`` and ``agreement``: a language model as judge, and how far two judges agree."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rescorer_lab import connect, documents
from rescorer_lab.cli.doctor import EngineUrl
from rescorer_lab.errors import LabError
from rescorer_lab.show import Show

if TYPE_CHECKING:
    from rescorer_lab.agreement import Kappa
    from rescorer_lab.inputs import Qrels

KEY = "OPENAI_API_KEY"
SETTINGS = '{"temperature": 0}'

Into = Annotated[Path, typer.Argument(help="Folder to write queries.jsonl, qrels/test.tsv and judgments.jsonl into.")]
Asked = Annotated[str, typer.Option("--topics", help="What is asked: a file, a BEIR folder, or ir_datasets:NAME.")]
RunFiles = Annotated[list[Path], typer.Option("--run", help="A run whose first documents are judged; repeatable.")]
Door = Annotated[str, typer.Option("--endpoint", help="OpenAI-compatible, up to /v1.", envvar="OPENAI_BASE_URL")]
Model = Annotated[str, typer.Option("--model", help="The language model's name there.")]
Texts = Annotated[Path | None, typer.Option("--documents", help="Texts as JSONL, such as BEIR's corpus.jsonl.")]
Index = Annotated[str, typer.Option("--index", help="Instead of a file: the index that holds the documents.")]
Fields = Annotated[list[str] | None, typer.Option("--field", help="Read it; default: the fields of the profile.")]
Depth = Annotated[int, typer.Option(min=1, help="Documents of each topic and run that are judged.")]
Against = Annotated[str, typer.Option(help="Human judgments to show agreement with: a file, a folder, a name.")]
Sample = Annotated[int, typer.Option(min=1, help="Pairs of --against to ask about.")]
SettingsJson = Annotated[str, typer.Option("--settings", help="JSON that goes into each request.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Requests in flight.")]
KeptFile = Annotated[Path | None, typer.Option("--kept", help="Where answers are kept; default: INTO/answers.sqlite.")]


def llm(
    into: Into,
    topics: Asked,
    run: RunFiles,
    endpoint: Door,
    model: Model,
    texts: Texts = None,
    index: Index = "",
    field: Fields = None,
    engine_url: EngineUrl = connect.HERE,
    depth: Depth = 10,
    against: Against = "",
    sample: Sample = 200,
    settings: SettingsJson = SETTINGS,
    at_once: AtOnce = 8,
    kept: KeptFile = None,
) -> None:
    """Let a language model grade what runs return, 0 to 3, and show how far it agrees with humans.

    The endpoint's key stands in OPENAI_API_KEY. Each answer is kept as it comes: after Ctrl-C or a failure the same
    command asks the rest only.
    """
    from rescorer_lab import endpoint as endpoints
    from rescorer_lab import inputs, judge, judgments
    from rescorer_lab.inputs import runs

    key = os.environ.get(KEY, "")
    door = endpoints.Endpoint(url=endpoint, model=model, key=key, settings=_settings(settings), at_once=at_once)
    asked, human = inputs.read_topics(topics), inputs.read_qrels(against) if against else {}
    pool = judge.pool(asked, [runs.read(path) for path in run], depth)
    every = list(dict.fromkeys((*pool, *(judge.sampled(human, asked, sample) if human else ()))))
    found = _texts(texts, index, field, engine_url, {document for _, document in every})
    pairs, show = [pair for pair in every if pair[1] in found], Show(Console(stderr=True))
    prompts = [judge.prompt(asked[topic].text, found[document]) for topic, document in pairs]
    with endpoints.Kept(kept or into / "answers.sqlite") as answers, show.progress("pairs", len(pairs)) as advance:
        replies = endpoints.ask(door, prompts, answers, advance)
    read = judge.read(pairs, replies)
    made = judgments.of_grades(judge.as_qrels(read.grades, pool), model)
    judgments.write(into, {topic: entry.text for topic, entry in asked.items()}, made)
    typer.echo(f"{len(made):,} of {len(pool):,} pairs judged: {judgments.counted(made, judge.MOST_GRADE)}")
    spent = [sum(reply.prompt_tokens for reply in replies), sum(reply.completion_tokens for reply in replies)]
    typer.echo(f"tokens, kept answers counted: {spent[0]:,} read, {spent[1]:,} written")
    _warn("pairs have no text among the documents", [pair for pair in every if pair[1] not in found])
    cut = [pair for pair in pairs if judge.is_cut(found[pair[1]])]
    _warn(f"texts were cut after {judge.MOST_CHARACTERS:,} characters", cut)
    _warn("answers have no grade and judge nothing", [f"{pair} {why}" for pair, why in read.unread.items()])
    if against:
        _show_agreement(human, judge.as_qrels(read.grades, pairs))
    typer.secho(f"written: {into}", bold=True)


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


def _texts(path: Path | None, index: str, fields: list[str] | None, url: str, wanted: set[str]) -> dict[str, str]:
    """The documents' texts out of the file or the index. LabError where neither or both are named, or none is there."""
    if (path is None) is not bool(index):
        raise LabError("the documents' texts are needed, once", "name --documents, or --index")
    where = str(path or index)
    found = documents.of_file(path, wanted) if path is not None else _of_index(index, fields, url, wanted)
    if not found:
        said = f"{where} holds none of the {len(wanted):,} documents that are to be judged"
        raise LabError(said, "name the documents that the runs return")
    return found


def _of_index(index: str, fields: list[str] | None, url: str, wanted: set[str]) -> dict[str, str]:
    from rescorer import config
    from rescorer_lab.evaluation import asking

    with connect.plain(connect.Address(url, "--engine-url")) as client:
        said = fields or asking.read(client, index, connect.detected(client), 1).said.get("document_fields")
        if not said:
            raise LabError(f"the profile of {index!r} says no fields to read", "name them: --field body")
        read = config.document_fields(said, "--field")
        return documents.of_index(lambda body: client.search(index=index, body=body), wanted, read)


def _warn(what: str, which: Sequence[object]) -> None:
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
