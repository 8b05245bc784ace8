"""A gRPC server between client and sidecar that hands every call on, and changes the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from rescorer_proto.v1 import rescorer_pb2, rescorer_pb2_grpc

Change = Callable[[Any], None]
"""Changes a ScoreResponse in place."""


@dataclass(slots=True)
class Meddler:
    """Where it listens, and how many answers it has changed."""

    address: str = ""
    counts: Counter[str] = field(default_factory=Counter)


class _Between(rescorer_pb2_grpc.RescorerServicer):
    def __init__(self, behind: rescorer_pb2_grpc.RescorerStub, change: Change, counts: Counter[str]) -> None:
        self._behind = behind
        self._change = change
        self._counts = counts

    def Score(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - named by the wire
        """The sidecar's answer, changed."""
        try:
            answer: rescorer_pb2.ScoreResponse = self._behind.Score(request, timeout=context.time_remaining())
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        self._change(answer)
        self._counts["answers changed"] += 1
        return answer


@contextmanager
def meddling(target: str, change: Change) -> Iterator[Meddler]:
    """A meddler before this sidecar, for as long as the block runs."""
    made = Meddler()
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    with grpc.insecure_channel(target) as channel:
        between = _Between(rescorer_pb2_grpc.RescorerStub(channel), change, made.counts)
        rescorer_pb2_grpc.add_RescorerServicer_to_server(between, server)
        made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield made
        finally:
            server.stop(grace=None).wait()
