"""Which model for a budget, pure: the best that fits, or as much of the window as the cheapest is able to score.

What fits follows from given costs alone, so that equal costs, texts and budgets have equal choices. A model whose cost
nobody knows is passed over as long as a known one fits or can be narrowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rescorer_sidecar.cascade import affordable
from rescorer_sidecar.domain import Choice

BYTES_PER_TOKEN = 4
"""UTF-8 bytes: English runs at 4 to 5, Chinese at 3 to 5 (a character is three bytes and rarely more than a token)."""

SPECIAL_TOKENS = 4


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A model that may be chosen; pairs are cut at ``limit`` tokens. ``cost`` None where nobody knows it."""

    model: str
    limit: int
    cost: Cost | None

    def tokens(self, lengths: Sequence[int]) -> list[int]:
        """What this model reads of pairs of these lengths."""
        return [min(length, self.limit) for length in lengths]


def pair_tokens(query: str, texts: Sequence[str]) -> list[int]:
    """About how many tokens each pair has, told from its bytes; nothing is tokenised for a choice."""
    asked = len(query.encode("utf-8", "surrogatepass"))
    return [
        SPECIAL_TOKENS + -(-(asked + len(text.encode("utf-8", "surrogatepass"))) // BYTES_PER_TOKEN) for text in texts
    ]


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
    count = affordable(option.tokens(lengths), cost.fixed_ms, cost.us_per_token, budget_ms)
    window = min(whole, max(1, count))
    told = f"so {option.model} scores {window} of {whole} candidates"
    return Choice(model=option.model, window=window, reason="; ".join([*passed, told]))
