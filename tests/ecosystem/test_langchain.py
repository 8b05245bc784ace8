"""LangChain's stores of both engines, given our client: their answers come rescored; run by ``make test-ecosystem``."""

from __future__ import annotations

from typing import Any

import pytest

from ecosystem.conftest import COUNT, KNN_VECTOR, TEXT, House, store_of, vector

pytestmark = pytest.mark.filterwarnings("default")  # the frameworks' own


class OneVector:
    """LangChain's ``Embeddings``, by shape."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same vector for each."""
        return [vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The same vector."""
        return vector(text)


@pytest.mark.parametrize("house", ["elasticsearch"], indirect=True)
def test_langchains_elasticsearch_store_answers_rescored(house: House) -> None:
    """``ElasticsearchStore(client=ours)``: by BM25, and by BM25 beside kNN; its retriever too."""
    stores = pytest.importorskip("langchain_elasticsearch", reason="langchain-elasticsearch is not installed")
    strategies: list[Any] = [stores.BM25Strategy(), stores.DenseVectorStrategy(hybrid=True, rrf=False)]
    for strategy in strategies:
        properties = {"vector": {"type": "dense_vector", "dims": 4}}
        with store_of(house, properties, "text") as place, house.client() as client:
            store = stores.ElasticsearchStore(place.index, client=client, embedding=OneVector(), strategy=strategy)
            store.add_texts(place.texts)
            found = store.similarity_search(TEXT, k=COUNT, num_candidates=50)
            assert [document.page_content for document in found] == place.rescored_texts
            as_retriever = store.as_retriever(search_kwargs={"k": 3}).invoke(TEXT)
            assert [document.page_content for document in as_retriever] == place.rescored_texts[:3]


@pytest.mark.parametrize("house", ["opensearch"], indirect=True)
def test_langchains_opensearch_store_answers_rescored(house: House) -> None:
    """``OpenSearchVectorSearch`` with ``client`` set to ours, where the search holds the question as a text."""
    stores = pytest.importorskip("langchain_community.vectorstores", reason="langchain-community is not installed")
    with store_of(house, {"vector_field": KNN_VECTOR}, "text") as place, house.client() as client:
        store = stores.OpenSearchVectorSearch(house.url, place.index, OneVector(), engine="lucene")
        store.client.close()
        store.client = client
        store.add_texts(place.texts, refresh_indices=True)
        asked: dict[str, Any] = {"search_type": "script_scoring", "pre_filter": {"match": {"text": TEXT}}}
        found = store.similarity_search_with_score(TEXT, k=COUNT, **asked)
        assert [document.page_content for document, _ in found] == place.rescored_texts
        assert client.rescore_counts() == {"reranked": 1}


@pytest.mark.parametrize("house", ["opensearch"], indirect=True)
def test_langchains_vector_only_search_says_why_it_is_not_rescored(house: House) -> None:
    """A search that holds nothing but a vector has no text to rescore by: first stage, counted with its reason."""
    stores = pytest.importorskip("langchain_community.vectorstores", reason="langchain-community is not installed")
    with store_of(house, {"vector_field": KNN_VECTOR}, "text") as place, house.client() as client:
        store = stores.OpenSearchVectorSearch(house.url, place.index, OneVector(), engine="lucene")
        store.client.close()
        store.client = client
        store.add_texts(place.texts, refresh_indices=True)
        found = store.similarity_search(TEXT, k=COUNT)
        assert sorted(document.page_content for document in found) == sorted(place.texts)
        assert list(client.rescore_counts()) == ["skipped:no_query_text"]
