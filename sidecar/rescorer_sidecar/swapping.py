"""A model is changed while it serves: loaded beside the old version, checked, compared on live requests, switched.

Callers see one moment of all this, the switch, and that is an assignment in the event loop. Whatever goes wrong before
leaves everything as it was, and the new version's memory is given back. The old version stays in memory for a while, so
that a roll-back is the same assignment again.

## Decisions
2026-11: one swap at a time. Two would compare beside each other's work and share memory that each has counted on.
2026-11: a roll-back lets go of what it rolls back. Who says it twice must not get the bad version again.
2026-11: an embedder is not swapped. The vectors in the index are the old one's, and a query's vector of another model
finds nothing among them: that takes a second embedder beside it and a new index, not a switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from rescorer_sidecar import models
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.comparison import compare
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import ModelCard
from rescorer_sidecar.errors import CannotSwap, SidecarError
from rescorer_sidecar.loading import Load, load_beside
from rescorer_sidecar.models import Model
from rescorer_sidecar.prompts import GOLDEN
from rescorer_sidecar.registry import Registry, Served
from rescorer_sidecar.shadow import Shadow, Share
from rescorer_sidecar.swap import Golden, Order, Step, Swap

logger = logging.getLogger(__name__)

Tell = Callable[[Swap], Awaitable[None]]

GOLDEN_TOKENS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The version that served before a swap, until a moment on the sidecar's clock."""

    version: Served
    until_s: float
    timer: asyncio.TimerHandle


class Swapper:
    """Swaps and rolls back the models of one registry; owned by the event loop.

    ``current`` is the swap that is under way, ``counts`` tells how earlier ones have ended.
    """

    def __init__(self, registry: Registry, settings: Settings, clock: Clock, load: Load = models.load) -> None:
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._load = load
        self._kept: dict[str, Kept] = {}
        self.counts = registry.swaps
        self.current: Swap | None = None

    def kept(self, name: str) -> tuple[Model, float] | None:
        """The version that a roll-back of this model would bring back, and for how many seconds it is still there."""
        kept = self._kept.get(name)
        return None if kept is None else (kept.version.model, max(0.0, kept.until_s - self._clock.now_s()))

    async def swap(self, order: Order, tell: Tell) -> Swap:
        """Put another version in place of a model; ``tell`` hears of each step. Ends SWITCHED or REFUSED.

        Cancelled before the switch, it leaves everything as it was. Raises UnknownModel, NotReady, and CannotSwap where
        another swap is under way.
        """
        old = self._registry.find(order.model, "cross-encoder")
        self._check_none_under_way()
        state = Swap(order=order, old=old.model.card)
        try:
            state = await self._goes(state, tell)
            return await self._done(state, old, tell)
        finally:
            self.counts.refused += self.current is None or self.current.step != Step.SWITCHED
            self.current = None

    def roll_back(self, model: str) -> tuple[ModelCard, ModelCard]:
        """Put the version before the last swap in its place again; returns the one that goes and the one that comes.

        Raises UnknownModel, NotReady, and CannotSwap where there is none, or a swap is under way.
        """
        now = self._registry.find(model, "cross-encoder")
        self._check_none_under_way()
        before = self._taken(now.model.card.name)
        self._registry.replace(now, before)
        self._registry.retire(now)
        self.counts.rolled_back += 1
        logger.info("model %s: rolled back to %s", before.model.card.name, _version(before.model.card))
        return now.model.card, before.model.card

    def release(self, model: str) -> ModelCard:
        """Let go of the version that is kept for a roll-back; returns which. Raises as :meth:`roll_back`."""
        version = self._taken(self._registry.find(model, "cross-encoder").model.card.name)
        self._registry.retire(version)
        return version.model.card

    def close(self) -> None:
        """Forget what is kept; the registry closes it."""
        for kept in self._kept.values():
            kept.timer.cancel()
        self._kept.clear()

    def _check_none_under_way(self) -> None:
        if self.current is not None:
            raise CannotSwap(f"a swap of {self.current.old.name} is under way; wait for its end, or end it first")

    async def _goes(self, state: Swap, tell: Tell) -> Swap:
        self.current = state
        await tell(state)
        return state

    async def _done(self, state: Swap, old: Served, tell: Tell) -> Swap:
        try:
            new = await self._beside(state.order, old)
        except SidecarError as error:
            return await self._goes(state.refused(self._mended(str(error), old)), tell)
        try:
            state = await self._goes(state.loaded(new.model.card), tell)
            state = await self._goes(state.checked(await _golden(old, new)), tell)
            if state.step == Step.SHADOWING:
                state = await self._goes(await self._compared(state, old, new, tell), tell)
            if not state.is_over:
                self._switch(old, new)
                state = await self._goes(state.switched(), tell)
        except SidecarError as error:
            state = await self._goes(state.refused(str(error)), tell)
        finally:
            if not self._registry.serves(new):
                self._registry.retire(new)
        return state

    async def _beside(self, order: Order, old: Served) -> Served:
        """The new version, loaded in the background into the memory that is left, warm and checked for numbers."""
        model = await load_beside(self._load, order.source, old, self._registry, self._settings)
        with contextlib.ExitStack() as unless_taken:
            unless_taken.callback(model.backend.close)
            if model.card.digest == old.model.card.digest:
                raise CannotSwap(f"{order.source} is the version that serves already, digest {model.card.digest[:12]}")
            named = replace(model.card, name=old.model.card.name)
            new = self._registry.beside(replace(model, card=named))
            unless_taken.pop_all()
        return new

    async def _compared(self, state: Swap, old: Served, new: Served, tell: Tell) -> Swap:
        """What live requests say of it, once enough of them or the time has passed."""
        order = state.order
        share = Share(requests=order.shadow_requests, pairs=order.shadow_share)
        shadow = Shadow(new, share, lambda: self._registry.is_idle)
        old.watch, self._registry.left = shadow.offer, shadow.go_on
        try:
            async with asyncio.timeout(order.within_s):
                while not shadow.is_over:
                    await shadow.told.wait()
                    shadow.told.clear()
                    state = await self._goes(state.watched(len(shadow.samples)), tell)
        except TimeoutError:
            logger.info("model %s: %d requests were compared in time", old.model.card.name, len(shadow.samples))
        finally:
            old.watch = self._registry.left = None
            shadow.close()
        found = compare(shadow.samples) if shadow.samples else None
        return state.compared_as(found, seen=shadow.seen, failed_texts=shadow.failed_texts)

    def _switch(self, old: Served, new: Served) -> None:
        name = old.model.card.name
        self._registry.replace(old, new)
        self.counts.switched += 1
        with contextlib.suppress(CannotSwap):
            self._registry.retire(self._taken(name))
        old.reader.known.clear()
        if old.batcher.is_dead:
            self._registry.retire(old)
            return
        kept_s = self._settings.rollback_s
        timer = asyncio.get_running_loop().call_later(kept_s, self._expire, name)
        self._kept[name] = Kept(version=old, until_s=self._clock.now_s() + kept_s, timer=timer)
        logger.info("model %s: switched to %s", name, _version(new.model.card))

    def _expire(self, name: str) -> None:
        self._registry.retire(self._taken(name))

    def _taken(self, name: str) -> Served:
        kept = self._kept.pop(name, None)
        if kept is None:
            raise CannotSwap(f"no earlier version of {name} is kept; to go back, swap to it")
        kept.timer.cancel()
        return kept.version

    def _mended(self, reason: str, old: Served) -> str:
        if old.model.card.name not in self._kept:
            return reason
        return f"{reason} (the version kept for a roll-back takes memory, too; release it if you are sure)"


async def _golden(old: Served, new: Served) -> Golden:
    return Golden(queries=len(GOLDEN), old=await _rightly_ordered(old), new=await _rightly_ordered(new))


async def _rightly_ordered(version: Served) -> int:
    """How many golden queries have their own text first."""
    texts = [text for _, text in GOLDEN]
    right = 0
    for own, (query, _) in enumerate(GOLDEN):
        rows = await version.reader.pairs(query, texts, min(GOLDEN_TOKENS, version.model.card.max_tokens))
        job = version.batcher.submit(rows, None)
        await job.settled
        logits = [-float("inf") if value is None else float(value) for value in job.values]
        right += all(logits[own] > other for place, other in enumerate(logits) if place != own)
    return right


def _version(card: ModelCard) -> str:
    return f"{card.source} (digest {card.digest[:12]})"
