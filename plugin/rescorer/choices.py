"""What a second stage may choose by besides relevance: the settings of :mod:`rescorer.select`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rescorer import checks, shapes
from rescorer.errors import InvalidSetting
from rescorer.shapes import Shape

Decay = Literal["exp", "gauss", "linear"]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = r"^([0-9]{1,17})(ms|s|m|h|d)$"
_SCALE = r"^(0{0,8}[1-9][0-9]{0,8})(ms|s|m|h|d)$"
"""Above 0."""

_DATE = r"^(now|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?)$"
_YEAR, _BASIC_DATE = 4, 8
"""Digits of a year and of a date without dashes; any other number is one of milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Novelty:
    """Maximal marginal relevance: ``weight`` of what a hit repeats, against 1 - ``weight`` of relevance.

    vector_field: hits are compared by this vector field; empty compares the words of their texts.
    """

    weight: float
    vector_field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Texts that share so much of their runs of three words with a better hit are moved behind the window's others."""

    threshold: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Brevity:
    """Texts of more than ``words`` words lose up to ``weight`` of the window's range of scores."""

    weight: float
    words: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Recency:
    """Old documents lose up to ``weight`` of the window's range of scores, by the engines' own decay functions.

    field: a date. scale, offset: times such as ``30d``; at ``offset + scale`` from the origin ``decay`` is left.
    origin: ``now``, or a date.
    """

    field: str
    weight: float
    scale: str
    offset: str = "0d"
    decay: float = 0.5
    function: Decay = "exp"
    origin: str = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a document's source counts: at weight 1.2 a fifth of the window's range of scores more, at 0.8 less."""

    field: str
    weights: Mapping[str, float]
    default: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Choices by name; each is off until it is set. depth: how many places novelty and duplicates choose."""

    novelty: Novelty | None = None
    duplicates: Duplicates | None = None
    brevity: Brevity | None = None
    recency: Recency | None = None
    sources: Sources | None = None
    depth: int = 20


def fields(select: Select | None) -> list[str]:
    """The fields of a document that are read for it, besides the texts."""
    if select is None:
        return []
    named = [
        select.novelty and select.novelty.vector_field,
        select.recency and select.recency.field,
        select.sources and select.sources.field,
    ]
    return [name for name in named if name]


def instant_s(said: str) -> float | None:
    """Seconds since 1970 of a date as engines hold it: ISO 8601, or milliseconds since 1970; None for anything else."""
    try:
        if re.fullmatch(r"-?[0-9]+", said) and len(said) not in (_YEAR, _BASIC_DATE):
            return int(said) / 1000
        whole = f"{said}-01-01" if len(said) == _YEAR else said
        found = datetime.fromisoformat(whole)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def duration_s(said: str) -> float:
    """Seconds of a time such as ``30d``, which was checked before."""
    count, unit = re.findall(_DURATION, said)[0]
    return float(count) * _UNITS_S[unit]


def _duration(pattern: str, such: str) -> Shape:
    def read(value: Any, path: str) -> str:
        if not isinstance(value, str) or not re.search(pattern, value):
            raise InvalidSetting(path, value, f'must be a time with its unit (ms, s, m, h, d), such as "{such}"')
        return value

    return Shape(read, {"type": "string", "pattern": pattern})


def _origin(value: Any, path: str) -> str:
    is_date = isinstance(value, str) and re.search(_DATE, value) and instant_s(value) is not None
    if value != "now" and not is_date:
        raise InvalidSetting(path, value, 'must be "now" or a date, such as "2026-01-31" or "2026-01-31T12:00:00Z"')
    found: str = value
    return found


_NAME = Shape(checks.text, {"type": "string", "pattern": r"\S"})
_SHARE = shapes.number(0, 1, above=True)
_INSIDE = shapes.number(0, 1, above=True, below=True)

SHAPE = shapes.or_off(
    shapes.record(
        Select,
        {
            "novelty": shapes.record(Novelty, {"weight": _INSIDE, "vector_field": _NAME}, '{"weight": 0.3}'),
            "duplicates": shapes.record(Duplicates, {"threshold": _SHARE}, '{"threshold": 0.8}'),
            "brevity": shapes.record(
                Brevity, {"weight": _SHARE, "words": shapes.whole(1, 1_000_000)}, '{"weight": 0.1, "words": 200}'
            ),
            "recency": shapes.record(
                Recency,
                {
                    "field": _NAME,
                    "weight": _SHARE,
                    "scale": _duration(_SCALE, "30d"),
                    "offset": _duration(_DURATION, "1d"),
                    "decay": _INSIDE,
                    "function": shapes.word(Decay),
                    "origin": Shape(_origin, {"type": "string", "pattern": _DATE}),
                },
                '{"field": "published", "weight": 0.2, "scale": "30d"}',
            ),
            "sources": shapes.record(
                Sources,
                {
                    "field": _NAME,
                    "weights": shapes.table(shapes.number(0, 10), '{"handbook": 1.2, "forum": 0.8}'),
                    "default": shapes.number(0, 10),
                },
                '{"field": "source", "weights": {"handbook": 1.2, "forum": 0.8}}',
            ),
            "depth": shapes.whole(1, 1000),
        },
        '{"novelty": {"weight": 0.3}}, or false',
    )
)
