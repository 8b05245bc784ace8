"""Before the service: what a call asks for is taken out of its caller's quota, or the call is refused for now.

Tokens are told from the bytes of the message, 4 a token, and each pair's query is counted; nothing is tokenised for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_sidecar.callers import caller_of
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.errors import Overloaded
from rescorer_sidecar.grpc_guard import Count, Refuse
from rescorer_sidecar.lengths import BYTES_PER_TOKEN
from rescorer_sidecar.quotas import NO_QUOTA, Quotas
from rescorer_sidecar.security import Security


class Quota(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # gRPC has no types
    """Stands behind the interceptor that reads messages. Listing and health cost no quota."""

    def __init__(self, security: Security, clock: Clock, refuse: Refuse, count: Count) -> None:
        self._security = security
        self._clock = clock
        self._refuse = refuse
        self._count = count
        self._quotas = Quotas()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of this call, behind its caller's quota if it has one."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def handle(request: Any, context: Any) -> Any:
            caller, asked = caller_of(context), size_of(request)
            quota = self._security.quota(caller) if any(asked) else NO_QUOTA
            wait_s = self._quotas.take(caller, quota, asked, self._clock.now_s())
            if wait_s:
                self._count("grpc", "over_quota")
                most = [f"{quota.pairs_per_s:g} pairs"] * bool(quota.pairs_per_s)
                most += [f"{quota.tokens_per_s:g} tokens"] * bool(quota.tokens_per_s)
                said = f"{caller} has used up its quota of {' and '.join(most)} a second; try again in {wait_s:.2f} s"
                await self._refuse(context, Overloaded(said, wait_s))
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(handle, handler.request_deserializer, handler.response_serializer)


def size_of(request: object) -> tuple[int, int]:
    """Pairs, or texts to embed, and about how many tokens a request holds; none where it asks for neither."""
    if isinstance(request, wire.ScoreManyRequest):
        sizes = [size_of(entry) for entry in request.requests]
        return sum(pairs for pairs, _ in sizes), sum(tokens for _, tokens in sizes)
    if isinstance(request, wire.EmbedRequest):
        return len(request.texts), request.ByteSize() // BYTES_PER_TOKEN
    if isinstance(request, wire.ScoreRequest):
        pairs = len(request.candidates)
        queries = len(request.query.encode()) * max(0, pairs - 1)
        return pairs, (request.ByteSize() + queries) // BYTES_PER_TOKEN
    return 0, 0
