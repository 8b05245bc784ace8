"""Arbitrary JSON and bytes from everywhere: only typed errors come out, nothing is changed, lost or left behind.

The inputs are the same in every run; ``make fuzz`` looks for new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import doors, lab, readers
from fuzz.counts import fed
from fuzz.targets import NAMES, TARGETS, shown

IN_MAKE_TEST = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
WORDS = st.sampled_from(NAMES)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 10**30, 2**63, 10**400, 1e308, -1e308])
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
@settings(IN_MAKE_TEST, max_examples=25)
@given(value=JSON)
def test_only_typed_errors_come_out(target: Callable[[Any], None], value: Any) -> None:
    """Whatever stands where somebody else writes, the target's claim holds."""
    fed(target, value)


@pytest.mark.parametrize("target", [*doors.TARGETS, *readers.TARGETS, *lab.TARGETS], ids=lambda target: target.__name__)
@settings(IN_MAKE_TEST, max_examples=60)
@given(raw=st.binary(max_size=40) | st.binary(min_size=100, max_size=400))
def test_bytes_do_no_harm(target: Callable[[bytes], None], raw: bytes) -> None:
    """Whatever bytes come through a door or stand in a file, a setting or an answer, the target's claim holds."""
    fed(target, raw)


def _nested(inside: Callable[[Any], Any], levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = inside(value)
    return value


DEEP = [
    lambda inner: {"bool": {"must": [inner]}},
    lambda inner: {"rrf": {"retrievers": [inner, {"standard": {}}]}},
    lambda inner: {"title": {"a": inner}},
]


@pytest.mark.parametrize("inside", DEEP, ids=["query", "retriever", "document"])
@pytest.mark.parametrize("target", [target for target in TARGETS if target is not shown], ids=lambda it: it.__name__)
def test_deep_nesting_is_no_crash(target: Callable[[Any], None], inside: Callable[[Any], Any]) -> None:
    """A value that is nested deeper than Python's own stack is judged like any other."""
    target(_nested(inside, 1100))


ODD = [10**5000, -(10**5000), float("nan"), float("inf"), "\ud800", b"\xff", {1: 2}, {None: [()]}, {"a", "b"}, object()]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_values_that_json_does_not_know_are_no_crash(target: Callable[[Any], None], value: Any) -> None:
    """Numbers of more digits than Python writes, half a character, and what else a dict may hold."""
    target(value)
    target([value])
    target({"match": {"title": value}, "hits": [value], "window_size": value})
