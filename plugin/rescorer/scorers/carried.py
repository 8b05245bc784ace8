"""What a call to a sidecar carries besides its message: the trace that the search belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeAlias

from rescorer.scorers.channels import Target

Headers: TypeAlias = tuple[tuple[str, str], ...]

CARRIED: ContextVar[Headers] = ContextVar("carried to the sidecar", default=())
"""Metadata of the calls that are made here, beside those of their target."""


def with_carried(target: Target) -> Headers:
    """The metadata of a call to this target that is made here."""
    return (*target.headers, *CARRIED.get())
