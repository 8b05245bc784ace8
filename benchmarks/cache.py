"""What known pairs and known texts cost: no model runs, so that nothing but the service layer is left.

    python benchmarks/cache.py [--tokeniser FOLDER]

- *hit path*: keys and look-up of known pairs, as ``Service.score`` does it, in one thread.
- *a repeated query over gRPC*: 100 known pairs through a real server and channel on loopback, from call to answer.
- *tokens*: a request of 100 texts tokenised, the same texts behind a new query, and the first 16 of them alone. With
  ``--tokeniser`` by that folder's tokenizer.json, else by the tiny one of the tests.

Texts are 600 characters, about 119 tokens behind a query in a BERT tokenizer.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import grpc

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar import grpc_server
from rescorer_sidecar.cache import ScoreCache, pair_keys
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import PairScore
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model, write_tokeniser
from rescorer_sidecar.token_cache import TokenCache
from rescorer_sidecar.tokenise import Tokeniser

PAIRS = 100
CHARACTERS = 600
WORDS = ("the", "cancellation", "of", "a", "flight", "is", "refunded", "within", "days", "after", "late", "trains")


def texts(count: int, seed: int = 1) -> list[str]:
    """So many different texts."""
    dice = random.Random(seed)
    return [" ".join(dice.choices(WORDS, k=200))[:CHARACTERS] for _ in range(count)]


def best_s(work: Callable[[], object], times: int) -> float:
    """Seconds of the fastest of several runs."""
    took = []
    for _ in range(times):
        begun_s = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun_s)
    return min(took)


def hit_path() -> float:
    """Known pairs per second and core: key and look-up."""
    cache, known = ScoreCache(64_000_000), texts(10_000)
    for key in pair_keys("digest", 512, "cancel a flight", known):
        cache.put(key, PairScore(logit=1.5, token_count=119, truncated=False))

    def look_up() -> None:
        found = cache.known(pair_keys("digest", 512, "cancel a flight", known))
        if None in found:
            raise RuntimeError("a pair that was put is not known")

    return len(known) / best_s(look_up, 10)


async def repeated_ms(calls: int) -> list[float]:
    """Milliseconds of each repeated call of 100 known pairs over gRPC, sorted."""
    clock, settings = MonotonicClock(), Settings(model="fake", port=0)
    service = Service(settings, clock)
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    with tempfile.TemporaryDirectory() as folder:
        service.open([fake_model(write_tokeniser(Path(folder)), max_tokens=512)])
    await server.start()
    candidates = [wire.Candidate(id=str(place), text=text) for place, text in enumerate(texts(PAIRS))]
    request = wire.ScoreRequest(query="cancel a flight", candidates=candidates)
    took = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        score = rescorer_pb2_grpc.RescorerStub(channel).Score
        await score(request)
        for _ in range(calls):
            begun_s = time.perf_counter()
            answer = await score(request)
            took.append(1000 * (time.perf_counter() - begun_s))
            if not all(entry.cached for entry in answer.results):
                raise RuntimeError("a repeated query was scored again")
    await server.stop(None)
    service.close()
    return sorted(took)


def tokens_ms(folder: Path) -> tuple[float, float, float]:
    """Milliseconds to tokenise 100 texts, the same when they are known, and the first 16."""
    tokeniser, read = Tokeniser(folder), texts(PAIRS)
    known = TokenCache(64_000_000)
    tokeniser.pairs("cancel a flight", read, 512, known)
    runs: Iterable[Callable[[], object]] = (
        lambda: tokeniser.pairs("refund a hotel", read, 512),
        lambda: tokeniser.pairs("refund a hotel", read, 512, known),
        lambda: tokeniser.pairs("refund a hotel", read[:16], 512),
    )
    whole, again, part = (1000 * best_s(run, 10) for run in runs)
    return whole, again, part


def main() -> None:
    """Print all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokeniser", type=Path, help="folder with a tokenizer.json")
    parser.add_argument("--calls", type=int, default=500, help="repeated calls over gRPC; default 500")
    given = parser.parse_args()
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print(f"hit path: {hit_path():,.0f} pairs/s on one core")
    took = asyncio.run(repeated_ms(given.calls))
    print(
        f"a repeated query of {PAIRS} pairs over gRPC: p50 {statistics.median(took):.2f} ms, "
        f"p99 {took[int(0.99 * len(took))]:.2f} ms"
    )
    with tempfile.TemporaryDirectory() as folder:
        whole, again, part = tokens_ms(given.tokeniser or write_tokeniser(Path(folder)))
    print(f"tokens of {PAIRS} texts: new {whole:.2f} ms, known {again:.2f} ms, first 16 new {part:.2f} ms")


if __name__ == "__main__":
    main()
