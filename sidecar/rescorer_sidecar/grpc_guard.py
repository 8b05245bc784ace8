"""Before every call of a gRPC door: who asks is proved, or the call is refused before its message is read.

## Decisions
2026-11: health checks are answered without a token. Kubernetes' probes and gRPC's own health checks by clients can't
send one, and what they hear is whether the sidecar serves.
2026-11: a refusal is a streaming handler, whatever the method: gRPC reads and parses a unary call's message, up to
``max_message_mb`` of it, before it runs the handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc

from rescorer_sidecar.callers import AUTHENTICATED
from rescorer_sidecar.errors import NotLetIn, SidecarError, WrongDoor
from rescorer_sidecar.marks import MARK, REQUEST_ID_KEY
from rescorer_sidecar.security import AUTHORIZATION, Security
from rescorer_sidecar.tokens import Door

OPEN_TO_ALL = "/grpc.health.v1.Health/"

Refuse = Callable[[Any, SidecarError], Awaitable[NoReturn]]
Count = Callable[[str, str], None]


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # gRPC has no types
    """Lets calls with a token for ``door`` through, under its owner's name; without tokens under a certificate's.

    ``refuse`` ends a call with an error; ``count`` is told of each, as door and reason.
    """

    def __init__(self, security: Security, door: Door, refuse: Refuse, count: Count) -> None:
        self._security = security
        self._door = door
        self._refuse = refuse
        self._count = count

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of this call, or one that refuses it."""
        if details.method.startswith(OPEN_TO_ALL):
            return await continuation(details)
        metadata = details.invocation_metadata or ()
        shown = [str(value) for key, value in metadata if key == AUTHORIZATION]
        try:
            AUTHENTICATED.set(self._security.proved(self._door, shown))  # of this call's own task, as is the mark
        except (NotLetIn, WrongDoor) as error:
            self._count("admin" if self._door == "admin" else "grpc", error.reason)
            return refusal(self._refuse, error)
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None or not self._security.asks_certificates:
            return handler
        return _under_certificate(handler)


def refusal(refuse: Refuse, error: SidecarError) -> Any:
    """A handler that ends its call with this error, whatever the method, and reads nothing."""

    async def ended(_requests: Any, context: Any) -> None:
        mark = MARK.get()
        if mark.request_id:
            context.set_trailing_metadata(((REQUEST_ID_KEY, mark.request_id),))
        await refuse(context, error)

    return grpc.stream_stream_rpc_method_handler(ended)


def _under_certificate(handler: Any) -> Any:
    async def handle(request: Any, context: Any) -> Any:
        if not AUTHENTICATED.get():
            AUTHENTICATED.set(name_of(context.auth_context()))
        return await handler.unary_unary(request, context)

    return grpc.unary_unary_rpc_method_handler(handle, handler.request_deserializer, handler.response_serializer)


def name_of(proof: Any) -> str:
    """The name in a caller's certificate: its first alternative name, else its common name."""
    for key in ("x509_subject_alternative_name", "x509_common_name"):
        for value in proof.get(key, ()):
            if value:
                return str(value.decode("utf-8", "replace"))
    return "a certificate without a name"
