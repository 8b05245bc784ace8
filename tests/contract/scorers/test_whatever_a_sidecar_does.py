"""Whatever stands at the address, a search has its end within its time: an error to fall back on, and hits none lost.

Bounds are wide, because machines are noisy.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest

from contract.scorers import faulty
from contract.scorers.conftest import Driven
from contract.scorers.fake_sidecar import FakeService, served
from rescorer.domain import Candidate, ScoreRequest
from rescorer.errors import ScorerError, ScorerTimeout, ScorerUnavailable
from rescorer.opensearch import OpenSearch
from rescorer.scorers.channels import targets
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer_proto.v1 import rescorer_pb2
from unit.client.fake_clients import connected
from unit.client.fake_engine import FakeEngine

BUDGET_S = 0.3
NOISE_S = 5.0
"""How much longer than its budget a search may take here; without a bound it would be tens of seconds."""

WISH = ScoreRequest(query="flight", candidates=[Candidate(f"{place}:d", (("", "flight"),)) for place in range(3)])


@contextmanager
def frozen() -> Iterator[str]:
    """A sidecar that takes every call and answers none."""
    service = FakeService()
    service.next_answers = [service.held] * 50
    with served(service) as address:
        yield address


@contextmanager
def stopped() -> Iterator[str]:
    """An address where nobody listens any more."""
    with served(FakeService()) as address:
        pass
    yield address


@contextmanager
def suspended() -> Iterator[str]:
    """A process that was stopped by a signal: its kernel still takes connections and bytes."""
    with faulty.processes(1) as [(address, process)]:
        process.send_signal(signal.SIGSTOP)
        yield address


AT_THE_ADDRESS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "nobody": stopped,
    "one who accepts and says nothing": faulty.listening,
    "one who never accepts": faulty.deaf,
    "one who hangs up": partial(faulty.listening, hangs_up=True),
    "a web server": partial(faulty.listening, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "random bytes": partial(faulty.listening, bytes(range(256)) * 50),
    "a frozen sidecar": frozen,
    "a suspended process": suspended,
    "a name that nobody resolves": faulty.silent_name_server,
}


@pytest.fixture(params=["grpc", "grpc-async"])
async def asking(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Driven]]:
    """Makes scorers of either kind in turn."""
    made: list[Driven] = []

    def make(address: str, credentials: Any = None) -> Driven:
        kind = GrpcScorer if request.param == "grpc" else AsyncGrpcScorer
        made.append(Driven(kind(targets(address, credentials)), in_thread=request.param == "grpc"))
        return made[-1]

    yield make
    for driven in made:
        await driven.close()


@pytest.mark.parametrize("who", AT_THE_ADDRESS)
async def test_a_search_ends_within_its_time(asking: Callable[..., Driven], who: str) -> None:
    """F1, F5, F9: stopped, half open, deaf, hanging up, babbling, frozen, suspended, nameless: an error, in time."""
    with AT_THE_ADDRESS[who]() as address:
        scorer = asking(address)
        begun_s = time.monotonic()
        with pytest.raises((ScorerUnavailable, ScorerTimeout)):
            await scorer.score(WISH, timeout_s=BUDGET_S)
        await scorer.close()
        assert time.monotonic() - begun_s < BUDGET_S + NOISE_S


async def test_a_handshake_that_nobody_answers_ends_in_time(asking: Callable[..., Driven]) -> None:
    """F5: TLS is waited for until the deadline as well, and not a moment of gRPC's own."""
    with faulty.listening() as address:
        begun_s = time.monotonic()
        with pytest.raises((ScorerUnavailable, ScorerTimeout)):
            await asking(address, grpc.ssl_channel_credentials()).score(WISH, timeout_s=BUDGET_S)
        assert time.monotonic() - begun_s < BUDGET_S + NOISE_S


async def test_five_at_once_have_one_budget(asking: Callable[..., Driven]) -> None:
    """F3: searches that meet a frozen sidecar together do not wait for each other."""
    with frozen() as address:
        scorer = asking(address)
        begun_s = time.monotonic()
        ends = await asyncio.gather(*(scorer.score(WISH, timeout_s=BUDGET_S) for _ in range(5)), return_exceptions=True)
        assert time.monotonic() - begun_s < BUDGET_S + NOISE_S
    assert {type(end) for end in ends} == {ScorerTimeout}


GARBLED: dict[str, Callable[[Any, grpc.ServicerContext], Any]] = {
    "details that are none": lambda request, context: _fails(context, b"\xff\xfe garbled"),
    "a detail that is none": lambda request, context: _fails(context, _status_with(b"\xff\xff\xff")),
    "a wait in the past": lambda request, context: _fails(
        context, _status_with(b"\x08\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01")
    ),
    "a hundred thousand scores": lambda request, context: rescorer_pb2.ScoreResponse(
        results=[rescorer_pb2.ScoredCandidate(id="0:d", index=place) for place in range(100_000)]
    ),
}


def _fails(context: grpc.ServicerContext, details: bytes) -> None:
    context.set_trailing_metadata((("grpc-status-details-bin", details),))
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")


def _status_with(value: bytes) -> bytes:
    """A status of RESOURCE_EXHAUSTED with a RetryInfo of these bytes."""
    from google.protobuf import any_pb2
    from google.rpc import status_pb2

    inner = b"\x0a" + bytes([len(value)]) + value
    detail = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=inner)
    return status_pb2.Status(code=8, message="full", details=[detail]).SerializeToString()


@pytest.mark.parametrize("kind", GARBLED)
async def test_what_is_garbled_is_an_error_like_any_other(asking: Callable[..., Driven], kind: str) -> None:
    """An answer or a status that nobody can read is a ScorerError, never an error that fails the search."""
    service = FakeService()
    service.next_answers = [GARBLED[kind]] * 9
    with served(service) as address, pytest.raises(ScorerError):
        await asking(address).score(WISH, timeout_s=5.0)


@dataclass(frozen=True)
class Seen:
    """One search under load: when it began, its outcome, and whether it has all its hits."""

    begun_s: float
    status: str
    reason: str | None
    is_whole: bool


LOAD_BUDGET_MS = 2000
BODY = {
    "query": {"match": {"body": "cancel a flight"}},
    "size": 10,
    "rescore": {"cross_encoder": {"document_fields": ["title"], "window_size": 10, "budget_ms": LOAD_BUDGET_MS}},
}
PLAIN = {**BODY, "rescore": {"cross_encoder": False}}


class Load:
    """Searches from several threads through one client over an engine in memory, some of them after some harm."""

    def __init__(self, addresses: list[str]) -> None:
        self.client = OpenSearch(**connected("opensearch", FakeEngine()), rescorer=addresses)
        self._everything = _ids(self.client.search(index="articles", body=PLAIN))

    def run(self, each: int, harm: Callable[[], None] = lambda: None, threads: int = 8) -> tuple[float, list[Seen]]:
        """When harm was done, after a third of the searches, and what became of each."""
        passed = threading.Semaphore(0)

        def search(_: int) -> list[Seen]:
            found = []
            for _ in range(each):
                found.append(self._one())
                passed.release()
            return found

        with ThreadPoolExecutor(threads) as pool:
            running = pool.map(search, range(threads))
            for _ in range(threads * each // 3):
                assert passed.acquire(timeout=60)
            harm()
            done_s = time.monotonic()
            return done_s, [seen for found in running for seen in found]

    def _one(self) -> Seen:
        begun_s = time.monotonic()
        answer = self.client.search(index="articles", body=BODY)
        told = answer["rescore"]
        return Seen(begun_s, told["status"], told["reason"], sorted(_ids(answer)) == sorted(self._everything))


def _ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


@pytest.fixture
def pair() -> Iterator[tuple[Load, Any]]:
    """A load on two sidecars, each a process, and the first one's process."""
    with faulty.processes(2) as [(first, victim), (second, _)]:
        load = Load([first, second])
        yield load, victim
        load.client.close()


def test_killing_one_of_two_under_load_loses_no_search(pair: tuple[Load, Any]) -> None:
    """F1: every search has its hits, each once, and a second after the kill none falls back."""
    load, victim = pair
    killed_s, seen = load.run(100, victim.kill)
    _, later = load.run(25)
    assert all(entry.is_whole for entry in seen + later)
    assert len([entry for entry in seen if entry.begun_s > killed_s]) > 100
    late = [entry for entry in seen + later if entry.begun_s > killed_s + 1.0]
    assert [entry for entry in late if entry.status != "reranked"] == []
    assert len([entry for entry in seen if entry.status != "reranked"]) <= 8


def test_freezing_one_of_two_under_load_costs_a_few_searches_their_budget(pair: tuple[Load, Any]) -> None:
    """F3, F8: those that it holds fall back, visibly; then it is left alone, and finding out costs nobody anything."""
    load, victim = pair
    _, seen = load.run(60, lambda: victim.send_signal(signal.SIGSTOP))
    fallen = [entry for entry in seen if entry.status == "fallback"]
    assert {entry.reason for entry in fallen} <= {"deadline_exceeded"}
    assert 0 < len(fallen) <= 24
    (first, second) = load.client.rescorer.state().sidecars
    assert (first.state != "closed", second.state) == (True, "closed")
    _, later = load.run(60)
    assert [entry for entry in later if entry.status != "reranked"] == []
    assert all(entry.is_whole for entry in seen + later)
