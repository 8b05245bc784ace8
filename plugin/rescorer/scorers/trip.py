"""One question on its way to the sidecars: which one is asked, which one next, and all of it before one deadline.

:meth:`Trip.attempt` is a generator that yields what is to be done (:data:`Step`) and is sent what came of it; a driver
in :mod:`rescorer.scorers.grpc` does it, with threads or with asyncio. Further attempts are tenacity's, by
:meth:`Trip.retrying`. A call ends as what its answer reads as, or as a ScorerError; neither is raised before the end.

## Decisions
2026-11: another sidecar is asked at once, the same one after a wait. Waits have jitter, so that searches that failed
together do not come back together; a wait that the sidecar asked for is only ever made longer.
2026-11: an answer that is nonsense is asked for again where another sidecar is left, since it is one sidecar that is
broken. A failure inside (INTERNAL) is not: the request may be what breaks it, and would break the next one too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

import tenacity

from rescorer.breaker import verdict
from rescorer.errors import BadScores, BreakerOpen, ScorerError, ScorerOverloaded, ScorerTimeout
from rescorer.scorers import calls, codes
from rescorer.scorers.calls import Ask
from rescorer.scorers.fleet import Fleet, Sent

Clock = Callable[[], float]
_GOES_ON = (*calls.PASSING, ScorerTimeout, BadScores)
"""Ends of one call after which its twin is waited for."""


class Deadline:
    """When a call must be over, on the given clock."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._end_s = clock() + timeout_s

    def left_s(self) -> float:
        """The seconds that are left, below 0 where it has passed."""
        return self._end_s - self._clock()

    def left_or_raise(self, after_s: float = 0.0) -> float:
        """The seconds that are left in ``after_s`` seconds; ScorerTimeout where none will be."""
        left_s = self.left_s() - after_s
        if left_s <= 0:
            raise ScorerTimeout("the time for scoring is over")
        return left_s


@dataclass(frozen=True, slots=True)
class Make:
    """Step: make this call and wait for its end. Result: its end."""

    sent: Sent


@dataclass(frozen=True, slots=True)
class Start:
    """Step: begin this call."""

    sent: Sent


@dataclass(frozen=True, slots=True)
class Wait:
    """Step: wait for the next end of a call that was begun. Result: the call and its end; None after ``within_s``."""

    within_s: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Step: let this call run on; :meth:`Trip.settle` is told its end."""

    sent: Sent


Step: TypeAlias = Make | Start | Wait | Leave
Steps: TypeAlias = Generator[Step, Any, Any]


class Trip:
    """One question; ``prefer`` is the address that answered the question before it, of the same search."""

    def __init__(
        self, fleet: Fleet, ask: Ask, deadline: Deadline, draw: Callable[[], float], prefer: str | None
    ) -> None:
        self.ask = ask
        self.deadline = deadline
        self.answered_by: str | None = None
        self._fleet = fleet
        self._draw = draw
        self._prefer = prefer
        self._tried: set[str] = set()

    def first_wait_s(self) -> float:
        """Seconds to wait before anything; ScorerTimeout where none would be left after that."""
        wait_s = self.ask.after_s
        if wait_s and self._prefer is not None and self._fleet.is_willing({self._prefer}):
            self._tried.add(self._prefer)
            wait_s = 0.0
        self.deadline.left_or_raise(wait_s)
        return wait_s

    def retrying(self) -> dict[str, Any]:
        """tenacity's arguments: which errors, how long to wait, and never past the deadline."""
        return {
            "retry": tenacity.retry_if_exception(self._may_pass),
            "wait": self._wait_s,
            "stop": self._is_over,
            "reraise": True,
        }

    def attempt(self) -> Steps:
        """One attempt, of one call or of two that race. Returns what the answer reads as, or raises ScorerError."""
        left_s = self.deadline.left_or_raise()
        first = self._fleet.begin(left_s, avoid=self._tried, prefer=self._prefer)
        self._tried.add(first.target.address)
        sent = [first]
        try:
            twin_after_s = self._fleet.twin_after_s(first)
            if twin_after_s is None or twin_after_s >= left_s:
                end = yield Make(first)
                self.settle(first, end)
            else:
                end = yield from self._race(sent, twin_after_s)
        finally:
            for call in sent:
                self._fleet.end(call, "unknown")  # unless its end is known
        if isinstance(end, ScorerError):
            raise end
        return end

    def settle(self, sent: Sent, end: Any, beside: Sent | None = None) -> None:
        """Book how a call ended; ``beside`` is the one that it raced with."""
        if not isinstance(end, ScorerError):
            self.answered_by = sent.target.address
            self._fleet.answered(sent, beside=beside)
            return
        rest_s = end.retry_after_s if isinstance(end, ScorerOverloaded) else None
        said = verdict(end, sent.given_s, is_its_word=codes.is_its_word(end))
        self._fleet.end(sent, said, rest_s=rest_s)

    def _race(self, sent: list[Sent], twin_after_s: float) -> Steps:
        """The first good end of two calls; ``sent`` gains the second one where it is made."""
        first = sent[0]
        yield Start(first)
        ended = (yield Wait(twin_after_s)) if twin_after_s else None
        if ended is None:
            twin = self._fleet.twin(first, max(0.0, self.deadline.left_s()), avoid=self._tried)
            if twin is not None:
                self._tried.add(twin.target.address)
                sent.append(twin)
                yield Start(twin)
        running, end = list(sent), ScorerTimeout("the sidecars did not answer in time")
        while running:
            ended = ended or (yield Wait(max(0.0, self.deadline.left_s())))
            if ended is None:
                break
            (call, end), ended = ended, None
            running.remove(call)
            self.settle(call, end, beside=running[0] if running else None)
            if not isinstance(end, _GOES_ON):
                yield from self._lost(running, sent)
                break
        return end

    def _lost(self, running: list[Sent], sent: list[Sent]) -> Steps:
        """The calls that nobody waits for any more: one that finds out runs on, the others are cancelled."""
        for call in running:
            if call.is_probe:
                sent.remove(call)
                yield Leave(call)
            elif not call.is_twin:
                self._fleet.end(call, "failed")

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, BreakerOpen):
            return False
        if isinstance(error, BadScores):
            return self._fleet.is_willing(self._tried)
        return isinstance(error, calls.PASSING) and self._fleet.is_willing()

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        if self._fleet.is_willing(self._tried):
            return 0.0
        error = state.outcome.exception() if state.outcome else None
        wait_s = calls.wait_s(error, state.attempt_number)
        if isinstance(error, ScorerOverloaded) and error.retry_after_s is not None:
            spare_s = max(0.0, self.deadline.left_s() - wait_s) / 2
            return wait_s + self._draw() * min(wait_s / 4, spare_s)
        return wait_s * (1.0 - self._draw() / 2)

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        return state.attempt_number >= self._fleet.most_tries or state.upcoming_sleep >= self.deadline.left_s()
