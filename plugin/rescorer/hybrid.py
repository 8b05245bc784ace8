"""``hybrid_search`` as each engine takes it: BM25 and kNN side by side, fused by the engine or by the client.

| ``fusion`` | OpenSearch | Elasticsearch |
|---|---|---|
| ``engine`` | ``hybrid`` query, fused by the search pipeline | ``query`` and ``knn`` in one search, scores added |
| ``min_max``, ``rrf`` | both halves in one ``msearch``, fused by the client | the same, with the same result |

The filter stands in both halves, which every version of both engines understands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rescorer import checks, config
from rescorer.domain import Call, Engine
from rescorer.errors import InvalidProfile, InvalidSetting
from rescorer.pages import Page
from rescorer.profile import MAX_K, PATH, Hybrid
from rescorer.rank_fusion import Fusion
from rescorer.request import Asked
from rescorer.retriever import Fused, Leaf, Rescored

MIN_CANDIDATES = 100
"""Candidates per shard that Elasticsearch looks at for ``knn``, at least; else half as many again as ``k``."""

EXAMPLE = (
    '{"text_fields": ["title^2", "body"], "vector_field": "embedding", "search_pipeline": "rescorer-normalization"}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One ``hybrid_search`` as it was called.

    extra: further keys of the body, such as ``aggs`` or ``highlight``. options: every other keyword of ``search``.
    """

    text: str
    filter: Any = None
    page: Page
    rescore: Mapping[str, Any] | None = None
    rescored: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.text(self.text, "text")
        for name, value in (("size", self.page.size), ("from_", self.page.offset)):
            checks.whole(0, config.MAX_WINDOW_SIZE)(value, name)
        if self.filter is not None and not isinstance(self.filter, Mapping | list | tuple):
            raise InvalidSetting("filter", self.filter, "must be a query or a list of queries")
        if not isinstance(self.extra, Mapping) or self.extra.keys() & {"query", "knn", "retriever"}:
            raise InvalidSetting(
                "body", self.extra, "must be an object without query, knn and retriever, which hybrid_search builds"
            )
        for key, name in (("size", "size"), ("from", "from_")):
            if key in self.extra:
                raise InvalidSetting(f"body.{key}", self.extra[key], f"is a keyword of hybrid_search; write {name}=")


def required(form: Hybrid | None) -> Hybrid:
    """The index's hybrid form; raises InvalidProfile where it has none."""
    if form is None:
        raise InvalidProfile(f"{PATH}.hybrid", None, f"is missing; add for example {EXAMPLE}")
    return form


def asked(wanted: Wanted, form: Hybrid, vector: Sequence[float] | None, window_size: int, engine: Engine) -> Asked:
    """The search that asks for both halves, or for the BM25 half alone where there is no query vector.

    How deep each half is read is the same on every page, because the fused scores depend on it.
    """
    page = {"from": wanted.page.offset, "size": wanted.page.size}
    filters = _filters(wanted)
    in_words = words(form, wanted.text, filters)
    options = dict(wanted.options)
    if vector is None:
        return _as_asked({**wanted.extra, "query": in_words, **page}, options)
    depth = max(window_size, form.k)
    in_vectors = near(form, vector, engine, filters)
    if form.fusion != "engine":
        halves = (Leaf({"query": in_words}), Leaf(in_vectors))
        fused = Fused(parts=halves, how=_how(form), depth=depth)
        found = _as_asked({**wanted.extra, **page}, options)
        return replace(found, tree=Rescored(fused, {}))
    if engine == "elasticsearch":
        return _as_asked({**wanted.extra, "query": in_words, **in_vectors, **page}, options)
    query = {"hybrid": {"queries": [in_words, in_vectors["query"]], "pagination_depth": depth}}
    return _as_asked({**wanted.extra, "query": query, **page}, _with_pipeline(wanted, form))


def words(form: Hybrid, text: str, filters: Sequence[Any] = ()) -> dict[str, Any]:
    """The BM25 half as a query clause."""
    found: dict[str, Any] = {"multi_match": {"query": text, "fields": list(form.text_fields)}}
    return {"bool": {"must": [found], "filter": list(filters)}} if filters else found


def near(form: Hybrid, vector: Sequence[float], engine: Engine, filters: Sequence[Any] = ()) -> dict[str, Any]:
    """The kNN half as a part of a body: a query clause on OpenSearch, the top-level ``knn`` on Elasticsearch."""
    found: dict[str, Any] = {"k": form.k} | ({"filter": {"bool": {"filter": list(filters)}}} if filters else {})
    if engine == "opensearch":
        return {"query": {"knn": {form.vector_field: {"vector": list(vector), **found}}}}
    candidates = min(MAX_K, max(MIN_CANDIDATES, form.k + form.k // 2))
    return {"knn": {"field": form.vector_field, "query_vector": list(vector), "num_candidates": candidates, **found}}


def _as_asked(body: Mapping[str, Any], options: Mapping[str, Any]) -> Asked:
    return Asked(call=Call(body, options), body=body, said={})


def _filters(wanted: Wanted) -> list[Any]:
    return [wanted.filter] if isinstance(wanted.filter, Mapping) else list(wanted.filter or ())


def _how(form: Hybrid) -> Fusion:
    if form.fusion == "rrf":
        return Fusion(kind="rrf", weights=form.weights or (1.0, 1.0), rank_constant=form.rank_constant)
    return Fusion(kind="min_max", weights=form.weights or (0.5, 0.5))


def _with_pipeline(wanted: Wanted, form: Hybrid) -> dict[str, Any]:
    """The keywords of the search, with the index's search pipeline unless the call names one."""
    params = wanted.options.get("params") or {}
    is_named = "search_pipeline" in wanted.options or "search_pipeline" in params or "search_pipeline" in wanted.extra
    return {**wanted.options} | (
        {"search_pipeline": form.search_pipeline} if form.search_pipeline and not is_named else {}
    )
