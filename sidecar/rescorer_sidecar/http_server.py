"""The HTTP door: ``/metrics`` for Prometheus, ``/healthz`` (it lives) and ``/readyz`` (send it requests).

## Decisions
2026-11: uvicorn's protocol behind asyncio's own server, in the loop that owns the service's state. uvicorn's ``Server``
catches signals that are ours, and looks ten times a second whether it should end.
2026-11: a port of its own. Probes and scrapers speak plain HTTP/1.1, and whoever may read metrics may not yet score.
2026-11: metrics are for those who prove who they are, where the other doors ask for that, since they name models and
callers. Probes are not asked: Kubernetes' have neither token nor certificate, and hear one word.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError, NotLetIn, WrongDoor
from rescorer_sidecar.security import AUTHORIZATION, OPEN, Expiry, Security
from rescorer_sidecar.service import Service

REQUEST_S = 10.0
"""Seconds in which a connection must have brought a whole request."""

CERTIFICATE = "has a certificate"
"""Under this name a request's scope tells whether its connection showed a certificate that is vouched for."""

MOST_CONNECTIONS = 100
"""Above so many, calls are answered 503 at once."""


def app(service: Service, security: Security = OPEN) -> Starlette:
    """What is answered under which path."""

    async def metrics(request: Request) -> Response:
        try:
            _let_in(request, security)
        except (NotLetIn, WrongDoor) as error:
            service.metrics.refused_at_door("http", error.reason)
            return _refusal(error)
        content, kind = service.metrics.exposed(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind})

    async def healthz(_: Request) -> Response:
        if service.is_hung:
            return PlainTextResponse("a forward hangs: start the process anew\n", status_code=503)
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        if service.is_ready:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"not ready: {service.unready}\n", status_code=503)

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)])


def _let_in(request: Request, security: Security) -> None:
    if security.asks_certificates and not request.scope["state"][CERTIFICATE]:
        raise NotLetIn("no_certificate", "metrics are for those with a certificate that tls_client_ca vouches for")
    security.proved("metrics", request.headers.getlist(AUTHORIZATION))


def _refusal(error: NotLetIn | WrongDoor) -> Response:
    is_unknown = isinstance(error, NotLetIn)
    headers = {"www-authenticate": "Bearer"} if is_unknown else {}
    return PlainTextResponse(f"{error}\n", status_code=401 if is_unknown else 403, headers=headers)


class _Connection(H11Protocol):
    """One connection; whoever sends a request byte by byte, or none, is let go after ``request_s``.

    Subclassed because uvicorn has no such limit before a connection's first request.
    """

    def __init__(self, config: Config, state: ServerState, request_s: float) -> None:
        super().__init__(config, state, {CERTIFICATE: False})
        self._request_s = request_s

    def connection_made(self, transport: Any) -> None:
        """Begin to count; what the connection has proved is there for each of its requests."""
        super().connection_made(transport)
        self.app_state[CERTIFICATE] = bool(transport.get_extra_info("peercert"))
        self._wait()

    def _wait(self) -> None:
        self.loop.call_later(self._request_s, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait()
        else:
            self.transport.close()


class HttpDoor:
    """The door as a server: bound when made, which raises ConfigError where its address can't be had."""

    def __init__(
        self, service: Service, settings: Settings, security: Security = OPEN, *, request_s: float = REQUEST_S
    ) -> None:
        self._request_s = request_s
        self._certificates = security.certificates
        service.metrics.add(Expiry(security))
        self._config = Config(
            app(service, security),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
        )
        self._config.load()
        self._state = ServerState()
        self._socket = _bound(settings.host.strip("[]"), settings.http_port)
        self._server: asyncio.Server | None = None
        self.port = int(self._socket.getsockname()[1])
        self.scheme = "http" if self._certificates is None else "https"

    async def start(self) -> None:
        """Answer from now on."""
        spoken: dict[str, Any] = {}
        if self._certificates is not None:
            limits = {"ssl_handshake_timeout": self._request_s, "ssl_shutdown_timeout": self._request_s}
            spoken = {"ssl": self._certificates.context(), **limits}
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=self._socket, **spoken)

    async def stop(self, within_s: float) -> None:
        """Take no more connections, and let answers that are on their way finish within this time."""
        if self._server is None:
            self._socket.close()
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=within_s)
        for connection in list(self._state.connections):
            connection.transport.abort()

    def _connection(self) -> _Connection:
        return _Connection(self._config, self._state, self._request_s)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise ConfigError(
            f"can't listen on {address}: {error.strerror}; choose another with --host or --http-port (0 is off)"
        ) from error
