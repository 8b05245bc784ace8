"""What an index says about its own rescoring: ``mappings._meta.rescorer``, read, checked, described.

The keys of :class:`rescorer.config.RescoreSettings` stand at its top level; ``hybrid`` stands beside them and says
how ``hybrid_search`` asks this index.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from rescorer import config
from rescorer.errors import InvalidProfile, InvalidSetting

PATH = "mappings._meta.rescorer"
MAX_K = 10_000
"""Both engines' bound for ``k`` of a kNN clause."""

VECTOR_TYPES = frozenset({"knn_vector", "dense_vector"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """How ``hybrid_search`` asks an index.

    text_fields: fields of the BM25 half, with boosts as in ``multi_match`` (``"title^2"``).
    vector_field: the vector field of the kNN half.
    model: the sidecar's embedder for the query vector; empty means its default.
    k: neighbours per shard; 1 … 10,000.
    search_pipeline: the engine's pipeline that fuses the two halves; without one the index's default is used.
    """

    text_fields: tuple[str, ...]
    vector_field: str
    model: str = ""
    k: int = 100
    search_pipeline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An index's wishes: rescore settings as :func:`rescorer.config.parse` returns them, and its hybrid form."""

    rescore: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    hybrid: Hybrid | None = None


def read(meta: Any, path: str = PATH) -> Profile:
    """Check ``_meta.rescorer`` and return it as a Profile; raises InvalidProfile with the JSON path and the mend."""
    try:
        known = [*(entry.name for entry in dataclasses.fields(config.RescoreSettings)), "hybrid"]
        config.checked_keys(meta, known, path)
        rescore = config.parse({key: value for key, value in meta.items() if key != "hybrid"}, path)
        hybrid = _hybrid(meta["hybrid"], f"{path}.hybrid") if "hybrid" in meta else None
    except InvalidSetting as error:
        raise InvalidProfile(error.path, error.value, error.mend) from error
    return Profile(rescore=MappingProxyType(rescore), hybrid=hybrid)


def _hybrid(value: Any, path: str) -> Hybrid:
    config.checked_keys(value, (entry.name for entry in dataclasses.fields(Hybrid)), path)
    for key in ("text_fields", "vector_field"):
        if key not in value:
            raise InvalidSetting(path, dict(value), f'must hold "{key}"')
    texts = value["text_fields"]
    if not isinstance(texts, list) or not texts:
        raise InvalidSetting(f"{path}.text_fields", texts, 'must be a list of field names, such as ["title^2", "body"]')
    return Hybrid(
        text_fields=tuple(config.text(name, f"{path}.text_fields[{place}]") for place, name in enumerate(texts)),
        vector_field=config.text(value["vector_field"], f"{path}.vector_field"),
        model=config.any_text(value.get("model", ""), f"{path}.model"),
        k=config.whole(1, MAX_K)(value.get("k", 100), f"{path}.k"),
        search_pipeline=config.any_text(value.get("search_pipeline", ""), f"{path}.search_pipeline"),
    )


def check_fields(profile: Profile, mappings: Mapping[str, Any], path: str = PATH) -> list[InvalidProfile]:
    """Every field that the profile names and ``mappings`` (with its ``properties``) does not hold, as errors."""
    types = dict(_field_types(mappings.get("properties", {}), ""))
    named = [
        (f"{path}.document_fields[{place}]", entry.field)
        for place, entry in enumerate(profile.rescore.get("document_fields", ()))
    ]
    hybrid = profile.hybrid
    if hybrid is not None:
        texts = enumerate(hybrid.text_fields)
        named += [(f"{path}.hybrid.text_fields[{place}]", name.split("^")[0]) for place, name in texts]
        named.append((f"{path}.hybrid.vector_field", hybrid.vector_field))
    known = ", ".join(sorted(types)) or "none"
    wrong = [
        InvalidProfile(where, name, f"is not a field of the mapping; its fields: {known}")
        for where, name in named
        if name not in types
    ]
    if hybrid is not None and types.get(hybrid.vector_field, "knn_vector") not in VECTOR_TYPES:
        mend = (
            f"is a {types[hybrid.vector_field]}, and must be a knn_vector (OpenSearch) or dense_vector (Elasticsearch)"
        )
        wrong.append(InvalidProfile(f"{path}.hybrid.vector_field", hybrid.vector_field, mend))
    return wrong


def _field_types(properties: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, body in properties.items():
        yield prefix + name, body.get("type", "object")
        yield from _field_types(body.get("properties", {}), f"{prefix}{name}.")
        yield from _field_types(body.get("fields", {}), f"{prefix}{name}.")


_TYPES: Mapping[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "str | None": {"type": "string", "pattern": r"\S"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "int": {"type": "integer"},
    "ScoreMode": {"enum": list(get_args(config.ScoreMode))},
    "OnFailure": {"enum": list(get_args(config.OnFailure))},
    "Activation": {"enum": list(get_args(config.Activation))},
    "tuple[str, ...]": {"type": "array", "items": {"type": "string", "pattern": r"\S"}, "minItems": 1},
    "tuple[DocumentField, ...]": {
        "type": "array",
        "minItems": 1,
        "items": {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {
                    "type": "object",
                    "properties": {"field": {"type": "string", "pattern": r"\S"}, "label": {"type": "string"}},
                    "required": ["field"],
                    "additionalProperties": False,
                },
            ]
        },
    },
}
_BOUNDS: Mapping[str, dict[str, Any]] = {
    "window_size": {"minimum": 1, "maximum": config.MAX_WINDOW_SIZE},
    "max_tokens": {"minimum": 0, "maximum": 1_000_000},
    "budget_ms": {"exclusiveMinimum": 0},
    "k": {"minimum": 1, "maximum": MAX_K},
    "vector_field": {"pattern": r"\S"},
}


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``_meta.rescorer``, made from the dataclasses, for editors and for validation."""
    top = _object_schema(config.RescoreSettings)
    top["properties"]["hybrid"] = _object_schema(Hybrid)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rescorer profile: mappings._meta.rescorer",
        **top,
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
