"""Between a call's bytes and its handler: what is no message of the method ends the call as INVALID_ARGUMENT.

gRPC itself would say UNKNOWN in words of Python, which a client takes for a failure of the sidecar and asks again, and
would log each one with its frames.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

OURS = "/rescorer."
"""How the methods of our own services begin."""


class Reading(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # gRPC has no types
    """Reads the one message of a call of ours; those of health and reflection pass as they are."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of this call, which takes bytes."""
        handler = await continuation(details)
        if handler is None or not details.method.startswith(OURS):
            return handler
        asked, method = handler.unary_stream or handler.unary_unary, details.method.rpartition("/")[2]

        async def handle(raw: bytes, context: Any) -> Any:
            try:
                request = handler.request_deserializer(raw)
            except DecodeError:
                mend = "its .proto file says how to write one, with text in UTF-8"
                said = f"the {len(raw):,} bytes of this call are no request of {method}; {mend}"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, said)
            return await asked(request, context)

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(handle, None, handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(handle, None, handler.response_serializer)
