"""One pair, one forward: identical work in flight, texts read part by part, and input that nobody should send."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from rescorer_sidecar.backends.fake import POISON, FakeBackend
from rescorer_sidecar.domain import Candidate, Floats, ScoreRequest, Tokens
from rescorer_sidecar.errors import BackendFailed, DeadlineExceeded, InvalidRequest, TooMany
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import POISON_WORD, FakeClock, fake_model, until
from rescorer_sidecar.token_cache import TokenCache
from rescorer_sidecar.tokenise import Tokeniser

OpenService = Callable[..., Service]


def asking(*texts: str, query: str = "cat", **more: object) -> ScoreRequest:
    """A request whose candidates are called c0, c1, …"""
    candidates = tuple(Candidate(id=f"c{index}", text=text) for index, text in enumerate(texts))
    return ScoreRequest(query=query, candidates=candidates, **more)


def counted(service: Service) -> tuple[int, int, int]:
    """Cached, coalesced, computed."""
    return (service.counters.cached, service.counters.coalesced, service.counters.computed)


class HeldTokeniser(Tokeniser):
    """Each call waits until it is let through; ``parts`` counts the texts of each."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.turns = threading.Semaphore(0)
        self.parts: list[int] = []

    def pairs(self, query: str, texts: Sequence[str], limit: int, known: TokenCache | None = None) -> list[Tokens]:
        """The tokens, in time."""
        self.turns.acquire(timeout=20)
        self.parts.append(len(texts))
        return super().pairs(query, texts, limit, known)


@pytest.fixture
def tokeniser(tokeniser_folder: Path) -> Iterator[HeldTokeniser]:
    """A tokeniser that lets one call through for each turn; any number at the end."""
    made = HeldTokeniser(tokeniser_folder)
    yield made
    made.turns.release(100)


@pytest.fixture
def held_service(
    open_service: OpenService, tokeniser: HeldTokeniser, tokeniser_folder: Path, backend: FakeBackend
) -> Service:
    """A service that reads with it."""
    return open_service(dataclasses.replace(fake_model(tokeniser_folder, backend=backend), tokeniser=tokeniser))


async def entered(backend: FakeBackend) -> None:
    """Until a batch is in the backend."""
    assert await asyncio.to_thread(backend.entered.wait, 20)
    backend.entered.clear()


async def test_a_hundred_identical_requests_run_each_pair_once(open_service: OpenService, backend: FakeBackend) -> None:
    """P11: 100 identical requests at once: each pair runs forward once, and all have the same scores."""
    service = open_service()
    texts = [f"hotel {index}" for index in range(20)]
    answers = await asyncio.gather(*(service.score(asking(*texts)) for _ in range(100)))
    assert sum(map(len, backend.batches)) == 20
    assert len({answer.results for answer in answers}) == 1
    assert counted(service) == (0, 99 * 20, 20)
    await service.score(asking(*texts))
    assert counted(service) == (20, 99 * 20, 20)


async def test_a_text_that_stands_twice_in_a_request_is_scored_once(
    open_service: OpenService, backend: FakeBackend
) -> None:
    """P11: duplicates inside one request share a forward, each candidate has its score."""
    service = open_service()
    answer = await service.score(asking("hotel", "train", "hotel", "hotel"))
    assert [entry.id for entry in answer.results] == ["c0", "c1", "c2", "c3"]
    assert len({entry.pair for entry in answer.results}) == 2
    assert sum(map(len, backend.batches)) == 2
    assert counted(service) == (0, 2, 2)


async def test_a_failure_reaches_everybody_who_waits_for_it(open_service: OpenService, backend: FakeBackend) -> None:
    """P11: identical requests for a text that breaks the model all hear so, and it ran once."""
    service = open_service()
    ends = await asyncio.gather(*(service.score(asking(POISON_WORD)) for _ in range(5)), return_exceptions=True)
    assert {type(end) for end in ends} == {BackendFailed}
    assert sum(POISON in row.ids for batch in backend.batches for row in batch) == 1


async def test_a_query_that_is_refused_is_refused_to_everybody_who_asked(open_service: OpenService) -> None:
    """P11: an error in reading the query is the answer of all identical requests."""
    service = open_service()
    calls = (service.score(asking("hotel", query="cat " * 100)) for _ in range(3))
    assert {type(end) for end in await asyncio.gather(*calls, return_exceptions=True)} == {InvalidRequest}


async def test_the_first_caller_may_leave_before_the_text_is_read(
    held_service: Service, tokeniser: HeldTokeniser
) -> None:
    """P11, F4: the caller whose request began the reading hangs up; the other gets its score from it."""
    first = asyncio.create_task(held_service.score(asking("hotel")))
    await asyncio.sleep(0)
    second = asyncio.create_task(held_service.score(asking("hotel")))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    tokeniser.turns.release()
    assert (await second).is_complete
    assert tokeniser.parts == [1]


async def test_what_everybody_left_before_it_was_read_is_asked_anew(
    held_service: Service, tokeniser: HeldTokeniser, backend: FakeBackend
) -> None:
    """F4: an abandoned pair never reaches the model, and one who asks for it later is scored all the same."""
    gone = asyncio.create_task(held_service.score(asking("hotel")))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    later = asyncio.create_task(held_service.score(asking("hotel")))
    await asyncio.sleep(0)
    tokeniser.turns.release(2)
    assert (await later).is_complete
    assert sum(map(len, backend.batches)) == 1


async def test_what_was_left_out_of_a_part_is_read_for_who_asks_later(
    held_service: Service, tokeniser: HeldTokeniser
) -> None:
    """F4: while a part is read for one who stayed, a pair left out of it is asked for again, and is scored."""
    texts = [f"hotel {index}" for index in range(40)]
    gone = asyncio.create_task(held_service.score(asking(*texts)))
    await asyncio.sleep(0)
    stays = asyncio.create_task(held_service.score(asking(texts[39])))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    tokeniser.turns.release()
    await until(lambda: len(tokeniser.parts) == 1)
    later = asyncio.create_task(held_service.score(asking(texts[30])))
    await asyncio.sleep(0)
    tokeniser.turns.release(2)
    answers = await asyncio.wait_for(asyncio.gather(stays, later), timeout=20)
    assert [answer.is_complete for answer in answers] == [True, True]
    assert tokeniser.parts == [16, 1, 1]


async def test_a_caller_without_time_takes_nothing_from_the_patient_one(
    open_service: OpenService, backend: FakeBackend, clock: FakeClock
) -> None:
    """P11: of two callers of one pair the hurried one ends at its deadline, the other with the score."""
    service = open_service()
    backend.door.clear()
    held = asyncio.create_task(service.score(asking("train")))
    await entered(backend)
    hasty = asyncio.create_task(service.score(asking("hotel", deadline_s=clock.now_s() + 0.02)))
    patient = asyncio.create_task(service.score(asking("hotel")))
    with pytest.raises(DeadlineExceeded):
        await hasty
    backend.door.set()
    assert (await patient).is_complete
    await held


async def test_a_score_that_comes_too_late_for_its_caller_is_remembered(
    open_service: OpenService, backend: FakeBackend, clock: FakeClock
) -> None:
    """Work that the model had begun is not wasted: the next caller finds it in the cache."""
    service = open_service()
    backend.door.clear()
    with pytest.raises(DeadlineExceeded):
        await service.score(asking("hotel", deadline_s=clock.now_s() + 0.05))
    backend.door.set()
    await until(lambda: service.counters.computed == 1)
    assert (await service.score(asking("hotel"))).results[0].cached


async def test_a_call_that_is_cancelled_in_the_middle_of_a_batch_harms_nobody(
    open_service: OpenService, backend: FakeBackend
) -> None:
    """F4: of two callers who wait for pairs of one forward the first hangs up: the other has both its scores."""
    service = open_service()
    backend.door.clear()
    gone = asyncio.create_task(service.score(asking("hotel", "flight")))
    await entered(backend)
    stays = asyncio.create_task(service.score(asking("flight", "train")))
    await until(lambda: service.waiting == 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    backend.door.set()
    assert (await stays).is_complete
    assert [len(batch) for batch in backend.batches] == [2, 1]
    assert (await service.score(asking("hotel"))).results[0].cached


async def test_the_model_begins_before_the_last_text_is_read(
    held_service: Service, tokeniser: HeldTokeniser, backend: FakeBackend
) -> None:
    """Of 100 texts the first part is in the model while the tokeniser still holds the rest."""
    call = asyncio.create_task(held_service.score(asking(*[f"hotel {index}" for index in range(100)])))
    tokeniser.turns.release()
    await entered(backend)
    assert sum(tokeniser.parts) < 100
    tokeniser.turns.release(10)
    answer = await call
    assert [entry.index for entry in answer.results] == list(range(100))
    assert tokeniser.parts == [16, 32, 52]


class QuickBackend(FakeBackend):
    """A forward takes a tenth of a millisecond on the clock that it is given, whatever its rows."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """As of any fake backend."""
        self._clock.advance(0.0001)
        return super().forward(batch)


async def test_a_quick_model_gets_a_request_whole(
    open_service: OpenService, tokeniser: HeldTokeniser, tokeniser_folder: Path, clock: FakeClock
) -> None:
    """Once a model is known to run through 100 texts in a few milliseconds, they are read and run in one part."""
    model = fake_model(tokeniser_folder, backend=QuickBackend(clock))
    service = open_service(dataclasses.replace(model, tokeniser=tokeniser))
    tokeniser.turns.release(10)
    for word in ("hotel", "cat"):
        await service.score(asking(*[f"{word} {index}" for index in range(100)]))
    assert tokeniser.parts == [16, 32, 52, 100]


async def test_a_small_request_is_read_in_one_part(held_service: Service, tokeniser: HeldTokeniser) -> None:
    """Up to 32 texts there is one hand-off: reading them takes less than it would cost to overlap."""
    tokeniser.turns.release(5)
    await held_service.score(asking(*[f"hotel {index}" for index in range(32)]))
    assert tokeniser.parts == [32]


@pytest.mark.parametrize(
    "text",
    ["", "\x00", "".join(map(chr, range(32))), "\ud800", "cat\udfff hotel", "\u202e\ufeff", "z" * 1_000_000],
    ids=["empty", "nul", "controls", "surrogate", "surrogate between", "marks", "megabyte"],
)
async def test_any_text_has_a_score_and_costs_its_neighbours_nothing(open_service: OpenService, text: str) -> None:
    """F7, T8: whatever a text holds it is scored, and those beside it score as without it."""
    alone = await open_service().score(asking("hotel", "train"))
    beside = await open_service().score(asking("hotel", text, "train"))
    assert beside.is_complete
    assert [beside.results[0].pair, beside.results[2].pair] == [entry.pair for entry in alone.results]


async def test_a_query_of_a_lone_surrogate_is_scored(open_service: OpenService) -> None:
    """A query that is no valid Unicode is read as an unknown character."""
    assert (await open_service().score(asking("hotel", query="cat \ud800"))).is_complete


async def test_a_hundred_thousand_pairs_are_refused_or_scored(open_service: OpenService, backend: FakeBackend) -> None:
    """P9: over the limit: an error with both numbers; under a raised one: scored, in bounded forwards."""
    request = asking(*[f"hotel {index}" for index in range(100_000)])
    with pytest.raises(TooMany, match="holds 100000 and may hold 10000"):
        await open_service().score(request)
    answer = await open_service(max_candidates=100_000).score(request)
    assert len(answer.results) == 100_000
    assert max(len(batch) * max(map(len, batch)) for batch in backend.batches) <= 32_768


async def test_eight_callers_of_a_hundred_pairs_are_all_served(open_service: OpenService) -> None:
    """P10: eight callers of 100 pairs at once: all served, none refused."""
    service = open_service(workers=2)
    calls = (service.score(asking(*[f"{caller} {index}" for index in range(100)])) for caller in range(8))
    assert [answer.is_complete for answer in await asyncio.gather(*calls)] == [True] * 8


async def test_a_small_request_behind_a_large_one_is_answered_first(
    open_service: OpenService, backend: FakeBackend
) -> None:
    """P10: 20 pairs that come behind 1,000 need a fraction of the forwards that the 1,000 need."""
    service = open_service(budget_tokens=512)
    large = asyncio.create_task(service.score(asking(*[f"hotel {'late ' * 50}{index}" for index in range(1_000)])))
    await entered(backend)
    await service.score(asking(*[f"train {'late ' * 50}{index}" for index in range(20)]))
    first = len(backend.batches)
    assert not large.done()
    await large
    assert first < len(backend.batches) / 2
