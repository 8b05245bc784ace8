"""What the demo runs on: an engine node and a sidecar, started here, stopped here."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rescorer_lab import downloads, engines, models, sidecar
from rescorer_lab.engines import Node
from rescorer_lab.show import Show
from rescorer_lab.sidecar import Sidecar

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Stack:
    """A running node and sidecar. Set ``keep_engine`` to leave the node running at the end."""

    node: Node
    sidecar: Sidecar
    keep_engine: bool = field(default=False)


@contextmanager
def running(name: str, show: Show) -> Iterator[Stack]:
    """The engine node ``name`` and a sidecar with both ONNX models; at the end, what was started here is stopped.

    A node that runs already is used and left running. Raises LabError where one of them does not come up.
    """
    earlier = engines.find(name)
    is_ours = earlier is None or not earlier.is_alive
    stack: Stack | None = None
    try:
        with show.step("engine"):
            node = engines.up(name=name, say=show.line)
        with show.step("sidecar with both models, through onnxruntime"):
            started = sidecar.start(_options(), log(name))
            stack = Stack(node, started)
            show.line(f"  {started.address} (process {started.process.pid})")
        yield stack
    finally:
        if stack is not None:
            stack.sidecar.stop()
        if is_ours and not (stack is not None and stack.keep_engine):
            engines.down(name, say=show.line)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt as Ctrl-C does, once: a second signal does not disturb the clean-up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _options() -> list[str]:
    cross_encoder, embedder = models.folder(models.CROSS_ENCODER), models.folder(models.EMBEDDER)
    return ["--backend", "onnx", "--model", str(cross_encoder), "--embedder", str(embedder)]


def log(name: str) -> Path:
    """Where the sidecar of the node ``name`` writes what it says."""
    return downloads.cache_folder() / "logs" / f"sidecar-{name}.log"
