"""A process that was started here is known by id and birth, ends when told, and no other one is ever touched."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rescorer_lab.engines import process
from rescorer_lab.engines.process import Identity
from rescorer_lab.errors import EngineError

WAITS = "import signal; {before}; open({ready!r}, 'w').close(); signal.pause()"

Child = Callable[..., Identity]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a child writes."""
    return tmp_path / "child.log"


@pytest.fixture
def child(tmp_path: Path, log: Path) -> Iterator[Child]:
    """Starts a Python that waits for signals, and comes back once it does; what still runs is killed at the end."""
    started: list[Identity] = []

    def start(before: str = "0") -> Identity:
        ready = tmp_path / f"ready-{len(started)}"
        os.mkfifo(ready)
        code = WAITS.format(before=before, ready=str(ready))
        started.append(process.start([sys.executable, "-c", code], folder=tmp_path, environment={}, log=log))
        ready.read_bytes()  # until the child has opened and closed its end
        return started[-1]

    yield start
    for identity in started:
        process.stop(identity, patience_s=0)


def test_a_running_child_is_alive_and_ends_when_stopped(child: Child) -> None:
    """It lives until it is told to end, and not after."""
    identity = child()
    assert identity.is_alive
    process.stop(identity)
    assert not identity.is_alive


def test_a_stopped_child_had_the_chance_to_end_by_itself(child: Child, log: Path) -> None:
    """SIGTERM comes first, so that a node can close its files."""
    ends = "signal.signal(signal.SIGTERM, lambda *_: (print('closed', flush=True), exit(0)))"
    process.stop(child(ends))
    assert log.read_text() == "closed\n"


def test_stopping_twice_does_no_harm(child: Child) -> None:
    """The second stop finds nothing to do."""
    identity = child()
    process.stop(identity)
    process.stop(identity)
    assert not identity.is_alive


def test_a_child_that_ignores_the_request_is_killed_after_the_patience(child: Child) -> None:
    """Whoever ignores SIGTERM gets the given patience, then SIGKILL."""
    identity = child("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    process.stop(identity, patience_s=0.2)
    assert not identity.is_alive


def test_what_a_killed_launcher_had_started_is_killed_with_it(child: Child, tmp_path: Path) -> None:
    """A launcher that does not end in time can't take its engine along, so nothing of its group is left."""
    ended = tmp_path / "ended"
    os.mkfifo(ended)
    waits = f"exec 3> {ended}; trap '' TERM; sleep 1000"
    before = (
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN); import subprocess; subprocess.Popen(['bash', '-c', {waits!r}])"
    )
    identity = child(before)
    reader = os.open(ended, os.O_RDONLY)
    process.stop(identity, patience_s=0.2)
    assert os.read(reader, 1) == b""  # the end of the file comes when the last writer is gone
    os.close(reader)


def test_a_process_under_a_reused_id_is_neither_taken_for_ours_nor_signalled(child: Child) -> None:
    """Same process id, other birth: not alive for us, and alive after our stop."""
    other = child()
    ours = replace(other, began=other.began - 1)
    assert not ours.is_alive
    process.stop(ours, patience_s=0.2)
    assert other.is_alive


def test_the_test_run_itself_survives_a_stale_identity() -> None:
    """The id of this very process with another birth is left alone."""
    process.stop(Identity(pid=os.getpid(), began=0), patience_s=0.2)
    assert not Identity(pid=os.getpid(), began=0).is_alive


def test_an_id_that_nobody_has_is_not_alive_and_stopping_it_does_nothing() -> None:
    """An id above what the kernel gives out belongs to no process."""
    nobody = Identity(pid=2**22 + 1, began=1)
    process.stop(nobody)
    assert not nobody.is_alive


def test_a_child_that_was_killed_but_not_reaped_is_not_alive(child: Child) -> None:
    """A zombie keeps its id and birth in /proc and yet does not run."""
    identity = child()
    os.kill(identity.pid, signal.SIGKILL)
    os.waitid(os.P_PID, identity.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{identity.pid}/stat").exists()
    assert not identity.is_alive


def test_a_child_leads_a_session_of_its_own(child: Child) -> None:
    """Interrupting the command that started a node does not interrupt the node."""
    identity = child()
    assert os.getsid(identity.pid) == identity.pid != os.getsid(0)


def test_a_child_gets_the_given_environment_and_appends_to_the_log(tmp_path: Path, log: Path) -> None:
    """Nothing of the caller's environment leaks into a node, and its log keeps what was there."""
    log.write_text("before\n")
    code = (
        "import os, sys; print(os.environ.get('KEY'), os.environ.get('HOME'), os.getcwd()); print('x', file=sys.stderr)"
    )
    identity = process.start([sys.executable, "-c", code], folder=tmp_path, environment={"KEY": "value"}, log=log)
    os.waitid(os.P_PID, identity.pid, os.WEXITED | os.WNOWAIT)
    process.stop(identity)
    assert sorted(log.read_text().splitlines()) == ["before", f"value None {tmp_path}", "x"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_a_process_of_another_user_is_an_error_in_one_line(tmp_path: Path, log: Path) -> None:
    """Whoever may not signal the node reads that it belongs to someone else."""
    import pwd

    owner = pwd.getpwnam("daemon")
    command = ["/bin/sh", "-c", "kill -STOP $$"]
    identity = process.start(command, folder=Path("/"), environment={}, log=log, user=owner)
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        with pytest.raises(
            EngineError, match=f"^process {identity.pid} belongs to another user; stop it as that user$"
        ):
            process.stop(identity, patience_s=0)
        assert identity.is_alive
    finally:
        os.seteuid(0)
        process.stop(identity, patience_s=0)
    assert not identity.is_alive
