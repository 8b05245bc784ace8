"""The drop-in for elasticsearch-py: ``from rescorer.elasticsearch import Elasticsearch`` instead of the official one.

Both classes are the official ones (client 8 and 9) with another ``search``, ``msearch``, ``search_template`` and
``msearch_template``, and with ``hybrid_search``, ``embed`` and ``rescorer`` beside them. A search that asks for no
rescoring, by its request or by its index's profile, passes through as it is.

## Decisions
2026-11-25: an answer is an ``ObjectApiResponse`` as the official client makes it, with the ``meta`` of the engine's own
answer; one that passes through is the very object that the official client returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rescorer.domain import Call, OpenPointInTime, Render
from rescorer.drive import EngineEffect
from rescorer.dropin import DEFAULT_TIMEOUT_S, AsyncDropIn, DropIn, SyncDropIn, Talk, like
from rescorer.errors import MissingExtra

try:
    from elastic_transport import ApiResponse, ApiResponseMeta, HttpHeaders, NodeConfig, TransportError
    from elasticsearch import ApiError
    from elasticsearch import (
        AsyncElasticsearch as _AsyncElasticsearch,  # there only with aiohttp, which the extra brings
    )
    from elasticsearch import Elasticsearch as _Elasticsearch
    from elasticsearch.exceptions import HTTP_EXCEPTIONS
except ImportError as error:
    raise MissingExtra("elasticsearch", "elasticsearch") from error

_ALIASES = {
    "from_": "from",
    "source": "_source",
    "source_includes": "_source_includes",
    "source_excludes": "_source_excludes",
    "source_exclude_vectors": "_source_exclude_vectors",
}
"""Keywords of ``search`` that Python spells in its own way, and what the engine calls them."""

_OF_SEARCH = (
    "_source aggregations aggs collapse docvalue_fields explain ext fields from highlight indices_boost knn min_score"
    " pit post_filter profile project_routing query rank rescore retriever runtime_mappings script_fields search_after"
    " seq_no_primary_term size slice sort stats stored_fields suggest terminate_after timeout track_scores"
    " track_total_hits version"
)
_OF_TEMPLATE = "explain id params profile project_routing source"
_BODY: Mapping[str, Mapping[str, str]] = {
    "search": {name: name for name in _OF_SEARCH.split()} | {"from_": "from", "source": "_source"},
    "search_template": {name: name for name in _OF_TEMPLATE.split()},
}
"""Keywords of a method that the official client puts into the body, and the engine's names for them."""

_LINES = {"msearch": "searches", "msearch_template": "search_templates"}


class _Talk(Talk):
    """One call of Elasticsearch's client: keywords become a body, and ``ApiResponse`` is opened and closed again."""

    def __init__(self, client: DropIn, kwargs: Mapping[str, Any], name: str) -> None:
        self._official = client._official
        self._name = name
        self._kwargs = kwargs
        self._last: Any = None
        self.call = _read(kwargs, name)

    def door(self, effect: EngineEffect) -> Any:
        """Send what the effect says; the caller's own call exactly as it came."""
        if not isinstance(effect, OpenPointInTime) and getattr(effect, "call", None) is self.call:
            return self._official(self._name)(**self._kwargs)
        if isinstance(effect, Render):
            return self._official("render_search_template")(**effect.call.body, **effect.call.options)
        return super().door(effect)

    def opened(self, call: Call) -> Any:
        """Open a point in time."""
        return self._official("open_point_in_time")(**call.options)

    def received(self, answer: Any) -> Any:
        """The body of the engine's answer; the rest of it is kept for the reply."""
        if not isinstance(answer, ApiResponse):
            return answer
        self._last = answer
        return answer.body

    def reply(self, found: Any) -> Any:
        """The official client's own object, or one like it with another body."""
        if self._last is None:
            return found
        return self._last if found is self._last.body else type(self._last)(body=found, meta=self._last.meta)


class _ElasticsearchDropIn(DropIn):
    """What only Elasticsearch's client does so."""

    _engine = "elasticsearch"
    _engine_error = (ApiError, TransportError)

    def open_point_in_time(self, *args: Any, **kwargs: Any) -> Any:
        """The engine's ``open_point_in_time``; a search of it has the profile of the indices that it is of."""
        return self._point_in_time("open_point_in_time", args, kwargs)

    def options(self, **kwargs: Any) -> Any:
        """The official ``options``: a client with other transport options, and the same sidecar and profiles."""
        found = self._official("options")(**kwargs)
        found._wiring = self._wiring
        return found

    def _talk(self, kwargs: Mapping[str, Any], name: str = "search") -> Talk:
        return _Talk(self, kwargs, name)

    def _timeout_s(self) -> float:
        own = getattr(self, "_request_timeout", None)
        if isinstance(own, int | float) and not isinstance(own, bool) and own > 0:
            return float(own)
        return DEFAULT_TIMEOUT_S

    def _refused(self, item: Mapping[str, Any]) -> Exception:
        status, said = item.get("status", 500), item["error"]
        kind = said.get("type", said) if isinstance(said, Mapping) else said
        meta = ApiResponseMeta(
            status=status,
            http_version="1.1",
            headers=HttpHeaders({}),
            duration=0.0,
            node=NodeConfig(scheme="http", host="msearch", port=0),
        )
        found: Exception = HTTP_EXCEPTIONS.get(status, ApiError)(message=str(kind), meta=meta, body=dict(item))
        return found


@like(_Elasticsearch)
class Elasticsearch(_ElasticsearchDropIn, SyncDropIn, _Elasticsearch):
    """``elasticsearch.Elasticsearch`` with rescoring; every other argument and method is the official one.

    Our own arguments are those of :class:`rescorer.opensearch.OpenSearch`.
    """


@like(_AsyncElasticsearch)
class AsyncElasticsearch(_ElasticsearchDropIn, AsyncDropIn, _AsyncElasticsearch):
    """``elasticsearch.AsyncElasticsearch`` with rescoring; arguments as for :class:`Elasticsearch`."""


def _read(kwargs: Mapping[str, Any], name: str) -> Call:
    """The call as JSON body and URL parameters, the way the official client reads it.

    What stands twice, in the body or in ``params`` as well, is the official client's own error, so it goes there.
    """
    if name in _LINES:
        given = kwargs.get(_LINES[name])
        rest = {key: value for key, value in kwargs.items() if key not in ("body", _LINES[name])}
        return Call(kwargs.get("body") if given is None else given, rest)
    of_body = _BODY.get(name, {})
    fields, options = _sorted(kwargs, of_body, _ALIASES if name == "search" else {})
    body = _with_own_names(kwargs.get("body"), name)
    if _is_said_twice(body, fields, kwargs, of_body):
        return Call(None, {})
    return Call({**(body or {}), **fields} if fields else body, options)


def _sorted(
    kwargs: Mapping[str, Any], of_body: Mapping[str, str], aliases: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords by where they go: fields of the body, and URL parameters."""
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for key, value in kwargs.items():
        named = of_body.get(key)
        if named is not None and value is not None and not _is_url_sort(named, value):
            fields[named] = value
        elif key != "body":
            options[aliases.get(key, key)] = value
    return fields, options


def _with_own_names(body: Any, name: str) -> Any:
    """A search with ``from`` where its writer said ``from_``, and so on; the very same object where nobody did."""
    if name != "search" or not isinstance(body, dict | Mapping) or _ALIASES.keys().isdisjoint(body):
        return body
    rest = {key: value for key, value in body.items() if key not in _ALIASES}
    return rest | {_ALIASES[key]: value for key, value in body.items() if key in _ALIASES}


def _is_said_twice(body: Any, fields: Mapping[str, Any], kwargs: Mapping[str, Any], of_body: Mapping[str, str]) -> bool:
    params = kwargs.get("params") if "params" not in of_body else None
    if params and (not isinstance(params, Mapping) or params.keys() & kwargs.keys()):
        return True
    named = fields.keys() | {of_body[key] for key in params if key in of_body} if params else fields.keys()
    return bool(named) and body is not None and (not isinstance(body, dict | Mapping) or not named.isdisjoint(body))


def _is_url_sort(name: str, value: Any) -> bool:
    """``sort="year:desc"`` can only stand in the URL."""
    return name == "sort" and isinstance(value, str) and ":" in value
