"""Looking at processes that are harmed, and waiting until they are."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from end_to_end.redis_server import free_port
from rescorer_lab import models
from rescorer_lab.sidecar import Sidecar
from rescorer_proto.v1 import rescorer_pb2 as wire

LONG_TEXT = "late trains to the hotel near the airport " * 60


def until(holds: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Look again and again, for so long; whether it came to hold. Nobody tells of what happens to a foreign process."""
    ends_s = time.monotonic() + within_s
    pause = threading.Event()
    while not (found := holds()) and time.monotonic() < ends_s:
        pause.wait(0.02)
    return found


def refuses(address: str) -> bool:
    """Nobody listens there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def state(pid: int) -> str:
    """The letter of a process's state in /proc."""
    return _stat(pid)[0]


def cpu_s(one: Sidecar) -> float:
    """Seconds of processor time that it has used."""
    ticks = _stat(one.process.pid)[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields behind a process's name."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def descriptors_of(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory_mb(one: Sidecar, what: str) -> float:
    """A line of /proc/PID/status: ``VmSize`` now, ``VmHWM`` the most that was ever resident."""
    lines = Path(f"/proc/{one.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def request_of(texts: Sequence[str]) -> wire.ScoreRequest:
    """One query and these texts."""
    candidates = [wire.Candidate(id=str(place), text=text) for place, text in enumerate(texts)]
    return wire.ScoreRequest(query="which hotel is near the airport", candidates=candidates)


def long_request(count: int) -> wire.ScoreRequest:
    """So many pairs of full length, each another one."""
    return request_of([f"{number} {LONG_TEXT}" for number in range(count)])


@contextmanager
def cold_sidecar(folder: Path) -> Iterator[str]:
    """The address of a real sidecar whose model comes from a hub that takes connections and never answers."""
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as hub:
        places = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}", "HF_HOME": str(folder / "hub")}
        words = ["--port", str(port), "--model", "owner/name", "--drain-s", "0"]
        with (folder / "cold.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "rescorer_sidecar", *words],
                env={**os.environ, **places},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        with process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=60)
                yield f"127.0.0.1:{port}"
            finally:
                process.kill()


@contextmanager
def full_disk(disk: Path) -> Iterator[tuple[str, int]]:
    """Address and process of a real sidecar whose log, home and temporary files lie on a full disk of its own.

    In a mount namespace of its own, ``disk`` is a tmpfs of 64 KiB, filled to the last byte.
    """
    port, model = free_port(), models.fetch(models.CROSS_ENCODER, lambda line: None)
    disk.mkdir()
    fills = f"mount -t tmpfs -o size=64k full {disk} && (cat /dev/zero > {disk}/filler || true) 2>/dev/null"
    words = f"--workers 1 --port {port} --model {model}"
    runs = f"exec {sys.executable} -m rescorer_sidecar {words} > {disk}/log 2>&1"
    mapped = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    process = subprocess.Popen(
        ["unshare", *mapped, "--mount", "sh", "-c", f"{fills}; {runs}"],
        env={**os.environ, "HOME": str(disk), "TMPDIR": str(disk), "XDG_CACHE_HOME": str(disk)},
    )
    with process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        try:
            until(lambda: process.poll() is not None or _is_serving(health))
            if not _is_serving(health):
                raise RuntimeError(f"the sidecar does not serve on a full disk; its exit code: {process.poll()}")
            yield f"127.0.0.1:{port}", process.pid
        finally:
            process.kill()


def _is_serving(health: health_pb2_grpc.HealthStub) -> bool:
    try:
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1)
    except grpc.RpcError:
        return False
    return int(answer.status) == health_pb2.HealthCheckResponse.SERVING


def refused_by_disk(pid: int, disk: Path) -> bool:
    """Whether this folder, as that process sees it, takes no byte more."""
    try:
        Path(f"/proc/{pid}/root{disk}/more").write_bytes(b"x" * 4096)
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False
