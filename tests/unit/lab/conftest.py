"""A toy engine in a folder that an unprivileged user can reach, and Ctrl-C that is heard."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescorer_lab import engines
from unit.lab.toy_engine import Toy


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    """The toy engine's world, with an empty cache; nodes that still run are stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="rescorer-toy-"))
    folder.chmod(0o755)  # the node runs as nobody where the tests run as root
    made = Toy(folder=folder)
    made.make_tools()
    monkeypatch.setenv("RESCORER_CACHE", str(folder / "cache"))
    monkeypatch.setenv("TOY_JAVA_HOME", str(made.java))
    monkeypatch.setenv("PATH", f"{made.tools}:{os.environ['PATH']}")
    yield made
    monkeypatch.setenv("RESCORER_CACHE", str(folder / "cache"))
    for node in engines.nodes():
        engines.down(node.name, say=made.said.append)
    shutil.rmtree(folder)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard, here and in processes started here, even where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
