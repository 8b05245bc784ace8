"""One trace from the application's search through the client, over the wire, into the sidecar's stages."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rescorer.otel import OpenTelemetry
from rescorer_sidecar import grpc_server
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.logs import Json
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model, until, write_tokeniser
from rescorer_sidecar.tracing import Tracing
from unit.client import fake_clients
from unit.client.fake_engine import FakeEngine

BODY = {
    "query": {"match": {"body": "late"}},
    "rescore": {"cross_encoder": {"document_fields": ["title", "body"], "window_size": 5}},
}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """What client and sidecar export to; processes of their own in real life."""
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    """Of both."""
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


@pytest.fixture
async def address(provider: TracerProvider, tmp_path: Path) -> AsyncIterator[str]:
    """Where a sidecar listens that makes spans."""
    settings, clock = Settings(model="fake", port=0, workers=1), MonotonicClock()
    service = Service(settings, clock, Tracing(provider))
    service.open([fake_model(write_tokeniser(tmp_path))])
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)
    service.close()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_search_is_one_trace_down_to_the_models_forward(
    is_async: bool, address: str, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """Search, sidecar's step, call, request, forward: each below the one before, all in one trace."""
    make: Any = fake_clients.async_client if is_async else fake_clients.client
    client = make(FakeEngine(), rescorer=address, rescorer_telemetry=OpenTelemetry(provider))
    searching = client.search if is_async else lambda **asked: asyncio.to_thread(client.search, **asked)
    answer = await searching(index="articles", body=BODY)
    assert answer["rescore"]["status"] == "reranked"
    await until(lambda: any(span.name == "rescorer Score" for span in exporter.get_finished_spans()))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    line = ["rescorer search", "sidecar score", "rescorer Score", "rescorer.score", "rescorer.forward"]
    above = [None, *(spans[name].context.span_id for name in line[:-1])]
    assert [spans[name].parent and spans[name].parent.span_id for name in line] == above
    assert len({span.context.trace_id for span in spans.values()}) == 1
    closed = client.close()
    if is_async:
        await closed


async def test_a_fallback_names_the_request_as_the_sidecars_log_does(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the outcome's detail says can be looked up in the sidecar's log."""
    caplog.set_level(logging.INFO, "rescorer_sidecar.observing")
    monkeypatch.setattr(caplog.handler, "formatter", Json())
    client = fake_clients.client(FakeEngine(), rescorer=address)
    entry = {**BODY["rescore"]["cross_encoder"], "model": "nobody"}
    answer = await asyncio.to_thread(
        client.search, index="articles", body={**BODY, "rescore": {"cross_encoder": entry}}
    )
    client.close()
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "scorer_refused")
    found = re.search(r"\[request ([0-9a-f]{16})\]", answer["rescore"]["detail"])
    assert found is not None
    lines = [json.loads(line) for line in caplog.text.splitlines() if "unknown_model" in line]
    assert [line["request_id"] for line in lines] == [found.group(1)]
