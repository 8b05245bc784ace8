"""A collection in the engine: templates applied, documents embedded through the sidecar, indexed, resumed.

## Decisions
2026-11: what is done is read from the index itself, never from a note beside it: an interrupted run leaves documents,
and the next one adds those that are missing. The index carries a fingerprint of all that decides its content; under
another fingerprint it is made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rescorer import templates
from rescorer_lab.collections import Document
from rescorer_lab.errors import EngineError

MARK = "rescorer_demo"
"""Beside the profile under ``mappings._meta``."""

BATCH = 32
LANES = 2
"""Batches under way at a time: while the engine indexes one, the sidecar embeds the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an index is to hold. ``embedder`` names the model and version of its vectors."""

    index: str
    documents: Sequence[Document]
    documents_digest: str
    embedder: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 over documents, embedder and what the templates make of an index; their descriptions do not count."""
        shipped = [
            [template.name, template.body.get("template"), template.body.get("composed_of")]
            for template in templates.shipped()
            if template.kind != "search_pipeline"
        ]
        ids = [document.id for document in self.documents]
        parts = [self.documents_digest, ids, self.embedder, BATCH_TEXT, shipped]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


BATCH_TEXT = "title newline body"
"""What :func:`embedded_text` makes; part of the fingerprint."""


def embedded_text(document: Document) -> str:
    """What of a document the embedder reads."""
    return f"{document.title}\n{document.body}".strip()


def prepare(client: Any, content: Content) -> list[Document]:
    """Make sure that the index exists and return the documents that it lacks, in order; none if it is complete."""
    if _fingerprint(client, content.index) != content.fingerprint:
        client.indices.delete(index=content.index, ignore_unavailable=True)
        client.indices.create(
            index=content.index, body={"mappings": {"_meta": {MARK: {"fingerprint": content.fingerprint}}}}
        )
    client.indices.refresh(index=content.index)
    have = set(_ids(client, content.index))
    return [document for document in content.documents if document.id not in have]


def fill(client: Any, index: str, documents: Sequence[Document], advance: Callable[[int], None]) -> None:
    """Embed and index; ``advance`` is told after each batch how many documents it held.

    Batches under way end in order when interrupted, none begins. Raises ScorerError, EngineError.
    """
    pool = ThreadPoolExecutor(LANES)
    try:
        for count in pool.map(lambda batch: _send(client, index, batch), _batches(documents)):
            advance(count)
    finally:
        pool.shutdown(cancel_futures=True)
    client.indices.refresh(index=index)
    client.indices.forcemerge(index=index, max_num_segments=1)


def _send(client: Any, index: str, batch: Sequence[Document]) -> int:
    vectors = client.embed([embedded_text(document) for document in batch], kind="document")
    lines: list[dict[str, Any]] = []
    for document, vector in zip(batch, vectors, strict=True):
        lines.append({"index": {"_index": index, "_id": document.id}})
        lines.append({"title": document.title, "body": document.body, "embedding": vector})
    answer = client.bulk(body=lines)
    if answer["errors"]:
        first = next(entry["index"] for entry in answer["items"] if "error" in entry["index"])
        reason = first["error"].get("reason", first["error"])
        raise EngineError(f"document {first['_id']} was not indexed: {reason}", "see: rescorer engine logs --name demo")
    return len(batch)


def _batches(documents: Sequence[Document]) -> Iterable[Sequence[Document]]:
    return (documents[start : start + BATCH] for start in range(0, len(documents), BATCH))


def _fingerprint(client: Any, index: str) -> str | None:
    if not client.indices.exists(index=index):
        return None
    meta = client.indices.get_mapping(index=index)[index]["mappings"].get("_meta", {})
    found: str | None = meta.get(MARK, {}).get("fingerprint")
    return found


def _ids(client: Any, index: str) -> Iterator[str]:
    from opensearchpy import helpers

    for hit in helpers.scan(client, index=index, query={"_source": False}, size=5_000):
        yield hit["_id"]
