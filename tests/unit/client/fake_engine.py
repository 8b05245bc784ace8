"""An engine in memory: it answers from canned hits, refuses what engines refuse, and remembers what it was asked.

It speaks HTTP as OpenSearch and Elasticsearch do; :mod:`unit.client.fake_clients` puts it behind the official clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, cast

from rescorer import filter_path
from rescorer.domain import Engine

PROFILE = {"document_fields": ["title", "body"], "window_size": 5}


def hit(place: int, *, index: str = "articles") -> dict[str, Any]:
    """The hit at a first-stage place: scores fall by 0.5, and the text holds the place."""
    source = {"title": f"title {place}", "body": f"body {place}", "year": 2000 + place}
    return {"_index": index, "_id": f"d{place}", "_score": 30.0 - place / 2, "_source": source}


def reversing(query: str, text: str) -> float:
    """A logit that turns the first stage round: negative, and higher for a later place."""
    return int(text.split()[1]) - 1000.0 if text else -2000.0


@dataclass(eq=False)
class Refusal(Exception):
    """What the engine says instead of an answer; ``status`` 0 stands for an engine that nobody reaches."""

    status: int
    type: str = "exception"
    reason: str = "no"

    def as_dict(self) -> dict[str, Any]:
        """The answer as both engines write it."""
        cause = {"type": self.type, "reason": self.reason}
        return {"error": {"root_cause": [cause], **cause}, "status": self.status}


NOT_FOUND = Refusal(404, "index_not_found_exception", "no such index")
FORBIDDEN = Refusal(403, "security_exception", "no permissions")
UNREACHABLE = Refusal(0)
TOO_LARGE = (
    "Result window is too large, from + size must be less than or equal to: [{}] but was [{}]."
    " This limit can be set by changing the [index.max_result_window] index level setting."
)
SOURCELESS = "unable to fetch fields from _source field: _source is disabled in the mappings for index [articles]"
NOTHING = object()


@dataclass(frozen=True)
class Sent:
    """One request as it left the client; ``raw`` is its body as bytes."""

    method: str
    path: str
    params: Mapping[str, str]
    raw: bytes
    headers: Mapping[str, Any]

    @property
    def body(self) -> Any:
        """The body as JSON; an empty object where there is none."""
        return json.loads(self.raw) if self.raw else {}

    @property
    def lines(self) -> list[Any]:
        """The body as lines of JSON."""
        return [json.loads(line or b"{}") for line in self.raw.rstrip(b"\n").split(b"\n")]


@dataclass
class FakeEngine:
    """Answers ``_search`` with a slice of ``hits``, ``_mapping`` with ``mappings``, and the rest of a search's ways in.

    extra: further keys of each search answer. refusals: what is said to a request whose path holds the key.
    lists: the hits of a search by its body, where not all searches have the same. missing: indices that are not there.
    templates: stored search templates. most_hits: ``index.max_result_window``. keeps_source: False where a mapping
    disables ``_source``. engine: whose ways it has where they differ. raw_answer, raw_many, raw_rendered: said, as it
    is, to a search, an msearch, a template to be filled in.
    """

    hits: list[dict[str, Any]] = field(default_factory=lambda: [hit(place) for place in range(12)])
    profile: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    mappings: Any = None
    lists: Callable[[Mapping[str, Any]], list[dict[str, Any]]] | None = None
    missing: frozenset[str] = frozenset()
    templates: Mapping[str, Any] = field(default_factory=dict)
    most_hits: int = 10_000
    keeps_source: bool = True
    raw_answer: Any = None
    raw_many: Any = None
    raw_rendered: Any = NOTHING
    engine: Engine = "opensearch"
    _points: int = 0

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [request.path for request in self.sent]

    def searches(self) -> list[Sent]:
        """The single searches that arrived."""
        return [request for request in self.sent if request.path.endswith("_search")]

    def of_path(self, ending: str) -> list[Sent]:
        """The requests whose path ends so."""
        return [request for request in self.sent if request.path.endswith(ending)]

    def answer(self, sent: Sent) -> tuple[int, Any]:
        """Status and JSON of one request; raises ``UNREACHABLE`` as it is."""
        self.sent.append(sent)
        try:
            for part, refusal in self.refusals.items():
                if part in sent.path:
                    raise refusal
            said = self._said(sent)
        except Refusal as refusal:
            if refusal is UNREACHABLE:
                raise
            return refusal.status, refusal.as_dict()
        if "filter_path" in sent.params and isinstance(said, Mapping):
            said = filter_path.filtered(said, sent.params["filter_path"], self.engine)
        return 200, said

    def _said(self, sent: Sent) -> Any:
        path, index = sent.path, _index_of(sent.path)
        if path.endswith("/_mapping"):
            return self._mapping(index)
        if "/_render/template" in path:
            named = {"id": path.rpartition("/")[2]} if not path.endswith("template") else {}
            output = {"template_output": self._rendered({**sent.body, **named})}
            return output if self.raw_rendered is NOTHING else self.raw_rendered
        if path.endswith(("/_search/point_in_time", "/_pit")):
            return {"pit_id" if path.endswith("time") else "id": self._point(index)}
        if path.endswith("/_search/template"):
            return self._search(index, {}, self._rendered(sent.body))
        if path.endswith("/_msearch/template"):
            return self._many(index, [(head, self._rendered(body)) for head, body in _pairs(sent.lines)])
        if path.endswith("/_msearch"):
            return self.raw_many if self.raw_many is not None else self._many(index, _pairs(sent.lines))
        if path.endswith("/_search"):
            return self._search(index, sent.params, sent.body)
        return {"acknowledged": True}

    def _mapping(self, index: str) -> Any:
        if self.mappings is not None:
            return self.mappings
        meta = {"_meta": {"rescorer": self.profile}} if self.profile is not None else {}
        return {index: {"mappings": meta}}

    def _point(self, index: str) -> str:
        self._points += 1
        return f"point-{self._points}-of-{index}"

    def _rendered(self, template: Mapping[str, Any]) -> Any:
        source = self.templates.get(template["id"]) if "id" in template else template["source"]
        if source is None:
            raise Refusal(404, "resource_not_found_exception", "no such template")
        said = source if isinstance(source, str) else json.dumps(source)
        for name, value in (template.get("params") or {}).items():
            said = said.replace("{{" + name + "}}", str(value))
        try:
            return json.loads(said)
        except ValueError as error:
            raise Refusal(400, "x_content_parse_exception", "no JSON") from error

    def _many(self, index: str, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        responses = []
        for header, body in pairs:
            try:
                found = self._search(header.get("index") or index, {}, body)
                responses.append({**found, "status": 200})
            except Refusal as refusal:
                responses.append(refusal.as_dict())
        return {"took": 7, "responses": responses}

    def _search(self, index: Any, params: Mapping[str, str], body: Mapping[str, Any]) -> Any:
        self._refuse(index, body)
        if self.raw_answer is not None:
            return self.raw_answer
        found = _collapsed(self.hits if self.lists is None else self.lists(body), body)
        begin, size = _number(params, body, "from", 0), _number(params, body, "size", 10)
        if begin + size > self.most_hits:
            raise Refusal(400, "illegal_argument_exception", TOO_LARGE.format(self.most_hits, begin + size))
        shown = params.get("_source", body.get("_source"))
        if not self.keeps_source and (body.get("fields") or not isinstance(shown, bool | None)):
            raise Refusal(400, "illegal_argument_exception", SOURCELESS)
        page = [_shown(entry, shown, body.get("fields")) for entry in found[begin : begin + size]]
        top = found[0]["_score"] if found and size else None
        inner = {"total": {"value": len(found), "relation": "eq"}, "max_score": top, "hits": page}
        answer = {"took": 3, "timed_out": False, "_shards": {"total": 1}, "hits": inner, **self.extra}
        return answer | ({"pit_id": self._point("") + body["pit"]["id"]} if "pit" in body else {})

    def _refuse(self, index: Any, body: Mapping[str, Any]) -> None:
        """As both engines do with what they don't know: nothing of ours may reach them."""
        for name in index.split(",") if isinstance(index, str) else index or ():
            if name in self.missing:
                raise NOT_FOUND
        if '"cross_encoder"' in json.dumps(body):
            raise Refusal(400, "parsing_exception", "unknown rescorer [cross_encoder]")
        if '"inference_id": "rescorer"' in json.dumps(body):
            raise Refusal(404, "resource_not_found_exception", "no inference endpoint [rescorer]")


def _collapsed(hits: list[dict[str, Any]], body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first hit of each group, with its group in ``fields``, as both engines show it."""
    name = body["collapse"]["field"] if "collapse" in body else None
    if name is None:
        return hits
    heads: dict[Any, dict[str, Any]] = {}
    for entry in hits:
        heads.setdefault(entry["_source"][name], entry)
    return [{**entry, "fields": {**entry.get("fields", {}), name: [group]}} for group, entry in heads.items()]


def _index_of(path: str) -> str:
    first = path.split("/")[1]
    return "" if first.startswith("_") else first


def _pairs(lines: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(lines[::2], lines[1::2], strict=True))


def _number(params: Mapping[str, str], body: Mapping[str, Any], name: str, default: int) -> int:
    return int(cast(str, params.get(name, body.get(name, default))))


def _shown(entry: dict[str, Any], shown: Any, fields: Any) -> dict[str, Any]:
    found = dict(entry)
    if shown in (False, "false"):
        found.pop("_source", None)
    elif isinstance(shown, list):
        found["_source"] = {key: value for key, value in entry["_source"].items() if key in shown}
    if fields:
        wanted = [name if isinstance(name, str) else name["field"] for name in fields]
        values = {
            key: [value]
            for key, value in entry["_source"].items()
            if any(fnmatchcase(key, pattern) for pattern in wanted)
        }
        found |= {"fields": {**entry.get("fields", {}), **values}} if values else {}
    return found
