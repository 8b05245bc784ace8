"""A model that has died is let go of and loaded again, with longer and longer pauses, until it answers or is replaced.

## Decisions
2026-11: its memory is given back first. Two copies may not fit, and nobody can use the dead one.
2026-11: it is loaded from where it came from, whatever is there now, as a restart of the process would. Where its files
have changed, the log says so and the digest in every answer is another one.
2026-11: one whose forward hangs keeps its memory, since weights that are in use can't be let go of. It is loaded again
where a second copy fits; where not, the process has to be started anew, and health says so until then.
2026-11: one that dies again soon is not loaded at once again: pauses go on growing until it has lived for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rescorer_sidecar import models
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import SidecarError
from rescorer_sidecar.loading import Load, load_beside
from rescorer_sidecar.registry import Registry, Served

logger = logging.getLogger(__name__)

MOST_PAUSE_S = 60.0
STEADY_S = 300.0
"""One that has lived this long is loaded at once when it dies."""

Tell = Callable[[], Awaitable[None]]
Pause = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class _Trouble:
    """How often in a row a model was loaded again, and when it came back last."""

    attempts: int = 0
    revived_s: float = float("-inf")


class Reviver:
    """Revives the models of one registry, and ``tell`` hears of each death and each return; owned by the event loop."""

    def __init__(
        self, registry: Registry, settings: Settings, clock: Clock, tell: Tell, load: Load = models.load
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._tell = tell
        self._load = load
        self.pause: Pause = asyncio.sleep
        self._troubles: dict[str, _Trouble] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        registry.died = self._died

    def close(self) -> None:
        """Revive nothing more."""
        self._registry.died = None
        for task in self._tasks:
            task.cancel()

    def _died(self, served: Served, error: BaseException) -> None:
        logger.error("model %s has died: %s; it is loaded again", served.model.card.name, type(error).__name__)
        task = asyncio.get_running_loop().create_task(self._revive(served))
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _revive(self, dead: Served) -> None:
        if not self._registry.serves(dead):
            return  # a version that is being checked, or is kept: whoever keeps it will see
        await self._tell()
        if not dead.batcher.hung:
            with contextlib.suppress(Exception):  # a broken device may let go of nothing
                await dead.bury()
        trouble = self._troubles.setdefault(dead.model.card.name, _Trouble())
        if self._clock.now_s() - trouble.revived_s > STEADY_S:
            trouble.attempts = 0
        while self._registry.serves(dead):
            trouble.attempts += 1
            if trouble.attempts > 1:
                await self.pause(min(MOST_PAUSE_S, 2.0 ** (trouble.attempts - 2)))
            if await self._is_back(dead):
                trouble.revived_s = self._clock.now_s()
        await self._tell()

    async def _is_back(self, dead: Served) -> bool:
        """Whether another version serves in its place now, this one or one that came meanwhile."""
        name, digest = dead.model.card.name, dead.model.card.digest
        try:
            model = await load_beside(self._load, dead.model.origin, dead, self._registry, self._settings)
        except Exception as error:  # noqa: BLE001  # whatever a device that is broken may raise, it is tried again
            self._registry.reloads["failed"] += 1
            why = error if isinstance(error, SidecarError) else type(error).__name__
            logger.error("model %s could not be loaded again: %s", name, why)
            return False
        if not self._registry.serves(dead):
            await asyncio.to_thread(model.backend.close)
            return True
        if model.card.digest != digest:
            logger.warning("model %s: its files have changed: digest %s, was %s", name, model.card.digest, digest)
        self._registry.replace(dead, self._registry.beside(model))
        self._registry.retire(dead)
        self._registry.reloads["revived"] += 1
        logger.warning("model %s serves again", name)
        return True
