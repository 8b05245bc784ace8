"""Which profile a search has: by the indices that it names, or by those of its point in time."""

from __future__ import annotations

from typing import Any

import pytest

from rescorer import profiles
from rescorer.domain import Call
from rescorer.profiles import ProfileCache
from rescorer.request import Asked


def _asked(body: Any = None, **options: Any) -> Asked:
    return Asked(call=Call(body, options), body=body or {}, said=None)


@pytest.mark.parametrize(
    ("index", "expression"),
    [
        ("a", "a"),
        ("a,b-*", "a,b-*"),
        (["a", "b"], "a,b"),
        (("a",), "a"),
        (5, "5"),
        (None, ""),
        ("", ""),
        ([], ""),
        ("_all", ""),
        ("*", ""),
        (["*"], ""),
        (10**5000, ""),
    ],
    ids=lambda value: str(value)[:9] if not isinstance(value, int) or value < 10 else "large",
)
def test_an_index_is_named_as_the_official_clients_write_it(index: Any, expression: str) -> None:
    """Names in any form that the clients take; the whole cluster has no profile."""
    assert ProfileCache(60.0).expression(_asked(index=index)) == expression


def test_a_point_in_time_is_known_by_each_id_that_it_goes_on_with() -> None:
    """The id of the last answer leads to the indices that it was opened on, and an unknown one to none."""
    cache = ProfileCache(60.0)
    cache.opened("first", ["a", "b"])
    search = _asked({"pit": {"id": "first"}})
    assert cache.expression(search) == "a,b"
    cache.follow(search, {"pit_id": "second"})
    assert cache.expression(_asked({"pit": {"id": "second"}})) == "a,b"
    cache.follow(_asked({"pit": {"id": "foreign"}}), {"pit_id": "third"})
    assert cache.expression(_asked({"pit": {"id": "third"}})) == ""


@pytest.mark.parametrize("odd", [None, 5, [], {}, "x", {"pit_id": None}])
def test_an_answer_without_a_new_id_changes_nothing(odd: Any) -> None:
    """Whatever the engine says, the point in time stays what it was."""
    cache = ProfileCache(60.0)
    cache.opened("first", "a")
    cache.follow(_asked({"pit": {"id": "first"}}), odd)
    assert cache.expression(_asked({"pit": {"id": "first"}})) == "a"


def test_points_in_time_are_bounded() -> None:
    """Many of them do not grow a client without end: the oldest goes first."""
    cache = ProfileCache(60.0, most=2)
    for name in ("a", "b", "c"):
        cache.opened(f"point-{name}", name)
    known = [cache.expression(_asked({"pit": {"id": f"point-{name}"}})) for name in ("a", "b", "c")]
    assert known == ["", "b", "c"]


@pytest.mark.parametrize(
    "odd", [None, 5, [], "x", {"a": 5}, {"a": {"mappings": 5}}, {"a": {"mappings": {"_meta": []}}}]
)
def test_what_is_no_mapping_says_nothing(odd: Any) -> None:
    """A stand-in for an engine that answers every request alike breaks no search."""
    assert profiles.found(odd).says_nothing
