"""Calls over gRPC that run side by side, and how each may end; for a thread and for an event loop.

A race does the steps of one :meth:`rescorer.scorers.trip.Trip.attempt`. What it began and nobody waits for any more is
cancelled, save a call that was left to find out about its sidecar.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio

from rescorer.errors import ScorerError
from rescorer.scorers import codes
from rescorer.scorers.calls import Ask
from rescorer.scorers.fleet import Sent
from rescorer.scorers.trip import Leave, Start, Step, Trip, Wait
from rescorer_proto.v1 import rescorer_pb2

Methods: TypeAlias = Mapping[str, Callable[..., Any]]
Begun: TypeAlias = Callable[[Sent, Ask], Any]
NOT_MADE = (grpc.RpcError, grpc.FutureCancelledError, grpc.aio.UsageError, ValueError, ScorerError)
"""What making a call and reading its answer may raise; a ValueError is gRPC's word for a channel that was closed."""


def methods(channel: Any) -> Methods:
    """What can be asked over a channel, by name. Answers are bytes, so that nonsense is told from a broken call."""
    return {
        "Score": _method(channel, "Score", rescorer_pb2.ScoreRequest),
        "ScoreMany": _method(channel, "ScoreMany", rescorer_pb2.ScoreManyRequest),
        "Embed": _method(channel, "Embed", rescorer_pb2.EmbedRequest),
    }


def _method(channel: Any, name: str, request: Any) -> Callable[..., Any]:
    made: Callable[..., Any] = channel.unary_unary(
        f"/rescorer.v1.Rescorer/{name}", request_serializer=request.SerializeToString
    )
    return made


def ended(error: Exception, address: str) -> ScorerError:
    """The error of this package for a call that ended with no answer; grpc's ways to say so are many."""
    if isinstance(error, ScorerError):
        return error
    if isinstance(error, grpc.RpcError):
        found = codes.mapped(error, address)
    else:
        found = ScorerError(f"the call to {address} was not possible: {error}")
    found.__cause__ = error
    return found


async def uncancelled(call: Awaitable[Any], address: str) -> Any:
    """The answer of a call; ScorerError where its channel was closed, and CancelledError only for who is cancelled."""
    try:
        return await call
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ScorerError(f"the call to {address} was broken off: the client was closed") from error


class Race:
    """For one thread, which waits for whichever call ends first."""

    def __init__(self, begun: Begun, trip: Trip) -> None:
        self._begun = begun
        self._trip = trip
        self._running: dict[Sent, Any] = {}
        self._ended: queue.SimpleQueue[tuple[Sent, Any]] = queue.SimpleQueue()

    def done(self, step: Step) -> tuple[Sent, Any] | None:
        """Do one step; of Wait the call that ended and its end, None where none did in time."""
        if isinstance(step, Start):
            self._start(step.sent)
        elif isinstance(step, Leave):
            self._leave(step.sent)
        elif isinstance(step, Wait):
            try:
                sent, how = self._ended.get(timeout=step.within_s)
            except queue.Empty:
                return None
            self._running.pop(sent, None)
            return sent, how if isinstance(how, ScorerError) else self._end(sent, how)
        return None

    def cancel(self) -> None:
        """Cancel what still runs, without waiting for it."""
        for future in self._running.values():
            future.cancel()

    def _start(self, sent: Sent) -> None:
        try:
            future = self._running[sent] = self._begun(sent, self._trip.ask)
        except NOT_MADE as error:
            self._ended.put((sent, ended(error, sent.target.address)))
        else:
            future.add_done_callback(lambda ended: self._ended.put((sent, ended)))

    def _leave(self, sent: Sent) -> None:
        future = self._running.pop(sent)
        future.add_done_callback(lambda ended: self._trip.settle(sent, self._end(sent, ended)))

    def _end(self, sent: Sent, future: Any) -> Any:
        address = sent.target.address
        try:
            return self._trip.ask.read(future.result(), address)
        except NOT_MADE as error:
            return ended(error, address)


class AsyncRace:
    """The same for an event loop."""

    def __init__(self, begun: Begun, trip: Trip) -> None:
        self._begun = begun
        self._trip = trip
        self._running: dict[Sent, asyncio.Task[Any]] = {}
        self._ended: asyncio.Queue[Sent] = asyncio.Queue()

    async def done(self, step: Step) -> tuple[Sent, Any] | None:
        """Do one step; of Wait the call that ended and its end, None where none did in time."""
        if isinstance(step, Start):
            task = self._running[step.sent] = asyncio.create_task(self._end(step.sent))
            task.add_done_callback(lambda _: self._ended.put_nowait(step.sent))
        elif isinstance(step, Leave):
            task = self._running.pop(step.sent)
            _LEFT.add(task)
            task.add_done_callback(lambda task: self._left(step.sent, task))
        elif isinstance(step, Wait):
            try:
                sent = await asyncio.wait_for(self._ended.get(), step.within_s)
            except TimeoutError:
                return None
            return sent, self._running.pop(sent).result()
        return None

    def cancel(self) -> None:
        """Cancel what still runs, without waiting for it."""
        for task in self._running.values():
            task.cancel()

    def _left(self, sent: Sent, task: asyncio.Task[Any]) -> None:
        _LEFT.discard(task)
        broken_off = ScorerError(f"nobody waits for {sent.target.address} any more")
        self._trip.settle(sent, broken_off if task.cancelled() else task.result())

    async def _end(self, sent: Sent) -> Any:
        address = sent.target.address
        try:
            answer = await uncancelled(self._begun(sent, self._trip.ask), address)
            return self._trip.ask.read(answer, address)
        except NOT_MADE as error:
            return ended(error, address)


_LEFT: set[asyncio.Task[Any]] = set()
"""Calls that were left, which an event loop alone would not keep from being collected."""
