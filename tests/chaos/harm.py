"""Looking at processes that are harmed, and waiting until they are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from end_to_end.redis_server import free_port
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


def memory_mb(one: Sidecar, what: str) -> float:
    """A line of /proc/PID/status: ``VmSize`` now, ``VmHWM`` the most that was ever resident."""
    lines = Path(f"/proc/{one.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def long_request(count: int) -> wire.ScoreRequest:
    """So many pairs of full length, each another one."""
    texts = [f"{number} {LONG_TEXT}" for number in range(count)]
    candidates = [wire.Candidate(id=str(place), text=text) for place, text in enumerate(texts)]
    return wire.ScoreRequest(query="which hotel is near the airport", candidates=candidates)


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
