"""Our four clients and the four official ones, each with an engine in memory behind its own transport."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import elastic_transport
import elasticsearch
import opensearchpy
from elastic_transport import ApiResponseMeta, BaseAsyncNode, BaseNode, HttpHeaders, NodeConfig
from elastic_transport._node import NodeApiResponse

from rescorer.elasticsearch import AsyncElasticsearch, Elasticsearch
from rescorer.opensearch import AsyncOpenSearch, OpenSearch
from rescorer.testing import AsyncFakeScorer, FakeScorer
from unit.client.fake_engine import FakeEngine, Refusal, Sent

KINDS = ("opensearch", "async_opensearch", "elasticsearch", "async_elasticsearch")
"""Every class of ours by engine, and by how it waits."""

OFFICIAL: dict[str, Any] = {
    "opensearch": opensearchpy.OpenSearch,
    "async_opensearch": opensearchpy.AsyncOpenSearch,
    "elasticsearch": elasticsearch.Elasticsearch,
    "async_elasticsearch": elasticsearch.AsyncElasticsearch,
}
OURS: dict[str, Any] = {
    "opensearch": OpenSearch,
    "async_opensearch": AsyncOpenSearch,
    "elasticsearch": Elasticsearch,
    "async_elasticsearch": AsyncElasticsearch,
}


def made(kind: str, engine: FakeEngine, scorer: Any = None, **kwargs: Any) -> Any:
    """A rescoring client of a kind; ``scorer`` is asked in the client's own way."""
    if isinstance(scorer, FakeScorer) and kind.startswith("async"):
        scorer = AsyncFakeScorer(scorer)
    return OURS[kind](rescorer=scorer, **connected(kind, engine), **kwargs)


def official(kind: str, engine: FakeEngine, **kwargs: Any) -> Any:
    """The official client of a kind."""
    return OFFICIAL[kind](**connected(kind, engine), **kwargs)


def client(engine: FakeEngine, **kwargs: Any) -> OpenSearch:
    """A rescoring OpenSearch client."""
    return OpenSearch(**connected("opensearch", engine), **kwargs)


def async_client(engine: FakeEngine, **kwargs: Any) -> AsyncOpenSearch:
    """The same for asyncio."""
    return AsyncOpenSearch(**connected("async_opensearch", engine), **kwargs)


async def settled(result: Any) -> Any:
    """The result of a call of either kind."""
    return await result if inspect.isawaitable(result) else result


def plain(answer: Any) -> Any:
    """An answer as JSON, whatever class the client wraps it in."""
    return answer.body if isinstance(answer, elastic_transport.ApiResponse) else answer


def connected(kind: str, engine: FakeEngine) -> dict[str, Any]:
    """What an official class needs to reach the engine in memory."""
    engine.engine = "elasticsearch" if kind.endswith("elasticsearch") else "opensearch"
    if engine.engine == "elasticsearch":
        node = _async_node(engine) if kind.startswith("async") else _node(engine)
        return {"hosts": "http://fake:9200", "node_class": node, "max_retries": 0, "meta_header": False}
    connection = _AsyncConnection if kind.startswith("async") else _Connection
    return {"hosts": [{"host": "fake"}], "connection_class": _bound(connection, engine), "max_retries": 0}


class _Connection(opensearchpy.Connection):  # type: ignore[misc]  # opensearch-py has no types
    """What opensearch-py sees of a FakeEngine."""

    def __init__(self, engine: FakeEngine, **_: Any) -> None:
        super().__init__(host="fake")
        self.engine = engine

    def perform_request(self, method: str, url: str, params: Any = None, body: Any = None, **rest: Any) -> Any:
        """Answer at once."""
        return self._answered(method, url, params, body, rest)

    def close(self) -> None:
        """Nothing to close."""

    def _answered(self, method: str, url: str, params: Any, body: Any, rest: dict[str, Any]) -> Any:
        raw = body.encode() if isinstance(body, str) else body or b""
        sent = Sent(method, url, {name: _text(value) for name, value in (params or {}).items()}, raw, rest["headers"])
        try:
            status, said = self.engine.answer(sent)
        except Refusal as error:
            raise opensearchpy.ConnectionError("N/A", "gone", error) from error
        headers = {"content-type": "application/json"}
        if status != 200 and status not in (rest.get("ignore") or ()):
            self._raise_error(status, json.dumps(said), "application/json")
        return status, headers, json.dumps(said)


class _AsyncConnection(_Connection):
    """The same for asyncio."""

    async def perform_request(self, method: str, url: str, params: Any = None, body: Any = None, **rest: Any) -> Any:
        """Answer at once."""
        return self._answered(method, url, params, body, rest)

    async def close(self) -> None:
        """Nothing to close."""


def _bound(kind: type[_Connection], engine: FakeEngine) -> Callable[..., _Connection]:
    return lambda **kwargs: kind(engine, **kwargs)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _node(engine: FakeEngine) -> type[BaseNode]:
    class MemoryNode(BaseNode):
        """What elastic-transport sees of a FakeEngine."""

        _CLIENT_META_HTTP_CLIENT = ("mm", "1.0")

        def perform_request(self, method: str, target: str, body: Any = None, headers: Any = None, **_: Any) -> Any:
            return _answered(engine, self.config, (method, target, body, headers))

        def close(self) -> None:
            """Nothing to close."""

    return MemoryNode


def _async_node(engine: FakeEngine) -> type[BaseAsyncNode]:
    class AsyncMemoryNode(BaseAsyncNode):
        """The same for asyncio."""

        _CLIENT_META_HTTP_CLIENT = ("mm", "1.0")

        async def perform_request(  # type: ignore[override]
            self, method: str, target: str, body: Any = None, headers: Any = None, **_: Any
        ) -> Any:
            return _answered(engine, self.config, (method, target, body, headers))

        async def close(self) -> None:  # type: ignore[override]
            """Nothing to close."""

    return AsyncMemoryNode


def _answered(engine: FakeEngine, node: NodeConfig, asked: tuple[str, str, Any, Any]) -> NodeApiResponse:
    method, target, body, headers = asked
    url = urlsplit(target)
    params = dict(parse_qsl(url.query, keep_blank_values=True))
    try:
        status, said = engine.answer(Sent(method, unquote(url.path), params, body or b"", dict(headers or {})))
    except Refusal as error:
        raise elastic_transport.ConnectionError("gone") from error
    meta = ApiResponseMeta(
        node=node,
        duration=0.001,
        http_version="1.1",
        status=status,
        headers=HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"}),
    )
    return NodeApiResponse(meta, json.dumps(said).encode())
