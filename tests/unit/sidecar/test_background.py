"""Work in a thread that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rescorer_sidecar.background import in_daemon


async def test_a_result_and_an_error_come_back_to_the_loop() -> None:
    """What the work returns is the future's result, and what it raises is raised where it is awaited."""
    assert await in_daemon(lambda: 3) == 3
    assert await in_daemon(lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        await in_daemon(lambda: 1 / 0)


async def test_a_result_that_comes_too_late_is_handed_to_be_let_go_of() -> None:
    """Where nobody waits any more, the result goes to ``unwanted`` and to nobody else."""
    door, left = threading.Event(), asyncio.Event()
    dropped: list[str] = []

    def unwanted(got: str) -> None:
        dropped.append(got)
        left.set()

    def work() -> str:
        door.wait(20)
        return "model"

    future = in_daemon(work, unwanted)
    future.cancel()
    door.set()
    await asyncio.wait_for(left.wait(), 20)
    assert dropped == ["model"]
