"""``rescorer templates``: what a search engineer does with the JSON files, against a live engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.text import Text

from rescorer import profile, templates
from rescorer.domain import Engine
from rescorer.errors import InvalidProfile, RescorerError
from rescorer_lab import connect
from rescorer_lab.connect import HERE
from rescorer_lab.errors import LabError

app = typer.Typer(help="Index templates and search pipelines: look, compare, apply.", no_args_is_help=True)

Url = Annotated[str, typer.Option(envvar="RESCORER_ENGINE_URL", help="Where the engine answers.")]
Folder = Annotated[Path | None, typer.Option(help="Your own copy of the files; default: the ones that come along.")]
Shipped = Annotated[Engine, typer.Option(help="Whose files, where no --folder is named.")]
Asked = Annotated[Engine | None, typer.Option(help="What answers there; default: what the node says it is.")]


@app.command("list", epilog="Example: rescorer templates list")
def list_(folder: Folder = None, engine: Shipped = "opensearch") -> None:
    """List the files: kind, name, what it is for."""
    for template in _files(folder, engine):
        about = template.body.get("description") or template.body.get("_meta", {}).get("description", "")
        typer.secho(f"{template.kind} {template.name}", bold=True)
        typer.echo(f"  {about}")


@app.command(epilog="Example: rescorer templates show rescorer-profile")
def show(
    name: Annotated[str, typer.Argument(help="As `list` names it.")],
    folder: Folder = None,
    engine: Shipped = "opensearch",
) -> None:
    """Print one file, and the curl line that sends it."""
    found = _files(folder, engine)
    for template in found:
        if template.name == name:
            typer.echo(json.dumps(template.body, indent=2, ensure_ascii=False))
            header = "-H 'Content-Type: application/json'"
            typer.echo(f"# curl -X PUT {HERE}{template.endpoint} {header} -d @{template.source}", err=True)
            return
    raise LabError(f"no template is called {name}", f"known: {', '.join(template.name for template in found)}")


@app.command(epilog="Example: rescorer templates export ./my-templates --engine elasticsearch")
def export(
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")], engine: Shipped = "opensearch"
) -> None:
    """Copy the files that come along into a folder, to edit them there."""
    if target.exists():
        raise LabError(f"{target} exists already", "name a folder that does not")
    try:
        for template in templates.shipped(engine):
            path = target / template.source
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((templates.shipped_folder(engine) / template.source).read_bytes())
    except OSError as error:
        raise LabError(f"{target} can't be written: {error.strerror}", "name another folder") from error
    typer.echo(f"written; edit, then run: rescorer templates apply --folder {target}")


@app.command(epilog="Example: rescorer templates diff --url http://localhost:9200")
def diff(url: Url = HERE, folder: Folder = None, engine: Asked = None) -> None:
    """Say what `apply` would change, and change nothing."""
    with _meant(url, folder, engine) as (client, found, _):
        differences = templates.diff(client, found)
    _show(differences)
    typer.echo(f"{len(differences)} of {len(found)} would change" if differences else "nothing to change")


@app.command(epilog="Example: rescorer templates apply --folder ./my-templates")
def apply(url: Url = HERE, folder: Folder = None, engine: Asked = None) -> None:
    """Send what differs; nothing at all if a profile is wrong."""
    with _meant(url, folder, engine) as (client, found, there):
        differences = templates.apply(client, found, there)
    _show(differences)
    typer.echo(f"{len(differences)} of {len(found)} changed" if differences else "nothing to change")


@app.command(epilog="Example: rescorer templates check rescorer-articles")
def check(
    index: Annotated[str | None, typer.Argument(help="A live index; without one, the files are checked.")] = None,
    url: Url = HERE,
    folder: Folder = None,
    engine: Asked = None,
) -> None:
    """Check the profile of a live index, or of the files: keys, types, fields. The exit code is 1 if any is wrong."""
    if index is None:
        _judge(templates.check(_files(folder, engine or "opensearch"), engine))
        typer.echo("the files are in order")
        return
    wrong: list[InvalidProfile] = []
    with connect.plain(connect.Address(url)) as client:
        there = engine or connect.detected(client)
        answer = client.transport.perform_request("GET", f"/{quote(index, safe=',*')}/_mapping")
        for name, body in answer.items():
            wrong += _checked(client, there, name, body.get("mappings", {}))
    if not answer:
        raise LabError(f"no index is called {index}", "look: GET /_cat/indices")
    _judge(wrong)


def _checked(client: Any, engine: Engine, name: str, mappings: dict[str, Any]) -> list[InvalidProfile]:
    """What is wrong with one index's profile; says it where nothing is."""
    meta = mappings.get("_meta", {}).get("rescorer")
    if meta is None:
        typer.echo(f"{name}: no profile ({profile.PATH} is not set)")
        return []
    path = f"{name}: {profile.PATH}"
    try:
        found = profile.read(meta, path)
    except InvalidProfile as error:
        return [error]
    wrong = profile.check_fields(found, mappings, path)
    pipeline = found.hybrid.search_pipeline if found.hybrid else ""
    if pipeline and engine == "elasticsearch":
        wrong.append(InvalidProfile(f"{path}.hybrid.search_pipeline", pipeline, templates.NO_PIPELINES))
    elif pipeline and not templates.has_pipeline(client, pipeline):
        mend = "is no search pipeline of this engine; send it: rescorer templates apply"
        wrong.append(InvalidProfile(f"{path}.hybrid.search_pipeline", pipeline, mend))
    if not wrong:
        typer.echo(f"{name}: the profile is in order")
    return wrong


@app.command(epilog="Example: rescorer templates schema > profile.schema.json")
def schema() -> None:
    """Print the JSON Schema of `mappings._meta.rescorer`, for editors."""
    typer.echo(json.dumps(profile.schema(), indent=2))


def _files(folder: Path | None, engine: Engine) -> list[templates.Template]:
    return templates.shipped(engine) if folder is None else templates.read(folder)


@contextmanager
def _meant(
    url: str, folder: Path | None, engine: Engine | None
) -> Iterator[tuple[Any, list[templates.Template], Engine]]:
    """A client, the files for what answers there, and what that is. Files that are wrong anywhere never get so far."""
    if folder is not None:
        _refuse(templates.check(templates.read(folder), engine))
    with connect.plain(connect.Address(url)) as client:
        there = engine or connect.detected(client)
        found = _files(folder, there)
        _refuse(templates.check(found, there))
        yield client, found, there


def _judge(wrong: Sequence[RescorerError]) -> None:
    _tell(wrong)
    if wrong:
        raise typer.Exit(1)


def _refuse(wrong: Sequence[RescorerError]) -> None:
    _tell(wrong[1:])
    if wrong:
        raise wrong[0]


def _tell(wrong: Sequence[RescorerError]) -> None:
    for error in wrong:
        typer.echo(f"error {error}", err=True)


def _show(differences: list[templates.Difference]) -> None:
    console = Console(soft_wrap=True)
    for difference in differences:
        template = difference.template
        console.print(
            Text(f"{'new' if difference.is_new else 'changed'} {template.kind} {template.name}", style="bold")
        )
        for change in difference.changes if not difference.is_new else ():
            if change.have is not None:
                console.print(Text(f"  - {change.path}: {change.have}", style="red"))
            if change.want is not None:
                console.print(Text(f"  + {change.path}: {change.want}", style="green"))
