"""A real process whose model dies and comes back: what callers and health checks hear meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from contract.backends.tiny_models import write_onnx
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Mortal:
    """A sidecar that runs; while the file ``lost`` exists its model answers nothing and can't be loaded."""

    address: str
    lost: Path


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    """One with a tiny ONNX model, warm and serving."""
    lost, folder = tmp_path / "lost", write_onnx(tmp_path / "tiny")
    script = str(Path(__file__).with_name("dying_sidecar.py"))
    command = [sys.executable, script, str(lost), "--model", str(folder), "--port", "0", "--cache-mb", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None
        served = next(line for line in process.stdout if "is serving on" in line)
        yield Mortal(served.split()[-1], lost)
        process.terminate()
        assert "has stopped" in process.stdout.read()


def test_a_dead_model_comes_back_and_health_tells_of_both(mortal: Mortal) -> None:
    """UNAVAILABLE and NOT_SERVING from the loss on, for sidecar and model; SERVING with the same scores after."""
    request = wire.ScoreRequest(query="cat", candidates=[wire.Candidate(id="a", text="late train")])
    with grpc.insecure_channel(mortal.address) as channel:
        calls, health = rescorer_pb2_grpc.RescorerStub(channel), health_pb2_grpc.HealthStub(channel)
        names = ("", "rescorer.v1.Rescorer", "rescorer.v1.Rescorer/tiny")
        told = [health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60) for name in names]
        assert [next(watch).status for watch in told] == [SERVING] * 3
        before = calls.Score(request, timeout=20)
        mortal.lost.touch()
        with pytest.raises(grpc.RpcError) as refused:
            calls.Score(request, timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "ask another sidecar, or try again in some seconds" in refused.value.details()
        assert [next(watch).status for watch in told] == [NOT_SERVING] * 3
        mortal.lost.unlink()
        assert [next(watch).status for watch in told] == [SERVING] * 3
        after = calls.Score(request, timeout=20)
    assert (after.model, after.results[0].logit) == (before.model, before.results[0].logit)
