"""Our sidecar over gRPC beside other cross-encoder servers and libraries: same texts, same cores, in turn, in one run.

    make bench-setup                                     # the peers, in environments of their own
    .venv/bin/python benchmarks/sidecar.py               # W2, W3, W4, the cache and how cost grows: about ten minutes
    .venv/bin/python benchmarks/sidecar.py --workloads W1,W2 --rounds 3 --peers openvino,st-bf16 --ours native:bf16

W1: 100 pairs of title and abstract, 374 tokens each; W2: 100 windows of 60 words, 118 tokens; W3: 20 of these; W4:
eight callers at once of W3. All peers are loaded first; each round gives the same request to each in turn, in an order
that turns. A ratio is the median over requests of (the peer's time / our first variant's time for that same request).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from peers import limit
from peers.callers import Caller, Infinity, Library, Sidecar, Unavailable, correlation
from peers.texts import Request, Texts, load
from rich.console import Console
from rich.table import Table

from rescorer_lab import models

ROOT = Path(__file__).parent.parent
LIBRARIES = ("st-fp32", "st-bf16", "openvino", "openvino-streams", "ort-int8", "ort-int8-single", "flashrank")
PYTHON = ROOT / ".venv-peers/bin/python"
CORES = len(os.sched_getaffinity(0))
CALLERS, PER_CALLER = 8, 2
ARRIVALS = 240
say = Console(width=110).print


@dataclass
class Column:
    """What one that scores did with one workload: times in ms and logits, by request."""

    ms: list[float] = field(default_factory=list)
    logits: list[list[float]] = field(default_factory=list)


def main() -> None:
    """Run, print, write."""
    options = _options()
    recovered = models.fetch(models.RECOVERED, say)
    texts = load(str(recovered / "tokenizer.json"), say)
    say(f"load {os.getloadavg()[0]:.1f} before; {_processor()}, {CORES} cores")
    rates = _rates()
    scorers = _scorers(options, recovered)
    try:
        report: dict[str, Any] = {"machine": _processor(), "rates": rates, "scorers": {}}
        report["scorers"] = {one.name: one.detail for one in scorers}
        for name in [name for name in ("W1", "W2", "W3") if name in options.workloads]:
            report[name] = _in_turn(name, _requests(texts, name)[: options.rounds], scorers, rates, recovered)
        if "W4" in options.workloads:
            report["W4"] = _together(_requests(texts, "W3"), scorers)
        ours = scorers[0]
        if "growth" in options.workloads:
            report["growth"] = _growth(texts, ours)
        if "callers" in options.workloads:
            report["callers"] = _callers(_requests(texts, "W3"), ours)
    finally:
        for one in scorers:
            one.close()
    if "cache" in options.workloads:
        report["cache"] = _cached(texts, options.ours[0], recovered)
    report["load_after"] = os.getloadavg()[0]
    say(f"load {report['load_after']:.1f} after")
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    say(f"written: {options.out}")
    if options.plot and PYTHON.is_file():
        subprocess.run([str(PYTHON), str(ROOT / "benchmarks/peers/plot.py"), options.out, options.plot], check=True)
        say(f"written: {options.plot}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    comma = lambda raw: [part for part in raw.split(",") if part]  # noqa: E731
    known = ("W1", "W2", "W3", "W4", "growth", "callers", "cache")
    parser.add_argument("--workloads", type=comma, default=list(known[1:]), help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=5, help="requests of each workload, up to 20; default 5")
    parser.add_argument("--ours", type=comma, default=["native:bf16", "native:int8", "native:fp32"])
    parser.add_argument("--peers", type=comma, default=[*LIBRARIES, "infinity-bf16"])
    parser.add_argument("--out", default="sidecar-benchmark.json")
    parser.add_argument("--plot", default="", metavar="FILE.svg", help="a picture of the times of W1 to W3")
    return parser.parse_args()


def _scorers(options: argparse.Namespace, recovered: Path) -> list[Caller]:
    quantised = models.fetch(models.CROSS_ENCODER, say)
    settings = _settings(recovered, quantised)
    infinity = ROOT / ".venv-peers-infinity/bin/infinity_emb"
    wanted: list[tuple[str, Callable[[], Caller]]] = [
        (spec, lambda spec=spec: Sidecar(spec, quantised if spec.startswith("onnx") else recovered))  # type: ignore[misc]
        for spec in options.ours
    ]
    for name in options.peers:
        if name == "infinity-bf16":
            wanted.append((name, lambda: Infinity(infinity, recovered)))
        else:
            wanted.append((name, lambda name=name: Library(name, PYTHON, settings)))  # type: ignore[misc]
    made: list[Caller] = []
    for name, make in wanted:
        try:
            made.append(make())
            say(f"{made[-1].name}: {made[-1].detail}")
        except Unavailable as error:
            say(f"[bold]skipped[/bold] {name}: {error}")
    return made


def _settings(recovered: Path, quantised: Path) -> dict[str, Any]:
    cache = str(ROOT / ".venv-peers")
    return {"model": str(recovered), "int8": str(quantised), "cache": cache, "threads": CORES}


def _requests(texts: Texts, name: str) -> list[Request]:
    if name == "W1":
        return texts.long()
    return [request.first(100 if name == "W2" else 20) for request in texts.short()]


def _in_turn(
    name: str, requests: Sequence[Request], scorers: Sequence[Caller], rates: dict[str, Any], model: Path
) -> dict[str, Any]:
    columns = {one.name: Column() for one in scorers}
    _timed(scorers[0], requests[0])
    for place, request in enumerate(requests):
        for one in [*scorers[place % len(scorers) :], *scorers[: place % len(scorers)]]:
            time.sleep(0.05)  # the thread pool of the one before may still spin
            ms, logits = _timed(one, request)
            columns[one.name].ms.append(ms)
            columns[one.name].logits.append(logits)
    expected = _reference(requests, model)
    tokens = [sum(request.tokens) for request in requests]
    flop = statistics.mean(limit.linear_flop(r.tokens) + limit.attention_flop(r.tokens) for r in requests)
    table = _table(_title(name, requests), "ms (p10–p90)", "tokens/s", "× ours", "Pearson", "max diff")
    base = columns[scorers[0].name].ms
    rows = {}
    for label, column in columns.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(column.ms, base, strict=True))
        flat, truth = [*chain.from_iterable(column.logits)], [*chain.from_iterable(expected)]
        row = {
            "ms": statistics.median(column.ms),
            "p10": _quantile(column.ms, 0.1),
            "p90": _quantile(column.ms, 0.9),
            "tokens_per_s": statistics.median(n / ms * 1000 for n, ms in zip(tokens, column.ms, strict=True)),
            "ratio": ratio,
            "pearson": correlation(flat, truth),
            "max_diff": max(abs(x - y) for x, y in zip(flat, truth, strict=True)),
            "flop_per_s": flop / statistics.median(column.ms) * 1000,
        }
        rows[label] = row
        table.add_row(
            label,
            f"{row['ms']:,.0f} ({row['p10']:,.0f}–{row['p90']:,.0f})",
            f"{row['tokens_per_s']:,.0f}",
            f"{ratio:.2f}",
            f"{row['pearson']:.5f}",
            f"{row['max_diff']:.3f}",
        )
    say(table)
    for kind, rate in rates.items():
        say(f"  floor by the measured {kind} matmul rate ({rate / 1e12:.2f} Tflop/s): {flop / rate * 1e3:,.0f} ms")
    return {"rows": rows, "flop": flop, "tokens": statistics.mean(tokens), "requests": len(requests)}


def _together(requests: Sequence[Request], scorers: Sequence[Caller]) -> dict[str, Any]:
    """W4: eight callers at once; a library has no door for several, so servers only."""
    table = _table(f"W4: {CALLERS} callers of 20 pairs", "requests/s", "p50 ms", "p95 ms")
    found = {}
    for one in [one for one in scorers if not isinstance(one, Library)]:
        begun_s = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as threads:
            ms = list(threads.map(lambda request: _timed(one, request)[0], requests[: CALLERS * PER_CALLER]))  # noqa: B023
        took_s = time.perf_counter() - begun_s
        row = {"requests_per_s": len(ms) / took_s, "p50": statistics.median(ms), "p95": _quantile(ms, 0.95)}
        found[one.name] = row
        table.add_row(one.name, f"{row['requests_per_s']:.2f}", f"{row['p50']:,.0f}", f"{row['p95']:,.0f}")
    say(table)
    return found


def _growth(texts: Texts, ours: Caller) -> dict[str, Any]:
    """Ms per 1,000 tokens from 10 to 1,000 pairs and from 32 to 512 tokens a pair; P1 and P2 on the way."""
    whole = texts.many(1000)
    found: dict[str, Any] = {"pairs": {}, "tokens": {}}
    for count in (1, 8, 10, 32, 100, 320, 1000):
        request = whole.first(count)
        ms = min(_timed(ours, request)[0] for _ in range(3 if count <= 100 else 1))
        found["pairs"][count] = {"ms": ms, "ms_per_1000_tokens": ms / sum(request.tokens) * 1000}
    for length in (32, 64, 128, 256, 512):
        request = texts.exact(length, 50)
        ms = min(_timed(ours, request)[0] for _ in range(2))
        found["tokens"][length] = {"ms": ms, "ms_per_1000_tokens": ms / sum(request.tokens) * 1000}
    hundred = whole.first(100)
    alone = [Request(query=hundred.query, texts=(text,), tokens=(0,)) for text in hundred.texts]
    found["one_by_one_ms"] = sum(_timed(ours, request)[0] for request in alone)
    table = _table("How cost grows", "ms", "ms / 1,000 tokens")
    for kind in ("pairs", "tokens"):
        for size, row in found[kind].items():
            table.add_row(f"{size} {kind}", f"{row['ms']:,.1f}", f"{row['ms_per_1000_tokens']:.1f}")
    say(table)
    ratio = found["one_by_one_ms"] / found["pairs"][100]["ms"]
    say(f"  P1: 100 calls of one pair take {ratio:.2f} × one call of 100 pairs")
    return found


def _callers(requests: Sequence[Request], ours: Caller) -> dict[str, Any]:
    """Throughput with more callers of 20 pairs is never lower than with one."""
    found = {}
    for count in (1, 4, 16, 64):
        work = [requests[place % len(requests)] for place in range(max(8, count))]
        begun_s = time.perf_counter()
        with ThreadPoolExecutor(count) as threads:
            ms = list(threads.map(lambda request: _timed(ours, request)[0], work))
        took_s = time.perf_counter() - begun_s
        found[count] = {"requests_per_s": len(work) / took_s, "p50": statistics.median(ms), "p99": _quantile(ms, 0.99)}
        say(f"  {count} callers of 20 pairs: {len(work) / took_s:.2f} requests/s, p50 {found[count]['p50']:,.0f} ms")
    rate = 0.8 * found[1]["requests_per_s"]
    found["at 80 %"] = {how: _under_load(requests, ours, how, due) for how, due in _arrivals(rate).items()}
    for how, of in found["at 80 %"].items():
        told = ", ".join(f"{name} {of[name]:,.0f} ms" for name in ("p50", "p99"))
        say(f"  at 80 % load, {rate:.2f} requests/s {how}: {told}, {of['p99'] / of['p50']:.1f} ×")
    one = _one_at_a_time(_arrivals(rate)["by chance"], 1 / found[1]["requests_per_s"])
    say(f"  taken one after the other, each as long, the same by chance would have {one['p99'] / one['p50']:.1f} ×")
    return found


def _arrivals(rate: float) -> dict[str, list[float]]:
    """When requests come, in seconds: by chance (Poisson, seed 0), and evenly."""
    chance = random.Random(0)
    by_chance = list(accumulate(chance.expovariate(rate) for _ in range(ARRIVALS)))
    return {"by chance": by_chance, "evenly": [place / rate for place in range(ARRIVALS)]}


def _one_at_a_time(due: Sequence[float], service_s: float) -> dict[str, float]:
    """Latency in a queue that nothing disturbs."""
    free_s, ms = 0.0, []
    for at in due:
        free_s = max(at, free_s) + service_s
        ms.append(1000 * (free_s - at))
    return {"p50": statistics.median(ms), "p99": _quantile(ms, 0.99)}


def _under_load(requests: Sequence[Request], ours: Caller, how: str, due: Sequence[float]) -> dict[str, float]:
    """Latency where requests come at these seconds; each text is new to the sidecar."""

    def sent(at: tuple[int, float]) -> float:
        place, due_s = at
        time.sleep(max(0.0, begun_s + due_s - time.perf_counter()))
        request = requests[place % len(requests)]
        texts = tuple(f"{text} {place} {how}" for text in request.texts)
        return _timed(ours, Request(query=request.query, texts=texts, tokens=request.tokens))[0]

    with ThreadPoolExecutor(len(due)) as threads:
        begun_s = time.perf_counter()
        ms = list(threads.map(sent, enumerate(due)))
    return {"p50": statistics.median(ms), "p99": _quantile(ms, 0.99)}


def _cached(texts: Texts, spec: str, model: Path) -> dict[str, float]:
    """A repeated query of 100 pairs, and what the door costs."""
    ours = Sidecar(spec, model, cache_mb=256)
    request = texts.short()[0]
    first_ms, _ = _timed(ours, request)
    door_ms = first_ms - ours.inside_ms
    again = [_timed(ours, request)[0] for _ in range(20)]
    ours.close()
    found = {"first_ms": first_ms, "door_ms": door_ms}
    found |= {"again_ms": statistics.median(again), "again_p90": _quantile(again, 0.9)}
    say(f"  100 pairs again: {found['again_ms']:.2f} ms (p90 {found['again_p90']:.2f}), first {first_ms:,.0f} ms")
    say(f"  the gRPC door: {door_ms:.2f} ms, {100 * door_ms / first_ms:.2f} % of W2")
    return found


def _reference(requests: Sequence[Request], model: Path) -> list[list[float]]:
    """Logits of transformers in fp32; of our fp32, which tests hold to it within 1e-4, where no peers are installed."""
    try:
        exact: Caller = Library("reference", PYTHON, _settings(model, model))
    except Unavailable:
        exact = Sidecar("native:fp32", model)
    try:
        return [exact.score(request.query, request.texts) for request in requests]
    finally:
        exact.close()


def _timed(one: Caller, request: Request) -> tuple[float, list[float]]:
    begun_s = time.perf_counter()
    logits = one.score(request.query, request.texts)
    return (time.perf_counter() - begun_s) * 1e3, logits


def _rates() -> dict[str, float]:
    """Best matmul rates at the model's shapes, operations a second: torch's, and the native kernels' own."""
    from rescorer_sidecar.backends.native import build

    found = {}
    library = build.library()
    for name, code in (("native fp32", 0), ("native bf16", 1), ("native int8", 2)):
        if library.rescorer_supports(code):
            with ThreadPoolExecutor() as threads:
                found[name] = sum(threads.map(lambda _: library.rescorer_rate(code), range(CORES)))  # noqa: B023
    if PYTHON.is_file():
        worker = [str(PYTHON), str(ROOT / "benchmarks/peers/worker.py"), "limit", json.dumps({"threads": CORES})]
        done = subprocess.run(worker, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found |= {f"torch {kind}": row["best"] for kind, row in json.loads(done.stdout).items() if "best" in row}
    for name, rate in found.items():
        say(f"  matmul at the model's shapes, {name}: {rate / 1e12:.3f} T/s")
    return found


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title)
    made.add_column("", no_wrap=True)
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    return made


def _title(name: str, requests: Sequence[Request]) -> str:
    pairs = len(requests[0].texts)
    tokens = statistics.mean(sum(request.tokens) for request in requests) / pairs
    return f"{name}: {pairs} pairs of {tokens:.0f} tokens, {len(requests)} requests"


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    named = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line for line in lines if line.startswith("flags")), "")
    able = [name for name in ("amx_tile", "avx512_bf16", "avx512_vnni", "avx512f", "avx2") if f" {name}" in flags]
    return f"{named} ({', '.join(able)})"


if __name__ == "__main__":
    sys.exit(main())
