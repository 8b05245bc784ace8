"""What a flow needs of its client, for tests that run flows by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rescorer.budget import Clock
from rescorer.context import Context
from rescorer.domain import Engine, Outcome
from rescorer.profiles import ProfileCache


class EngineFailedError(Exception):
    """What an engine's client raises."""


def context(clock: Clock, profiles: ProfileCache | None = None, engine: Engine = "opensearch") -> Context:
    """A client with a sidecar, whose own timeout is 10 s and whose profiles are kept for a minute."""
    return Context(
        clock=clock,
        now=lambda: 0.0,
        profiles=profiles or ProfileCache(60.0),
        lot=lambda: 0.5,
        note=_ignore,
        audited=lambda _: None,
        has_scorer=True,
        timeout_s=10.0,
        engine=engine,
        refused=_refused,
        engine_error=(EngineFailedError,),
    )


def _ignore(outcome: Outcome) -> None: ...


def _refused(item: Mapping[str, Any]) -> Exception:
    return EngineFailedError(item["error"])
