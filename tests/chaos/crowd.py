"""The load processes, from outside: started once, given one load after the other, and what they tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from chaos.verdict import Seen

TESTS = Path(__file__).resolve().parents[1]
PATIENCE_S = 90.0
"""For one load. Searches are bounded by their own timeouts, so a load that takes longer hangs."""


APART = 5_000
"""Numbers of searches of one process, at most, before those of the next one."""


class Hangs(Exception):
    """A load did not end."""


class Process:
    """One load process."""

    def __init__(self, log: Path, **environment: str) -> None:
        self._log = log
        self._environment = environment
        self.start()

    def start(self) -> None:
        """Begin, or begin again."""
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        with self._log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chaos.load"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **self._environment, "PYTHONPATH": path},
            )

    def ask(self, wanted: Mapping[str, Any]) -> IO[bytes]:
        """Begin a load, or end the one that runs; its searches are lines of what is returned, up to an empty object."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(wanted).encode() + b"\n")
        stdin.flush()
        return stdout

    def stop(self) -> None:
        """It ends, at once."""
        self.process.kill()
        with suppress(BrokenPipeError), self.process:
            pass


class Crowd:
    """One load that runs in all processes at once, in every other one asynchronously. ``seen`` grows while it runs."""

    def __init__(
        self, processes: Sequence[Process], wanted: Mapping[str, Any], of_search: Callable[[Any], Seen]
    ) -> None:
        self.seen: list[Seen] = []
        self._of_search = of_search
        self._processes = processes
        self._told = threading.Condition()
        self._ended = 0
        self._threads = []
        for number, process in enumerate(processes):
            first = wanted["first"] + number * min(wanted["searches"], APART)
            lines = process.ask({**wanted, "first": first, "is_async": number % 2 == 1})
            self._threads.append(threading.Thread(target=self._listen, args=(lines,), daemon=True))
            self._threads[-1].start()

    def after(self, count: int) -> None:
        """Wait until so many searches have been answered."""
        with self._told:
            if not self._told.wait_for(lambda: len(self.seen) >= count or self._is_over, PATIENCE_S):
                raise Hangs(f"{len(self.seen)} searches were answered in {PATIENCE_S:.0f} s, and no more")

    def after_more(self, count: int) -> None:
        """Wait until so many more have been answered."""
        self.after(len(self.seen) + count)

    def enough(self) -> None:
        """No more searches than those on their way."""
        for process in self._processes:
            with suppress(BrokenPipeError):
                process.ask({})

    def join(self) -> None:
        """Wait until all have been answered."""
        self.after(sys.maxsize)

    @property
    def _is_over(self) -> bool:
        return self._ended == len(self._threads)

    def _listen(self, lines: IO[bytes]) -> None:
        for line in lines:
            told = json.loads(line)
            if not told:
                break
            with self._told:
                self.seen.append(self._of_search(told))
                self._told.notify_all()
        with self._told:
            self._ended += 1
            self._told.notify_all()


@contextmanager
def processes(count: int, log: Path, **environment: str) -> Iterator[list[Process]]:
    """So many load processes, for as long as the block runs."""
    with ExitStack() as running:
        begun = [Process(log, **environment) for _ in range(count)]
        for process in begun:
            running.callback(process.stop)
        yield begun
