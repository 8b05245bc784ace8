"""What long work has done, a line of JSON each as it comes: what was asked is never asked again.

The first line says what the others are of, by a digest of all that decides them. A last line that an interruption cut
short counts as not written, and a file that came no further than its first line binds nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rescorer_lab.errors import LabError

Told = Mapping[str, Any]


class Journal:
    """A file of lines, open for more.

    of: what they depend on, in JSON types. key: what a line is about; ``done`` holds those of all lines.
    Raises LabError where the file holds lines of something else, or can't be written.
    """

    def __init__(self, path: Path, of: Any, key: Callable[[Told], Hashable]) -> None:
        self.path = path
        self._key = key
        self._digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
        self.done: set[Hashable] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._resume()
            self._file: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise LabError(f"{path} can't be written: {error.strerror}", "name another folder with --out") from error
        if self._file.tell() == 0:
            self._write({"digest": self._digest})

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, told: Told) -> None:
        """Write one line; it counts from here on."""
        self._write(told)
        self.done.add(self._key(told))

    def _resume(self) -> None:
        if not self.path.exists():
            return
        whole, is_ours = 0, True
        with self.path.open("rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                is_ours = self._recall(json.loads(raw), is_ours=is_ours)
                whole += len(raw)
        with self.path.open("rb+") as file:
            file.truncate(whole if is_ours else 0)

    def _recall(self, told: Told, *, is_ours: bool) -> bool:
        """Take one line in; whether the lines from here on are of what we are of."""
        if "digest" in told:
            return bool(told["digest"] == self._digest)
        if not is_ours:
            raise LabError(
                f"{self.path} is of something else: other topics, systems, models, another index or profile",
                "name another folder with --out, or delete this one",
            )
        self.done.add(self._key(told))
        return True

    def _write(self, told: Told) -> None:
        self._file.write(json.dumps(told, ensure_ascii=False) + "\n")
        self._file.flush()


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """What a journal holds, one line at a time, in the order in which it came."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            told = json.loads(line)
            if "digest" not in told:
                yield told
