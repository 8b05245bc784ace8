"""Spans of calls and requests through OpenTelemetry; imported only where traces are asked for.

A call's span continues the trace of its caller, if he sent a ``traceparent``. Each request in it has a span, with one
for each stage of its time below: these are made once the answer is there, from what it says about its time. Spans carry
counts and words of ours, never a text.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rescorer_sidecar.errors import MissingExtra

STAGES = ("admission", "tokenise", "queue", "forward")
SERVICE = "rescorer-sidecar"


class Tracing:
    """Makes spans with the tracer of a provider; see :func:`to_collector`."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("rescorer_sidecar")
        self._propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def call(self, method: str, metadata: Mapping[str, str], request_id: str) -> Iterator[None]:
        """One call of a door, below the span of its caller if there is one."""
        from opentelemetry.trace import SpanKind, StatusCode

        about = {"rpc.system": "grpc", "rpc.method": method, "rescorer.request_id": request_id}
        above = self._propagator.extract(dict(metadata))
        with self._tracer.start_as_current_span(
            f"rescorer {method}", above, SpanKind.SERVER, about, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                raise

    @contextlib.contextmanager
    def request(self, name: str, about: Mapping[str, Any]) -> Iterator[RequestSpan]:
        """One request of the service, however it ends."""
        with self._tracer.start_as_current_span(
            f"rescorer.{name}", attributes=dict(about), record_exception=False, set_status_on_exception=False
        ) as span:
            yield RequestSpan(self._tracer, span)

    def close(self) -> None:
        """Send what waits to be sent, and stop."""
        self._provider.shutdown()


class RequestSpan:
    """The span of a request that runs."""

    def __init__(self, tracer: Any, span: Any) -> None:
        self._tracer = tracer
        self._span = span
        self._begun_ns = time.time_ns()

    def ended(self, outcome: str, about: Mapping[str, Any], *, is_failure: bool) -> None:
        """How it ended, and with what counts."""
        from opentelemetry.trace import StatusCode

        self._span.set_attributes({"rescorer.outcome": outcome, **about})
        if is_failure:
            self._span.set_status(StatusCode.ERROR, outcome)

    def stages(self, ms: Mapping[str, float]) -> None:
        """A span for each stage of its time, one after the other from its beginning."""
        at_ns = self._begun_ns
        for stage in STAGES:
            until_ns = at_ns + int(1e6 * ms.get(stage, 0.0))
            self._tracer.start_span(f"rescorer.{stage}", start_time=at_ns).end(until_ns)
            at_ns = until_ns


def to_collector(endpoint: str) -> Tracing:
    """Traces that go to an OTLP collector over gRPC, in the background; OpenTelemetry's own variables set the rest.

    ``http://…`` speaks plain text, ``https://…`` TLS. MissingExtra where OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise MissingExtra("opentelemetry", "otel") from error
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Tracing(provider)
