"""Who is let in: pure, over what is unfinished and how fast it goes.

A request that is let in waits for its turn inside its deadline. One whose scores can't be there in time is refused at
once, with the time at which asking again makes sense: so under overload the model works for requests that it finishes,
and who must go elsewhere learns it early.

## Decisions
2026-11: 80 % of a request's patience may be planned with. The rest is for what comes more urgently later on, and for
forwards that take longer than those before.
2026-11: a request that could not be whole in its time even alone asks for half of the time: it gets a partial answer
where there is room for that. Refused by its own size it would get nothing, ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from rescorer_sidecar.errors import Overloaded
from rescorer_sidecar.ledger import Ledger

PROMISED_SHARE = 0.8
LEAST_RETRY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request of one model adds: ``pairs`` that are neither known nor on their way, with about so many tokens.

    patience_s: how long it waits from now on; None for as long as it takes.
    """

    caller: str
    pairs: int
    tokens: int
    deadline_s: float | None
    patience_s: float | None


def check_time(ask: Ask, ledger: Ledger, tokens_per_s: float | None) -> None:
    """Overloaded where what stands before the request leaves it too little of its time; nothing where that is unknown.

    tokens_per_s: what the model gets through; None where nobody knows yet.
    """
    if ask.patience_s is None or ask.deadline_s is None or tokens_per_s is None or not ask.tokens:
        return
    before_s = ledger.before(ask.caller, ask.deadline_s, ask.tokens) / tokens_per_s
    promised_s, own_s = PROMISED_SHARE * ask.patience_s, ask.tokens / tokens_per_s
    if own_s > promised_s:
        own_s = promised_s / 2
    late_s = before_s + own_s - promised_s
    if before_s and late_s > 0:
        retry_s = max(late_s, LEAST_RETRY_S)
        raise Overloaded(
            f"work for {1000 * before_s:.0f} ms stands before the request, its own takes {1000 * own_s:.0f} ms, and it "
            f"waits {1000 * ask.patience_s:.0f} ms; try again in {retry_s:.2f} s, or ask another sidecar",
            retry_s,
        )
