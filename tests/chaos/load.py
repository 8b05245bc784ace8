"""A process that searches. One JSON line on its input is one load; each search is one JSON line on its output, and an
empty object is the load's end.

Runs as ``python -m chaos.load``. The drop-in client, blocking or asynchronous, is opened anew for each load, so that no
fault inherits breakers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import elastic_transport
import elasticsearch as official_elasticsearch
import opensearchpy

from rescorer import elasticsearch, opensearch

_ENGINE_S: ContextVar[list[float]] = ContextVar("engine_s")
"""Seconds that this search has waited for the engine, call by call; a thread of its own adds to the same list."""


@contextmanager
def _timed() -> Iterator[None]:
    begun_s = time.monotonic()
    try:
        yield
    finally:
        _ENGINE_S.get([]).append(time.monotonic() - begun_s)


class _Timed:
    """What an official connection is made with to add up how long a search waited for the engine."""

    def perform_request(self, *args: Any, **kwargs: Any) -> Any:
        """As the official one."""
        with _timed():
            return super().perform_request(*args, **kwargs)  # type: ignore[misc]  # mixed into what has it


class _AsyncTimed:
    """The same for the asynchronous clients."""

    async def perform_request(self, *args: Any, **kwargs: Any) -> Any:
        """As the official one."""
        with _timed():
            return await super().perform_request(*args, **kwargs)  # type: ignore[misc]  # mixed into what has it


class TimedConnection(_Timed, opensearchpy.Urllib3HttpConnection):
    """OpenSearch's."""


class AsyncTimedConnection(_AsyncTimed, opensearchpy.AIOHttpConnection):
    """OpenSearch's, asynchronous."""


class TimedNode(_Timed, elastic_transport.Urllib3HttpNode):
    """Elasticsearch's."""


class AsyncTimedNode(_AsyncTimed, elastic_transport.AiohttpHttpNode):
    """Elasticsearch's, asynchronous."""


class Load:
    """Searches through one client, as ``wanted`` says; what became of each is told at once."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._wanted = wanted
        self.enough = threading.Event()
        self._numbers = itertools.count(wanted["first"])

    async def run(self) -> None:
        """All of them, so many at a time as are wanted, or until it is enough."""
        client = self._opened()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._wanted["at_a_time"]):
                group.create_task(self._some(client))
        if self._wanted["is_async"]:
            await client.close()
        else:
            client.close()
        _tell({})

    def _opened(self) -> Any:
        wanted = self._wanted
        ours = {} if wanted["is_official"] else {"rescorer": wanted["sidecars"]}
        if wanted["kind"] == "elasticsearch":
            room: Any = official_elasticsearch if wanted["is_official"] else elasticsearch
            kinds = (room.Elasticsearch, TimedNode), (room.AsyncElasticsearch, AsyncTimedNode)
            names = "node_class", "request_timeout"
        else:
            room = opensearchpy if wanted["is_official"] else opensearch
            kinds = (room.OpenSearch, TimedConnection), (room.AsyncOpenSearch, AsyncTimedConnection)
            names = "connection_class", "timeout"
        made, transport = kinds[wanted["is_async"]]
        return made(wanted["engine"], **dict(zip(names, (transport, wanted["timeout_s"]), strict=True)), **ours)

    async def _some(self, client: Any) -> None:
        for _ in range(self._wanted["searches"] // self._wanted["at_a_time"]):
            if self.enough.is_set():
                return
            await self._one(client)
            await asyncio.sleep(self._wanted["pause_s"])

    async def _one(self, client: Any) -> None:
        number = next(self._numbers)
        queries = self._wanted["queries"]
        query = queries[number % len(queries)]
        waited: list[float] = []
        _ENGINE_S.set(waited)
        begun_s = time.monotonic()
        try:
            answer = await self._answer(client, self._body(query, number))
            told = _told(getattr(answer, "body", answer))  # Elasticsearch's client wraps it
        except Exception as error:  # noqa: BLE001 - whatever a search ends with is told
            told = {"error": _called(error)}
        times = {
            "begun_s": begun_s,
            "wall_s": time.time(),
            "elapsed_ms": 1000 * (time.monotonic() - begun_s),
            "engine_ms": 1000 * sum(waited),
        }
        _tell({"query": query, "number": number, **told, **times})

    async def _answer(self, client: Any, body: Mapping[str, Any]) -> Any:
        if self._wanted["is_async"]:
            return await client.search(index=self._wanted["index"], body=body)
        return await asyncio.to_thread(client.search, index=self._wanted["index"], body=body)

    def _body(self, query: str, number: int) -> dict[str, Any]:
        # The number makes each pair a new one, so that no cache answers for the model.
        asked = {"query_text": f"{query} {number}", **self._wanted["cross_encoder"]}
        rescore = {} if self._wanted["is_official"] else {"rescore": {"cross_encoder": asked}}
        return {"query": {"match": {"body": query}}, **rescore, **self._wanted["body"]}


def _tell(what: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _told(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, Mapping) or "hits" not in answer:
        return {"error": "an answer without hits"}
    outcome = answer.get("rescore") or {}
    ids = [hit["_id"] for hit in answer["hits"]["hits"]]
    return {"ids": ids, "status": outcome.get("status"), "reason": outcome.get("reason")}


def _called(error: Exception) -> str:
    """Its type, and the engine's status where it has one."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} {status}" if isinstance(status, int) else type(error).__name__


def main() -> None:
    """One load for each line, until there are no more; an empty object ends the one that runs."""
    load: Load | None = None
    for line in sys.stdin:
        wanted = json.loads(line)
        if wanted:
            load = Load(wanted)
            threading.Thread(target=asyncio.run, args=(load.run(),)).start()
        elif load is not None:
            load.enough.set()


if __name__ == "__main__":
    main()
