"""A model chosen for a budget from given costs: the best that fits, else a narrower window, always with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.choice import Cost, Option, chosen

MEASURED = "measured"


def option(model: str, us_per_token: float | None, fixed_ms: float = 10.0, limit: int = 512) -> Option:
    """A model with a cost, or with none."""
    cost = None if us_per_token is None else Cost(fixed_ms=fixed_ms, us_per_token=us_per_token, source=MEASURED)
    return Option(model=model, limit=limit, cost=cost)


LADDER = [option("large", 400.0), option("middle", 100.0), option("small", 10.0)]
"""For 100 candidates of 100 tokens: 4,010, 1,010 and 110 ms."""

WINDOW = [100] * 100


@pytest.mark.parametrize(
    ("budget_ms", "model", "window", "reason"),
    [
        (None, "large", 100, "the best: no deadline bounds the time"),
        (4010, "large", 100, "the best: it needs 4010 of 4010 ms (measured)"),
        (4009, "middle", 100, "large needs 4010 of 4009 ms (measured); middle needs 1010 of 4009 ms (measured)"),
        (
            500,
            "small",
            100,
            "large needs 4010 of 500 ms (measured); middle needs 1010 of 500 ms (measured); "
            "small needs 110 of 500 ms (measured)",
        ),
        (
            60,
            "small",
            50,
            "large needs 4010 of 60 ms (measured); middle needs 1010 of 60 ms (measured); "
            "small needs 110 of 60 ms (measured); so small scores 50 of 100 candidates",
        ),
    ],
)
def test_the_best_model_that_fits_is_taken(budget_ms: float | None, model: str, window: int, reason: str) -> None:
    """From no bound down to a budget that narrows the window of the cheapest, each choice by hand with its reason."""
    found = chosen(LADDER, WINDOW, budget_ms)
    assert (found.model, found.window, found.reason) == (model, window, reason)


def test_at_least_one_candidate_is_in_the_window() -> None:
    """A budget below the fixed cost leaves the first candidate; none where there is none."""
    assert chosen(LADDER, WINDOW, 1.0).window == 1
    assert chosen(LADDER, [], 1.0).window == 0


def test_a_model_of_unknown_cost_is_passed_over_while_a_known_one_will_do() -> None:
    """It may be the best, but nobody can say whether it fits; the reason says so."""
    found = chosen([option("large", None), option("small", 10.0)], WINDOW, 500)
    assert (found.model, found.window) == ("small", 100)
    assert found.reason == "what large costs is not known; small needs 110 of 500 ms (measured)"
    narrowed = chosen([option("large", 10.0), option("small", None)], WINDOW, 60)
    assert (narrowed.model, narrowed.window) == ("large", 50)


def test_without_any_cost_the_last_one_is_taken_and_the_reason_says_what_to_run() -> None:
    """The cheapest by the caller's own order, over the whole window."""
    found = chosen([option("large", None), option("small", None)], WINDOW, 500)
    assert (found.model, found.window) == ("small", 100)
    assert found.reason.endswith("run rescorer models bench; until then the last one is taken")


def test_pairs_are_no_longer_than_a_models_limit() -> None:
    """A text of 10,000 tokens costs a model of 512 no more than 512."""
    assert chosen([option("one", 100.0)], [10_000], 61.2).window == 1
    assert "needs 61 of 62 ms" in chosen([option("one", 100.0)], [10_000], 62).reason


COSTS = st.none() | st.floats(0.1, 1000)


@given(st.lists(COSTS, min_size=1, max_size=4), st.lists(st.integers(1, 600), max_size=50), st.floats(0, 5000))
def test_equal_costs_have_equal_choices_and_more_time_never_a_worse_one(
    costs: list[float | None], lengths: list[int], budget_ms: float
) -> None:
    """Deterministic; and with twice the time the model stands no lower in the list, nor is the window narrower."""
    options = [option(f"m{place}", cost) for place, cost in enumerate(costs)]
    found, again, later = (chosen(options, lengths, ms) for ms in (budget_ms, budget_ms, 2 * budget_ms))
    assert found == again
    assert later.window >= found.window
    if found.window == len(lengths) and any(cost is not None for cost in costs):
        assert int(later.model[1:]) <= int(found.model[1:])


@given(st.lists(st.integers(1, 512)), st.floats(0, 50), st.floats(0.01, 1000), st.floats(0, 1000))
def test_what_is_affordable_fits_and_one_more_would_not(
    tokens: list[int], fixed_ms: float, us_per_token: float, left_ms: float
) -> None:
    """The count is the largest whose time is within what is left; the fixed time is paid once."""
    count = Cost(fixed_ms=fixed_ms, us_per_token=us_per_token, source=MEASURED).affordable(tokens, left_ms)

    def ms(first: int) -> float:
        return fixed_ms + sum(tokens[:first]) * us_per_token / 1000

    assert count == 0 or ms(count) <= left_ms + 1e-6
    assert count == len(tokens) or ms(count + 1) > left_ms - 1e-6
