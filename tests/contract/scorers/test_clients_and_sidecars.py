"""All four clients with several sidecars: what they are told, what they show, and what they count."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from contract.scorers.fake_sidecar import FakeService, fails, served
from rescorer.errors import BreakerOpen, InvalidSetting
from rescorer.scorers.fleet import ScorerState
from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, plain, settled
from unit.client.fake_engine import FakeEngine

SAID = {"document_fields": ["title"], "window_size": 10}
BODY = {"query": {"match": {"body": "cancel a flight"}}, "size": 10, "rescore": {"cross_encoder": SAID}}
RAISING = {**BODY, "rescore": {"cross_encoder": {**SAID, "on_failure": "error"}}}
PLAIN = {**BODY, "rescore": {"cross_encoder": False}}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each class of ours in turn."""
    return str(request.param)


@pytest.fixture
def services() -> list[FakeService]:
    """The functions behind two sidecars."""
    return [FakeService(), FakeService()]


@pytest.fixture
def addresses(services: list[FakeService]) -> Iterator[list[str]]:
    """Where they listen."""
    with served(services[0]) as first, served(services[1]) as second:
        yield [first, second]


def _ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in plain(answer)["hits"]["hits"]]


@pytest.mark.parametrize("as_text", [True, False])
async def test_a_list_or_a_string_names_them(
    kind: str, services: list[FakeService], addresses: list[str], as_text: bool
) -> None:
    """Searches take turns, and ``client.rescorer.state()`` tells each sidecar, without being awaited."""
    client = fake_clients.made(kind, FakeEngine(), ",".join(addresses) if as_text else addresses)
    for _ in range(4):
        answer = await settled(client.search(index="articles", body=BODY))
        assert plain(answer)["rescore"]["status"] == "reranked"
    assert [len(service.seen) for service in services] == [2, 2]
    state = client.rescorer.state()
    assert isinstance(state, ScorerState)
    assert [(entry.address, entry.state, entry.calls) for entry in state.sidecars] == [
        (address, "closed", 2) for address in addresses
    ]
    await settled(client.close())


async def test_open_breakers_are_the_outcomes_reason(
    kind: str, services: list[FakeService], addresses: list[str]
) -> None:
    """F2: a search that asked nobody says so: status, reason and detail in the answer, and a count of its own."""
    for service in services:
        service.next_answers = [fails(grpc.StatusCode.UNAVAILABLE, "not warm")] * 9
    client = fake_clients.made(kind, FakeEngine(), addresses)
    first_stage = _ids(await settled(client.search(index="articles", body=PLAIN)))
    while any(entry.state == "closed" for entry in client.rescorer.state().sidecars):
        answer = await settled(client.search(index="articles", body=BODY))
        assert plain(answer)["rescore"]["reason"] == "scorer_unavailable"
        assert _ids(answer) == first_stage
    answer = await settled(client.search(index="articles", body=BODY))
    told = plain(answer)["rescore"]
    assert (told["status"], told["reason"]) == ("fallback", "breaker_open")
    assert "circuit breakers of 127.0.0.1:" in told["detail"]
    assert _ids(answer) == first_stage
    assert client.rescore_counts()["fallback:breaker_open"] == 1
    with pytest.raises(BreakerOpen, match="circuit breakers"):
        await settled(client.search(index="articles", body=RAISING))
    await settled(client.close())


async def test_copies_keep_what_was_said(kind: str, addresses: list[str]) -> None:
    """A client that was copied deeply knows the same sidecars and hedges alike, with breakers of its own."""
    client = fake_clients.made(kind, FakeEngine(), addresses, rescorer_hedge=50)
    wiring = client._wiring
    for again in (copy.deepcopy(wiring), pickle.loads(pickle.dumps(wiring))):  # noqa: S301  # our own bytes
        assert [entry.address for entry in again.own.state().sidecars] == addresses
        assert again.own.state().hedging.after_ms == 50
        assert again.own is not wiring.own
    await settled(client.close())


@pytest.mark.parametrize("rescorer", [None, FakeScorer()])
def test_without_sidecars_there_is_nothing_to_know(kind: str, rescorer: Any) -> None:
    """No sidecar, or a scorer of one's own: the state is empty, and asking for it is no error."""
    state = fake_clients.made(kind, FakeEngine(), rescorer).rescorer.state()
    assert (state.sidecars, state.hedging.calls) == ((), 0)


@pytest.mark.parametrize(
    "wrong",
    [{"rescorer": []}, {"rescorer": ["a:1", "a:1"]}, {"rescorer": "a:1,b"}, {"rescorer_hedge": "p99"}],
)
def test_what_is_wrong_is_found_when_the_client_is_made(kind: str, wrong: dict[str, Any]) -> None:
    """Not at the first search."""
    with pytest.raises(InvalidSetting, match="rescorer"):
        fake_clients.OURS[kind](**fake_clients.connected(kind, FakeEngine()), **{"rescorer": ["a:1"], **wrong})
