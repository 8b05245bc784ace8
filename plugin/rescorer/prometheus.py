"""Searches as Prometheus metrics of the application; pass one as ``rescorer_telemetry``."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

from rescorer.domain import Outcome
from rescorer.errors import MissingExtra
from rescorer.telemetry import Telemetry

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ModuleNotFoundError as error:
    raise MissingExtra("prometheus-client", "prometheus") from error

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)

_MADE: WeakKeyDictionary[CollectorRegistry, tuple[Counter, Histogram]] = WeakKeyDictionary()
_LOCK = threading.Lock()  # around making them; nothing else is taken while it is held


class Prometheus(Telemetry):
    """Counts answers by status and reason, and times what rescoring added, in this registry or the default one.

    ``rescorer_client_searches_total``, ``rescorer_client_rescoring_duration_seconds``. All clients of a process that
    count into one registry count together.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._is_default = registry is None
        self._searches, self._duration = _instruments(REGISTRY if registry is None else registry)

    def __reduce__(self) -> Any:
        if not self._is_default:
            raise TypeError("a registry can't be pickled; use Prometheus() without one in clients that are")
        return Prometheus, ()

    def __deepcopy__(self, _: Any) -> Prometheus:
        return self

    def note(self, outcome: Outcome) -> None:
        """Count and time it."""
        self._searches.labels(outcome.status, "" if outcome.reason is None else str(outcome.reason)).inc()
        self._duration.labels(outcome.status).observe(outcome.took_ms / 1000)


def _instruments(registry: CollectorRegistry) -> tuple[Counter, Histogram]:
    with _LOCK:
        found = _MADE.get(registry)
        if found is None:
            searches = Counter(
                "rescorer_client_searches",
                "Searches by what became of them; the reason is empty where all was well.",
                ["status", "reason"],
                registry=registry,
            )
            duration = Histogram(
                "rescorer_client_rescoring_duration_seconds",
                "What rescoring added to a search.",
                ["status"],
                buckets=SECONDS,
                registry=registry,
            )
            found = _MADE[registry] = searches, duration
        return found
