"""The models that are served, each with its queue, its tokeniser and what is in flight to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rescorer_sidecar.batcher import Batcher
from rescorer_sidecar.cache import ScoreCache
from rescorer_sidecar.choice import Cost
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Kind, ModelCard
from rescorer_sidecar.errors import NotReady, UnknownModel, short
from rescorer_sidecar.flights import Counters, Flights, Reader
from rescorer_sidecar.models import Model
from rescorer_sidecar.token_cache import TokenCache


@dataclass(slots=True, kw_only=True)
class Served:
    """``entering`` counts the texts to embed that were let in and are being tokenised."""

    model: Model
    batcher: Batcher
    reader: Reader
    flights: Flights
    entering: int = 0

    @property
    def waiting(self) -> int:
        """Pairs and texts that were let in and not started yet."""
        return self.batcher.waiting + self.flights.entering + self.entering

    @property
    def cost(self) -> Cost | None:
        """What a lone request takes: as measured on this machine, else as learnt from forwards; None where unknown."""
        measured, learnt = self.model.costs, self.batcher.learnt_cost()
        if measured is not None:
            return Cost(fixed_ms=measured.fixed_ms, us_per_token=measured.us_per_token, source="measured")
        if learnt is None:
            return None
        return Cost(fixed_ms=learnt[0], us_per_token=learnt[1], source="learnt from its forwards")

    @contextlib.contextmanager
    def enters(self, count: int) -> Iterator[None]:
        """Count these texts as entering."""
        self.entering += count
        try:
            yield
        finally:
            self.entering -= count

    def close(self) -> None:
        """Let go of threads and weights; what runs is waited for, what waits fails with NotReady."""
        self.batcher.close()
        self.model.backend.close()


class Registry:
    """Which models are served, the first of a kind by default; owned by the event loop.

    They share the cache of scores and the threads that tokenise.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._served: list[Served] = []
        self._is_open = False
        self.counters = Counters()
        self.cache = ScoreCache(settings.cache_mb * 1_000_000)
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="tokenise")

    def open(self, models: Iterable[Model]) -> None:
        """Serve these models from now on."""
        opened = list(models)
        each_bytes = self._settings.token_cache_mb * 1_000_000 // max(1, len(opened))
        self._served += [self._made(model, each_bytes) for model in opened]
        self._is_open = True

    def close(self) -> None:
        """Serve nothing more; what runs is waited for."""
        self._is_open = False
        self.threads.shutdown(wait=True, cancel_futures=True)
        for served in self._served:
            served.close()
        self._served.clear()

    def check_open(self) -> None:
        """NotReady before :meth:`open` and after :meth:`close`."""
        if not self._is_open:
            raise NotReady("the models are not loaded and warm yet, or the sidecar is stopping; try again")

    def cards(self) -> list[ModelCard]:
        """What is served, defaults first of their kind."""
        return [served.model.card for served in self._served]

    @property
    def waiting(self) -> int:
        """Pairs and texts of all models that somebody waits for and that were not started yet."""
        return sum(served.batcher.waiting for served in self._served)

    def find(self, name: str, kind: Kind) -> Served:
        """The model of this name or source, the default one for an empty name; NotReady, UnknownModel."""
        self.check_open()
        of_kind = [served for served in self._served if served.model.card.kind == kind]
        for served in of_kind:
            if name in ("", served.model.card.name, served.model.card.source):
                return served
        raise UnknownModel(short(name) or f"the default {kind}", [served.model.card.name for served in of_kind])

    def _made(self, model: Model, token_cache_bytes: int) -> Served:
        workers = self._settings.workers or model.backend.facts.workers or len(os.sched_getaffinity(0))
        batcher = Batcher(model.backend, self._settings.budget_tokens, workers, self._clock)
        reader = Reader(model.tokeniser, TokenCache(token_cache_bytes), self.threads)
        flights = Flights(batcher, reader, self.cache, self.counters)
        return Served(model=model, batcher=batcher, reader=reader, flights=flights)
