"""Does ``rescorer evaluate`` keep the sidecar busy, and does its memory stay within bounds?

    python benchmarks/evaluate.py [--topics 20] [--rounds 3] [--engine http://127.0.0.1:9200]

*Throughput*: BM25's best 100 of SciFact, 128 tokens a pair, scored twice in each round, in turns: by the command, with
the engine's searches and everything else that an evaluation does, and directly, the very same requests by as many
callers, which is all that the sidecar can do. Its caches are off, and engine, sidecar and command share the cores.

*Memory*: the most that the command holds while it evaluates BM25, 100 hits for each of ever more topics.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median

import opensearchpy.helpers
from rich.console import Console
from rich.table import Table

from rescorer.domain import ScoreRequest
from rescorer.opensearch import OpenSearch
from rescorer.scorers.channels import Target
from rescorer.scorers.grpc import GrpcScorer
from rescorer.testing import FakeScorer
from rescorer_lab import collections, engines, models, sidecar
from rescorer_lab.collections import Collection
from rescorer_lab.evaluation import asking
from rescorer_lab.evaluation.story import LANES
from rescorer_lab.evaluation.systems import read_all
from rescorer_lab.inputs.topics import Topic
from rescorer_lab.lanes import side_by_side

NODE, INDEX = "evaluate", "evaluate-scifact"
PROFILE = {"document_fields": ["title", "body"], "window_size": 100, "max_tokens": 128}
RESCORED = "bm25+rescore"
DEPTH, PATIENCE_S = 100, 600.0
SIZES = (250, 1000, 4000)
MB = 1e6
say = Console(width=110).print


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", metavar="URL", help="an OpenSearch node that runs already; default one of its own")
    options = parser.parse_args()
    collection = collections.scifact(say)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(_engine(options.engine))
        stack.enter_context(_filled(url, collection))
        settings = ["--model", str(models.fetch(models.CROSS_ENCODER, say)), "--cache-mb", "0", "--token-cache-mb", "0"]
        server = sidecar.start(settings, work / "sidecar.log")
        stack.callback(server.stop)
        asked = [INDEX, "--engine-url", url, "--sidecar", server.address]
        _throughput(asked, collection, options, work)
        _memory(asked, collection, work)
    say(f"load {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")


@contextmanager
def _engine(address: str | None) -> Iterator[str]:
    if address is not None:
        yield address
        return
    node = engines.up(name=NODE, say=say)
    try:
        yield node.url
    finally:
        engines.down(NODE, say=say)


@contextmanager
def _filled(url: str, collection: Collection) -> Iterator[None]:
    """SciFact in an index, gone afterwards."""
    lines = ({"_id": entry.id, "title": entry.title, "body": entry.body} for entry in collection.documents)
    with opensearchpy.OpenSearch(url, timeout=60) as client:
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        mappings = {"_meta": {"rescorer": PROFILE}}
        client.indices.create(index=INDEX, body={"settings": settings, "mappings": mappings})
        try:
            opensearchpy.helpers.bulk(client, lines, index=INDEX, refresh=True)
            yield
        finally:
            client.indices.delete(index=INDEX)


def _throughput(asked: Sequence[str], collection: Collection, options: argparse.Namespace, work: Path) -> None:
    topics = collection.sample(options.topics)
    judged = _judged(work / "few", collection, topics)
    requests = _requests(asked[2], collection, topics)
    pairs = sum(len(request.candidates) for request in requests)
    direct_s, command_s = [], []
    for number in range(options.rounds):
        if number % 2:
            direct_s.append(_directly(asked[4], requests))
        command_s.append(_by_command([*asked, *judged], work / f"round-{number}", pairs))
        if not number % 2:
            direct_s.append(_directly(asked[4], requests))
    table = Table("", "pairs/s, median", "least", "most", title=f"{len(topics)} topics, {pairs:,} pairs, {LANES} lanes")
    for name, seconds in (("directly", direct_s), ("rescorer evaluate", command_s)):
        table.add_row(name, *(f"{pairs / of:.1f}" for of in (median(seconds), max(seconds), min(seconds))))
    say(table)
    shares = [ours / theirs for ours, theirs in zip(direct_s, command_s, strict=True)]
    say(f"evaluate has {median(shares):.3f} of the sidecar's throughput ({min(shares):.3f} … {max(shares):.3f})")


def _requests(url: str, collection: Collection, topics: Sequence[str]) -> list[ScoreRequest]:
    """What the command has the sidecar score for these topics."""
    scorer = FakeScorer()
    (system,) = read_all([RESCORED])
    with OpenSearch(url, rescorer=scorer) as client:
        index = asking.read(client, INDEX, "opensearch", DEPTH)
        for topic in topics:
            asking.ask(client, index, system, Topic(id=topic, text=collection.queries[topic]))
    return scorer.requests


def _directly(address: str, requests: Sequence[ScoreRequest]) -> float:
    with closing(GrpcScorer(Target(address=address))) as scorer:
        begun_s = time.perf_counter()
        for scores in side_by_side(lambda request: scorer.score(request, PATIENCE_S), requests, LANES):
            assert scores.reason is None
        return time.perf_counter() - begun_s


def _by_command(asked: Sequence[str], out: Path, pairs: int) -> float:
    _evaluated([*asked, "--system", RESCORED, "--out", str(out)])
    report = json.loads((out / "report.json").read_text())
    of = report["systems"][RESCORED]
    assert of["outcomes"] == {"reranked": len(report["per_topic"][RESCORED])}, of["outcomes"]
    assert of["pairs"]["scored"] == pairs, of["pairs"]
    return float(report["made"]["took_s"])


def _memory(asked: Sequence[str], collection: Collection, work: Path) -> None:
    table = Table("topics", "most memory, MB", "KB a topic more", "s", title="BM25, 100 hits for each topic")
    known = sorted(collection.qrels)
    last: tuple[int, float] | None = None
    for size in SIZES:
        judged = _judged(work / str(size), collection, [known[place % len(known)] for place in range(size)])
        begun_s = time.perf_counter()
        most = _evaluated([*asked, *judged, "--system", "bm25", "--out", str(work / f"memory-{size}")])
        more = "–" if last is None else f"{1000 * (most - last[1]) / (size - last[0]):.1f}"
        table.add_row(f"{size:,}", f"{most:.0f}", more, f"{time.perf_counter() - begun_s:.0f}")
        last = size, most
    say(table)


def _judged(folder: Path, collection: Collection, topics: Sequence[str]) -> list[str]:
    """Topics and judgments as files, the n-th topic with an id of its own; the options that name them."""
    folder.mkdir()
    numbered = list(enumerate(topics))
    queries = (json.dumps({"_id": f"t{place}", "text": collection.queries[topic]}) for place, topic in numbered)
    grades = (
        f"t{place} 0 {key} {grade}" for place, topic in numbered for key, grade in collection.qrels[topic].items()
    )
    for name, lines in (("topics.jsonl", queries), ("all.qrels", grades)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["--topics", str(folder / "topics.jsonl"), "--qrels", str(folder / "all.qrels")]


def _evaluated(options: Sequence[str]) -> float:
    """Run the command to its end; the most memory that it held, in MB."""
    command = [sys.executable, "-m", "rescorer_lab", "evaluate", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return usage.ru_maxrss * 1024 / MB


if __name__ == "__main__":
    main()
