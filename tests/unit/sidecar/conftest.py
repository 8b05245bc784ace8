"""A tiny tokenizer, a clock set by hand, and services over fake models that close themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tokenizers import Tokenizer

from rescorer_sidecar import grpc_server
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.batcher import Batcher
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.models import Model
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import FakeClock, fake_model, write_tokeniser
from rescorer_sidecar.tokenise import Tokeniser
from unit.sidecar.batches import MakeBatcher
from unit.sidecar.door import Serve, Served
from unit.sidecar.tokenisers import KINDS, both

OpenService = Callable[..., Service]


@pytest.fixture(scope="session")
def tokeniser_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny tokenizer."""
    return write_tokeniser(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tokenisers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tokeniser, Tokenizer]]:
    """Ours and the plain library's, over the same file, one for each kind."""
    return {kind: both(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


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
def make_batcher(clock: FakeClock) -> Iterator[MakeBatcher]:
    """Makes batchers of one worker, closed at the end."""
    made: list[tuple[Batcher, FakeBackend]] = []

    def make(backend: FakeBackend, budget_tokens: int = 1000, workers: int = 1) -> Batcher:
        made.append((Batcher(backend, budget_tokens, workers, clock), backend))
        return made[-1][0]

    yield make
    for batcher, backend in made:
        backend.door.set()
        batcher.close()


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


@pytest.fixture
async def serve(backend: FakeBackend) -> AsyncIterator[Serve]:
    """Starts servers on free loopback ports, with these models if any; stops them at the end."""
    made: list[tuple[Served, grpc.aio.Server]] = []

    async def started(*models: Model, service: type[Service] = Service, **settings: object) -> Served:
        chosen = Settings(**{"model": "fake", "port": 0, "workers": 1, **settings})
        clock = MonotonicClock()
        made_service = service(chosen, clock)
        server, health, port = grpc_server.build(grpc_server.Door(made_service, clock), chosen)
        await grpc_server.tell_health(health, serving=bool(models))
        if models:
            made_service.open(models)
        await server.start()
        unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        served = Served(made_service, health, grpc.aio.insecure_channel(f"127.0.0.1:{port}", unlimited), port)
        made.append((served, server))
        return served

    yield started
    backend.door.set()
    for served, server in made:
        await served.channel.close()
        await server.stop(None)
        served.service.close()


@pytest.fixture
async def served(serve: Serve, tokeniser_folder: Path, backend: FakeBackend) -> Served:
    """One server with a cross-encoder over ``backend`` and an embedder."""
    return await serve(
        fake_model(tokeniser_folder, backend=backend), fake_model(tokeniser_folder, kind="embedder", name="vectors")
    )
