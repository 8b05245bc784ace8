"""A node in memory that keeps templates as either engine does: for calls, and behind a socket for the command."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from opensearchpy import NotFoundError, TransportError

from rescorer.domain import Engine

KINDS = ("component_template", "index_template")


@dataclass
class FakeNode:
    """What a node stores and is asked. ``transport`` makes it a client; :meth:`answer` is what its socket says.

    refusal: what it says to every ``PUT`` of a path that ends so. engine: whose ways it has.
    """

    engine: Engine = "opensearch"

    stored: dict[str, Any] = field(default_factory=dict)
    mappings: dict[str, Any] = field(default_factory=dict)
    sent: list[tuple[str, str]] = field(default_factory=list)
    refusal: dict[str, str] = field(default_factory=dict)

    @property
    def transport(self) -> FakeNode:
        """What an official client calls its transport."""
        return self

    def perform_request(self, method: str, url: str, params: dict[str, Any] | None = None, body: Any = None) -> Any:
        """As the official transport: a status that ``ignore`` does not name is raised."""
        status, answer = self.answer(method, url, json.loads(json.dumps(body)))
        if status >= 400 and status != (params or {}).get("ignore"):
            failure = NotFoundError if status == 404 else TransportError
            raise failure(status, answer["error"]["type"], answer)
        return answer

    def puts(self) -> list[str]:
        """The paths that were written to, in order."""
        return [path for method, path in self.sent if method == "PUT"]

    def answer(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, body) of one request."""
        self.sent.append((method, path))
        if path == "/":
            return 404, {"error": "no handler found for uri [/] and method [GET]"}  # as a node without its module says
        if self.engine == "elasticsearch" and path.startswith("/_search/"):
            return 405, {"error": f"Incorrect HTTP method for uri [{path}]", "status": 405}
        if path.endswith("/_mapping"):
            return self._mapping(unquote(path.split("/")[1]))
        if method == "PUT":
            for ending, reason in self.refusal.items():
                if path.endswith(ending):
                    return 400, {"error": {"type": "settings_exception", "reason": reason}}
            self.stored[path] = as_stored(path, body, self.engine)
            return 200, {"acknowledged": True}
        return self._template(path)

    def _mapping(self, name: str) -> tuple[int, Any]:
        if name.endswith("*"):
            return 200, {index: body for index, body in self.mappings.items() if index.startswith(name[:-1])}
        if name not in self.mappings:
            return 404, {"error": {"type": "index_not_found_exception", "reason": f"no such index [{name}]"}}
        return 200, {name: self.mappings[name]}

    def _template(self, path: str) -> tuple[int, Any]:
        name = unquote(path.rpartition("/")[2])
        for kind in KINDS:
            if path.startswith(f"/_{kind}/"):
                if path in self.stored:
                    return 200, {f"{kind}s": [{"name": name, kind: self.stored[path]}]}
                error = {"type": "resource_not_found_exception", "reason": f"[{name}] not found"}
                return 404, {"error": error}
        return (200, {name: self.stored[path]}) if path in self.stored else (404, {})


def as_stored(path: str, body: dict[str, Any], engine: Engine) -> dict[str, Any]:
    """A body as the real node gives it back: settings nested under ``index`` and as text, defaults filled in."""
    kept = json.loads(json.dumps(body))
    if path.startswith("/_search/"):
        return kept
    if isinstance(kept.get("index_patterns"), str):
        kept["index_patterns"] = [kept["index_patterns"]]
    if kept.get("data_stream") == {}:
        hidden = {"hidden": False, "allow_custom_routing": False}
        kept["data_stream"] = hidden if engine == "elasticsearch" else {"timestamp_field": {"name": "@timestamp"}}
    if engine == "elasticsearch":
        kept |= {"created_date_millis": 1_795_603_839_528, "modified_date_millis": 1_795_603_839_642}
    template = kept.get("template", {})
    if "settings" in template:
        template["settings"] = _settings(template["settings"])
    for alias in template.get("aliases", {}).values():
        if "routing" in alias:
            alias.update(dict.fromkeys(("index_routing", "search_routing"), alias.pop("routing")))
    return kept


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in _leaves(given, ()):
        steps = path if path[0] == "index" else ("index", *path)
        place = found
        for step in steps[:-1]:
            place = place.setdefault(step, {})
        place[steps[-1]] = value
    return found


def _leaves(given: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in given.items():
        steps = (*path, *key.split("."))
        if isinstance(value, dict):
            yield from _leaves(value, steps)
        else:
            yield steps, [_text(entry) for entry in value] if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def served(node: FakeNode) -> Iterator[str]:
    """The node's address on loopback, for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = node.answer(self.command, urlsplit(self.path).path, body)
            product = {"X-Elastic-Product": "Elasticsearch"} if node.engine == "elasticsearch" else {}
            reply(self, status, "application/json", json.dumps(answer).encode(), product)

        do_GET = do_PUT = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives
            """Say nothing."""

    with listening(Handler) as url:
        yield url


def reply(
    handler: BaseHTTPRequestHandler, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Send one answer."""
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A web server on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
