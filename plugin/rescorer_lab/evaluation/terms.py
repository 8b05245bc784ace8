"""Which topics hold a rare term, as the index itself counts: its analyzer, its document frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rescorer_lab.evaluation.asking import Index
from rescorer_lab.inputs import Judged, Topic

COLUMN = "terms"
RARE, COMMON = "with a rare one", "common ones"
RARE_SHARE = 0.001
"""A term is rare that stands in no more than this part of the documents."""


def marked(client: Any, index: Index, judged: Judged) -> Judged:
    """The topics with a column ``terms`` that tells whether one of theirs is rare or in no document at all.

    Reads term vectors, one request for each topic; with several shards the frequencies are those of one of them.
    Topics stay as they are where the index's profile names no text fields.
    """
    fields = [] if index.form is None else [name.partition("^")[0] for name in index.form.text_fields]
    plain = [name for name in fields if "*" not in name]
    if not plain:
        return judged
    return replace(judged, topics={id_: _marked(client, index, topic, plain) for id_, topic in judged.topics.items()})


def _marked(client: Any, index: Index, topic: Topic, fields: list[str]) -> Topic:
    wish = {"doc": dict.fromkeys(fields, topic.text), "fields": fields, "term_statistics": True}
    wish |= {"field_statistics": True, "offsets": False, "positions": False, "payloads": False}
    if index.engine == "opensearch":
        answer = client.termvectors(index=index.name, body=wish)
    else:
        answer = client.termvectors(index=index.name, **wish)
    return replace(topic, columns={**topic.columns, COLUMN: RARE if _is_rare(answer["term_vectors"]) else COMMON})


def _is_rare(vectors: Mapping[str, Any]) -> bool:
    """Whether any term is rare in the field that holds it most often."""
    most = max((of["field_statistics"]["doc_count"] for of in vectors.values()), default=0)
    found: dict[str, int] = {}
    for of in vectors.values():
        for term, counted in of["terms"].items():
            found[term] = max(found.get(term, 0), counted.get("doc_freq", 0))
    return any(count <= most * RARE_SHARE for count in found.values())
