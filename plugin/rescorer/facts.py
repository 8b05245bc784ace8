"""What :mod:`rescorer.select` goes by, read out of the window's hits: texts, dates, sources, vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rescorer import text
from rescorer.choices import Recency, Select, duration_s, instant_s
from rescorer.domain import Candidate
from rescorer.select import Facts

STEPS = 100
"""``now`` moves on in so many steps per scale, so that the pages of one search have one origin."""


def of_hit(hit: Mapping[str, Any], candidate: Candidate, select: Select, source_is_whole: bool, now_s: float) -> Facts:
    """What is known about one hit; the texts are those that the model read. now_s: seconds since 1970."""
    age_s, sources, vector = None, [], []
    if select.recency is not None:
        dates = [instant_s(said) for said in text.values(hit, select.recency.field, source_is_whole)]
        origin_s = _origin_s(select.recency, now_s)
        age_s = min((abs(date - origin_s) for date in dates if date is not None), default=None)
    if select.sources is not None:
        sources = text.values(hit, select.sources.field, source_is_whole)
    if select.novelty is not None and select.novelty.vector_field:
        vector = _vector(hit, select.novelty.vector_field)
    said = " ".join(said for _, said in candidate.fields)
    return Facts(text=said, age_s=age_s, sources=sources, vector=vector)


def _origin_s(wish: Recency, now_s: float) -> float:
    if wish.origin != "now":
        return instant_s(wish.origin) or 0.0
    return now_s - now_s % (duration_s(wish.scale) / STEPS)


def _vector(hit: Mapping[str, Any], name: str) -> list[float]:
    """The vector of a field, which Elasticsearch shows in ``fields``; empty where there is none."""
    fields = hit.get("fields")
    found: Any = fields.get(name) if isinstance(fields, Mapping) else None
    if found is None:
        found = hit.get("_source")
        for step in name.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    is_vector = isinstance(found, list) and all(type(number) in (int, float) for number in found)
    return list(map(float, found)) if is_vector else []
