"""A work is one row that is run once, whoever waits for it; a job is one request's wait for its works."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.ledger import Charge
from rescorer_sidecar.turns import Waiting

NOTHING = Tokens(ids=(), type_ids=())


@dataclass(slots=True, kw_only=True, eq=False)
class Work(Waiting):
    """One row on its way through the model, and the jobs that wait for it.

    It ends once, with a ``value``, with an ``error``, or, if nobody was to have it in time, with neither. ``on_end`` is
    called then, before the jobs are told.

    expected_tokens: about how many it has, until its row is known. charge: what the ledger holds for it.
    """

    row: Tokens = NOTHING
    value: Floats | None = None
    error: BaseException | None = None
    is_started: bool = False
    is_ended: bool = False
    jobs: list[Job[Any]] = field(default_factory=list)
    expected_tokens: int = 0
    charge: Charge | None = None
    on_end: Callable[[Work], None] | None = None

    def forget(self) -> None:
        """It will not run: nothing of it is needed but its place."""
        self.row = NOTHING


Kind = TypeVar("Kind", bound=Work)


class Job(Generic[Kind]):
    """One request's wait; ``settled`` is done once each of its works has ended. Works may be shared with other jobs."""

    def __init__(self, works: Sequence[Kind], deadline_s: float | None, begun_s: float, caller: str = "") -> None:
        self.works = works
        self.caller = caller
        self.deadline_s = math.inf if deadline_s is None else deadline_s
        self.queued_s: float | None = None
        self.started_s: float | None = None
        self.finished_s = self._begun_s = self._over_s = begun_s
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = sum(not work.is_ended for work in works)
        self._tell()

    @property
    def values(self) -> list[Floats | None]:
        """Each work's result, or ``None``."""
        return [work.value for work in self.works]

    @property
    def failures(self) -> dict[int, BaseException]:
        """The errors of the works that failed, by their place."""
        return {place: work.error for place, work in enumerate(self.works) if work.error is not None}

    @property
    def queue_ms(self) -> float:
        """Milliseconds from the first row's waiting until a row was started."""
        if self.queued_s is None:
            return 0.0
        return 1000 * max(0.0, (self.finished_s if self.started_s is None else self.started_s) - self.queued_s)

    @property
    def forward_ms(self) -> float:
        """Milliseconds from the first row's start to the last row's end, other requests' rows between them included."""
        return 0.0 if self.started_s is None else 1000 * max(0.0, self.finished_s - self.started_s)

    @property
    def expected_s(self) -> float:
        """Seconds from its beginning until it was over, or would have been at the pace at which its works ended.

        Where less than half of them did, as if half had.
        """
        ended = sum(work.is_ended for work in self.works) / max(1, len(self.works))
        return (max(self.finished_s, self._over_s) - self._begun_s) / max(0.5, ended)

    def started(self, now_s: float) -> None:
        """A row of it has begun."""
        if self.started_s is None:
            self.started_s = now_s

    def ended(self, now_s: float) -> None:
        """A row of it has ended."""
        self._open -= 1
        self.finished_s = now_s
        self._tell()

    def leave(self, now_s: float) -> None:
        """It waits no more."""
        self._open, self._over_s = 0, now_s
        self._tell()

    def _tell(self) -> None:
        if self._open <= 0 and not self.settled.done():
            self.settled.set_result(None)


class Watch(Protocol):
    """Is told of each forward that went well; :class:`rescorer_sidecar.metrics.ModelMetrics` is one."""

    def ran(self, tokens: int, budget_tokens: int, seconds: float) -> None:
        """A forward over so many tokens, of so many that it might have held, took so long."""


@dataclass(slots=True, kw_only=True)
class Endings:
    """How works have ended since the start; late ones and those that nobody waited for never reached the model."""

    scored: int = 0
    failed: int = 0
    late: int = 0
    abandoned: int = 0

    def count(self, work: Work) -> None:
        """One more has ended."""
        if work.error is not None:
            self.failed += 1
        elif work.value is not None:
            self.scored += 1
        elif work.is_abandoned:
            self.abandoned += 1
        else:
            self.late += 1
