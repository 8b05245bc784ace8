"""``rescorer doctor`` and ``rescorer sidecar`` before locked doors: let in with what fits, else told what does not."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.doors.house import House, Sidecar, serving
from rescorer_lab import cli
from rescorer_lab.doctor import sidecar as room
from rescorer_lab.doctor.findings import Finding
from rescorer_sidecar import admin_server, security
from rescorer_sidecar.admin_server import AdminDoor
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.swapping import Swapper

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def stranger(house: House) -> House:
    """Another house, whose authority is not ours."""
    (house.folder / "stranger").mkdir()
    return House(house.folder / "stranger")


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the variables of credentials; what was set before is gone."""

    def said(**variables: object) -> None:
        for name in ("TLS_ROOTS", "TLS_CERTIFICATE", "TLS_KEY", "TLS_SERVER_NAME", "TOKEN", "TOKEN_FILE"):
            monkeypatch.delenv(f"RESCORER_{name}", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(f"RESCORER_{name}", str(value))

    return said


async def first(sidecar: Sidecar) -> Finding:
    """What is said of the sidecar itself."""
    return await asyncio.to_thread(lambda: next(iter(room.examined(sidecar.address, 20.0))))


async def test_what_fits_is_let_in_and_told(house: House, say: Any) -> None:
    """With authorities and token all is well, and the line tells both."""
    token = house.token("shop")
    async with serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar:
        say(TLS_ROOTS=house.roots, TOKEN=token)
        found = await first(sidecar)
        assert (found.status, found.says) == ("ok", f"ready at {sidecar.address}, with TLS and a token")


async def test_a_token_that_is_missing_or_wrong_is_told(house: House, say: Any) -> None:
    """Which variable sends one, and that this one is not known; never the token."""
    house.token("shop")
    async with serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar:
        say(TLS_ROOTS=house.roots)
        found = await first(sidecar)
        assert (found.status, "asks for a token" in found.says) == ("wrong", True)
        assert found.mend == "RESCORER_TOKEN sends one"
        say(TLS_ROOTS=house.roots, TOKEN="rescorer_Xq7")
        found = await first(sidecar)
        assert "refuses this token: the token of this call is not one that this sidecar knows" in found.says
        assert "Xq7" not in str(found)


async def test_what_is_wrong_with_the_sidecars_certificate_is_told(house: House, stranger: House, say: Any) -> None:
    """Plain text, the wrong authority, the wrong name, expired: each in a line of its own with what mends it."""
    async with serving(house.settings(), house.folder) as sidecar:
        say()
        found = await first(sidecar)
        assert ("speaks TLS, and this client plain text" in found.says, "RESCORER_TLS_ROOTS" in found.mend) == (
            True,
            True,
        )
        say(TLS_ROOTS=stranger.roots)
        assert f"signed by none of the authorities in {stranger.roots}" in (await first(sidecar)).says
        say(TLS_ROOTS=house.roots, TLS_SERVER_NAME="scores.example")
        assert "is not for the name scores.example" in (await first(sidecar)).says
        house.issued("server", house.authority, "127.0.0.1", not_after=PAST)
        say(TLS_ROOTS=house.roots)
        assert (await first(sidecar)).says == f"the certificate of the sidecar at {sidecar.address} has expired"


async def test_what_is_wrong_with_ones_own_certificate_is_told(house: House, stranger: House, say: Any) -> None:
    """None at all, one of a stranger, files that do not belong together."""
    async with serving(house.settings(mutual=True), house.folder) as sidecar:
        say(TLS_ROOTS=house.roots)
        assert "asks for a certificate of this client" in (await first(sidecar)).says
        certificate, key = stranger.issued("me", stranger.authority, "x.example")
        say(TLS_ROOTS=house.roots, TLS_CERTIFICATE=certificate, TLS_KEY=key)
        assert f"refuses {certificate}: it has expired, or no authority" in (await first(sidecar)).says
        say(TLS_ROOTS=house.roots, TLS_CERTIFICATE=certificate)
        assert "certificate: stands without key" in (await first(sidecar)).says
        say(TLS_ROOTS=house.roots, TLS_CERTIFICATE=certificate, TLS_KEY=house.folder / "server.key")
        assert f"server.key is not the key of {certificate}" in (await first(sidecar)).says
        (house.folder / "garbage.pem").write_text("no certificate")
        say(TLS_ROOTS=house.folder / "garbage.pem")
        found = await first(sidecar)
        assert ("one can't be used" in found.says, "garbage.pem" in found.says) == (True, True)


async def test_tls_to_a_plain_sidecar_is_told(house: House, say: Any) -> None:
    """The sidecar answers, and not in TLS."""
    say(TLS_ROOTS=house.roots)
    async with serving(Settings(model="fake", port=0), house.folder) as sidecar:
        assert "does not speak TLS" in (await first(sidecar)).says


async def test_a_misspelt_variable_is_told(say: Any) -> None:
    """Nobody is asked in plain text because of a typing error."""
    say(TLS_ROOT="x")
    found = await first(Sidecar("localhost:1", None))  # type: ignore[arg-type]  # nobody is asked
    assert (found.status, "RESCORER_TLS_ROOT: is no setting" in found.says) == ("wrong", True)


@asynccontextmanager
async def administered(house: House, settings: Settings) -> AsyncIterator[str]:
    """Where an admin door listens."""
    async with serving(settings, house.folder) as sidecar:
        service = sidecar.service
        swapper = Swapper(service.registry, settings, MonotonicClock())
        door = AdminDoor(swapper, service.registry, service.metrics.refused_at_door)
        server, port = admin_server.build(door, settings, security.opened(settings, lambda _: None))
        await server.start()
        yield f"127.0.0.1:{port}"
        await server.stop(None)
        swapper.close()


async def test_an_operator_is_let_in_with_a_token_for_the_admin_door(
    house: House, say: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """No token, one for scoring, and one for the admin door; without TLS the line says that it is spoken."""
    shop, operator = house.token("shop"), house.token("operator", "admin")
    settings = house.settings(tokens_file=str(house.tokens), admin_port=0)
    async with administered(house, settings) as address:

        async def ran() -> tuple[int, str]:
            code = await asyncio.to_thread(cli.run, ["sidecar", "status", "--admin", address])
            told = capsys.readouterr()
            return code, " ".join((told.out + told.err).split())

        say(TLS_ROOTS=house.roots)
        code, told = await ran()
        assert (code, "RESCORER_TOKEN to one of rescorer sidecar token NAME --door admin" in told) == (2, True)
        say(TLS_ROOTS=house.roots, TOKEN=shop)
        assert "the token of shop does not open this door" in (await ran())[1]
        say(TLS_ROOTS=house.roots, TOKEN=operator)
        code, told = await ran()
        assert (code, "switched 0" in told) == (0, True)
        say(TOKEN=operator)
        assert "speaks TLS, and this client plain text" in (await ran())[1]
        assert operator not in told


def test_the_page_tells_the_variables(house: House) -> None:
    """docs/client.md has a row for each field of Credentials with its variable."""
    from rescorer.credentials import VARIABLES
    from shape.source import ROOT

    page = Path(ROOT / "docs" / "client.md").read_text()
    assert [name for name, variable in VARIABLES.items() if f"| `{name}` | `{variable}` |" not in page] == []
