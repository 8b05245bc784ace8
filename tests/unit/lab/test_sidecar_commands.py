"""``rescorer sidecar``: what an operator sees of a swap, and how a shut door or a refusal reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rescorer_lab import cli
from rescorer_sidecar import admin_server
from rescorer_sidecar.admin_server import AdminDoor
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Kind
from rescorer_sidecar.errors import ModelNotFound
from rescorer_sidecar.memory import Budget
from rescorer_sidecar.models import Model
from rescorer_sidecar.service import Service
from rescorer_sidecar.swapping import Swapper
from rescorer_sidecar.testing import fake_model, write_tokeniser

Said = tuple[int, str, str]


class Door:
    """A sidecar's admin door on a loop of its own, as an operator in another process has it before him."""

    def __init__(self, folder: Path) -> None:
        self._folder = write_tokeniser(folder)
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Door:
        self._thread.start()
        assert self._is_open.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    def _model(self, source: str) -> Model:
        made = fake_model(self._folder, name="shop", digest=f"{source:-<12}", backend=FakeBackend())
        return replace(made, card=replace(made.card, source=source))

    def _load(self, source: str, kind: Kind, settings: Settings, budget: Budget) -> Model:
        if not source.startswith("shop-"):
            raise ModelNotFound(f"model {source}: no such folder")
        return self._model(source)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        settings = Settings(model="shop-v1", workers=1, admin_port=0)
        service = Service(settings, MonotonicClock())
        service.open([self._model("shop-v1")])
        swapper = Swapper(service.registry, settings, MonotonicClock(), self._load)
        server, self.port = admin_server.build(AdminDoor(swapper, service.registry), settings)
        await server.start()
        self._is_open.set()
        await self._over.wait()
        await server.stop(None)
        swapper.close()
        service.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """An open one."""
    with Door(tmp_path) as opened:
        yield opened


@pytest.fixture
def run(door: Door, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs ``rescorer sidecar`` on it: exit code, standard output, standard error."""
    monkeypatch.setenv("RESCORER_ADMIN", f"127.0.0.1:{door.port}")
    monkeypatch.setenv("COLUMNS", "200")

    def ran(*words: str) -> Said:
        code = cli.run(["sidecar", *words])
        return code, *capsys.readouterr()

    return ran


def test_status_shows_what_serves(run: Callable[..., Said]) -> None:
    """The model, its version and where it runs, in one line."""
    code, out, _ = run("status")
    assert code == 0
    for word in ("shop (default)", "shop-v1", "fake fp32, cpu", "switched 0, refused 0, rolled back 0"):
        assert word in out


def test_a_swap_says_what_it_has_found_and_how_to_go_back(run: Callable[..., Said]) -> None:
    """The new version, the old one that is kept, and the command that brings it back; then status shows both."""
    code, out, _ = run("swap", "shop-v2", "--shadow", "0")
    assert code == 0
    for words in ("shop: switched to shop-v2", "of 4 ordered rightly", "rescorer sidecar rollback --model shop"):
        assert words in out
    assert "shop-v1 for 60 min" in run("status")[1]


def test_a_roll_back_says_what_serves_again(run: Callable[..., Said]) -> None:
    """The version that serves again and the one that is let go of; said twice, the second is one line that mends."""
    run("swap", "shop-v2", "--shadow", "0")
    code, out, _ = run("rollback")
    assert (code, "shop: shop-v1 serves again" in out, "shop-v2" in out) == (0, True, True)
    code, _, error = run("rollback")
    assert (code, "to go back, swap to it" in error) == (2, True)


def test_what_is_kept_is_released(run: Callable[..., Said]) -> None:
    """Released, the old version is named once more, and status shows it no longer."""
    run("swap", "shop-v2", "--shadow", "0")
    assert "shop-v1 (digest shop-v1-----) is let go of" in run("release", "--model", "shop")[1]
    assert "shop-v1" not in run("status")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("swap", "elsewhere", "--shadow", "0"), "refused, nothing has changed: model elsewhere: no such folder"),
        (("swap", "shop-v2", "--within", "1"), "0 of 0 live requests could be compared within 1 s"),
    ],
)
def test_a_refused_swap_ends_with_1_and_its_reason(run: Callable[..., Said], words: tuple[str, ...], said: str) -> None:
    """Nothing has changed, and the line says why."""
    code, out, _ = run(*words)
    assert (code, said in out) == (1, True)


@pytest.mark.parametrize("words", [("status",), ("swap", "shop-v2"), ("rollback",), ("release",)])
def test_a_shut_door_is_one_line_that_says_how_to_open_it(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody listens, each command ends with 1 and names the setting that opens the door."""
    code = cli.run(["sidecar", *words, "--admin", "127.0.0.1:1"])
    assert (code, "--admin-port" in capsys.readouterr().err) == (2, True)


def test_an_unknown_model_names_those_that_are_served(run: Callable[..., Said]) -> None:
    """F10: the line holds the known names."""
    code, _, error = run("swap", "shop-v2", "--model", "shoes")
    assert (code, "served: shop" in error) == (2, True)
