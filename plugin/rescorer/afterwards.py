"""Scoring that nobody waits for: after a search was answered, beside the application, a few at a time.

## Decisions
2026-11: a thread of its own for each, gone when it is done. Rejected: one that waits for work, which a forked worker
would not have, which has to be stopped, and which is idle nearly always: audits are few.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

from rescorer.domain import ScoreLater
from rescorer.errors import ScorerError
from rescorer.scorers import AsyncScorer, Scorer

MOST_AT_ONCE = 4
"""Further ones are given up at once, so that a slow sidecar gathers no threads in the application."""

_log = logging.getLogger(__name__)


class Afterwards:
    """For clients that block."""

    def __init__(self) -> None:
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)

    def begin(self, scorer: Scorer, wish: ScoreLater) -> bool:
        """Score in a thread; False where too many do so already."""
        if not self._room.acquire(blocking=False):
            return False
        try:
            threading.Thread(target=self._score, args=(scorer, wish), name="rescorer-audit", daemon=True).start()
        except RuntimeError:  # the process may have no further thread, or is ending
            self._room.release()
            return False
        return True

    def _score(self, scorer: Scorer, wish: ScoreLater) -> None:
        try:
            wish.finish(scorer.score(wish.request, wish.timeout_s))
        except Exception as error:  # noqa: BLE001 - a scorer may be anybody's, and this thread has no caller to tell
            wish.finish(_failed(error))
        finally:
            self._room.release()


class AsyncAfterwards:
    """For clients of an event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, scorer: AsyncScorer, wish: ScoreLater) -> bool:
        """Score in a task; False where too many do so already."""
        if len(self._tasks) >= MOST_AT_ONCE:
            return False
        task = asyncio.get_running_loop().create_task(self._score(scorer, wish), name="rescorer-audit")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Give up what is still being scored."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _score(self, scorer: AsyncScorer, wish: ScoreLater) -> None:
        try:
            wish.finish(await scorer.score(wish.request, wish.timeout_s))
        except Exception as error:  # noqa: BLE001 - a scorer may be anybody's, and this task has no caller to tell
            wish.finish(_failed(error))


def _failed(error: Any) -> ScorerError:
    return error if isinstance(error, ScorerError) else ScorerError(f"the scorer raised {type(error).__name__}")
