"""Quotas: what is promised is had, what is more waits as long as it is told, and callers do not touch each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar import quotas
from rescorer_sidecar.grpc_quota import size_of
from rescorer_sidecar.quotas import LEAST_WAIT_S, Quota, Quotas
from unit.sidecar.door import asking, wire

TEN = Quota(pairs_per_s=10)


def test_without_a_quota_nothing_waits() -> None:
    """0 bounds nothing."""
    taken = Quotas()
    assert [taken.take("shop", Quota(), (10**9, 10**9), 0.0) for _ in range(3)] == [0.0] * 3


def test_a_second_is_in_hand_and_then_comes_bit_by_bit() -> None:
    """Ten pairs at once, then one every tenth of a second."""
    taken = Quotas()
    assert [taken.take("shop", TEN, (5, 0), 0.0) for _ in range(2)] == [0.0, 0.0]
    assert taken.take("shop", TEN, (1, 0), 0.0) == LEAST_WAIT_S
    assert taken.take("shop", TEN, (1, 0), 0.1) == 0.0


def test_a_call_larger_than_the_quota_is_served_and_paid_for() -> None:
    """A hundred pairs for ten a second: served, and the next call is told the nine seconds that it takes."""
    taken = Quotas()
    assert taken.take("shop", TEN, (100, 0), 0.0) == 0.0
    assert taken.take("shop", TEN, (1, 0), 0.0) == 9.0
    assert taken.take("shop", TEN, (1, 0), 8.9) == pytest.approx(0.1)
    assert taken.take("shop", TEN, (1, 0), 9.1) == 0.0


def test_each_kind_and_each_caller_has_its_own() -> None:
    """Tokens used up refuse although pairs are left; another caller is not held up."""
    taken, both = Quotas(), Quota(pairs_per_s=1000, tokens_per_s=10)
    assert taken.take("shop", both, (1, 30), 0.0) == 0.0
    assert taken.take("shop", both, (1, 1), 0.0) == 2.0
    assert taken.take("desk", both, (1, 1), 0.0) == 0.0


def test_a_refused_call_costs_nothing() -> None:
    """Knocking does not put off the time at which one is let in."""
    taken = Quotas()
    taken.take("shop", TEN, (15, 0), 0.0)
    assert [round(taken.take("shop", TEN, (5, 0), at_s), 6) for at_s in (0.0, 0.1, 0.2)] == [0.5, 0.4, 0.3]


def test_callers_who_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are only said can be as many as somebody likes; the oldest is forgotten."""
    monkeypatch.setattr(quotas, "MOST_CALLERS", 3)
    taken = Quotas()
    for name in "abcd":
        taken.take(name, TEN, (100, 0), 0.0)
    assert [taken.take(name, TEN, (0, 0), 0.0) > 0 for name in "dcba"] == [True, True, True, False]


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 30)), max_size=60))
def test_nobody_gets_more_than_his_rate_and_one_call(calls: list[tuple[float, int]]) -> None:
    """However calls come: what was let in is at most the rate times the time, a second's worth, and the last call."""
    taken, now_s, let_in = Quotas(), 0.0, 0
    for passed_s, pairs in calls:
        now_s += passed_s
        if not taken.take("shop", TEN, (pairs, 0), now_s):
            let_in += pairs
    assert let_in <= 10 * (now_s + 1) + 30 + 1e-6


def test_the_size_of_a_request_is_told_from_its_bytes() -> None:
    """Pairs and about four bytes a token, the query counted with each pair; a listing has no size."""
    one = asking("hotel " * 100, "train " * 100, query="flight " * 40)
    pairs, tokens = size_of(one)
    assert (pairs, tokens) == (2, pytest.approx((1200 + 2 * 280) / 4, rel=0.05))
    assert size_of(wire.ScoreManyRequest(requests=[one, one])) == (4, 2 * tokens)
    assert size_of(wire.EmbedRequest(texts=["hotel " * 100])) == (1, pytest.approx(150, rel=0.05))
    assert size_of(wire.ListModelsRequest()) == (0, 0)
