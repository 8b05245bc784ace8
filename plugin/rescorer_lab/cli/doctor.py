"""``rescorer doctor``: one line for each part of the stack, in order or what to do."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from rescorer_lab import connect

if TYPE_CHECKING:
    from rescorer_lab.doctor import Finding

MARKS = {"ok": ("✓", "green"), "wrong": ("✗", "red"), "unknown": ("–", "yellow")}
NAME_WIDTH = 14
SIDECAR = "localhost:50051"
EngineUrl = Annotated[str, typer.Option(envvar="RESCORER_ENGINE_URL", help="Where the engine answers.")]
SidecarAddress = Annotated[str, typer.Option(envvar="RESCORER_SIDECAR", help="Where the sidecar answers.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")]


def doctor(
    engine_url: EngineUrl = connect.HERE,
    sidecar: SidecarAddress = SIDECAR,
    index: Annotated[str | None, typer.Option(help="Default: the one index that has a profile.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Your own templates; default: those that come along.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at engine, sidecar, templates and one index, and try a search: ✓ in order, ✗ to mend, – can't be told.

    TLS and token for the sidecar are the client's own: RESCORER_TLS_ROOTS, RESCORER_TOKEN and the others of
    docs/client.md. Nothing is changed. The exit code is 0 where nothing is ✗, else 1. A host that does not answer costs
    4 s.
    """
    from rescorer_lab import doctor as rooms

    logging.getLogger("rescorer").addHandler(logging.NullHandler())  # a fallback is told in a line of its own
    address = connect.Address(engine_url, "--engine-url")
    console = Console(soft_wrap=True)
    found = []
    for finding in rooms.examined(rooms.Wishes(engine=address, sidecar=sidecar, index=index, folder=folder)):
        found.append(finding)
        if not as_json:
            console.print(_line(finding))
    is_ok = all(finding.status != "wrong" for finding in found)
    if as_json:
        told = {"ok": is_ok, "findings": [finding.as_dict() for finding in found]}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    if not is_ok:
        raise typer.Exit(1)


def _line(finding: Finding) -> Text:
    mark, style = MARKS[finding.status]
    line = Text.assemble((mark, style), f" {finding.name:<{NAME_WIDTH}}", finding.says)
    return line.append(f"; {finding.mend}", style="bold") if finding.mend else line
