"""What runs next: a pure structure over waiting pairs, with the time given.

Pairs whose deadlines lie within 50 ms of each other are equally urgent; an earlier class goes first. Inside a class
requests take turns of 512 tokens, in the order in which they came, each in its own first-stage order; a request that
comes later takes its first turn in the next round, so neither a large request nor a stream of small ones holds anybody
up. The most urgent pair leads a batch. A packed batch goes on in that order while the sum of tokens fits. A padded one
takes the pairs nearest to the leader in length, whichever request they belong to, while ``rows × longest`` fits, and
looks at the most urgent pairs only, four budgets of them, so that urgency is never traded for length beyond that.

## Decisions
2026-11-21: a heap by urgency and a bounded look-ahead; not one sort of everything that waits, because with one row a
forward (dynamically quantised models) that costs a sort of the whole queue per pair.
2026-11: turns are numbered when a pair comes, so that the heap's order never changes (start-time fair queueing); a ring
of requests would have to be walked for every look-ahead.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

LOOK_AHEAD_BUDGETS = 4
TURN_TOKENS = 512
CLASS_S = 0.05
ANY_ROWS = 1 << 31

LEAST_SHARE_TOKENS = 256
"""Less than this is not cut again to occupy another worker: below it a forward is mostly its fixed cost."""

Urgency = tuple[float, int, int, int]
"""Deadline class, round, number of the request, first-stage place; smaller is more urgent."""


@dataclass(slots=True, kw_only=True, eq=False)
class Waiting:
    """One pair that waits. ``arrival`` numbers the requests as they come; ``index`` is first-stage order.

    deadline_s: the most urgent deadline of those that wait for it, which says when it is its turn.
    latest_s: their latest deadline, from which on it helps nobody.
    urgency: its place in the queue; ``None`` while it is in none.
    """

    index: int
    tokens: int
    arrival: int
    deadline_s: float = math.inf
    latest_s: float = math.inf
    is_abandoned: bool = False
    urgency: Urgency | None = None

    def is_wanted(self, now_s: float) -> bool:
        """Somebody still waits for it, and it is not late."""
        return not self.is_abandoned and self.latest_s > now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one forward may hold: at most ``rows`` pairs, and ``budget_tokens`` tokens as the backend lays them out."""

    budget_tokens: int
    rows: int = ANY_ROWS
    is_packed: bool = False

    def cost(self, lengths: Sequence[int]) -> int:
        """Tokens that a forward over rows of these lengths computes."""
        return sum(lengths) if self.is_packed else len(lengths) * max(lengths, default=0)


Row = TypeVar("Row", bound=Waiting)
_Entry = tuple[Urgency, Row]


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


class Queue(Generic[Row]):
    """Everything that waits for one model. ``tokens`` is the sum over it."""

    def __init__(self) -> None:
        self._heap: list[_Entry[Row]] = []
        self._classes: dict[float, _Class] = {}
        self._length = 0
        self.tokens = 0

    def __len__(self) -> int:
        return self._length

    def add(self, pairs: Sequence[Row]) -> None:
        """Let pairs wait; one that waits already moves forward if its deadline has become more urgent."""
        for pair in pairs:
            urgency_class = pair.deadline_s // CLASS_S if pair.deadline_s < math.inf else math.inf
            if pair.urgency is not None:
                if urgency_class >= pair.urgency[0]:
                    continue
                self._leave(pair)
            pair.urgency = (urgency_class, self._round(urgency_class, pair), pair.arrival, pair.index)
            self._length += 1
            self.tokens += pair.tokens
            heapq.heappush(self._heap, (pair.urgency, pair))

    def take(self, limits: Limits, now_s: float) -> tuple[list[Row], list[Row]]:
        """The next batch, most urgent first, and the pairs found late or abandoned on the way; both leave the queue.

        The batch is empty only if nothing is left that is worth running. A pair over the whole budget runs alone.
        """
        horizon, dropped = self._most_urgent(limits, now_s)
        if not horizon:
            return [], dropped
        batch = _in_order(horizon, limits) if limits.is_packed else _around_leader(horizon, limits)
        for urgency, pair in batch:
            served = self._classes[urgency[0]]
            served.round = max(served.round, urgency[1])
            self._leave(pair)
        for entry in horizon:
            if entry[1].urgency is not None:
                heapq.heappush(self._heap, entry)
        return [pair for _, pair in batch], dropped

    def purge(self) -> list[Row]:
        """Take out everything that was abandoned, wherever it waits; costs a walk over the queue."""
        entries = [entry for entry in self._heap if entry[1].urgency is entry[0]]
        gone = [pair for _, pair in entries if pair.is_abandoned]
        self._heap = [entry for entry in entries if not entry[1].is_abandoned]
        heapq.heapify(self._heap)
        for pair in gone:
            self._leave(pair)
        return gone

    def clear(self) -> list[Row]:
        """Take out everything."""
        gone = [pair for urgency, pair in self._heap if pair.urgency is urgency]
        self._heap.clear()
        for pair in gone:
            self._leave(pair)
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

    def _leave(self, pair: Row) -> None:
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

    def _most_urgent(self, limits: Limits, now_s: float) -> tuple[list[_Entry[Row]], list[Row]]:
        horizon: list[_Entry[Row]] = []
        dropped: list[Row] = []
        tokens_left = limits.budget_tokens * (1 if limits.is_packed else LOOK_AHEAD_BUDGETS)
        while self._heap and tokens_left > 0 and (limits.rows > 1 or not horizon):
            urgency, pair = heapq.heappop(self._heap)
            if pair.urgency is not urgency:
                continue  # it has moved forward since
            if pair.is_wanted(now_s):
                horizon.append((urgency, pair))
                tokens_left -= pair.tokens
            else:
                self._leave(pair)
                dropped.append(pair)
        return horizon, dropped


def _in_order(horizon: Sequence[_Entry[Row]], limits: Limits) -> list[_Entry[Row]]:
    """The leader and those behind it, up to the first that doesn't fit."""
    count, tokens = 1, horizon[0][1].tokens
    while count < min(len(horizon), limits.rows) and tokens + horizon[count][1].tokens <= limits.budget_tokens:
        tokens += horizon[count][1].tokens
        count += 1
    return list(horizon[:count])


def _around_leader(horizon: Sequence[_Entry[Row]], limits: Limits) -> list[_Entry[Row]]:
    """The leader and its neighbours in length, grown one at a time towards the nearer length while they fit."""
    leader = horizon[0]
    by_length = sorted(horizon, key=lambda entry: (entry[1].tokens, entry[0]))
    lengths = [pair.tokens for _, pair in by_length]
    low = high = by_length.index(leader)
    while high - low + 1 < limits.rows:
        rows = high - low + 2
        up = lengths[high + 1] if high + 1 < len(lengths) else None
        down = lengths[low - 1] if low > 0 else None
        up_fits = up is not None and rows * up <= limits.budget_tokens
        down_fits = down is not None and rows * lengths[high] <= limits.budget_tokens
        if up_fits and (not down_fits or _nearer(up, down, leader[1].tokens)):
            high += 1
        elif down_fits:
            low -= 1
        else:
            break
    return sorted(by_length[low : high + 1], key=lambda entry: entry[0])


def _nearer(up: int | None, down: int | None, middle: int) -> bool:
    if up is None or down is None:
        return up is not None
    return up - middle <= middle - down


def share_tokens(waiting_tokens: int, budget_tokens: int, workers: int) -> int:
    """How much of what waits the next of so many workers takes, so that all of them end at about the same time.

    Never more than the budget; forwards are as few as that allows, and as many for each worker.
    """
    at_least = max(1, math.ceil(waiting_tokens / budget_tokens))
    evenly = math.ceil(at_least / workers) * workers
    forwards = max(at_least, min(evenly, waiting_tokens // LEAST_SHARE_TOKENS))
    return min(budget_tokens, max(1, math.ceil(waiting_tokens / forwards)))


def patience_s(left_s: float) -> float:
    """How long to wait for scores when the caller waits ``left_s`` seconds more; the rest brings the answer to him.

    The rest is a tenth, no less than 10 ms and no more than 100 ms: on a machine whose cores are all at work, an
    answer that leaves 10 ms before a deadline of 2 s is late as often as not.
    """
    return max(0.0, left_s - min(0.1, max(0.01, 0.1 * left_s)))
