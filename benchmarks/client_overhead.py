"""What our client adds to the official one: side by side in one run, call by call in turns.

    python benchmarks/client_overhead.py --help
    python benchmarks/client_overhead.py --opensearch http://localhost:9200 --elasticsearch http://localhost:9201

Three questions, for both engines:

- *pass-through on a loopback engine*: a search that asks for no rescoring, by the official class and by ours in turns.
- *pass-through alone*: the same over a transport that answers from memory, so that nothing but the client is left.
- *rescoring alone*: windows of 10 to 1,000 hits with texts of 1 kB over that transport and a scorer that answers at
  once, less what the official class needs to fetch as many hits. What remains is our own bookkeeping.

Times are of the calling thread on the wall clock; the middle half of all differences is the spread that is shown.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import elasticsearch
import opensearchpy
from elastic_transport import ApiResponseMeta, BaseNode, HttpHeaders, NodeConfig
from rich.console import Console
from rich.table import Table

from rescorer.domain import EmbedRequest, Scored, ScoreRequest, Scores
from rescorer.elasticsearch import Elasticsearch
from rescorer.errors import ScorerError
from rescorer.opensearch import OpenSearch

INDEX = "rescorer-overhead"
TEXT = "rescoring a window of hits takes texts of about this length " * 17
ASKED = {"query": {"match": {"body": "rescoring window"}}}
WINDOWS = (10, 100, 300, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: medians in µs, the median of the paired differences, and its middle half."""

    engine: str
    what: str
    official_us: float
    ours_us: float
    added_us: float
    added_from_us: float
    added_to_us: float

    @property
    def ratio(self) -> float:
        """Ours over the official class."""
        return self.ours_us / self.official_us


class Instant:
    """A scorer that has every answer ready before it is asked."""

    def __init__(self, most: int) -> None:
        names = [f"{place}:d{place}" for place in range(most)]
        logits = [float((place * 7919) % most) for place in range(most)]
        self._ready = [
            Scored(id=name, index=place, logit=logits[place], score=logits[place]) for place, name in enumerate(names)
        ]

    def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """The first scores of the list."""
        return Scores(results=self._ready[: len(request.candidates)], model="instant")

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """The same for each request."""
        return [self.score(request, timeout_s) for request in requests]

    def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """Nothing is embedded here."""
        raise NotImplementedError


class Memory(BaseNode):
    """Elasticsearch's side of a connection, answering from memory."""

    answer = b"{}"

    def perform_request(self, method: str, target: str, *_: Any, **__: Any) -> Any:
        """The same answer to every search."""
        headers = HttpHeaders({"content-type": "application/json", "x-elastic-product": "Elasticsearch"})
        meta = ApiResponseMeta(status=200, http_version="1.1", headers=headers, duration=0.0, node=_NODE)
        return _NodeAnswer(meta, b"{}" if "_mapping" in target else self.answer)

    def close(self) -> None:
        """Nothing to close."""


class _NodeAnswer(tuple[Any, ...]):
    """(meta, body) with names, as elastic_transport reads a node's answer."""

    __slots__ = ()

    def __new__(cls, meta: Any, body: bytes) -> _NodeAnswer:
        return super().__new__(cls, (meta, body))

    meta = property(lambda self: self[0])
    body = property(lambda self: self[1])


_NODE = NodeConfig(scheme="http", host="memory", port=9200)


class Connection:
    """OpenSearch's side of the same."""

    host = "http://memory"

    def __init__(self, answer: bytes, **_: Any) -> None:
        self.answer = answer.decode()

    def perform_request(self, method: str, url: str, *_: Any, **__: Any) -> Any:
        """The same answer to every search."""
        return 200, {"content-type": "application/json"}, "{}" if "_mapping" in url else self.answer

    def close(self) -> None:
        """Nothing to close."""


def in_memory(kind: type, count: int, **kwargs: Any) -> Any:
    """A client of this class whose engine answers each search with ``count`` hits."""
    hits = [
        {
            "_index": "a",
            "_id": f"d{place}",
            "_score": 30 - place / 1000,
            "_source": {"title": f"t {place}", "body": TEXT},
        }
        for place in range(count)
    ]
    inner = {"total": {"value": count, "relation": "eq"}, "max_score": 30.0, "hits": hits}
    answer = json.dumps({"took": 1, "timed_out": False, "_shards": {"total": 1}, "hits": inner}).encode()
    if issubclass(kind, elasticsearch.Elasticsearch):
        return kind("http://memory:9200", node_class=type("Node", (Memory,), {"answer": answer}), **kwargs)
    return kind([{"host": "memory"}], connection_class=lambda **rest: Connection(answer, **rest), **kwargs)


def in_turns(official: Callable[[], Any], ours: Callable[[], Any], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each call, one of each in every round, who goes first changing from round to round."""
    times: tuple[list[float], list[float]] = ([], [])
    for ready in range(20):
        (ours if ready % 2 else official)()
    gc.collect()
    gc.disable()
    for number in range(rounds):
        for which in (number % 2, 1 - number % 2):
            call = ours if which else official
            begun_s = time.perf_counter()
            call()
            times[which].append(time.perf_counter() - begun_s)
    gc.enable()
    return times


def compared(engine: str, what: str, times: tuple[list[float], list[float]]) -> Row:
    """The row of one comparison."""
    official, ours = ([1e6 * each for each in listed] for listed in times)
    quarter, half, three = statistics.quantiles([b - a for a, b in zip(official, ours, strict=True)], n=4)
    return Row(
        engine=engine,
        what=what,
        official_us=statistics.median(official),
        ours_us=statistics.median(ours),
        added_us=half,
        added_from_us=quarter,
        added_to_us=three,
    )


def pass_through(engine: str, kinds: tuple[type, type], url: str, rounds: int) -> Row:
    """On a real engine: an index without a profile, 1,000 documents."""
    official, ours = kinds[0]([url]), kinds[1]([url], rescorer=Instant(10))
    _fill(official)
    times = in_turns(
        lambda: official.search(index=INDEX, **_as(kinds[0])), lambda: ours.search(index=INDEX, **_as(kinds[0])), rounds
    )
    official.indices.delete(index=INDEX)
    return compared(engine, "pass-through, loopback engine", times)


def _as(kind: type) -> dict[str, Any]:
    return dict(ASKED) if issubclass(kind, elasticsearch.Elasticsearch) else {"body": ASKED}


def _fill(client: Any) -> None:
    lines: list[Any] = []
    for place in range(1000):
        lines += [{"index": {"_id": f"d{place}"}}, {"title": f"title {place}", "body": TEXT}]
    client.bulk(index=INDEX, body=lines, refresh=True)


def alone(engine: str, kinds: tuple[type, type], rounds: int) -> list[Row]:
    """Over the transport in memory: pass-through, then each window."""
    official, ours = in_memory(kinds[0], 10), in_memory(kinds[1], 10, rescorer=Instant(10))
    asked = _as(kinds[0])
    times = in_turns(lambda: official.search(index="a", **asked), lambda: ours.search(index="a", **asked), rounds)
    return [
        compared(engine, "pass-through, client alone", times),
        *(_window(engine, kinds, size, rounds) for size in WINDOWS),
    ]


def _window(engine: str, kinds: tuple[type, type], size: int, rounds: int) -> Row:
    official, ours = in_memory(kinds[0], size), in_memory(kinds[1], size, rescorer=Instant(size))
    fetch = {"body": {**ASKED, "size": size}}
    entry = {"document_fields": ["title", "body"], "window_size": size}
    asked = {"body": {**ASKED, "size": 10, "rescore": {"cross_encoder": entry}}}
    answer = ours.search(index="a", **asked)
    if answer["rescore"]["scored"] != size:
        raise SystemExit(f"the window was not rescored: {answer['rescore']}")
    few = max(100, rounds * 10 // size) if size > 10 else rounds
    times = in_turns(
        lambda: official.search(index="a", **fetch), lambda: ours.search(index="a", **asked), min(few, rounds)
    )
    return compared(engine, f"rescoring {size} hits, client alone", times)


def memory_bytes(kinds: tuple[type, type], size: int) -> int:
    """Peak bytes of one rescored search beyond those of the official class for as many hits."""
    peaks = []
    for client, body in (
        (in_memory(kinds[0], size), {**ASKED, "size": size}),
        (
            in_memory(kinds[1], size, rescorer=Instant(size)),
            {**ASKED, "rescore": {"cross_encoder": {"document_fields": ["title", "body"], "window_size": size}}},
        ),
    ):
        client.search(index="a", body=body)
        tracemalloc.start()
        client.search(index="a", body=body)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return peaks[1] - peaks[0]


def main() -> None:
    """Run everything that the options name, print a table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opensearch", metavar="URL", help="a loopback node; without it, that comparison is left out")
    parser.add_argument("--elasticsearch", metavar="URL", help="the same")
    parser.add_argument("--rounds", type=int, default=3000, help="calls of each class in a comparison (default 3000)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    engines = {
        "opensearch": ((opensearchpy.OpenSearch, OpenSearch), given.opensearch),
        "elasticsearch": ((elasticsearch.Elasticsearch, Elasticsearch), given.elasticsearch),
    }
    rows, bytes_per_hit = [], {}
    for engine, (kinds, url) in engines.items():
        if url:
            rows.append(pass_through(engine, kinds, url, given.rounds))
        else:
            print(f"{engine}: no URL given, the comparison on a loopback engine is left out", file=sys.stderr)
        rows += alone(engine, kinds, given.rounds)
        bytes_per_hit[engine] = (memory_bytes(kinds, 1000) - memory_bytes(kinds, 100)) / 900
    show(rows, bytes_per_hit)
    if given.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
        found = {"machine": machine, "rows": [asdict(row) for row in rows], "bytes_per_hit": bytes_per_hit}
        given.json.write_text(json.dumps(found, indent=2))


def show(rows: Sequence[Row], bytes_per_hit: dict[str, float]) -> None:
    """The table."""
    clients = f"opensearch-py {version('opensearch-py')}, elasticsearch {version('elasticsearch')}"
    table = Table(
        title=f"client overhead ({clients}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f})"
    )
    for name in ("engine", "what", "official µs", "ours µs", "ratio", "added µs (middle half)"):
        table.add_column(name, justify="left" if name in ("engine", "what") else "right")
    for row in rows:
        spread = f"{row.added_us:,.0f} ({row.added_from_us:,.0f} … {row.added_to_us:,.0f})"
        figures = (f"{row.official_us:,.0f}", f"{row.ours_us:,.0f}", f"{row.ratio:.3f}", spread)
        table.add_row(row.engine, row.what, *figures)
    console = Console(width=120)
    console.print(table)
    for engine, count in bytes_per_hit.items():
        console.print(
            f"{engine}: {count:,.0f} bytes of the window per hit at the peak, beyond the official client's own"
        )


if __name__ == "__main__":
    main()
