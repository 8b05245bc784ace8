"""What the process says when it starts and stops."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

from rescorer_sidecar.__main__ import say


def test_a_line_is_there_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever waits for the address need not wait for a buffer to be full."""
    say("serving")
    assert capfd.readouterr().out == "serving\n"


def test_a_line_that_cannot_be_written_costs_the_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output on a full disk does not end the sidecar."""
    with contextlib.suppress(OSError), Path("/dev/full").open("w") as full:  # closing it writes once more
        monkeypatch.setattr(sys, "stdout", full)
        say("serving")
        with pytest.raises(OSError, match="space"):
            print("serving", flush=True)  # noqa: T201  # so that the test knows its disk is full
