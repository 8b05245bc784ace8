"""Before a call's message is read: there is room for it, or the call is refused for now.

A message lies in memory several times while its call is answered: as bytes, as a message, as texts. Bytes that are held
are counted; above ``most_bytes`` calls are refused unread, with the time at which to ask again. How large a message is
tells only its end, so no more than :data:`READERS` are read at a time, each within ``read_s`` seconds; others wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from rescorer_sidecar.errors import Overloaded
from rescorer_sidecar.grpc_guard import Count, Refuse, refusal
from rescorer_sidecar.grpc_reading import OURS

READERS = 16
READ_S = 5.0

COPIES = 4
"""How often a message lies in memory while its call is answered, measured."""

CALL_BYTES = 32_768
"""What a call takes besides its message, measured."""

UNREAD_BYTES = 262_144
"""How much of a message may come before it is read; gRPC is told so, which else lets it grow to megabytes."""

RETRY_AFTER_S = 0.5


class Room(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # gRPC has no types
    """Counts what calls hold; ``refuse`` ends a call with an error, and ``count`` is told of it."""

    def __init__(self, most_bytes: int, refuse: Refuse, count: Count, read_s: float = READ_S) -> None:
        self._most_bytes = most_bytes
        self._refuse = refuse
        self._count = count
        self._read_s = read_s
        self._readers = asyncio.Semaphore(READERS)
        self.held_bytes = 0

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of this call, which takes bytes, once there is room to read them; or one that refuses it."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None or not details.method.startswith(OURS):
            return handler
        if self.held_bytes and self.held_bytes + CALL_BYTES + UNREAD_BYTES > self._most_bytes:
            return refusal(self._refuse, self._full())
        call = _Call(self)
        await call.reads(self._readers, self._read_s)

        async def handle(raw: bytes, context: Any) -> Any:
            call.has_read(len(raw))
            if self.held_bytes > max(self._most_bytes, call.held_bytes):
                await self._refuse(context, self._full())
            return await handler.unary_unary(raw, context)

        return grpc.unary_unary_rpc_method_handler(handle, handler.request_deserializer, handler.response_serializer)

    def _full(self) -> Overloaded:
        self._count("grpc", "full")
        return Overloaded(
            f"requests that are being answered hold {self.held_bytes / 1e6:.0f} MB and may hold "
            f"{self._most_bytes / 1e6:.0f}; try again in {RETRY_AFTER_S:.1f} s",
            RETRY_AFTER_S,
        )


class _Call:
    """What one call holds, until its task, gRPC's own for it, has ended."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.held_bytes = 0
        self._readers: asyncio.Semaphore | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._take(CALL_BYTES + UNREAD_BYTES)
        self._task = asyncio.current_task()
        if self._task is not None:
            self._task.add_done_callback(self._over)

    async def reads(self, readers: asyncio.Semaphore, within_s: float) -> None:
        """Wait until it may be read, and be cancelled if it is not within this time."""
        await readers.acquire()
        self._readers = readers
        if self._task is not None:
            self._timer = asyncio.get_running_loop().call_later(within_s, self._task.cancel)

    def has_read(self, size_bytes: int) -> None:
        """Its message is there."""
        self._stop_reading()
        self._take(COPIES * size_bytes - UNREAD_BYTES)

    def _take(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes
        self._room.held_bytes += size_bytes

    def _stop_reading(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._readers is not None:
            self._readers.release()
        self._timer = self._readers = None

    def _over(self, _: object) -> None:
        self._stop_reading()
        self._room.held_bytes -= self.held_bytes
