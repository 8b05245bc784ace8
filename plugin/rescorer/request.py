"""What one search says: its URL parameters over its body, and what it asks of us, taken out of what is sent on.

Three grammars ask for rescoring, and where one search uses several, the first of them wins key by key:

- ``rescore.cross_encoder``, ours, beside the engine's own rescorers, which stay where they are;
- ``retriever.text_similarity_reranker`` with ``inference_id: "rescorer"`` (:mod:`rescorer.retriever`);
- ``ext.rerank.query_context``, OpenSearch's: ours only where the client knows which fields to read, since an engine
  with a ``rerank`` processor understands it as well.

Both engines refuse a rescorer that they do not know, so nothing of ours ever leaves the client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rescorer import checks, config, retriever
from rescorer.domain import Call
from rescorer.errors import InvalidSetting

KEY = "cross_encoder"
MOST_DIGITS = 6
"""Of a place in a list, in a path."""

RERANK_PATH = "ext.rerank.query_context"
_FROM_NAMES = ("from_", "from")
_TRANSPORT = frozenset(("api_key", "headers", "http_auth", "ignore", "opaque_id", "request_timeout"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One search, read.

    call: what is sent where nothing is rescored: the caller's own call, without our keys where it held any.
    body: the body of ``call`` as a mapping, empty where there is none.
    said: the request's own settings, checked; None where it says nothing about rescoring.
    said_at: where in the request each of them stands, as a JSON path.
    tree: the retriever that the client runs itself, because ours stands in or around a fusion; None elsewhere.
    """

    call: Call
    body: Mapping[str, Any]
    said: Mapping[str, Any] | None
    said_at: Mapping[str, str] = field(default_factory=dict)
    tree: retriever.Node | None = None

    def option(self, *names: str) -> Any:
        """The first of these URL parameters that was given, as a keyword or in ``params``; else None."""
        options = self.call.options
        params = options.get("params") or {}
        if not isinstance(params, dict | Mapping):
            params = {}  # which the official client says
        for name in names:
            value = options.get(name)
            if value is None and params:
                value = params.get(name)
            if value is not None:
                return value
        return None

    def setting(self, name: str) -> Any:
        """A value that may stand in the URL or in the body; the URL wins, as in the engine."""
        of_url = self.option(*(_FROM_NAMES if name == "from" else (name,)))
        return self.body.get(name) if of_url is None else of_url


def read(call: Call, place: str = "") -> Asked:
    """Read a search; raises InvalidSetting with the JSON path where what it says to us is wrong.

    place: where the body stands, before each path, such as ``body[3].``. The caller's body is never changed, and
    where it holds nothing of ours the very same object goes on.
    """
    body = as_mapping(call.body)
    if "rescore" not in body and "retriever" not in body:
        return Asked(call=call, body=body, said=None)
    where, entry = _entry(body.get("rescore"), place)
    tree = retriever.read(body.get("retriever"), f"{place}retriever")
    if entry is None and tree is None:
        return Asked(call=call, body=body, said=None)
    asked = Asked(call=call, body=body, said={})
    if tree is not None:
        ours = retriever.foremost(tree)
        asked = _saying(asked, ours.said, ours.said_at)
    if entry is not None:
        said = _said(entry, where)
        asked = _saying(asked, said, {key: _place(entry, where, key) for key in said})
    sent = _without_ours(body, entry, where.removeprefix(place))
    runs_here = None if tree is None or retriever.runs_in_engine(tree) else tree
    return replace(asked, call=Call(sent, call.options), body=sent, tree=runs_here)


def with_rerank(asked: Asked, place: str = "") -> Asked:
    """The search with ``ext.rerank`` understood as ours: taken out, its query text said unless the request says one.

    Raises InvalidSetting where it holds anything but one query text.
    """
    context = _rerank(asked.body)
    if context is None:
        return asked
    path = f"{place}{RERANK_PATH}"
    said = {"query_text": _text_of_context(context, asked.body, path)}
    rest = {key: value for key, value in asked.body["ext"].items() if key != "rerank"}
    sent = {key: value for key, value in asked.body.items() if key != "ext"} | ({"ext": rest} if rest else {})
    newer = Asked(call=Call(sent, asked.call.options), body=sent, said={}, tree=asked.tree)
    at = {"query_text": f"{path}.{next(iter(context))}"}
    return _saying(_saying(newer, said, at), asked.said or {}, asked.said_at)


def asks_to_rerank(asked: Asked) -> bool:
    """Whether OpenSearch's ``ext.rerank`` stands in the body, with a query context for us to read."""
    return _rerank(asked.body) is not None


def names_ours(template: Any) -> bool:
    """Whether a template's source mentions a grammar that the engine would refuse."""
    if isinstance(template, str):
        return f'"{KEY}"' in template or f'"{retriever.INFERENCE_ID}"' in template
    waiting, seen = [template], set()
    while waiting:
        node = waiting.pop()
        if node == retriever.INFERENCE_ID:
            return True
        if isinstance(node, list | tuple | Mapping) and id(node) not in seen:
            seen.add(id(node))
            if KEY in node:
                return True
            waiting += node.values() if isinstance(node, Mapping) else node
    return False


def template_call(call: Call) -> Call:
    """The call that fills in a search template without searching."""
    template = as_mapping(call.body)
    body = {key: template[key] for key in ("id", "source", "params") if key in template}
    options = {key: value for key, value in call.options.items() if key in _TRANSPORT}
    return Call(body, options)


def filled_in(call: Call, filled: Mapping[str, Any]) -> Call:
    """The search that a template makes, with what stood beside the template."""
    template, options = as_mapping(call.body), dict(call.options)
    beside = {key: template[key] for key in ("explain", "profile") if key in template}
    beside |= {key: options.pop(key) for key in ("explain", "profile") if key in options}
    return Call({**filled, **beside}, options)


def without_page(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords without ``size`` and ``from``, which would override what the body asks for."""
    return without(options, "size", *_FROM_NAMES)


def without(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The keywords without these, in ``params`` as well."""
    cut = {key: value for key, value in options.items() if key not in names}
    if isinstance(cut.get("params"), Mapping):
        cut["params"] = {key: value for key, value in cut["params"].items() if key not in names}
    return cut


def as_mapping(body: Any) -> Mapping[str, Any]:
    """The body as a mapping; empty where it is none, since the engine says what is wrong with it."""
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return {}
    return body if isinstance(body, dict | Mapping) else {}  # dict first: asking an ABC costs ten times as much


def sorts_by_other_than_score(sort: Any) -> bool:
    """Whether a ``sort`` orders hits by anything but their score, best first."""
    if isinstance(sort, str):
        sort = sort.split(",")
    keys = list(sort) if isinstance(sort, list | tuple) else [sort] if sort else []
    return bool(keys) and not (len(keys) == 1 and _is_score_descending(keys[0]))


def _is_score_descending(key: Any) -> bool:
    if isinstance(key, Mapping) and len(key) == 1:
        ((name, how),) = key.items()
        order = how.get("order", "desc") if isinstance(how, Mapping) else how
        return bool(name == "_score" and order == "desc")
    return key in ("_score", "_score:desc")


def _saying(asked: Asked, said: Mapping[str, Any], at: Mapping[str, str]) -> Asked:
    """The search with more settings and the path of each, over earlier ones of the same name."""
    return replace(asked, said={**(asked.said or {}), **said}, said_at={**asked.said_at, **at})


def _without_ours(body: Mapping[str, Any], entry: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    sent = dict(body)
    if entry is not None:
        del sent["rescore"]
        sent |= _native(body["rescore"], entry, where)
    if "retriever" in body:
        sent["retriever"] = retriever.without_ours(body["retriever"])
    return sent


def _rerank(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    node: Any = body
    for key in ("ext", "rerank", "query_context"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else None


def _text_of_context(context: Mapping[str, Any], body: Mapping[str, Any], path: str) -> str:
    checks.checked_keys(context, ("query_text", "query_text_path"), path)
    if len(context) != 1:
        raise InvalidSetting(path, dict(context), "must hold either query_text or query_text_path")
    ((key, value),) = context.items()
    found = checks.text(value, f"{path}.{key}")
    if key == "query_text":
        return found
    text = _at(body, found.split("."))
    if not isinstance(text, str) or not text.strip():
        raise InvalidSetting(f"{path}.{key}", value, "must lead to a string of this search, such as query.match.body")
    return text


def _at(node: Any, steps: Sequence[str]) -> Any:
    """The value at a path. The engine writes ``{"match": {"body": "x"}}`` as ``match.body.query``: both lead there."""
    for place, step in enumerate(steps):
        if isinstance(node, str) and steps[place:] == ["query"]:
            return node
        if isinstance(node, list | tuple):
            node = node[int(step)] if _is_place(step) and int(step) < len(node) else None
        else:
            node = node.get(step) if isinstance(node, Mapping) else None
    return node.get("query") if isinstance(node, Mapping) else node


def _is_place(step: str) -> bool:
    return step.isascii() and step.isdecimal() and len(step) <= MOST_DIGITS


def _entry(rescore: Any, place: str) -> tuple[str, Mapping[str, Any] | None]:
    """The one rescorer that holds our key and its JSON path; None where there is none."""
    listed = rescore if isinstance(rescore, list | tuple) else [rescore]
    ours = [
        (f"{place}rescore[{number}]" if listed is rescore else f"{place}rescore", entry)
        for number, entry in enumerate(listed)
        if isinstance(entry, Mapping) and KEY in entry
    ]
    if len(ours) > 1:
        raise InvalidSetting(f"{ours[1][0]}.{KEY}", ours[1][1][KEY], "is the second one; a search takes one")
    return ours[0] if ours else ("", None)


def _said(entry: Mapping[str, Any], path: str) -> dict[str, Any]:
    asked, beside = entry[KEY], {key: entry[key] for key in ("window_size",) if key in entry}
    if isinstance(asked, bool):
        return config.parse({**beside, "enabled": asked}, path)
    if not isinstance(asked, Mapping):
        raise InvalidSetting(f"{path}.{KEY}", asked, "must be an object, true or false")
    for key, value in entry.items():
        if key not in (KEY, "window_size") and not isinstance(value, Mapping):
            raise InvalidSetting(f"{path}.{key}", value, f"is unknown here; beside {KEY} stands window_size")
    return config.parse(beside, path) | config.parse(asked, f"{path}.{KEY}")


def _place(entry: Mapping[str, Any], path: str, key: str) -> str:
    """Where a setting stands in a rescorer of ours: beside our key, under it, or as its value."""
    asked = entry[KEY]
    if isinstance(asked, bool):
        return f"{path}.{KEY}" if key == "enabled" else f"{path}.{key}"
    return f"{path}.{KEY}.{key}" if key in asked else f"{path}.{key}"


def _native(rescore: Any, entry: Mapping[str, Any], place: str) -> dict[str, Any]:
    """``rescore`` as the engine may see it: nothing, or its own rescorers."""
    rest = {key: value for key, value in entry.items() if key != KEY}
    kept = [rest] if rest.keys() - {"window_size"} else []
    if place == "rescore":
        return {"rescore": kept[0]} if kept else {}
    listed = [other for old in rescore for other in (kept if old is entry else [old])]
    return {"rescore": listed} if listed else {}
