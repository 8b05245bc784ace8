"""The helpers of both official libraries, given our clients, on real nodes: same results, and no rescoring there."""

from __future__ import annotations

from typing import Any

import pytest

from ecosystem.conftest import COUNT, FIRST_STAGE, RESCORED, TEXT, House, actions, ids

QUERY = {"query": {"match": {"body": TEXT}}}
SEARCH = {**QUERY, "size": COUNT}


def _for_reindex(house: House, client: Any) -> Any:
    """Elasticsearch's helper asks for data streams, and takes an error of a node without them where it is ignored."""
    return client if house.engine == "opensearch" else client.options(ignore_status=400)


def _order(house: House, index: str) -> list[str]:
    with house.client() as client:
        client.indices.refresh(index=index)
        return ids(client.search(index=index, body=SEARCH)["hits"]["hits"])


def test_the_index_of_these_tests_is_rescored(house: House) -> None:
    """What the other tests take for granted: the official client sees the first stage, and ours the opposite."""
    with house.plain() as client:
        assert ids(client.search(index=house.index, body=SEARCH)["hits"]["hits"]) == FIRST_STAGE
    assert _order(house, house.index) == RESCORED


@pytest.mark.parametrize("name", ["bulk", "streaming_bulk", "parallel_bulk"])
def test_a_bulk_helper_writes_every_document(house: House, name: str) -> None:
    """``bulk``, ``streaming_bulk`` and ``parallel_bulk`` report and write the same through ours as through theirs."""
    written = []
    for client, index in (
        (house.client(), f"{house.index}-{name}-ours"),
        (house.plain(), f"{house.index}-{name}-theirs"),
    ):
        said = getattr(house.helpers, name)(client, actions(index))
        written.append(said if name == "bulk" else [found for found, _ in said])
        client.indices.refresh(index=index)
        assert client.count(index=index)["count"] == COUNT
        client.close()
    assert written[0] == written[1]


def test_bulk_reports_errors_as_before(house: House) -> None:
    """A document that the engine refuses is the helper's own BulkIndexError."""
    wrong = {"_index": house.index, "_id": "wrong", "_source": {"place": "nowhere"}}
    with house.client() as client, pytest.raises(house.helpers.BulkIndexError, match="1 document"):
        house.helpers.bulk(client, [wrong])


@pytest.mark.parametrize("preserve_order", [False, True])
def test_scan_walks_the_first_stage(house: House, preserve_order: bool) -> None:
    """A scroll is not rescored: ``scan`` gives the same hits in the same order as through the official client."""
    asked = {"query": QUERY, "index": house.index, "size": 5, "preserve_order": preserve_order}
    with house.client() as ours, house.plain() as theirs:
        found = [list(house.helpers.scan(client, **asked)) for client in (ours, theirs)]
    assert found[0] == found[1]
    assert sorted(ids(found[0]), key=int) == FIRST_STAGE


def test_reindex_copies_every_document(house: House) -> None:
    """``reindex`` reads by scrolling and writes in bulk through ours."""
    with house.client() as client:
        index = f"{house.index}-copied"
        client.indices.create(index=index)
        assert house.helpers.reindex(_for_reindex(house, client), house.index, index)[0] == COUNT
        client.indices.refresh(index=index)
        assert client.count(index=index)["count"] == COUNT


async def test_the_bulk_helpers_for_asyncio_write_every_document(house: House) -> None:
    """``async_bulk`` and ``async_streaming_bulk`` through ours."""
    async with house.async_client() as client:
        index = f"{house.index}-written"
        assert await house.helpers.async_bulk(client, actions(index)) == (COUNT, [])
        said = [found async for found, _ in house.helpers.async_streaming_bulk(client, actions(index))]
        assert said == [True] * COUNT
        await client.indices.refresh(index=index)
        assert (await client.count(index=index))["count"] == COUNT


async def test_the_reading_helpers_for_asyncio_walk_the_first_stage(house: House) -> None:
    """``async_scan`` and ``async_reindex`` through ours."""
    async with house.async_client() as client:
        found = [hit async for hit in house.helpers.async_scan(client, query=QUERY, index=house.index, size=5)]
        assert sorted(ids(found), key=int) == FIRST_STAGE
        index = f"{house.index}-copied-async"
        await client.indices.create(index=index)
        copied, _ = await house.helpers.async_reindex(_for_reindex(house, client), house.index, index)
        assert copied == COUNT


@pytest.mark.parametrize("house", ["elasticsearch"], indirect=True)
async def test_the_vector_store_of_elasticsearchs_helpers_answers_rescored(house: House) -> None:
    """``VectorStore`` and ``AsyncVectorStore``, which frameworks build upon, make their own client out of ours."""
    stores = pytest.importorskip("elasticsearch.helpers.vectorstore")
    names = {"index": house.index, "text_field": "body"}
    with house.client() as client:
        store = stores.VectorStore(client, retrieval_strategy=stores.BM25Strategy(), **names)
        assert ids(store.search(query=TEXT, k=COUNT)) == RESCORED
        assert client.rescore_counts() == {"reranked": 1}
    async with house.async_client() as client:
        store = stores.AsyncVectorStore(client, retrieval_strategy=stores.AsyncBM25Strategy(), **names)
        assert ids(await store.search(query=TEXT, k=COUNT)) == RESCORED


def test_a_bulk_written_index_without_profile_passes_through(house: House) -> None:
    """The profile is the index's: the same documents elsewhere come in first-stage order, and no outcome is told."""
    index = f"{house.index}-bare"
    with house.client() as client:
        house.helpers.bulk(client, actions(index), refresh=True)
        found = client.search(index=index, body=SEARCH)
        assert (ids(found["hits"]["hits"]), "rescore" in found) == (FIRST_STAGE, False)


def test_the_rest_of_the_client_is_untouched(house: House) -> None:
    """``cat``, ``indices``, ``cluster``, ``ingest``, ``nodes``, ``tasks``, documents: the same answers through both."""
    pipeline = f"{house.index}-pipeline"
    with house.client() as ours, house.plain() as theirs:
        ours.ingest.put_pipeline(id=pipeline, body={"processors": [{"set": {"field": "seen", "value": True}}]})
        for ask in (
            lambda client: client.cat.indices(index=house.index, h="index,docs.count", format="json"),
            lambda client: client.cat.indices(index=house.index, h="index"),
            lambda client: client.indices.get(index=house.index),
            lambda client: client.cluster.health(index=house.index)["status"],
            lambda client: client.ingest.get_pipeline(id=pipeline),
            lambda client: sorted(client.nodes.info()["nodes"]),
            lambda client: client.get(index=house.index, id="3"),
            lambda client: client.mget(index=house.index, body={"ids": ["1", "2"]}),
            lambda client: client.exists(index=house.index, id="99"),
            lambda client: client.count(index=house.index, body=QUERY)["count"],
            lambda client: client.field_caps(index=house.index, fields="*"),
            lambda client: client.info()["version"],
            lambda client: client.ping(),
        ):
            found = [ask(client) for client in (ours, theirs)]
            assert found[0] == found[1]
            assert type(found[0]) is type(found[1])
        ours.ingest.delete_pipeline(id=pipeline)
