"""What an index says about its own rescoring: ``mappings._meta.rescorer``, read, checked, described.

The keys of :class:`rescorer.config.RescoreSettings` stand at its top level; ``hybrid`` stands beside them and says
how ``hybrid_search`` asks this index.

## Decisions
2026-11-21: the JSON Schema accepts every profile that :func:`read` accepts, and refuses what it refuses but for six
things that JSON Schema has no word for: a field that is named twice in two forms (``"title"`` and
``{"field": "title"}``), a model that two stages name, weights that do not add up to 1, chunks that overlap by more
than half or are fewer than ``top``, points that do not rise, and a day that no month has. Rejected: allowing them,
since the model would read the same text twice, and OpenSearch's own processors refuse such weights too.
2026-11-25: a key that the chosen fusion does not read is an error (a search pipeline beside a fusion in the client,
weights beside the engine's own), never ignored: whoever wrote it expects it to count.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal, get_args

from rescorer import calibration, checks, choices, config, gate
from rescorer.choices import Select
from rescorer.errors import InvalidProfile, InvalidSetting

PATH = "mappings._meta.rescorer"
MAX_K = 10_000
"""Both engines' bound for ``k`` of a kNN clause."""

MAX_RANK_CONSTANT = 10_000
"""Bound of OpenSearch's score-ranker-processor for ``rank_constant``."""

Fusion = Literal["engine", "min_max", "rrf"]
"""Who makes one ranked list of the BM25 half and the kNN half, and how; see :class:`Hybrid`."""

HALVES = 2
WEIGHT_TOLERANCE = 1e-6
"""How far from 1 the weights may add up."""

VECTOR_TYPES = frozenset({"knn_vector", "dense_vector"})
DATE_TYPES = frozenset({"date", "date_nanos"})
BOOSTED = r"^[^^]*[^\s^][^^]*(\^[0-9]*\.?[0-9]+)?$"
"""A field of ``multi_match``: a name, then perhaps ``^`` and a boost of 0 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """How ``hybrid_search`` asks an index.

    text_fields: fields of the BM25 half as in ``multi_match``: boosts (``"title^2"``) and wildcards (``"*_text"``) too.
    vector_field: the vector field of the kNN half.
    model: the sidecar's embedder for the query vector; empty means its default.
    k: neighbours per shard; 1 … 10,000.
    search_pipeline: the engine's pipeline that fuses the two halves; without one the index's default is used.
    fusion: ``engine`` (OpenSearch: search pipeline; Elasticsearch: sum of scores); the client: ``min_max`` or ``rrf``.
    weights: of BM25 and kNN, each in 0 … 1, together 1; empty means equal; for ``min_max`` and ``rrf`` only.
    rank_constant: how little the first ranks stand out, in 1/(rank_constant + rank); 1 … 10,000; for ``rrf`` only.

    ``min_max`` and ``rrf`` ask both halves in one msearch and fuse the two ranked lists as OpenSearch's
    normalization-processor (min_max, arithmetic_mean) and score-ranker-processor do, on both engines alike.
    """

    text_fields: tuple[str, ...]
    vector_field: str
    model: str = ""
    k: int = 100
    search_pipeline: str = ""
    fusion: Fusion = "engine"
    weights: tuple[float, ...] = ()
    rank_constant: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An index's wishes: rescore settings as :func:`rescorer.config.parse` returns them, and its hybrid form."""

    rescore: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    hybrid: Hybrid | None = None


def read(meta: Any, path: str = PATH) -> Profile:
    """Check ``_meta.rescorer`` and return it as a Profile; raises InvalidProfile with the JSON path and the mend."""
    try:
        known = [*(entry.name for entry in dataclasses.fields(config.RescoreSettings)), "hybrid"]
        checks.checked_keys(meta, known, path)
        rescore = config.parse({key: value for key, value in meta.items() if key != "hybrid"}, path)
        hybrid = _hybrid(meta["hybrid"], f"{path}.hybrid") if "hybrid" in meta else None
    except InvalidSetting as error:
        raise InvalidProfile(error.path, error.value, error.mend) from error
    return Profile(rescore=MappingProxyType(rescore), hybrid=hybrid)


def _hybrid(value: Any, path: str) -> Hybrid:
    checks.checked_keys(value, (entry.name for entry in dataclasses.fields(Hybrid)), path)
    for key in ("text_fields", "vector_field"):
        if key not in value:
            raise InvalidSetting(path, dict(value), f'must hold "{key}"')
    texts = value["text_fields"]
    if not isinstance(texts, list) or not texts:
        raise InvalidSetting(f"{path}.text_fields", texts, 'must be a list of field names, such as ["title^2", "body"]')
    form = Hybrid(
        text_fields=tuple(_boosted(name, f"{path}.text_fields[{place}]") for place, name in enumerate(texts)),
        vector_field=checks.text(value["vector_field"], f"{path}.vector_field"),
        model=checks.any_text(value.get("model", ""), f"{path}.model"),
        k=checks.json_whole(1, MAX_K)(value.get("k", 100), f"{path}.k"),
        search_pipeline=checks.any_text(value.get("search_pipeline", ""), f"{path}.search_pipeline"),
        fusion=_fusion(value.get("fusion", "engine"), f"{path}.fusion"),
        weights=_weights(value.get("weights", []), f"{path}.weights"),
        rank_constant=checks.json_whole(1, MAX_RANK_CONSTANT)(value.get("rank_constant", 60), f"{path}.rank_constant"),
    )
    _refuse_unread(value, form, path)
    return form


def _fusion(value: Any, path: str) -> Fusion:
    checks.one_of(Fusion)(value, path)
    found: Fusion = value
    return found


def _weights(value: Any, path: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) not in (0, HALVES):
        raise InvalidSetting(path, value, "must be a list of two numbers, BM25 first, such as [0.3, 0.7]")
    for place, weight in enumerate(value):
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise InvalidSetting(f"{path}[{place}]", weight, "must be a number in 0..1")
    if value and abs(math.fsum(value) - 1) > WEIGHT_TOLERANCE:
        raise InvalidSetting(path, value, f"must add up to 1, not {math.fsum(value):g}; for example [0.3, 0.7]")
    return tuple(float(weight) for weight in value)


def _refuse_unread(value: Mapping[str, Any], form: Hybrid, path: str) -> None:
    """Raise InvalidSetting for a key that the form's fusion does not read."""
    if form.search_pipeline and form.fusion != "engine":
        mend = f'is not used with "fusion": "{form.fusion}", where the client fuses; take one of the two away'
        raise InvalidSetting(f"{path}.search_pipeline", form.search_pipeline, mend)
    if form.weights and form.fusion == "engine":
        mend = 'is read by "fusion": "min_max" and "rrf" alone; name one, or set the weights in the search pipeline'
        raise InvalidSetting(f"{path}.weights", value["weights"], mend)
    if "rank_constant" in value and form.fusion != "rrf":
        mend = f'is read by "fusion": "rrf" alone, and it is "{form.fusion}"; take one of the two away'
        raise InvalidSetting(f"{path}.rank_constant", value["rank_constant"], mend)


def _boosted(value: Any, path: str) -> str:
    if not isinstance(value, str) or not re.search(BOOSTED, value):
        raise InvalidSetting(path, value, 'must be a field name, with a boost or without, such as "title^2"')
    return value


def check_fields(profile: Profile, mappings: Mapping[str, Any], path: str = PATH) -> list[InvalidProfile]:
    """Every field that the profile names and ``mappings`` (with its ``properties``) does not hold, as errors.

    A field that holds the wrong kind of thing counts as well: text where a vector is needed, a vector where text is.
    """
    types = dict(_field_types(mappings.get("properties"), ""))
    wrong = []
    for place, entry in enumerate(profile.rescore.get("document_fields", ())):
        kinds = [kind for name, kind in types.items() if name == entry.field]
        wrong += _not_text(f"{path}.document_fields[{place}]", entry.field, kinds, types)
    wrong += _of_select(profile.rescore.get("select"), types, f"{path}.select")
    if profile.hybrid is not None:
        for place, boosted in enumerate(profile.hybrid.text_fields):
            name = boosted.split("^")[0]
            kinds = [kind for known, kind in types.items() if fnmatchcase(known, _pattern(name))]
            wrong += _not_text(f"{path}.hybrid.text_fields[{place}]", name, kinds, types)
        wrong += _not_vector(f"{path}.hybrid.vector_field", profile.hybrid.vector_field, types)
    return wrong


def _of_select(select: Select | None, types: Mapping[str, str], path: str) -> list[InvalidProfile]:
    """What is wrong with the fields that ``select`` goes by."""
    wrong = []
    if select is not None and select.recency is not None:
        name = select.recency.field
        if types.get(name) not in DATE_TYPES:
            mend = f"is a {types[name]}, and must be a date" if name in types else _no_field(name, types)
            wrong.append(InvalidProfile(f"{path}.recency.field", name, mend))
    if select is not None and select.sources is not None and select.sources.field not in types:
        name = select.sources.field
        wrong.append(InvalidProfile(f"{path}.sources.field", name, _no_field(name, types)))
    if select is not None and select.novelty is not None and select.novelty.vector_field:
        wrong += _not_vector(f"{path}.novelty.vector_field", select.novelty.vector_field, types)
    return wrong


def _no_field(name: str, types: Mapping[str, str]) -> str:
    return f"is not a field of the mapping; {_nearest(name, types)}"


def _not_text(where: str, name: str, kinds: list[str], types: Mapping[str, str]) -> list[InvalidProfile]:
    """What is wrong with a field that should hold text. ``kinds``: the types of the fields that the name means."""
    if not kinds:
        return [InvalidProfile(where, name, _no_field(name, types))]
    if all(kind in VECTOR_TYPES for kind in kinds):
        return [InvalidProfile(where, name, f"is a {kinds[0]}, and must be a field that holds text")]
    return []


def _not_vector(where: str, name: str, types: Mapping[str, str]) -> list[InvalidProfile]:
    if name not in types:
        return [InvalidProfile(where, name, _no_field(name, types))]
    if types[name] not in VECTOR_TYPES:
        mend = f"is a {types[name]}, and must be a knn_vector (OpenSearch) or dense_vector (Elasticsearch)"
        return [InvalidProfile(where, name, mend)]
    return []


def _pattern(name: str) -> str:
    """As a file name pattern, of which the engines know the star alone."""
    return name.replace("[", "[[]").replace("?", "[?]")


def _nearest(name: str, known: Iterable[str], most: int = 20) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    shown = ", ".join(names[:most]) or "none"
    return f"its fields: {shown}" + (f" and {len(names) - most} more" if len(names) > most else "")


def _field_types(properties: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for name, body in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(body, Mapping):
            yield prefix + name, str(body.get("type", "object"))
            yield from _field_types(body.get("properties"), f"{prefix}{name}.")
            yield from _field_types(body.get("fields"), f"{prefix}{name}.")


def _cascade_schema(count: int) -> dict[str, Any]:
    """So many stages, the last of which keeps nothing."""
    model = {"model": {"type": "string", "pattern": r"\S"}}
    keep = {"keep": {"type": "integer", "minimum": 1, "maximum": config.MAX_WINDOW_SIZE}}
    shape = {"type": "object", "required": ["model"], "additionalProperties": False}
    items = [shape | {"properties": model | keep}] * (count - 1) + [shape | {"properties": model}]
    return {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}


_TYPES: Mapping[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "str | None": {"type": "string", "pattern": r"\S"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "float | None": {"type": "number"},
    "int": {"type": "integer"},
    "WindowSize": {
        "anyOf": [{"const": config.AUTO}, {"type": "integer", "minimum": 1, "maximum": config.MAX_WINDOW_SIZE}]
    },
    "ScoreMode": {"enum": list(get_args(config.ScoreMode))},
    "OnFailure": {"enum": list(get_args(config.OnFailure))},
    "Activation": {"enum": list(get_args(config.Activation))},
    "Fusion": {"enum": list(get_args(Fusion))},
    "tuple[float, ...]": {
        "type": "array",
        "items": {"type": "number", "minimum": 0, "maximum": 1},
        "anyOf": [{"maxItems": 0}, {"minItems": HALVES, "maxItems": HALVES}],
    },
    "tuple[str, ...]": {"type": "array", "items": {"type": "string", "pattern": BOOSTED}, "minItems": 1},
    "Models": {"type": "array", "items": {"type": "string", "pattern": r"\S"}, "minItems": 1, "uniqueItems": True},
    "tuple[Stage, ...]": {"anyOf": [_cascade_schema(count) for count in range(2, config.MOST_STAGES + 1)]},
    "Gate | None": dict(gate.SHAPE.schema),
    "Calibration | None": dict(calibration.SHAPE.schema),
    "Select | None": dict(choices.SHAPE.schema),
    "LongTexts | None": {
        "anyOf": [
            {"enum": ["truncate", "chunks"]},
            {
                "type": "object",
                "properties": {
                    "chunk_tokens": {
                        "type": "integer",
                        "anyOf": [{"const": 0}, {"minimum": config.LEAST_CHUNK_TOKENS, "maximum": config.MAX_TOKENS}],
                    },
                    "overlap_tokens": {"type": "integer", "minimum": 0, "maximum": config.MAX_TOKENS},
                    "most_chunks": {"type": "integer", "minimum": 1, "maximum": config.MOST_CHUNKS},
                    "top": {"type": "integer", "minimum": 1, "maximum": config.MOST_CHUNKS},
                },
                "additionalProperties": False,
            },
        ]
    },
    "tuple[DocumentField, ...]": {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {
                    "type": "object",
                    "properties": {
                        "field": {"type": "string", "pattern": r"\S"},
                        "label": {"type": "string"},
                        "max_tokens": {"type": "integer", "minimum": 0, "maximum": config.MAX_TOKENS},
                    },
                    "required": ["field"],
                    "additionalProperties": False,
                },
            ]
        },
    },
}
_BOUNDS: Mapping[str, dict[str, Any]] = {
    "max_tokens": {"minimum": 0, "maximum": config.MAX_TOKENS},
    "budget_ms": {"exclusiveMinimum": 0},
    "k": {"minimum": 1, "maximum": MAX_K},
    "vector_field": {"pattern": r"\S"},
    "rank_constant": {"minimum": 1, "maximum": MAX_RANK_CONSTANT},
}
_READ_TOGETHER: list[dict[str, Any]] = [
    {
        "if": {"properties": {"fusion": {"enum": ["min_max", "rrf"]}}, "required": ["fusion"]},
        "then": {"properties": {"search_pipeline": {"maxLength": 0}}},
        "else": {"properties": {"weights": {"maxItems": 0}}},
    },
    {
        "if": {"required": ["rank_constant"]},
        "then": {"properties": {"fusion": {"const": "rrf"}}, "required": ["fusion"]},
    },
]
"""What :func:`_refuse_unread` says, as JSON Schema."""

_MODELS_TOGETHER: list[dict[str, Any]] = [
    {"not": {"required": ["cascade", "model"]}},
    {"not": {"required": ["cascade", "calibration"], "properties": {"calibration": {"type": "object"}}}},
    {
        "if": {"properties": {"model": {"const": config.AUTO}}, "required": ["model"]},
        "then": {"required": ["models"]},
        "else": {"not": {"required": ["models"]}},
    },
]
"""How the keys that name models fit each other, as :func:`rescorer.config.parse` has it."""


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``_meta.rescorer``, made from the dataclasses, for editors and for validation."""
    top = _object_schema(config.RescoreSettings)
    top["properties"]["hybrid"] = _object_schema(Hybrid) | {
        "description": "how hybrid_search asks this index.",
        "allOf": _READ_TOGETHER,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rescorer profile: mappings._meta.rescorer",
        **top,
        "allOf": _MODELS_TOGETHER,
    }


def _object_schema(described: type[config.RescoreSettings] | type[Hybrid]) -> dict[str, Any]:
    explained = explanations(described)
    required = [entry.name for entry in dataclasses.fields(described) if entry.default is dataclasses.MISSING]
    found: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for entry in dataclasses.fields(described):
        shape = {**_TYPES[str(entry.type)], **_BOUNDS.get(entry.name, {}), "description": explained[entry.name]}
        if entry.default is not dataclasses.MISSING and entry.default not in (None, ()):
            shape["default"] = entry.default
        found["properties"][entry.name] = shape
    return found | ({"required": required} if required else {})


def explanations(described: type[config.RescoreSettings] | type[Hybrid]) -> dict[str, str]:
    """What each field of a settings class means, read from the ``name: meaning`` lines of its docstring."""
    found: dict[str, str] = {}
    for line in (described.__doc__ or "").splitlines()[1:]:
        names, _, meaning = line.strip().partition(": ")
        if meaning:
            found |= dict.fromkeys(names.split(", "), meaning)
    return found
