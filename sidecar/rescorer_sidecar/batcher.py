"""One model's queue and its workers: the event loop owns the state, threads only compute.

A job is one request's pairs. Nothing polls and nothing sleeps: a batch starts when pairs come in while a worker is
free, or when a worker becomes free while pairs wait. So a lone request on an idle sidecar starts at once, and under
load requests share batches by themselves.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rescorer_sidecar.backends import Backend
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import STOPPING, NotReady
from rescorer_sidecar.policy import Limits, Queue, Waiting

logger = logging.getLogger(__name__)


class Job:
    """One request's pairs on their way through a model.

    ``values[i]`` is row i's result or ``None``; ``failures[i]`` is the error of a row that the model can't take.
    ``settled`` is done once every row has a value, failed, or was dropped as late. ``queued`` counts the rows that have
    not been started or dropped yet.
    """

    def __init__(self, tokens: Sequence[Tokens], deadline_s: float | None, submitted_s: float) -> None:
        self.tokens = tokens
        self.deadline_s = math.inf if deadline_s is None else deadline_s
        self.submitted_s = submitted_s
        self.started_s: float | None = None
        self.finished_s = submitted_s
        self.values: list[Floats | None] = [None] * len(tokens)
        self.failures: dict[int, BaseException] = {}
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_abandoned = False
        self.queued = len(tokens)
        self._open = len(tokens)
        if not tokens:
            self.settled.set_result(None)

    @property
    def queue_ms(self) -> float:
        """Milliseconds until the first row was started."""
        return 1000 * ((self.finished_s if self.started_s is None else self.started_s) - self.submitted_s)

    @property
    def forward_ms(self) -> float:
        """Milliseconds from the first row's start to the last row's end, other requests' rows between them included."""
        return 0.0 if self.started_s is None else 1000 * (self.finished_s - self.started_s)

    def close_rows(self, count: int) -> None:
        """Count rows as ended, however they ended."""
        self._open -= count
        if self._open <= 0 and not self.settled.done():
            self.settled.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row(Waiting):
    owner: Job


class Batcher:
    """Runs a backend over everything that waits for it, at most ``workers`` forwards at a time."""

    def __init__(self, backend: Backend, budget_tokens: int, workers: int, clock: Clock) -> None:
        self._backend = backend
        self._limits = Limits(budget_tokens=budget_tokens, rows=backend.facts.rows_per_forward or budget_tokens)
        self._workers = workers
        self._clock = clock
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="forward")
        self._queue: Queue[_Row] = Queue()
        self._halves: deque[list[_Row]] = deque()
        self._running = 0
        self._abandoned = 0
        self._is_closed = False
        self._arrivals = itertools.count()

    @property
    def waiting(self) -> int:
        """Pairs that somebody waits for and that were not started yet."""
        return len(self._queue) - self._abandoned

    def submit(self, tokens: Sequence[Tokens], deadline_s: float | None) -> Job:
        """Let a request's rows wait for the model; returns at once. After :meth:`close` they fail with NotReady."""
        job = Job(tokens, deadline_s, self._clock.now_s())
        arrival = next(self._arrivals)
        self._queue.add(
            [
                _Row(owner=job, index=index, tokens=len(row), arrival=arrival, deadline_s=job.deadline_s)
                for index, row in enumerate(tokens)
            ]
        )
        self._start()
        return job

    def abandon(self, job: Job) -> None:
        """Nobody waits for this job any more: its rows that have not started never will.

        They leave the queue once they are more than half of it, so that each costs a constant on average.
        """
        if job.is_abandoned:
            return
        job.is_abandoned = True
        self._abandoned += job.queued
        if 2 * self._abandoned > len(self._queue):
            self._drop(self._queue.purge())

    def close(self) -> None:
        """Let go of the threads; what runs is waited for, what waits fails with NotReady."""
        self._is_closed = True
        self._start()
        self._executor.shutdown(wait=True)

    def _start(self) -> None:
        if self._is_closed:
            self._refuse_waiting()
            return
        while self._running < self._workers:
            batch = self._next()
            if not batch:
                return
            self._running += 1
            now_s = self._clock.now_s()
            for row in batch:
                if row.owner.started_s is None:
                    row.owner.started_s = now_s
            tokens = [row.owner.tokens[row.index] for row in batch]
            future = asyncio.get_running_loop().run_in_executor(self._executor, self._backend.forward, tokens)
            future.add_done_callback(functools.partial(self._finish, batch))

    def _next(self) -> list[_Row]:
        now_s = self._clock.now_s()
        while self._halves:
            half = self._halves.popleft()
            wanted = [row for row in half if row.is_wanted(now_s)]
            for row in half:
                if not row.is_wanted(now_s):
                    row.owner.close_rows(1)
            if wanted:
                return wanted
        batch, dropped = self._queue.take(self._limits, now_s)
        self._drop(dropped)
        for row in batch:
            row.owner.queued -= 1
        return batch

    def _drop(self, rows: list[_Row]) -> None:
        for row in rows:
            row.owner.queued -= 1
            self._abandoned -= row.owner.is_abandoned
            row.owner.close_rows(1)

    def _refuse_waiting(self) -> None:
        for row in self._queue.clear() + list(itertools.chain.from_iterable(self._halves)):
            row.owner.failures[row.index] = NotReady(STOPPING)
            row.owner.queued = 0
            row.owner.close_rows(1)
        self._halves.clear()
        self._abandoned = 0

    def _finish(self, batch: list[_Row], done: asyncio.Future[Floats]) -> None:
        self._running -= 1
        try:
            error = done.exception() or _misshapen(done.result(), len(batch))
            if error is None:
                self._settle(batch, done.result())
            else:
                self._fail(batch, error)
        finally:
            self._start()

    def _fail(self, batch: list[_Row], error: BaseException) -> None:
        if len(batch) > 1:
            logger.warning("a batch of %d rows failed and is run again in halves: %r", len(batch), error)
            middle = len(batch) // 2
            self._halves.extend((batch[:middle], batch[middle:]))
            return
        self._fail_row(batch[0], error)

    def _fail_row(self, row: _Row, error: BaseException) -> None:
        logger.error("a row of %d tokens failed: %r", row.tokens, error)
        row.owner.failures[row.index] = error
        row.owner.finished_s = self._clock.now_s()
        row.owner.close_rows(1)

    def _settle(self, batch: list[_Row], values: Floats) -> None:
        now_s = self._clock.now_s()
        for row, value in zip(batch, values, strict=True):
            if not np.isfinite(value).all():
                self._fail_row(row, ValueError("the model's result is not a finite number"))
                continue
            row.owner.values[row.index] = value
            row.owner.finished_s = now_s
            row.owner.close_rows(1)


def _misshapen(values: object, rows: int) -> ValueError | None:
    """What is wrong with a backend's result, which is foreign code's word until it is looked at."""
    if isinstance(values, np.ndarray) and values.shape[:1] == (rows,):
        return None
    return ValueError(f"the backend returned {getattr(values, 'shape', type(values).__name__)} for {rows} rows")
