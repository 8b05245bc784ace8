"""One model's queue and its workers: the event loop owns the state, threads only compute.

Nothing polls and nothing sleeps: a batch starts when works come in while a worker is free, or when a worker becomes
free while works wait. So a lone request on an idle sidecar starts at once, split over the free workers, and under load
requests share batches by themselves.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from rescorer_sidecar.backends import Backend
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import STOPPING, ForwardHung, ModelDied, NotReady
from rescorer_sidecar.ledger import Ledger
from rescorer_sidecar.overdue import Overdue
from rescorer_sidecar.pace import Pace
from rescorer_sidecar.policy import ANY_ROWS, Limits, Queue, share_tokens
from rescorer_sidecar.throughput import Throughput
from rescorer_sidecar.works import Endings, Job, Kind, Watch, Work

logger = logging.getLogger(__name__)


class Batcher:
    """Runs a backend over everything that waits for it, at most ``workers`` forwards at a time.

    ``budget_tokens`` is the most tokens of one forward; 0 learns how many take a fitting time. ``endings`` counts how
    works have ended, ``ledger`` what is unfinished, and ``watch``, if there is one, is told of forwards.

    ``pulse`` gives a row that the model has answered before. Where a row fails by itself, it is asked: if it is
    answered, the row is to blame; if not, the model is dead. ``died`` is told then, and all is refused with ModelDied.
    So it is where a forward has not come back after ``hung_s`` seconds; ``hung`` counts those that are still away.
    """

    def __init__(self, backend: Backend, budget_tokens: int, workers: int, clock: Clock) -> None:
        self._backend = backend
        self._fixed_tokens = budget_tokens
        self._pace = Pace()
        rows = backend.facts.rows_per_forward or ANY_ROWS
        self._limits = Limits(budget_tokens=1, rows=rows, is_packed=backend.facts.is_packed)
        self._workers = workers
        self._clock = clock
        self.watch: Watch | None = None
        self.pulse: Callable[[], Tokens] | None = None
        self.died: Callable[[BaseException], None] | None = None
        self.hung_s = 0.0
        self.hung = 0
        self.endings = Endings()
        self.ledger = Ledger()
        self._throughput = Throughput()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="forward")
        self._queue: Queue[Work] = Queue()
        self._halves: deque[list[Work]] = deque()
        self._running = 0
        self._abandoned = 0
        self._doubted: list[tuple[Work, BaseException]] = []
        self._refusal: Callable[[], NotReady] | None = None
        self.is_dead = False
        self._arrivals = itertools.count()

    @property
    def waiting(self) -> int:
        """Pairs that somebody waits for and that were not started yet."""
        return len(self._queue) - self._abandoned

    @property
    def running(self) -> int:
        """Forwards that are under way."""
        return self._running

    @property
    def workers(self) -> int:
        """Forwards that may be under way at a time."""
        return self._workers

    @property
    def budget_tokens(self) -> int:
        """The most tokens of the next forward."""
        return self._fixed_tokens or self._pace.budget_tokens

    def check_alive(self) -> None:
        """ModelDied, or NotReady after :meth:`close`."""
        if self._refusal is not None:
            raise self._refusal()

    @property
    def tokens_per_s(self) -> float | None:
        """What it gets through while work waits; None before enough of that was seen."""
        return self._throughput.tokens_per_s

    def learnt_cost(self) -> tuple[float, float] | None:
        """Milliseconds of a lone request and microseconds of each of its tokens, as forwards have told; None at first.

        All workers take part in a request, which is cut into forwards of the budget.
        """
        if (learnt := self._pace.learnt) is None:
            return None
        forward_s, token_s = learnt
        return 1e3 * forward_s, 1e6 * (token_s + forward_s / self.budget_tokens) / self._workers

    def next_arrival(self) -> int:
        """The number of the next request; its works carry it."""
        return next(self._arrivals)

    def submit(self, rows: Sequence[Tokens], deadline_s: float | None, caller: str = "") -> Job[Work]:
        """Let a request's rows wait for the model; returns at once. After :meth:`close` they fail with NotReady."""
        arrival = self.next_arrival()
        works = [
            Work(index=index, tokens=len(row), arrival=arrival, caller=caller, row=row)
            for index, row in enumerate(rows)
        ]
        job = self.wait_for(works, deadline_s, caller)
        self.enqueue(works)
        return job

    def wait_for(self, works: Sequence[Kind], deadline_s: float | None, caller: str = "") -> Job[Kind]:
        """A job that waits for these works, new ones or such as others wait for already; each of them stands once.

        A work that waits for a turn gets it by the most urgent of its jobs and as that one of their callers whose turn
        comes first, and is dropped when all of them are late.
        """
        now_s = self._clock.now_s()
        job = Job(works, deadline_s, now_s, caller)
        moved: list[Work] = []
        for work in works:
            self._join(work, job, now_s)
            if work.urgency is not None:
                moved.append(work)
        self._queue.add(moved)
        return job

    def enqueue(self, works: Sequence[Work]) -> None:
        """Let works whose rows are known wait for the model."""
        now_s = self._clock.now_s()
        for work in works:
            if not work.is_abandoned:
                self.ledger.charge(work, work.tokens)
            for job in work.jobs:
                job.queued_s = now_s if job.queued_s is None else job.queued_s
            self._abandoned += work.is_abandoned
        self._queue.add(works)
        self._start()

    def abandon(self, job: Job[Any]) -> None:
        """This job waits no more: those of its works that have not started, and that no other waits for, never will.

        They leave the queue once they are more than half of it, so that each costs a constant on average.
        """
        if job.settled.done():
            return
        for work in job.works:
            if job not in work.jobs or work.is_ended:
                continue
            work.jobs.remove(job)
            work.latest_s = max((other.deadline_s for other in work.jobs), default=-math.inf)
            if not work.jobs:
                self.ledger.discharge(work)
                work.is_abandoned = True
                if not work.is_started:
                    work.forget()
                self._abandoned += work.urgency is not None
        job.leave(self._clock.now_s())
        if 2 * self._abandoned > len(self._queue):
            self._abandoned = 0
            self._drop(self._queue.purge())

    def end(self, work: Work, error: BaseException | None = None) -> None:
        """A work has ended, with its value or this error or neither; everybody who waits for it is told."""
        work.error = error
        work.is_ended = True
        self.ledger.discharge(work)
        self.endings.count(work)
        if work.on_end is not None:
            work.on_end(work)
        now_s = self._clock.now_s()
        for job in work.jobs:
            job.ended(now_s)

    def close(self) -> None:
        """Let go of the threads; what runs is waited for unless it hangs, what waits fails with NotReady."""
        self._refuse(functools.partial(NotReady, STOPPING))
        self._executor.shutdown(wait=not self.hung)

    async def stopped(self) -> None:
        """As :meth:`close`, without holding up the event loop while it waits."""
        self._refuse(functools.partial(NotReady, STOPPING))
        await asyncio.to_thread(self._executor.shutdown)

    def _join(self, work: Work, job: Job[Any], now_s: float) -> None:
        if work.is_abandoned:
            work.is_abandoned = False
            self._abandoned -= work.urgency is not None
        is_first = not work.jobs
        work.jobs.append(job)
        self._queue.hand_over(work, job.caller)
        work.deadline_s = job.deadline_s if is_first else min(work.deadline_s, job.deadline_s)
        work.latest_s = job.deadline_s if is_first else max(work.latest_s, job.deadline_s)
        if is_first:
            self.ledger.charge(work, work.tokens or work.expected_tokens)
        if work.urgency is not None or work.is_started:
            job.queued_s = now_s if job.queued_s is None else job.queued_s
        if work.is_started:
            job.started(now_s)

    def _start(self) -> None:
        if self._refusal is not None:
            self._refuse(self._refusal)
            return
        if self._doubted:
            return
        was_idle = not self._running
        while self._running < self._workers:
            batch = self._next(self._workers - self._running if was_idle else self._workers)
            if not batch:
                break
            self._run(batch)
        is_pressed = self._running == self._workers and self.waiting > 0
        self._throughput.stands(self._clock.now_s(), is_pressed=is_pressed)

    def _run(self, batch: list[Work]) -> None:
        self._running += 1
        now_s = self._clock.now_s()
        for work in batch:
            work.is_started = True
            for job in work.jobs:
                job.started(now_s)
        rows = [work.row for work in batch]
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._timed, rows)
        overdue = Overdue(self.hung_s, functools.partial(self._hang, batch))
        future.add_done_callback(functools.partial(self._finish, batch, overdue))

    def _timed(self, rows: list[Tokens]) -> tuple[Floats, float]:
        begun_s = self._clock.now_s()
        values = self._backend.forward(rows)
        return values, self._clock.now_s() - begun_s

    def _next(self, workers: int) -> list[Work]:
        """The next batch, where so many workers are about to take one."""
        now_s = self._clock.now_s()
        while self._halves:
            half = self._halves.popleft()
            wanted = [work for work in half if work.is_wanted(now_s)]
            self._drop([work for work in half if not work.is_wanted(now_s)])
            if wanted:
                return wanted
        share = share_tokens(self._queue.tokens, self.budget_tokens, workers)
        batch, dropped = self._queue.take(replace(self._limits, budget_tokens=share), now_s)
        self._abandoned -= sum(work.is_abandoned for work in dropped)
        self._drop(dropped)
        return batch

    def _drop(self, works: list[Work]) -> None:
        for work in works:
            self.end(work)

    def _refuse(self, refusal: Callable[[], NotReady]) -> None:
        """End everything that waits with this, and whatever comes from now on; the first refusal stays."""
        self._refusal = self._refusal or refusal
        waiting = self._queue.clear() + list(itertools.chain.from_iterable(self._halves))
        self._halves.clear()
        self._abandoned = 0
        for work in waiting:
            self.end(work, self._refusal())

    def _finish(self, batch: list[Work], overdue: Overdue, done: asyncio.Future[tuple[Floats, float]]) -> None:
        self._running -= 1
        if self._came_back(overdue):
            return
        self._throughput.ended(sum(work.tokens for work in batch), self._clock.now_s())
        try:
            error = done.exception() or _misshapen(done.result()[0], len(batch))
            if error is None:
                values, seconds = done.result()
                self._ran(self._cost(batch), seconds)
                self._settle(batch, values)
            else:
                self._fail(batch, error)
        finally:
            self._start()

    def _ran(self, tokens: int, seconds: float) -> None:
        if self.watch is not None:
            self.watch.ran(tokens, self.budget_tokens, seconds)
        self._pace.learn(tokens, seconds)

    def _cost(self, batch: list[Work]) -> int:
        return self._limits.cost([work.tokens for work in batch])

    def _fail(self, batch: list[Work], error: BaseException) -> None:
        if len(batch) > 1:
            if _is_out_of_memory(error):
                self._pace.overflowed(self._cost(batch))
            logger.warning("a batch of %d rows failed and is run again in halves: %s", len(batch), type(error).__name__)
            middle = len(batch) // 2
            self._halves.extend((batch[:middle], batch[middle:]))
            return
        self._doubt(batch[0], error)

    def _doubt(self, work: Work, error: BaseException) -> None:
        """A row has failed by itself: nothing more is begun until it is known whether the model is dead."""
        logger.error("a row of %d tokens failed: %r", work.tokens, error)
        if self.pulse is None or self._refusal is not None:
            self.end(work, self._refusal() if self._refusal else error)
            return
        self._doubted.append((work, error))
        if len(self._doubted) == 1:
            self._feel(self.pulse)

    def _feel(self, pulse: Callable[[], Tokens]) -> None:
        future = asyncio.get_running_loop().run_in_executor(self._executor, lambda: self._timed([pulse()]))
        overdue = Overdue(self.hung_s, functools.partial(self._hang, []))
        future.add_done_callback(functools.partial(self._felt, pulse, len(self._doubted), overdue))

    def _felt(
        self, pulse: Callable[[], Tokens], count: int, overdue: Overdue, done: asyncio.Future[tuple[Floats, float]]
    ) -> None:
        """The model was asked after so many rows had failed."""
        if self._came_back(overdue):
            return
        error = done.exception() or _misshapen(done.result()[0], 1) or _no_number(done.result()[0])
        if error is not None:
            self._die(error)
            return
        blamed, self._doubted = self._doubted[:count], self._doubted[count:]
        for work, failure in blamed:
            self.end(work, failure)
        if self._doubted:
            self._feel(pulse)
        else:
            self._start()

    def _hang(self, batch: list[Work]) -> None:
        """A forward has not come back. Its thread can't be ended; those who wait are told."""
        self.hung += 1
        if not self.is_dead:
            self._die(ForwardHung(self.hung_s))
        for work in batch:
            self.end(work, ModelDied(ForwardHung.__name__))

    def _came_back(self, overdue: Overdue) -> bool:
        """Whether a forward comes back that was given up; else it is no longer waited for."""
        overdue.cancel()
        self.hung -= overdue.is_told
        return overdue.is_told

    def _die(self, error: BaseException) -> None:
        refusal = functools.partial(ModelDied, type(error).__name__)
        self.is_dead = True
        self._refuse(refusal)
        doubted, self._doubted = self._doubted, []
        for work, _ in doubted:
            self.end(work, refusal())
        if self.died is not None:
            self.died(error)

    def _settle(self, batch: list[Work], values: Floats) -> None:
        for work, value in zip(batch, values, strict=True):
            error = _no_number(value)
            if error is not None:
                self._doubt(work, error)
                continue
            work.value = value
            self.end(work)


def _misshapen(values: object, rows: int) -> ValueError | None:
    """What is wrong with a backend's result, which is foreign code's word until it is looked at."""
    if isinstance(values, np.ndarray) and values.shape[:1] == (rows,):
        return None
    return ValueError(f"the backend returned {getattr(values, 'shape', type(values).__name__)} for {rows} rows")


def _no_number(values: Floats) -> ValueError | None:
    return None if np.isfinite(values).all() else ValueError("the model's result is not a finite number")


def _is_out_of_memory(error: BaseException) -> bool:
    """Runtimes raise their own kinds, all called so, and none of them is known here."""
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
