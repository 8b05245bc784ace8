"""A real Redis server of a test's own: started from Debian's package, frozen, killed, and gone at the end."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rescorer_lab.engines import debian

COMMAND = "redis-server"


@dataclass
class RedisServer:
    """One server on a unix socket in ``folder``; options as on its command line."""

    folder: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "redis.sock"

    @property
    def address(self) -> str:
        """As the setting ``shared_cache`` takes it."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it empty, and wait until it listens."""
        words = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([COMMAND, *words, *self.options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "eady to accept connections" in line:
                return
        raise RuntimeError("".join(said))

    def freeze(self) -> None:
        """It takes connections still, as the kernel does that, but answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone with all that it held."""
        with self.process:
            self.process.kill()
        self.socket.unlink(missing_ok=True)


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server for as long as the block runs; the test is skipped where there is none and none can be installed."""
    if shutil.which(COMMAND) is None and debian.may_install():
        debian.install(COMMAND, lambda line: None)
    if shutil.which(COMMAND) is None:
        pytest.skip("redis-server is missing; run: apt-get install redis-server")
    server = RedisServer(folder, options)
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
