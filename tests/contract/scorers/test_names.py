"""Several sidecars behind one name: gRPC goes round, and leaves one that says it is not serving."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from contract.scorers.conftest import Driven
from contract.scorers.fake_sidecar import FakeService
from rescorer.domain import Candidate, ScoreRequest
from rescorer.scorers.channels import targets
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer_proto.v1 import rescorer_pb2_grpc

WISH = ScoreRequest(query="flight", candidates=[Candidate("0:d", (("", "flight"),))])
SERVICE = "rescorer.v1.Rescorer"
Status = health_pb2.HealthCheckResponse


@dataclass
class Healthy:
    """A fake sidecar that answers health checks."""

    service: FakeService
    health: health.HealthServicer
    address: str

    def says(self, status: int) -> None:
        """Change what its health check says."""
        self.health.set(SERVICE, status)


@contextmanager
def healthy() -> Iterator[Healthy]:
    """One that serves; stopped on the way out."""
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    made = Healthy(FakeService(), health.HealthServicer(), f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    rescorer_pb2_grpc.add_RescorerServicer_to_server(made.service, server)
    health_pb2_grpc.add_HealthServicer_to_server(made.health, server)
    made.says(Status.SERVING)
    server.start()
    try:
        yield made
    finally:
        made.health.enter_graceful_shutdown()
        server.stop(grace=None).wait()


@pytest.mark.parametrize("kind", ["grpc", "grpc-async"])
async def test_a_name_is_balanced_and_whoever_stops_is_left(kind: str) -> None:
    """F1: both are asked; one that says NOT_SERVING is left before it goes; when it is gone no search notices."""
    with ExitStack() as first_stays, healthy() as second:
        first = first_stays.enter_context(healthy())
        named = targets(f"ipv4:{first.address},{second.address}")
        inner = GrpcScorer(named) if kind == "grpc" else AsyncGrpcScorer(named)
        scorer = Driven(inner, in_thread=kind == "grpc")
        async with asyncio.timeout(60):
            while not (first.service.seen and second.service.seen):
                await scorer.score(WISH)
            first.says(Status.NOT_SERVING)
            in_a_row = 0
            while in_a_row < 8:
                before = len(first.service.seen)
                await scorer.score(WISH)
                in_a_row = in_a_row + 1 if len(first.service.seen) == before else 0
            await asyncio.to_thread(first_stays.close)
            for _ in range(8):
                assert len((await scorer.score(WISH)).results) == 1
        assert [sidecar.state for sidecar in inner.state().sidecars] == ["closed"]
        await scorer.close()
