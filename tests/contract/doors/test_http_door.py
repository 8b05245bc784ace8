"""The HTTP door behind TLS, certificates of callers and tokens: who reads metrics, and what a probe hears."""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from contract.doors.house import House
from rescorer_sidecar import security
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.http_server import HttpDoor
from rescorer_sidecar.service import Service

Get = Callable[..., Any]


@asynccontextmanager
async def opened(house: House, **settings: Any) -> AsyncIterator[tuple[Get, Service]]:
    """Ask the door under a path: status and text; ``roots`` None trusts whoever shows a certificate."""
    chosen = house.settings(**settings)
    service = Service(chosen, MonotonicClock())
    door = HttpDoor(service, chosen, security.opened(chosen, lambda _: None))
    await door.start()

    def asked(path: str, roots: trustme.CA | None, own: tuple[str, str] | None, token: str) -> tuple[int, str]:
        context = ssl.create_default_context(cadata=roots.cert_pem.bytes().decode() if roots else None)
        if roots is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if own:
            context.load_cert_chain(*own)
        request = urllib.request.Request(f"{door.scheme}://127.0.0.1:{door.port}{path}")  # noqa: S310  # loopback
        if token:
            request.add_header("authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def get(
        path: str, roots: trustme.CA | None = None, own: tuple[str, str] | None = None, token: str = ""
    ) -> tuple[int, str]:
        return await asyncio.to_thread(asked, path, roots, own, token)

    try:
        yield get, service
    finally:
        await door.stop(5)
        service.close()


async def test_metrics_take_a_token_for_metrics(house: House) -> None:
    """None is 401, a stranger's too, one for scoring is 403, and each is counted; the right one reads."""
    shop, scraper = house.token("shop"), house.token("prometheus", "metrics")
    async with opened(house, tokens_file=str(house.tokens)) as (get, _):
        found = [await get("/metrics", house.authority, token=token) for token in ("", "rescorer_x", shop, scraper)]
        assert [status for status, _ in found] == [401, 401, 403, 200]
        assert "asks for a token" in found[0][1]
        assert 'rescorer_door_refusals_total{door="http",reason="wrong_door"} 1.0' in found[3][1]
        assert shop not in str(found)


async def test_probes_are_asked_for_nothing(house: House) -> None:
    """Kubernetes' HTTPS probes trust any certificate and show neither a token nor one of their own."""
    house.token("shop")
    async with opened(house, mutual=True, tokens_file=str(house.tokens)) as (get, _):
        assert await get("/healthz") == (200, "alive\n")
        assert (await get("/readyz"))[0] == 503


async def test_under_mutual_tls_metrics_take_a_certificate(house: House) -> None:
    """None is 401; one of another authority makes no connection; one of ours reads."""
    (house.folder / "stranger").mkdir()
    stranger = House(house.folder / "stranger")
    async with opened(house, mutual=True) as (get, _):
        status, said = await get("/metrics", house.authority)
        assert (status, "certificate" in said) == (401, True)
        own = house.issued("scraper", house.authority, "prometheus.example")
        assert (await get("/metrics", house.authority, own))[0] == 200
        with pytest.raises(OSError, match=r"."):
            await get("/metrics", house.authority, stranger.issued("me", stranger.authority, "x.example"))


async def test_plain_text_is_not_answered(house: House) -> None:
    """A door with a certificate says nothing to who speaks without TLS."""
    async with opened(house) as (get, service):
        assert (await get("/metrics", house.authority))[0] == 200
        door = HttpDoor(service, house.settings(), security.opened(house.settings(), lambda _: None))
        await door.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"rescorer" not in await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await door.stop(5)


async def test_certificates_and_authorities_are_renewed_without_a_restart(house: House) -> None:
    """The next connection is shown the new certificate, and callers of the new authority come in its place."""
    other = trustme.CA()
    old, new = (house.issued(name, at, "x.example") for name, at in (("old", house.authority), ("new", other)))
    async with opened(house, mutual=True) as (get, _):
        assert (await get("/metrics", house.authority, old))[0] == 200
        house.show(other)
        other.cert_pem.write_to_path(str(house.roots))
        assert (await get("/metrics", other, new))[0] == 200
        assert (await get("/metrics", other))[0] == 401
        with pytest.raises(OSError, match=r"."):
            await get("/metrics", house.authority, new)
        with pytest.raises(OSError, match=r"."):
            await get("/metrics", other, old)


async def test_no_session_outlives_what_it_was_made_with(house: House) -> None:
    """A caller gets nothing to resume a session with, so that a new authority counts from the next connection on."""
    settings = house.settings(mutual=True)
    service = Service(settings, MonotonicClock())
    door = HttpDoor(service, settings, security.opened(settings, lambda _: None))
    await door.start()
    context = ssl.create_default_context(cafile=str(house.roots))
    context.load_cert_chain(*house.issued("scraper", house.authority, "x.example"))

    def asked(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        with (
            socket.create_connection(("127.0.0.1", door.port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as spoken,
        ):
            spoken.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            while spoken.recv(1024):
                pass
            return spoken.session, spoken.session_reused

    session, _ = await asyncio.to_thread(asked, None)
    assert session is None or not session.has_ticket
    assert not (await asyncio.to_thread(asked, session))[1]
    await door.stop(5)
    service.close()


async def test_the_images_probe_tells_whether_it_is_ready(house: House) -> None:
    """Under TLS and without, ready, not ready and nobody there: what a container's health check goes by."""
    from rescorer_sidecar import probe
    from rescorer_sidecar.config import Settings
    from rescorer_sidecar.testing import fake_model, write_tokeniser

    for settings in (house.settings(mutual=True), Settings(model="fake")):
        service = Service(settings, MonotonicClock())
        door = HttpDoor(service, settings, security.opened(settings, lambda _: None))
        await door.start()
        assert not await asyncio.to_thread(probe.ready, door.port)
        service.open([fake_model(write_tokeniser(house.folder / "model"))])
        assert await asyncio.to_thread(probe.ready, door.port)
        await door.stop(5)
        assert not await asyncio.to_thread(probe.ready, door.port)
        service.close()
