"""``rescorer engine``: real nodes on this machine, without Docker."""

from __future__ import annotations

from typing import Annotated

import typer

from rescorer_lab import engines
from rescorer_lab.engines import releases
from rescorer_lab.errors import EngineError

KNOWN = ", ".join(f"{release.engine} {release.version}" for release in releases.RELEASES)

app = typer.Typer(
    help="Start and stop a real engine node, OpenSearch or Elasticsearch, on this machine, without Docker.",
    epilog="Examples: rescorer engine up opensearch, rescorer engine up elasticsearch --port 9201 --name es",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Option(help="Which node; each has a port and data of its own.")]


@app.command(epilog="Example: rescorer engine up elasticsearch --port 9201 --name es --heap 1g")
def up(
    engine: Annotated[str, typer.Argument(help="opensearch or elasticsearch")] = "opensearch",
    version: Annotated[str | None, typer.Option(help=f"Known: {KNOWN}. Default: the newest of the engine.")] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 9200,
    heap: Annotated[str, typer.Option(help="Memory of the node's Java, such as 512m or 1g.")] = "512m",
    name: Name = "default",
) -> None:
    """Assemble the node if need be, start it, and wait until it answers."""
    node = engines.up(engine, version=version, port=port, heap=heap, name=name)
    typer.echo(node.url)


@app.command(epilog="Example: rescorer engine down --name demo")
def down(name: Name = "default") -> None:
    """Stop a node that was started here; its data stays."""
    if not engines.down(name):
        typer.echo(f"node {name} does not run")


@app.command(epilog="Example: rescorer engine status")
def status() -> None:
    """List the nodes that were started here, and how they are."""
    found = engines.nodes()
    for node in found:
        process = f"process {node.identity.pid}" if node.is_alive else "no process"
        typer.echo(f"{node.name}: {node.engine} {node.version}, {engines.health(node)}, {node.url}, {process}")
        typer.echo(f"  {node.folder}")
    if not found:
        typer.echo("no node was started here yet; start one: rescorer engine up opensearch")


@app.command(epilog="Example: rescorer engine logs --lines 200")
def logs(
    name: Name = "default",
    lines: Annotated[int, typer.Option(help="How many of the last lines.", min=1)] = 50,
) -> None:
    """Print the last lines of a node's log."""
    node = engines.find(name)
    if node is None:
        raise EngineError(f"no node {name} was started here", "list them: rescorer engine status")
    typer.echo(engines.tail(node, lines))
