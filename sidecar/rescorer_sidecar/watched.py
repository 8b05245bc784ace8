"""A value that is read from files, and read again when one of them has changed; safe in threads.

## Decisions
2026-11: the files are looked at when somebody knocks, which costs a few microseconds, and no clock or thread polls
them. Time of change, size and inode are compared, so that a file that was moved over another is noticed, too.
2026-11: files that can't be used any more leave the value as it was, and say so in the log once for each change. Who
writes certificate and key one after the other is between the two for a moment; an emptied tokens file locks nobody out
and lets nobody new in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from rescorer_sidecar.errors import ConfigError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Watched(Generic[T]):
    """What ``read`` makes of some files. ``read`` raises ConfigError where it can't use them, from here on as well."""

    def __init__(self, files: Sequence[str], read: Callable[[], T]) -> None:
        self._files = tuple(map(Path, files))
        self._read = read
        self._lock = threading.Lock()  # held while files are read, so that one reader is enough; nothing else is taken
        self._seen = self._looks()
        self._value = read()

    def current(self) -> T:
        """The value as the files are now; the one before where they can't be used."""
        with self._lock:
            looks = self._looks()
            if looks != self._seen:
                self._renew(looks)
            return self._value

    def _renew(self, looks: tuple[object, ...]) -> None:
        try:
            value = self._read()
        except ConfigError as error:
            logger.error("%s; what was read before stays in force", error)
        else:
            self._value = value
            logger.info("%s: read again", ", ".join(path.name for path in self._files))
        self._seen = looks  # as they looked before they were read: a change since is seen by the next call

    def _looks(self) -> tuple[object, ...]:
        return tuple(_look(path) for path in self._files)


def _look(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino
