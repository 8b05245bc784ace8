"""What the contract's tests search: SciFact abstracts, the same documents in the same shapes on both engines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import elasticsearch.helpers
import opensearchpy.helpers

from rescorer.domain import EmbedRequest
from rescorer.scorers.fake import DIMENSION
from rescorer.testing import FakeScorer
from rescorer_lab import collections

COUNT = 180
WINDOW = 40
CLAIM = "protein expression in human cells"
ASKED: dict[str, Any] = {"match": {"body": CLAIM}}
"""Finds all documents that have a body."""

PREFIX = "contract"
ONE, THREE, LONELY = f"{PREFIX}-one", f"{PREFIX}-three", f"{PREFIX}-lonely"
BARE, OTHER, SMALL = f"{PREFIX}-bare", f"{PREFIX}-other", f"{PREFIX}-small"
PARTS, ALIAS, STREAM = f"{PREFIX}-part-*", f"{PREFIX}-alias", f"{PREFIX}-stream"
FUSED = {fusion: f"{PREFIX}-fused-{fusion.replace('_', '-')}" for fusion in ("engine", "min_max", "rrf")}
"""One index for each way to fuse the halves of a hybrid search, each on one shard."""

PIPELINES = {
    f"{PREFIX}-min-max": {
        "normalization-processor": {
            "normalization": {"technique": "min_max"},
            "combination": {"technique": "arithmetic_mean", "parameters": {"weights": [0.5, 0.5]}},
        }
    },
    f"{PREFIX}-rrf": {"score-ranker-processor": {"combination": {"technique": "rrf", "rank_constant": 60}}},
}
MADE_OF = f"{PREFIX}-made-of-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"
"""An empty index, made last: all others are there, and made by this file."""

K = 25
"""Neighbours of the kNN half."""

WITHOUT_BODY = 17
"""Every so many documents one has no body, so that no search for words finds it."""


def logit(query: str, text: str) -> float:
    """Negative logits that shuffle any list, with ties; a text without its number comes last."""
    numbers = [word for word in text.split() if word.startswith("no") and word[2:].isdigit()]
    return logit_of(int(numbers[0][2:])) if numbers else -1000.0


def logit_of(place: int) -> float:
    """The logit of the document with this number."""
    return -1.0 - (place * 37) % 29


def profile(fusion: str = "engine", **more: Any) -> dict[str, Any]:
    """What an index says about its rescoring."""
    hybrid = {"text_fields": ["title^2", "body"], "vector_field": "v", "k": K, "fusion": fusion}
    return {"document_fields": ["title", "body"], "window_size": WINDOW, "hybrid": hybrid, **more}


def documents() -> list[dict[str, Any]]:
    """The documents by number; their shapes hold what M17 and M18 ask for."""
    scifact = collections.scifact(lambda line: None).documents[:COUNT]
    vectors = FakeScorer().embed(EmbedRequest(texts=[document.title for document in scifact], kind="document"), 1.0)
    return [_document(place, text.title, text.body[:500], vectors[place]) for place, text in enumerate(scifact)]


def _document(place: int, title: str, body: str, vector: list[float]) -> dict[str, Any]:
    found = {
        "title": title,
        "body": f"no{place} {body}",
        "tag": f"t{place % 7}",
        "place": place,
        "day": f"2024-{1 + place % 12:02d}-{1 + place % 28:02d}",
        "author": {"name": f"author {place}"},
        "meta.note": f"note {place}",
        "people": [{"name": "Ada", "role": f"r{place}"}, {"name": "Max"}],
        "chunks": [{"text": f"chunk no{place}", "place": place}, {"text": title}],
        "v": vector,
        "_rescore": {"mine": place},
        "previous_score": place / 2,
    }
    if place % 5 == 3:
        del found["title"]
    if place % WITHOUT_BODY == 1:
        found["body"] = ""
    return found


def properties(engine: str) -> dict[str, Any]:
    """The mapping's fields."""
    text = {"type": "text"}
    vector: dict[str, Any] = {"type": "dense_vector", "dims": DIMENSION, "similarity": "cosine"}
    vector |= {"index_options": {"type": "hnsw"}}
    if engine == "opensearch":
        method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
        vector = {"type": "knn_vector", "dimension": DIMENSION, "method": method}
    return {
        "title": {"type": "text", "store": True, "fields": {"plain": {"type": "keyword"}}},
        "body": text,
        "tag": {"type": "keyword"},
        "place": {"type": "integer"},
        "day": {"type": "date"},
        "author": {"properties": {"name": text}},
        "people": {"properties": {"name": {"type": "keyword"}, "role": {"type": "keyword"}}},
        "chunks": {"type": "nested", "properties": {"text": text, "place": {"type": "integer"}}},
        "v": vector,
        "previous_score": {"type": "float"},
        "@timestamp": {"type": "date"},
    }


class Indices:
    """The indices of one engine, made and removed through its official client."""

    def __init__(self, engine: str, client: Any) -> None:
        self._engine = engine
        self._client = client
        self._documents = documents()

    def make(self) -> None:
        """All of them, with their documents; a node that still has them, of this very file, keeps them."""
        kept = self._ask("GET", f"/{MADE_OF}", ignore=True)
        if MADE_OF in kept:
            return
        self.remove()
        meta = profile()
        self._index(ONE, 1, meta)
        self._index(THREE, 3, meta)
        self._index(LONELY, 5, meta, routing="all-on-one")
        self._index(BARE, 1, None)
        self._index(OTHER, 1, profile(model="other"), keep=lambda place: place < 20)
        self._index(SMALL, 1, meta, keep=lambda place: place < 60, max_result_window=20)
        self._index(PARTS.replace("*", "even"), 2, meta, keep=lambda place: place % 2 == 0)
        self._index(PARTS.replace("*", "odd"), 1, meta, keep=lambda place: place % 2 == 1)
        for fusion, name in FUSED.items():
            self._index(name, 1, profile(fusion, window_size=10))
        self._stream(meta)
        self._ask("PUT", f"/{THREE}/_alias/{ALIAS}")
        if self._engine == "opensearch":
            for name, processor in PIPELINES.items():
                self._ask("PUT", f"/_search/pipeline/{name}", {"phase_results_processors": [processor]})
        self._index(MADE_OF, 1, None, keep=lambda place: False)

    def remove(self) -> None:
        """Whatever of them is there."""
        if self._engine == "opensearch":
            self._ask("DELETE", f"/_data_stream/{STREAM}", ignore=True)
            self._ask("DELETE", f"/_index_template/{STREAM}", ignore=True)
        else:  # a node made of Maven artifacts has data streams, and no API to delete one
            everything = {"query": {"match_all": {}}}
            self._ask("POST", f"/{STREAM}/_delete_by_query?refresh=true", everything, ignore=True)
        for name in self._ask("GET", f"/{PREFIX}-*/_settings?expand_wildcards=open", ignore=True):
            if not name.startswith("."):
                self._ask("DELETE", f"/{name}", ignore=True)
        if self._engine == "opensearch":
            for name in PIPELINES:
                self._ask("DELETE", f"/_search/pipeline/{name}", ignore=True)

    def _index(
        self,
        name: str,
        shards: int,
        meta: Mapping[str, Any] | None,
        keep: Callable[[int], bool] = lambda place: True,
        routing: str | None = None,
        **settings: Any,
    ) -> None:
        self._ask("PUT", f"/{name}", self._template(shards, meta, **settings))
        line = {"_index": name} | ({} if routing is None else {"routing": routing})
        self._fill({"_id": f"d{place}", **line, "_source": document} for place, document in self._kept(keep))

    def _template(self, shards: int, meta: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
        of_index: dict[str, Any] = {"number_of_shards": shards, "number_of_replicas": 0, **more}
        if self._engine == "opensearch":
            of_index["knn"] = True
        mappings: dict[str, Any] = {"properties": properties(self._engine)}
        if meta is not None:
            mappings["_meta"] = {"rescorer": meta}
        return {"settings": {"index": of_index}, "mappings": mappings}

    def _stream(self, meta: Mapping[str, Any]) -> None:
        template = {"index_patterns": [STREAM], "data_stream": {}, "priority": 500, "template": self._template(2, meta)}
        self._ask("PUT", f"/_index_template/{STREAM}", template)
        line = {"_op_type": "create", "_index": STREAM}
        self._fill(
            {"_id": f"d{place}", **line, "_source": {**document, "@timestamp": "2024-05-01"}}
            for place, document in self._kept(lambda place: place < 60)
        )

    def _kept(self, keep: Callable[[int], bool]) -> list[tuple[int, dict[str, Any]]]:
        return [(place, document) for place, document in enumerate(self._documents) if keep(place)]

    def _fill(self, actions: Any) -> None:
        helpers: Any = opensearchpy.helpers if self._engine == "opensearch" else elasticsearch.helpers
        helpers.bulk(self._client, actions, refresh=True)

    def _ask(self, method: str, path: str, body: Any = None, ignore: bool = False) -> Any:
        if self._engine == "opensearch":
            params = {"ignore": (404,)} if ignore else {}
            return self._client.transport.perform_request(method, path, params=params, body=body)
        client = self._client.options(ignore_status=404) if ignore else self._client
        headers = {"accept": "application/json"} | ({"content-type": "application/json"} if body else {})
        return client.perform_request(method, path, headers=headers, body=body).body
