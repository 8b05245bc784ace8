"""The processes that call, from outside, and the process that they call, watched."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

WORKER = Path(__file__).with_name("worker.py")
LEAD_S = 0.3
"""Between a phase's order and its beginning, so that all processes begin together."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: seconds since its phase began, and what became of it."""

    due_s: float
    sent_s: float
    ended_s: float
    outcome: str
    pairs: int

    @property
    def took_s(self) -> float:
        """From the moment it was due, so that a client that falls behind hides nothing."""
        return self.ended_s - self.due_s


class Crowd:
    """Processes that call together."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def phase(self, door: dict[str, str], seconds: float, deadline_ms: float, **how: Any) -> list[Call]:
        """One phase: ``rate`` calls a second, or so many ``callers``, spread over the processes."""
        begin_s, count = time.monotonic() + LEAD_S, len(self._processes)
        share = {name: value / count if name == "rate" else max(1, value // count) for name, value in how.items()}
        for number, process in enumerate(self._processes):
            named = {**door, "caller": f"caller {number}"}
            wanted = {"door": named, "name": str(number), "seed": number, "begin_s": begin_s, "seconds": seconds}
            assert process.stdin is not None
            process.stdin.write(json.dumps({**wanted, "deadline_ms": deadline_ms, **share}) + "\n")
            process.stdin.flush()
        told = [process.stdout.readline() for process in self._processes if process.stdout is not None]
        calls = [entry for line in told for entry in json.loads(line)]
        return sorted((Call(*(at - begin_s for at in entry[:3]), *entry[3:]) for entry in calls), key=_due)


def _due(call: Call) -> float:
    return call.due_s


@contextmanager
def crowd(count: int, requests: Path) -> Iterator[Crowd]:
    """So many processes, for as long as the block runs."""
    with ExitStack() as running:
        processes = []
        for _ in range(count):
            command = [sys.executable, str(WORKER), str(requests)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.callback(_end, process)
            processes.append(process)
        yield Crowd(processes)


def _end(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


@dataclass(frozen=True, slots=True)
class Sample:
    """A process and its children at a moment: resident bytes, open descriptors, threads, processor seconds so far."""

    at_s: float
    rss: int
    descriptors: int
    threads: int
    cpu_s: float


class Watch:
    """Looks at a process, its children included, every ``every_s`` seconds while the block runs."""

    def __init__(self, pid: int, every_s: float = 0.5) -> None:
        self._root, self._every_s = psutil.Process(pid), every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Watch:
        self.samples.append(self.look())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.samples.append(self.look())

    def look(self) -> Sample:
        """As it is now."""
        found = [self._of(process) for process in [self._root, *self._root.children(recursive=True)]]
        return Sample(time.monotonic(), *map(sum, zip(*found, strict=True)))

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            self.samples.append(self.look())

    @staticmethod
    def _of(process: psutil.Process) -> tuple[int, int, int, float]:
        with process.oneshot():
            times = process.cpu_times()
            return process.memory_info().rss, process.num_fds(), process.num_threads(), times.user + times.system
