"""A tiny tokenizer, a clock set by hand, and services over fake models that close themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.config import Settings
from rescorer_sidecar.models import Model
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import FakeClock, fake_model, write_tokeniser

OpenService = Callable[..., Service]


@pytest.fixture(scope="session")
def tokeniser_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny tokenizer."""
    return write_tokeniser(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    """A cross-encoder's backend; its door is open again at the end, so that no thread stays behind it."""
    made = FakeBackend()
    yield made
    made.door.set()


@pytest.fixture
def open_service(tokeniser_folder: Path, clock: FakeClock, backend: FakeBackend) -> Iterator[OpenService]:
    """Opens services, by default over one fake cross-encoder with ``backend``; settings by name."""
    made: list[Service] = []

    def opened(*models: Model, **settings: object) -> Service:
        service = Service(Settings(**{"model": "fake", "workers": 1, **settings}), clock)
        service.open(models or [fake_model(tokeniser_folder, backend=backend)])
        made.append(service)
        return service

    yield opened
    backend.door.set()
    for service in made:
        service.close()
