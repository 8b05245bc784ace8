"""Around every call of the gRPC door: its mark, its span, the time of its reply, and what becomes of the unforeseen.

## Decisions
2026-11: an interceptor, outermost, so that a call that a later one refuses has its request id as well.
2026-11: an error that nobody foresaw is answered here with its type alone; gRPC would log and answer it in its own
words, which may repeat somebody's text.
2026-11: gRPC's state of a call that was refused, its error and the error's frames hold each other until Python looks
for cycles, which it does by number and not by size. Frames are emptied, or refused messages pile up in memory.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from rescorer_sidecar.clock import Clock
from rescorer_sidecar.marks import MARK, REQUEST_ID_KEY, mark_of
from rescorer_sidecar.metrics import Metrics
from rescorer_sidecar.tracing import Tracing

logger = logging.getLogger(__name__)

Handle = Callable[[Any, Any], Awaitable[Any]]


class Trail(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # gRPC has no types
    """Marks, traces and times unary calls; others pass as they are."""

    def __init__(self, metrics: Metrics, clock: Clock, tracing: Tracing | None) -> None:
        self._metrics = metrics
        self._clock = clock
        self._tracing = tracing

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of this call, with the trail around it."""
        metadata = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
        mark = mark_of(metadata)
        MARK.set(mark)  # of this call's own task, which later interceptors and the handler run in
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = details.method.rpartition("/")[2]

        async def handle(request: Any, context: Any) -> Any:
            context.set_trailing_metadata(((REQUEST_ID_KEY, mark.request_id),))
            try:
                with self._span(method, metadata, mark.request_id):
                    answer = await self._foreseen(handler.unary_unary, request, context)
            except grpc.aio.AbortError as error:
                _let_go(error)
                raise
            finally:
                del request
            answered_s = self._clock.now_s()
            context.add_done_callback(lambda _: self._metrics.replied(self._clock.now_s() - answered_s))
            return answer

        return grpc.unary_unary_rpc_method_handler(handle, handler.request_deserializer, handler.response_serializer)

    def _span(self, *about: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._tracing is None else self._tracing.call(*about)

    async def _foreseen(self, handle: Handle, request: Any, context: Any) -> Any:
        try:
            return await handle(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # whatever it is, its words are not ours to repeat
            if context.done():  # the caller has gone, and what failed is the refusal that he does not hear
                raise grpc.aio.AbortError from error
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("a call failed with %s:\n%s", type(error).__name__, where)
            said = f"the sidecar failed on this call: {type(error).__name__}; see its log"
            await context.abort(grpc.StatusCode.INTERNAL, said)


def _let_go(error: BaseException) -> None:
    """Empty the frames that this error, and what it came of, has passed."""
    came_of: BaseException | None = error
    while came_of is not None:
        traceback.clear_frames(came_of.__traceback__)
        came_of = came_of.__context__
