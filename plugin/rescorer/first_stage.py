"""A first stage of several ranked lists: asked in one ``msearch``, one search per list and one for all the rest.

A list's search shows the hits as the caller wants to see them (``_source``, ``highlight``, …) to the depth that the
fusion reads. The last search, with no hits at all, asks for what belongs to the answer as a whole (``hits.total``,
``aggregations``, ``suggest``) over the union of the lists' queries, as both engines do for their own fusions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescorer import checks, request, retriever
from rescorer.domain import Call
from rescorer.errors import InvalidSetting
from rescorer.request import Asked
from rescorer.retriever import Leaf, Node, Rescored

_HEADER = frozenset(
    [
        "allow_no_indices",
        "allow_partial_search_results",
        "ccs_minimize_roundtrips",
        "expand_wildcards",
        "ignore_throttled",
        "ignore_unavailable",
        "index",
        "preference",
        "request_cache",
        "routing",
        "search_type",
    ]
)
"""URL parameters of a search that an ``msearch`` takes in the line before it."""

_BODY = {"_source": "_source", "source": "_source"} | {
    name: name
    for name in [
        "docvalue_fields",
        "explain",
        "search_pipeline",
        "seq_no_primary_term",
        "stats",
        "stored_fields",
        "terminate_after",
        "timeout",
        "track_scores",
        "track_total_hits",
        "version",
        "_source_includes",
        "_source_excludes",
    ]
}
"""URL parameters of a search that say the same in its body; the last two are lists of ``_source`` there."""

_SOURCE_LISTS = ("_source_includes", "_source_excludes")
_NAMES = ("_source", "source", "docvalue_fields", "stored_fields", "stats", *_SOURCE_LISTS)
"""Those that name something; a URL has commas between the names."""

_OF_MSEARCH = frozenset(
    [
        "api_key",
        "error_trace",
        "headers",
        "http_auth",
        "human",
        "ignore",
        "max_concurrent_shard_requests",
        "opaque_id",
        "pre_filter_shard_size",
        "pretty",
        "request_timeout",
        "rest_total_hits_as_int",
        "typed_keys",
    ]
)
_OF_ANSWER = ("aggs", "aggregations", "suggest", "profile", "track_total_hits")
_OF_HITS = [
    "_source",
    "collapse",
    "docvalue_fields",
    "explain",
    "fields",
    "highlight",
    "rescore",
    "script_fields",
    "seq_no_primary_term",
    "sort",
    "stored_fields",
    "track_scores",
    "version",
]
_REPLACED = ("query", "knn", "retriever", "from", "size", "min_score")
_REFUSED = ("sort", "search_after", "rank", "slice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
    """One ``msearch`` for a tree. ``call`` holds a search per leaf, then the one for the rest of the answer."""

    tree: Node
    call: Call


def branches(asked: Asked, tree: Node, fields: Sequence[Any], least: int) -> Branches:
    """How to ask for the lists of a tree. fields: what the hits must show; least: how deep each list is at least.

    Raises InvalidSetting where the search holds what a fused list has no answer for, such as a sort.
    """
    header, of_body, options = _sorted_options(asked)
    body = {**asked.body, **of_body}
    if not request.sorts_by_other_than_score(body.get("sort")):
        body.pop("sort", None)  # the fused list is in that order
    for key in _REFUSED:
        if body.get(key):
            raise InvalidSetting(key, body[key], "can't stand beside lists that are fused by the client; leave it out")
    if body.get("min_score") is not None:
        checks.number(body["min_score"], "min_score")  # which no engine sees, since it holds for the fused list
    union = _union(list(retriever.leaves(tree)))
    lines: list[Any] = []
    for leaf, depth in _depths(tree, least):
        lines += [dict(header), _of_list(body, leaf, depth, fields) | _highlighted(body, union)]
    rest = {key: value for key, value in body.items() if key not in (*_REPLACED, *_OF_HITS)}
    lines += [dict(header), {**rest, **union, "size": 0}]
    return Branches(tree=tree, call=Call(lines, options))


def _sorted_options(asked: Asked) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The keywords of the search by where an ``msearch`` takes them: header line, body, keyword."""
    header: dict[str, Any] = {}
    of_body: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in _keywords(asked).items():
        if value is None or (name == "sort" and not request.sorts_by_other_than_score(value)):
            continue
        if name in _HEADER:
            header[name] = list(value) if isinstance(value, tuple) else value
        elif name in _BODY:
            of_body[_BODY[name]] = _as_in_body(name, value)
        elif name in _OF_MSEARCH:
            options[name] = value
        else:
            raise InvalidSetting(name, value, "can't be sent with lists that are fused by the client; leave it out")
    return header, _with_source(of_body), options


def _keywords(asked: Asked) -> dict[str, Any]:
    """What the call says beside its body, page and ``filter_path``, also in ``params``."""
    params = asked.call.options.get("params") or {}
    given = {**(params if isinstance(params, Mapping) else {}), **asked.call.options}
    return request.without(given, "params", "filter_path", "size", "from", "from_")


def _as_in_body(name: str, value: Any) -> Any:
    """A URL parameter as a body says it: ``true`` and ``false`` as such, and names in a list."""
    if name not in _NAMES or not isinstance(value, str):
        return value
    return {"true": True, "false": False}.get(value, value.split(","))


def _with_source(of_body: Mapping[str, Any]) -> dict[str, Any]:
    """``_source``, and what a URL includes and excludes, as one; nothing is shown where it is false."""
    rest = {key: value for key, value in of_body.items() if key not in _SOURCE_LISTS}
    cut = {key.removeprefix("_source_"): of_body[key] for key in _SOURCE_LISTS if key in of_body}
    shown = rest.get("_source")
    if not cut or shown is False:
        return rest
    return {**rest, "_source": ({"includes": shown} if isinstance(shown, list) else {}) | cut}


def _depths(tree: Node, least: int) -> Iterator[tuple[Leaf, int]]:
    """The leaves from left to right, each with how deep it is read."""
    if isinstance(tree, Leaf):
        yield tree, least
    elif isinstance(tree, Rescored):
        yield from _depths(tree.inner, max(least, tree.said.get("window_size", 0)))
    else:
        for part in tree.parts:
            yield from _depths(part, tree.depth)


def _of_list(body: Mapping[str, Any], leaf: Leaf, depth: int, fields: Sequence[Any]) -> dict[str, Any]:
    rest = {key: value for key, value in body.items() if key not in (*_REPLACED, *_OF_ANSWER)}
    asked = {**rest, **leaf.search, "size": depth, "track_total_hits": False}
    return asked | ({"fields": [*(body.get("fields") or ()), *fields]} if fields else {})


def _highlighted(body: Mapping[str, Any], union: Mapping[str, Any]) -> dict[str, Any]:
    """Highlight by the words of all lists, so that a hit shows the same fragments whichever list it came from."""
    highlight = body.get("highlight")
    if not isinstance(highlight, Mapping) or "highlight_query" in highlight or "query" not in union:
        return {}
    return {"highlight": {**highlight, "highlight_query": union["query"]}}


def _union(leaves: Sequence[Leaf]) -> dict[str, Any]:
    """The part of a body that finds what any of the leaves finds."""
    queries: list[Any] = []
    vectors: list[Any] = []
    for leaf in leaves:
        if "query" in leaf.search:
            queries.append(leaf.search["query"])
        elif "knn" in leaf.search:
            vectors.append(leaf.search["knn"])
        else:
            _add(leaf.search["retriever"], queries, vectors)
    query = queries[0] if len(queries) == 1 else {"bool": {"should": queries, "minimum_should_match": 1}}
    return ({"query": query} if queries else {}) | ({"knn": vectors} if vectors else {})


def _add(found: Any, queries: list[Any], vectors: list[Any]) -> None:
    kind, body = _kind(found)
    inner = _inside(body)
    if kind == "knn" and isinstance(body, Mapping):
        vectors.append({key: value for key, value in body.items() if key not in ("min_score", "_name")})
    elif kind == "standard" and isinstance(body, Mapping):
        query = body.get("query", {"match_all": {}})
        filters = body.get("filter")
        queries.append({"bool": {"must": [query], "filter": filters}} if filters else query)
    elif inner is not None:
        for entry in inner:
            _add(entry, queries, vectors)
    else:
        mend = "can't be run beside other lists by the client; use standard, knn, or one around them"
        raise InvalidSetting("retriever", kind or found, mend)


def _kind(found: Any) -> tuple[str, Any]:
    """The name of a retriever and what it holds; an empty name where it has not one of them."""
    return next(iter(found.items())) if isinstance(found, Mapping) and len(found) == 1 else ("", None)


def _inside(body: Any) -> list[Any] | None:
    """The retrievers that a retriever holds, None where it holds none."""
    if not isinstance(body, Mapping):
        return None
    inner = body.get("retrievers") or ([body["retriever"]] if "retriever" in body else None)
    if not isinstance(inner, list | tuple):
        return None
    return [entry.get("retriever", entry) if isinstance(entry, Mapping) else entry for entry in inner]
