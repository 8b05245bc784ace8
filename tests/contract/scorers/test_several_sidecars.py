"""Several real servers behind one scorer: a search goes on to the next, breakers open and close, late calls race."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from contract.scorers.conftest import Driven
from contract.scorers.fake_sidecar import FakeService, answers, error, fails, retry_after, scored, served, served_raw
from rescorer.domain import Candidate, EmbedRequest, ScoreRequest, Scores
from rescorer.errors import BadScores, BreakerOpen, Reason, ScorerError, ScorerRefused, ScorerTimeout, ScorerUnavailable
from rescorer.scorers.channels import targets
from rescorer.scorers.fleet import ScorerState
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer.testing import FakeClock
from rescorer_proto.v1 import rescorer_pb2

Code = grpc.StatusCode
NONSENSE: dict[str, Callable[[Any], None]] = {
    "foreign": lambda answer: setattr(answer.results[0], "id", "somebody else's"),
    "out of place": lambda answer: setattr(answer.results[0], "index", 7),
    "doubled": lambda answer: answer.results[1].CopyFrom(answer.results[0]),
    "missing": lambda answer: answer.results.pop(),
    "not a number": lambda answer: setattr(answer.results[1], "logit", float("nan")),
    "infinite": lambda answer: setattr(answer.results[1], "score", float("inf")),
    "too many": lambda answer: answer.results.add(id="1:d", index=1, logit=1.0),
    "none": lambda answer: answer.Clear(),
}


def wish(count: int = 2) -> ScoreRequest:
    """A request with so many candidates."""
    return ScoreRequest(
        query="flight", candidates=[Candidate(f"{place}:d", (("", "flight"),)) for place in range(count)]
    )


@dataclass
class Town:
    """Sidecars, and scorers of one kind that know all of them; time passes only when told to."""

    kind: str
    services: list[FakeService]
    addresses: list[str]
    stops: list[ExitStack]
    clock: FakeClock = field(default_factory=lambda: FakeClock(1000.0))
    made: list[Driven] = field(default_factory=list)

    def scorer(self, *, hedging: float | None = None, of: slice = slice(None)) -> Driven:
        """A scorer that knows the sidecars, without jitter."""
        named, clock = targets(self.addresses[of]), self.clock

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        inner: Any = (
            GrpcScorer(named, hedging=hedging, clock=clock, sleep=clock.advance, draw=lambda: 0.0)
            if self.kind == "grpc"
            else AsyncGrpcScorer(named, hedging=hedging, clock=clock, sleep=advance, draw=lambda: 0.0)
        )
        self.made.append(Driven(inner, in_thread=self.kind == "grpc"))
        return self.made[-1]

    def seen(self) -> list[int]:
        """How many calls each got."""
        return [len(service.seen) for service in self.services]

    def waits_s(self) -> list[float]:
        """How long searches waited before they asked again."""
        return [wait_s for wait_s in self.clock.waits_s if wait_s]

    def stop(self, place: int) -> None:
        """Stop one at once."""
        self.stops[place].close()


@pytest.fixture(params=["grpc", "grpc-async"])
async def town(request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    """Two sidecars, and scorers of either kind in turn."""
    services, stops = [FakeService(), FakeService()], [ExitStack(), ExitStack()]
    addresses = [stop.enter_context(served(service)) for stop, service in zip(stops, services, strict=True)]
    made = Town(request.param, services, addresses, stops)
    yield made
    for driven in made.made:
        await driven.close()
    for stop in stops:
        await asyncio.to_thread(stop.close)


def state(scorer: Driven) -> ScorerState:
    """What it knows."""
    found: ScorerState = scorer.inner.state()
    return found


def breakers(scorer: Driven) -> list[str]:
    """The state of each breaker."""
    return [sidecar.state for sidecar in state(scorer).sidecars]


async def until(holds: Callable[[], bool]) -> None:
    """Give other threads and tasks their turn until it holds; TimeoutError if it never does."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # no time passes here, the loop just gets its turn
            await asyncio.sleep(0)


async def test_searches_take_turns(town: Town) -> None:
    """Two sidecars share the work evenly, and each call is counted."""
    scorer = town.scorer()
    for _ in range(6):
        await scorer.score(wish())
    assert town.seen() == [3, 3]
    assert [sidecar.calls for sidecar in state(scorer).sidecars] == [3, 3]


async def test_a_stopped_sidecar_costs_no_search_its_scores(town: Town) -> None:
    """F1: whoever meets the dead one is answered by the other inside the same call; nobody waits between."""
    scorer = town.scorer()
    await scorer.score(wish())
    town.stop(0)
    for _ in range(8):
        assert len((await scorer.score(wish())).results) == 2
    assert town.waits_s() == []
    assert breakers(scorer)[1] == "closed"


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.CANCELLED])
async def test_a_sidecar_in_trouble_sends_the_search_on(town: Town, code: grpc.StatusCode) -> None:
    """Not warm, draining, overloaded, breaking off: the other one answers at once, without a wait."""
    town.services[0].next_answers = [fails(code, "not now", retry_after(5.0))]
    scorer = town.scorer()
    assert len((await scorer.score(wish())).results) == 2
    assert (town.seen(), town.waits_s()) == ([1, 1], [])


async def test_one_that_is_overloaded_rests_while_the_other_works(town: Town) -> None:
    """F6: until the time that it asked for it gets no call, and then its turn again."""
    town.services[0].next_answers = [fails(Code.RESOURCE_EXHAUSTED, "full", retry_after(5.0))]
    scorer = town.scorer()
    for _ in range(4):
        await scorer.score(wish())
    assert town.seen() == [1, 4]
    town.clock.advance(5.0)
    for _ in range(2):
        await scorer.score(wish())
    assert town.seen() == [2, 5]


async def test_where_all_are_overloaded_the_wait_is_as_long_as_they_ask(town: Town) -> None:
    """F6: every one is asked once without a wait, then the clock decides."""
    for service in town.services:
        service.next_answers = [fails(Code.RESOURCE_EXHAUSTED, "full", retry_after(1.5))]
    assert len((await town.scorer().score(wish())).results) == 2
    assert (sum(town.seen()), town.waits_s()) == (3, [1.5])


async def test_an_entry_that_is_overloaded_goes_to_the_other_one(town: Town) -> None:
    """Of many requests, the one that the first sidecar has no room for is scored by the second, without a wait."""
    full = error(Code.RESOURCE_EXHAUSTED, "full", retry_after(5.0))
    town.services[0].next_answers = [lambda request, context: answers(scored(request.requests[0]), full)]
    entries = await town.scorer().score_many([wish(), wish()])
    assert all(isinstance(entry, Scores) for entry in entries)
    assert (town.seen(), town.waits_s()) == ([1, 1], [])


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNAUTHENTICATED, Code.INTERNAL])
async def test_what_is_final_goes_to_nobody_else(town: Town, code: grpc.StatusCode) -> None:
    """A refusal is the request's own trouble, and one that breaks a sidecar inside is not tried on the next."""
    town.services[0].next_answers = [fails(code, "no")]
    with pytest.raises(ScorerError):
        await town.scorer().score(wish())
    assert town.seen() == [1, 0]


@pytest.mark.parametrize("kind", NONSENSE)
async def test_nonsense_is_asked_for_again_at_the_other_one(town: Town, kind: str) -> None:
    """A score that is foreign, doubled, missing or no number is never used; another sidecar answers instead."""

    def nonsense(request: Any, context: Any) -> Any:
        answer = scored(request)
        NONSENSE[kind](answer)
        return answer

    town.services[0].next_answers = [nonsense]
    scorer = town.scorer()
    assert len((await scorer.score(wish())).results) == 2
    assert town.seen() == [1, 1]
    assert [sidecar.failures for sidecar in state(scorer).sidecars] == [1, 0]


@pytest.mark.parametrize("raw", [b"\xff" * 40, b"", b"\x0a\x02" * 2_000_000], ids=["none", "nothing", "far too many"])
async def test_bytes_that_are_no_answer_are_nonsense(town: Town, raw: bytes) -> None:
    """What can't be read, or is far too much, counts against its sidecar, and another one answers."""
    with served_raw(raw) as address:
        town.addresses.insert(0, address)
        scorer = town.scorer(of=slice(2))
        assert len((await scorer.score(wish())).results) == 2
    assert [sidecar.failures for sidecar in state(scorer).sidecars] == [1, 0]


async def test_nonsense_of_everybody_is_said(town: Town) -> None:
    """Each is asked once, and the error names the address and what was wrong."""
    for service in town.services:
        service.next_answers = [lambda request, context: rescorer_pb2.ScoreResponse()] * 3
    with pytest.raises(BadScores, match=r"127\.0\.0\.1:\d+ answered 0 scores for 2 candidates"):
        await town.scorer().score(wish())
    assert (town.seen(), town.waits_s()) == ([1, 1], [])


async def test_vectors_come_from_the_other_one_too(town: Town) -> None:
    """What holds for scores holds for vectors."""
    town.services[0].next_answers = [lambda request, context: rescorer_pb2.EmbedResponse()]
    assert len(await town.scorer().embed(EmbedRequest(texts=["a"], kind="query"))) == 1
    assert town.seen() == [1, 1]


async def test_the_parts_of_a_window_stay_together(town: Town) -> None:
    """S5: one window is scored by one sidecar, whose model is one, and the next window by the other."""
    scorer = town.scorer()
    for _ in range(2):
        assert len((await scorer.score(wish(5000), timeout_s=60.0)).results) == 5000
    assert town.seen() == [3, 3]


async def test_where_all_breakers_are_open_a_search_falls_back_at_once(town: Town) -> None:
    """F2: nobody is asked, and the reason names the breakers; when they may be asked, a sidecar that is back serves."""
    for service in town.services:
        service.next_answers = [fails(Code.UNAVAILABLE, "not warm")] * 5
    scorer = town.scorer()
    while "closed" in breakers(scorer):
        with pytest.raises(ScorerUnavailable):
            await scorer.score(wish())
    seen = town.seen()
    with pytest.raises(BreakerOpen, match=r"circuit breakers of .* are open") as caught:
        await scorer.score(wish())
    assert caught.value.reason is Reason.BREAKER_OPEN
    assert town.seen() == seen == [5, 5]
    town.clock.advance(0.5)
    assert breakers(scorer) == ["half_open", "half_open"]
    for _ in range(2):
        assert len((await scorer.score(wish())).results) == 2
    await until(lambda: breakers(scorer) == ["closed", "closed"])


async def test_a_frozen_sidecar_is_left_after_five_searches(town: Town) -> None:
    """F5: each costs its own time and no more; then searches fall back at once, and nobody waits for it."""
    town.services[0].next_answers = [town.services[0].held] * 5
    scorer = town.scorer(of=slice(1))
    for _ in range(5):
        with pytest.raises(ScorerTimeout):
            await scorer.score(wish(), timeout_s=0.15)
    with pytest.raises(BreakerOpen):
        await scorer.score(wish(), timeout_s=60.0)
    assert len(town.services[0].seen) <= 5


async def test_finding_out_costs_no_search_its_time(town: Town) -> None:
    """F3: the call that asks a frozen sidecar whether it is back has a twin, whose answer the search takes."""
    frozen = town.services[0]
    frozen.next_answers = [frozen.held] * 6
    scorer = town.scorer()
    while breakers(scorer)[0] == "closed":
        try:
            await scorer.score(wish(), timeout_s=0.15)
        except ScorerTimeout:
            continue
    town.clock.advance(0.5)
    frozen.entered.clear()
    for _ in range(2):
        assert len((await scorer.score(wish(), timeout_s=30.0)).results) == 2
    assert await asyncio.to_thread(frozen.entered.wait, 20)
    assert breakers(scorer)[0] == "half_open"
    frozen.release.set()
    await until(lambda: breakers(scorer)[0] == "closed")


async def test_a_late_call_has_a_twin_and_is_cancelled(town: Town) -> None:
    """Hedging: after 30 ms another sidecar is asked, its answer counts, and the first call is broken off."""
    gone = threading.Event()

    def late(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(gone.set)
        return town.services[0].held(request, context)

    town.services[0].next_answers = [late]
    scorer = town.scorer(hedging=30.0)
    assert len((await scorer.score(wish(), timeout_s=30.0)).results) == 2
    assert await asyncio.to_thread(gone.wait, 20)
    told = state(scorer)
    assert (told.hedging.hedged, told.hedging.won) == (1, 1)
    assert [sidecar.failures for sidecar in told.sidecars] == [1, 0]


async def test_a_late_call_that_answers_first_wins(town: Town) -> None:
    """Both may answer; the first one counts, whoever it is."""
    first, second = town.services

    def after_the_twin(request: Any, context: grpc.ServicerContext) -> Any:
        second.entered.wait(timeout=20)
        return scored(request)

    first.next_answers, second.next_answers = [after_the_twin], [second.held]
    scorer = town.scorer(hedging=1.0)
    assert len((await scorer.score(wish(), timeout_s=30.0)).results) == 2
    assert (state(scorer).hedging.hedged, state(scorer).hedging.won) == (1, 0)


async def test_a_refusal_ends_the_race(town: Town) -> None:
    """What one sidecar refuses the other one would too: nobody waits for it."""
    first, second = town.services
    first.next_answers, second.next_answers = [first.held], [fails(Code.INVALID_ARGUMENT, "empty query")]
    with pytest.raises(ScorerRefused, match="empty query"):
        await town.scorer(hedging=1.0).score(wish(), timeout_s=30.0)


async def test_where_one_of_two_fails_the_other_is_waited_for(town: Town) -> None:
    """A twin that fails does not take the answer of the first."""
    first, second = town.services
    gate = threading.Event()

    def failing(request: Any, context: grpc.ServicerContext) -> Any:
        gate.set()
        return fails(Code.UNAVAILABLE, "stopping")(request, context)

    def after_it(request: Any, context: grpc.ServicerContext) -> Any:
        gate.wait(timeout=20)
        return scored(request)

    first.next_answers, second.next_answers = [after_it], [failing]
    assert len((await town.scorer(hedging=1.0).score(wish(), timeout_s=30.0)).results) == 2


async def test_where_both_are_too_late_the_deadline_ends_it(town: Town) -> None:
    """F9: a race has the same deadline as a call."""
    for service in town.services:
        service.next_answers = [service.held]
    with pytest.raises(ScorerTimeout):
        await town.scorer(hedging=1.0).score(wish(), timeout_s=0.2)


async def test_a_search_that_is_cancelled_cancels_its_race() -> None:
    """Who stops waiting leaves no call behind, neither the first nor its twin."""
    services = [FakeService(), FakeService()]
    gone = [threading.Event(), threading.Event()]

    def held(place: int) -> Callable[[Any, Any], Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            context.add_callback(gone[place].set)
            return services[place].held(request, context)

        return answer

    for place, service in enumerate(services):
        service.next_answers = [held(place)]
    with served(services[0]) as first, served(services[1]) as second:
        scorer = AsyncGrpcScorer(targets([first, second]), hedging=1.0)
        search = asyncio.create_task(scorer.score(wish(), 30.0))
        for service in services:
            assert await asyncio.to_thread(service.entered.wait, 20)
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        for event in gone:
            assert await asyncio.to_thread(event.wait, 20)
        await scorer.close()


async def test_closing_ends_the_searches_that_run(town: Town) -> None:
    """A client that is closed in mid-search ends it with an error, at once, and opens nothing again."""
    service = town.services[0]
    service.next_answers = [service.held]
    scorer = town.scorer(of=slice(1))
    search = asyncio.create_task(scorer.score(wish(), timeout_s=30.0))
    assert await asyncio.to_thread(service.entered.wait, 20)
    await scorer.close()
    with pytest.raises(ScorerError, match="close"):
        await search
    assert scorer.inner._held == {}


@pytest.fixture
def draining() -> Iterator[tuple[FakeService, str, Callable[[], Any]]]:
    """A sidecar that can be told to stop when its calls are done."""
    from concurrent.futures import ThreadPoolExecutor

    from rescorer_proto.v1 import rescorer_pb2_grpc

    service = FakeService()
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    rescorer_pb2_grpc.add_RescorerServicer_to_server(service, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield service, address, lambda: server.stop(grace=20)
    service.release.set()
    server.stop(grace=None).wait()


async def test_a_draining_sidecar_is_left_in_time(town: Town, draining: Any) -> None:
    """F1: the call that it has is answered by it; from the GOAWAY on every search goes to the other one."""
    service, address, drain = draining
    town.addresses.insert(0, address)
    scorer = town.scorer(of=slice(2))
    service.next_answers = [service.held]
    search = asyncio.create_task(scorer.score(wish(), timeout_s=30.0))
    assert await asyncio.to_thread(service.entered.wait, 20)
    stopped = drain()
    for _ in range(6):
        assert len((await scorer.score(wish(), timeout_s=30.0)).results) == 2
    service.release.set()
    assert len((await search).results) == 2
    assert await asyncio.to_thread(stopped.wait, 20)
    assert len(service.seen) == 1
