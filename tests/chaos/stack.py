"""The real stack: an engine with documents, two sidecars with a real model, and processes that search."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opensearchpy import helpers

from chaos import crowd, noise
from chaos.noise import Noise
from rescorer.domain import Engine
from rescorer_lab import collections, connect, models, sidecar
from rescorer_lab.sidecar import Sidecar

DOCUMENTS, QUERIES = 300, 40
WINDOW, SIZE = 6, 9
"""A page that is longer than the window: both halves and the seam between them are compared."""

LOADS, AT_A_TIME = 2, 2


def _quiet(_: str) -> None:
    """Steps are told by the suite."""


@dataclass(slots=True)
class Stack:
    """engine, kind: address of the node, and whose it is. steady: the two sidecars that no fault may harm for good.

    expected: query → ids of its first hits without rescoring, as the official client gets them.
    """

    engine: str
    kind: Engine
    index: str
    folder: Path
    steady: list[Sidecar]
    processes: list[crowd.Process]
    expected: Mapping[str, Sequence[str]]
    noise: Noise
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(step=10_000))

    @property
    def steady_addresses(self) -> list[str]:
        """Where the two sidecars are."""
        return [one.address for one in self.steady]

    def renew(self) -> None:
        """Start the load processes again, where one of them may hang."""
        for process in self.processes:
            process.stop()
            process.start()


@contextmanager
def running(engine: str, folder: Path) -> Iterator[Stack]:
    """The stack on this node, for as long as the block runs; ``folder`` takes logs."""
    index = f"chaos-{os.getpid()}"
    with ExitStack() as stops:
        processes = stops.enter_context(crowd.processes(LOADS, folder / "loads.log"))
        client = stops.enter_context(connect.plain(connect.Address(engine), timeout_s=60.0))
        kind, expected = connect.detected(client), stops.enter_context(_filled(client, index))
        steady = [stops.enter_context(served(folder / f"steady-{number}.log")) for number in range(2)]
        yield Stack(engine, kind, index, folder, steady, processes, expected, stops.enter_context(noise.measured()))


@contextmanager
def served(
    log: Path, *options: str, model: str = models.CROSS_ENCODER, command: Sequence[str] = sidecar.COMMAND
) -> Iterator[Sidecar]:
    """A real sidecar with the real model, one forward at a time, so that two of them share two cores."""
    folder = models.fetch(model, _quiet)
    started = sidecar.start(["--model", str(folder), "--workers", "1", *options], log, command=command)
    try:
        yield started
    finally:
        started.process.kill()
        started.stop()


@contextmanager
def _filled(client: Any, index: str) -> Iterator[dict[str, list[str]]]:
    """An index with documents, gone afterwards; the hits of each query that has enough of them."""
    scifact = collections.scifact(_quiet)
    text = {"type": "text"}
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    sources = ({"title": entry.title, "body": entry.body[:600]} for entry in scifact.documents[:DOCUMENTS])
    lines = ({"_index": index, "_id": str(place), "_source": source} for place, source in enumerate(sources))
    client.indices.create(
        index=index, body={"settings": settings, "mappings": {"properties": {"title": text, "body": text}}}
    )
    try:
        helpers.bulk(client, lines, refresh=True)
        found = {claim: _first(client, index, claim) for claim in map(scifact.queries.get, scifact.sample(2 * QUERIES))}
        yield {claim: ids for claim, ids in found.items() if len(ids) == SIZE}
    finally:
        client.indices.delete(index=index)


def _first(client: Any, index: str, claim: str) -> list[str]:
    body = {"query": {"match": {"body": claim}}, "size": SIZE, "_source": False}
    return [hit["_id"] for hit in client.search(index=index, body=body)["hits"]["hits"]]
