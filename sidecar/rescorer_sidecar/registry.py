"""The models that are served, each with its queue, its tokeniser and what is in flight to it.

A model can be replaced while it serves. Whoever has found the old version stays with it to the end of its request, and
whoever asks from then on finds the new one; the old one is let go of when the last request has left it.

## Decisions
2026-11: requests are counted by version, and nothing is drained. A switch is one assignment in the event loop, so that
no request waits for it and none can fall between the two.
2026-11: a replacement goes by the name of what it replaces, and is found under the folder or hub name of either: what
callers and index profiles say must not change with the version.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from rescorer_sidecar.admission import Admission
from rescorer_sidecar.batcher import Batcher
from rescorer_sidecar.cache import ScoreCache
from rescorer_sidecar.choice import Cost
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Kind, ModelCard, ScoreAnswer, ScoreRequest
from rescorer_sidecar.errors import NotReady, UnknownModel, short
from rescorer_sidecar.flights import Counters, Flights, Reader
from rescorer_sidecar.known_scores import KnownScores
from rescorer_sidecar.metrics import Metrics
from rescorer_sidecar.models import Model
from rescorer_sidecar.shared_cache import Place, SharedCache
from rescorer_sidecar.swap import SwapCounts
from rescorer_sidecar.token_cache import TokenCache


@dataclass(slots=True, kw_only=True, eq=False)
class Served:
    """One version of a model. ``entering`` counts the texts to embed that were let in and are being tokenised.

    sources: folders and hub names of the versions that it took the place of; it is found under them, too.
    watch: is told of each request that it answered. left: is told when a request has left it.
    """

    model: Model
    batcher: Batcher
    reader: Reader
    flights: Flights
    entering: int = 0
    admission: Admission = field(init=False)
    sources: frozenset[str] = frozenset()
    watch: Callable[[ScoreRequest, ScoreAnswer], None] | None = None
    left: Callable[[], None] | None = None
    _requests: int = 0
    _is_buried: bool = False
    _is_unused: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._is_unused.set()
        self.admission = Admission(self.batcher.ledger)

    def goes_by(self, name: str) -> bool:
        """Whether callers may call it so; an empty name is anybody's."""
        card = self.model.card
        return name in ("", card.name, card.source) or name in self.sources

    @property
    def waiting(self) -> int:
        """Pairs and texts that were let in and not started yet."""
        return self.batcher.waiting + self.flights.entering + self.entering

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it runs and nothing waits."""
        return not self.waiting and not self.batcher.running

    @property
    def cost(self) -> Cost | None:
        """What a lone request takes: as measured on this machine, else as learnt from forwards; None where unknown."""
        measured, learnt = self.model.costs, self.batcher.learnt_cost()
        if measured is not None:
            return Cost(fixed_ms=measured.fixed_ms, us_per_token=measured.us_per_token, source="measured")
        if learnt is None:
            return None
        return Cost(fixed_ms=learnt[0], us_per_token=learnt[1], source="learnt from its forwards")

    @property
    def tokens_per_s(self) -> float | None:
        """What it gets through while work waits, as it turned out; else as its cost lets expect; None where unknown."""
        cost = self.cost
        return self.batcher.tokens_per_s or (1e6 / cost.us_per_token if cost and cost.us_per_token else None)

    @contextlib.contextmanager
    def enters(self, count: int) -> Iterator[None]:
        """Count these texts as entering."""
        self.entering += count
        try:
            yield
        finally:
            self.entering -= count

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold this version for a request, whatever takes its place meanwhile."""
        self._requests += 1
        self._is_unused.clear()
        try:
            yield
        finally:
            self._requests -= 1
            if not self._requests:
                self._is_unused.set()
            if self.left is not None:
                self.left()

    async def retired(self) -> None:
        """Once the last request has left it: let go of threads and weights, without holding up the event loop."""
        await self._is_unused.wait()
        await self.bury()

    async def bury(self) -> None:
        """Let go of threads and weights, whoever still uses it; once, however often it is said."""
        await self.batcher.stopped()
        if not self._is_buried:
            self._is_buried = True
            await asyncio.to_thread(self.model.backend.close)
            self.model = replace(self.model, memory_bytes=0)

    def close(self) -> None:
        """Let go of threads and weights; what runs is waited for unless it hangs, what waits fails with NotReady."""
        self.batcher.close()
        if not self._is_buried and not self.batcher.hung:
            self._is_buried = True
            self.model.backend.close()


class Registry:
    """Which models are served, the first of a kind by default; owned by the event loop.

    They share the cache of scores and the threads that tokenise. ``died`` is told of a version that answers nothing any
    more; ``deaths`` are counted by model, ``reloads`` by their end.
    """

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics | None = None) -> None:
        self._settings = settings
        self._metrics = metrics or Metrics(clock)
        self._clock = clock
        self._served: list[Served] = []
        self._beside: list[Served] = []
        self._retiring: set[asyncio.Task[None]] = set()
        self._token_cache_bytes = 0
        self.swaps = SwapCounts()
        self.died: Callable[[Served, BaseException], None] | None = None
        self.deaths: Counter[str] = Counter()
        self.reloads: Counter[str] = Counter()
        self.left: Callable[[], None] | None = None
        self._is_open = False
        self.counters = Counters()
        self.cache = KnownScores(ScoreCache(settings.cache_mb * 1_000_000), _shared_cache(settings, clock))
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="tokenise")

    def open(self, models: Iterable[Model]) -> None:
        """Serve these models from now on."""
        opened = list(models)
        self._token_cache_bytes = self._settings.token_cache_mb * 1_000_000 // max(1, len(opened))
        self._served += [self._made(model) for model in opened]
        self._is_open = True

    def close(self) -> None:
        """Serve nothing more; what runs is waited for."""
        self._is_open = False
        self.threads.shutdown(wait=True, cancel_futures=True)
        for task in self._retiring:
            task.cancel()
        for served in (*self._served, *self._beside):
            served.close()
        self._served.clear()
        self._beside.clear()

    def beside(self, model: Model) -> Served:
        """Another version, warm and ready, that nobody is sent to yet; NotReady where the sidecar is stopping."""
        self.check_open()
        made = self._made(model)
        self._beside.append(made)
        return made

    def replace(self, old: Served, new: Served) -> None:
        """Send whoever asks from now on to ``new``, which stood beside, under the names of ``old``, which does then.

        At once: no request sees anything between. NotReady where either has no such place any more.
        """
        if old not in self._served or new not in self._beside:
            raise NotReady(f"model {old.model.card.name}: its version has changed meanwhile; look again")
        new.model = replace(new.model, card=replace(new.model.card, name=old.model.card.name))
        new.batcher.endings = old.batcher.endings  # counts of a model go on through its versions
        new.sources |= old.sources | {old.model.card.source}
        self._beside[self._beside.index(new)] = old
        self._served[self._served.index(old)] = new

    def retire(self, served: Served) -> asyncio.Task[None]:
        """Let go of a version that stands beside as soon as no request uses it; the task ends then."""
        task = asyncio.get_running_loop().create_task(self._retired(served))
        self._retiring.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._retiring.discard)
        return task

    async def _retired(self, served: Served) -> None:
        if served in self._beside:
            await served.retired()
            self._beside.remove(served)

    def serves(self, version: Served) -> bool:
        """Whether this version is what callers get."""
        return version in self._served

    def check_open(self) -> None:
        """NotReady before :meth:`open` and after :meth:`close`."""
        if not self._is_open:
            raise NotReady("the models are not loaded and warm yet, or the sidecar is stopping; try again")

    def cards(self) -> list[ModelCard]:
        """What is served, defaults first of their kind."""
        return [served.model.card for served in self._served]

    @property
    def is_open(self) -> bool:
        """Whether requests are taken."""
        return self._is_open

    @property
    def alive(self) -> dict[str, bool]:
        """Whether each model that is served answers, by name."""
        return {served.model.card.name: not served.batcher.is_dead for served in self._served}

    @property
    def served(self) -> Sequence[Served]:
        """The versions that serve, defaults first of their kind."""
        return self._served

    @property
    def waiting(self) -> int:
        """Pairs and texts of all models that somebody waits for and that were not started yet."""
        return sum(served.batcher.waiting for served in self._served)

    @property
    def let_in(self) -> tuple[int, int]:
        """Pairs and texts of all versions that were not started yet, and tokens of all that is unfinished."""
        versions = (*self._served, *self._beside)
        return sum(served.waiting for served in versions), sum(served.batcher.ledger.tokens for served in versions)

    @property
    def is_idle(self) -> bool:
        """Whether no version of any model has anything to do."""
        return all(served.is_idle for served in (*self._served, *self._beside))

    @property
    def memory_bytes(self) -> int:
        """About what all versions take that are loaded."""
        return sum(served.model.memory_bytes for served in (*self._served, *self._beside))

    def find(self, name: str, kind: Kind) -> Served:
        """The model of this name or source, the default one for an empty name; NotReady, UnknownModel."""
        self.check_open()
        of_kind = [served for served in self._served if served.model.card.kind == kind]
        for served in of_kind:
            if served.goes_by(name):
                return served
        raise UnknownModel(short(name) or f"the default {kind}", kind, [served.model.card.name for served in of_kind])

    def label(self, name: str, kind: Kind) -> str:
        """The name of the served model that is asked for by this name or source; ``unknown`` where there is none."""
        of_kind = [served for served in self._served if served.model.card.kind == kind]
        return next((served.model.card.name for served in of_kind if served.goes_by(name)), "unknown")

    def _made(self, model: Model) -> Served:
        workers = self._settings.workers or model.backend.facts.workers or len(os.sched_getaffinity(0))
        batcher = Batcher(model.backend, self._settings.budget_tokens, workers, self._clock)
        reader = Reader(model.tokeniser, TokenCache(self._token_cache_bytes), self.threads)
        flights = Flights(batcher, reader, self.cache, self.counters)
        served = Served(model=model, batcher=batcher, reader=reader, flights=flights, left=self._left)
        batcher.watch = self._metrics.of_model(lambda: served.model.card.name)
        batcher.pulse = model.pulse
        batcher.hung_s = self._settings.hung_s
        batcher.died = lambda error: self._died(served, error)
        return served

    def _died(self, served: Served, error: BaseException) -> None:
        self.deaths[served.model.card.name] += 1
        if self.died is not None:
            self.died(served, error)

    def _left(self) -> None:
        if self.left is not None:
            self.left()


def _shared_cache(settings: Settings, clock: Clock) -> SharedCache | None:
    if not settings.shared_cache:
        return None
    place = Place(
        address=settings.shared_cache,
        ttl_s=settings.shared_cache_ttl_s,
        wait_s=settings.shared_cache_wait_ms / 1000,
        secret=settings.shared_cache_secret,
    )
    return SharedCache(place, clock)
