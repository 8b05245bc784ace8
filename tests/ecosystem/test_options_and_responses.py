"""elasticsearch-py's ``options()`` and its response objects, and context managers of all four classes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import elasticsearch
import pytest
from elastic_transport import ObjectApiResponse

from rescorer.domain import EmbedRequest
from rescorer.errors import ScorerError
from rescorer.scorers.channels import Target
from rescorer.scorers.grpc import AsyncGrpcScorer
from rescorer.testing import AsyncFakeScorer, FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, OURS, settled
from unit.client.fake_engine import FakeEngine, reversing

SEARCH = {"index": "articles", "query": {"match": {"body": "cancel a flight"}}}
PROFILE = {"document_fields": ["body"]}
ELASTICSEARCH = pytest.mark.parametrize("kind", ["elasticsearch", "async_elasticsearch"])


@ELASTICSEARCH
async def test_options_keeps_class_sidecar_profiles_and_counts(kind: str) -> None:
    """Whatever ``options()`` returns rescores as its origin, with the known profiles, and counts with it."""
    engine = FakeEngine(profile=PROFILE)
    client = fake_clients.made(kind, engine, FakeScorer(reversing))
    await settled(client.search(**SEARCH))
    again = client.options(request_timeout=3).options(opaque_id="job-7").options(headers={"x-tenant": "acme"})
    found = await settled(again.search(**SEARCH))
    assert type(again) is OURS[kind]
    assert found["rescore"]["status"] == "reranked"
    assert [path for path in engine.paths() if path.endswith("_mapping")] == ["/articles/_mapping"]
    assert client.rescore_counts() == again.rescore_counts() == {"reranked": 2}
    sent = engine.searches()[-1].headers
    assert (sent["x-opaque-id"], sent["x-tenant"]) == ("job-7", "acme")
    await settled(client.close())


@ELASTICSEARCH
async def test_options_sets_the_time_of_one_call(kind: str) -> None:
    """``request_timeout`` of ``options()`` bounds the scorer as well; the client's own holds where none is said."""
    scorer = FakeScorer(reversing)
    client = fake_clients.made(kind, FakeEngine(profile=PROFILE), scorer, request_timeout=8)
    await settled(client.search(**SEARCH))
    await settled(client.options(request_timeout=2).search(**SEARCH))
    await settled(client.options(opaque_id="x").search(**SEARCH))
    first, second, third = scorer.timeouts_s
    assert 2 < first <= 8
    assert 0 < second <= 2
    assert 2 < third <= 8
    await settled(client.close())


@ELASTICSEARCH
async def test_options_of_a_subclass_keeps_it_and_its_sidecar(kind: str) -> None:
    """A subclass that brings its sidecar and an argument of its own stays itself, as with the official class."""
    engine, scorer = FakeEngine(profile=PROFILE), FakeScorer(reversing)
    made: Any = AsyncFakeScorer(scorer) if kind.startswith("async") else scorer

    class Ours(OURS[kind]):  # type: ignore[misc]
        def __init__(self, hosts: Any = None, tenant: str = "nobody", **kwargs: Any) -> None:
            self.tenant = tenant
            super().__init__(hosts, rescorer=made, profile_ttl_s=5.0, **kwargs)

    client: Any = Ours(tenant="acme", **fake_clients.connected(kind, engine))
    again = client.options(request_timeout=3)
    assert (type(again), again.tenant) == (Ours, "nobody")  # the official options() makes it without arguments too
    assert (await settled(again.search(**SEARCH)))["rescore"]["status"] == "reranked"
    assert again.rescore_counts() == client.rescore_counts() == {"reranked": 1}
    await settled(client.close())


@ELASTICSEARCH
async def test_ignored_statuses_are_ignored_as_before(kind: str) -> None:
    """``options(ignore_status=404)`` answers a search of a missing index with the engine's error as a body."""
    engine = FakeEngine(missing=frozenset({"articles"}))
    ours = fake_clients.made(kind, engine, FakeScorer(reversing))
    theirs = fake_clients.official(kind, engine)
    said = [await settled(client.options(ignore_status=404).search(**SEARCH)) for client in (ours, theirs)]
    assert said[0].body == said[1].body
    assert said[0].meta.status == 404
    for client in (ours, theirs):
        with pytest.raises(elasticsearch.NotFoundError):
            await settled(client.search(**SEARCH))
        await settled(client.close())


@ELASTICSEARCH
async def test_a_rescored_answer_is_the_official_response(kind: str) -> None:
    """``ObjectApiResponse`` with body, meta, items, length and iteration; it pickles, copies and compares."""
    client = fake_clients.made(kind, FakeEngine(profile=PROFILE), FakeScorer(reversing))
    found = await settled(client.search(**SEARCH))
    assert type(found) is ObjectApiResponse
    assert found.body["rescore"]["status"] == found["rescore"]["status"] == "reranked"
    assert (found.meta.status, found.meta.headers["content-type"]) == (200, "application/json")
    assert list(found) == list(found.body)
    assert (len(found), bool(found), "hits" in found) == (len(found.body), True, True)
    assert found == found.body
    for again in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):  # noqa: S301
        assert (type(again), again.body, again.meta) == (type(found), found.body, found.meta)
    await settled(client.close())


@ELASTICSEARCH
async def test_every_way_to_several_answers_is_the_official_response(kind: str) -> None:
    """``msearch`` and the templates answer with the official class and its meta too."""
    client = fake_clients.made(kind, FakeEngine(profile=PROFILE), FakeScorer(reversing))
    body = {"query": SEARCH["query"]}
    found = await settled(client.msearch(searches=[{"index": "articles"}, body]))
    assert type(found) is ObjectApiResponse
    assert (found.meta.status, found["responses"][0]["rescore"]["status"]) == (200, "reranked")
    found = await settled(client.search_template(index="articles", source=body))
    assert type(found) is ObjectApiResponse
    assert (found.meta.status, found["rescore"]["status"]) == (200, "reranked")
    await settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_context_manager_opens_and_closes(kind: str) -> None:
    """``with`` and ``async with`` give the client itself and close what it made, and leave what was handed in open."""
    scorer = FakeScorer(reversing)
    client = fake_clients.made(kind, FakeEngine(profile=PROFILE), scorer)
    search: Any = {"index": "articles", "body": {"query": SEARCH["query"]}}
    if kind.startswith("async"):
        async with client as opened:
            found = await opened.search(**search)
    else:
        with client as opened:
            found = opened.search(**search)
    assert opened is client
    assert found["rescore"]["status"] == "reranked"
    assert not scorer.is_closed


def test_another_event_loop_than_asyncios_is_a_scorers_error() -> None:
    """Under trio, which elasticsearch-py supports, no sidecar can be asked: ScorerError, so a search falls back."""
    scorer = AsyncGrpcScorer(Target(address="localhost:50051"))
    with pytest.raises(ScorerError, match="under trio"):
        scorer.embed(EmbedRequest(texts=("a",), kind="query"), 1.0).send(None)  # by hand
    with pytest.raises(StopIteration):
        scorer.close().send(None)
