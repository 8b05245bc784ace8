"""Which model for a budget, pure: the best that fits, or as much of the window as the cheapest is able to score.

What fits follows from given costs alone, so that equal costs, texts and budgets have equal choices. A model whose cost
nobody knows is passed over as long as a known one fits or can be narrowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The model that was taken, how many candidates from the first on, and why, on one line."""

    model: str
    window: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a request to a model takes: ``fixed_ms``, and ``us_per_token`` for each token of its pairs.

    source: where that is known from, in words for the outcome.
    """

    fixed_ms: float
    us_per_token: float
    source: str

    def ms(self, tokens: Sequence[int]) -> float:
        """Milliseconds for candidates of so many tokens each."""
        return self.fixed_ms + sum(tokens) * self.us_per_token / 1000

    def affordable(self, tokens: Sequence[int], left_ms: float) -> int:
        """How many of the first candidates, of so many tokens each, are scored in ``left_ms`` milliseconds."""
        spent_ms, count = self.fixed_ms, 0
        for entry in tokens:
            spent_ms += entry * self.us_per_token / 1000
            if spent_ms > left_ms:
                break
            count += 1
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A model that may be chosen; it reads ``limit`` tokens of a pair at most. ``cost`` None where nobody knows it."""

    model: str
    limit: int
    cost: Cost | None

    def tokens(self, lengths: Sequence[int]) -> list[int]:
        """What this model reads of pairs of these lengths."""
        return [min(length, self.limit) for length in lengths]


def chosen(options: Sequence[Option], lengths: Sequence[int], budget_ms: float | None) -> Choice:
    """The model and the window for candidates of so many tokens, in ``budget_ms`` milliseconds; None is no bound.

    options: best first, at least one. At least the first candidate is in the window, if there is one.
    """
    best, whole = options[0], len(lengths)
    if budget_ms is None:
        return Choice(model=best.model, window=whole, reason="the best: no deadline bounds the time")
    passed: list[str] = []
    for option in options:
        if option.cost is None:
            passed.append(f"what {option.model} costs is not known")
            continue
        needed_ms = option.cost.ms(option.tokens(lengths))
        if needed_ms <= budget_ms:
            rank = "the best: it" if option is best else option.model
            fits = f"{rank} needs {needed_ms:.0f} of {budget_ms:.0f} ms ({option.cost.source})"
            return Choice(model=option.model, window=whole, reason="; ".join([*passed, fits]))
        passed.append(f"{option.model} needs {needed_ms:.0f} of {budget_ms:.0f} ms ({option.cost.source})")
    return _narrowed(options, lengths, budget_ms, passed)


def _narrowed(options: Sequence[Option], lengths: Sequence[int], budget_ms: float, passed: Sequence[str]) -> Choice:
    """The last option whose cost is known, on as many candidates as fit; the last of all where none is known."""
    whole = len(lengths)
    known = [(option, option.cost) for option in options if option.cost is not None]
    if not known:
        unknown = "run rescorer models bench; until then the last one is taken"
        return Choice(model=options[-1].model, window=whole, reason="; ".join([*passed, unknown]))
    option, cost = known[-1]
    count = cost.affordable(option.tokens(lengths), budget_ms)
    window = min(whole, max(1, count))
    told = f"so {option.model} scores {window} of {whole} candidates"
    return Choice(model=option.model, window=window, reason="; ".join([*passed, told]))
