"""What hypothesis draws for settings and profiles: arbitrary JSON, and objects close to a right profile."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from rescorer import config
from rescorer.gate import QueryType
from rescorer.profile import Fusion

INTEGERS = st.integers(-(2**63), 2**63 - 1)
"""Whole numbers as an engine stores them."""

SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text("ab.^*2 \t\n[", max_size=5)
SMALL = st.sampled_from([0, 1, 1.0, 2.5, 100, 10_000, 10_001, 1_000_000, 1_000_001, -1, True, "1", None])
NUMBERS = SMALL | INTEGERS | st.floats(allow_nan=False, allow_infinity=False)

DOCUMENT_FIELD = NAMES | st.fixed_dictionaries(
    {}, optional={"field": NAMES | JSON, "label": NAMES | JSON, "max_tokens": NUMBERS, "x": JSON}
)
LONG_TEXTS = st.sampled_from(["truncate", "chunks", "Chunks"]) | st.fixed_dictionaries(
    {}, optional={**{key: SMALL | st.integers(1, 64) for key in config.LONG_TEXT_CHECKS}, "x": JSON}
)
GATE = st.just(False) | st.fixed_dictionaries(
    {},
    optional={
        "query_types": st.lists(st.sampled_from([*get_args(QueryType), "Code"]), max_size=3) | JSON,
        "patterns": st.dictionaries(NAMES, NAMES | JSON, max_size=2),
        "margin": SMALL | st.floats(0, 1),
        "audit": SMALL | st.floats(0, 1),
        "x": JSON,
    },
)
PARTS = st.sampled_from([0, 1, 0.5, 0.2, 1.5, "1", None, True])
TIMES = st.sampled_from(["30d", "0d", "00m", "1s", "5ms", "3w", "1.5h", "-1d", "12", "", 7])
SELECT = st.just(False) | st.fixed_dictionaries(
    {},
    optional={
        "novelty": st.fixed_dictionaries({}, optional={"weight": PARTS, "vector_field": NAMES, "x": JSON}),
        "duplicates": st.fixed_dictionaries({}, optional={"threshold": PARTS}) | JSON,
        "brevity": st.fixed_dictionaries({}, optional={"weight": PARTS, "words": SMALL}),
        "recency": st.fixed_dictionaries(
            {"field": NAMES, "weight": PARTS, "scale": TIMES},
            optional={
                "offset": TIMES,
                "decay": PARTS,
                "function": st.sampled_from(["exp", "gauss", "linear", "log"]),
                "origin": st.sampled_from(["now", "2026-01-31", "2026-01-31T12:00:00Z", "2026", "Now", 5]),
            },
        ),
        "sources": st.fixed_dictionaries(
            {"field": NAMES}, optional={"weights": st.dictionaries(NAMES, NUMBERS, max_size=2), "default": NUMBERS}
        ),
        "depth": SMALL,
        "x": JSON,
    },
)
CALIBRATION = st.just(False) | st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["platt", "isotonic", "sigmoid", None]),
        "slope": NUMBERS,
        "intercept": NUMBERS,
        "points": st.lists(st.lists(st.sampled_from([-4, 0, 0.5, 1, "1", True]), max_size=3), max_size=3) | JSON,
        "model": NAMES | JSON,
        "is_probability": st.booleans() | JSON,
        "x": JSON,
    },
)
GOOD_CALIBRATIONS = st.sampled_from(
    [
        {"calibration": {"method": "platt", "slope": 1, "intercept": 0}},
        {"calibration": {"method": "isotonic", "points": [[-1, 0], [1.5, 0.25], [2, 0.25]], "model": ""}},
        {"calibration": {"method": "isotonic", "points": [[-1, 0]]}},
        {"calibration": {"method": "isotonic", "points": [[-1, 0], [1, 1.5]]}},
        {"calibration": {"method": "platt", "slope": 0, "intercept": 0}},
        {"calibration": {"method": "platt", "points": [[-1, 0], [1, 1]]}},
        {"calibration": {"method": "platt", "slope": 1, "intercept": 0}, "cascade": [{"model": "a"}, {"model": "b"}]},
        {"calibration": False, "cascade": [{"model": "a"}, {"model": "b"}]},
    ]
)
WEIGHTS = st.sampled_from(
    [[], [0.3, 0.7], [1, 0], [0.5], [0.5, 0.4], [0.5, "0.5"], [True, 0], [-0.5, 1.5], [0.2, 0.3, 0.5]]
)
RIGHT_WEIGHTS = st.floats(0, 1).map(lambda first: [first, 1 - first])
FUSIONS = st.sampled_from([*get_args(Fusion), "Rrf", ""])
HYBRID = st.fixed_dictionaries(
    {},
    optional={
        "text_fields": st.lists(NAMES, max_size=3) | JSON,
        "vector_field": NAMES | JSON,
        "model": NAMES | JSON,
        "k": NUMBERS,
        "search_pipeline": NAMES | JSON,
        "fusion": FUSIONS | JSON,
        "weights": WEIGHTS | JSON,
        "rank_constant": NUMBERS,
        "kk": JSON,
    },
)
GOOD_HYBRID = st.fixed_dictionaries(
    {"text_fields": st.lists(st.sampled_from(["title^2", "body", "a*^.5"]), min_size=1), "vector_field": st.just("v")},
    optional={
        "k": st.integers(1, 10_000),
        "model": st.just("m"),
        "search_pipeline": st.text(max_size=3),
        "fusion": FUSIONS,
        "weights": RIGHT_WEIGHTS | WEIGHTS,
        "rank_constant": SMALL,
    },
)


def _words(literal: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([*get_args(literal), "Replace", ""])


STAGE = st.fixed_dictionaries(
    {"model": NAMES | st.sampled_from(["small", "large"])}, optional={"keep": SMALL, "x": JSON}
)
GOOD_CASCADES = (
    st.integers(1, 3)
    .map(lambda count: [{"model": f"m{place}", "keep": 9} for place in range(count)])
    .map(lambda stages: {"cascade": [*stages, {"model": "last"}]})
)
GOOD_MODELS = GOOD_CASCADES | st.lists(st.sampled_from("abc"), min_size=1, unique=True).map(
    lambda names: {"model": "auto", "models": names}
)

KEYS: dict[str, st.SearchStrategy[Any]] = {
    "document_fields": st.lists(DOCUMENT_FIELD, max_size=3),
    "query_text": NAMES,
    "model": NAMES | st.just("auto"),
    "models": st.lists(NAMES, max_size=3),
    "cascade": st.lists(STAGE, max_size=4),
    "window_size": NUMBERS | st.sampled_from(["auto", "Auto"]),
    "score_mode": _words(config.ScoreMode),
    "query_weight": NUMBERS,
    "rescore_query_weight": NUMBERS,
    "activation": _words(config.Activation),
    "max_tokens": NUMBERS,
    "long_texts": LONG_TEXTS,
    "budget_ms": NUMBERS,
    "on_failure": _words(config.OnFailure),
    "enabled": st.booleans(),
    "gate": GATE,
    "select": SELECT,
    "calibration": CALIBRATION,
    "min_score": NUMBERS,
}
PROFILES = st.fixed_dictionaries(
    {}, optional={**{key: near | JSON for key, near in KEYS.items()}, "hybrid": HYBRID | GOOD_HYBRID}
)
ONE_KEY = st.sampled_from(sorted(KEYS)).flatmap(lambda key: st.fixed_dictionaries({key: KEYS[key]}))
"""Objects with one key, of which about half are right: so that both answers are seen often."""

GOOD: dict[str, Any] = {
    "document_fields": ["title", {"field": "body", "label": "Text", "max_tokens": 300}],
    "query_text": "cancel a flight",
    "model": "auto",
    "models": ["large", "small"],
    "window_size": 10_000,
    "score_mode": "total",
    "query_weight": 2,
    "rescore_query_weight": -0.5,
    "activation": "sigmoid",
    "max_tokens": 512,
    "long_texts": {"chunk_tokens": 128, "overlap_tokens": 0, "most_chunks": 8, "top": 2},
    "budget_ms": 0.5,
    "on_failure": "error",
    "enabled": False,
    "gate": {"query_types": ["code", "one_word"], "patterns": {"part": "ab-[0-9]*"}, "margin": 0.5, "audit": 0.01},
    "select": {
        "novelty": {"weight": 0.3, "vector_field": "v"},
        "duplicates": {"threshold": 0.9},
        "brevity": {"weight": 0.1, "words": 300},
        "recency": {
            "field": "day",
            "weight": 0.2,
            "scale": "30d",
            "offset": "12h",
            "decay": 0.4,
            "function": "gauss",
            "origin": "2026-01-31T12:00:00Z",
        },
        "sources": {"field": "tag", "weights": {"t1": 1.2, "t2": 0}, "default": 0.9},
        "depth": 10,
    },
    "calibration": {"method": "platt", "slope": 1.5, "intercept": -2, "model": "large", "is_probability": True},
    "min_score": -2.5,
}
"""Every key once but ``cascade``, which stands instead of ``model`` and ``models``; none of them at its default."""

GOOD_CASCADE: dict[str, Any] = {
    **{key: value for key, value in GOOD.items() if key not in ("model", "models", "calibration")},
    "cascade": [{"model": "small", "keep": 20}, {"model": "middle"}, {"model": "large"}],
}
"""The same with ``cascade``."""
