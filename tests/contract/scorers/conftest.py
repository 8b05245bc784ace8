"""What the scorer tests share: a running fake sidecar, and every implementation behind one face."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from contract.scorers.fake_sidecar import REFUSED, FakeService, served
from rescorer.domain import EmbedRequest, ScoreRequest, Scores
from rescorer.errors import ScorerError, ScorerRefused
from rescorer.scorers.channels import Target
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer.testing import AsyncFakeScorer, FakeClock, FakeScorer


@pytest.fixture
def service() -> FakeService:
    """The functions behind the sidecar."""
    return FakeService()


@pytest.fixture
def address(service: FakeService) -> Iterator[str]:
    """Where the fake sidecar listens."""
    with served(service) as bound:
        yield bound


@dataclass
class Driven:
    """A scorer of either kind, asked with ``await`` always; in a thread where its sidecar runs on this loop."""

    inner: Any
    in_thread: bool = False

    async def score(self, request: ScoreRequest, timeout_s: float = 10.0) -> Scores:
        """The scores."""
        return await self._asked(self.inner.score, request, timeout_s)  # type: ignore[no-any-return]  # either kind

    async def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float = 10.0) -> list[Scores | ScorerError]:
        """One outcome per request."""
        return await self._asked(self.inner.score_many, requests, timeout_s)  # type: ignore[no-any-return]  # either kind

    async def embed(self, request: EmbedRequest, timeout_s: float = 10.0) -> list[list[float]]:
        """The vectors."""
        return await self._asked(self.inner.embed, request, timeout_s)  # type: ignore[no-any-return]  # either kind

    async def close(self) -> None:
        """Close it."""
        await _settled(self.inner.close())

    async def _asked(self, ask: Callable[..., Any], *given: Any) -> Any:
        return await (asyncio.to_thread(ask, *given) if self.in_thread else _settled(ask(*given)))


async def _settled(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


@pytest.fixture(params=["grpc", "grpc-async", "fake", "fake-async"])
async def scorer(request: pytest.FixtureRequest) -> AsyncIterator[Driven]:
    """Every implementation of the two Protocols in turn."""
    if request.param.startswith("fake"):
        fake = FakeScorer(failure={REFUSED: ScorerRefused("this query is refused")})
        inner = fake if request.param == "fake" else AsyncFakeScorer(fake)
    else:
        target = Target(address=request.getfixturevalue("address"))
        inner = GrpcScorer(target) if request.param == "grpc" else AsyncGrpcScorer(target)
    driven = Driven(inner)
    yield driven
    await driven.close()


@dataclass
class Timed:
    """A gRPC scorer on a given clock, without jitter, whose waits take no time and are kept in ``clock.waits_s``."""

    driven: Driven
    clock: FakeClock


@pytest.fixture(params=["grpc", "grpc-async"])
async def timed(request: pytest.FixtureRequest, address: str) -> AsyncIterator[Timed]:
    """Both gRPC scorers in turn, with a given clock."""
    made = _timed(request.param, address)
    yield made
    await made.driven.close()


@pytest.fixture(params=["grpc", "grpc-async"])
async def lonely(request: pytest.FixtureRequest, unused_port: int) -> AsyncIterator[Timed]:
    """Both gRPC scorers in turn, with nobody at their address."""
    made = _timed(request.param, f"127.0.0.1:{unused_port}")
    yield made
    await made.driven.close()


@pytest.fixture
def unused_port() -> int:
    """A port where nobody listens."""
    with served(FakeService()) as bound:
        return int(bound.rpartition(":")[2])


def _timed(kind: str, address: str) -> Timed:
    clock, target = FakeClock(), Target(address=address)

    async def advance(seconds: float) -> None:
        clock.advance(seconds)

    if kind == "grpc":
        return Timed(Driven(GrpcScorer(target, clock=clock, sleep=clock.advance, draw=lambda: 0.0)), clock)
    return Timed(Driven(AsyncGrpcScorer(target, clock=clock, sleep=advance, draw=lambda: 0.0)), clock)
