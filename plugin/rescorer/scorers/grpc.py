"""Scores from sidecars over gRPC: retries by code inside the deadline, every failure a ScorerError.

Retried: UNAVAILABLE, at another sidecar at once and at the same one twice within a tenth of a second, because a sidecar
that is gone should cost a search little; RESOURCE_EXHAUSTED, at another sidecar or when and as late as this one asks
for, as long as the deadline allows it; nonsense, at another sidecar. Never retried: everything else, and nothing that
would begin after the deadline. What is asked, and in how many calls, says :mod:`rescorer.scorers.calls`; whom,
:mod:`rescorer.scorers.trip` and :mod:`rescorer.scorers.fleet`. Here are two drivers, which do the waiting.

## Decisions
2026-11: no wait is without a bound: a call has its deadline in gRPC, which holds for looking up a name, for connecting
and for the TLS handshake as well; a race between two calls is waited for until the same deadline; closing cancels.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import tenacity

from rescorer import hedge
from rescorer.domain import EmbedRequest, ScoreRequest, Scores
from rescorer.errors import ScorerError
from rescorer.scorers import calls, channels, race
from rescorer.scorers.calls import Ask, Calls
from rescorer.scorers.carried import with_carried
from rescorer.scorers.channels import Target
from rescorer.scorers.fleet import Fleet, ScorerState, Sent
from rescorer.scorers.race import AsyncRace, Methods, Race
from rescorer.scorers.trip import Deadline, Make, Step, Trip

Clock = Callable[[], float]
T = TypeVar("T")
CLOSED = "the client was closed while a sidecar was asked"


class GrpcScorer:
    """A :class:`rescorer.scorers.Scorer` that asks one sidecar or several; safe in threads and after a fork.

    hedging: when a late call gets a twin at another sidecar; None for never. clock, sleep and draw are for tests:
    seconds that only grow, how to wait for some of them, and a number from 0 to 1 by lot.
    """

    def __init__(
        self,
        targets: Target | Sequence[Target],
        *,
        hedging: hedge.Rule | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        listed = (targets,) if isinstance(targets, Target) else tuple(targets)
        self._fleet = Fleet(listed, hedging=hedging, clock=clock, draw=draw)
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._lock = threading.Lock()  # taken before that of Channels, never after: threads hold one channel together
        self._held: dict[Any, Methods] = {}
        self._closings = 0

    def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate; a partial answer where the deadline came first. Raises ScorerError."""
        return self._made(calls.score(request), timeout_s)

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """Score each request, in one call where they fit a message. Raises ScorerError where nothing was answered."""
        return self._made(calls.score_many(requests), timeout_s)

    def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text. Raises ScorerError."""
        return self._made(calls.embed(request), timeout_s)

    def state(self) -> ScorerState:
        """What is known about the sidecars now; asks nobody."""
        return self._fleet.state()

    def close(self) -> None:
        """Let go of the channels, each of which closes with its last holder."""
        self._closings += 1
        self._let_go(list(self._held))

    def _let_go(self, keys: Sequence[Any]) -> None:
        for key in keys:
            self._held.pop(key, None)
            channel = channels.SYNC.let_go(key)
            if channel is not None and channels.is_of_this_process(key):  # a parent process closes its own
                channel.close()

    def _made(self, asks: Calls[T], timeout_s: float) -> T:
        """Make the calls one after the other, all before one deadline."""
        deadline, prefer = Deadline(self._clock, timeout_s), None
        step: Callable[[], Ask] = partial(next, asks)
        while True:
            try:
                ask = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any
            trip = Trip(self._fleet, ask, deadline, self._draw, prefer)
            try:
                step = partial(asks.send, self._travelled(trip))
            except ScorerError as error:
                step = partial(asks.throw, error)
            prefer = trip.answered_by or prefer

    def _travelled(self, trip: Trip) -> Any:
        wait_s = trip.first_wait_s()
        if wait_s:
            self._sleep(wait_s)
        return tenacity.Retrying(sleep=self._sleep, **trip.retrying())(self._attempt, trip)

    def _attempt(self, trip: Trip) -> Any:
        steps, running, closings = trip.attempt(), Race(self._begun, trip), self._closings
        try:
            step: Step = next(steps)
            while True:
                step = steps.send(self._call(step.sent, trip.ask) if isinstance(step, Make) else running.done(step))
        except StopIteration as end:
            return end.value
        except calls.PASSING as error:
            if closings == self._closings:
                raise
            raise ScorerError(CLOSED) from error
        finally:
            steps.close()
            running.cancel()

    def _call(self, sent: Sent, ask: Ask) -> Any:
        target = sent.target
        try:
            method = self._methods(target)[ask.method]
            answer = method(ask.message, timeout=sent.given_s, metadata=with_carried(target))
            return ask.read(answer, target.address)
        except race.NOT_MADE as error:
            return race.ended(error, target.address)

    def _begun(self, sent: Sent, ask: Ask) -> Any:
        method: Any = self._methods(sent.target)[ask.method]
        return method.future(ask.message, timeout=sent.given_s, metadata=with_carried(sent.target))

    def _methods(self, target: Target) -> Methods:
        target = target.now()
        key = channels.sync_key(target)
        with self._lock:
            methods = self._held.get(key)
            if methods is None:
                methods = self._held[key] = race.methods(channels.SYNC.hold(key, target))
                self._let_go(channels.outlived(self._held, key))
            return methods


class AsyncGrpcScorer:
    """A :class:`rescorer.scorers.AsyncScorer` that asks one sidecar or several, on a channel for each event loop.

    hedging, clock, sleep and draw as for :class:`GrpcScorer`.
    """

    def __init__(
        self,
        targets: Target | Sequence[Target],
        *,
        hedging: hedge.Rule | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Any] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        listed = (targets,) if isinstance(targets, Target) else tuple(targets)
        self._fleet = Fleet(listed, hedging=hedging, clock=clock, draw=draw)
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._held: dict[Any, Methods] = {}
        self._ending: set[asyncio.Future[None]] = set()
        self._closings = 0

    async def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate; a partial answer where the deadline came first. Raises ScorerError."""
        return await self._made(calls.score(request), timeout_s)

    async def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """Score each request, in one call where they fit a message. Raises ScorerError where nothing was answered."""
        return await self._made(calls.score_many(requests), timeout_s)

    async def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text. Raises ScorerError."""
        return await self._made(calls.embed(request), timeout_s)

    def state(self) -> ScorerState:
        """What is known about the sidecars now; asks nobody."""
        return self._fleet.state()

    async def close(self) -> None:
        """Let go of the channels, each of which closes with its last holder."""
        self._closings += 1
        for closing in self._let_go(list(self._held)):
            await closing

    def _let_go(self, keys: Sequence[Any]) -> Iterator[Awaitable[None]]:
        for key in keys:
            self._held.pop(key, None)
            channel = channels.ASYNC.let_go(key)
            if channel is not None and channels.is_of_this_loop(key):  # another loop's ended with it
                yield channel.close()

    async def _made(self, asks: Calls[T], timeout_s: float) -> T:
        """Make the calls one after the other, all before one deadline."""
        deadline, prefer = Deadline(self._clock, timeout_s), None
        step: Callable[[], Ask] = partial(next, asks)
        while True:
            try:
                ask = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any
            trip = Trip(self._fleet, ask, deadline, self._draw, prefer)
            try:
                step = partial(asks.send, await self._travelled(trip))
            except ScorerError as error:
                step = partial(asks.throw, error)
            prefer = trip.answered_by or prefer

    async def _travelled(self, trip: Trip) -> Any:
        wait_s = trip.first_wait_s()
        if wait_s:
            await self._sleep(wait_s)
        return await tenacity.AsyncRetrying(sleep=self._sleep, **trip.retrying())(self._attempt, trip)

    async def _attempt(self, trip: Trip) -> Any:
        steps, running, closings = trip.attempt(), AsyncRace(self._begun, trip), self._closings
        try:
            step: Step = next(steps)
            while True:
                done = self._call(step.sent, trip.ask) if isinstance(step, Make) else running.done(step)
                step = steps.send(await done)
        except StopIteration as end:
            return end.value
        except calls.PASSING as error:
            if closings == self._closings:
                raise
            raise ScorerError(CLOSED) from error
        finally:
            steps.close()
            running.cancel()

    async def _call(self, sent: Sent, ask: Ask) -> Any:
        address = sent.target.address
        try:
            return ask.read(await race.uncancelled(self._begun(sent, ask), address), address)
        except race.NOT_MADE as error:
            return race.ended(error, address)

    def _begun(self, sent: Sent, ask: Ask) -> Any:
        method: Any = self._methods(sent.target)[ask.method]
        return method(ask.message, timeout=sent.given_s, metadata=with_carried(sent.target))

    def _methods(self, target: Target) -> Methods:
        target = target.now()
        try:
            key = channels.async_key(target)
        except RuntimeError as error:
            mend = "under trio, hand in a scorer of your own or use the synchronous client in a thread"
            raise ScorerError(f"the sidecar is asked over asyncio, and no asyncio loop runs here; {mend}") from error
        methods = self._held.get(key)
        if methods is None:
            methods = self._held[key] = race.methods(channels.ASYNC.hold(key, target))
            for closing in self._let_go(channels.outlived(self._held, key)):
                self._ending.add(task := asyncio.ensure_future(closing))  # the loop itself holds tasks weakly
                task.add_done_callback(self._ending.discard)
        return methods
