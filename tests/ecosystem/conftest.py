"""What the tests on real nodes share: an index of either engine whose profile asks for rescoring, and clients of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
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
