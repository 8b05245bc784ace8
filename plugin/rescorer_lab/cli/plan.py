"""``rescorer plan``: what a search would do, without doing it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from rescorer.errors import InvalidSetting
from rescorer_lab import connect
from rescorer_lab.cli.doctor import SIDECAR, AsJson, EngineUrl, SidecarAddress
from rescorer_lab.errors import LabError

WOULD = {
    "rescore": "[green]would rescore[/green]",
    "skip": "[yellow]would skip[/yellow]",
    "fall_back": "[red]would fall back[/red] to the first stage",
    "pass_through": "[yellow]would pass through[/yellow] as it is",
}
PATIENCE_S = 4.0


def plan(
    index: Annotated[str, typer.Argument(help="An index, an alias or a pattern.")],
    query: Annotated[str | None, typer.Option(help="What a user asks: a search of all fields for it.")] = None,
    body: Annotated[str | None, typer.Option(help="A file with a search's JSON body; - reads standard input.")] = None,
    engine_url: EngineUrl = connect.HERE,
    sidecar: SidecarAddress = SIDECAR,
    as_json: AsJson = False,
) -> None:
    """Show what a search would do: window, fields, query text, where each setting stands, and what would be sent.

    Reads the index's mapping and asks nothing else: no search is made, and the sidecar need not run.
    """
    asked = _body(query, body)
    address = connect.Address(engine_url, "--engine-url")
    _check(sidecar)
    with connect.plain(address, PATIENCE_S) as client:
        engine = connect.detected(client)
    with connect.searching(address, engine, sidecar, PATIENCE_S) as client:
        told = client.rescorer.explain(index, asked)
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2, default=str))
    else:
        _show(Console(), told)


def _check(sidecar: str) -> None:
    from rescorer.scorers.channels import Target

    try:
        Target(address=sidecar)
    except InvalidSetting as error:
        mend = "write it as host:port, such as localhost:50051"
        raise LabError(f"--sidecar {error.value!r} is no address", mend) from error


def _body(query: str | None, body: str | None) -> Any:
    if (query is None) == (body is None):
        raise LabError("a search is needed, once", "say either --query TEXT or --body FILE")
    if body is None:
        return {"query": {"multi_match": {"query": query}}}
    try:
        said = sys.stdin.read() if body == "-" else Path(body).read_text(encoding="utf-8")
        found = json.loads(said)
    except OSError as error:
        raise LabError(
            f"--body {body} can't be read: {error.strerror}", "name a file, or - for standard input"
        ) from error
    except RecursionError as error:
        raise LabError(f"--body {body} is nested too deep", "no engine reads such a search") from error
    except ValueError as error:
        raise LabError(f"--body {body} is no JSON: {error}", "mend it") from error
    if not isinstance(found, dict):
        raise LabError(f"--body {body} is no search", 'it must be an object, such as {"query": …}')
    return found


def _show(console: Console, told: dict[str, Any]) -> None:
    reason = f": {told['reason']}" if told["reason"] else ""
    console.print(f"{WOULD[told['would']]}{escape(reason)}", highlight=False)
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for name, value in _facts(told):
        facts.add_row(name, escape(value))
    console.print(facts)
    if told["settings"]:
        console.print(_settings(told["settings"]))
    sent = {key: value for key, value in told["sent"].items() if key != "method"}
    console.print(f"sent to the engine, in {told['round_trips']} round trip, by {told['sent']['method']}:")
    console.print_json(json.dumps(sent, default=str))


def _facts(told: dict[str, Any]) -> list[tuple[str, str]]:
    """What is worth a line, each with its name."""
    found = [("why", told["detail"]), ("mend", told["mend"])]
    if told["query_text"]:
        found.append(("query text", f"{told['query_text']['value']!r}, from {told['query_text']['from']}"))
    elif told["query_texts_found"]:
        found.append(("query texts", ", ".join(map(repr, told["query_texts_found"]))))
    if told["page"]:
        found.append(("page", f"from {told['page']['from']}, size {told['page']['size']}"))
    found.append(("profile of", ", ".join(told["indices_with_profile"])))
    return [(name, value) for name, value in found if value]


def _settings(settings: dict[str, dict[str, Any]]) -> Table:
    table = Table(
        "setting",
        "value",
        Column("from", overflow="fold"),
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,  # 80 columns hold the longest path of a profile
        header_style="bold",
    )
    for name, said in settings.items():
        style = "dim" if said["from"] == "default" else None
        table.add_row(name, escape(_shown(said["value"])), escape(said["from"]), style=style)
    return table


def _shown(value: Any) -> str:
    if value in (None, "", []):
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
