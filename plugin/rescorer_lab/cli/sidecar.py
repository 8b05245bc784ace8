"""``rescorer sidecar``: look at a running sidecar, change a model while it serves, go back, and make tokens."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rescorer_lab import admin, token_file
from rescorer_proto.admin.v1 import admin_pb2 as wire

app = typer.Typer(
    help="Look at a running sidecar, change a model while it serves, and go back, through its admin door "
    "(--admin-port); make tokens. TLS and token of the operator: RESCORER_TLS_ROOTS, RESCORER_TOKEN and the others of "
    "docs/client.md.",
    no_args_is_help=True,
)

Door = Annotated[str, typer.Option("--admin", help="The admin door, host:port.", envvar="RESCORER_ADMIN")]
Model = Annotated[str, typer.Option("--model", help="The served model that is meant; the default one if left out.")]
ADMIN = "127.0.0.1:50061"
TOKENS = Path("tokens.toml")


class Opens(StrEnum):
    """The doors that a token may open."""

    SCORE = "score"
    METRICS = "metrics"
    ADMIN = "admin"


SAID = {
    wire.STEP_LOADING: "loading beside the old version",
    wire.STEP_CHECKING: "checking golden queries",
    wire.STEP_SHADOWING: "comparing live requests",
    wire.STEP_SWITCHED: "switched",
    wire.STEP_REFUSED: "refused",
}


@app.command(epilog="Example: rescorer sidecar status --admin 127.0.0.1:50061")
def status(door: Door = ADMIN) -> None:
    """Show which version of each model serves, which is kept for a roll-back, and the swap that is under way."""
    with admin.connected(door) as operator:
        found = operator.status()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("model", "kind", "serving", "digest", "runs on", "MB", "waiting", "kept for a roll-back"):
        table.add_column(title, justify="right" if title in ("MB", "waiting") else "left", overflow="fold")
    for model in found.models:
        table.add_row(
            f"{model.name} (default)" if model.is_default else model.name,
            model.kind,
            model.serving.source,
            model.serving.digest[:12],
            f"{model.serving.backend} {model.serving.precision}, {model.serving.device}",
            f"{model.serving.memory_bytes / 1e6:,.0f}",
            str(model.waiting),
            f"{model.kept.source} for {model.kept_for_s / 60:.0f} min" if model.HasField("kept") else "",
        )
    console = Console()
    console.print(table)
    if found.HasField("swap"):
        swap = found.swap
        console.print(f"under way: {swap.model} to {swap.source}, {SAID[swap.step]}", markup=False)
    console.print(f"switched {found.switched}, refused {found.refused}, rolled back {found.rolled_back}")


@app.command(epilog="Example: rescorer sidecar swap models/shop-v2 --shadow 100 --within 300")
def swap(  # each is an option of the command line
    source: Annotated[
        str, typer.Argument(help="The new version: a folder, a fetched model or a hub name, as the sidecar sees it.")
    ],
    door: Door = ADMIN,
    model: Model = "",
    shadow: Annotated[
        int, typer.Option(min=0, help="Live requests that both versions score before the switch; 0 compares nothing.")
    ] = 50,
    share: Annotated[float, typer.Option(min=0.001, max=1.0, help="Most of the live pairs to score twice.")] = 0.1,
    within: Annotated[float, typer.Option(min=1.0, help="Seconds to wait for these requests.")] = 120.0,
    rank_correlation: Annotated[float, typer.Option(help="Least mean rank correlation within requests.")] = 0.8,
    distance: Annotated[float, typer.Option(help="Most distance of the two score distributions, 0 to 1.")] = 0.4,
    shift: Annotated[float, typer.Option(help="Most shift of a quantile, in the old scores' 10-90 % distance.")] = 0.5,
    force: Annotated[bool, typer.Option("--force", help="Switch whatever the check and the comparison say.")] = False,
) -> None:
    """Put another version in a model's place while it serves; exit code 1 if it is refused.

    It is loaded beside the old one, asked the golden queries, and compared on live requests. Callers go on without a
    break; Ctrl-C before the switch leaves everything as it was.
    """
    folder = Path(source).expanduser()
    order = wire.SwapRequest(
        source=str(folder.resolve()) if folder.is_dir() else source,
        model=model,
        shadow_requests=shadow,
        shadow_share=share,
        within_s=within,
        bounds=wire.Bounds(rank_correlation=rank_correlation, distance=distance, shift=shift),
        force=force,
    )
    with admin.connected(door) as operator:
        end = _followed(operator.swap(order))
    _tell(end)
    if end.step != wire.STEP_SWITCHED:
        raise typer.Exit(1)


@app.command(epilog="Example: rescorer sidecar rollback --model shop")
def rollback(door: Door = ADMIN, model: Model = "") -> None:
    """Bring the version before the last swap back, at once and without a break for callers."""
    with admin.connected(door) as operator:
        answer = operator.roll_back(model)
    typer.secho(f"{answer.model}: {answer.serving.source} serves again", bold=True)
    typer.echo(f"  {_version(answer.was)} is let go of")


@app.command(epilog="Example: rescorer sidecar release --model shop")
def release(door: Door = ADMIN, model: Model = "") -> None:
    """Let go of the version that is kept for a roll-back, and of its memory."""
    with admin.connected(door) as operator:
        answer = operator.release(model)
    typer.secho(f"{answer.model}: {_version(answer.released)} is let go of", bold=True)


@app.command(epilog="Example: rescorer sidecar token shop --file tokens.toml --door score --door metrics")
def token(
    name: Annotated[str, typer.Argument(help="Whose it is: the caller's name in shares, quotas and metrics.")],
    file: Annotated[Path, typer.Option(help="The sidecar's tokens_file; made if it is not there.")] = TOKENS,
    door: Annotated[list[Opens] | None, typer.Option(help="What it opens, more than once for more; score.")] = None,
) -> None:
    """Make a token, print it this one time on standard output, and write its hash into the sidecar's tokens file.

    A running sidecar reads the file again by itself. A name may have several tokens; one ends when its lines are gone.
    """
    made = token_file.added(file, name, [each.value for each in door or (Opens.SCORE,)])
    typer.secho(f"the token of {name}, which is shown only now; {file} holds its hash:", err=True)
    typer.echo(made)


def _followed(steps: Iterator[wire.SwapProgress]) -> wire.SwapProgress:
    """The last step; each is shown on standard error as it comes."""
    end = wire.SwapProgress()
    words, count = TextColumn("{task.description:<32}"), TextColumn("{task.fields[count]}")
    with Progress(words, BarColumn(), count, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("asking", total=None, count="")
        for end in steps:
            is_counted = end.step == wire.STEP_SHADOWING
            bar.update(
                task,
                description=SAID[end.step],
                total=end.shadow_requests if is_counted else None,
                completed=end.compared,
                count=f"{end.compared}/{end.shadow_requests}" if is_counted else "",
            )
    return end


def _tell(end: wire.SwapProgress) -> None:
    if end.HasField("golden"):
        golden = end.golden
        typer.echo(f"golden queries: {golden.new} of {golden.queries} ordered rightly, {golden.old} by the old version")
    if end.HasField("comparison"):
        found = end.comparison
        typer.echo(f"compared: {found.requests} requests, {found.pairs} pairs")
        typer.echo(
            f"  rank correlation {found.rank_correlation:.3f}, distance {found.distance:.3f}, shift {found.shift:.3f}"
        )
        for name, logits in (("old", found.old_quantiles), ("new", found.new_quantiles)):
            typer.echo(f"  {name} logits at 10, 50 and 90 %: " + ", ".join(f"{logit:.2f}" for logit in logits))
    if end.step != wire.STEP_SWITCHED:
        typer.secho(f"refused, nothing has changed: {end.reason}", fg="red", bold=True)
        return
    for objection in end.objections:
        typer.secho(f"forced: {objection}", fg="yellow")
    typer.secho(f"{end.model}: switched to {_version(end.new)}", fg="green", bold=True)
    typer.echo(f"  {_version(end.old)} is kept for a while; back to it: rescorer sidecar rollback --model {end.model}")
    typer.echo("  name the new version in the sidecar's own settings, too: a restart takes what stands there")


def _version(version: wire.Version) -> str:
    return f"{version.source or 'the version without a source'} (digest {version.digest[:12]})"
