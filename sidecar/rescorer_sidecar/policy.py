"""What runs next: a pure structure over waiting pairs, with the time given.

The most urgent pair leads a batch: earliest deadline first, then the request that came first, then first-stage order.
Around the leader the batch takes the pairs that are nearest to it in length, whichever request they belong to, as long
as ``rows × longest`` stays within the token budget. Only the most urgent pairs, four budgets of them, are looked at, so
that urgency is never traded for a fitting length beyond that.

## Decisions
2026-11-21: a heap by urgency and a bounded look-ahead; not one sort of everything that waits, because with one row a
forward (dynamically quantised models) that costs a sort of the whole queue per pair.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

LOOK_AHEAD_BUDGETS = 4


class Owner(Protocol):
    """The request that a pair belongs to."""

    @property
    def is_abandoned(self) -> bool:
        """Nobody waits for it any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One pair that waits. ``arrival`` numbers the requests as they come; ``index`` is first-stage order."""

    owner: Owner
    index: int
    tokens: int
    arrival: int
    deadline_s: float = math.inf

    @property
    def urgency(self) -> tuple[float, int, int]:
        """Smaller is more urgent; no two waiting pairs share one."""
        return (self.deadline_s, self.arrival, self.index)

    def is_wanted(self, now_s: float) -> bool:
        """Somebody still waits for it, and it is not late."""
        return not self.owner.is_abandoned and self.deadline_s > now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one forward may hold: at most ``rows`` pairs and ``budget_tokens`` tokens, padding counted."""

    budget_tokens: int
    rows: int


Row = TypeVar("Row", bound=Waiting)


class Queue(Generic[Row]):
    """Everything that waits for one model."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, int, int], Row]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, pairs: Sequence[Row]) -> None:
        """Let pairs wait."""
        for pair in pairs:
            heapq.heappush(self._heap, (pair.urgency, pair))

    def take(self, limits: Limits, now_s: float) -> tuple[list[Row], list[Row]]:
        """The next batch, and the pairs that were found late or abandoned on the way; both leave the queue.

        The batch is empty only if nothing is left that is worth running. A pair over the whole budget runs alone.
        """
        horizon, dropped = self._most_urgent(limits, now_s)
        if not horizon:
            return [], dropped
        batch = _around_leader(horizon, limits)
        taken = {pair.urgency for pair in batch}
        self.add([pair for pair in horizon if pair.urgency not in taken])
        return batch, dropped

    def purge(self) -> list[Row]:
        """Take out everything that was abandoned, wherever it waits; costs a walk over the queue."""
        gone = [pair for _, pair in self._heap if pair.owner.is_abandoned]
        self._heap = [entry for entry in self._heap if not entry[1].owner.is_abandoned]
        heapq.heapify(self._heap)
        return gone

    def clear(self) -> list[Row]:
        """Take out everything."""
        gone = [pair for _, pair in self._heap]
        self._heap.clear()
        return gone

    def _most_urgent(self, limits: Limits, now_s: float) -> tuple[list[Row], list[Row]]:
        horizon: list[Row] = []
        dropped: list[Row] = []
        tokens_left = limits.budget_tokens * LOOK_AHEAD_BUDGETS
        while self._heap and tokens_left > 0 and (limits.rows > 1 or not horizon):
            _, pair = heapq.heappop(self._heap)
            if pair.is_wanted(now_s):
                horizon.append(pair)
                tokens_left -= pair.tokens
            else:
                dropped.append(pair)
        return horizon, dropped


def _around_leader(horizon: Sequence[Row], limits: Limits) -> list[Row]:
    """The leader and its neighbours in length, grown one at a time towards the nearer length while they fit."""
    leader = horizon[0]
    by_length = sorted(horizon, key=lambda pair: (pair.tokens, pair.urgency))
    low = high = by_length.index(leader)
    while high - low + 1 < limits.rows:
        rows = high - low + 2
        down = by_length[low - 1] if low > 0 else None
        up = by_length[high + 1] if high + 1 < len(by_length) else None
        up_fits = up is not None and rows * up.tokens <= limits.budget_tokens
        down_fits = down is not None and rows * by_length[high].tokens <= limits.budget_tokens
        if up_fits and (not down_fits or _nearer(up, down, leader)):
            high += 1
        elif down_fits:
            low -= 1
        else:
            break
    return sorted(by_length[low : high + 1], key=lambda pair: pair.urgency)


def _nearer(up: Waiting | None, down: Waiting | None, leader: Waiting) -> bool:
    if up is None or down is None:
        return up is not None
    return up.tokens - leader.tokens <= leader.tokens - down.tokens


def patience_s(left_s: float) -> float:
    """How long to wait for scores when the caller waits ``left_s`` seconds more; the rest brings the answer to him.

    The rest is a tenth, no less than 10 ms and no more than 100 ms: on a machine whose cores are all at work, an
    answer that leaves 10 ms before a deadline of 2 s is late as often as not.
    """
    return max(0.0, left_s - min(0.1, max(0.01, 0.1 * left_s)))
