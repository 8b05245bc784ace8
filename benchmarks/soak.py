"""Half an hour of mixed load on a real stack: is memory flat, are descriptors and threads given back, is p99 stable?

    make soak                            # SOAK_MINUTES=30
    make soak SOAK_MINUTES=10 SOAK="--engine http://127.0.0.1:9200"

An engine, a sidecar with small caches, so that they are full soon, and processes that search through the drop-in
client: new queries, the same again, next pages, msearch, long texts in chunks, too little time, a model that is not
served, vectors, clients that come and go, calls that are cancelled, requests that can't be answered. Sidecar and
clients are looked at every few seconds. The first fifth of the time, and no less than five minutes, is not judged:
caches fill, heaps find their size.

The exit status is 1 where something leaks: the 95 % interval of a process's memory lies above what is forgiven, it has
more descriptors or threads in the end than after that, or the p99 of new searches has risen by more than half.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import opensearchpy
import opensearchpy.helpers
from load import figures
from load.crowd import Sample, Watch
from load.searcher import KINDS
from rich.console import Console
from rich.table import Table

from rescorer_lab import collections, engines, models, sidecar

ROOT = Path(__file__).parent.parent
NODE = "soak"
DOCUMENTS, PROCESSES = 300, 2
LOOK_S, UNJUDGED, LEAST_UNJUDGED_S = 5.0, 0.2, 300.0
LEAST_MINUTES = 10.0
FORGIVEN_MB_PER_H, FORGIVEN_COUNT, FORGIVEN_RATIO = 10.0, 5, 1.5
say = Console(width=110).print


def main() -> int:
    """Run, print, write."""
    options = _options()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(_engine(options.engine))
        index, queries = stack.enter_context(_filled(engine))
        address, http, pid = stack.enter_context(_sidecar(work))
        wanted = {"engine": engine, "index": index, "queries": queries, "sidecar": address}
        wanted |= {"rate": options.rate / PROCESSES, "cross_encoder": _asked()}
        searchers = [stack.enter_context(_searcher(wanted, 10 * number)) for number in range(PROCESSES)]
        watched = {"sidecar": pid} | {f"client {place}": one.pid for place, one in enumerate(searchers)}
        load_before, begun_s = os.getloadavg()[0], time.monotonic()
        say(f"{options.minutes:g} minutes, {options.rate:g} searches a second")
        samples = _looked_at(watched, http, options.minutes * 60)
        searches = [line for one in searchers for line in one.stop()]
    report = {
        "minutes": options.minutes,
        "rate": options.rate,
        "load": [load_before, os.getloadavg()[0]],
        "searches": [[line[0] - begun_s, *line[1:]] for line in searches],
        "samples": {
            name: [[one.at_s - begun_s, one.rss, one.descriptors, one.threads, one.cpu_s] for one in found]
            for name, found in samples.items()
        },
    }
    Path(options.out).write_text(json.dumps(report) + "\n", encoding="utf-8")
    wrong = _shown(report)
    say(f"written: {options.out}")
    if options.plot:
        command = [options.plot_python, str(ROOT / "benchmarks/load/plot_soak.py"), options.out, options.plot]
        subprocess.run(command, check=True)
        say(f"written: {options.plot}")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    minutes = float(os.environ.get("SOAK_MINUTES") or 30)
    parser.add_argument("--minutes", type=float, default=minutes, help="default SOAK_MINUTES, else 30")
    parser.add_argument("--rate", type=float, default=4.0, help="searches a second; default 4")
    parser.add_argument("--engine", metavar="URL", help="an OpenSearch node that runs already; default one of its own")
    parser.add_argument("--out", default="soak.json")
    parser.add_argument("--plot", default="", metavar="FILE.png", help="a picture of it")
    parser.add_argument("--plot-python", default=str(ROOT / ".venv-plot/bin/python"), help="a Python with matplotlib")
    options = parser.parse_args()
    if options.minutes < LEAST_MINUTES:
        parser.error(f"{options.minutes:g} minutes are too few to tell a leak from caches that fill: at least 10")
    return options


def _asked() -> dict[str, Any]:
    return {"document_fields": ["title", "body"], "window_size": 8, "max_tokens": 64, "budget_ms": 2000}


def _quiet(_: str) -> None:
    """Steps are told by the benchmark."""


@contextmanager
def _engine(address: str | None) -> Iterator[str]:
    """The node that is named, or one of this run's own, which is gone afterwards."""
    if address is not None:
        yield address
        return
    node = engines.up(name=NODE, port=0, say=say)
    try:
        yield node.url
    finally:
        engines.down(NODE, say=say)
        shutil.rmtree(node.folder)


@contextmanager
def _filled(engine: str) -> Iterator[tuple[str, list[str]]]:
    """An index with documents, gone afterwards, and queries."""
    scifact, index = collections.scifact(say), f"soak-{os.getpid()}"
    sources = [{"title": entry.title, "body": entry.body} for entry in scifact.documents[:DOCUMENTS]]
    lines = ({"_index": index, "_id": str(place), "_source": source} for place, source in enumerate(sources))
    with opensearchpy.OpenSearch(engine, timeout=60) as client:
        client.indices.create(index=index, body={"settings": {"number_of_shards": 1, "number_of_replicas": 0}})
        try:
            opensearchpy.helpers.bulk(client, lines, refresh=True)
            yield index, [scifact.queries[name] for name in scifact.sample(100)]
        finally:
            client.indices.delete(index=index)


@contextmanager
def _sidecar(work: Path) -> Iterator[tuple[str, str, int]]:
    """A sidecar with both kinds of models; its address, the URL of its metrics, its process."""
    encoder, embedder = (models.fetch(name, say) for name in (models.CROSS_ENCODER, models.EMBEDDER))
    settings = ["--model", str(encoder), "--embedder", str(embedder), "--http-port", str(_free_port())]
    started = sidecar.start([*settings, "--cache-mb", "2", "--token-cache-mb", "4"], work / "sidecar.log")
    try:
        yield started.address, f"http://127.0.0.1:{settings[-1]}/metrics", started.process.pid
    finally:
        started.stop()


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Searching:
    """A process that searches."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        command = [sys.executable, str(ROOT / "benchmarks/load/searcher.py"), json.dumps(wanted)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self._lines: list[list[Any]] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def stop(self) -> list[list[Any]]:
        """Let it end; all that it told."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._listening.join(60)
        return self._lines

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self._lines += map(json.loads, self.process.stdout)


@contextmanager
def _searcher(wanted: dict[str, Any], seed: int) -> Iterator[Searching]:
    made = Searching({**wanted, "seed": seed})
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def _looked_at(watched: dict[str, int], metrics: str, seconds: float) -> dict[str, list[Sample]]:
    """Samples of each process, with its metrics asked for as often."""
    watches = {name: Watch(pid) for name, pid in watched.items()}
    samples: dict[str, list[Sample]] = {name: [] for name in watched}
    begun_s = time.monotonic()
    while (now_s := time.monotonic()) < begun_s + seconds:
        urllib.request.urlopen(metrics, timeout=20).read()
        for name, watch in watches.items():
            samples[name].append(watch.look())
        time.sleep(max(0.0, now_s + LOOK_S - time.monotonic()))
    return samples


def _shown(report: dict[str, Any]) -> list[str]:
    """Print the tables; what is wrong."""
    begin_s = max(LEAST_UNJUDGED_S, UNJUDGED * 60 * report["minutes"])
    wrong = [*_processes(report, begin_s), *_latencies(report, begin_s)]
    counted = Counter(f"{kind}: {status}" for _, kind, _, status in report["searches"])
    say(
        f"{len(report['searches']):,} searches; "
        + ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
    )
    wrong += [f"{count} × {name}" for name, count in counted.items() if ": error" in name]
    say(f"load {report['load'][0]:.1f} before, {report['load'][1]:.1f} after; {os.cpu_count()} cores")
    for one in wrong:
        say(f"[bold]wrong:[/bold] {one}")
    return wrong


def _processes(report: dict[str, Any], begin_s: float) -> list[str]:
    columns = ("", "memory, MB", "slope, MB/h (95 %)", "descriptors", "threads", "cores")
    table, wrong = Table(*columns, title=f"from minute {begin_s / 60:g} to the end"), []
    for name, samples in report["samples"].items():
        judged = [sample for sample in samples if sample[0] >= begin_s]
        at_s, rss, descriptors, threads, cpu_s = zip(*judged, strict=True)
        mb = [one / 1e6 for one in rss]
        found, low, high = figures.slope(at_s, mb)
        counts = [_ends(values) for values in (descriptors, threads)]
        cores = (cpu_s[-1] - cpu_s[0]) / (at_s[-1] - at_s[0])
        told = [f"{first} → {last}" for first, last in counts]
        table.add_row(
            name, f"{mb[0]:.0f} → {mb[-1]:.0f}", f"{found:+.1f} ({low:+.1f} … {high:+.1f})", *told, f"{cores:.2f}"
        )
        if low > FORGIVEN_MB_PER_H:
            wrong.append(f"memory of {name} grows by {found:.1f} MB/h")
        wrong += [
            f"{name} has {last} {what}, and had {first}"
            for what, (first, last) in zip(("descriptors", "threads"), counts, strict=True)
            if last > first + FORGIVEN_COUNT
        ]
    say(table)
    return wrong


def _ends(values: Sequence[int]) -> tuple[int, int]:
    """Medians of the first and the last quarter."""
    quarter = max(1, len(values) // 4)
    return int(statistics.median(values[:quarter])), int(statistics.median(values[-quarter:]))


def _latencies(report: dict[str, Any], begin_s: float) -> list[str]:
    table = Table("kind", "searches", "p50 ms", "p99 ms", "p99 later / earlier (95 %)", title="searches")
    middle_s, wrong = (begin_s + 60 * report["minutes"]) / 2, []
    for kind in KINDS:
        judged = [(at_s, ms) for at_s, known, ms, _ in report["searches"] if known == kind and at_s >= begin_s]
        halves = [ms for at_s, ms in judged if at_s < middle_s], [ms for at_s, ms in judged if at_s >= middle_s]
        if not all(halves):
            continue
        ratio, low, high = figures.later_to_earlier(*halves)
        ms = [one for half in halves for one in half]
        spread = f"{figures.quantile(ms, 0.5):,.0f}", f"{figures.quantile(ms, 0.99):,.0f}"
        table.add_row(kind, str(len(ms)), *spread, f"{ratio:.2f} ({low:.2f} … {high:.2f})")
        if kind == "search" and low > FORGIVEN_RATIO:
            wrong.append(f"p99 of new searches is {ratio:.2f} times what it was")
    say(table)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
