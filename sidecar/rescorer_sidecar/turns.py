"""One caller's pairs that wait, in the order of their turns; pure, and it changes with what is added and taken alone.

Pairs whose deadlines lie within 50 ms of each other are equally urgent; an earlier class goes first. Inside a class
requests take turns of 512 tokens, in the order in which they came, each in its own first-stage order; a request that
comes later takes its first turn in the next round, so neither a large request nor a stream of small ones holds anybody
up.

## Decisions
2026-11: turns are numbered when a pair comes, so that the heap's order never changes (start-time fair queueing); a ring
of requests would have to be walked for every look-ahead.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Generic, TypeVar

TURN_TOKENS = 512
CLASS_S = 0.05

Urgency = tuple[float, int, int, int]
"""Deadline class, round, number of the request, first-stage place; smaller is more urgent."""


@dataclass(slots=True, kw_only=True, eq=False)
class Waiting:
    """One pair that waits. ``arrival`` numbers the requests as they come; ``index`` is first-stage order.

    caller: in whose turn it runs.
    deadline_s: the most urgent deadline of those that wait for it, which says when it is its turn.
    latest_s: their latest deadline, from which on it helps nobody.
    urgency: its place among its caller's; ``None`` while it waits in no queue.
    """

    index: int
    tokens: int
    arrival: int
    caller: str = ""
    deadline_s: float = math.inf
    latest_s: float = math.inf
    is_abandoned: bool = False
    urgency: Urgency | None = None

    def is_wanted(self, now_s: float) -> bool:
        """Somebody still waits for it, and it is not late."""
        return not self.is_abandoned and self.latest_s > now_s


Row = TypeVar("Row", bound=Waiting)
Entry = tuple[Urgency, Row]


@dataclass(slots=True)
class _Share:
    """A request's part in its class: where its next pair starts, in tokens, and how many of its pairs wait."""

    next_token: int
    pairs: int = 0


@dataclass(slots=True)
class _Class:
    """Equally urgent requests; ``round`` is the latest that was served."""

    round: int = -1
    shares: dict[int, _Share] = field(default_factory=dict)


class Turns(Generic[Row]):
    """Everything of one caller that waits for one model. ``tokens`` is the sum over it."""

    def __init__(self) -> None:
        self._heap: list[Entry[Row]] = []
        self._classes: dict[float, _Class] = {}
        self._length = 0
        self.tokens = 0

    def __len__(self) -> int:
        return self._length

    def add(self, pair: Row) -> None:
        """Let a pair wait; one that waits here already moves forward if its deadline has become more urgent."""
        urgency_class = pair.deadline_s // CLASS_S if pair.deadline_s < math.inf else math.inf
        if pair.urgency is not None:
            if urgency_class >= pair.urgency[0]:
                return
            self.leave(pair)
        pair.urgency = (urgency_class, self._round(urgency_class, pair), pair.arrival, pair.index)
        self._length += 1
        self.tokens += pair.tokens
        heapq.heappush(self._heap, (pair.urgency, pair))

    def head(self) -> Urgency | None:
        """The place of the most urgent pair; ``None`` where nothing waits."""
        while self._heap:
            urgency, pair = self._heap[0]
            if pair.urgency is urgency:
                return urgency
            heapq.heappop(self._heap)  # it has moved or left since
        return None

    def look(self) -> Entry[Row]:
        """Take the most urgent pair in hand, which :meth:`head` has seen: it goes back or leaves."""
        return heapq.heappop(self._heap)

    def go_back(self, entry: Entry[Row]) -> None:
        """A pair in hand waits on in its old place."""
        heapq.heappush(self._heap, entry)

    def serve(self, entry: Entry[Row]) -> None:
        """A pair in hand leaves to be run; who comes from now on comes after its round."""
        served = self._classes[entry[0][0]]
        served.round = max(served.round, entry[0][1])
        self.leave(entry[1])

    def leave(self, pair: Row) -> None:
        """A pair that waits here does so no more."""
        if pair.urgency is None:
            return
        urgency_class, _, arrival, _ = pair.urgency
        shares = self._classes[urgency_class].shares
        shares[arrival].pairs -= 1
        if not shares[arrival].pairs:
            del shares[arrival]
        if not shares:
            del self._classes[urgency_class]
        pair.urgency = None
        self._length -= 1
        self.tokens -= pair.tokens

    def purge(self) -> list[Row]:
        """Take out everything that was abandoned, wherever it waits; costs a walk over all."""
        entries = [entry for entry in self._heap if entry[1].urgency is entry[0]]
        gone = [pair for _, pair in entries if pair.is_abandoned]
        self._heap = [entry for entry in entries if not entry[1].is_abandoned]
        heapq.heapify(self._heap)
        for pair in gone:
            self.leave(pair)
        return gone

    def clear(self) -> list[Row]:
        """Take out everything."""
        gone = [pair for urgency, pair in self._heap if pair.urgency is urgency]
        self._heap.clear()
        for pair in gone:
            self.leave(pair)
        return gone

    def _round(self, urgency_class: float, pair: Row) -> int:
        served = self._classes.setdefault(urgency_class, _Class())
        share = served.shares.get(pair.arrival)
        if share is None:
            share = served.shares[pair.arrival] = _Share((served.round + 1) * TURN_TOKENS)
        first = share.next_token
        share.next_token += pair.tokens
        share.pairs += 1
        return first // TURN_TOKENS
