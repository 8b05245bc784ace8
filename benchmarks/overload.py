"""What overload does: capacity is measured, then half as much again is asked for, of our sidecar and of a peer.

    make overload                                    # two minutes of overload each, about eight minutes
    make overload OVERLOAD="--seconds 20 --peers ''" # shorter, and ours alone

Requests are 20 windows of 60 words, what BM25 finds for queries of SciFact; each text is new to whoever remembers, and
caches are off. Processes of their own call. Each server goes through five phases: as many callers as keep it busy
(its capacity), half of that rate (its usual latency), 1.5 times that rate, by chance and whatever became of earlier
calls, half of it again, and capacity once more, since a shared machine changes meanwhile. Every call has a deadline:
ours gets it with the call, a caller of a server that knows no deadlines hangs up.

Ours is then flooded: requests of 1,000 pairs that would wait for ever, until they are refused, and its memory is
compared with the bound of docs/sidecar.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
from load import figures
from load.crowd import Crowd, Watch, crowd
from peers.callers import Infinity, Unavailable
from peers.texts import load as load_texts
from rich.console import Console
from rich.table import Table

from rescorer_lab import models, sidecar
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar.config import Settings

ROOT = Path(__file__).parent.parent
PAIRS, PROCESSES, CALLERS = 20, 2, 8
AROUND_S, CLOSED_S = 15.0, 20.0
FLOOD_REQUESTS, FLOOD_PAIRS, FLOOD_S = 150, 1000, 20.0
CLOSED_DEADLINE_MS = 60_000.0
SETTINGS = Settings(model="recovered", cache_mb=0, token_cache_mb=0, max_message_mb=8, requests_mb=256)
say = Console(width=110).print


def main() -> None:
    """Run, print, write."""
    options = _options()
    recovered = models.fetch(models.RECOVERED, say)
    texts = load_texts(str(recovered / "tokenizer.json"), say)
    requests = [{"query": one.query, "texts": one.texts} for one in texts.short(PAIRS)]
    report: dict[str, Any] = {"options": vars(options), "load_before": os.getloadavg()[0], "servers": {}}
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "requests.json"
        file.write_text(json.dumps(requests), encoding="utf-8")
        with _on(options.caller_cores), crowd(PROCESSES, file) as callers:
            for name in ["rescorer", *options.peers]:
                try:
                    with SERVERS[name](recovered, Path(work), options) as (door, pid):
                        report["servers"][name] = _measured(name, callers, door, pid, options)
                        if name == "rescorer":
                            report["flood"] = _flooded(door["address"], pid, requests)
                except Unavailable as error:
                    say(f"[bold]skipped[/bold] {name}: {error}")
    report["load_after"] = os.getloadavg()[0]
    _show(report, options)
    Path(options.out).write_text(json.dumps(report) + "\n", encoding="utf-8")
    say(f"written: {options.out}")
    if options.plot:
        subprocess.run(
            [options.plot_python, str(ROOT / "benchmarks/load/plot.py"), options.out, options.plot], check=True
        )
        say(f"written: {options.plot}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    comma = lambda raw: [part for part in raw.split(",") if part]  # noqa: E731
    parser.add_argument("--seconds", type=float, default=120.0, help="of overload; default 120")
    parser.add_argument("--times", type=float, default=1.5, help="of the capacity; default 1.5")
    parser.add_argument("--deadline-ms", type=float, default=1000.0, help="of each call; default 1000")
    parser.add_argument("--precision", default="auto", help="of our sidecar; default auto")
    parser.add_argument("--peers", type=comma, default=["infinity"], help=f"of {', '.join(SERVERS)}; default infinity")
    cores = lambda raw: [int(part) for part in raw.split(",")]  # noqa: E731
    parser.add_argument("--server-cores", type=cores, default=[], help="where servers run, such as 1; default anywhere")
    parser.add_argument("--caller-cores", type=cores, default=[], help="where callers run, such as 0; default anywhere")
    parser.add_argument("--out", default="overload.json")
    parser.add_argument("--plot", default="", metavar="FILE.png", help="a picture of it")
    parser.add_argument(
        "--plot-python", default=str(ROOT / ".venv-plot/bin/python"), help="a Python that has matplotlib"
    )
    return parser.parse_args()


@contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Processes that are started within the block stay on these cores, if any are named."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _ours(model: Path, work: Path, options: argparse.Namespace) -> Iterator[tuple[dict[str, str], int]]:
    """Our sidecar with its caches off."""
    settings = ["--model", str(model), "--precision", options.precision]
    for name in ("cache_mb", "token_cache_mb", "max_message_mb", "requests_mb"):
        settings += ["--" + name.replace("_", "-"), str(getattr(SETTINGS, name))]
    with _on(options.server_cores):
        started = sidecar.start(settings, work / "sidecar.log")
    try:
        yield {"kind": "grpc", "address": started.address}, started.process.pid
    finally:
        started.stop()


@contextmanager
def _infinity(model: Path, work: Path, options: argparse.Namespace) -> Iterator[tuple[dict[str, str], int]]:
    """infinity-emb's own server, in bf16."""
    with _on(options.server_cores):
        server = Infinity(ROOT / ".venv-peers-infinity/bin/infinity_emb", model)
    try:
        yield {"kind": "http", "address": server.url, "model": server.model}, server.pid
    finally:
        server.close()


SERVERS = {"rescorer": _ours, "infinity": _infinity}


def _measured(name: str, callers: Crowd, door: dict[str, str], pid: int, options: argparse.Namespace) -> dict[str, Any]:
    """All five phases of one server."""
    deadline_ms, seconds = options.deadline_ms, options.seconds
    callers.phase(door, 5.0, CLOSED_DEADLINE_MS, callers=CALLERS)
    first, cores = _capacity(callers, door, pid)
    rate = first / PAIRS
    say(f"{name}: {first:,.0f} pairs/s, {rate:.1f} requests/s with {CALLERS} callers")
    before = callers.phase(door, AROUND_S, deadline_ms, rate=rate / 2)
    with Watch(pid) as watch:
        during = callers.phase(door, seconds, deadline_ms, rate=options.times * rate)
    after = callers.phase(door, AROUND_S, deadline_ms, rate=rate / 2)
    last, cores_again = _capacity(callers, door, pid)
    usual = figures.spread(before)
    found = {
        "capacity_pairs_per_s": [first, last],
        "capacity_cpu_cores": [cores, cores_again],
        "usual": usual,
        "overload": figures.overloaded(during, seconds, deadline_ms / 1000),
        "normal_after_s": figures.normal_after_s(after, usual["p50"]),
        "process": figures.used(watch.samples),
        "after": figures.spread(after),
    }
    say(f"{name}: {found['overload']['outcomes']}")
    begun_s = watch.samples[0].at_s
    memory = [[sample.at_s - begun_s, sample.rss] for sample in watch.samples]
    return {**found, "calls": [list(asdict(call).values()) for call in during], "memory": memory}


def _capacity(callers: Crowd, door: dict[str, str], pid: int) -> tuple[float, float]:
    """Pairs a second with as many callers as keep a server busy, and how many cores it had meanwhile."""
    with Watch(pid) as watch:
        calls = callers.phase(door, CLOSED_S, CLOSED_DEADLINE_MS, callers=CALLERS)
    return figures.capacity(calls), figures.used(watch.samples)["cpu_cores"]


def _flooded(address: str, pid: int, requests: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What memory all takes that may wait."""
    asked = [requests[place % len(requests)] for place in range(FLOOD_REQUESTS)]
    with Watch(pid, every_s=0.1) as watch:
        refused = asyncio.run(_flood(address, asked))
    memory = figures.used(watch.samples)
    return {"refused": refused, "allowed_mb": _allowed_mb(SETTINGS), **memory}


def _allowed_mb(settings: Settings) -> float:
    """By how much a sidecar may grow beside its models and caches, as docs/sidecar.md has it under Memory."""
    tokens = settings.max_waiting_tokens + settings.max_request_tokens
    received_mb = settings.requests_mb + 32 * settings.max_message_mb
    return received_mb + (4096 * settings.max_waiting_pairs + 60 * tokens) / 1e6


async def _flood(address: str, asked: Sequence[dict[str, Any]]) -> int:
    """How many of these requests, each with FLOOD_PAIRS pairs that are new, are refused; the others are given up."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = rescorer_pb2_grpc.RescorerStub(channel)
        calls = []
        for number, one in enumerate(asked):
            texts = (f"{one['texts'][place % PAIRS]} flood {number} {place}" for place in range(FLOOD_PAIRS))
            candidates = [wire.Candidate(id=str(place), text=text) for place, text in enumerate(texts)]
            calls.append(stub.Score(wire.ScoreRequest(query=one["query"], candidates=candidates)))
        ends = [asyncio.create_task(call.code()) for call in calls]
        await asyncio.wait(ends, timeout=FLOOD_S)
        refused = sum(end.done() and end.result() == grpc.StatusCode.RESOURCE_EXHAUSTED for end in ends)
        for call in calls:
            call.cancel()
        await asyncio.gather(*ends)
    return refused


def _show(report: dict[str, Any], options: argparse.Namespace) -> None:
    table = Table(title=f"{options.seconds:g} s at {options.times:g} × capacity, deadline {options.deadline_ms:g} ms")
    table.add_column("", no_wrap=True)
    rows: dict[str, list[str]] = {}
    for name, found in report["servers"].items():
        table.add_column(name, justify="right")
        for label, value in _rows(found):
            rows.setdefault(label, []).append(value)
    for label, values in rows.items():
        table.add_row(label, *values)
    say(table)
    flood = report.get("flood")
    if flood:
        grown_mb = flood["rss_most_mb"] - flood["rss_first_mb"]
        say(
            f"flooded with {FLOOD_REQUESTS} × {FLOOD_PAIRS} pairs without a deadline: {flood['refused']} refused, "
            f"memory grew by {grown_mb:,.0f} MB and may by {flood['allowed_mb']:,.0f} MB"
        )
    say(f"load {report['load_before']:.1f} before, {report['load_after']:.1f} after; {os.cpu_count()} cores")


def _rows(found: dict[str, Any]) -> Sequence[tuple[str, str]]:
    first, last = found["capacity_pairs_per_s"]
    overload, process = found["overload"], found["process"]
    goodput, outcomes = overload["goodput_pairs_per_s"], overload["outcomes"]
    admitted, refused, cores = overload["admitted"], overload["refused"], found["capacity_cpu_cores"]
    return (
        ("capacity before, after, pairs/s", f"{first:,.0f}, {last:,.0f}"),
        ("usual latency p50, p99, ms", f"{found['usual']['p50']:,.0f}, {found['usual']['p99']:,.0f}"),
        ("asked for, requests/s", f"{overload['calls_per_s']:.1f}"),
        ("goodput, pairs/s", f"{goodput:,.0f}"),
        ("goodput / capacity before, mean", f"{goodput / first:.2f}, {2 * goodput / (first + last):.2f}"),
        ("whole, partial, refused, late, failed", ", ".join(str(outcomes.get(one, 0)) for one in OUTCOMES)),
        ("admitted p50, p99, max, ms", f"{admitted['p50']:,.0f}, {admitted['p99']:,.0f}, {admitted['max']:,.0f}"),
        ("refused p50, p99, max, ms", f"{refused['p50']:,.1f}, {refused['p99']:,.1f}, {refused['max']:,.1f}"),
        ("memory before, most, MB", f"{process['rss_first_mb']:,.0f}, {process['rss_most_mb']:,.0f}"),
        ("cores at capacity, under overload", f"{cores[0]:.2f}, {cores[1]:.2f}, {process['cpu_cores']:.2f}"),
        ("latency as usual after, s", f"{found['normal_after_s']:g}"),
    )


OUTCOMES = ("whole", "partial", "refused", "late", "failed")

if __name__ == "__main__":
    main()
