"""What may stand at a sidecar's address instead of a sidecar, and sidecars in processes that can be killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
_CHILD = (
    "import sys\n"
    "from contract.scorers.fake_sidecar import FakeService, served\n"
    "with served(FakeService()) as address:\n"
    "    print(address, flush=True)\n"
    "    sys.stdin.read()\n"
)


@contextmanager
def listening(says: bytes = b"", *, hangs_up: bool = False) -> Iterator[str]:
    """The address of somebody who accepts connections, says this on each, and nothing more."""
    with ExitStack() as held, socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(says)
                if hangs_up:
                    connection.close()
                else:
                    held.enter_context(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@contextmanager
def deaf() -> Iterator[str]:
    """An address whose connections are never accepted: the queue for them is full."""
    with ExitStack() as held, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def silent_name_server() -> Iterator[str]:
    """A name whose name server takes every question and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        yield f"dns://127.0.0.1:{server.getsockname()[1]}/sidecars.nowhere.test:50051"


@contextmanager
def processes(count: int) -> Iterator[list[tuple[str, subprocess.Popen[str]]]]:
    """So many fake sidecars, each in a process of its own, with their addresses."""
    with ExitStack() as running:
        begun = [
            subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=TESTS,
                env={"PYTHONPATH": str(TESTS), "PATH": ""},
            )
            for _ in range(count)
        ]
        for process in begun:
            running.enter_context(process)
            running.callback(process.kill)
        yield [(_line(process), process) for process in begun]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
