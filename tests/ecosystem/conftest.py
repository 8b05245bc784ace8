"""What the tests on real nodes share: an index of either engine whose profile asks for rescoring, and clients of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import elasticsearch
import elasticsearch.helpers
import opensearchpy
import opensearchpy.helpers
import pytest

import rescorer.elasticsearch
import rescorer.opensearch
from rescorer.testing import AsyncFakeScorer, FakeScorer

COUNT = 12
TEXT = "cancel a flight"
FIRST_STAGE = [str(place) for place in range(COUNT)]
RESCORED = FIRST_STAGE[::-1]
PROFILE = {"document_fields": ["body"], "window_size": 100}


def last_first(_: str, text: str) -> float:
    """The number that a document's text ends with: the opposite of the first stage, in which all score alike."""
    return float(text.rsplit(maxsplit=1)[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One engine with an index of twelve documents, and the official helpers for it.

    ours, ours_async: our classes. official: the engine client's package. helpers: its helpers.
    """

    engine: str
    url: str
    index: str
    official: Any
    helpers: Any
    ours: Any
    ours_async: Any

    def client(self, **kwargs: Any) -> Any:
        """Our client, whose scorer wants the last document first."""
        return self.ours(self.url, rescorer=FakeScorer(last_first), **kwargs)

    def async_client(self, **kwargs: Any) -> Any:
        """The same for asyncio."""
        return self.ours_async(self.url, rescorer=AsyncFakeScorer(FakeScorer(last_first)), **kwargs)

    def plain(self) -> Any:
        """The official client."""
        return (self.official.OpenSearch if self.engine == "opensearch" else self.official.Elasticsearch)(self.url)


@pytest.fixture(scope="session", params=["opensearch", "elasticsearch"])
def house(request: pytest.FixtureRequest, opensearch_url: str, elasticsearch_url: str) -> Iterator[House]:
    """Each engine in turn, with an index that tests only read, gone with what they write in the end."""
    is_opensearch = request.param == "opensearch"
    house = House(
        engine=request.param,
        url=opensearch_url if is_opensearch else elasticsearch_url,
        index=f"ecosystem-{uuid.uuid4().hex[:12]}",
        official=opensearchpy if is_opensearch else elasticsearch,
        helpers=opensearchpy.helpers if is_opensearch else elasticsearch.helpers,
        ours=rescorer.opensearch.OpenSearch if is_opensearch else rescorer.elasticsearch.Elasticsearch,
        ours_async=rescorer.opensearch.AsyncOpenSearch if is_opensearch else rescorer.elasticsearch.AsyncElasticsearch,
    )
    with house.plain() as client:
        client.indices.create(index=house.index, body=index_body())
        house.helpers.bulk(client, actions(house.index), refresh=True)
        yield house
        for index in client.indices.get(index=f"{house.index}*"):
            client.indices.delete(index=index)


def index_body() -> dict[str, Any]:
    """One shard, so that hits that score alike keep the order in which they came; and a profile."""
    mappings = {"_meta": {"rescorer": PROFILE}, "properties": {"body": {"type": "text"}, "place": {"type": "integer"}}}
    return {"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": mappings}


def document(place: int) -> dict[str, Any]:
    """All have the same words but the last."""
    return {"body": f"how to {TEXT} {place}", "place": place}


def actions(index: str) -> list[dict[str, Any]]:
    """All documents, as the bulk helpers take them."""
    return [{"_index": index, "_id": str(place), "_source": document(place)} for place in range(COUNT)]


def ids(hits: Any) -> list[str]:
    """The ids of hits, in order."""
    return [hit["_id"] for hit in hits]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What a framework's store is given: an index with a profile over the field in which the store keeps its texts."""

    house: House
    index: str

    @property
    def texts(self) -> list[str]:
        """The documents' texts, in the order of the first stage."""
        return [document(place)["body"] for place in range(COUNT)]

    @property
    def rescored_texts(self) -> list[str]:
        """The order that the scorer wants."""
        return self.texts[::-1]


@contextmanager
def store_of(house: House, properties: dict[str, Any], text_field: str) -> Iterator[Store]:
    """A new index for a store, whose mapping a search engineer has given a profile; gone in the end."""
    index = f"{house.index}-store-{uuid.uuid4().hex[:8]}"
    meta = {"rescorer": {"document_fields": [text_field]}}
    mappings = {"_meta": meta, "properties": {text_field: {"type": "text"}, **properties}}
    settings: dict[str, Any] = {"number_of_shards": 1, "number_of_replicas": 0}
    if house.engine == "opensearch":
        settings["index.knn"] = True
    with house.plain() as client:
        client.indices.create(index=index, body={"settings": settings, "mappings": mappings})
        yield Store(house=house, index=index)
        client.indices.delete(index=index)


def vector(text: str) -> list[float]:
    """All texts have one embedding, so that the nearest neighbours stand in the order in which they came."""
    return [1.0, 0.5, 0.25, 0.125]


KNN_VECTOR = {"type": "knn_vector", "dimension": 4, "method": {"name": "hnsw", "engine": "lucene", "space_type": "l2"}}
"""OpenSearch's vector field on Lucene, which needs no native library."""
