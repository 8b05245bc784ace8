"""Arbitrary JSON from everywhere: only typed errors come out, nothing of the caller's changes, and no hit is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import NAMES, TARGETS

WORDS = st.sampled_from(NAMES)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 10**30, 2**63, 1e308])
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=8)
    | st.sampled_from(["\ud800", "\x00", "", " ", "é" * 300])
    | WORDS
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=JSON)
def test_only_typed_errors_come_out(target: Callable[[Any], None], value: Any) -> None:
    """Whatever stands where somebody else writes, the target's claim holds."""
    target(value)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_deep_nesting_is_no_crash(target: Callable[[Any], None]) -> None:
    """A value that is nested a hundred levels deep is judged like any other."""
    value: Any = "x"
    for _ in range(50):
        value = {"bool": {"must": [value]}}
    target(value)
