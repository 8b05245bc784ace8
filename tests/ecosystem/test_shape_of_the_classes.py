"""Our classes to tools that look at classes: signatures, mocks, subclasses, copies and pickles."""

from __future__ import annotations

import copy
import inspect
import pickle
import typing
from collections.abc import Callable
from typing import Any
from unittest import mock

import opensearchpy
import pytest

from rescorer.opensearch import AsyncOpenSearch, OpenSearch
from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, OFFICIAL, OURS
from unit.client.fake_engine import FakeEngine

REPLACED = ("search", "msearch", "search_template", "msearch_template", "create_pit", "open_point_in_time", "options")
OWN_ARGUMENTS = {
    "rescorer",
    "rescorer_credentials",
    "rescorer_metadata",
    "rescorer_caller",
    "rescorer_hedge",
    "rescorer_telemetry",
    "profile_ttl_s",
}
SIDECARS = [None, "localhost:50051", FakeScorer()]
PICKLED = [
    (opensearchpy.OpenSearch, OpenSearch, opensearchpy.RequestsHttpConnection),
    (opensearchpy.AsyncOpenSearch, AsyncOpenSearch, opensearchpy.AIOHttpConnection),
    (opensearchpy.AsyncOpenSearch, AsyncOpenSearch, opensearchpy.AsyncHttpConnection),
]
"""Clients that the official library can pickle: one host, and a connection that holds no lock."""


def _pickled(client: Any) -> Any:
    return pickle.loads(pickle.dumps(client))  # noqa: S301 - our own bytes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REPLACED)
def test_a_replaced_method_has_the_official_signature(kind: str, name: str) -> None:
    """``inspect.signature`` reads the same from ours and from the official method."""
    theirs = getattr(OFFICIAL[kind], name, None)
    ours = getattr(OURS[kind], name, None)
    assert (ours is None) == (theirs is None)
    if theirs is not None and ours is not None:
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
        assert ours.__name__ == theirs.__name__


@pytest.mark.parametrize("kind", KINDS)
def test_type_hints_are_the_official_ones(kind: str) -> None:
    """What reads type hints at run time, such as a container of dependencies, reads what it read."""
    for name in REPLACED:
        if hasattr(OFFICIAL[kind], name):
            theirs = typing.get_type_hints(getattr(OFFICIAL[kind], name))
            assert typing.get_type_hints(getattr(OURS[kind], name)) == theirs
    theirs = typing.get_type_hints(OFFICIAL[kind].__init__)
    ours = typing.get_type_hints(OURS[kind].__init__)
    for name in inspect.signature(OFFICIAL[kind].__init__).parameters.keys() - {"kwargs"}:
        assert ours.get(name) == theirs.get(name)
    assert ours.keys() - theirs.keys() <= OWN_ARGUMENTS | {"return"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_constructor_shows_the_official_arguments_and_ours(kind: str) -> None:
    """What reads constructor arguments, such as a container of dependencies, finds every official one and our own."""
    theirs, ours = inspect.signature(OFFICIAL[kind]).parameters, inspect.signature(OURS[kind]).parameters
    assert set(ours) - set(theirs) == OWN_ARGUMENTS
    assert {name: ours[name] for name in theirs} == dict(theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_public_is_missing_or_hidden(kind: str) -> None:
    """Every public name of the official class is there, and ours adds a handful."""
    theirs, ours = ({name for name in dir(found) if not name.startswith("_")} for found in (OFFICIAL[kind], OURS[kind]))
    assert theirs - ours == set()
    assert ours - theirs == {"embed", "hybrid_search", "rescore_counts", "rescorer"}


@pytest.mark.parametrize("kind", KINDS)
def test_create_autospec_makes_a_mock_of_our_class(kind: str) -> None:
    """A mock of ours passes ``isinstance`` for both classes and refuses arguments that the official one refuses."""
    double = mock.create_autospec(OURS[kind], instance=True)
    assert isinstance(double, OURS[kind])
    assert isinstance(double, OFFICIAL[kind])
    double.search(index="articles")
    double.search.assert_called_once_with(index="articles")
    with pytest.raises(TypeError):
        double.search("articles", "too", "many", "positional")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_official_method_that_a_test_patches_is_reached(kind: str) -> None:
    """An application's test that patches ``search`` of the official class gets its patched answer through ours."""
    client = fake_clients.made(kind, FakeEngine())
    answer = {"hits": {"hits": [{"_id": "patched"}]}}
    double = mock.AsyncMock if kind.startswith("async") else mock.Mock
    with mock.patch.object(OFFICIAL[kind], "search", double(return_value=answer)):
        assert await fake_clients.settled(client.search(index="articles")) == answer
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_subclass_may_override_what_it_likes(kind: str) -> None:
    """A subclass with an argument and a ``search`` of its own reaches the engine through ``super()``."""
    engine = FakeEngine()

    class Tenant(OURS[kind]):  # type: ignore[misc]
        def __init__(self, *args: Any, tenant: str = "nobody", **kwargs: Any) -> None:
            self.tenant = tenant
            super().__init__(*args, **kwargs)

        def search(self, **kwargs: Any) -> Any:
            return super().search(**{**kwargs, "index": f"{self.tenant}-{kwargs['index']}"})

    client: Any = Tenant(tenant="acme", **fake_clients.connected(kind, engine))
    await fake_clients.settled(client.search(index="articles", body={"query": {"match_all": {}}}))
    assert [sent.path for sent in engine.searches()] == ["/acme-articles/_search"]
    await fake_clients.settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scorer", SIDECARS, ids=repr)
async def test_a_shallow_copy_shares_engine_and_sidecar(kind: str, scorer: Any) -> None:
    """``copy.copy`` works as with the official client, before the first search and after it."""
    engine = FakeEngine()
    client = fake_clients.made(kind, engine, scorer)
    early = copy.copy(client)
    await fake_clients.settled(client.search(index="articles", body={"query": {"match_all": {}}}))
    late = copy.copy(client)
    for copied in (early, late):
        assert type(copied) is type(client)
        await fake_clients.settled(copied.search(index="articles", body={"query": {"match_all": {}}}))
    assert len(engine.searches()) == 3
    assert late.rescore_counts() == client.rescore_counts()
    await fake_clients.settled(client.close())


@pytest.mark.parametrize(("theirs", "ours", "connection"), PICKLED)
@pytest.mark.parametrize("again", [_pickled, copy.deepcopy])
@pytest.mark.parametrize("scorer", SIDECARS, ids=repr)
async def test_what_the_official_client_can_copy_ours_can(
    theirs: Any, ours: Any, connection: Any, again: Callable[[Any], Any], scorer: Any
) -> None:
    """Pickling and deep copies, as for a pool of processes: address, tokens and time to live go along."""
    arguments = {"hosts": "http://localhost:9200", "connection_class": connection}
    official = again(theirs(**arguments))
    client = ours(**arguments, rescorer=scorer, profile_ttl_s=7.0)
    client._context()  # as after a first search
    copied = again(client)
    assert type(copied) is ours
    assert repr(copied.transport.hosts) == repr(official.transport.hosts)
    assert (copied._wiring.scorer is None) == (scorer is None)
    assert type(copied._wiring.scorer) is type(client._wiring.scorer)
    assert copied._wiring.profiles is not client._wiring.profiles
    assert copied._context().profiles is copied._wiring.profiles
    for opened in (official, client, copied):
        await fake_clients.settled(opened.close())


@pytest.mark.parametrize("kind", ["opensearch", "elasticsearch", "async_elasticsearch"])
def test_what_the_official_client_refuses_to_copy_is_refused(kind: str) -> None:
    """Where a connection pool can't be pickled, ours says the very same."""
    several = {"hosts": ["http://localhost:9200", "http://localhost:9201"]}
    said = []
    for found in (OFFICIAL[kind], OURS[kind]):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as error:
            pickle.dumps(found(**several))
        said.append(str(error.value))
    assert said[0] == said[1]


def test_a_deep_copy_shares_the_scorer_that_was_handed_in() -> None:
    """A scorer of the application's own is not copied with the client: it may hold a connection or a model."""
    scorer = FakeScorer()
    client = OpenSearch("http://localhost:9200", connection_class=opensearchpy.RequestsHttpConnection, rescorer=scorer)
    assert copy.deepcopy(client)._wiring.scorer is scorer
