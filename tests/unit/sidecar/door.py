"""What the tests of the gRPC door share: a server that runs, requests, and the refusal that a call ends with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_status import rpc_status

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar.service import Service


@dataclass
class Served:
    """A running server, its service, and a client's channel to it."""

    service: Service
    health: health_aio.HealthServicer
    channel: grpc.aio.Channel
    port: int
    calls: rescorer_pb2_grpc.RescorerStub = field(init=False)

    def __post_init__(self) -> None:
        self.calls = rescorer_pb2_grpc.RescorerStub(self.channel)

    async def health_of(self, name: str = "") -> int:
        """What a health check says."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)).status


Serve = Callable[..., Awaitable[Served]]


def asking(*texts: str, query: str = "cat", **more: Any) -> wire.ScoreRequest:
    """A request whose candidates are called c0, c1, …"""
    candidates = [wire.Candidate(id=f"c{index}", text=text) for index, text in enumerate(texts)]
    return wire.ScoreRequest(query=query, candidates=candidates, **more)


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, list[Any]]:
    """Code, message and google.rpc details of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    error = failed.value
    return error.code(), error.details() or "", details_of(rpc_status.from_call(error))


def details_of(status: Any) -> list[Any]:
    """The google.rpc details of a Status, if there is one."""
    known = error_details_pb2
    kinds = {
        kind.DESCRIPTOR.full_name: kind
        for kind in (known.BadRequest, known.ErrorInfo, known.ResourceInfo, known.RetryInfo)
    }
    details = []
    for packed in getattr(status, "details", ()):
        detail = kinds[packed.TypeName()]()
        packed.Unpack(detail)
        details.append(detail)
    return details
