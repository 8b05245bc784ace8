"""Work that takes its time, in a thread of its own, awaited from the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Got = TypeVar("Got")


def in_daemon(work: Callable[[], Got], unwanted: Callable[[Got], None] | None = None) -> asyncio.Future[Got]:
    """Run ``work`` in a thread that a stopping process doesn't wait for: a hub may take its time, or never answer.

    ``unwanted`` is given the result that nobody waits for any more.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Got] = loop.create_future()

    def settle(result: Callable[[], Got]) -> None:
        try:
            got = result()
        except BaseException as error:  # noqa: BLE001  # whoever awaits the future gets it
            if not future.done():
                future.set_exception(error)
            return
        if not future.done():
            future.set_result(got)
        elif unwanted is not None:
            unwanted(got)

    def run() -> None:
        outcome = _outcome(work)
        with contextlib.suppress(RuntimeError):  # the loop is closed: told to stop meanwhile, and nobody waits
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="background", daemon=True).start()
    return future


def _outcome(work: Callable[[], Got]) -> Callable[[], Got]:
    """What ``work`` returned or raised, to be had again by a call."""
    try:
        got = work()
    except BaseException as failed:  # noqa: BLE001  # raised again where it is wanted
        error = failed

        def raised() -> Got:
            raise error

        return raised
    return lambda: got
