"""What became of the searches of one fault, and whether that is as promised. Pure: no socket, no process, no clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

GRACE_MS = 20.0
"""How much later than its budget a search may be answered at p99, the machine's own noise left out."""

STATUSES = ("reranked", "partial", "fallback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One search: its number in its load, when it began (seconds of the monotonic clock), and all that came of it.

    wall_s: the wall clock of its process then. elapsed_ms: until it was answered. engine_ms: as much of that as the
    engine took. allowed_ms: its budget. noise_ms: how much of the time after its budget the machine
    kept a thread waiting that wanted to run.
    ids: hits of the answer in order; expected: those of the same search without rescoring. error: its type, if raised.
    """

    number: int = 0
    begun_s: float
    wall_s: float = 0.0
    elapsed_ms: float
    engine_ms: float
    allowed_ms: float
    noise_ms: float = 0.0
    expected: Sequence[str] = ()
    ids: Sequence[str] = ()
    status: str | None = None
    reason: str | None = None
    error: str | None = None

    @property
    def late_ms(self) -> float:
        """How much longer it took than engine and budget; below 0 where it was in time."""
        return self.elapsed_ms - self.engine_ms - self.allowed_ms

    @property
    def due_s(self) -> float:
        """When its budget was used up."""
        return self.begun_s + (self.engine_ms + self.allowed_ms) / 1000

    @property
    def ended_s(self) -> float:
        """When it was answered."""
        return self.begun_s + self.elapsed_ms / 1000

    @property
    def lost(self) -> int:
        """Hits that are missing, there twice, or foreign."""
        if self.error is not None:
            return 0
        there, wanted = Counter(self.ids), Counter(self.expected)
        return (wanted - there).total() + (there - wanted).total()

    @property
    def is_silent(self) -> bool:
        """It was not rescored and does not say so, or does not say why."""
        if self.error is not None:
            return False
        return self.status not in STATUSES or (self.status != "reranked" and not self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What must hold under a fault beyond the rules for all.

    may: statuses that answers may have. must: those that some answers have to have, each.
    errors: types of errors that searches may end with, as they would without us.
    """

    may: frozenset[str] = frozenset(STATUSES)
    must: frozenset[str] = frozenset()
    errors: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    fault: str
    searches: int
    in_budget: int
    statuses: Mapping[str, int]
    lost: int
    errors: Mapping[str, int]
    late_p99_ms: float
    noise_p99_ms: float
    seconds: float
    evidence: Sequence[str] = ()
    complaints: Sequence[str] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return asdict(self)


def p99(values: Iterable[float]) -> float:
    """The value at rank ⌈0.99 n⌉, the largest of up to 99; 0 of none."""
    ordered = sorted(values)
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0.0


def row(fault: str, seen: Sequence[Seen], seconds: float, evidence: Sequence[str], complaints: Sequence[str]) -> Row:
    """The line for these searches."""
    answered = [one for one in seen if one.error is None]
    return Row(
        fault=fault,
        searches=len(seen),
        in_budget=sum(one.late_ms - one.noise_ms <= GRACE_MS for one in seen),
        statuses={status: sum(one.status == status for one in answered) for status in STATUSES},
        lost=sum(one.lost for one in seen),
        errors=dict(Counter(one.error for one in seen if one.error is not None)),
        late_p99_ms=round(p99(one.late_ms for one in seen), 1),
        noise_p99_ms=round(p99(one.noise_ms for one in seen), 1),
        seconds=round(seconds, 1),
        evidence=evidence,
        complaints=complaints,
    )


def complaints(seen: Sequence[Seen], promise: Promise, grace_ms: float = GRACE_MS) -> list[str]:
    """What is not as promised, one line each."""
    return [*_of_answers(seen), *_of_times(seen, grace_ms), *_of_promise(seen, promise)]


def _of_answers(seen: Sequence[Seen]) -> Iterable[str]:
    if not seen:
        yield "no search was made"
    if lost := sum(one.lost for one in seen):
        yield f"{lost} hits lost, doubled or foreign"
    if silent := [one for one in seen if one.is_silent]:
        yield f"{len(silent)} silent: status {silent[0].status!r}, reason {silent[0].reason!r}"


def _of_times(seen: Sequence[Seen], grace_ms: float) -> Iterable[str]:
    late = p99(one.late_ms - one.noise_ms for one in seen)
    if late > grace_ms:
        noise = p99(one.noise_ms for one in seen)
        yield f"p99 is {late:.0f} ms after the budget, with {noise:.0f} ms of the machine's noise taken off"


def _of_promise(seen: Sequence[Seen], promise: Promise) -> Iterable[str]:
    statuses = Counter(one.status for one in seen if one.error is None)
    if strange := {str(status) for status in statuses} - promise.may - {"None"}:
        reasons = sorted({str(one.reason) for one in seen if one.status in strange})
        yield f"answers are {', '.join(sorted(strange))} ({', '.join(reasons)}), which they may not be"
    for status in sorted(promise.must - statuses.keys()):
        yield f"no answer is {status}"
    errors = Counter(one.error for one in seen if one.error is not None)
    if unexpected := errors.keys() - promise.errors:
        yield f"errors: {', '.join(f'{errors[kind]} × {kind}' for kind in sorted(unexpected))}"
