"""A small judged collection in an index of either engine, with vectors of the fake scorer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rescorer.domain import EmbedRequest
from rescorer.testing import FakeScorer
from rescorer_lab import connect
from rescorer_lab.collections import Collection

SCORER = "rescorer.testing:FakeScorer"
"""As ``--scorer`` names it."""

HYBRID = {"text_fields": ["title", "body"], "vector_field": "embedding", "k": 20, "fusion": "min_max"}
PROFILE: Mapping[str, Any] = {"document_fields": ["title", "body"], "hybrid": HYBRID}


@contextmanager
def index_of(url: str, name: str, collection: Collection) -> Iterator[Any]:
    """The index on the engine at ``url``, gone afterwards; yields a client that sends plain JSON."""
    with connect.plain(connect.Address(url)) as client:
        client.indices.delete(index=name, ignore=404)
        properties = {"title": {"type": "text"}, "body": {"type": "text"}, "embedding": _vector(client)}
        settings: dict[str, Any] = {"number_of_shards": 1, "number_of_replicas": 0}
        settings |= {"knn": True} if connect.detected(client) == "opensearch" else {}
        mappings = {"_meta": {"rescorer": dict(PROFILE)}, "properties": properties}
        client.indices.create(index=name, body={"settings": settings, "mappings": mappings})
        texts = tuple(document.body for document in collection.documents)
        lines: list[dict[str, Any]] = []
        for document, vector in zip(
            collection.documents, FakeScorer().embed(EmbedRequest(texts=texts, kind="document"), 1.0), strict=True
        ):
            lines.append({"index": {"_index": name, "_id": document.id}})
            lines.append({"title": document.title, "body": document.body, "embedding": vector})
        assert not client.bulk(body=lines, params={"refresh": "true"})["errors"]
        yield client
        client.indices.delete(index=name)


def files_of(collection: Collection, folder: Path) -> list[str]:
    """Topics as JSONL with a column of their own, qrels as TREC; as the options that name them."""
    topics = [
        json.dumps({"_id": id_, "text": text, "team": ("even", "odd")[int(id_[1:]) % 2]})
        for id_, text in collection.queries.items()
    ]
    qrels = [f"{id_} 0 {document} {grade}" for id_, of in collection.qrels.items() for document, grade in of.items()]
    (folder / "topics.jsonl").write_text("\n".join(topics))
    (folder / "qrels.txt").write_text("\n".join(qrels))
    return ["--topics", str(folder / "topics.jsonl"), "--qrels", str(folder / "qrels.txt")]


def _vector(client: Any) -> dict[str, Any]:
    """The fake scorer's vectors are short."""
    if connect.detected(client) == "elasticsearch":
        return {"type": "dense_vector", "dims": 8, "similarity": "cosine", "index_options": {"type": "hnsw"}}
    method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
    return {"type": "knn_vector", "dimension": 8, "method": method}
