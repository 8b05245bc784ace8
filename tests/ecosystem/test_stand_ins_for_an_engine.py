"""Transports, connections, nodes and serializers of an application's own, and the stand-ins of its tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from unittest import mock

import elastic_transport
import elasticsearch
import opensearchpy
import pytest

from rescorer.elasticsearch import AsyncElasticsearch, Elasticsearch
from rescorer.opensearch import AsyncOpenSearch, OpenSearch
from rescorer.testing import AsyncFakeScorer, FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, OURS
from unit.client.fake_engine import FakeEngine, reversing

SEARCH = {"index": "articles", "body": {"query": {"match": {"body": "cancel a flight"}}}}
PROFILE = {"document_fields": ["body"]}
FOUND = {"hits": {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []}}


class FlakyStandInError(Exception):
    """What an application's own transport raises; no error of the official libraries."""


def _client(kind: str, transport: Any) -> Any:
    scorer: Any = AsyncFakeScorer() if kind.startswith("async") else FakeScorer()
    if kind.endswith("elasticsearch"):
        return OURS[kind]("http://fake:9200", transport_class=transport, rescorer=scorer)
    return OURS[kind]([{"host": "fake"}], transport_class=transport, rescorer=scorer)


def _transport(kind: str, answer: Any) -> Any:
    """A transport class whose every request gets what ``answer(path)`` says."""
    bases: Mapping[str, Any] = {
        "opensearch": opensearchpy.Transport,
        "async_opensearch": opensearchpy.AsyncTransport,
        "elasticsearch": elastic_transport.Transport,
        "async_elasticsearch": elastic_transport.AsyncTransport,
    }

    def perform(self: Any, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
        said = answer(target)
        return _wrapped(said) if kind.endswith("elasticsearch") else said

    async def perform_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        return perform(self, *args, **kwargs)

    chosen = perform_async if kind.startswith("async") else perform
    return type("StandIn", (bases[kind],), {"perform_request": chosen})


def _wrapped(said: Any) -> elastic_transport.TransportApiResponse:
    meta = elastic_transport.ApiResponseMeta(
        node=elastic_transport.NodeConfig("http", "fake", 9200),
        duration=0.0,
        http_version="1.1",
        status=200,
        headers=elastic_transport.HttpHeaders(
            {"x-elastic-product": "Elasticsearch", "content-type": "application/json"}
        ),
    )
    return elastic_transport.TransportApiResponse(meta, said)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", [FOUND, {}, {"articles": None}, [], None, "", True, [FOUND]], ids=repr)
async def test_a_transport_that_answers_everything_alike_serves_searches(kind: str, said: Any) -> None:
    """A stand-in that gives one answer to every request gives it to the search too, whatever that is."""
    client = _client(kind, _transport(kind, lambda _: said))
    found = fake_clients.plain(await fake_clients.settled(client.search(**SEARCH)))
    assert found == said
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_transport_that_knows_no_mappings_serves_searches(kind: str) -> None:
    """A stand-in that raises an error of its own for a path that it does not know still answers the search."""

    def answer(path: str) -> Any:
        if "_search" not in path:
            raise FlakyStandInError(path)
        return FOUND

    client = _client(kind, _transport(kind, answer))
    assert fake_clients.plain(await fake_clients.settled(client.search(**SEARCH))) == FOUND
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("double", [mock.Mock, mock.MagicMock])
async def test_a_mocked_mapping_reader_breaks_no_search(kind: str, double: Any) -> None:
    """``client.indices`` as a mock, which answers with more mocks, says nothing about rescoring."""
    client = _client(kind, _transport(kind, lambda _: FOUND))
    client.indices = mock.AsyncMock() if kind.startswith("async") else double()
    assert fake_clients.plain(await fake_clients.settled(client.search(**SEARCH))) == FOUND
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_sidecar_not_one_request_is_added(kind: str) -> None:
    """A suite that counts requests counts the same with ours, as long as no sidecar is named."""
    engine = FakeEngine()
    client = fake_clients.made(kind, engine)
    for _ in range(2):
        await fake_clients.settled(client.search(**SEARCH))
    assert engine.paths() == ["/articles/_search"] * 2
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_with_a_sidecar_one_mapping_is_read_for_each_index_expression(kind: str) -> None:
    """The only request that a sidecar adds is one mapping per index expression, before its first search."""
    engine = FakeEngine()
    client = fake_clients.made(kind, engine, FakeScorer())
    for index in ("articles", "articles", "news"):
        await fake_clients.settled(client.search(**{**SEARCH, "index": index}))
    assert engine.paths() == [
        "/articles/_mapping",
        *["/articles/_search"] * 2,
        "/news/_mapping",
        "/news/_search",
    ]
    await fake_clients.settled(client.close())


class ShoutingSerializer(opensearchpy.JSONSerializer):  # type: ignore[misc]
    """A serializer of an application's own that leaves a trace in what is read."""

    def loads(self, data: Any) -> Any:
        """Mark what is read."""
        found = super().loads(data)
        return {**found, "read_by": "shouting"} if isinstance(found, dict) else found


@pytest.mark.parametrize("kind", ["opensearch", "async_opensearch"])
async def test_a_serializer_of_opensearchs_client_reads_what_is_rescored(kind: str) -> None:
    """``serializer=`` and ``deserializer``: a rescored answer went through the application's serializer."""
    engine = FakeEngine(profile=PROFILE)
    client = fake_clients.made(kind, engine, FakeScorer(reversing), serializer=ShoutingSerializer())
    found = await fake_clients.settled(client.search(**SEARCH))
    assert (found["rescore"]["status"], found["read_by"]) == ("reranked", "shouting")
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", ["elasticsearch", "async_elasticsearch"])
async def test_orjson_reads_and_writes_what_is_rescored(kind: str) -> None:
    """elasticsearch-py's OrjsonSerializer serves requests and answers of rescored searches."""
    pytest.importorskip("orjson", reason="orjson is not installed: make test-ecosystem brings it")
    engine = FakeEngine(profile=PROFILE)
    serializer = elasticsearch.OrjsonSerializer()
    client = fake_clients.made(kind, engine, FakeScorer(reversing), serializer=serializer)
    found = await fake_clients.settled(client.search(**SEARCH))
    assert found["rescore"]["status"] == "reranked"
    assert json.loads(serializer.dumps(found.body)) == found.body
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_rescored_answer_can_be_written_as_json(kind: str) -> None:
    """What a search answers goes through ``json.dumps``, as a web application's answer does."""
    client = fake_clients.made(kind, FakeEngine(profile=PROFILE), FakeScorer(reversing))
    found = fake_clients.plain(await fake_clients.settled(client.search(**SEARCH)))
    assert json.loads(json.dumps(found)) == found
    await fake_clients.settled(client.close())


@pytest.mark.parametrize(
    ("made", "argument", "chosen"),
    [
        (OpenSearch, "connection_class", opensearchpy.RequestsHttpConnection),
        (OpenSearch, "connection_class", opensearchpy.Urllib3HttpConnection),
        (AsyncOpenSearch, "connection_class", opensearchpy.AIOHttpConnection),
        (Elasticsearch, "node_class", elastic_transport.RequestsHttpNode),
        (Elasticsearch, "node_class", elastic_transport.Urllib3HttpNode),
        (AsyncElasticsearch, "node_class", elastic_transport.AiohttpHttpNode),
    ],
)
async def test_the_official_connections_can_be_chosen(made: Any, argument: str, chosen: Any) -> None:
    """``connection_class`` and ``node_class`` reach the transport."""
    client = made("http://localhost:9200", **{argument: chosen})
    transport = client.transport
    if argument == "node_class":
        assert [type(node) for node in transport.node_pool.all()] == [chosen]
    else:
        assert transport.connection_class is chosen
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_what_goes_past_the_clients_methods_is_the_engines(kind: str) -> None:
    """A search sent by ``client.transport.perform_request`` passes the client by: the engine's own answer."""
    engine = FakeEngine(profile=PROFILE)
    client = fake_clients.made(kind, engine, FakeScorer(reversing))
    headers = {"accept": "application/json", "content-type": "application/json"}
    sent = client.transport.perform_request("POST", "/articles/_search", headers=headers, body=SEARCH["body"])
    answer = await fake_clients.settled(sent)
    found = answer.body if kind.endswith("elasticsearch") else answer
    assert ([hit["_id"] for hit in found["hits"]["hits"][:2]], "rescore" in found) == (["d0", "d1"], False)
    assert engine.paths() == ["/articles/_search"]
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stand_in_that_calls_no_constructor_answers(kind: str) -> None:
    """A subclass that puts something else where the transport goes, and calls no constructor, serves searches."""
    answers = mock.AsyncMock if kind.startswith("async") else mock.Mock

    class StandIn(OURS[kind]):  # type: ignore[misc]
        def __init__(self) -> None:
            self.perform_request = answers(return_value=FOUND)
            if kind.endswith("opensearch"):
                self.transport = mock.Mock(perform_request=self.perform_request)

    client: Any = StandIn()
    assert await fake_clients.settled(client.search(**SEARCH)) == FOUND
    client.perform_request.assert_called_once()
