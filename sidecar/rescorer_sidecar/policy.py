"""What runs next: a pure structure over waiting pairs, with the time given.

Between callers: the most urgent pair goes first, as long as its caller is not more than a lead of 4,096 tokens ahead of
another one that waits. So callers who ask moderately are served by deadline alone, and one who floods the queue gets
his even share of the device and no more. Inside a caller: deadlines, then turns (:mod:`rescorer_sidecar.turns`).

The first pair leads a batch. A packed batch goes on in that order while the sum of tokens fits. A padded one takes the
pairs nearest to the leader in length, whichever request they belong to, while ``rows × longest`` fits, and looks at the
first pairs only, four budgets of them, so that urgency is never traded for length beyond that.

## Decisions
2026-11-21: a heap by urgency and a bounded look-ahead; not one sort of everything that waits, because with one row a
forward (dynamically quantised models) that costs a sort of the whole queue per pair.
2026-11: what callers were given is counted when it runs, not when it comes: a caller's own urgent request overtakes all
that he asked before. Rejected: strict shares, which slow an urgent caller beside a patient one where both have room.
2026-11: a caller who comes, or comes back, begins where the others are on average: nobody saves up time by asking
nothing, and a stream of callers who come once each takes no more than its part from one who waits.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from rescorer_sidecar.turns import Entry, Row, Turns

LOOK_AHEAD_BUDGETS = 4
LEAD_TOKENS = 4096
"""How far a caller may be ahead of another that waits."""

MOST_REMEMBERED = 1000
"""How many callers who have left are remembered before those among them are forgotten that are not ahead."""

ANY_ROWS = 1 << 31

LEAST_SHARE_TOKENS = 256
"""Less than this is not cut again to occupy another worker: below it a forward is mostly its fixed cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one forward may hold: at most ``rows`` pairs, and ``budget_tokens`` tokens as the backend lays them out."""

    budget_tokens: int
    rows: int = ANY_ROWS
    is_packed: bool = False

    def cost(self, lengths: Sequence[int]) -> int:
        """Tokens that a forward over rows of these lengths computes."""
        return sum(lengths) if self.is_packed else len(lengths) * max(lengths, default=0)


class Queue(Generic[Row]):
    """Everything that waits for one model. ``tokens`` is the sum over it."""

    def __init__(self) -> None:
        self._lines: dict[str, Turns[Row]] = {}
        self._given_tokens: dict[str, int] = {}
        self._reached_tokens = 0

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def tokens(self) -> int:
        """The sum over all that waits."""
        return sum(line.tokens for line in self._lines.values())

    @property
    def remembered_callers(self) -> int:
        """Of how many callers it is known how much they were given."""
        return len(self._given_tokens)

    def given_tokens(self, caller: str) -> int:
        """Where a caller stands on the scale of what callers were given; less is earlier."""
        given = self._given_tokens.get(caller, 0)
        return given if caller in self._lines else max(given, self._reached_tokens)

    def add(self, pairs: Sequence[Row]) -> None:
        """Let pairs wait; one that waits already moves forward if its deadline has become more urgent."""
        for pair in pairs:
            line = self._lines.get(pair.caller)
            if line is None:
                self._given_tokens[pair.caller] = self.given_tokens(pair.caller)
                line = self._lines[pair.caller] = Turns()
            line.add(pair)

    def hand_over(self, pair: Row, caller: str) -> None:
        """A pair is wanted by another caller as well: it is his from now on where he stands earlier."""
        if caller == pair.caller or self.given_tokens(caller) >= self.given_tokens(pair.caller):
            return
        is_waiting = pair.urgency is not None
        if is_waiting:
            self._lines[pair.caller].leave(pair)
            self._forget_empty([pair.caller])
        pair.caller = caller
        if is_waiting:
            self.add([pair])

    def take(self, limits: Limits, now_s: float) -> tuple[list[Row], list[Row]]:
        """The next batch, first come first, and the pairs found late or abandoned on the way; both leave the queue.

        The batch is empty only if nothing is left that is worth running. A pair over the whole budget runs alone.
        """
        horizon, dropped = self._first(limits, now_s)
        if not horizon:
            self._forget_empty(list(self._lines))
            return [], dropped
        batch = _in_order(horizon, limits) if limits.is_packed else _around_leader(horizon, limits)
        self._reached_tokens += sum(pair.tokens for _, pair in batch) // len(self._lines)
        for entry in batch:
            self._lines[entry[1].caller].serve(entry)
            self._given_tokens[entry[1].caller] += entry[1].tokens
        for entry in horizon:
            if entry[1].urgency is not None:
                self._lines[entry[1].caller].go_back(entry)
        self._forget_empty({entry[1].caller for entry in horizon}.union(pair.caller for pair in dropped))
        return [pair for _, pair in batch], dropped

    def purge(self) -> list[Row]:
        """Take out everything that was abandoned, wherever it waits; costs a walk over the queue."""
        gone = [pair for line in self._lines.values() for pair in line.purge()]
        self._forget_empty(list(self._lines))
        return gone

    def clear(self) -> list[Row]:
        """Take out everything."""
        gone = [pair for line in self._lines.values() for pair in line.clear()]
        self._forget_empty(list(self._lines))
        return gone

    def _first(self, limits: Limits, now_s: float) -> tuple[list[Entry[Row]], list[Row]]:
        """What is in hand for the next batch, in order, and what is dropped."""
        horizon: list[Entry[Row]] = []
        dropped: list[Row] = []
        order = [(self._lead(caller), head, caller) for caller, line in self._lines.items() if (head := line.head())]
        heapq.heapify(order)
        in_hand = dict.fromkeys(self._lines, 0)
        tokens_left = limits.budget_tokens * (1 if limits.is_packed else LOOK_AHEAD_BUDGETS)
        while order and tokens_left > 0 and (limits.rows > 1 or not horizon):
            _, _, caller = heapq.heappop(order)
            line = self._lines[caller]
            entry = line.look()
            pair = entry[1]
            if pair.is_wanted(now_s):
                horizon.append(entry)
                tokens_left -= pair.tokens
                in_hand[caller] += pair.tokens
            else:
                line.leave(pair)
                dropped.append(pair)
            if head := line.head():
                heapq.heappush(order, (self._lead(caller, in_hand[caller]), head, caller))
        return horizon, dropped

    def _lead(self, caller: str, more_tokens: int = 0) -> int:
        """In which lead a caller is; those in the same one are served by urgency alone."""
        return (self.given_tokens(caller) + more_tokens) // LEAD_TOKENS

    def _forget_empty(self, callers: Iterable[str]) -> None:
        for caller in callers:
            if caller in self._lines and not self._lines[caller]:
                del self._lines[caller]
        if not self._lines:
            self._reached_tokens = max(self._given_tokens.values(), default=self._reached_tokens)
            self._given_tokens.clear()
        if len(self._given_tokens) > MOST_REMEMBERED + 2 * len(self._lines):
            self._given_tokens = {
                caller: given
                for caller, given in self._given_tokens.items()
                if given > self._reached_tokens or caller in self._lines
            }


def _in_order(horizon: Sequence[Entry[Row]], limits: Limits) -> list[Entry[Row]]:
    """The leader and those behind it, up to the first that doesn't fit."""
    count, tokens = 1, horizon[0][1].tokens
    while count < min(len(horizon), limits.rows) and tokens + horizon[count][1].tokens <= limits.budget_tokens:
        tokens += horizon[count][1].tokens
        count += 1
    return list(horizon[:count])


def _around_leader(horizon: Sequence[Entry[Row]], limits: Limits) -> list[Entry[Row]]:
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
