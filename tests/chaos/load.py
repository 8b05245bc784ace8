"""A process that searches. One JSON line on its input is one load; each search is one JSON line on its output, and an
empty object is the load's end.

Runs as ``python -m chaos.load``. The drop-in client is opened anew for each load, so that no fault inherits breakers.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import opensearchpy
from opensearchpy import Urllib3HttpConnection

from rescorer.opensearch import OpenSearch

_spent = threading.local()


class TimedConnection(Urllib3HttpConnection):
    """The official connection, which adds up how long this thread waited for the engine."""

    def perform_request(self, *args: Any, **kwargs: Any) -> Any:
        """As the official one."""
        begun_s = time.monotonic()
        try:
            return super().perform_request(*args, **kwargs)
        finally:
            _spent.engine_s = getattr(_spent, "engine_s", 0.0) + time.monotonic() - begun_s


class Load:
    """Searches through one client, as ``wanted`` says; what became of each is told at once."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._wanted = wanted
        self.enough = threading.Event()
        self._numbers = itertools.count(wanted["first"])
        self._telling = threading.Lock()

    def run(self) -> None:
        """All of them, by so many threads as are wanted, or until it is enough."""
        wanted = self._wanted
        options = {"connection_class": TimedConnection, "timeout": wanted["timeout_s"], **wanted["client"]}
        client: Any
        if wanted["is_official"]:
            client = opensearchpy.OpenSearch(wanted["engine"], **options)
        else:
            client = OpenSearch(wanted["engine"], rescorer=wanted["sidecars"], **options)
        with ThreadPoolExecutor(wanted["threads"]) as pool:
            list(pool.map(self._some, [client] * wanted["threads"]))
        client.close()
        self._tell({})

    def _some(self, client: Any) -> None:
        for _ in range(self._wanted["searches"] // self._wanted["threads"]):
            if self.enough.is_set():
                return
            self._one(client)
            self.enough.wait(self._wanted["pause_s"])

    def _one(self, client: Any) -> None:
        number = next(self._numbers)
        queries = self._wanted["queries"]
        query = queries[number % len(queries)]
        _spent.engine_s, begun_s = 0.0, time.monotonic()
        try:
            told = _told(client.search(index=self._wanted["index"], body=self._body(query, number)))
        except Exception as error:  # noqa: BLE001 - whatever a search ends with is told
            told = {"error": _called(error)}
        ended_s = time.monotonic()
        times = {
            "begun_s": begun_s,
            "wall_s": time.time(),
            "elapsed_ms": 1000 * (ended_s - begun_s),
            "engine_ms": 1000 * _spent.engine_s,
        }
        self._tell({"query": query, "number": number, **told, **times})

    def _body(self, query: str, number: int) -> dict[str, Any]:
        # The number makes each pair a new one, so that no cache answers for the model.
        asked = {"query_text": f"{query} {number}", **self._wanted["cross_encoder"]}
        rescore = {} if self._wanted["is_official"] else {"rescore": {"cross_encoder": asked}}
        return {"query": {"match": {"body": query}}, **rescore, **self._wanted["body"]}

    def _tell(self, what: Mapping[str, Any]) -> None:
        with self._telling:
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
            threading.Thread(target=load.run).start()
        elif load is not None:
            load.enough.set()


if __name__ == "__main__":
    main()
