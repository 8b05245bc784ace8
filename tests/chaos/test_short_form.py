"""The short form of ``make chaos``: the real engine, sidecars and model through the faults that say the most."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos import faults, scene, stack
from chaos.scene import Fault, Scene
from chaos.stack import Stack

pytestmark = pytest.mark.slow

SHORT = [one.name for one in faults.ALL.values() if one.is_short]
GRACE_MS = 5_000.0
"""Here on machines of any kind, beside anything; ``make chaos`` holds 20 ms."""


@pytest.fixture(scope="module")
def running(opensearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack on the node that all tests share."""
    with stack.running(opensearch_url, tmp_path_factory.mktemp("chaos")) as running:
        yield running


@pytest.mark.parametrize("name", SHORT)
def test_no_hit_is_lost_and_no_fallback_is_silent(name: str, running: Stack) -> None:
    """The fault bites, every answer has the hits of the unrescored one, says what it is, and comes in time."""
    row = scene.happened(faults.ALL[name], running, GRACE_MS)
    assert row.complaints == []
    assert row.searches > 0


def test_a_fault_that_does_not_take_hold_fails(running: Stack) -> None:
    """Searches that went well beside a fault that proves nothing, or whose proof fails, are no success."""

    def harmless(at: Scene) -> None:
        at.searches(at.stack.steady_addresses, searches=2, budget_ms=10_000.0)
        at.proves(False, "the moon is made of cheese")

    row = scene.happened(Fault(name="harmless", about="", bite=harmless), running, GRACE_MS)
    assert row.complaints == [
        "the fault did not take hold: not so that the moon is made of cheese",
        "the fault did not take hold: nothing proves it",
    ]
