"""A process that outlives the command that started it: who it is, whether it still is, and how it ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescorer_lab.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process id and the moment its process began, in clock ticks since boot: together they name one process only."""

    pid: int
    began: int

    @property
    def is_alive(self) -> bool:
        """That very process runs; another one under the same id does not count, nor does a dead one not yet reaped."""
        state = _state(self.pid)
        return state is not None and state[0] != "Z" and state[1] == self.began


_CHILDREN: set[Identity] = set()
"""Processes started by this very process, which alone can reap them."""


def start(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path, user: Any = None
) -> Identity:
    """Start a command in a session of its own, its output appended to ``log``, as ``user`` (a pwd entry) if given."""
    drop: dict[str, Any] = {}
    if user is not None:
        drop = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **drop,
        )
    state = _state(process.pid)
    identity = Identity(pid=process.pid, began=state[1] if state else 0)
    _CHILDREN.add(identity)
    process.returncode = 0  # tells Popen that nobody waits through it: the process may outlive this one
    return identity


def stop(identity: Identity, patience_s: float = 60.0) -> None:
    """Ask the process to end, and end it where it has not after ``patience_s``; does nothing to any other process.

    Raises EngineError where it belongs to another user.
    """
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        handle = None
    if handle is not None:
        try:
            _end(handle, identity, patience_s)
        except PermissionError as error:
            raise EngineError(f"process {identity.pid} belongs to another user", "stop it as that user") from error
        finally:
            os.close(handle)
    if identity in _CHILDREN:
        _CHILDREN.discard(identity)
        os.waitpid(identity.pid, 0)


def _end(handle: int, identity: Identity, patience_s: float) -> None:
    """The handle names one process for good, so who it is is asked after it was opened.

    What a launcher started stands in its session and group. A launcher that ends by itself takes it along; one that
    has to be killed can't, so the group is.
    """
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 10.0)):
        if not identity.is_alive:
            return
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(identity.pid, number)
            else:
                signal.pidfd_send_signal(handle, number)
        poll.poll(1000 * wait_s)


def _state(pid: int) -> tuple[str, int] | None:
    """State letter and start time of a process, from the fields behind its name in /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return fields[0], int(fields[19])
