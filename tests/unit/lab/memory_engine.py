"""An OpenSearch in memory, as much of it as the demo uses, behind the official client.

Words match by counting; vectors by their product; a hybrid query adds both. Scores are made so that no two are equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rescorer import templates
from rescorer.opensearch import OpenSearch

Answer = tuple[int, Any]


@dataclass
class MemoryEngine:
    """Indices by name, each with its mappings and documents; ``refused`` ids fail in a bulk request."""

    indices: dict[str, dict[str, Any]] = field(default_factory=dict)
    templates: dict[str, Any] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, params: Mapping[str, Any], raw: Any) -> Answer:
        """One request."""
        self.calls.append((method, path))
        if path == "/_bulk":
            return self._bulk(raw)
        if path.startswith(("/_component_template", "/_index_template", "/_search/pipeline")):
            return self._template(method, path, json.loads(raw) if raw else None)
        if path.startswith("/_search/scroll"):
            return 200, {"_scroll_id": "s", "hits": {"hits": []}, "succeeded": True}
        name, _, action = path.strip("/").partition("/")
        body = json.loads(raw) if raw else {}
        return self._index(method, name, action, body, params)

    def documents(self, name: str) -> dict[str, Any]:
        """The documents of an index, by id."""
        found: dict[str, Any] = self.indices[name]["documents"]
        return found

    def _index(self, method: str, name: str, action: str, body: Any, params: Mapping[str, Any]) -> Answer:
        if action == "_search":
            return 200, self._search(name, body, params)
        if action == "_mapping":
            return 200, {name: {"mappings": self.indices[name]["mappings"]}}
        if action:  # _refresh, _forcemerge
            return 200, {}
        if method == "HEAD":
            return 200 if name in self.indices else 404, ""
        if method == "DELETE":
            self.indices.pop(name, None)
        if method == "PUT":
            self.indices[name] = {"mappings": self._mappings(body), "documents": {}}
        return 200, {}

    def _mappings(self, body: Any) -> dict[str, Any]:
        """Composed as the engine does: the profile of the templates beside what the request brings under _meta."""
        profiles = [template.body for template in templates.shipped() if template.name == "rescorer-profile"]
        meta = profiles[0]["template"]["mappings"]["_meta"] if self.templates else {}
        return {"_meta": {**meta, **body.get("mappings", {}).get("_meta", {})}}

    def _template(self, method: str, path: str, body: Any) -> Answer:
        if method == "PUT":
            self.templates[path] = body
            return 200, {"acknowledged": True}
        name, kind = path.rsplit("/", 1)[1], path.split("/")[1].removeprefix("_")
        if path not in self.templates:
            return 404, {"error": "none", "status": 404}
        if kind == "search":
            return 200, {name: self.templates[path]}
        return 200, {f"{kind}s": [{"name": name, kind: self.templates[path]}]}

    def _bulk(self, raw: Any) -> Answer:
        lines = [json.loads(line) for line in raw.strip().split(b"\n" if isinstance(raw, bytes) else "\n")]
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            name, key = action["index"]["_index"], action["index"]["_id"]
            if key in self.refused:
                items.append({"index": {"_id": key, "error": {"reason": "it is refused"}}})
                continue
            self.documents(name)[key] = document
            items.append({"index": {"_id": key, "status": 201}})
        return 200, {"errors": any("error" in item["index"] for item in items), "items": items}

    def _search(self, name: str, body: Any, params: Mapping[str, Any]) -> dict[str, Any]:
        score = _scoring(body.get("query"))
        ranked = sorted(
            ((score(document), key) for key, document in self.documents(name).items()),
            key=lambda pair: (-pair[0], pair[1]),
        )
        begin = int(params.get("from", body.get("from", 0)))
        size = int(params.get("size", body.get("size", 10)))
        page = [(value, key) for value, key in ranked if value > 0][begin : begin + size]
        hits = [self._hit(name, key, value, body) for value, key in page]
        answer: dict[str, Any] = {"took": 1, "timed_out": False, "_shards": {"total": 1, "successful": 1, "failed": 0}}
        answer["hits"] = {"total": {"value": len(ranked), "relation": "eq"}, "max_score": None, "hits": hits}
        return answer | ({"_scroll_id": "s"} if "scroll" in params else {})

    def _hit(self, name: str, key: str, value: float, body: Any) -> dict[str, Any]:
        document = self.documents(name)[key]
        hit: dict[str, Any] = {"_index": name, "_id": key, "_score": value}
        if body.get("_source") is not False:
            wanted = body.get("_source") or list(document)
            hit["_source"] = {field: document[field] for field in wanted}
        if "fields" in body:
            hit["fields"] = {field: [document[field]] for field in body["fields"] if field in document}
        return hit


def _scoring(query: Any) -> Callable[[Mapping[str, Any]], float]:
    if query is None or "match_all" in query:
        return lambda document: 1.0
    if "hybrid" in query:
        halves = [_scoring(half) for half in query["hybrid"]["queries"]]
        return lambda document: sum(half(document) for half in halves)
    if "knn" in query:
        ((name, near),) = query["knn"].items()
        return lambda document: 1 + sum(a * b for a, b in zip(near["vector"], document[name], strict=True))
    asked = query["multi_match"]["query"].lower().split()
    return lambda document: float(
        sum(asked.count(word) for word in f"{document['title']} {document['body']}".lower().split())
    )


class MemoryConnection:
    """What opensearch-py sees of a MemoryEngine."""

    engine: MemoryEngine

    def __init__(self, **_: Any) -> None:
        self.host = "http://memory"

    def perform_request(self, method: str, url: str, params: Any = None, body: Any = None, **rest: Any) -> Any:
        """Answer at once; an error status is raised as opensearch-py does, unless it is to be ignored."""
        from opensearchpy.exceptions import NotFoundError

        status, answer = self.engine.answer(method, url, dict(params or {}), body)
        if status == 404 and 404 not in rest.get("ignore", ()):
            raise NotFoundError(404, "none", answer)
        return status, {"content-type": "application/json"}, answer if answer == "" else json.dumps(answer)

    def close(self) -> None:
        """Nothing to close."""


def client(engine: MemoryEngine, scorer: Any) -> OpenSearch:
    """A rescoring client of an engine in memory."""
    made = type("Connection", (MemoryConnection,), {"engine": engine})
    return OpenSearch([{"host": "memory"}], connection_class=made, max_retries=0, rescorer=scorer)
