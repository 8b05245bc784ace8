"""Spans of calls: below the caller's, with the stages of each request below, and without anybody's text."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar import grpc_server
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model
from rescorer_sidecar.tracing import Tracing
from unit.sidecar.door import asking

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "shop-42"))


class Traced:
    """A server that makes spans, a stub for it, and the spans that have ended."""

    def __init__(self, stub: rescorer_pb2_grpc.RescorerStub, exporter: InMemorySpanExporter) -> None:
        self.stub = stub
        self._exporter = exporter

    def spans(self) -> dict[str, ReadableSpan]:
        """By name, the last of each."""
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
async def traced(tokeniser_folder: Path) -> AsyncIterator[Traced]:
    """One cross-encoder behind the gRPC door."""
    exporter, clock = InMemorySpanExporter(), MonotonicClock()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = Settings(model="fake", port=0, workers=1)
    tracing = Tracing(provider)
    service = Service(settings, clock, tracing)
    service.open([fake_model(tokeniser_folder)])
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Traced(rescorer_pb2_grpc.RescorerStub(channel), exporter)
    await server.stop(None)
    service.close()
    tracing.close()


async def test_a_call_continues_its_callers_trace(traced: Traced) -> None:
    """The call's span lies below the one of ``traceparent``, the request's below it, its stages below that."""
    await traced.stub.Score(asking("hotel", "late"), timeout=20, metadata=HEADERS)
    spans = traced.spans()
    call, request = spans["rescorer Score"], spans["rescorer.score"]
    assert (f"{call.context.trace_id:032x}", f"{call.parent.span_id:016x}") == (TRACE, PARENT)
    assert request.parent.span_id == call.context.span_id
    stages = [spans[f"rescorer.{stage}"] for stage in ("admission", "tokenise", "queue", "forward")]
    assert {stage.parent.span_id for stage in stages} == {request.context.span_id}
    assert all(before.end_time == after.start_time for before, after in itertools.pairwise(stages))


async def test_spans_carry_counts_and_words_of_ours(traced: Traced) -> None:
    """Outcome, model, how many were asked, scored, cached and cut; the request id; no text."""
    await traced.stub.Score(asking("hotel", "late"), timeout=20, metadata=HEADERS)
    spans = traced.spans()
    assert spans["rescorer Score"].attributes["rescorer.request_id"] == "shop-42"
    about = dict(spans["rescorer.score"].attributes)
    about.pop("rescorer.caller")
    assert about == {
        "rescorer.candidates": 2,
        "rescorer.outcome": "complete",
        "rescorer.model": "fake",
        "rescorer.truncated": 0,
        "rescorer.scored": 2,
        "rescorer.cached": 0,
    }
    assert "hotel" not in str([span.to_json() for span in spans.values()])


async def test_a_refusal_is_an_error_with_a_word_of_ours(traced: Traced) -> None:
    """The span says which kind of refusal it was, and nothing of what was asked."""
    with pytest.raises(grpc.aio.AioRpcError):
        await traced.stub.Score(asking("hotel", model="somebody's secret"), timeout=20, metadata=HEADERS)
    spans = traced.spans()
    assert spans["rescorer.score"].status.status_code == StatusCode.ERROR
    assert spans["rescorer.score"].status.description == "unknown_model"
    assert spans["rescorer Score"].status.status_code == StatusCode.ERROR
    assert "secret" not in str([span.to_json() for span in spans.values()])


async def test_each_request_of_many_has_its_own_span(traced: Traced) -> None:
    """All below the one call, each with its own outcome."""
    many = wire.ScoreManyRequest(requests=[asking("hotel"), asking("late", query=" ")])
    await traced.stub.ScoreMany(many, timeout=20)
    ended = [span for span in traced._exporter.get_finished_spans() if span.name == "rescorer.score"]
    assert {span.attributes["rescorer.outcome"] for span in ended} == {"complete", "invalid"}
    assert {span.parent.span_id for span in ended} == {traced.spans()["rescorer ScoreMany"].context.span_id}


def test_nothing_of_opentelemetry_is_imported_unless_traces_are_asked_for() -> None:
    """A sidecar without traces, with all its doors, has not touched the package."""
    asked = (
        "import sys, rescorer_sidecar.serve; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
