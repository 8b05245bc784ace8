"""What is counted and timed as it happens, as Prometheus metrics; how things stand at a scrape tells :mod:`.standing`.

Every label has few values: names of served models, words of this package, and as many callers as :mod:`.names` lets in.

## Decisions
2026-11: a registry for each :class:`Metrics` instead of prometheus-client's global one, so that two sidecars in one
process, as tests have them, count by themselves.
2026-11: times are histograms with fixed bounds, not summaries: only these can be added up over replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from rescorer_sidecar.clock import Clock
from rescorer_sidecar.domain import Timings
from rescorer_sidecar.names import Names

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
FILLS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
TOKENS = (128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
CANDIDATES = (1, 10, 25, 50, 100, 200, 500, 1000, 10_000)

OUTCOMES = (
    *("complete", "partial"),
    *("invalid", "unknown_model", "overloaded", "not_ready", "deadline_exceeded", "failed", "cancelled"),
)
"""How a request may end: answered, or refused with an error of ours, or nobody waited for it any more."""

STAGES: Mapping[str, Callable[[Timings], float]] = {
    "admission": lambda timings: timings.admission_ms,
    "tokenise": lambda timings: timings.tokenise_ms,
    "queue": lambda timings: timings.queue_ms,
    "forward": lambda timings: timings.forward_ms,
}
"""The parts of a request's time; ``reply``, which a door tells, comes after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One request that has ended, in one of :data:`OUTCOMES`.

    method: ``score`` or ``embed``. model: the name of a served model, or a word for what else was asked.
    candidates: how many, or how many texts to embed.
    """

    method: str
    model: str
    outcome: str
    caller: str
    candidates: int
    seconds: float


class ModelMetrics:
    """What one model's batcher tells; ``name`` is the model's at that moment."""

    def __init__(self, families: tuple[Histogram, Histogram, Histogram], name: Callable[[], str]) -> None:
        self._families = families
        self._name = name

    def ran(self, tokens: int, budget_tokens: int, seconds: float) -> None:
        """A forward over so many tokens, of so many that it might have held, took so long."""
        for family, value in zip(self._families, (seconds, tokens, tokens / budget_tokens), strict=True):
            family.labels(self._name()).observe(value)


class Metrics:
    """All metrics of one sidecar; its methods are called in the event loop, and :meth:`exposed` is what is scraped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self._names = Names(self._forget)
        ProcessCollector(registry=self._registry)
        self._requests = self._counter("rescorer_requests", "Requests by how they ended.", "method", "model", "outcome")
        self._truncated = self._counter(
            "rescorer_truncated_candidates", "Answered candidates that were not read to their end."
        )
        self._callers = self._counter(
            "rescorer_caller_requests", "Requests by caller and how they ended.", "caller", "outcome"
        )
        self._caller_candidates = self._counter(
            "rescorer_caller_candidates", "Candidates and texts by caller.", "caller"
        )
        self._at_door = self._counter(
            "rescorer_door_refusals", "Calls that a door refused before the service saw them.", "door", "reason"
        )
        self._duration = self._histogram(
            "rescorer_request_duration_seconds",
            "Time from a request's coming in until its answer is there, or its refusal.",
            SECONDS,
            "method",
            "outcome",
        )
        self._stage = self._histogram(
            "rescorer_stage_duration_seconds",
            "Where the time of answered requests went; stages of one request may overlap.",
            SECONDS,
            "stage",
        )
        self._candidates = self._histogram(
            "rescorer_request_candidates", "Candidates, or texts to embed, of one request.", CANDIDATES, "method"
        )
        self._forwards = (
            self._histogram("rescorer_forward_duration_seconds", "Time of one forward of a model.", SECONDS, "model"),
            self._histogram("rescorer_batch_tokens", "Tokens of one forward.", TOKENS, "model"),
            self._histogram(
                "rescorer_batch_fill_ratio",
                "Tokens of one forward, as a part of what it might have held.",
                FILLS,
                "model",
            ),
        )

    def add(self, collector: Collector) -> None:
        """Ask this collector too at each scrape."""
        self._registry.register(collector)

    def of_model(self, name: Callable[[], str]) -> ModelMetrics:
        """What the batcher of a model, which is called so at the time, tells its forwards to."""
        return ModelMetrics(self._forwards, name)

    def ended(self, request: Ended) -> None:
        """A request has ended, well or badly."""
        caller = self._names.label(request.caller or "unnamed", self._clock.now_s())
        self._requests.labels(request.method, request.model, request.outcome).inc()
        self._duration.labels(request.method, request.outcome).observe(request.seconds)
        self._candidates.labels(request.method).observe(request.candidates)
        self._callers.labels(caller, request.outcome).inc()
        self._caller_candidates.labels(caller).inc(request.candidates)

    def answered(self, timings: Timings, truncated: int) -> None:
        """Where the time of an answer went, and how many of its texts were not read to their end."""
        for stage, ms in STAGES.items():
            self._stage.labels(stage).observe(ms(timings) / 1000)
        self._truncated.inc(truncated)

    def replied(self, seconds: float) -> None:
        """From the answer until a door had it on its way."""
        self._stage.labels("reply").observe(seconds)

    def refused_at_door(self, door: str, reason: str) -> None:
        """A door (``grpc``, ``http``, ``admin``) refused a call before the service saw it; ``reason`` is our word."""
        self._at_door.labels(door, reason).inc()

    def exposed(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that an ``Accept`` header asks for, and that format's content type."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, registry=self._registry)

    def _histogram(self, name: str, about: str, bounds: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, about, labels, registry=self._registry, buckets=bounds)

    def _forget(self, caller: str) -> None:
        self._caller_candidates.remove(caller)
        for outcome in OUTCOMES:
            self._callers.remove(caller, outcome)
