"""Texts: what the user asked, read out of the query; what a document says, read out of its hit.

Queries: the string of ``match``, ``match_phrase``, ``match_phrase_prefix``, ``match_bool_prefix``, ``multi_match``,
``combined_fields``, ``query_string``, ``simple_query_string``, ``neural``, ``neural_sparse``, ``semantic``,
``sparse_vector``, ``text_expansion`` and of a ``query_vector_builder``, also inside ``hybrid``, ``bool`` (``must`` and
``should``), ``dis_max``, ``boosting``, ``nested``, ``function_score``, ``script_score``, ``constant_score``, ``pinned``
and ``rule`` (what they stand around), and inside every ``retriever``. Filters say what may be found, not what was
asked: they are not read.

Documents: a name such as ``a.b`` reads nested objects, arrays of objects and literal dotted keys alike. Several
values of one field are joined by a space, so that no word ever runs into the next. The values of an object stand in the
order of their names, whatever the engine does to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from rescorer.config import DocumentField
from rescorer.domain import LabelledText

_PER_FIELD = {
    "match": "query",
    "match_phrase": "query",
    "match_phrase_prefix": "query",
    "match_bool_prefix": "query",
    "neural": "query_text",
    "neural_sparse": "query_text",
    "text_expansion": "model_text",
}
_ONE_STRING = {
    "multi_match": "query",
    "combined_fields": "query",
    "query_string": "query",
    "simple_query_string": "query",
    "semantic": "query",
    "sparse_vector": "query",
    "text_embedding": "model_text",
}
_INSIDE = {
    "hybrid": ("queries",),
    "bool": ("must", "should"),
    "dis_max": ("queries",),
    "boosting": ("positive",),
    "nested": ("query",),
    "function_score": ("query",),
    "script_score": ("query",),
    "constant_score": ("filter",),
    "pinned": ("organic",),
    "rule": ("organic", "retriever"),
    "standard": ("query",),
    "rescorer": ("retriever",),
    "rrf": ("retrievers",),
    "linear": ("retrievers",),
    "diversify": ("retriever",),
    "text_similarity_reranker": ("retriever",),
}

_WRAPPERS = ("retriever", "knn", "query_vector_builder")
"""Keys whose object holds clauses itself: entries of ``rrf`` and ``linear``, and vectors made from a text."""


def query_texts(query: Any) -> list[str]:
    """Every different full-text string of a query, in the order in which it stands there; blank ones left out."""
    return list(dict.fromkeys(text for text in _strings(query) if text.strip()))


def _strings(query: Any) -> Iterator[str]:
    """In the order of the query, however deep it is: what still has to be read waits in a list, the next one last."""
    waiting: list[Any] = [[query]]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, list | tuple | Mapping) and id(node) not in seen:
            seen.add(id(node))
            waiting += reversed(_inside(node))


def _inside(node: Any) -> list[Any]:
    """What stands in a list of clauses or in the clauses of an object, texts among it."""
    if isinstance(node, list | tuple):
        return [clause for clause in node if not isinstance(clause, str)]
    return [
        found
        for kind, body in node.items()
        if isinstance(kind, str) and isinstance(body, Mapping)
        for found in _inside_clause(kind, body)
    ]


def _inside_clause(kind: str, body: Mapping[str, Any]) -> list[Any]:
    if kind in _WRAPPERS:
        return [body]
    if kind in _INSIDE:
        return [inner for key in _INSIDE[kind] if not isinstance(inner := body.get(key), str)]
    if kind in _ONE_STRING:
        return _if_text(body.get(_ONE_STRING[kind]))
    if kind in _PER_FIELD:
        values = [said.get(_PER_FIELD[kind]) if isinstance(said, Mapping) else said for said in body.values()]
        return [text for value in values for text in _if_text(value)]
    return []


def _if_text(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else []


def document_texts(
    hit: Mapping[str, Any], wanted: Iterable[DocumentField], source_is_whole: bool
) -> tuple[LabelledText, ...]:
    """(label, text) of each wanted field that the hit has a text for; empty where it has none.

    source_is_whole: ``_source`` shows the document uncut; otherwise ``fields`` is read first.
    """
    return tuple((field.label, text) for field, text in document_fields(hit, wanted, source_is_whole))


def document_fields(
    hit: Mapping[str, Any], wanted: Iterable[DocumentField], source_is_whole: bool
) -> list[tuple[DocumentField, str]]:
    """As :func:`document_texts`, each text with the field that it was wanted for."""
    source, fields = hit.get("_source"), hit.get("fields")
    found = []
    for field in wanted:
        name = field.field
        if source_is_whole:
            text = _joined(source, name) or _shown_text(fields, name)
        else:
            text = _shown_text(fields, name) or _joined(source, name)
        if text:
            found.append((field, text))
    return found


def values(hit: Mapping[str, Any], name: str, source_is_whole: bool) -> list[str]:
    """Each value of a field as text, read as :func:`document_texts` reads."""
    source, fields = hit.get("_source"), hit.get("fields")
    of_source = list(_leaves_at(source, name.split("."))) if isinstance(source, Mapping) else []
    shown = list(_shown_leaves(fields, name)) if isinstance(fields, Mapping) else []
    return (of_source or shown) if source_is_whole else (shown or of_source)


def _shown_text(fields: Any, name: str) -> str:
    """What ``fields`` shows of a field, or of an object: then field by field in the order of their names."""
    if not fields or not isinstance(fields, (dict, Mapping)):
        return ""
    value = fields.get(name)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):  # the common case, kept short
        return value[0]
    return " ".join(_shown_leaves(fields, name))


def _shown_leaves(fields: Mapping[str, Any], name: str) -> Iterator[str]:
    """Nested objects stand in a list under their name; a multi-field beside its parent has that text once more."""
    waiting: list[tuple[Any, str]] = [(fields, name)]
    while waiting:
        node, left = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += [(entry, left) for entry in reversed(node)]
        elif isinstance(node, Mapping):
            waiting += reversed(_shown_below(node, left))
        elif not left:
            yield from _leaf(node)


def _shown_below(fields: Mapping[str, Any], name: str) -> list[tuple[Any, str]]:
    """What the fields hold for a name, each with the part of the name that is still to be gone."""
    if name in fields:
        return [(fields[name], "")]
    below = sorted(key for key in fields if not name or key.startswith(f"{name}."))
    found = [(fields[key], "") for key in below if not any(key.startswith(f"{other}.") for other in below)]
    return found + [(fields[key], name[len(key) + 1 :]) for key in fields if name.startswith(f"{key}.")]


def _joined(place: Any, name: str) -> str:
    if not place or not isinstance(place, (dict, Mapping)):  # dict first: asking an ABC costs ten times as much
        return ""
    value = place.get(name)
    if isinstance(value, str):  # the common case, kept short: one field, one string
        return value
    return " ".join(_leaves_at(place, name.split(".")))


def _leaves_at(place: Any, parts: list[str]) -> Iterator[str]:
    """However deep the document is: what is still to be read waits in a list, the next one last.

    Lists in their order, an object's values in that of their names: OpenSearch shuffles them where it cuts ``_source``.
    """
    waiting: list[tuple[Any, list[str]]] = [(place, parts)]
    while waiting:
        node, left = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += [(entry, left) for entry in reversed(node)]
        elif not isinstance(node, Mapping):
            # A leaf before the name ends: the name means a multi-field ("title.english"), whose text is its parent's.
            yield from _leaf(node)
        elif not left:
            waiting += [(node[key], left) for key in sorted(node, key=str, reverse=True)]
        else:
            names = [(".".join(left[:length]), left[length:]) for length in range(1, len(left) + 1)]
            waiting += [(node[name], rest) for name, rest in names if name in node]


def _leaf(value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, str):
        if value:
            yield value
    elif value is not None:
        with suppress(ValueError):  # a number of more digits than Python writes
            yield str(value)
