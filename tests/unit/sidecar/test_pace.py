"""The learnt budget: a forward of it takes about the target, whatever a token costs and however noisy the clock is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer_sidecar.pace import LEAST_TOKENS, MOST_S, MOST_TOKENS, START_TOKENS, TARGET_S, Pace


@settings(max_examples=100, deadline=None)
@given(
    fixed_ms=st.floats(0, 60),
    token_us=st.floats(0.1, 2_000),
    seed=st.integers(0, 1_000),
    sizes=st.lists(st.integers(1, 4_000), min_size=1, max_size=5),
)
def test_a_learnt_budget_takes_about_the_target(fixed_ms: float, token_us: float, seed: int, sizes: list[int]) -> None:
    """After 100 noisy forwards, one in twenty ten times too slow, a full one takes a quarter to thrice the target."""
    dice, pace = random.Random(seed), Pace()
    slow = {start + dice.randrange(20) for start in range(0, 100, 20)}  # three in a row would be another machine
    for number in range(100):
        tokens = min(dice.choice(sizes) if dice.random() < 0.5 else MOST_TOKENS, pace.budget_tokens)
        true_s = (fixed_ms / 1e3 + token_us / 1e6 * tokens) * dice.uniform(0.9, 1.1)
        pace.learn(tokens, true_s * (10 if number in slow else 1))
    found = pace.budget_tokens
    took_s, target_s = fixed_ms / 1e3 + token_us / 1e6 * found, min(max(TARGET_S, 4 * fixed_ms / 1e3), MOST_S)
    assert LEAST_TOKENS <= found <= MOST_TOKENS
    assert found == MOST_TOKENS or took_s > target_s / 4
    assert found == LEAST_TOKENS or took_s < target_s * 3


def test_before_anything_is_known_the_budget_is_careful() -> None:
    """The first forward is of a bounded size, and a clock that stands still teaches nothing."""
    pace = Pace()
    pace.learn(1_000, 0.0)
    pace.learn(0, 1.0)
    assert (pace.budget_tokens, pace.seconds(100)) == (START_TOKENS, 0.0)


def test_what_was_learnt_is_told_as_a_line() -> None:
    """Nothing at first; then what a forward and a token cost, here 5 ms and 20 µs without any noise."""
    pace = Pace()
    assert pace.learnt is None
    for tokens in (500, 1_000, 2_000, 4_000):
        pace.learn(tokens, 0.005 + 20e-6 * tokens)
    assert pace.learnt == (pytest.approx(0.005), pytest.approx(20e-6))


def test_one_forward_that_hung_changes_little() -> None:
    """Among steady forwards one that took a hundred times as long moves the budget by less than a fifth."""
    pace = Pace()
    for _ in range(40):
        pace.learn(1_000, 0.05)
    before = pace.budget_tokens
    pace.learn(1_000, 5.0)
    assert 0.8 * before < pace.budget_tokens <= before


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_lasting_change_is_learnt(factor: float) -> None:
    """A machine that becomes ten times slower, or faster, has a fitting budget a hundred forwards later."""
    pace = Pace()
    for cost_us in [10.0] * 60 + [10.0 * factor] * 100:
        pace.learn(pace.budget_tokens, pace.budget_tokens * cost_us / 1e6)
    assert pace.budget_tokens == pytest.approx(min(MOST_TOKENS, TARGET_S / (10e-6 * factor)), rel=0.3)


def test_after_an_overflow_no_batch_is_as_large_again() -> None:
    """A forward of 8,000 tokens that ran out of memory bounds all later ones to half of it, however fast they are."""
    pace = Pace()
    pace.overflowed(8_000)
    for _ in range(20):
        pace.learn(2_000, 1e-5)
    assert pace.budget_tokens == 4_000
