"""A sidecar process of one's own: waited for, stopped, and explained where it does not come up."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescorer_lab import sidecar
from rescorer_lab.sidecar import Sidecar, SidecarError

SERVES = """
import os, signal, sys
print("settings: " + " ".join(sys.argv[1:]), flush=True)
print("seen: " + os.environ.get("RESCORER_SIDECAR_MODEL", "nothing"), flush=True)
print("rescorer-sidecar is serving on 127.0.0.1:4711", flush=True)
signal.sigwait({signal.SIGTERM})
print("rescorer-sidecar has stopped", flush=True)
"""
ENDS = "import sys; print('starting'); print('rescorer-sidecar: model /nowhere: no such folder\\n\\n'); sys.exit(2)"
HANGS = "import signal; signal.sigwait({signal.SIGTERM})"


def _start(code: str, log: Path, **kwargs: float) -> Sidecar:
    blocked = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})\n{code}"
    return sidecar.start(["--model", "m"], log, command=(sys.executable, "-c", blocked), **kwargs)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the process's output goes; the folder is yet to be made."""
    return tmp_path / "logs" / "sidecar.log"


@pytest.fixture
def running(log: Path) -> Iterator[Sidecar]:
    """A process that says that it serves."""
    started = _start(SERVES, log)
    yield started
    started.stop()


def test_the_address_is_what_the_process_says(running: Sidecar) -> None:
    """A free port is asked for, and where the process serves is read from its own line."""
    assert running.address == "127.0.0.1:4711"
    assert running.process.poll() is None


def test_options_reach_the_process_and_variables_do_not(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user's environment says about his own sidecar does not change this one."""
    monkeypatch.setenv("RESCORER_SIDECAR_MODEL", "another")
    started = _start(SERVES, log)
    started.stop()
    assert "settings: --port 0 --model m" in log.read_text()
    assert "seen: nothing" in log.read_text()


def test_stopping_lets_the_process_end_in_order(running: Sidecar) -> None:
    """SIGTERM is enough, its last words are in the log, and its exit code is its own."""
    running.stop()
    assert running.process.returncode == 0
    assert running.log.read_text().endswith("rescorer-sidecar has stopped\n")


def test_stopping_twice_does_no_harm(running: Sidecar) -> None:
    """A process that has ended is left alone."""
    running.stop()
    running.stop()
    assert running.process.returncode == 0


def test_the_process_is_out_of_reach_of_the_terminal(running: Sidecar) -> None:
    """Ctrl-C goes to the foreground group: the sidecar has a session of its own, and whoever started it ends it."""
    assert os.getsid(running.process.pid) == running.process.pid
    assert os.getsid(running.process.pid) != os.getsid(0)


def test_a_process_that_ends_at_once_is_explained_by_its_last_line(log: Path) -> None:
    """The error holds the last line that says something, and where to read the rest."""
    with pytest.raises(
        SidecarError, match="did not come up: rescorer-sidecar: model /nowhere: no such folder"
    ) as caught:
        _start(ENDS, log)
    assert str(caught.value).endswith(f"see {log}")


def test_a_silent_process_is_not_left_running(log: Path) -> None:
    """Where nothing comes in time the process is ended, and the error says that it printed nothing."""
    with pytest.raises(SidecarError, match="it printed nothing"):
        _start(HANGS, log, patience_s=0.01)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_while_waiting_leaves_nothing_running(log: Path, tmp_path: Path) -> None:
    """Ctrl-C before the sidecar serves ends the process that was started."""
    told = tmp_path / "pid"
    code = (
        "import os, pathlib, signal\n"
        f"pathlib.Path({str(told)!r}).write_text(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "signal.sigwait({signal.SIGTERM})\n"
    )
    with pytest.raises(KeyboardInterrupt):
        _start(code, log)
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_the_real_command_explains_a_model_that_is_not_there(log: Path) -> None:
    """The sidecar itself is started by default, and its own one-line error is passed on."""
    with pytest.raises(SidecarError, match="model /nowhere: no such folder"):
        sidecar.start(["--model", "/nowhere"], log)
