"""Before a call's message is read: there is room for it, or the call is refused for now.

A message lies in memory several times while its call is answered: as bytes, as a message, as texts. Bytes that are held
are counted; above ``most_bytes`` calls are refused unread, with the time at which to ask again. How large a message is
tells only its end, so no more than :data:`READERS` are read at a time, each within ``read_s`` seconds; others wait.

## Decisions
2026-11: a unary call is answered by a handler of a stream, which is the same on the wire: gRPC reads the message of a
unary handler before it runs it, and ends nothing when that takes for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from rescorer_sidecar.errors import DeadlineExceeded, Overloaded, SidecarError
from rescorer_sidecar.grpc_guard import Count, Refuse
from rescorer_sidecar.grpc_reading import OURS
from rescorer_sidecar.marks import MARK, REQUEST_ID_KEY

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
    """Stands outermost. ``refuse`` ends a call with an error, ``count`` is told of it, ``held_bytes`` is the sum."""

    def __init__(self, most_bytes: int, refuse: Refuse, count: Count, read_s: float = READ_S) -> None:
        self._most_bytes = most_bytes
        self._refuse = refuse
        self._count = count
        self._read_s = read_s
        self._readers = asyncio.Semaphore(READERS)
        self.held_bytes = 0

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of this call, which gets its message once there is room for it."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None or not details.method.startswith(OURS):
            return handler

        async def handle(_requests: Any, context: Any) -> Any:
            held_bytes = CALL_BYTES + UNREAD_BYTES
            if self.held_bytes and self.held_bytes + held_bytes > self._most_bytes:
                await self._end(context, "full", self._full())
            self.held_bytes += held_bytes
            try:
                raw = await self._read(context)
                size_bytes = COPIES * len(raw) - UNREAD_BYTES
                held_bytes += size_bytes
                self.held_bytes += size_bytes
                if self.held_bytes > max(self._most_bytes, held_bytes):
                    await self._end(context, "full", self._full())
                return await handler.unary_unary(raw, context)
            finally:
                self.held_bytes -= held_bytes
                raw = b""  # gRPC keeps the frame of a call that is refused

        return grpc.stream_unary_rpc_method_handler(handle, handler.request_deserializer, handler.response_serializer)

    async def _read(self, context: Any) -> bytes:
        async with self._readers:
            try:
                async with asyncio.timeout(self._read_s):
                    raw = await context.read()
            except TimeoutError:
                late = DeadlineExceeded(f"the message had not come whole within {self._read_s:g} s; send it faster")
                await self._end(context, "slow", late)
        return b"" if raw is grpc.aio.EOF else raw

    async def _end(self, context: Any, reason: str, error: SidecarError) -> None:
        self._count("grpc", reason)
        context.set_trailing_metadata(((REQUEST_ID_KEY, MARK.get().request_id),))
        await self._refuse(context, error)

    def _full(self) -> Overloaded:
        return Overloaded(
            f"requests that are being answered hold {self.held_bytes / 1e6:.0f} MB and may hold "
            f"{self._most_bytes / 1e6:.0f}; try again in {RETRY_AFTER_S:.1f} s",
            RETRY_AFTER_S,
        )
