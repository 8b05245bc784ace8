"""An application of many kinds of searches: ``python searcher.py '{"engine": …}'``, until its input ends.

Searches come at their own pace, from two threads with one drop-in client; each is a line of JSON on its output:
``[seconds, kind, ms, status]``, seconds of the machine's monotonic clock. The mixture is drawn by seed.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from rescorer.opensearch import OpenSearch
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc

THREADS = 2
LAST = 50
"""A query that comes again is one of so many last ones."""


class Searcher:
    """One thread's searches."""

    def __init__(self, wanted: Mapping[str, Any], seed: int, client: OpenSearch, channel: grpc.Channel) -> None:
        self._wanted, self._client = wanted, client
        self._chance = random.Random(seed)
        self._stub = rescorer_pb2_grpc.RescorerStub(channel)
        self._numbers = itertools.count(seed, 1000)
        self._asked: list[str] = ["what is a cell"]

    def drawn(self) -> str:
        """The kind of the next search."""
        return self._chance.choices(list(KINDS), [share for share, _ in KINDS.values()])[0]

    def search(self) -> str:
        """A query that nobody asked before, so that its pairs are new."""
        query = f"{self._chance.choice(self._wanted['queries'])} {next(self._numbers)}"
        self._asked = [*self._asked[-LAST:], query]
        return self._searched(self._client, query)

    def again(self) -> str:
        """One of the last queries once more."""
        return self._searched(self._client, self._chance.choice(self._asked))

    def paged(self) -> str:
        """Its next page."""
        return self._searched(self._client, self._chance.choice(self._asked), **{"from": 4})

    def msearch(self) -> str:
        """Three searches in one call."""
        lines = [({}, self._body(f"{self._chance.choice(self._asked)} and")) for _ in range(3)]
        answer = self._client.msearch(index=self._wanted["index"], body=[line for pair in lines for line in pair])
        return _worst([one["rescore"]["status"] for one in answer["responses"]])

    def chunks(self) -> str:
        """Long texts, read in chunks."""
        long_texts = {"chunk_tokens": 48, "overlap_tokens": 8, "most_chunks": 3}
        query = f"chunks {next(self._numbers)} {self._chance.choice(self._wanted['queries'])}"
        return self._searched(self._client, query, {"window_size": 3, "long_texts": long_texts})

    def hurried(self) -> str:
        """So little time that some of it must be left."""
        query = f"hurried {next(self._numbers)} {self._chance.choice(self._wanted['queries'])}"
        return self._searched(self._client, query, {"budget_ms": 40})

    def wrong(self) -> str:
        """A model that is not served."""
        return self._searched(self._client, self._chance.choice(self._asked), {"model": "no-such-model"})

    def embed(self) -> str:
        """A query's vector."""
        self._client.embed([f"embed {next(self._numbers)}"], kind="query")
        return "embedded"

    def newcomer(self) -> str:
        """A client that is opened, asks once and is closed."""
        wanted = self._wanted
        with OpenSearch(wanted["engine"], rescorer=wanted["sidecar"], rescorer_caller="newcomer") as client:
            return self._searched(client, self._chance.choice(self._asked))

    def cancelled(self) -> str:
        """A call whose caller goes at once."""
        texts = [f"cancelled {next(self._numbers)} {place}" for place in range(20)]
        candidates = [wire.Candidate(id=text, text=text) for text in texts]
        self._stub.Score.future(wire.ScoreRequest(query="cancelled", candidates=candidates)).cancel()
        return "cancelled"

    def empty(self) -> str:
        """A request that can't be answered."""
        try:
            self._stub.Score(wire.ScoreRequest(query=" "), timeout=5)
        except grpc.RpcError as error:
            return str(error.code().name).lower()
        return "answered"

    def _searched(self, client: OpenSearch, query: str, more: Mapping[str, Any] | None = None, **page: Any) -> str:
        body = {**self._body(query, more or {}), **page}
        return str(client.search(index=self._wanted["index"], body=body)["rescore"]["status"])

    def _body(self, query: str, more: Mapping[str, Any] = {}) -> dict[str, Any]:  # never changed
        asked = {"query_text": query, **self._wanted["cross_encoder"], **more}
        return {"query": {"match": {"body": query}}, "rescore": {"cross_encoder": asked}, "size": 8}


KINDS: Mapping[str, tuple[float, Callable[[Searcher], str]]] = {
    "search": (40, Searcher.search),
    "again": (14, Searcher.again),
    "paged": (6, Searcher.paged),
    "msearch": (5, Searcher.msearch),
    "chunks": (4, Searcher.chunks),
    "hurried": (6, Searcher.hurried),
    "wrong": (5, Searcher.wrong),
    "embed": (5, Searcher.embed),
    "newcomer": (5, Searcher.newcomer),
    "cancelled": (6, Searcher.cancelled),
    "empty": (4, Searcher.empty),
}
"""Shares of a hundred searches."""


def _worst(statuses: list[str]) -> str:
    return next((one for one in ("fallback", "partial", "skipped") if one in statuses), "reranked")


class Told:
    """Lines of the output, whole, from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def tell(self, line: list[Any]) -> None:
        """One search."""
        with self._lock:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


def _paced(wanted: Mapping[str, Any], searcher: Searcher, seed: int, ended: threading.Event, told: Told) -> None:
    chance, due_s = random.Random(seed), time.monotonic()
    while not ended.wait(max(0.0, due_s - time.monotonic())):
        kind, begun_s = searcher.drawn(), time.monotonic()
        try:
            status = KINDS[kind][1](searcher)
        except Exception as error:  # noqa: BLE001  # whatever a search ends with is told
            status = f"error {type(error).__name__}"
        told.tell([begun_s, kind, 1000 * (time.monotonic() - begun_s), status])
        due_s = max(due_s, begun_s - 1.0) + chance.expovariate(wanted["rate"] / THREADS)


def main() -> None:
    """Search until the input ends."""
    logging.disable(logging.WARNING)  # a line for each fallback, and many are meant
    wanted, ended, told = json.loads(sys.argv[1]), threading.Event(), Told()
    with (
        OpenSearch(wanted["engine"], rescorer=wanted["sidecar"], rescorer_caller="soak", timeout=30) as client,
        grpc.insecure_channel(wanted["sidecar"]) as channel,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for thread in range(THREADS):
            seed = wanted["seed"] + thread
            pool.submit(_paced, wanted, Searcher(wanted, seed, client, channel), seed, ended, told)
        sys.stdin.read()
        ended.set()


if __name__ == "__main__":
    main()
