"""Elasticsearch's ``retriever``: where our reranker stands in it, and what of it the client has to run itself.

Ours is ``text_similarity_reranker`` with ``inference_id: "rescorer"``. Around one retriever of the engine it needs one
search like any other. Around or inside ``rrf`` and ``linear`` the client runs the tree itself: the leaves are searched
in one ``msearch``, their ranked lists are fused here (:mod:`rescorer.rank_fusion`), and no paid licence is needed.
Inside any other retriever of the engine it is refused by name, since the engine would have to call us.

## Decisions
2026-11: hits outside ``rank_window_size`` follow the rescored ones; the engine's own reranker drops them, and we lose
no hit. With ``min_score`` they are left out as the engine does, because they have no score to compare with it.
2026-11: ``rank_window_size`` that is not said is the profile's window, else 100, not the engine's 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from rescorer import checks, config
from rescorer.errors import InvalidSetting
from rescorer.rank_fusion import Fusion, Normalizer

KEY = "text_similarity_reranker"
INFERENCE_ID = "rescorer"
RANK_WINDOW_SIZE = 10
"""The engine's own default for ``rrf`` and ``linear``."""

MOST_DEEP = 100
"""How many lists and objects may stand in each other in a retriever that the client reads."""

_KNOWN = ("retriever", "field", "inference_id", "inference_text", "rank_window_size", "min_score", "filter", "_name")
_OF_ENGINE = ("query", "filter")
"""Keys of a retriever under which no retriever stands."""

_FUSED_KEYS = ("retrievers", "rank_window_size", "filter", "min_score", "_name")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A list that the engine makes. search: the part of a body that asks for it, with ``retriever`` or ``query``."""

    search: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fused:
    """Several ranked lists made one. depth: how many hits of each list count."""

    parts: tuple[Node, ...]
    how: Fusion
    depth: int
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Rescored:
    """A list whose window the cross-encoder scores, under these settings. said_at: the JSON path of each."""

    inner: Node
    said: Mapping[str, Any]
    said_at: Mapping[str, str] = field(default_factory=dict, compare=False)


Node: TypeAlias = Leaf | Fused | Rescored


def read(value: Any, path: str) -> Node | None:
    """The retriever as a tree; None where ours does not stand in it. Raises InvalidSetting with the JSON path."""
    if not _holds_ours(value):
        return None
    if max(depth for _, depth in _walked(value, MOST_DEEP)) == MOST_DEEP:
        raise InvalidSetting(path, "a retriever", f"must not be nested {MOST_DEEP} levels deep or more")
    return _node(value, path, ())


def runs_in_engine(tree: Node) -> bool:
    """Whether one search is enough: ours stands around one retriever of the engine."""
    return isinstance(tree, Rescored) and isinstance(tree.inner, Leaf)


def without_ours(value: Any) -> Any:
    """The retriever with each of ours replaced by what it stands around: its first stage."""
    if isinstance(value, list | tuple):
        return [without_ours(entry) for entry in value]
    if not isinstance(value, Mapping):
        return value
    if _is_ours(value):
        body = value[KEY]
        return without_ours(_filtered(body.get("retriever"), _filters(body)))
    return {key: without_ours(inner) if key not in _OF_ENGINE else inner for key, inner in value.items()}


def leaves(node: Node) -> Iterator[Leaf]:
    """The tree's leaves from left to right."""
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, Rescored):
        yield from leaves(node.inner)
    else:
        for part in node.parts:
            yield from leaves(part)


def first_stage_of(node: Node, most: int | None = None) -> Node:
    """The tree without its cross-encoders, no list of which is read deeper than ``most`` hits."""
    if isinstance(node, Rescored):
        return first_stage_of(node.inner, most)
    if isinstance(node, Fused):
        depth = node.depth if most is None else min(node.depth, most)
        return replace(node, parts=tuple(first_stage_of(part, most) for part in node.parts), depth=depth)
    return node


def is_rescored_once(node: Node) -> bool:
    """Whether the root is a cross-encoder, and nothing below it is one."""
    waiting: list[Node] = [node.inner] if isinstance(node, Rescored) else [node]
    for found in waiting:
        waiting += found.parts if isinstance(found, Fused) else []
    return isinstance(node, Rescored) and not any(isinstance(found, Rescored) for found in waiting)


def foremost(node: Node) -> Rescored:
    """The first cross-encoder of a tree that holds one, from the root down and from left to right."""
    waiting = [node]
    while waiting:
        found = waiting.pop(0)
        if isinstance(found, Rescored):
            return found
        if isinstance(found, Fused):
            waiting += found.parts
    raise ValueError("the tree holds no cross-encoder")


def document_fields(node: Node) -> Iterator[config.DocumentField]:
    """The fields that the tree's own cross-encoders read."""
    if isinstance(node, Rescored):
        yield from node.said.get("document_fields", ())
        yield from document_fields(node.inner)
    elif isinstance(node, Fused):
        for part in node.parts:
            yield from document_fields(part)


def _is_ours(value: Any) -> bool:
    body = value.get(KEY) if isinstance(value, Mapping) else None
    return isinstance(body, Mapping) and body.get("inference_id") == INFERENCE_ID


def _holds_ours(value: Any) -> bool:
    return any(_is_ours(node) for node, _ in _walked(value, None) if isinstance(node, Mapping))


def _walked(value: Any, most: int | None) -> Iterator[tuple[Any, int]]:
    """The lists and objects of a retriever, each with its depth, down to ``most``; queries and filters left out."""
    waiting, seen = [(value, 0)], set()
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, list | tuple | Mapping) or (most is None and id(node) in seen):
            continue
        seen.add(id(node))
        yield node, depth
        if depth == most:
            return
        entries = node if not isinstance(node, Mapping) else [node[key] for key in node if key not in _OF_ENGINE]
        waiting += [(entry, depth + 1) for entry in entries]


def _node(value: Any, path: str, filters: tuple[Any, ...]) -> Node:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise InvalidSetting(path, value, "must be an object with one retriever, such as standard")
    ((kind, body),) = value.items()
    if _is_ours(value):
        return _rescored(body, f"{path}.{KEY}", filters)
    if kind in ("rrf", "linear") and isinstance(body, Mapping) and "retrievers" in body:
        return _fused(kind, body, f"{path}.{kind}", filters)
    if _holds_ours(body):
        mend = f"holds inference_id {INFERENCE_ID!r}, which only rrf and linear can; put {KEY} around {kind} instead"
        raise InvalidSetting(f"{path}.{kind}", kind, mend)
    return Leaf({"retriever": _filtered(value, filters)})


def _rescored(body: Mapping[str, Any], path: str, filters: tuple[Any, ...]) -> Rescored:
    checks.checked_keys(body, _KNOWN, path)
    for key in ("retriever", "field", "inference_text"):
        if key not in body:
            raise InvalidSetting(path, sorted(body), f'must hold "{key}"')
    names = {"inference_text": "query_text", "rank_window_size": "window_size", "min_score": "min_score"}
    given = {name: config.CHECKS[name](body[key], f"{path}.{key}") for key, name in names.items() if key in body}
    fields = (config.DocumentField(field=checks.text(body["field"], f"{path}.field")),)
    inner = _node(body["retriever"], f"{path}.retriever", (*filters, *_filters(body)))
    places = {name: f"{path}.{key}" for key, name in names.items() if key in body}
    return Rescored(inner, {"document_fields": fields, **given}, {"document_fields": f"{path}.field", **places})


def _fused(kind: str, body: Mapping[str, Any], path: str, filters: tuple[Any, ...]) -> Fused:
    checks.checked_keys(body, (*_FUSED_KEYS, *(("rank_constant",) if kind == "rrf" else ("normalizer",))), path)
    parts = body["retrievers"]
    if not isinstance(parts, list | tuple) or not parts:
        raise InvalidSetting(f"{path}.retrievers", parts, "must be a list of retrievers")
    entries = [_part(entry, f"{path}.retrievers[{number}]") for number, entry in enumerate(parts)]
    inside = (*filters, *_filters(body))
    size = checks.whole(1, config.MAX_WINDOW_SIZE)
    return Fused(
        parts=tuple(
            _node(entry["retriever"], f"{path}.retrievers[{number}]", inside) for number, entry in enumerate(entries)
        ),
        how=_how(kind, body, entries, path),
        depth=size(body.get("rank_window_size", RANK_WINDOW_SIZE), f"{path}.rank_window_size"),
        min_score=config.CHECKS["min_score"](body["min_score"], f"{path}.min_score") if "min_score" in body else None,
    )


def _part(entry: Any, path: str) -> Mapping[str, Any]:
    """One entry of ``retrievers``: a retriever, or one with its weight and normalizer beside it."""
    if isinstance(entry, Mapping) and "retriever" in entry:
        checks.checked_keys(entry, ("retriever", "weight", "normalizer"), path)
        return entry
    return {"retriever": entry}


def _how(kind: str, body: Mapping[str, Any], entries: list[Mapping[str, Any]], path: str) -> Fusion:
    weights = tuple(
        checks.number(entry.get("weight", 1.0), f"{path}.retrievers[{place}].weight")
        for place, entry in enumerate(entries)
    )
    if kind == "rrf":
        constant = checks.whole(1, 1_000_000)(body.get("rank_constant", 60), f"{path}.rank_constant")
        return Fusion(kind="rrf", weights=weights, rank_constant=constant)
    default = body.get("normalizer", "none")
    known = checks.one_of(Normalizer)
    return Fusion(
        kind="linear",
        weights=weights,
        normalizers=tuple(
            cast(Normalizer, known(entry.get("normalizer", default), f"{path}.retrievers[{place}].normalizer"))
            for place, entry in enumerate(entries)
        ),
    )


def _filters(body: Mapping[str, Any]) -> tuple[Any, ...]:
    given = body.get("filter")
    return () if given is None else tuple(given) if isinstance(given, list | tuple) else (given,)


def _filtered(value: Any, filters: tuple[Any, ...]) -> Any:
    """The engine's retriever with more filters, which each of them takes under ``filter``."""
    if not filters or not isinstance(value, Mapping) or len(value) != 1:
        return value
    ((kind, body),) = value.items()
    if not isinstance(body, Mapping):
        return value
    return {kind: {**body, "filter": [*_filters(body), *filters]}}
