"""Works that several wait for, requests that several workers share, and forwards that run out of memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.batcher import Job, Work
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.testing import FakeClock
from unit.sidecar.batches import MakeBatcher, held, row


class Meeting(FakeBackend):
    """Packed; a forward begins only once so many are there together."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self.facts = replace(self.facts, is_packed=True)
        self._barrier = threading.Barrier(together)

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """The logits, once the others are there."""
        self._barrier.wait(timeout=20)
        return super().forward(batch)


class Small(FakeBackend):
    """Has memory for so many tokens and no more."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self._tokens = tokens

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """The logits, or MemoryError."""
        values = super().forward(batch)
        if sum(map(len, batch)) > self._tokens:
            raise MemoryError
        return values


def work(*ids: int, arrival: int = 0, index: int = 0) -> Work:
    """A row that nobody waits for yet."""
    return Work(row=row(*ids), tokens=len(ids), arrival=arrival, index=index)


async def settled(*jobs: Job) -> None:
    """Until every row of them has ended."""
    await asyncio.wait_for(asyncio.gather(*(asyncio.shield(job.settled) for job in jobs)), timeout=20)


@pytest.mark.parametrize("workers", [2, 4])
async def test_a_lone_request_is_split_over_the_idle_workers(make_batcher: MakeBatcher, workers: int) -> None:
    """P1: 100 pairs on idle workers: all of them work at once, and none has a pair more of tokens than another."""
    backend = Meeting(workers)
    rows = [row(*[1] * (100 + index % 40)) for index in range(100)]
    await settled(make_batcher(backend, budget_tokens=20_000, workers=workers).submit(rows, None))
    tokens = [sum(map(len, batch)) for batch in backend.batches]
    assert len(tokens) == workers
    assert max(tokens) - min(tokens) <= workers * 140


async def test_a_small_request_is_not_cut_for_the_sake_of_idle_workers(
    make_batcher: MakeBatcher, backend: FakeBackend
) -> None:
    """Three short pairs are one forward, however many workers are idle."""
    await settled(make_batcher(backend, workers=4).submit([row(1, 2)] * 3, None))
    assert len(backend.batches) == 1


async def test_a_packed_backend_is_given_tokens_without_padding(make_batcher: MakeBatcher) -> None:
    """P8: 400 tokens in one row and 500 in fifty fit a packed budget of 1,000 and run in one forward."""
    backend = Meeting(1)
    await settled(make_batcher(backend).submit([row(*[1] * 400), *[row(*[2] * 10)] * 50], None))
    assert [len(batch) for batch in backend.batches] == [51]


async def test_a_shared_work_runs_once_for_all(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """P11: two jobs wait for one work; the model sees it once and both have its value."""
    batcher = make_batcher(backend)
    holder = await held(batcher, backend)
    shared = work(7, arrival=batcher.next_arrival())
    one = batcher.wait_for([shared], None)
    batcher.enqueue([shared])
    other = batcher.wait_for([shared], None)
    backend.door.set()
    await settled(holder, one, other)
    assert backend.batches == [[row(1)], [row(7)]]
    assert one.values == other.values == [-493.0]


async def test_a_job_that_leaves_takes_nothing_from_the_others(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """P11, F4: the first of two waiters leaves and the work runs; both leave and it does not."""
    batcher = make_batcher(backend)
    holder = await held(batcher, backend)
    kept, gone = work(7, arrival=batcher.next_arrival()), work(8, arrival=batcher.next_arrival())
    first, second = batcher.wait_for([kept, gone], None), batcher.wait_for([kept, gone], None)
    third = batcher.wait_for([kept], None)
    batcher.enqueue([kept, gone])
    for job in (first, second):
        batcher.abandon(job)
    assert batcher.waiting == 1
    backend.door.set()
    await settled(holder, third)
    assert backend.batches == [[row(1)], [row(7)]]


async def test_a_shared_work_is_late_only_when_all_are(
    make_batcher: MakeBatcher, backend: FakeBackend, clock: FakeClock
) -> None:
    """A deadline that passes drops nothing that somebody else still waits for, and until then it sets the order."""
    batcher = make_batcher(backend, budget_tokens=1)
    holder = await held(batcher, backend)
    before = batcher.submit([row(9)], clock.now_s() + 5)
    shared = work(7, arrival=batcher.next_arrival())
    patient = batcher.wait_for([shared], None)
    batcher.enqueue([shared])
    hasty = batcher.wait_for([shared], clock.now_s() + 1)
    clock.advance(1)
    backend.door.set()
    await settled(holder, before, patient, hasty)
    assert backend.batches == [[row(1)], [row(7)], [row(9)]]


async def test_who_joins_a_running_work_gets_its_end(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """P11: a work that is in the model already, and that its first waiter has left, still answers a newcomer."""
    batcher = make_batcher(backend)
    backend.door.clear()
    running = work(5)
    first = batcher.wait_for([running], None)
    batcher.enqueue([running])
    assert await asyncio.to_thread(backend.entered.wait, 20)
    batcher.abandon(first)
    newcomer = batcher.wait_for([running], None)
    backend.door.set()
    await settled(newcomer)
    assert newcomer.values == [-495.0]


async def test_a_batch_that_runs_out_of_memory_is_halved_until_it_fits(make_batcher: MakeBatcher) -> None:
    """P7: out of memory costs no pair its score, and the learnt budget stays below what did not fit."""
    backend = Small(tokens=100)
    batcher = make_batcher(backend, budget_tokens=0)
    rows = [row(*[1] * 10) for _ in range(60)]
    job = batcher.submit(rows, None)
    await settled(job)
    assert None not in job.values
    assert batcher.budget_tokens <= 100
    backend.batches.clear()
    await settled(batcher.submit(rows, None))
    assert max(sum(map(len, batch)) for batch in backend.batches) <= 100


async def test_a_pair_too_large_for_the_memory_fails_alone(make_batcher: MakeBatcher) -> None:
    """P7: the one row that never fits fails with the runtime's own error; its neighbours are scored."""
    job = make_batcher(Small(tokens=100)).submit([row(1), row(*[1] * 101), row(2)], None)
    await settled(job)
    assert {place: type(error) for place, error in job.failures.items()} == {1: MemoryError}
    assert [value is None for value in job.values] == [False, True, False]
