"""``hybrid_search`` as an OpenSearch body: BM25 and kNN side by side, fused by the engine's search pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rescorer import config
from rescorer.errors import InvalidProfile, InvalidSetting
from rescorer.pages import Page
from rescorer.profile import PATH, Hybrid

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
        config.text(self.text, "text")
        for name, value in (("size", self.page.size), ("from_", self.page.offset)):
            config.whole(0, config.MAX_WINDOW_SIZE)(value, name)
        if self.filter is not None and not isinstance(self.filter, Mapping | list | tuple):
            raise InvalidSetting("filter", self.filter, "must be a query or a list of queries")
        if not isinstance(self.extra, Mapping) or "query" in self.extra:
            raise InvalidSetting("body", self.extra, "must be an object without query, which hybrid_search builds")


def required(form: Hybrid | None) -> Hybrid:
    """The index's hybrid form; raises InvalidProfile where it has none."""
    if form is None:
        raise InvalidProfile(f"{PATH}.hybrid", None, f"is missing; add for example {EXAMPLE}")
    return form


def body(wanted: Wanted, form: Hybrid, vector: Sequence[float] | None, window_size: int) -> dict[str, Any]:
    """The body that asks for both halves, or for the BM25 half alone where there is no query vector.

    The filter stands in both halves, which every version understands. ``pagination_depth`` is the same on every page,
    because the fused scores depend on it.
    """
    filters = [wanted.filter] if isinstance(wanted.filter, Mapping) else list(wanted.filter or ())
    words: dict[str, Any] = {"multi_match": {"query": wanted.text, "fields": list(form.text_fields)}}
    if filters:
        words = {"bool": {"must": [words], "filter": filters}}
    query = words
    if vector is not None:
        near: dict[str, Any] = {"vector": list(vector), "k": form.k}
        if filters:
            near["filter"] = {"bool": {"filter": filters}}
        halves = [words, {"knn": {form.vector_field: near}}]
        query = {"hybrid": {"queries": halves, "pagination_depth": max(window_size, form.k)}}
    return {**wanted.extra, "query": query, "from": wanted.page.offset, "size": wanted.page.size}


def options(wanted: Wanted, form: Hybrid, has_vector: bool) -> dict[str, Any]:
    """The keywords of the search, with the index's search pipeline unless the call names one."""
    params = wanted.options.get("params") or {}
    is_named = "search_pipeline" in wanted.options or "search_pipeline" in params or "search_pipeline" in wanted.extra
    if form.search_pipeline and has_vector and not is_named:
        return {**wanted.options, "search_pipeline": form.search_pipeline}
    return dict(wanted.options)
