"""A model is replaced while it serves: who stays with the old version, who finds the new one, what is let go of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.errors import NotReady
from rescorer_sidecar.models import Model
from rescorer_sidecar.registry import Registry, Served
from rescorer_sidecar.testing import FakeClock, fake_model

ROW = Tokens(ids=(1, 2, 3), type_ids=(0, 0, 0))


class ClosableBackend(FakeBackend):
    """Tells when it was closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def version(folder: Path, digest: str, source: str = "") -> Model:
    """A version of the model ``shop``."""
    model = fake_model(folder, name=source or "shop", digest=digest, backend=ClosableBackend())
    return replace(model, card=replace(model.card, source=source))


def is_closed(served: Served) -> bool:
    """Whether its backend was let go of."""
    backend = served.model.backend
    assert isinstance(backend, ClosableBackend)
    return backend.is_closed


@pytest.fixture
def registry(tokeniser_folder: Path, clock: FakeClock) -> Iterator[Registry]:
    """One that serves version ``v1`` of ``shop``."""
    made = Registry(Settings(model="shop", workers=1), clock)
    made.open([version(tokeniser_folder, "d1", "models/v1")])
    yield made
    made.close()


def find(registry: Registry, name: str = "") -> Served:
    """The version that serves."""
    return registry.find(name, "cross-encoder")


async def test_a_version_beside_is_nobodys_until_it_takes_the_others_place(
    registry: Registry, tokeniser_folder: Path
) -> None:
    """A version that stands beside is neither found nor listed; after the switch it is the only one."""
    old = find(registry)
    new = registry.beside(version(tokeniser_folder, "d2", "models/v2"))
    assert (find(registry), [card.digest for card in registry.cards()]) == (old, ["d1"])
    registry.replace(old, new)
    assert (find(registry), [card.digest for card in registry.cards()]) == (new, ["d2"])


@pytest.mark.parametrize("name", ["", "models/v1", "models/v2"])
async def test_the_new_version_goes_by_every_name_of_the_old(
    registry: Registry, tokeniser_folder: Path, name: str
) -> None:
    """What callers said before the switch finds the new version after it, and so does its own source."""
    old, new = find(registry), registry.beside(version(tokeniser_folder, "d2", "models/v2"))
    called = old.model.card.name
    registry.replace(old, new)
    assert find(registry, name) is new
    assert new.model.card.name == called


async def test_who_is_in_the_old_version_keeps_it_to_the_end(registry: Registry, tokeniser_folder: Path) -> None:
    """A version that is let go of stays open while a request uses it, and closes when the last one has left."""
    old, new = find(registry), registry.beside(version(tokeniser_folder, "d2"))
    with old.in_use():
        registry.replace(old, new)
        retired = registry.retire(old)
        await asyncio.sleep(0)
        assert not is_closed(old)
        job = old.batcher.submit([ROW], None)
        await job.settled
        assert job.failures == {}
    await asyncio.wait_for(retired, 20)
    assert is_closed(old)
    assert not is_closed(new)


async def test_the_event_loop_turns_while_a_forward_of_a_retired_version_runs(
    registry: Registry, tokeniser_folder: Path
) -> None:
    """Letting go of a version waits for the forward that runs in it, without holding anybody up."""
    old, new = find(registry), registry.beside(version(tokeniser_folder, "d2"))
    backend = old.model.backend
    assert isinstance(backend, ClosableBackend)
    backend.door.clear()
    job = old.batcher.submit([ROW], None)
    assert await asyncio.to_thread(backend.entered.wait, 20)
    registry.replace(old, new)
    retired = registry.retire(old)
    answered = new.batcher.submit([ROW], None)
    await answered.settled
    assert (answered.failures, backend.is_closed) == ({}, False)
    backend.door.set()
    await asyncio.wait_for(retired, 20)
    assert (job.failures, backend.is_closed) == ({}, True)


async def test_a_version_that_lost_its_place_is_not_replaced_again(registry: Registry, tokeniser_folder: Path) -> None:
    """Of two replacements of one version the second is refused, and the first stands."""
    old, first = find(registry), registry.beside(version(tokeniser_folder, "d2"))
    second = registry.beside(version(tokeniser_folder, "d3"))
    registry.replace(old, first)
    with pytest.raises(NotReady, match="has changed meanwhile"):
        registry.replace(old, second)
    assert find(registry) is first


async def test_a_stopping_sidecar_closes_what_stands_beside(registry: Registry, tokeniser_folder: Path) -> None:
    """At the end the versions that stood beside are let go of like those that served, and none is taken any more."""
    old, new = find(registry), registry.beside(version(tokeniser_folder, "d2"))
    registry.replace(old, new)
    registry.close()
    assert is_closed(old)
    assert is_closed(new)
    with pytest.raises(NotReady):
        registry.beside(version(tokeniser_folder, "d3"))
