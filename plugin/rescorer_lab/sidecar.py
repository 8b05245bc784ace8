"""A sidecar process of one's own on loopback: started, waited for, stopped.

## Decisions
2026-11: the process gets a session of its own. Ctrl-C in a terminal goes to the whole foreground group, and whoever
started the sidecar must be the one that ends it, in order.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rescorer_lab.errors import LabError

SERVING = "rescorer-sidecar is serving on "
COMMAND = (sys.executable, "-m", "rescorer_sidecar")
READY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 30.0


class SidecarError(LabError):
    """A sidecar process could not be started."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running sidecar: ``address`` is ``host:port``, ``log`` what it printed."""

    address: str
    process: subprocess.Popen[str]
    listener: threading.Thread
    log: Path

    def stop(self) -> None:
        """SIGTERM, so that it drains; SIGKILL where it has not ended after half a minute. Twice does no harm."""
        _end(self.process, self.listener)


def start(
    options: Sequence[str], log: Path, *, command: Sequence[str] = COMMAND, patience_s: float = READY_WITHIN_S
) -> Sidecar:
    """Start ``rescorer-sidecar`` with these options on a free port and return it once it serves.

    Only the options count: ``RESCORER_SIDECAR_*`` variables are not handed on. Raises SidecarError with the last line
    that the process printed where it ends or does not serve within ``patience_s``; then nothing is left running.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESCORER_SIDECAR_")}
    process = subprocess.Popen(
        [*command, "--port", "0", *options],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(process.stdout, log, told), daemon=True)
    listener.start()
    try:
        address = told.get(timeout=patience_s)
    except queue.Empty:
        address = ""
    except BaseException:
        _end(process, listener)
        raise
    if not address:
        _end(process, listener)
        raise SidecarError(f"the sidecar did not come up: {_last_line(log)}", f"see {log}")
    return Sidecar(address, process, listener, log)


def _listen(output: IO[str], log: Path, told: queue.SimpleQueue[str]) -> None:
    """Copy a process's output to its log until it ends; tell its address, or nothing where it ends before."""
    with log.open("w", encoding="utf-8", buffering=1) as out, output as lines:
        for line in lines:
            out.write(line)
            if line.startswith(SERVING):
                told.put(line.removeprefix(SERVING).strip())
    told.put("")


def _end(process: subprocess.Popen[str], listener: threading.Thread) -> None:
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    listener.join()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8").split("\n") if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "it printed nothing")
