"""Scores from a sidecar over gRPC: parts, retries by code inside the deadline, every failure a ScorerError.

Retried: UNAVAILABLE, three attempts within a tenth of a second, because a sidecar that is gone should cost a
search little; RESOURCE_EXHAUSTED, when and as late as the sidecar asks for, as long as the deadline allows it. Never
retried: everything else, and nothing that would begin after the deadline.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.aio
import tenacity

from rescorer.domain import EmbedRequest, ScoreRequest, Scores
from rescorer.errors import ScorerError, ScorerOverloaded, ScorerTimeout, ScorerUnavailable
from rescorer.scorers import channels, wire
from rescorer.scorers.channels import Target
from rescorer_proto.v1 import rescorer_pb2

Clock = Callable[[], float]
ATTEMPTS = 3
FIRST_WAIT_S = 0.02
_WORTH_PARTS = (ScorerOverloaded, ScorerTimeout, ScorerUnavailable)
"""Errors of a later part that leave the earlier parts' scores good."""


class _Deadline:
    """When a call must be over, on the given clock."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._end_s = clock() + timeout_s

    def left_s(self) -> float:
        return self._end_s - self._clock()

    def left_or_raise(self) -> float:
        left_s = self.left_s()
        if left_s <= 0:
            raise ScorerTimeout("the time for scoring is over")
        return left_s

    def retrying(self) -> dict[str, Any]:
        """tenacity's arguments: which errors, how long to wait, and never past the end."""
        return {
            "retry": tenacity.retry_if_exception_type((ScorerUnavailable, ScorerOverloaded)),
            "wait": _wait_s,
            "stop": lambda state: state.attempt_number >= ATTEMPTS or state.upcoming_sleep >= self.left_s(),
            "reraise": True,
        }


def _wait_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked_s = error.retry_after_s if isinstance(error, ScorerOverloaded) else None
    return float(FIRST_WAIT_S * 2 ** (state.attempt_number - 1) if asked_s is None else asked_s)


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
        deadline = _Deadline(self._clock, timeout_s)
        answers: list[Scores] = []
        for part in wire.score_parts(request):
            try:
                answers.append(wire.score_answer(self._call("Score", part.message, deadline), part.offset))
            except _WORTH_PARTS as error:
                if not answers:
                    raise
                return wire.together(answers, error)
        return wire.together(answers, None) if answers else Scores(results=[])

    def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text. Raises ScorerError."""
        deadline = _Deadline(self._clock, timeout_s)
        parts = wire.embed_parts(request)
        answers = ((self._call("Embed", part.message, deadline), part.count) for part in parts)
        return [vector for answer, count in answers for vector in wire.embed_answer(answer, count)]

    def close(self) -> None:
        """Let go of the channel, which closes with its last holder."""
        for key in list(self._held):
            self._held.pop(key, None)
            channel = channels.SYNC.let_go(key)
            if channel is not None and key == channels.sync_key(self._target):  # a parent process closes its own
                channel.close()

    def _call(self, name: str, message: Any, deadline: _Deadline) -> Any:
        retrying = tenacity.Retrying(sleep=self._sleep, **deadline.retrying())
        return retrying(self._once, name, message, deadline)

    def _once(self, name: str, message: Any, deadline: _Deadline) -> Any:
        left_s = deadline.left_or_raise()
        try:
            return self._methods()[name](message, timeout=left_s, metadata=self._target.metadata)
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
        deadline = _Deadline(self._clock, timeout_s)
        answers: list[Scores] = []
        for part in wire.score_parts(request):
            try:
                answers.append(wire.score_answer(await self._call("Score", part.message, deadline), part.offset))
            except _WORTH_PARTS as error:
                if not answers:
                    raise
                return wire.together(answers, error)
        return wire.together(answers, None) if answers else Scores(results=[])

    async def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """One unit vector per text. Raises ScorerError."""
        deadline = _Deadline(self._clock, timeout_s)
        found: list[list[float]] = []
        for part in wire.embed_parts(request):
            answer = await self._call("Embed", part.message, deadline)
            found += wire.embed_answer(answer, part.count)
        return found

    async def close(self) -> None:
        """Let go of the channels, each of which closes with its last holder."""
        for key in list(self._held):
            self._held.pop(key, None)
            channel = channels.ASYNC.let_go(key)
            if channel is not None and key == channels.async_key(self._target):  # another loop's ended with it
                await channel.close()

    async def _call(self, name: str, message: Any, deadline: _Deadline) -> Any:
        retrying = tenacity.AsyncRetrying(sleep=self._sleep, **deadline.retrying())
        return await retrying(self._once, name, message, deadline)

    async def _once(self, name: str, message: Any, deadline: _Deadline) -> Any:
        left_s = deadline.left_or_raise()
        try:
            return await self._methods()[name](message, timeout=left_s, metadata=self._target.metadata)
        except grpc.RpcError as error:
            raise wire.mapped(error, self._target.address) from error
        except grpc.aio.UsageError as error:
            raise ScorerError(f"the call to {self._target.address} was not possible: {error}") from error

    def _methods(self) -> Mapping[str, Callable[..., Any]]:
        key = channels.async_key(self._target)
        methods = self._held.get(key)
        if methods is None:
            methods = self._held[key] = _methods(channels.ASYNC.hold(key, self._target))
        return methods
