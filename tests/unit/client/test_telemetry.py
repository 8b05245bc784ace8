"""What an application is told of its searches, by every class of ours: counts and spans, and no search breaks by it."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

import opensearchpy
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry

from rescorer.domain import Effect, Outcome
from rescorer.errors import ScorerUnavailable
from rescorer.opensearch import OpenSearch
from rescorer.otel import OpenTelemetry
from rescorer.prometheus import Prometheus
from rescorer.scorers.carried import CARRIED
from rescorer.telemetry import Telemetry
from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, settled
from unit.client.fake_engine import FakeEngine, reversing

pytestmark = [pytest.mark.filterwarnings("ignore:Passing transport options:DeprecationWarning")]
SECRET = "cancel a flight"
GONE = FakeScorer(failure=ScorerUnavailable("gone"))


def body(**said: Any) -> dict[str, Any]:
    """A search that asks for rescoring."""
    entry = {"document_fields": ["title", "body"], "window_size": 5, **said}
    return {"query": {"match": {"body": SECRET}}, "rescore": {"cross_encoder": entry}}


class Traces:
    """Spans and counts of an application."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.telemetry = OpenTelemetry(self._tracers, MeterProvider([self._reader]))

    def spans(self) -> list[Any]:
        """Those that have ended, in the order of their ends."""
        return list(self._exporter.get_finished_spans())

    def values(self, name: str) -> list[float]:
        """Sums of a metric, one for each set of labels."""
        found = self._reader.get_metrics_data().resource_metrics
        metrics = [metric for resource in found for scope in resource.scope_metrics for metric in scope.metrics]
        points = [point for metric in metrics if metric.name == name for point in metric.data.data_points]
        return [point.sum if hasattr(point, "sum") else point.value for point in points]

    def counts(self) -> dict[tuple[str, str], int]:
        """Searches by status and reason."""
        found = {}
        for resource in self._reader.get_metrics_data().resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.name == "rescorer.searches":
                    for point in metric.data.data_points:
                        found[point.attributes["status"], point.attributes["reason"]] = point.value
        return found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each class of ours in turn."""
    return str(request.param)


async def test_the_counts_equal_the_statuses_that_were_returned(kind: str) -> None:
    """F2: what the answers say of themselves is what Prometheus, OpenTelemetry and the client's own counts say."""
    registry, traces = CollectorRegistry(), Traces()
    told = [Prometheus(registry), traces.telemetry]
    answers = []
    for scorer, said in (
        (FakeScorer(reversing), {}),
        (FakeScorer(reversing), {"enabled": False}),
        (GONE, {}),
        (GONE, {}),
    ):
        client = fake_clients.made(kind, FakeEngine(), scorer, rescorer_telemetry=told)
        answers.append(await settled(client.search(index="articles", body=body(**said))))
        await settled(client.close())
    returned = Counter((answer["rescore"]["status"], answer["rescore"]["reason"] or "") for answer in answers)
    assert returned == {
        ("reranked", ""): 1,
        ("skipped", "disabled"): 1,
        ("fallback", "scorer_unavailable"): 2,
    }
    counted = {
        (sample.labels["status"], sample.labels["reason"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "rescorer_client_searches_total"
    }
    assert counted == returned
    assert traces.counts() == returned


async def test_each_search_of_many_is_counted(kind: str) -> None:
    """F2: an ``msearch`` counts once for each of its answers."""
    traces = Traces()
    client = fake_clients.made(kind, FakeEngine(), FakeScorer(reversing), rescorer_telemetry=traces.telemetry)
    await settled(client.msearch(body=[{"index": "articles"}, body(), {"index": "articles"}, body(enabled=False)]))
    assert traces.counts() == {("reranked", ""): 1, ("skipped", "disabled"): 1}
    assert client.rescore_counts() == {"reranked": 1, "skipped:disabled": 1}
    await settled(client.close())


async def test_a_search_is_a_span_with_its_steps_below(kind: str) -> None:
    """Mapping, engine and sidecar stand below the search, which says what became of it; no text in any of them."""
    traces = Traces()
    client = fake_clients.made(kind, FakeEngine(), FakeScorer(reversing), rescorer_telemetry=traces.telemetry)
    await settled(client.search(index="articles", body=body()))
    *steps, search = traces.spans()
    assert (search.name, search.parent) == ("rescorer search", None)
    assert [step.name for step in steps] == ["engine ReadMapping", "engine Search", "sidecar score"]
    assert {step.parent.span_id for step in steps} == {search.context.span_id}
    assert search.attributes["rescorer.status"] == "reranked"
    assert (search.attributes["rescorer.window"], search.attributes["rescorer.scored"]) == (5, 5)
    assert steps[-1].attributes["rescorer.candidates"] == 5
    assert not any(word in span.to_json() for span in traces.spans() for word in (SECRET, "title 0", "body 0"))
    await settled(client.close())


async def test_a_step_that_failed_says_how_and_the_search_why(kind: str) -> None:
    """The sidecar's step is an error of its type; the search itself went well, with a reason."""
    traces = Traces()
    client = fake_clients.made(kind, FakeEngine(), GONE, rescorer_telemetry=traces.telemetry)
    await settled(client.search(index="articles", body=body()))
    step, search = traces.spans()[-2:]
    assert (step.status.status_code, step.status.description) == (StatusCode.ERROR, "ScorerUnavailable")
    assert (search.status.status_code, search.attributes["rescorer.reason"]) == (StatusCode.UNSET, "scorer_unavailable")
    await settled(client.close())


class Spiteful(Telemetry):
    """Fails in every way."""

    def note(self, outcome: Outcome) -> None:
        """Fail."""
        raise RuntimeError("note")

    def searching(self, name: str) -> Any:
        """Fail."""
        raise RuntimeError("searching")

    def asking(self, effect: Effect) -> Any:
        """Hand out what fails at its end."""
        return _Trap()


class _Trap:
    def __enter__(self) -> str:
        return "no headers"

    def __exit__(self, *_: object) -> None:
        raise RuntimeError("asking")


async def test_telemetry_that_fails_breaks_no_search(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is the same, others are told all the same, and the log says that something is wrong."""
    traces = Traces()
    told = [Spiteful(), traces.telemetry]
    client = fake_clients.made(kind, FakeEngine(), FakeScorer(reversing), rescorer_telemetry=told)
    answer = await settled(client.search(index="articles", body=body()))
    assert answer["rescore"]["status"] == "reranked"
    assert traces.counts() == {("reranked", ""): 1}
    assert "telemetry failed" in caplog.text
    await settled(client.close())


class Watching(Telemetry):
    """Carries a header, and remembers what is carried while a step runs."""

    def __init__(self) -> None:
        self.carried: list[Any] = []

    def asking(self, effect: Effect) -> Any:
        """Carry one."""
        return _Header()


class _Header:
    def __enter__(self) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", "a"),)

    def __exit__(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("kind", ["opensearch"])
def test_what_is_carried_ends_with_its_step(kind: str) -> None:
    """The scorer sees the metadata while it is asked; after the search nothing is left of them."""
    seen: list[Any] = []

    def scoring(query: str, text: str) -> float:
        seen.append(CARRIED.get())
        return 1.0

    client = fake_clients.made(kind, FakeEngine(), FakeScorer(scoring), rescorer_telemetry=Watching())
    client.search(index="articles", body=body())
    assert set(seen) == {(("x-request-id", "a"),)}
    assert CARRIED.get() == ()


async def test_a_search_that_is_given_up_ends_its_spans(caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled search leaves ended spans, which say so, and no complaint about anybody's context."""
    traces, entered = Traces(), asyncio.Event()

    class Stuck:
        async def score(self, request: Any, timeout_s: float) -> Any:
            """Never answer."""
            entered.set()
            await asyncio.Event().wait()

        score_many = embed = score

    engine = FakeEngine()
    client = fake_clients.async_client(engine, rescorer=Stuck(), rescorer_telemetry=traces.telemetry)
    search = asyncio.ensure_future(client.search(index="articles", body=body()))
    await entered.wait()
    search.cancel()
    with suppress(asyncio.CancelledError):
        await search
    del search
    assert [(span.name, span.status.description) for span in traces.spans()[-2:]] == [
        ("sidecar score", "given up"),
        ("rescorer search", "given up"),
    ]
    assert "detach" not in caplog.text
    await client.close()


def test_copies_of_a_client_tell_the_same_listener() -> None:
    """Deep copies and pickles of a client, as far as the official one has them, go on counting where it did."""
    told = [OpenTelemetry(), Prometheus()]
    plain = {"hosts": "http://localhost:9200", "connection_class": opensearchpy.RequestsHttpConnection}
    client = OpenSearch(**plain, rescorer="localhost:1", rescorer_telemetry=told)
    assert copy.deepcopy(client)._wiring.telemetry == client._wiring.telemetry
    trace, count = pickle.loads(pickle.dumps(client))._wiring.telemetry  # noqa: S301  # our own
    assert isinstance(trace, OpenTelemetry)
    assert count._made is told[1]._made
    with pytest.raises(TypeError, match="use Prometheus"):
        pickle.dumps(Prometheus(CollectorRegistry()))


def test_nothing_is_imported_that_nobody_asked_for() -> None:
    """A client without telemetry has touched neither OpenTelemetry nor Prometheus."""
    asked = (
        "import sys, rescorer.opensearch; "
        "sys.exit(any(name.startswith(('prometheus', 'rescorer.otel')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
