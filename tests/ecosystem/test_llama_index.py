"""LlamaIndex's stores of both engines, given our client: answers come rescored; run by ``make test-ecosystem``."""

from __future__ import annotations

from typing import Any

import pytest

from ecosystem.conftest import COUNT, KNN_VECTOR, TEXT, House, Store, store_of, vector

pytestmark = pytest.mark.filterwarnings("default")  # the frameworks' own


def _nodes(place: Store) -> list[Any]:
    schema = pytest.importorskip("llama_index.core.schema", reason="llama-index is not installed")
    return [
        schema.TextNode(id_=str(number), text=text, embedding=vector(text)) for number, text in enumerate(place.texts)
    ]


def _query(mode: str) -> Any:
    types = pytest.importorskip("llama_index.core.vector_stores.types", reason="llama-index is not installed")
    return types.VectorStoreQuery(
        query_str=TEXT,
        query_embedding=vector(TEXT),
        similarity_top_k=COUNT,
        mode=types.VectorStoreQueryMode(mode),
    )


@pytest.mark.parametrize("house", ["opensearch"], indirect=True)
async def test_llama_indexs_opensearch_store_answers_rescored(house: House) -> None:
    """``OpensearchVectorClient(os_client=…, os_async_client=…)``: text search, sync and async, comes rescored."""
    module = pytest.importorskip("llama_index.vector_stores.opensearch", reason="llama-index's store is not installed")
    with store_of(house, {"embedding": KNN_VECTOR}, "content") as place, house.client() as client:
        async with house.async_client() as async_client:
            clients = {"os_client": client, "os_async_client": async_client}
            store = module.OpensearchVectorStore(
                module.OpensearchVectorClient(house.url, place.index, 4, engine="lucene", **clients)
            )
            store.add(_nodes(place))
            client.indices.refresh(index=place.index)
            for found in (store.query(_query("text_search")), await store.aquery(_query("text_search"))):
                assert [node.text for node in found.nodes] == place.rescored_texts
                assert found.similarities == [float(number) for number in range(COUNT)][::-1]


@pytest.mark.parametrize("house", ["opensearch"], indirect=True)
def test_llama_indexs_opensearch_hybrid_answers_rescored(house: House) -> None:
    """Mode HYBRID with the index's search pipeline: the question stands in the query's BM25 half."""
    module = pytest.importorskip("llama_index.vector_stores.opensearch", reason="llama-index's store is not installed")
    with store_of(house, {"embedding": KNN_VECTOR}, "content") as place, house.client() as client:
        pipeline: dict[str, Any] = {"phase_results_processors": [{"normalization-processor": {}}]}
        client.transport.perform_request("PUT", f"/_search/pipeline/{place.index}", body=pipeline)
        store = module.OpensearchVectorStore(
            module.OpensearchVectorClient(
                house.url, place.index, 4, engine="lucene", search_pipeline=place.index, os_client=client
            )
        )
        store.add(_nodes(place))
        client.indices.refresh(index=place.index)
        found = store.query(_query("hybrid"))
        assert [node.text for node in found.nodes] == place.rescored_texts
        client.transport.perform_request("DELETE", f"/_search/pipeline/{place.index}")


@pytest.mark.parametrize("house", ["elasticsearch"], indirect=True)
async def test_llama_indexs_elasticsearch_store_answers_rescored(house: House) -> None:
    """``ElasticsearchStore(es_client=…)`` by BM25: its helper's ``options()`` keeps our class and its scorer."""
    module = pytest.importorskip(
        "llama_index.vector_stores.elasticsearch", reason="llama-index's store is not installed"
    )
    with store_of(house, {}, "content") as place:
        async with house.async_client() as client:
            strategy = module.AsyncBM25Strategy()
            store = module.ElasticsearchStore(place.index, es_client=client, retrieval_strategy=strategy)
            await store.async_add(_nodes(place))
            found = await store.aquery(_query("text_search"))
            assert [node.text for node in found.nodes] == place.rescored_texts
            assert client.rescore_counts() == {"reranked": 1}
