"""The answers of an evaluation, a line each as they come: what was asked is never asked again.

The first line says what the answers are of, by a digest of all that decides them. A last line that an interruption cut
short counts as not written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rescorer_lab.errors import LabError
from rescorer_lab.evaluation.asking import Answer

NAME = "answers.jsonl"


class Journal:
    """The file ``answers.jsonl`` of a folder, open for more; ``of`` is what the answers depend on, in JSON types.

    Raises LabError where the folder holds answers of something else, or can't be written.
    """

    def __init__(self, folder: Path, of: Any) -> None:
        self.path = folder / NAME
        self._digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
        self.done: dict[tuple[str, str], None] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._resume()
            self._file: IO[str] = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise LabError(f"{self.path} can't be written: {error.strerror}", "name another folder: --out") from error
        if self._file.tell() == 0:
            self._write({"digest": self._digest})

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, answer: Answer) -> None:
        """Write one answer; it counts from here on."""
        self._write(answer.as_dict())
        self.done[answer.system, answer.topic] = None

    def missing(self, systems: Sequence[str], topic: str) -> list[str]:
        """The systems that a topic was not asked of yet."""
        return [system for system in systems if (system, topic) not in self.done]

    def _resume(self) -> None:
        if not self.path.exists():
            return
        whole = 0
        with self.path.open("rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                self._recall(json.loads(raw))
                whole += len(raw)
        with self.path.open("rb+") as file:
            file.truncate(whole)

    def _recall(self, told: Mapping[str, Any]) -> None:
        if "digest" not in told:
            self.done[told["system"], told["topic"]] = None
        elif told["digest"] != self._digest:
            raise LabError(
                f"{self.path} holds the answers of another evaluation: other topics, systems, index or model",
                "name another folder with --out, or delete this one",
            )

    def _write(self, told: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(told, ensure_ascii=False) + "\n")
        self._file.flush()


def answers(folder: Path) -> Iterator[Answer]:
    """The answers that a folder holds, one at a time, in the order in which they came."""
    with (folder / NAME).open(encoding="utf-8") as file:
        for line in file:
            told = json.loads(line)
            if "digest" not in told:
                yield Answer.of(told)
