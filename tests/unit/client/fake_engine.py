"""An engine in memory behind the official client: it answers from canned hits and remembers what it was asked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from opensearchpy import exceptions

from rescorer.opensearch import AsyncOpenSearch, OpenSearch

PROFILE = {"document_fields": ["title", "body"], "window_size": 5}


def hit(place: int, *, index: str = "articles") -> dict[str, Any]:
    """The hit at a first-stage place: scores fall by 0.5, and the text holds the place."""
    source = {"title": f"title {place}", "body": f"body {place}", "year": 2000 + place}
    return {"_index": index, "_id": f"d{place}", "_score": 30.0 - place / 2, "_source": source}


def reversing(query: str, text: str) -> float:
    """A logit that turns the first stage round: negative, and higher for a later place."""
    return int(text.split()[1]) - 1000.0 if text else -2000.0


@dataclass
class Sent:
    """One request as it left the client."""

    method: str
    path: str
    params: Mapping[str, Any]
    body: Any
    raw: bytes | None
    headers: Mapping[str, Any]


@dataclass
class FakeEngine:
    """Answers ``_search`` with a slice of ``hits`` and ``_mapping`` with ``mappings``.

    extra: further keys of each search answer. failure: raised by the next request whose path holds the key.
    """

    hits: list[dict[str, Any]] = field(default_factory=lambda: [hit(place) for place in range(12)])
    profile: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    failure: dict[str, Exception] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    mappings: Any = None

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [request.path for request in self.sent]

    def searches(self) -> list[Sent]:
        """The searches that arrived."""
        return [request for request in self.sent if request.path.endswith("_search")]

    def answer(self, method: str, url: str, params: Any, body: Any, headers: Any) -> tuple[int, dict[str, str], str]:
        """One request, as an opensearch-py connection gets it."""
        read = json.loads(body) if body and url.endswith("/_search") else {}
        self.sent.append(Sent(method, url, dict(params or {}), read, body, dict(headers or {})))
        for part, error in self.failure.items():
            if part in url:
                raise error
        said = self._mapping(url) if url.endswith("_mapping") else self._search(dict(params or {}), read or {})
        return 200, {"content-type": "application/json"}, json.dumps(said)

    def _mapping(self, url: str) -> Any:
        if self.mappings is not None:
            return self.mappings
        meta = {"_meta": {"rescorer": self.profile}} if self.profile is not None else {}
        return {url.split("/")[1]: {"mappings": meta}} if meta else {}

    def _search(self, params: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
        begin = int(params.get("from", body.get("from", 0)))
        size = int(params.get("size", body.get("size", 10)))
        shown = params.get("_source", body.get("_source"))
        page = [_shown(entry, shown, body.get("fields")) for entry in self.hits[begin : begin + size]]
        top = self.hits[0]["_score"] if self.hits else None
        inner = {"total": {"value": len(self.hits), "relation": "eq"}, "max_score": top, "hits": page}
        return {"took": 3, "timed_out": False, "_shards": {"total": 1}, "hits": inner, **self.extra}


def _shown(entry: dict[str, Any], shown: Any, fields: Any) -> dict[str, Any]:
    found = dict(entry)
    if shown in (False, "false", b"false"):
        found.pop("_source")
    elif isinstance(shown, list):
        found["_source"] = {key: value for key, value in entry["_source"].items() if key in shown}
    if fields:
        wanted = [name if isinstance(name, str) else name["field"] for name in fields]
        values = {
            key: [value]
            for key, value in entry["_source"].items()
            if any(fnmatchcase(key, pattern) for pattern in wanted)
        }
        found |= {"fields": values} if values else {}
    return found


class Connection:
    """What opensearch-py sees of a FakeEngine."""

    def __init__(self, engine: FakeEngine, **_: Any) -> None:
        self.engine = engine
        self.host = "http://fake"

    def perform_request(self, method: str, url: str, params: Any = None, body: Any = None, **rest: Any) -> Any:
        """Answer at once."""
        return self.engine.answer(method, url, params, body, rest.get("headers"))

    def close(self) -> None:
        """Nothing to close."""


class AsyncConnection(Connection):
    """The same for asyncio."""

    async def perform_request(self, method: str, url: str, params: Any = None, body: Any = None, **rest: Any) -> Any:
        """Answer at once."""
        return self.engine.answer(method, url, params, body, rest.get("headers"))

    async def close(self) -> None:
        """Nothing to close."""


def client(engine: FakeEngine, **kwargs: Any) -> OpenSearch:
    """A rescoring client whose engine is in memory."""
    return OpenSearch([{"host": "fake"}], connection_class=_made(Connection, engine), max_retries=0, **kwargs)


def async_client(engine: FakeEngine, **kwargs: Any) -> AsyncOpenSearch:
    """The same for asyncio."""
    made = _made(AsyncConnection, engine)
    return AsyncOpenSearch([{"host": "fake"}], connection_class=made, max_retries=0, **kwargs)


def _made(kind: type[Connection], engine: FakeEngine) -> Callable[..., Connection]:
    return lambda **kwargs: kind(engine, **kwargs)


async def settled(result: Any) -> Any:
    """The result of a call of either client."""
    return await result if inspect.isawaitable(result) else result


def not_found(index: str) -> Exception:
    """What the engine says to a mapping request for an index that is not there."""
    return exceptions.NotFoundError(404, "index_not_found_exception", {"error": {"reason": f"no such index [{index}]"}})


def forbidden() -> Exception:
    """What the engine says to a user who may search and may not read mappings."""
    return exceptions.AuthorizationException(403, "security_exception", {"error": "no permissions"})
