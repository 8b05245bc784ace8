"""Choices of the second stage on real engines: what a gate leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from end_to_end.hits_contract.checks import first_stage, ids, outcome, same_rest
from end_to_end.hits_contract.corpus import ASKED, ONE, THREE, WINDOW
from end_to_end.hits_contract.four_ways import Way


def _asking(**said: Any) -> dict[str, Any]:
    return {"query": ASKED, "size": 200, "rescore": {"cross_encoder": said}}


GATES = [
    ({"query_text": "AB-1234", "gate": {"query_types": ["code"]}}, "gate_code"),
    ({"gate": {"patterns": {"about cells": "* human cells"}}}, "gate_pattern"),
    ({"gate": {"margin": 1e-9}}, "gate_margin"),
]


@pytest.mark.parametrize(("said", "reason"), GATES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_search_that_the_gate_leaves_alone_is_the_first_stage(way: Way, said: dict[str, Any], reason: str) -> None:
    """Order, scores and every other part of the answer are the engine's, with what is hidden left out."""
    plain = first_stage(way, THREE, _source=["tag"])
    answer = way.search(THREE, {**_asking(**said), "_source": ["tag"]})
    assert outcome(answer) == ("skipped", reason)
    assert answer["hits"] == plain["hits"]
    same_rest(answer, plain)
    assert way.scorer.requests == []


@pytest.mark.parametrize(("said", "reason"), GATES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_gate_holds_on_every_page(way: Way, said: dict[str, Any], reason: str) -> None:
    """Pages laid end to end are the first stage, across the seam too."""
    walked: list[str] = []
    for begin in range(0, WINDOW + 10, 10):
        answer = way.search(ONE, {**_asking(**said), "from": begin, "size": 10})
        assert outcome(answer) in (("skipped", reason), ("skipped", "page_beyond_window"))
        walked += ids(answer)
    assert walked == ids(first_stage(way, ONE))[: len(walked)]
