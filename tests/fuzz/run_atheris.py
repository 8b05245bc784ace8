"""``make fuzz``: atheris feeds the targets with JSON and bytes that it grows by the code that it reaches.

FUZZ_SECONDS=300 make fuzz        # every target in turn gets its share of the time; prints how many inputs each saw
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["rescorer", "rescorer_lab", "rescorer_sidecar"]):
    from fuzz import doors, lab, readers, targets


def value(data: Any, depth: int = 0) -> Any:
    """A JSON value out of the fuzzer's bytes."""
    kind = data.ConsumeIntInRange(0, 8 if depth < 5 else 6)
    if kind == 0:
        return None
    if kind == 1:
        return data.ConsumeBool()
    if kind == 2:
        return data.ConsumeInt(9)
    if kind == 3:
        return data.ConsumeFloat()
    if kind == 4:
        return data.ConsumeUnicode(12)
    if kind in (5, 6):
        return data.PickValueInList(targets.NAMES)
    count = data.ConsumeIntInRange(0, 4)
    if kind == 7:
        return [value(data, depth + 1) for _ in range(count)]
    return {data.PickValueInList(targets.NAMES): value(data, depth + 1) for _ in range(count)}


def json_of(raw: bytes) -> Any:
    """The JSON value that these bytes choose."""
    return value(atheris.FuzzedDataProvider(raw))


TARGETS: tuple[tuple[Callable[[Any], None], Callable[[bytes], Any]], ...] = (
    *((target, json_of) for target in targets.TARGETS),
    *((target, bytes) for target in (*doors.TARGETS, *readers.TARGETS, *lab.TARGETS)),
)
"""Each target, and what it is given of the fuzzer's bytes."""


def fed(target: Callable[[Any], None], given: Callable[[bytes], Any], until_s: float) -> Callable[[bytes], None]:
    """The target as atheris calls it; ends the process when its time is over, having told how many inputs it saw."""
    seen = 0

    def once(raw: bytes) -> None:
        nonlocal seen
        seen += 1
        target(given(raw))
        if time.monotonic() > until_s:
            sys.stdout.write(f"{target.__name__}: {seen:,} inputs, nothing but typed errors\n")
            sys.stdout.flush()
            os._exit(0)

    return once


def main() -> int:
    """Fuzz each target in a process of its own, since libFuzzer never returns; 1 where one of them broke a claim."""
    logging.disable(logging.CRITICAL)  # what the doors say of each input
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        return _fuzzed()


def _fuzzed() -> int:
    seconds = float(os.environ.get("FUZZ_SECONDS", "60")) / len(TARGETS)
    broken = 0
    for target, given in TARGETS:
        child = os.fork()
        if child == 0:
            options = [
                sys.argv[0],
                "-max_len=600",
                "-verbosity=0",
                f"-artifact_prefix={os.environ.get('TMPDIR', '/tmp')}/",
            ]
            atheris.Setup(options, fed(target, given, time.monotonic() + seconds))
            atheris.Fuzz()
        broken += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
