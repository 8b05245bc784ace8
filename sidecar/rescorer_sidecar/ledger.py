"""What a model has been asked for and has not finished, in tokens, by caller and deadline; pure.

A row is charged to whoever asked for it first, from the moment it is let in until it has ended or nobody waits for it
any more. Before it is read its tokens are told from its bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from rescorer_sidecar.turns import CLASS_S

Charge = tuple[str, float, int]
"""Caller, deadline class, tokens."""


class Charged(Protocol):
    """What is charged: a row that somebody waits for."""

    caller: str
    deadline_s: float
    charge: Charge | None


class Ledger:
    """Of one model. ``tokens`` is the sum over all that is unfinished."""

    def __init__(self) -> None:
        self._lines: dict[str, Counter[float]] = {}
        self._tokens: Counter[str] = Counter()

    @property
    def tokens(self) -> int:
        """Everything that is unfinished."""
        return self._tokens.total()

    @property
    def callers(self) -> int:
        """How many have something unfinished."""
        return len(self._tokens)

    def charge(self, row: Charged, tokens: int) -> None:
        """A row is unfinished, and has so many tokens as far as that is known; what was charged before is corrected."""
        self.discharge(row)
        if not tokens:
            return
        row.charge = (row.caller, row.deadline_s // CLASS_S, tokens)
        self._lines.setdefault(row.caller, Counter())[row.charge[1]] += tokens
        self._tokens[row.caller] += tokens

    def discharge(self, row: Charged) -> None:
        """A row has ended, or nobody waits for it."""
        if row.charge is None:
            return
        caller, urgency_class, tokens = row.charge
        row.charge = None
        line = self._lines[caller]
        line[urgency_class] -= tokens
        if not line[urgency_class]:
            del line[urgency_class]
        self._tokens[caller] -= tokens
        if not line:
            del self._lines[caller], self._tokens[caller]

    def before(self, caller: str, deadline_s: float, tokens: int) -> int:
        """Tokens that run before the last of so many that a caller asks for with this deadline.

        Of his own those that are as urgent; of each other caller as many as he is given meanwhile, his even share.
        """
        urgency_class = deadline_s // CLASS_S
        own = sum(
            charged for other_class, charged in self._lines.get(caller, {}).items() if other_class <= urgency_class
        )
        others = sum(min(charged, own + tokens) for other, charged in self._tokens.items() if other != caller)
        return own + others
