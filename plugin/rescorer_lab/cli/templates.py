"""``rescorer templates``: what a search engineer does with the JSON files, against a live engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from rescorer import profile, templates
from rescorer.errors import MissingExtra
from rescorer_lab.errors import EngineError, LabError

app = typer.Typer(help="Index templates and search pipelines: look, compare, apply.", no_args_is_help=True)

Url = Annotated[str, typer.Option(envvar="RESCORER_ENGINE_URL", help="Where the engine answers.")]
Folder = Annotated[Path | None, typer.Option(help="Your own copy of the files; default: the ones that come along.")]
HERE = "http://localhost:9200"


@app.command("list", epilog="Example: rescorer templates list")
def list_(folder: Folder = None) -> None:
    """List the files: kind, name, what it is for."""
    for template in _files(folder):
        about = template.body.get("description") or template.body.get("_meta", {}).get("description", "")
        typer.secho(f"{template.kind} {template.name}", bold=True)
        typer.echo(f"  {about}")


@app.command(epilog="Example: rescorer templates show rescorer-profile")
def show(name: Annotated[str, typer.Argument(help="As `list` names it.")], folder: Folder = None) -> None:
    """Print one file, and the curl line that sends it."""
    found = _files(folder)
    for template in found:
        if template.name == name:
            typer.echo(json.dumps(template.body, indent=2))
            header = "-H 'Content-Type: application/json'"
            typer.echo(f"# curl -X PUT {HERE}{template.endpoint} {header} -d @{template.source}", err=True)
            return
    raise LabError(f"no template is called {name}", f"known: {', '.join(template.name for template in found)}")


@app.command(epilog="Example: rescorer templates export ./my-templates")
def export(target: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")]) -> None:
    """Copy the files that come along into a folder, to edit them there."""
    if target.exists():
        raise LabError(f"{target} exists already", "name a folder that does not")
    for template in templates.shipped():
        path = target / template.source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(template.body, indent=2) + "\n")
    typer.echo(f"written; edit, then run: rescorer templates apply --folder {target}")


@app.command(epilog="Example: rescorer templates diff --url http://localhost:9200")
def diff(url: Url = HERE, folder: Folder = None) -> None:
    """Say what `apply` would change, and change nothing."""
    found = _files(folder)
    _refuse_wrong(found)
    with _engine(url) as client:
        differences = templates.diff(client, found)
    _show(differences)
    typer.echo(f"{len(differences)} of {len(found)} would change" if differences else "nothing to change")


@app.command(epilog="Example: rescorer templates apply --folder ./my-templates")
def apply(url: Url = HERE, folder: Folder = None) -> None:
    """Send what differs; nothing at all if a profile is wrong."""
    found = _files(folder)
    _refuse_wrong(found)
    with _engine(url) as client:
        differences = templates.apply(client, found)
    _show(differences)
    typer.echo(f"{len(differences)} of {len(found)} changed" if differences else "nothing to change")


@app.command(epilog="Example: rescorer templates check rescorer-articles")
def check(
    index: Annotated[str | None, typer.Argument(help="A live index; without one, the files are checked.")] = None,
    url: Url = HERE,
    folder: Folder = None,
) -> None:
    """Check the profile of a live index, or of the files: keys, types, fields."""
    if index is None:
        _refuse_wrong(_files(folder))
        typer.echo("the files are in order")
        return
    with _engine(url) as client:
        answer = client.transport.perform_request("GET", f"/{index}/_mapping")
    for name, body in answer.items():
        mappings = body.get("mappings", {})
        meta = mappings.get("_meta", {}).get("rescorer")
        if meta is None:
            typer.echo(f"{name}: no profile ({profile.PATH} is not set)")
            continue
        path = f"{name}: {profile.PATH}"
        _refuse(profile.check_fields(profile.read(meta, path), mappings, path))
        typer.echo(f"{name}: the profile is in order")


@app.command(epilog="Example: rescorer templates schema > profile.schema.json")
def schema() -> None:
    """Print the JSON Schema of `mappings._meta.rescorer`, for editors."""
    typer.echo(json.dumps(profile.schema(), indent=2))


def _files(folder: Path | None) -> list[templates.Template]:
    return templates.shipped() if folder is None else templates.read(folder)


def _refuse_wrong(found: list[templates.Template]) -> None:
    _refuse(list(templates.check(found)))


def _refuse(wrong: list[Any]) -> None:
    for error in wrong[1:]:
        typer.echo(f"error {error}", err=True)
    if wrong:
        raise wrong[0]


@contextmanager
def _engine(url: str) -> Iterator[Any]:
    """An official client; what its node refuses, or that there is none, becomes one line."""
    try:
        from opensearchpy import ConnectionError as NoConnection
        from opensearchpy import OpenSearch, TransportError
    except ImportError as error:
        raise MissingExtra("opensearch-py", "opensearch") from error
    with OpenSearch(hosts=[url], timeout=30, max_retries=0) as client:
        try:
            yield client
        except NoConnection as error:
            mend = "name it with --url, or start one: rescorer engine up opensearch"
            raise EngineError(f"no engine answers at {url}", mend) from error
        except TransportError as error:
            raise EngineError(f"{url} answers {error.status_code} {error.error}: {_reason(error)}") from error


def _reason(error: Any) -> str:
    info = error.info if isinstance(error.info, dict) else {}
    return str(info.get("error", {}).get("reason", error.info))


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
