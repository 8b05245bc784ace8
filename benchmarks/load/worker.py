"""A process that calls: ``python worker.py requests.json``. A line of JSON on its input is one phase of load.

Calls are ``[due, sent, ended, outcome, pairs]``, times in seconds of the machine's monotonic clock, outcomes as in
:data:`OUTCOMES`; they come as one line of JSON when the phase is over. A closed phase (``callers``) asks again when it
has an answer, an open one (``rate``) by chance (Poisson) whatever became of earlier calls: that is what users do.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc

OUTCOMES = ("whole", "partial", "refused", "late", "failed")
CODES = {grpc.StatusCode.RESOURCE_EXHAUSTED: "refused", grpc.StatusCode.DEADLINE_EXCEEDED: "late"}
HTTP_CODES = {429: "refused", 503: "refused", 504: "late"}
Call = tuple[float, float, float, str, int]


class Door(Protocol):
    """Something that scores, over the network."""

    async def ask(self, query: str, texts: Sequence[str], within_s: float) -> tuple[str, int]:
        """The outcome, and how many pairs came back scored."""
        ...


class Sidecar:
    """``rescorer.v1`` over gRPC; the deadline travels with the call."""

    def __init__(self, channel: grpc.aio.Channel, caller: str) -> None:
        self._stub = rescorer_pb2_grpc.RescorerStub(channel)
        self._metadata = (("rescorer-caller", caller),)

    async def ask(self, query: str, texts: Sequence[str], within_s: float) -> tuple[str, int]:
        """Without retries."""
        candidates = [wire.Candidate(id=str(place), text=text) for place, text in enumerate(texts)]
        request = wire.ScoreRequest(query=query, candidates=candidates)
        try:
            answer = await self._stub.Score(request, timeout=within_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            return CODES.get(error.code(), "failed"), 0
        return "whole" if len(answer.results) == len(texts) else "partial", len(answer.results)


class Http:
    """``/rerank`` over HTTP with a list of documents; the deadline is the caller's own, since the door has none."""

    def __init__(self, session: Any, url: str, model: str) -> None:
        self._session, self._url, self._model = session, url, model

    async def ask(self, query: str, texts: Sequence[str], within_s: float) -> tuple[str, int]:
        """Whoever has no answer in time hangs up."""
        body = {"query": query, "documents": texts, "model": self._model, "raw_scores": True}
        try:
            async with asyncio.timeout(within_s), self._session.post(f"{self._url}/rerank", json=body) as answer:
                if answer.status != 200:
                    return HTTP_CODES.get(answer.status, "failed"), 0
                return "whole", len((await answer.json())["results"])
        except TimeoutError:
            return "late", 0
        except OSError:
            return "failed", 0


@asynccontextmanager
async def opened(door: dict[str, str]) -> AsyncIterator[Door]:
    """A door as the phase describes it."""
    if door["kind"] == "grpc":
        async with grpc.aio.insecure_channel(door["address"]) as channel:
            yield Sidecar(channel, door["caller"])
        return
    import aiohttp

    limits = {"connector": aiohttp.TCPConnector(limit=0), "timeout": aiohttp.ClientTimeout(total=None)}
    async with aiohttp.ClientSession(**limits) as session:
        yield Http(session, door["address"], door["model"])


class Phase:
    """One phase of load on one door."""

    def __init__(self, door: Door, wanted: dict[str, Any], requests: Sequence[Any], numbers: Any) -> None:
        self._door, self._wanted, self._requests, self._numbers = door, wanted, requests, numbers
        self._until_s = wanted["begin_s"] + wanted["seconds"]
        self.calls: list[Call] = []

    async def run(self) -> None:
        """All of it, up to the last answer."""
        await asyncio.sleep(self._wanted["begin_s"] - time.monotonic())
        if "rate" in self._wanted:
            await self._open()
        else:
            await asyncio.gather(*(self._closed() for _ in range(self._wanted["callers"])))

    async def _closed(self) -> None:
        while (now_s := time.monotonic()) < self._until_s:
            await self._ask(now_s)

    async def _open(self) -> None:
        chance, due_s = random.Random(self._wanted["seed"]), self._wanted["begin_s"]
        calls: set[asyncio.Task[None]] = set()
        while (due_s := due_s + chance.expovariate(self._wanted["rate"])) < self._until_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            calls.add(asyncio.create_task(self._ask(due_s)))
        await asyncio.gather(*calls)

    async def _ask(self, due_s: float) -> None:
        number = next(self._numbers)
        request = self._requests[number % len(self._requests)]
        texts = [f"{text} {self._wanted['name']} {number}" for text in request["texts"]]  # new to whoever remembers
        sent_s = time.monotonic()
        outcome, pairs = await self._door.ask(request["query"], texts, self._wanted["deadline_ms"] / 1000)
        self.calls.append((due_s, sent_s, time.monotonic(), outcome, pairs))


async def _phase(wanted: dict[str, Any], requests: Sequence[Any], numbers: Any) -> list[Call]:
    async with opened(wanted["door"]) as door:
        phase = Phase(door, wanted, requests, numbers)
        await phase.run()
    return phase.calls


def main() -> None:
    """One phase a line, until there are no more."""
    requests, numbers = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), itertools.count()
    for line in sys.stdin:
        print(json.dumps(asyncio.run(_phase(json.loads(line), requests, numbers))), flush=True)


if __name__ == "__main__":
    main()
