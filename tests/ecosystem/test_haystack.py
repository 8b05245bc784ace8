"""Haystack's stores of both engines with our class: their answers come rescored. ``make test-ecosystem`` runs them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ecosystem.conftest import COUNT, KNN_VECTOR, TEXT, House, Store, last_first, store_of
from rescorer.testing import AsyncFakeScorer, FakeScorer

pytestmark = pytest.mark.filterwarnings("default")  # the frameworks' own


def _documents(place: Store) -> list[Any]:
    haystack = pytest.importorskip("haystack", reason="haystack-ai is not installed")
    return [haystack.Document(id=f"{number:02}", content=text) for number, text in enumerate(place.texts)]


def _build_ours(house: House, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Haystack's stores build their clients themselves: the names by which they do so are ours, scorers included."""
    monkeypatch.setattr(module, house.ours.__name__, partial(house.ours, rescorer=FakeScorer(last_first)))
    scorer = AsyncFakeScorer(FakeScorer(last_first))
    monkeypatch.setattr(module, house.ours_async.__name__, partial(house.ours_async, rescorer=scorer))


@pytest.mark.parametrize("house", ["opensearch"], indirect=True)
async def test_haystacks_opensearch_store_answers_rescored(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """``OpenSearchBM25Retriever``, sync and async, over a store that builds our class."""
    reason = "opensearch-haystack is not installed"
    stores = pytest.importorskip("haystack_integrations.document_stores.opensearch.document_store", reason=reason)
    retrievers = pytest.importorskip("haystack_integrations.components.retrievers.opensearch", reason=reason)
    _build_ours(house, stores, monkeypatch)
    with store_of(house, {"embedding": KNN_VECTOR}, "content") as place:
        store = stores.OpenSearchDocumentStore(hosts=house.url, index=place.index, http_auth=None)
        store.write_documents(_documents(place))
        retriever = retrievers.OpenSearchBM25Retriever(document_store=store, top_k=COUNT)
        for found in (retriever.run(query=TEXT), await retriever.run_async(query=TEXT)):
            assert [document.content for document in found["documents"]] == place.rescored_texts
        store.close()
        await store.close_async()


@pytest.mark.parametrize("house", ["elasticsearch"], indirect=True)
async def test_haystacks_elasticsearch_store_answers_rescored(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ElasticsearchBM25Retriever``, sync and async, over a store that builds our class."""
    reason = "elasticsearch-haystack is not installed"
    stores = pytest.importorskip("haystack_integrations.document_stores.elasticsearch.document_store", reason=reason)
    retrievers = pytest.importorskip("haystack_integrations.components.retrievers.elasticsearch", reason=reason)
    _build_ours(house, stores, monkeypatch)
    with store_of(house, {}, "content") as place:
        store = stores.ElasticsearchDocumentStore(hosts=house.url, index=place.index)
        store.write_documents(_documents(place))
        retriever = retrievers.ElasticsearchBM25Retriever(document_store=store, top_k=COUNT)
        for found in (retriever.run(query=TEXT), await retriever.run_async(query=TEXT)):
            assert [document.content for document in found["documents"]] == place.rescored_texts
        store.close()
        await store.close_async()
