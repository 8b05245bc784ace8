"""Scores from a sidecar over gRPC: retries by code inside the deadline, every failure a ScorerError.

Retried: UNAVAILABLE, three attempts within a tenth of a second, because a sidecar that is gone should cost a
search little; RESOURCE_EXHAUSTED, when and as late as the sidecar asks for, as long as the deadline allows it. Never
retried: everything else, and nothing that would begin after the deadline. What is asked, and in how many calls, says
:mod:`rescorer.scorers.calls`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import grpc
import grpc.aio
import tenacity

from rescorer.domain import EmbedRequest, ScoreRequest, Scores
from rescorer.errors import ScorerError, ScorerTimeout
from rescorer.scorers import calls, channels, wire
from rescorer.scorers.calls import Ask, Calls
from rescorer.scorers.channels import Target
from rescorer_proto.v1 import rescorer_pb2

Clock = Callable[[], float]
T = TypeVar("T")


class _Deadline:
    """When a call must be over, on the given clock."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._end_s = clock() + timeout_s

    def left_s(self) -> float:
        return self._end_s - self._clock()

    def left_or_raise(self, after_s: float = 0.0) -> float:
        """The seconds that are left in ``after_s`` seconds; ScorerTimeout where none will be."""
        left_s = self.left_s() - after_s
        if left_s <= 0:
            raise ScorerTimeout("the time for scoring is over")
        return left_s

    def retrying(self) -> dict[str, Any]:
        """tenacity's arguments: which errors, how long to wait, and never past the end."""
        return {
            "retry": tenacity.retry_if_exception_type(calls.PASSING),
            "wait": _wait_s,
            "stop": lambda state: state.attempt_number >= calls.ATTEMPTS or state.upcoming_sleep >= self.left_s(),
            "reraise": True,
        }


def _wait_s(state: tenacity.RetryCallState) -> float:
    return calls.wait_s(state.outcome.exception() if state.outcome else None, state.attempt_number)


def _method(channel: Any, name: str, request: Any, response: Any) -> Callable[..., Any]:
    made: Callable[..., Any] = channel.unary_unary(
        f"/rescorer.v1.Rescorer/{name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    return made


def _methods(channel: Any) -> Mapping[str, Callable[..., Any]]:
    return {
        "Score": _method(channel, "Score", rescorer_pb2.ScoreRequest, rescorer_pb2.ScoreResponse),
        "ScoreMany": _method(channel, "ScoreMany", rescorer_pb2.ScoreManyRequest, rescorer_pb2.ScoreManyResponse),
        "Embed": _method(channel, "Embed", rescorer_pb2.EmbedRequest, rescorer_pb2.EmbedResponse),
    }


class GrpcScorer:
    """A :class:`rescorer.scorers.Scorer` that asks a sidecar; safe in threads and after a fork.

    clock and sleep are for tests: seconds that only grow, and how to wait for some of them.
    """

    def __init__(
        self, target: Target, *, clock: Clock = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._target = target
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()  # taken before that of Channels, never after: threads hold one channel together
        self._held: dict[Any, Mapping[str, Callable[..., Any]]] = {}

    def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate; a partial answer where the deadline came first. Raises ScorerError."""
        return self._made(calls.score(request), timeout_s)

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """Score each request, in one call where they fit a message. Raises ScorerError where nothing was answered."""
        return self._made(calls.score_many(requests, self._target.address), timeout_s)

    def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text. Raises ScorerError."""
        return self._made(calls.embed(request), timeout_s)

    def close(self) -> None:
        """Let go of the channel, which closes with its last holder."""
        for key in list(self._held):
            self._held.pop(key, None)
            channel = channels.SYNC.let_go(key)
            if channel is not None and key == channels.sync_key(self._target):  # a parent process closes its own
                channel.close()

    def _made(self, asks: Calls[T], timeout_s: float) -> T:
        """Make the calls one after the other, all before one deadline."""
        deadline = _Deadline(self._clock, timeout_s)
        step: Callable[[], Ask] = partial(next, asks)
        while True:
            try:
                ask = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any
            try:
                step = partial(asks.send, self._call(ask, deadline))
            except ScorerError as error:
                step = partial(asks.throw, error)

    def _call(self, ask: Ask, deadline: _Deadline) -> Any:
        deadline.left_or_raise(ask.after_s)
        if ask.after_s:
            self._sleep(ask.after_s)
        retrying = tenacity.Retrying(sleep=self._sleep, **deadline.retrying())
        return retrying(self._once, ask, deadline)

    def _once(self, ask: Ask, deadline: _Deadline) -> Any:
        left_s = deadline.left_or_raise()
        try:
            return self._methods()[ask.method](ask.message, timeout=left_s, metadata=self._target.metadata)
        except grpc.RpcError as error:
            raise wire.mapped(error, self._target.address) from error
        except ValueError as error:  # gRPC's way to say that the channel was closed meanwhile
            raise ScorerError(f"the call to {self._target.address} was not possible: {error}") from error

    def _methods(self) -> Mapping[str, Callable[..., Any]]:
        key = channels.sync_key(self._target)
        with self._lock:
            methods = self._held.get(key)
            if methods is None:
                methods = self._held[key] = _methods(channels.SYNC.hold(key, self._target))
            return methods


class AsyncGrpcScorer:
    """A :class:`rescorer.scorers.AsyncScorer` that asks a sidecar; one channel for each event loop that uses it."""

    def __init__(
        self, target: Target, *, clock: Clock = time.monotonic, sleep: Callable[[float], Any] = asyncio.sleep
    ) -> None:
        self._target = target
        self._clock = clock
        self._sleep = sleep
        self._held: dict[Any, Mapping[str, Callable[..., Any]]] = {}

    async def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate; a partial answer where the deadline came first. Raises ScorerError."""
        return await self._made(calls.score(request), timeout_s)

    async def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """Score each request, in one call where they fit a message. Raises ScorerError where nothing was answered."""
        return await self._made(calls.score_many(requests, self._target.address), timeout_s)

    async def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text. Raises ScorerError."""
        return await self._made(calls.embed(request), timeout_s)

    async def close(self) -> None:
        """Let go of the channels, each of which closes with its last holder."""
        for key in list(self._held):
            self._held.pop(key, None)
            channel = channels.ASYNC.let_go(key)
            if channel is not None and key == channels.async_key(self._target):  # another loop's ended with it
                await channel.close()

    async def _made(self, asks: Calls[T], timeout_s: float) -> T:
        """Make the calls one after the other, all before one deadline."""
        deadline = _Deadline(self._clock, timeout_s)
        step: Callable[[], Ask] = partial(next, asks)
        while True:
            try:
                ask = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any
            try:
                step = partial(asks.send, await self._call(ask, deadline))
            except ScorerError as error:
                step = partial(asks.throw, error)

    async def _call(self, ask: Ask, deadline: _Deadline) -> Any:
        deadline.left_or_raise(ask.after_s)
        if ask.after_s:
            await self._sleep(ask.after_s)
        retrying = tenacity.AsyncRetrying(sleep=self._sleep, **deadline.retrying())
        return await retrying(self._once, ask, deadline)

    async def _once(self, ask: Ask, deadline: _Deadline) -> Any:
        left_s = deadline.left_or_raise()
        try:
            return await self._methods()[ask.method](ask.message, timeout=left_s, metadata=self._target.metadata)
        except grpc.RpcError as error:
            raise wire.mapped(error, self._target.address) from error
        except grpc.aio.UsageError as error:
            raise ScorerError(f"the call to {self._target.address} was not possible: {error}") from error

    def _methods(self) -> Mapping[str, Callable[..., Any]]:
        try:
            key = channels.async_key(self._target)
        except RuntimeError as error:
            mend = "under trio, hand in a scorer of your own or use the synchronous client in a thread"
            raise ScorerError(f"the sidecar is asked over asyncio, and no asyncio loop runs here; {mend}") from error
        methods = self._held.get(key)
        if methods is None:
            methods = self._held[key] = _methods(channels.ASYNC.hold(key, self._target))
        return methods
