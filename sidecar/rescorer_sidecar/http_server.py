"""The HTTP door: ``/metrics`` for Prometheus, ``/healthz`` (it lives) and ``/readyz`` (send it requests).

## Decisions
2026-11: uvicorn's protocol behind asyncio's own server, in the loop that owns the service's state. uvicorn's ``Server``
catches signals that are ours, and looks ten times a second whether it should end.
2026-11: a port of its own. Probes and scrapers speak plain HTTP/1.1, and whoever may read metrics may not yet score.
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
from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.service import Service

REQUEST_S = 10.0
"""Seconds in which a connection must have brought a whole request."""

MOST_CONNECTIONS = 100
"""Above so many, calls are answered 503 at once."""


def app(service: Service) -> Starlette:
    """What is answered under which path."""

    async def metrics(request: Request) -> Response:
        content, kind = service.metrics.exposed(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind})

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        if service.is_ready:
            return PlainTextResponse("ready\n")
        why = "the sidecar is stopping" if service.is_draining else "the models are not loaded and warm yet"
        return PlainTextResponse(f"not ready: {why}\n", status_code=503)

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)])


class _Connection(H11Protocol):
    """One connection; whoever sends a request byte by byte, or none, is let go after ``request_s``.

    Subclassed because uvicorn has no such limit before a connection's first request.
    """

    def __init__(self, config: Config, state: ServerState, request_s: float) -> None:
        super().__init__(config, state, {})
        self._request_s = request_s

    def connection_made(self, transport: Any) -> None:
        """Begin to count."""
        super().connection_made(transport)
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

    def __init__(self, service: Service, settings: Settings, *, request_s: float = REQUEST_S) -> None:
        self._request_s = request_s
        self._config = Config(
            app(service),
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

    async def start(self) -> None:
        """Answer from now on."""
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=self._socket)

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
