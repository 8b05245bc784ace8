"""How things stand when somebody asks: which models are served, what waits, what caches hold, how pairs have ended.

Nothing here is kept up to date meanwhile: the batchers and caches count for themselves, and are read at each scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from rescorer_sidecar.config import Settings
from rescorer_sidecar.registry import Registry, Served
from rescorer_sidecar.shared_cache import SharedCache

Value = Callable[[Served], float]

OF_MODELS: tuple[tuple[str, str, Value], ...] = (
    ("rescorer_waiting_pairs", "Pairs and texts that wait for a model.", lambda served: served.waiting),
    ("rescorer_waiting_tokens", "Tokens that a model has not finished.", lambda served: served.batcher.ledger.tokens),
    (
        "rescorer_throughput_tokens_per_second",
        "What a model gets through while work waits; 0 until that is known.",
        lambda served: served.tokens_per_s or 0.0,
    ),
    ("rescorer_running_forwards", "Forwards that are under way.", lambda served: served.batcher.running),
    ("rescorer_workers", "Forwards that may be under way at a time.", lambda served: served.batcher.workers),
    ("rescorer_budget_tokens", "Most tokens of the next forward.", lambda served: served.batcher.budget_tokens),
)
"""A gauge for each model."""

ENDINGS = ("scored", "failed", "late", "abandoned")
RELOAD_ENDS = ("revived", "failed")
SWAP_ENDS = ("switched", "refused", "rolled_back")

SHARED_RESULTS = ("found", "absent", "spoilt", "skipped", "late", "stored", "dropped")


class Standing(Collector):
    """Reads the registry; asked in the event loop, which owns it."""

    def __init__(self, registry: Registry, settings: Settings, is_ready: Callable[[], bool]) -> None:
        self._registry = registry
        self._settings = settings
        self._is_ready = is_ready

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are told by what is collected, and registering asks for nothing."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of it, now."""
        yield GaugeMetricFamily(
            "rescorer_ready", "1 while requests should be sent: models warm, not stopping.", float(self._is_ready())
        )
        yield self._models()
        for name, about, value in OF_MODELS:
            yield self._gauge(name, about, value)
        yield GaugeMetricFamily(
            "rescorer_waiting_pairs_limit", "Pairs that may wait.", self._settings.max_waiting_pairs
        )
        yield GaugeMetricFamily(
            "rescorer_waiting_tokens_limit", "Tokens that may be unfinished.", self._settings.max_waiting_tokens
        )
        yield self._endings()
        yield self._sources()
        yield self._swaps()
        yield from self._lives()
        yield from self._caches()
        if self._registry.cache.shared is not None:
            yield from _of_shared(self._registry.cache.shared)

    def _models(self) -> Metric:
        family = InfoMetricFamily(
            "rescorer_model",
            "A model that is served.",
            labels=["model", "kind", "digest", "backend", "device", "precision"],
        )
        for served in self._registry.served:
            card = served.model.card
            about = [card.name, card.kind, card.digest[:12], card.backend, card.device, card.precision]
            family.add_metric(about, {})
        return family

    def _gauge(self, name: str, about: str, value: Value) -> Metric:
        values: Counter[str] = Counter()  # two versions of a model may be served at a time
        for served in self._registry.served:
            values[served.model.card.name] += value(served)  # type: ignore[assignment]  # numbers add up
        family = GaugeMetricFamily(name, about, labels=["model"])
        for model, number in values.items():
            family.add_metric([model], number)
        return family

    def _endings(self) -> Metric:
        counts: Counter[tuple[str, str]] = Counter()
        for served in self._registry.served:
            for ending in ENDINGS:
                counts[served.model.card.name, ending] += getattr(served.batcher.endings, ending)
        family = CounterMetricFamily(
            "rescorer_pairs",
            "Pairs and texts by what became of them; late and abandoned ones never reached the model.",
            labels=["model", "ending"],
        )
        for labels, count in counts.items():
            family.add_metric(labels, count)
        return family

    def _sources(self) -> Metric:
        family = CounterMetricFamily(
            "rescorer_pair_sources",
            "Where scores came from: the model, the cache, or a flight of somebody else's.",
            labels=["source"],
        )
        counters = self._registry.counters
        family.add_metric(["model"], counters.computed)
        family.add_metric(["cache"], counters.cached)
        family.add_metric(["flight"], counters.coalesced)
        return family

    def _swaps(self) -> Metric:
        family = CounterMetricFamily("rescorer_swaps", "Swaps of models that serve, by their end.", labels=["end"])
        for end in SWAP_ENDS:
            family.add_metric([end], getattr(self._registry.swaps, end))
        return family

    def _lives(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "rescorer_model_up", "1 while a model answers, 0 while it is loaded again.", labels=["model"]
        )
        deaths = CounterMetricFamily("rescorer_model_deaths", "How often a model has died.", labels=["model"])
        for name, is_alive in self._registry.alive.items():
            up.add_metric([name], is_alive)
            deaths.add_metric([name], self._registry.deaths[name])
        reloads = CounterMetricFamily(
            "rescorer_model_reloads", "Tries to load a dead model again, by their end.", labels=["end"]
        )
        for end in RELOAD_ENDS:
            reloads.add_metric([end], self._registry.reloads[end])
        yield from (up, deaths, reloads)

    def _caches(self) -> Iterator[Metric]:
        tokens = [served.reader.known for served in self._registry.served]
        limits = {"scores": self._settings.cache_mb * 1_000_000, "tokens": self._settings.token_cache_mb * 1_000_000}
        held = {"scores": self._registry.cache.held_bytes, "tokens": sum(cache.held_bytes for cache in tokens)}
        entries = {"scores": len(self._registry.cache), "tokens": sum(len(cache) for cache in tokens)}
        for name, about, values in (
            ("rescorer_cache_bytes", "What a cache holds.", held),
            ("rescorer_cache_limit_bytes", "What a cache may hold.", limits),
            ("rescorer_cache_entries", "Entries of a cache.", entries),
        ):
            family = GaugeMetricFamily(name, about, labels=["cache"])
            for cache, number in values.items():
                family.add_metric([cache], number)
            yield family


def _of_shared(shared: SharedCache) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "rescorer_shared_cache_up", "1 while the shared cache is asked, 0 while it is left alone.", shared.is_reachable
    )
    pairs = CounterMetricFamily(
        "rescorer_shared_cache_pairs", "Pairs by what the shared cache did with them.", labels=["result"]
    )
    for result in SHARED_RESULTS:
        pairs.add_metric([result], getattr(shared.counters, result))
    yield pairs
    yield CounterMetricFamily(
        "rescorer_shared_cache_failures",
        "Look-ups that the shared cache failed or was late for.",
        shared.counters.failures,
    )
    yield CounterMetricFamily(
        "rescorer_shared_cache_busy", "Look-ups that found all connections busy.", shared.counters.busy
    )
