"""Searches as OpenTelemetry spans and metrics; pass one as ``rescorer_telemetry``. Only this room imports the package.

A search is a span, with one below it for each step: the engine's answer, the sidecar's, which continues the trace.
The engines' own instrumentation stands below the steps. Spans and metrics carry counts and words of ours, no texts.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rescorer import __version__
from rescorer.domain import Audit, Effect, Embed, Outcome, Score, ScoreLater, ScoreMany
from rescorer.errors import MissingExtra
from rescorer.scorers.carried import Headers
from rescorer.telemetry import Telemetry

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.trace import SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as error:
    raise MissingExtra("opentelemetry-api", "otel") from error

_SIDECAR = {Score: "score", ScoreMany: "score_many", Embed: "embed"}


class OpenTelemetry(Telemetry):
    """Uses the application's own providers, or those given.

    Metrics: ``rescorer.searches`` by ``status`` and ``reason``; ``rescorer.took``, the seconds that rescoring added;
    ``rescorer.audits`` by ``reason`` and ``failed``, ``rescorer.audit.overlap`` and ``rescorer.audit.ndcg``.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._providers = (tracer_provider, meter_provider)
        self._tracer = trace.get_tracer("rescorer", __version__, tracer_provider)
        meter = metrics.get_meter("rescorer", __version__, meter_provider)
        self._searches = meter.create_counter("rescorer.searches", "{search}", "Searches by what became of them.")
        self._took = meter.create_histogram("rescorer.took", "s", "What rescoring added to a search.")
        self._audits = meter.create_counter("rescorer.audits", "{search}", "Audited searches by gate and failure.")
        self._overlap = meter.create_histogram("rescorer.audit.overlap", "1", "Hits that a page without rescoring has.")
        self._ndcg = meter.create_histogram("rescorer.audit.ndcg", "1", "nDCG of such a page by the rescored order.")
        self._propagator = TraceContextTextMapPropagator()

    def __reduce__(self) -> tuple[type[OpenTelemetry], tuple[Any, Any]]:
        return OpenTelemetry, self._providers

    def __deepcopy__(self, _: Any) -> OpenTelemetry:
        return self

    def note(self, outcome: Outcome) -> None:
        """Count it, and tell it on the span of the search."""
        reason = "" if outcome.reason is None else str(outcome.reason)
        said = {"status": outcome.status, "reason": reason}
        self._searches.add(1, said)
        self._took.record(outcome.took_ms / 1000, {"status": outcome.status})
        span = trace.get_current_span()
        about: dict[str, Any] = {
            **{f"rescorer.{name}": value for name, value in said.items()},
            "rescorer.model": outcome.model or "",
            "rescorer.window": outcome.window or 0,
            "rescorer.scored": outcome.scored,
            "rescorer.cached": outcome.cached,
            "rescorer.truncated": outcome.truncated,
        }
        span.set_attributes(about)
        span.add_event("rescorer.outcome", about)  # an msearch has several, and attributes hold the last

    def audited(self, audit: Audit) -> None:
        """Count it, and what the gate cost."""
        self._audits.add(1, {"reason": str(audit.reason), "failed": audit.failed or ""})
        if audit.failed is None:
            self._overlap.record(audit.overlap, {"reason": str(audit.reason)})
            self._ndcg.record(audit.ndcg, {"reason": str(audit.reason)})

    def searching(self, name: str) -> _Span:
        """A span for the search."""
        return _Span(self._tracer.start_span(f"rescorer {name}"), None)

    def asking(self, effect: Effect) -> _Span:
        """A span for the step; the sidecar's continues it."""
        if isinstance(effect, ScoreLater):
            return _Span(self._tracer.start_span("rescorer audit"), self._propagator)
        method = _SIDECAR.get(type(effect))
        if method is None:
            return _Span(self._tracer.start_span(f"engine {type(effect).__name__}", kind=SpanKind.CLIENT), None)
        span = self._tracer.start_span(f"sidecar {method}", kind=SpanKind.CLIENT, attributes=_asked(effect))
        return _Span(span, self._propagator)


def _asked(effect: Effect) -> dict[str, Any]:
    """How much a step asks of the sidecar, and within what time."""
    if isinstance(effect, Score):
        return {"rescorer.candidates": len(effect.request.candidates), "rescorer.timeout_s": effect.timeout_s}
    if isinstance(effect, ScoreMany):
        count = sum(len(request.candidates) for request in effect.requests)
        return {"rescorer.requests": len(effect.requests), "rescorer.candidates": count}
    return {"rescorer.texts": len(effect.request.texts)} if isinstance(effect, Embed) else {}


class _Span:
    """A span that is the current one inside of the block, and hands out its headers if there is a propagator."""

    def __init__(self, span: Any, propagator: TraceContextTextMapPropagator | None) -> None:
        self._span = span
        self._propagator = propagator
        self._token: Any = None

    def __enter__(self) -> Headers:
        self._token = context.attach(trace.set_span_in_context(self._span))
        headers: dict[str, str] = {}
        if self._propagator is not None:
            self._propagator.inject(headers)
        return tuple(headers.items())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        if kind is not GeneratorExit:  # given up, and closed who knows where: another context knows no such token
            context.detach(self._token)
        if kind is not None:
            self._span.set_status(StatusCode.ERROR, "given up" if kind is GeneratorExit else kind.__name__)
        self._span.end()
