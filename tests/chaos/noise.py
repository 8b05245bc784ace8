"""The machine's own noise: for how much of a time it kept a thread waiting that wanted to run.

A process of its own asks to be woken every few milliseconds, works for half a millisecond of processor time, and tells
when it should have been done and when it was. It shares nothing with the processes that search, no interpreter lock
either, so what slows these down by themselves is no noise. Runs as ``python -m chaos.noise``.
"""

from __future__ import annotations

import bisect
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STEP_S, WORK_S = 0.005, 0.0005
TESTS = Path(__file__).resolve().parents[1]


class Noise:
    """What the probe tells, from outside; times are seconds of the machine's monotonic clock."""

    def __init__(self, probe: subprocess.Popen[str]) -> None:
        self._probe = probe
        self._due: list[float] = []
        self._woken: list[float] = []
        self._told = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def between_s(self, begun_s: float, ended_s: float) -> float:
        """How much of this time the probe should have been running and was not."""
        with self._told:
            self._told.wait_for(lambda: bool(self._woken) and self._woken[-1] >= ended_s, 60)
            first = bisect.bisect_left(self._woken, begun_s)
            last = bisect.bisect_right(self._due, ended_s)
            delays = zip(self._due[first:last], self._woken[first:last], strict=True)
            return sum(max(0.0, min(woken, ended_s) - max(due, begun_s)) for due, woken in delays)

    def _listen(self) -> None:
        assert self._probe.stdout is not None
        for line in self._probe.stdout:
            due, woken = map(float, line.split())
            with self._told:
                self._due.append(due)
                self._woken.append(woken)
                self._told.notify_all()


@contextmanager
def measured() -> Iterator[Noise]:
    """The noise of this machine, while the block runs."""
    probe = subprocess.Popen(
        [sys.executable, "-m", "chaos.noise"], cwd=TESTS, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    with probe:
        try:
            yield Noise(probe)
        finally:
            probe.kill()


def main() -> None:
    """Sleep and tell, until somebody ends it."""
    while True:
        due_s = time.monotonic() + STEP_S + WORK_S
        time.sleep(STEP_S)
        until_s = time.thread_time() + WORK_S
        while time.thread_time() < until_s:
            pass
        sys.stdout.write(f"{due_s:.6f} {time.monotonic():.6f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
