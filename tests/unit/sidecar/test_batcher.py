"""The queue and its workers: whatever the backend does, every request ends and the next one is served."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from rescorer_sidecar.backends import Facts
from rescorer_sidecar.backends.fake import POISON, FakeBackend
from rescorer_sidecar.batcher import Job
from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.errors import NotReady
from rescorer_sidecar.testing import FakeClock
from unit.sidecar.batches import MakeBatcher, held, row


class BrokenBackend(FakeBackend):
    """Gives back what it is told to, whatever it was asked."""

    def __init__(self, answer: Callable[[int], object]) -> None:
        super().__init__()
        self._answer = answer

    def forward(self, batch: Sequence[Tokens]) -> object:
        """The told answer for that many rows."""
        self.batches.append(list(batch))
        return self._answer(len(batch))


async def settled(job: Job) -> Job:
    """The job, once every row has ended; a job that never ends fails the test."""
    await asyncio.wait_for(asyncio.shield(job.settled), timeout=20)
    return job


def values(job: Job) -> list[float | None]:
    """What came out, as plain numbers."""
    return [None if value is None else float(value) for value in job.values]


async def test_after_a_failing_batch_the_next_request_is_served(
    make_batcher: MakeBatcher, backend: FakeBackend
) -> None:
    """F11: fail one batch, then ask again: the second request gets its score."""
    batcher = make_batcher(backend)
    failed = await settled(batcher.submit([row(POISON)], None))
    assert list(failed.failures) == [0]
    assert values(await settled(batcher.submit([row(1)], None))) == [-499.0]


async def test_a_poisoned_pair_fails_alone(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """Of nine pairs in one batch, the one that the model can't take fails; the other eight are scored."""
    rows = [row(index) for index in range(9)]
    rows[5] = row(POISON)
    job = await settled(make_batcher(backend).submit(rows, None))
    assert list(job.failures) == [5]
    assert isinstance(job.failures[5], RuntimeError)
    assert values(job) == [None if index == 5 else index - 500.0 for index in range(9)]


async def test_every_pair_poisoned_fails_every_pair(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """A batch in which nothing works ends too, each row with its own error."""
    job = await settled(make_batcher(backend).submit([row(POISON)] * 5, None))
    assert sorted(job.failures) == [0, 1, 2, 3, 4]
    assert backend.batches[-1] == [row(POISON)]


async def test_a_poisoned_pair_does_not_touch_another_request(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """Two requests share a batch; the poison of one costs the other nothing."""
    batcher = make_batcher(backend)
    first = await held(batcher, backend)
    good, bad = batcher.submit([row(2), row(3)], None), batcher.submit([row(POISON), row(4)], None)
    backend.door.set()
    await settled(first)
    await settled(bad)
    assert values(await settled(good)) == [-498.0, -497.0]
    assert good.failures == {}
    assert values(bad) == [None, -496.0]


async def test_halves_of_a_failed_batch_are_not_run_for_nobody(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """F4: a request that is abandoned while its failing batch runs costs no second forward."""
    batcher = make_batcher(backend)
    backend.door.clear()
    job = batcher.submit([row(POISON), row(1), row(2), row(3)], None)
    assert await asyncio.to_thread(backend.entered.wait, 20)
    batcher.abandon(job)
    backend.door.set()
    await settled(job)
    assert len(backend.batches) == 1


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (lambda rows: np.zeros(rows + 1, dtype=np.float32), "too many rows"),
        (lambda rows: np.zeros(0, dtype=np.float32), "no rows"),
        (lambda rows: np.float32(1.0), "a bare number"),
        (lambda rows: None, "nothing"),
        (lambda rows: [0.0] * rows, "a list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_result_of_the_wrong_shape_settles_every_row(
    make_batcher: MakeBatcher, answer: Callable[[int], object], what: str
) -> None:
    """A backend that breaks its word leaves no request waiting: each row fails with what came back."""
    job = await settled(make_batcher(BrokenBackend(answer)).submit([row(1), row(2)], None))
    assert sorted(job.failures) == [0, 1], what
    assert "the backend returned" in str(job.failures[0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
async def test_a_result_that_is_no_number_fails_its_row(make_batcher: MakeBatcher, wrong: float) -> None:
    """NaN and infinity are failures of their row, never scores; the neighbour keeps its own."""
    batcher = make_batcher(BrokenBackend(lambda rows: np.array([7.0, wrong], dtype=np.float32)))
    job = await settled(batcher.submit([row(1), row(2)], None))
    assert values(job) == [7.0, None]
    assert list(job.failures) == [1]


async def test_a_failing_row_is_logged_without_its_content(
    make_batcher: MakeBatcher, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells how long the row was and what the error is, never its tokens."""
    with caplog.at_level(logging.WARNING):
        await settled(make_batcher(backend).submit([row(POISON, 11, 12), row(31, 32, 33)], None))
    assert any("a row of 3 tokens failed" in said for said in caplog.messages)
    assert not any(str(POISON) in said for said in caplog.messages)


async def test_a_lone_request_on_an_idle_batcher_starts_at_once(
    make_batcher: MakeBatcher, backend: FakeBackend, clock: FakeClock
) -> None:
    """No time has to pass for it: the clock stands still, and the request is in the backend."""
    job = await held(make_batcher(backend), backend)
    assert backend.batches == [[row(1)]]
    assert job.queue_ms == 0.0


async def test_requests_that_come_while_the_worker_is_busy_share_a_batch(
    make_batcher: MakeBatcher, backend: FakeBackend
) -> None:
    """Two requests of equal length wait together and leave in one forward, each with its own results."""
    batcher = make_batcher(backend)
    await held(batcher, backend)
    one, other = batcher.submit([row(2, 2)], None), batcher.submit([row(3, 3), row(4, 4)], None)
    assert batcher.waiting == 3
    backend.door.set()
    await asyncio.gather(settled(one), settled(other))
    assert backend.batches[1] == [row(2, 2), row(3, 3), row(4, 4)]
    assert values(one) == [-496.0]
    assert values(other) == [-494.0, -492.0]


async def test_an_abandoned_request_never_reaches_the_backend(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """F4: what is abandoned while it waits is not run, and its neighbour is."""
    batcher = make_batcher(backend)
    await held(batcher, backend)
    gone, stays = batcher.submit([row(7)], None), batcher.submit([row(8)], None)
    batcher.abandon(gone)
    backend.door.set()
    await settled(stays)
    await settled(gone)
    assert backend.batches == [[row(1)], [row(8)]]
    assert values(gone) == [None]
    assert gone.failures == {}


async def test_a_late_request_never_reaches_the_backend(
    make_batcher: MakeBatcher, backend: FakeBackend, clock: FakeClock
) -> None:
    """F4: what is late by the time a worker is free is dropped before it."""
    batcher = make_batcher(backend)
    await held(batcher, backend)
    late = batcher.submit([row(7), row(8)], clock.now_s() + 1)
    clock.advance(1)
    backend.door.set()
    await settled(late)
    assert backend.batches == [[row(1)]]
    assert values(late) == [None, None]


async def test_a_request_that_comes_too_late_settles_at_once(
    make_batcher: MakeBatcher, backend: FakeBackend, clock: FakeClock
) -> None:
    """A deadline in the past costs no forward and no wait."""
    job = make_batcher(backend).submit([row(1)], clock.now_s() - 1)
    assert job.settled.done()
    assert backend.batches == []


async def test_a_request_of_nothing_is_settled_at_once(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """No rows, no wait."""
    job = make_batcher(backend).submit([], None)
    assert job.settled.done()
    assert (job.queue_ms, job.forward_ms) == (0.0, 0.0)


async def test_abandoned_requests_do_not_count_as_waiting(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """Dead requests hold no place in the queue, whether they have left it yet or not."""
    batcher = make_batcher(backend)
    await held(batcher, backend)
    jobs = [batcher.submit([row(2)] * 10, None) for _ in range(5)]
    left = []
    for job in jobs:
        batcher.abandon(job)
        batcher.abandon(job)
        left.append(batcher.waiting)
    assert left == [40, 30, 20, 10, 0]
    assert all(job.settled.done() for job in jobs)


async def test_the_count_of_waiting_pairs_comes_back_to_zero(
    make_batcher: MakeBatcher, backend: FakeBackend, clock: FakeClock
) -> None:
    """Served, late, failed and abandoned pairs all leave the count."""
    batcher = make_batcher(backend, budget_tokens=2)
    await held(batcher, backend)
    jobs = [
        batcher.submit([row(2)] * 3, None),
        batcher.submit([row(3)] * 3, clock.now_s() + 1),
        batcher.submit([row(POISON), row(4)], None),
        batcher.submit([row(5)] * 2, None),
    ]
    assert batcher.waiting == 10
    batcher.abandon(jobs[-1])
    clock.advance(1)
    backend.door.set()
    await asyncio.gather(*map(settled, jobs))
    assert batcher.waiting == 0
    assert not any(5 in entry.ids for batch in backend.batches for entry in batch)


async def test_as_many_forwards_run_at_once_as_there_are_workers(
    make_batcher: MakeBatcher, backend: FakeBackend
) -> None:
    """With two workers, two batches are in the backend while the door is shut, and the third waits."""
    together = threading.Barrier(3)

    class Meeting(FakeBackend):
        def forward(self, batch: Sequence[Tokens]) -> object:
            if batch[0].ids != (9,):
                together.wait(timeout=20)
            return super().forward(batch)

    meeting = Meeting()
    meeting.door.clear()
    batcher = make_batcher(meeting, budget_tokens=1, workers=2)
    job = batcher.submit([row(1), row(2), row(9)], None)
    await asyncio.to_thread(together.wait, 20)
    assert batcher.waiting == 1
    meeting.door.set()
    await settled(job)
    assert len(meeting.batches) == 3


async def test_no_batch_exceeds_the_token_budget(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """P8: a request larger than the budget is cut into forwards that keep it, and none of its pairs is lost."""
    rows = [row(*range(1 + index % 7)) for index in range(100)]
    job = await settled(make_batcher(backend, budget_tokens=20).submit(rows, None))
    assert None not in job.values
    assert all(len(batch) * max(map(len, batch)) <= 20 for batch in backend.batches)


async def test_a_backend_that_wants_single_rows_gets_single_rows(make_batcher: MakeBatcher) -> None:
    """Where a row's result depends on its neighbours, it has none."""
    lonely = FakeBackend(rows_per_forward=1)
    await settled(make_batcher(lonely).submit([row(1), row(2), row(3)], None))
    assert lonely.batches == [[row(1)], [row(2)], [row(3)]]


async def test_times_are_those_of_the_clock(make_batcher: MakeBatcher, backend: FakeBackend, clock: FakeClock) -> None:
    """Queue time runs until the first row starts, forward time from there until the last one ended."""
    batcher = make_batcher(backend)
    first = await held(batcher, backend)
    second = batcher.submit([row(2)], None)
    clock.advance(0.25)
    backend.door.set()
    await asyncio.gather(settled(first), settled(second))
    assert (first.queue_ms, first.forward_ms) == (0.0, 250.0)
    assert (second.queue_ms, second.forward_ms) == (250.0, 0.0)


async def test_time_in_the_queue_ends_with_the_first_batch(
    make_batcher: MakeBatcher, backend: FakeBackend, clock: FakeClock
) -> None:
    """Of a request of two batches the first one's start counts; what passes until the second is forward time."""
    batcher = make_batcher(backend, budget_tokens=1)
    backend.door.clear()
    job = batcher.submit([row(1), row(2)], None)
    assert await asyncio.to_thread(backend.entered.wait, 20)
    clock.advance(0.5)
    backend.door.set()
    await settled(job)
    assert (job.queue_ms, job.forward_ms) == (0.0, 500.0)


async def test_closing_ends_what_runs_and_refuses_what_waits(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """On close the running batch gets its result, the waiting one NotReady, and nothing is left unsettled."""
    batcher = make_batcher(backend)
    running = await held(batcher, backend)
    waits = batcher.submit([row(2)], None)
    threading.Timer(0.0, backend.door.set).start()
    batcher.close()
    assert waits.settled.done()
    await asyncio.gather(settled(running), settled(waits))
    assert values(running) == [-499.0]
    assert isinstance(waits.failures[0], NotReady)
    assert backend.batches == [[row(1)]]


async def test_closing_refuses_the_halves_of_a_batch_that_fails_meanwhile(
    make_batcher: MakeBatcher, backend: FakeBackend
) -> None:
    """A batch that fails while the batcher closes is not run again, and its rows end."""
    batcher = make_batcher(backend)
    backend.door.clear()
    job = batcher.submit([row(POISON), row(1)], None)
    assert await asyncio.to_thread(backend.entered.wait, 20)
    threading.Timer(0.0, backend.door.set).start()
    batcher.close()
    await settled(job)
    assert sorted(job.failures) == [0, 1]
    assert len(backend.batches) == 1


async def test_a_request_after_closing_is_refused(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """A closed batcher answers NotReady instead of letting anyone wait for ever."""
    batcher = make_batcher(backend)
    batcher.close()
    job = batcher.submit([row(1)], None)
    assert job.settled.done()
    assert isinstance(job.failures[0], NotReady)


async def test_eight_callers_of_a_hundred_pairs_are_all_served(make_batcher: MakeBatcher, backend: FakeBackend) -> None:
    """P10: eight requests of 100 pairs at once all get every score, each its own."""
    batcher = make_batcher(backend, budget_tokens=64, workers=2)
    rows = [[row(*[caller] * (1 + pair % 5)) for pair in range(100)] for caller in range(8)]
    jobs = [batcher.submit(own, None) for own in rows]
    await asyncio.gather(*map(settled, jobs))
    for own, job in zip(rows, jobs, strict=True):
        assert values(job) == [sum(entry.ids) - 500.0 for entry in own]


def test_the_fake_says_what_it_is() -> None:
    """Facts of the fake are those it was made with."""
    assert FakeBackend(dimension=4, rows_per_forward=1).facts == Facts(
        name="fake", device="cpu", precision="fp32", dimension=4, rows_per_forward=1
    )
