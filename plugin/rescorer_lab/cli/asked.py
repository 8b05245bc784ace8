"""What the commands have in common that ask judged topics: their options, and the client behind them."""

from __future__ import annotations

import hashlib
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rescorer.domain import Engine
from rescorer.scorers import Scorer
from rescorer_lab import connect, inputs
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import asking, overlap
from rescorer_lab.evaluation.asking import Index
from rescorer_lab.inputs import Judged, runs

PATIENCE_S = 600.0
"""Far above what a search takes, so that a slow machine gives figures and not fallbacks."""

CollectionName = Annotated[
    str | None, typer.Option("--collection", help="A BEIR folder, or ir_datasets:NAME: topics and qrels in one.")
]
TopicsFile = Annotated[str | None, typer.Option("--topics", help="TREC, JSONL, CSV or TSV, also .gz.")]
QrelsFile = Annotated[str | None, typer.Option("--qrels", help="TREC, BEIR's TSV, JSONL or CSV, also .gz.")]
Sample = Annotated[
    int | None, typer.Option(min=1, help="So many topics, the first by the SHA-256 of their ids; default: all.")
]
Depth = Annotated[int, typer.Option(min=1, max=10_000, help="Hits that are asked of each search.")]
Lanes = Annotated[int, typer.Option(min=1, max=64, help="Topics under way at a time; 1 for the latency of one user.")]
ScorerName = Annotated[
    str | None, typer.Option("--scorer", help="package.module:make, which returns a Scorer, instead of a sidecar.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A running engine and our client for it."""

    client: Any
    engine: Engine


@contextmanager
def searching(engine_url: str, sidecar: str, scorer: str | None, lanes: int = 1) -> Iterator[Asked]:
    """Our client for the engine at this address, with this sidecar or scorer. Raises EngineError, LabError."""
    address = connect.Address(engine_url, "--engine-url")
    scores = sidecar if scorer is None else made(scorer)
    with connect.plain(address) as client:
        engine = connect.detected(client)
    with connect.searching(address, engine, scores, PATIENCE_S, lanes) as client:
        yield Asked(client=client, engine=engine)


def made(name: str) -> Scorer:
    """What ``package.module:make`` returns; LabError where there is no such thing."""
    module, colon, attribute = name.partition(":")
    mend = "write it as package.module:make, of a module on PYTHONPATH"
    if not colon:
        raise LabError(f"--scorer {name!r} names nothing in a module", mend)
    try:
        make = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise LabError(f"--scorer {name!r} can't be imported: {error}", mend) from error
    found = make()
    if not isinstance(found, Scorer):
        raise LabError(f"--scorer {name!r} returned {type(found).__name__}", "return a Scorer: rescorer.scorers.Scorer")
    return found


def judged(topics: str | None, qrels: str | None, collection: str | None, sample: int | None) -> Judged:
    """The topics that are asked; see :func:`rescorer_lab.inputs.judged`. A smaller sample begins a larger one."""
    found = inputs.judged(topics=topics, qrels=qrels, collection=collection)
    if sample is None or sample >= len(found.topics):
        return found
    ids = sorted(found.topics, key=lambda topic: hashlib.sha256(topic.encode()).digest())[:sample]
    return replace(
        found,
        topics={topic: found.topics[topic] for topic in ids},
        qrels={topic: found.qrels[topic] for topic in ids},
    )


def opened(found: Asked, name: str, depth: int, judged: Judged) -> tuple[Index, Judged]:
    """The index as its profile says, and the judgments with a note on what it lacks; LabError where that is most."""
    index = asking.read(found.client, name, found.engine, depth)
    return index, overlap.in_index(found.client, index, judged)


def command() -> str:
    """The command line as it may be shown: an address loses its user and password."""
    return re.sub(r"//[^/@\s]*@", "//***@", f"rescorer {shlex.join(sys.argv[1:])}")


def run_file(said: str) -> tuple[str, runs.Run]:
    """Name and run of ``NAME=FILE``; LabError where it names none."""
    name, equals, path = said.partition("=")
    if not equals or not name or not path:
        raise LabError(f"--run {said!r} names no file", "write NAME=FILE")
    return name, runs.read(Path(path))
