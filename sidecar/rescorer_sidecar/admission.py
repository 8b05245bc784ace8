"""Who is let in to one model: pure, over what is unfinished and how fast it goes.

A request that is let in waits for its turn inside its deadline. One whose scores can't be there in time is refused at
once, with the time at which asking again makes sense: so under overload the model works for requests that it finishes,
and who must go elsewhere learns it early.

## Decisions
2026-11: 85 % of a request's patience may be planned with. The rest is for what comes more urgently later on, and for
forwards that take longer than those before. With 80 % requests that are a quarter of their patience each leave a model
idle for longer, with 90 % more of them than that are late.
2026-11: a request that could not be whole in its time even alone asks for half of the time: it gets a partial answer
where there is room for that. Refused by its own size it would get nothing, ever.
2026-11: forecasts are corrected by what became of earlier ones, for each caller. One who asks for more than his even
share is overtaken by others who come later, and would be let in to wait in vain as often as not. The correction rises
faster than it falls, so that most forecasts are kept and not half of them. Forecasts that nothing hangs on teach it
nothing: those of a part of a forward are wrong by half of it.
"""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from rescorer_sidecar.errors import Overloaded, TooManyTokens
from rescorer_sidecar.ledger import Ledger

PROMISED_SHARE = 0.85
LEAST_RETRY_S = 0.02

LEAST_FACTOR, MOST_FACTOR = 0.7, 2.0
UP, DOWN = 1 / 4, 1 / 16
"""How much of what was seen is taken over, where it took longer than the correction says, and where not."""

MOST_CALLERS = 1000
"""Corrections that are kept; those heard of longest ago are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request adds: about so many tokens of pairs that are neither known nor on their way.

    patience_s: how long it waits from now on; it and the deadline are None where it takes as long as it takes.
    """

    caller: str
    tokens: int
    deadline_s: float | None
    patience_s: float | None


class Admission:
    """Foretells what requests take, and learns from what they took."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._factors: OrderedDict[str, float] = OrderedDict()

    def factor(self, caller: str) -> float:
        """By how much this caller's requests take longer than tokens alone let expect."""
        return self._factors.get(caller, 1.0)

    def let_in(self, ask: Ask, tokens_per_s: float | None) -> float:
        """Seconds that the request should take by tokens alone; 0 where nobody can tell, or little depends on it.

        tokens_per_s: what the model gets through; None where that is not known yet. Overloaded where what stands before
        the request leaves it too little of its time.
        """
        if ask.patience_s is None or ask.deadline_s is None or tokens_per_s is None or not ask.tokens:
            return 0.0
        before_s = self._ledger.before(ask.caller, ask.deadline_s, ask.tokens) / tokens_per_s
        own_s = ask.tokens / tokens_per_s
        if before_s:
            _check(self.factor(ask.caller) * before_s, self.factor(ask.caller) * own_s, ask.patience_s)
        foretold_s = before_s + own_s
        return foretold_s if foretold_s >= PROMISED_SHARE * ask.patience_s / 2 else 0.0

    def took(self, caller: str, foretold_s: float, seconds: float) -> None:
        """A request that :meth:`let_in` foretold so many seconds for has taken these."""
        if not foretold_s:
            return
        factor, seen = self.factor(caller), min(max(seconds / foretold_s, LEAST_FACTOR), MOST_FACTOR)
        self._factors[caller] = factor + (seen - factor) * (UP if seen > factor else DOWN)
        self._factors.move_to_end(caller)
        if len(self._factors) > MOST_CALLERS:
            self._factors.popitem(last=False)


def check_size(field: str, lengths: Sequence[int], most_tokens: int) -> None:
    """TooManyTokens where texts of these lengths, more than one, hold more than that together."""
    sums = list(accumulate(lengths))
    if len(sums) > 1 and sums[-1] > most_tokens:
        raise TooManyTokens(field, sums[-1], most_tokens, max(1, bisect(sums, most_tokens)))


def _check(before_s: float, own_s: float, patience_s: float) -> None:
    promised_s = PROMISED_SHARE * patience_s
    late_s = before_s + (own_s if own_s <= promised_s else promised_s / 2) - promised_s
    if late_s > 0:
        retry_s = max(late_s, LEAST_RETRY_S)
        raise Overloaded(
            f"work for {1000 * before_s:.0f} ms stands before the request, its own takes {1000 * own_s:.0f} ms, and it "
            f"waits {1000 * patience_s:.0f} ms; try again in {retry_s:.2f} s, or ask another sidecar",
            retry_s,
        )
