"""Searches as Prometheus metrics of the application; pass one as ``rescorer_telemetry``."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from rescorer.domain import Audit, Outcome
from rescorer.errors import MissingExtra
from rescorer.telemetry import Telemetry

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ModuleNotFoundError as error:
    raise MissingExtra("prometheus-client", "prometheus") from error

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class _Instruments:
    searches: Counter
    duration: Histogram
    audits: Counter
    overlap: Histogram
    ndcg: Histogram


_MADE: WeakKeyDictionary[CollectorRegistry, _Instruments] = WeakKeyDictionary()
_LOCK = threading.Lock()  # around making them; nothing else is taken while it is held


class Prometheus(Telemetry):
    """Counts answers by status and reason, and times what rescoring added, in this registry or the default one.

    ``rescorer_client_searches_total``, ``rescorer_client_rescoring_duration_seconds``; of the gate's audit sample
    ``rescorer_client_audits_total``, ``rescorer_client_audit_overlap``, ``rescorer_client_audit_ndcg``. All clients of
    a process that count into one registry count together.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._is_default = registry is None
        self._made = _instruments(REGISTRY if registry is None else registry)

    def __reduce__(self) -> Any:
        if not self._is_default:
            raise TypeError("a registry can't be pickled; use Prometheus() without one in clients that are")
        return Prometheus, ()

    def __deepcopy__(self, _: Any) -> Prometheus:
        return self

    def note(self, outcome: Outcome) -> None:
        """Count and time it."""
        self._made.searches.labels(outcome.status, "" if outcome.reason is None else str(outcome.reason)).inc()
        self._made.duration.labels(outcome.status).observe(outcome.took_ms / 1000)

    def audited(self, audit: Audit) -> None:
        """Count it, and what the gate cost."""
        self._made.audits.labels(str(audit.reason), audit.failed or "").inc()
        if audit.failed is None:
            self._made.overlap.labels(str(audit.reason)).observe(audit.overlap)
            self._made.ndcg.labels(str(audit.reason)).observe(audit.ndcg)


def _instruments(registry: CollectorRegistry) -> _Instruments:
    with _LOCK:
        found = _MADE.get(registry)
        if found is None:
            found = _MADE[registry] = _made_in(registry)
        return found


def _made_in(registry: CollectorRegistry) -> _Instruments:
    said = "Searches by what became of them; the reason is empty where all was well."
    audits = "Searches that a gate left alone and that were scored afterwards; failed is empty where they were."
    overlap = "The share of its hits that the page of such a search has with rescoring as well."
    ndcg = "nDCG of the page of such a search by the rescored order."
    took = "What rescoring added to a search."
    return _Instruments(
        searches=Counter("rescorer_client_searches", said, ["status", "reason"], registry=registry),
        duration=Histogram(
            "rescorer_client_rescoring_duration_seconds", took, ["status"], buckets=SECONDS, registry=registry
        ),
        audits=Counter("rescorer_client_audits", audits, ["reason", "failed"], registry=registry),
        overlap=Histogram("rescorer_client_audit_overlap", overlap, ["reason"], buckets=SHARES, registry=registry),
        ndcg=Histogram("rescorer_client_audit_ndcg", ndcg, ["reason"], buckets=SHARES, registry=registry),
    )
