"""``rescorer demo``: the first rescored search, on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rescorer_lab.errors import Interrupted, LabError

WIDTH_OF_A_FILE = 140
"""Columns where output goes to a file and nobody's terminal says how wide it is."""


def demo(
    queries: Annotated[int, typer.Option(help="Judged queries, up to 809.", min=1)] = 300,
    documents: Annotated[str, typer.Option(help="all, or a number for a quick look: judged ones first.")] = "all",
    window: Annotated[int, typer.Option(help="Candidates that are scored.", min=1, max=10_000)] = 30,
    max_tokens: Annotated[int, typer.Option(help="Of query and text together; 0: the model's own limit.", min=0)] = 256,
    report: Annotated[Path, typer.Option(help="Where the figures go, as JSON.")] = Path("report.json"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the engine node running.")] = False,
    node: Annotated[str, typer.Option(help="Name of the engine node; it keeps its index for the next time.")] = "demo",
) -> None:
    """Real node, real model, real judgments: what rescoring does to the top of the list, and what it costs.

    The first run downloads, embeds and indexes, which takes minutes; later ones start in seconds.
    Ctrl-C stops all that it started, and the next run goes on from there.
    """
    from rescorer_lab.demo import stack, story
    from rescorer_lab.show import Show

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_OF_A_FILE)
    wishes = story.Wishes(
        queries=queries,
        documents=_documents(documents),
        window=window,
        max_tokens=max_tokens,
        report=report,
        keep=keep,
        node=node,
    )
    show = Show(console)
    try:
        with stack.interruptible():
            path = story.run(wishes, show)
    except KeyboardInterrupt as interrupt:
        mend = "what the demo started is stopped, and the same command goes on from here"
        raise Interrupted("interrupted", mend) from interrupt
    show.line(f"\nreport after {show.elapsed_s:.0f} s:")
    show.line(str(path))


def _documents(wanted: str) -> int | None:
    if wanted == "all":
        return None
    if not wanted.isdecimal() or not int(wanted):
        raise LabError(f"--documents {wanted!r} is no number", "write all, or a number such as 500")
    return int(wanted)
