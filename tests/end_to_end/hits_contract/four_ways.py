"""One way to ask for four clients: OpenSearch and Elasticsearch, blocking and with asyncio.

A test says method, index, body and options in the engines' own words; a way turns them into what its client takes,
and the answer into plain JSON. ``ask`` goes through our class, ``plain`` through the official one on the same node.
Every request that our class sends is kept in ``sent``, seen below the client, where the bytes leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import elastic_transport
import elasticsearch
import opensearchpy
from opensearchpy.connection.http_async import AIOHttpConnection  # type: ignore[attr-defined]  # public by its docs

from rescorer.elasticsearch import AsyncElasticsearch, Elasticsearch
from rescorer.opensearch import AsyncOpenSearch, OpenSearch
from rescorer.testing import AsyncFakeScorer, FakeScorer

NAMES = ("opensearch-sync", "opensearch-async", "elasticsearch-sync", "elasticsearch-async")
TRANSPORT = ("headers", "ignore_status", "opaque_id", "request_timeout")
"""What Elasticsearch's client takes in ``options()``, OpenSearch's with the call."""

LINES = {"msearch": "searches", "msearch_template": "search_templates"}
KEYWORDS = {"_source": "source", "from": "from_"}
"""Elasticsearch's names for keys of the body that are no names in Python, or taken."""


@dataclass(frozen=True)
class Sent:
    """One request as it left."""

    method: str
    path: str
    body: Any
    headers: Mapping[str, str]

    @property
    def is_search(self) -> bool:
        """Whether the engine searches for it, once or many times."""
        return self.path.partition("?")[0].rsplit("/", 1)[-1] in {"_search", "_msearch"}


def _parsed(body: Any) -> Any:
    text = body.decode() if isinstance(body, bytes) else body
    if not isinstance(text, str):
        return text
    lines = [json.loads(line) for line in text.splitlines() if line]
    return lines[0] if len(lines) == 1 else lines


class Recording:
    """What stands under a client and writes down what it sends."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def note(self, method: str, path: str, body: Any, headers: Any) -> None:
        """Keep one request."""
        self.sent.append(Sent(method, path, _parsed(body), dict(headers or {})))

    def connection(self, base: Any) -> Any:
        """A connection class of opensearch-py."""
        note = self.note

        class Connection(base):  # type: ignore[misc]  # the base is chosen when it runs
            def perform_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
                given = [*args, None, None]
                headers = kwargs.get("headers") or {}
                params = given[0] or kwargs.get("params") or {}
                query = "&".join(f"{key}={value}" for key, value in params.items())
                note(method, f"{url}?{query}", given[1] or kwargs.get("body"), headers)
                return super().perform_request(method, url, *args, **kwargs)

        return Connection

    def node(self, base: Any) -> Any:
        """A node class of elastic-transport."""
        note = self.note

        class Node(base):  # type: ignore[misc]  # the base is chosen when it runs
            def perform_request(
                self, method: str, target: str, body: Any = None, headers: Any = None, **kw: Any
            ) -> Any:
                note(method, target, body, headers)
                return super().perform_request(method, target, body=body, headers=headers, **kw)

        class AsyncNode(base):  # type: ignore[misc]  # the client refuses a node whose method is no coroutine
            async def perform_request(self, method: str, target: str, *args: Any, **kw: Any) -> Any:
                given = [*args, None, None]
                note(method, target, given[0] or kw.get("body"), given[1] or kw.get("headers"))
                return await super().perform_request(method, target, *args, **kw)

        return AsyncNode if inspect.iscoroutinefunction(base.perform_request) else Node


@dataclass
class Way:
    """One of the four. scorer: what stands in for the sidecar, told anew for each test."""

    name: str
    url: str
    scorer: FakeScorer
    recording: Recording = field(default_factory=Recording)

    def __post_init__(self) -> None:
        self.engine, _, kind = self.name.partition("-")
        self.is_async = kind == "async"
        self._runner = asyncio.Runner() if self.is_async else None
        self.client = self._made(self._ours())
        self.official = self._made(self._officials())

    def ask(self, method: str, /, **arguments: Any) -> Any:
        """Call a method of our client; JSON comes back."""
        return self.through(self.client, method, **arguments)

    def plain(self, method: str, /, **arguments: Any) -> Any:
        """The same call of the official client on the same node."""
        return self.through(self.official, method, **arguments)

    def through(self, client: Any, method: str, /, **arguments: Any) -> Any:
        """The same call of any client of this way's engine and kind, such as one of :meth:`another`."""
        if self.engine == "elasticsearch":
            client, arguments = self._for_elasticsearch(client, method, arguments)
        found = self.run(lambda: getattr(client, method)(**arguments))
        return found.body if isinstance(found, elastic_transport.ApiResponse) else found

    def search(self, index: str | None = None, /, body: Any = None, **options: Any) -> Any:
        """``search`` of our client."""
        return self.ask("search", **({} if index is None else {"index": index}), body=body, **options)

    def plain_search(self, index: str | None = None, /, body: Any = None, **options: Any) -> Any:
        """``search`` of the official client."""
        return self.plain("search", **({} if index is None else {"index": index}), body=body, **options)

    def run(self, call: Callable[[], Any]) -> Any:
        """What a call of a client gives, awaited where it is an awaitable."""
        if self._runner is None:
            return call()

        async def awaited() -> Any:
            return await call()

        return self._runner.run(awaited())

    @contextlib.contextmanager
    def another(self, **options: Any) -> Iterator[Any]:
        """A further client of our class, with arguments of its own."""
        made = self._made(lambda: self._class()(self.url, **options))
        try:
            yield made
        finally:
            self.run(made.close)

    @contextlib.contextmanager
    def point_in_time(self, index: str) -> Iterator[dict[str, Any]]:
        """A point in time that our client opened, as a search names it."""
        if self.engine == "opensearch":
            pit = self.ask("create_pit", index=index, keep_alive="1m")["pit_id"]
        else:
            pit = self.ask("open_point_in_time", index=index, keep_alive="1m")["id"]
        yield {"id": pit, "keep_alive": "1m"}
        if self.engine == "opensearch":
            self.ask("delete_pit", body={"pit_id": [pit]})
        else:
            self.ask("close_point_in_time", id=pit)

    def searches_sent(self) -> list[Sent]:
        """The searches that our client sent since the test began."""
        return [sent for sent in self.recording.sent if sent.is_search]

    def close(self) -> None:
        """Close both clients."""
        self.run(self.client.close)
        self.run(self.official.close)
        if self._runner is not None:
            self._runner.close()

    def _for_elasticsearch(self, client: Any, method: str, arguments: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        of_transport = {key: arguments[key] for key in TRANSPORT if key in arguments}
        if of_transport:
            client = client.options(**of_transport)
        rest = {key: value for key, value in arguments.items() if key not in (*TRANSPORT, "body")}
        rest = {key.lstrip("_") if key.startswith("_source") else key: value for key, value in rest.items()}
        body = arguments.get("body")
        if method in LINES:
            return client, rest | {LINES[method]: body}
        if body is None:
            return client, rest
        if "source" in rest:  # the client refuses it beside a body
            body, rest = {**body, "_source": rest["source"]}, {key: rest[key] for key in rest if key != "source"}
        if self.is_async or not isinstance(body, Mapping) or method == "hybrid_search":
            return client, {**rest, "body": body}
        return client, rest | {KEYWORDS.get(key, key): value for key, value in body.items()}

    def _class(self) -> Any:
        if self.engine == "opensearch":
            return AsyncOpenSearch if self.is_async else OpenSearch
        return AsyncElasticsearch if self.is_async else Elasticsearch

    def _made(self, make: Callable[[], Any]) -> Any:
        if self._runner is None:
            return make()

        async def made() -> Any:  # an asynchronous client belongs to the loop in which it is made
            return make()

        return self._runner.run(made())

    def _ours(self) -> Callable[[], Any]:
        scorer = AsyncFakeScorer(self.scorer) if self.is_async else self.scorer
        if self.engine == "opensearch":
            base = AIOHttpConnection if self.is_async else opensearchpy.Urllib3HttpConnection
            under = {"connection_class": self.recording.connection(base)}
        else:
            node = elastic_transport.AiohttpHttpNode if self.is_async else elastic_transport.Urllib3HttpNode
            under = {"node_class": self.recording.node(node)}
        return lambda: self._class()(self.url, rescorer=scorer, **under)

    def _officials(self) -> Callable[[], Any]:
        if self.engine == "opensearch":
            kind: Any = opensearchpy.AsyncOpenSearch if self.is_async else opensearchpy.OpenSearch
        else:
            kind = elasticsearch.AsyncElasticsearch if self.is_async else elasticsearch.Elasticsearch
        return lambda: kind(self.url)
