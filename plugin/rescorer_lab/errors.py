"""Errors of the lab: each is one line that says what failed and what mends it."""

from __future__ import annotations

from rescorer.errors import RescorerError


class LabError(RescorerError):
    """Root of the lab's errors."""

    def __init__(self, what: str, mend: str = "") -> None:
        self.what = what
        self.mend = mend
        super().__init__(f"{what}; {mend}" if mend else what)


class Interrupted(LabError):
    """Somebody pressed Ctrl-C, and the command says what becomes of what it began."""


class DownloadError(LabError):
    """A package could not be downloaded whole, or does not have the expected checksum."""


class EngineError(LabError):
    """A local engine node could not be assembled, started or stopped."""


class NoJavaError(EngineError):
    """This machine has no Java that the engine runs on, and none could be had."""
