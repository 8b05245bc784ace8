"""The search DSL of both official libraries with ``using=`` our client, on real nodes: its hits come rescored."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

from ecosystem.conftest import COUNT, FIRST_STAGE, RESCORED, TEXT, House, last_first
from rescorer.testing import FakeScorer

_DSL: dict[str, str] = {"opensearch": "opensearchpy", "elasticsearch": "elasticsearch.dsl"}
_ASYNC_OPENSEARCH = {
    "AsyncSearch": "opensearchpy._async.helpers.search",
    "AsyncMultiSearch": "opensearchpy._async.helpers.search",
    "AsyncDocument": "opensearchpy._async.helpers.document",
    "AsyncFacetedSearch": "opensearchpy._async.helpers.faceted_search",
    "async_connections": "opensearchpy.connection.async_connections",
}
"""opensearch-py does not export these."""


def _dsl(house: House, name: str) -> Any:
    module: ModuleType = importlib.import_module(_DSL[house.engine])
    if hasattr(module, name):
        return getattr(module, name)
    found = importlib.import_module(_ASYNC_OPENSEARCH[name])
    return getattr(found, name, found)


@pytest.fixture
def dsl(house: House) -> Any:
    """Names of the engine's DSL."""
    return lambda name: _dsl(house, name)


def _asked(search: Any, **options: Any) -> Any:
    return search(**options).query("match", body=TEXT)[:COUNT]


def _ids(response: Any) -> list[str]:
    return [hit.meta.id for hit in response]


def test_the_hits_of_a_search_come_rescored(house: House, dsl: Any) -> None:
    """``Search(using=client)``: order, scores and ``response.rescore`` are the rescored answer's."""
    with house.client() as client:
        found = _asked(dsl("Search"), using=client, index=house.index).execute()
        assert _ids(found) == RESCORED
        assert (found.rescore.status, found.rescore.scored) == ("reranked", COUNT)
        assert [hit.meta.score for hit in found] == [float(place) for place in RESCORED]
        assert found.hits.max_score == COUNT - 1
        assert found.hits.total.value == COUNT


def test_pages_of_a_search_are_cut_from_the_rescored_list(house: House, dsl: Any) -> None:
    """Slices, ``source()``, ``extra()`` and iteration give what they gave, in the rescored order."""
    with house.client() as client:
        search = dsl("Search")(using=client, index=house.index).query("match", body=TEXT)
        assert _ids(search[3:7]) == RESCORED[3:7]
        only = search.source(["place"]).extra(size=2).execute()
        assert [hit.to_dict() for hit in only] == [{"place": int(place)} for place in RESCORED[:2]]
        assert search.count() == COUNT
        assert sorted((hit.meta.id for hit in search.scan()), key=int) == FIRST_STAGE


def test_a_search_says_so_itself(house: House, dsl: Any) -> None:
    """``extra(rescore=…)`` asks for one search, here to leave it alone."""
    with house.client() as client:
        search = _asked(dsl("Search"), using=client, index=house.index)
        found = search.extra(rescore={"cross_encoder": False}).execute()
        assert _ids(found) == FIRST_STAGE
        assert found.rescore.status == "skipped"


def test_searches_of_a_multi_search_come_rescored(house: House, dsl: Any) -> None:
    """``MultiSearch``: each on its own terms, one of them without a query text."""
    with house.client() as client:
        several = dsl("MultiSearch")(using=client, index=house.index)
        several = several.add(_asked(dsl("Search"))).add(dsl("Search")().query("match_all")[:COUNT])
        first, second = several.execute()
        assert (_ids(first), first.rescore.status) == (RESCORED, "reranked")
        assert (_ids(second), second.rescore.status) == (FIRST_STAGE, "skipped")


def test_documents_find_our_client_in_the_registry(house: House, dsl: Any) -> None:
    """``connections.add_connection`` with ours, then ``Document.search`` and ``Search(using=alias)``."""
    alias = house.index
    with house.client() as client:
        dsl("connections").add_connection(alias, client)
        try:
            assert dsl("connections").get_connection(alias) is client
            found = _asked(_article(house, dsl("Document")).search)
            assert _ids(found) == RESCORED
            assert {type(hit).__name__ for hit in found} == {"Article"}
            assert _ids(_asked(dsl("Search"), using=alias, index=house.index)) == RESCORED
        finally:
            dsl("connections").remove_connection(alias)


def test_a_registry_that_builds_its_own_clients_is_given_ours(house: House, dsl: Any) -> None:
    """``create_connection`` builds the official class, which rescores nothing: ours goes in by ``add_connection``."""
    alias = house.index
    try:
        dsl("connections").create_connection(alias, hosts=[house.url])
        assert _ids(_asked(dsl("Search"), using=alias, index=house.index)) == FIRST_STAGE
        dsl("connections").get_connection(alias).close()
    finally:
        dsl("connections").remove_connection(alias)


def test_a_registry_can_be_told_to_build_ours(house: House, dsl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where settings name hosts, as in Django, the class that the registry builds is ours, and takes ``rescorer=``."""
    if house.engine == "opensearch":
        monkeypatch.setattr(house.official, "OpenSearch", house.ours)
    else:
        monkeypatch.setattr(dsl("connections").connections, "elasticsearch_class", house.ours)
    alias = house.index
    try:
        dsl("connections").create_connection(alias, hosts=[house.url], rescorer=FakeScorer(last_first))
        assert _ids(_asked(dsl("Search"), using=alias, index=house.index)) == RESCORED
        dsl("connections").get_connection(alias).close()
    finally:
        dsl("connections").remove_connection(alias)


def test_a_faceted_search_is_rescored(house: House, dsl: Any) -> None:
    """``FacetedSearch`` gives its facets, and its hits in the rescored order."""
    terms = dsl("TermsFacet")(field="place", size=COUNT)
    with house.client() as client:
        attributes = {"index": house.index, "using": client, "fields": ["body"], "facets": {"place": terms}}
        found = type("Faceted", (dsl("FacetedSearch"),), attributes)(TEXT)[:COUNT].execute()
        assert _ids(found) == RESCORED
        assert len(found.facets.place) == COUNT


async def test_the_hits_of_an_async_search_come_rescored(house: House, dsl: Any) -> None:
    """``AsyncSearch`` and ``AsyncMultiSearch`` with ``using=`` our asynchronous client."""
    async with house.async_client() as client:
        search = _asked(dsl("AsyncSearch"), using=client, index=house.index)
        found = await search.execute()
        assert (_ids(found), found.rescore.status) == (RESCORED, "reranked")
        several = dsl("AsyncMultiSearch")(using=client, index=house.index).add(search)
        (found,) = await several.execute()
        assert (_ids(found), found.rescore.status) == (RESCORED, "reranked")


async def test_async_documents_find_our_client_in_the_registry(house: House, dsl: Any) -> None:
    """``AsyncDocument.search`` over a registered client of ours."""
    alias = house.index
    async with house.async_client() as client:
        registry = dsl("async_connections")
        registry = getattr(registry, "connections", registry)
        await _settled(registry.add_connection(alias, client))
        article = _article(house, dsl("AsyncDocument"))
        found = await _asked(article.search).execute()
        assert _ids(found) == RESCORED
        await _settled(registry.remove_connection(alias))


@pytest.mark.parametrize("house", ["elasticsearch"], indirect=True)
def test_walks_over_a_point_in_time_stay_in_their_order(house: House, dsl: Any) -> None:
    """``iterate()`` and ``point_in_time()`` sort by shard and place, and walk on by it: whole, and not rescored."""
    with house.client() as client:
        search = dsl("Search")(using=client, index=house.index).query("match", body=TEXT)[:5]
        assert _ids(search.iterate()) == FIRST_STAGE
        assert _ids(search.sort("_score", "place").iterate()) == FIRST_STAGE
        with search.point_in_time() as opened:
            found = opened.execute()
        assert (_ids(found), found.rescore.reason) == (FIRST_STAGE[:5], "explicit_sort")


def _article(house: House, document: Any) -> Any:
    named = type("Index", (), {"name": house.index, "using": house.index})
    return type("Article", (document,), {"Index": named})


async def _settled(result: Any) -> Any:
    return await result if hasattr(result, "__await__") else result
