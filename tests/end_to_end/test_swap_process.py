"""A real model changed in a real process: two versions of one cross-encoder, callers that never stop, an operator."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from rescorer_lab import cli, models, sidecar
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc

pytestmark = pytest.mark.slow

QUERY = "does vitamin D protect against respiratory infection?"
TEXTS = (
    "Vitamin D supplementation was safe and protected against acute respiratory tract infection overall.",
    "The train to the airport leaves every ten minutes from platform two.",
    "Vitamin C and the common cold: a review of the trials.",
    "Respiratory infections in the winter months are common among children.",
    "Sunlight lets the skin make vitamin D.",
)
CALLERS = 3


@dataclass
class Callers:
    """Three at a time, each with its own candidates, and again when all three are answered; ``failed`` stays empty."""

    address: str
    digests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._answered = threading.Condition()
        self._meet = threading.Barrier(CALLERS)
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._meet.abort()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, number: int) -> None:
        with grpc.insecure_channel(self.address) as channel:
            stub = rescorer_pb2_grpc.RescorerStub(channel)
            for turn in itertools.count():
                texts = [f"{text} {number} {turn}" for text in TEXTS]
                candidates = [wire.Candidate(id=str(place), text=text) for place, text in enumerate(texts)]
                try:
                    answer = stub.Score(wire.ScoreRequest(query=QUERY, candidates=candidates), timeout=60)
                except grpc.RpcError as error:
                    self.failed.append(str(error))
                else:
                    self._look_at(answer)
                try:
                    self._meet.wait(60)
                except threading.BrokenBarrierError:
                    return

    def _look_at(self, answer: wire.ScoreResponse) -> None:
        if answer.status != wire.SCORE_STATUS_COMPLETE or len(answer.results) != len(TEXTS):
            self.failed.append(f"{wire.ScoreStatus.Name(answer.status)} with {len(answer.results)} results")
        with self._answered:
            self.digests.append(answer.model.digest)
            self._answered.notify_all()

    def answers(self, more: int) -> None:
        """Wait until so many more calls were answered."""
        with self._answered:
            count = len(self.digests) + more
            assert self._answered.wait_for(lambda: len(self.digests) >= count, 60)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> int:
    """The admin door's port, named to the command line."""
    port = free_port()
    monkeypatch.setenv("RESCORER_ADMIN", f"127.0.0.1:{port}")
    return port


@pytest.fixture
def address(admin: int, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A sidecar that serves the INT8 file of the L12 model, with its admin door open and what ``request`` adds."""
    options = ["--model", str(models.fetch(models.CROSS_ENCODER)), "--admin-port", str(admin)]
    started = sidecar.start([*options, *getattr(request, "param", ())], tmp_path / "sidecar.log")
    yield started.address
    started.stop()


def test_no_call_fails_while_a_real_model_is_swapped_and_rolled_back(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From INT8 on ONNX to float32 on native kernels and back, compared on live calls: every call is answered whole."""
    with Callers(address) as callers:
        assert cli.run(["sidecar", "swap", str(models.fetch(models.RECOVERED)), "--shadow", "5", "--share", "1"]) == 0
        said = capsys.readouterr().out
        callers.answers(2 * CALLERS)
        swapped = callers.digests[-1]
        assert cli.run(["sidecar", "rollback"]) == 0
        callers.answers(2 * CALLERS)
    assert callers.failed == []
    assert set(callers.digests) == {callers.digests[0], swapped}
    assert callers.digests[0] == callers.digests[-1] != swapped
    assert "golden queries: 4 of 4 ordered rightly, 4 by the old version" in said
    assert "compared: 5 requests" in said


@pytest.mark.parametrize("address", [("--memory-mb", "150")], indirect=True)
def test_a_version_that_does_not_fit_is_refused_by_a_real_process(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 150 MB for models the float32 version has no room beside the INT8 one: both sizes are told, calls go on."""
    with Callers(address) as callers:
        assert cli.run(["sidecar", "swap", str(models.fetch(models.RECOVERED))]) == 1
    said = capsys.readouterr().out
    assert "refused, nothing has changed" in said
    assert "takes about" in said
    assert "MB of memory_mb are left" in said
    assert callers.failed == []
