"""What a doctor says: one line per thing looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "wrong", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``mend`` is what to do, empty where nothing is."""

    name: str
    status: Status
    says: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding in JSON types."""
        return {"name": self.name, "status": self.status, "says": self.says, "mend": self.mend}


def ok(name: str, says: str) -> Finding:
    """It is in order."""
    return Finding(name, "ok", says)


def wrong(name: str, says: str, mend: str = "") -> Finding:
    """It is not in order, and this mends it."""
    return Finding(name, "wrong", says, mend)


def unknown(name: str, says: str, mend: str = "") -> Finding:
    """It could not be looked at, or it is for the reader to judge."""
    return Finding(name, "unknown", says, mend)
