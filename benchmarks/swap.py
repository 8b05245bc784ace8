"""What a swap tells of good and broken versions, and what callers feel of it.

    .venv/bin/python benchmarks/swap.py                     # about five minutes on two cores
    .venv/bin/python benchmarks/swap.py --rate 5 --only "noise 20 %,INT8 (ONNX)"

One `rescorer-sidecar` process serves the L12 model in int8 on native kernels, score cache off. Calls come at a fixed
rate from this process, whatever became of earlier ones: SciFact queries with what BM25 finds. Meanwhile one version
after the other is swapped in through the admin door, forced, so that all of it is compared, and rolled back. Versions
are the served weights, changed in ways that happen: another number format, a little or much noise, a head that was
never trained, another tokenizer's vocabulary, a scale that moved.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import shutil
import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from peers.texts import Bm25
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file, save_file

from rescorer_lab import collections, models, sidecar
from rescorer_proto.admin.v1 import admin_pb2 as admin
from rescorer_proto.admin.v1 import admin_pb2_grpc
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc

LIMIT_TOKENS = 128
DEADLINE_S = 20.0
Weights = dict[str, np.ndarray]

console = Console(width=120)


def noise(part: float) -> Callable[[Weights], None]:
    """Each matrix with normal noise of this part of its own spread."""

    def change(weights: Weights) -> None:
        dice = np.random.default_rng(3)
        for name, values in weights.items():
            if values.ndim == 2:
                weights[name] = (values + part * values.std() * dice.standard_normal(values.shape)).astype(values.dtype)

    return change


def head(make: Callable[[str, np.ndarray], np.ndarray]) -> Callable[[Weights], None]:
    """The last layer, which makes the logit, changed by ``make(name, values)``."""

    def change(weights: Weights) -> None:
        for name in [name for name in weights if name.startswith("classifier.")]:
            weights[name] = make(name, weights[name]).astype(weights[name].dtype)

    return change


def untrained(_: str, values: np.ndarray) -> np.ndarray:
    """As a fresh layer is: small and without meaning."""
    return np.random.default_rng(3).standard_normal(values.shape) * 0.02


def moved_words(vocabulary: dict[str, int]) -> None:
    """Each word gets the id of the next one, as with the tokenizer of a model of the same family."""
    words = [word for word in vocabulary if word.isalpha()]
    ids = [vocabulary[word] for word in words]
    vocabulary.update(zip(words, ids[1:] + ids[:1], strict=True))


VERSIONS: dict[str, Callable[[Weights], None]] = {
    "noise 5 %": noise(0.05),
    "noise 20 %": noise(0.2),
    "noise 40 %": noise(0.4),
    "noise 80 %": noise(0.8),
    "a head without training": head(untrained),
    "logits + 3": head(lambda name, values: values + 3 * name.endswith("bias")),
    "logits · 0.3": head(lambda _, values: values * 0.3),
}
ONNX, TOKENIZER = "INT8 (ONNX)", "another tokenizer's ids"


def versions(folder: Path, served: Path, only: list[str]) -> dict[str, Path]:
    """The folder of each version by its name, made of the one that is served."""
    made = {ONNX: models.fetch(models.CROSS_ENCODER, console.print)} if not only or ONNX in only else {}
    for number, name in enumerate([*VERSIONS, TOKENIZER]):
        if only and name not in only:
            continue
        made[name] = folder / f"v{number}"
        shutil.copytree(served, made[name])
        if name == TOKENIZER:
            path = made[name] / "tokenizer.json"
            described = json.loads(path.read_text(encoding="utf-8"))
            moved_words(described["model"]["vocab"])
            path.write_text(json.dumps(described), encoding="utf-8")
        else:
            weights = load_file(made[name] / "model.safetensors")
            VERSIONS[name](weights)
            save_file(weights, made[name] / "model.safetensors")
    return made


def asked(options: argparse.Namespace) -> list[wire.ScoreRequest]:
    """One request a query."""
    collection = collections.scifact(console.print)
    documents = collection.documents
    bm25 = Bm25([f"{document.title} {document.body}" for document in documents])
    requests = []
    for query in collection.sample(options.queries):
        found = [documents[place] for place in bm25.top(collection.queries[query], options.candidates)]
        candidates = [wire.Candidate(id=entry.id, text=f"{entry.title} {entry.body}") for entry in found]
        limit = wire.ScoreOptions(max_tokens=LIMIT_TOKENS)
        requests.append(wire.ScoreRequest(query=collection.queries[query], candidates=candidates, options=limit))
    return requests


@dataclass
class Traffic:
    """Calls at a fixed rate; ``ms`` holds how long each took, by the phase in which it began."""

    stub: Any
    requests: list[wire.ScoreRequest]
    rate: float
    phase: str = "before"
    ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def run(self) -> None:
        """Until it is cancelled."""
        calls: set[asyncio.Task[None]] = set()
        begun_s = time.perf_counter()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, begun_s + number / self.rate - time.perf_counter()))
            call = asyncio.create_task(self._ask(self.requests[number % len(self.requests)]))
            calls.add(call)
            call.add_done_callback(calls.discard)

    async def _ask(self, request: wire.ScoreRequest) -> None:
        phase, begun_s = self.phase, time.perf_counter()
        try:
            answer = await self.stub.Score(request, timeout=DEADLINE_S)
            self.failed[phase] += answer.status != wire.SCORE_STATUS_COMPLETE
        except grpc.RpcError:
            self.failed[phase] += 1
        self.ms[phase].append(1000 * (time.perf_counter() - begun_s))


async def swapped(stub: Any, folder: Path, options: argparse.Namespace, traffic: Traffic) -> admin.SwapProgress:
    """The end of one swap; what is let through is rolled back. All versions are compared, whatever is golden."""
    names = {admin.STEP_LOADING: "loading", admin.STEP_CHECKING: "checking", admin.STEP_SHADOWING: "comparing"}
    order = admin.SwapRequest(
        source=str(folder), shadow_requests=options.shadow, shadow_share=options.share, within_s=300, force=True
    )
    end = admin.SwapProgress()
    async for end in stub.Swap(order):
        traffic.phase = names.get(end.step, "after")
    if end.step == admin.STEP_SWITCHED:
        await asyncio.sleep(options.pause)
        await stub.Rollback(admin.RollbackRequest())
    traffic.phase = "between"
    await asyncio.sleep(options.pause)
    return end


async def measured(options: argparse.Namespace, address: str, port: int, folders: dict[str, Path]) -> None:
    """Both tables."""
    requests = asked(options)
    table = Table("version", "golden", "rank correlation", "distance", "shift", "verdict", title="what a swap tells")
    async with grpc.aio.insecure_channel(address) as door, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as operator:
        traffic = Traffic(rescorer_pb2_grpc.RescorerStub(door), requests, options.rate)
        running = asyncio.create_task(traffic.run())
        await asyncio.sleep(options.before)
        for name, folder in folders.items():
            end = await swapped(admin_pb2_grpc.AdminStub(operator), folder, options, traffic)
            found = end.comparison
            verdict = end.reason or "; ".join(end.objections) or "switched"
            figures = (f"{figure:.3f}" for figure in (found.rank_correlation, found.distance, found.shift))
            table.add_row(name, f"{end.golden.new} of {end.golden.queries}", *figures, verdict)
            console.print(f"{name}: {verdict}")
        running.cancel()
    console.print(table)
    felt = Table("phase", "calls", "p50 ms", "p95 ms", "p99 ms", "not answered whole", title="what callers feel")
    for phase, ms in traffic.ms.items():
        felt.add_row(
            phase, str(len(ms)), *(f"{np.percentile(ms, at):.0f}" for at in (50, 95, 99)), str(traffic.failed[phase])
        )
    console.print(felt)


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=3.0, help="calls a second")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--shadow", type=int, default=40, help="requests that are compared")
    parser.add_argument("--share", type=float, default=1.0, help="most of the live pairs that are scored twice")
    parser.add_argument("--before", type=float, default=30.0, help="seconds of traffic before the first swap")
    parser.add_argument("--pause", type=float, default=5.0, help="seconds between swaps")
    parser.add_argument("--only", default="", help="versions by name, commas between")
    options = parser.parse_args()
    served = models.fetch(models.RECOVERED, console.print)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = int(listening.getsockname()[1])
    with tempfile.TemporaryDirectory() as work:
        folders = versions(Path(work), served, [name for name in options.only.split(",") if name])
        settings = ["--model", str(served), "--precision", "int8", "--cache-mb", "0", "--admin-port", str(port)]
        started = sidecar.start(settings, Path(work) / "sidecar.log")
        try:
            asyncio.run(measured(options, started.address, port, folders))
        finally:
            started.stop()


if __name__ == "__main__":
    main()
