"""The HTTP door over a real socket: what a scraper and a probe get, from start to stop, and who is let go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Candidate, ScoreRequest
from rescorer_sidecar.errors import ConfigError, ModelDied
from rescorer_sidecar.http_server import REQUEST_S, HttpDoor
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model, until
from unit.sidecar.scrape import Scrape


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@dataclass
class Opened:
    """A door, its service, and how to ask it: status, headers and body of an answer."""

    service: Service
    door: HttpDoor

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        """One request on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.door.port)
        lines = [f"{name}: {value}" for name, value in {"host": "localhost", "connection": "close", **headers}.items()]
        writer.write("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode())
        answer = (await asyncio.wait_for(reader.read(), 20)).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest), body


@asynccontextmanager
async def opened(request_s: float = REQUEST_S, **settings: object) -> AsyncIterator[Opened]:
    """A door on a free port over a service without models."""
    chosen = Settings(**{"model": "fake", "workers": 1, "http_port": free_port(), **settings})
    service = Service(chosen, MonotonicClock())
    door = HttpDoor(service, chosen, request_s=request_s)
    await door.start()
    try:
        yield Opened(service, door)
    finally:
        await door.stop(5)
        service.close()


async def test_a_probe_hears_whether_it_lives_and_whether_it_is_ready(tokeniser_folder: Path) -> None:
    """It lives from the start; it is ready once models are warm and until it drains, and says why it is not."""
    async with opened() as http:
        assert (await http.get("/healthz"))[0] == 200
        assert (await http.get("/readyz"))[::2] == (503, "not ready: the models are not loaded and warm yet\n")
        http.service.open([fake_model(tokeniser_folder)])
        assert (await http.get("/readyz"))[::2] == (200, "ready\n")
        http.service.drain()
        assert (await http.get("/readyz"))[::2] == (503, "not ready: the sidecar is stopping\n")
        assert (await http.get("/healthz"))[::2] == (200, "alive\n")


async def test_a_probe_hears_of_a_forward_that_hangs(tokeniser_folder: Path) -> None:
    """Until it comes back the process should be started anew."""
    async with opened(hung_s=0.05, cache_mb=0) as http:
        backend = FakeBackend()
        http.service.open([fake_model(tokeniser_folder, backend=backend)])
        backend.door.clear()
        with pytest.raises(ModelDied):
            await http.service.score(ScoreRequest(query="cat", candidates=(Candidate(id="0", text="hotel"),)))
        assert (await http.get("/healthz"))[::2] == (503, "a forward hangs: start the process anew\n")
        backend.door.set()
        await until(lambda: not http.service.is_hung)
        assert (await http.get("/healthz"))[0] == 200


async def test_a_scraper_gets_the_metrics(tokeniser_folder: Path) -> None:
    """``/metrics`` is in Prometheus' text format, or in OpenMetrics where that is accepted."""
    async with opened() as http:
        status, headers, body = await http.get("/metrics")
        assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
        assert Scrape(body)("rescorer_ready") == 0
        _, headers, body = await http.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
        assert headers["content-type"].startswith("application/openmetrics-text")
        assert body.endswith("# EOF\n")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405)])
async def test_nothing_else_is_answered(method: str, path: str, status: int) -> None:
    """Other paths are 404, and what is there is only read; neither names the server's software."""
    async with opened() as http:
        found, headers, _ = await http.get(path, method)
        assert found == status
        assert "server" not in headers


async def test_a_request_that_never_ends_is_let_go() -> None:
    """A connection that brings half a request, or nothing, is closed, while whole requests are answered."""
    async with opened(request_s=0.1) as http:
        slow, silent = [await asyncio.open_connection("127.0.0.1", http.door.port) for _ in range(2)]
        slow[1].write(b"GET /metrics HTTP/1.1\r\nhost: ")
        await slow[1].drain()
        assert (await http.get("/healthz"))[0] == 200
        for reader, writer in (slow, silent):
            assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()


async def test_a_port_that_is_taken_is_one_line() -> None:
    """ConfigError names the address and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"can't listen on 127\.0\.0\.1:{port}: .*--http-port"):
            async with opened(http_port=port):
                pass


async def test_after_the_stop_nobody_is_answered() -> None:
    """The port is free again, and a connection that was kept alive is closed."""
    async with opened() as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.door.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"alive" in await asyncio.wait_for(reader.readuntil(b"alive"), 20)
        await http.door.stop(5)
        assert await asyncio.wait_for(reader.read(), 20) == b"\n"
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection("127.0.0.1", http.door.port)
        writer.close()
