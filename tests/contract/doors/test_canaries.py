"""Canaries: unlikely words as query, document, token and caller go through every door, well and badly, and are heard
again in no log line, metric, span or error.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from contract.doors.house import House, serving
from rescorer.credentials import Credentials
from rescorer_proto.admin.v1 import admin_pb2, admin_pb2_grpc
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar import admin_server, grpc_server, logs, security
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import EmbedAnswer, EmbedRequest
from rescorer_sidecar.http_server import HttpDoor
from rescorer_sidecar.service import Service
from rescorer_sidecar.swapping import Swapper
from rescorer_sidecar.testing import POISON_WORD, fake_model, until, write_tokeniser
from rescorer_sidecar.tracing import Tracing
from unit.client import fake_clients
from unit.client.fake_engine import FakeEngine

QUERY, TEXT, LABEL, CALLER, STRANGER = "zqxquery", "zqxtext", "zqxlabel", "zqxcaller", "rescorer_zqxtoken"
BOOM = "boom"
MOST = 6


class Breaking(Service):
    """A service with a fault that nobody foresaw, which repeats what it was given."""

    async def embed(self, request: EmbedRequest) -> EmbedAnswer:
        """As asked, unless the word is said."""
        if BOOM in request.texts:
            raise RuntimeError(" ".join(request.texts))
        return await super().embed(request)


@dataclass
class Aviary:
    """All doors of one sidecar, what is said to them, and all that is heard of it."""

    house: House
    token: str
    operator: str
    channel: grpc.aio.Channel
    admin: grpc.aio.Channel
    http: HttpDoor
    service: Service
    backend: FakeBackend
    exporter: InMemorySpanExporter
    address: str
    heard: list[str] = field(default_factory=list)
    codes: set[grpc.StatusCode] = field(default_factory=set)

    async def knock(self, call: Callable[..., Awaitable[Any]], request: Any, token: str = "", **more: Any) -> Any:
        """One call with all canaries in its metadata; what comes of it in words is heard."""
        shown = ("authorization", f"Bearer {token or self.token}")
        metadata = grpc.aio.Metadata(shown, ("rescorer-caller", CALLER))
        try:
            answer = await call(request, metadata=metadata, timeout=more.pop("timeout", 20), **more)
        except grpc.aio.AioRpcError as error:
            self.codes.add(error.code())
            self.heard += [repr(error), repr(error.trailing_metadata()), repr(error.initial_metadata())]
        else:
            self.codes.add(grpc.StatusCode.OK)
            errors = [entry.error for entry in answer.answers] if isinstance(answer, wire.ScoreManyResponse) else []
            self.heard += map(repr, errors)

    async def say(self, raw: bytes) -> None:
        """Bytes to the HTTP door; its answer is heard."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.http.port)
        writer.write(raw)
        writer.write_eof()
        self.heard.append((await asyncio.wait_for(reader.read(), 20)).decode("utf-8", "replace"))
        writer.close()


def score(*texts: str, query: str = QUERY, **more: Any) -> wire.ScoreRequest:
    """A request whose candidates have a label of their own and these texts."""
    fields = [[wire.LabelledField(label=LABEL, text=text)] for text in texts or (TEXT,)]
    candidates = [
        wire.Candidate(id=f"c{place}", fields=wire.LabelledFields(fields=entry)) for place, entry in enumerate(fields)
    ]
    return wire.ScoreRequest(query=query, candidates=candidates, **more)


@asynccontextmanager
async def opened(house: House) -> AsyncIterator[Aviary]:
    """A sidecar with all its doors open and tokens, metrics and traces on."""
    token, operator = house.token("shop", "score", "metrics"), house.token("operator", "admin")
    wanted = {"max_candidates": MOST, "max_waiting_pairs": 4, "tokens_file": str(house.tokens)}
    settings = Settings(**{"model": "fake", "port": 0, "workers": 1, "quota_pairs_per_s": 1e6, **wanted})
    exporter, provider, backend = InMemorySpanExporter(), TracerProvider(), FakeBackend()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    folder = write_tokeniser(house.folder / "tokeniser")
    models = (fake_model(folder, backend=backend), fake_model(folder, kind="embedder", name="vectors"))
    async with serving(settings, house.folder, Breaking, *models, tracing=Tracing(provider)) as sidecar:
        service, secured = sidecar.service, security.opened(settings, lambda _: None)
        http = HttpDoor(service, settings, secured)
        await http.start()
        swapper = Swapper(service.registry, settings, MonotonicClock())
        server, port = admin_server.build(admin_server.AdminDoor(swapper, service.registry), settings, secured)
        await server.start()
        async with (
            grpc.aio.insecure_channel(sidecar.address) as channel,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as admin,
        ):
            yield Aviary(house, token, operator, channel, admin, http, service, backend, exporter, sidecar.address)
        backend.door.set()
        await server.stop(None)
        swapper.close()
        await http.stop(5)


async def scoring_door(aviary: Aviary) -> None:
    """Each method well, and each way to be refused."""
    calls = rescorer_pb2_grpc.RescorerStub(aviary.channel)
    await aviary.knock(calls.Score, score(TEXT, f"{TEXT} two"))
    await aviary.knock(calls.ScoreMany, wire.ScoreManyRequest(requests=[score(), score(query=" ")]))
    await aviary.knock(calls.Embed, wire.EmbedRequest(texts=[TEXT]))
    await aviary.knock(calls.ListModels, wire.ListModelsRequest())
    await aviary.knock(calls.Score, score(), token=STRANGER)
    await aviary.knock(calls.Score, score(), token=aviary.operator)
    await aviary.knock(calls.Score, score(query=" "))
    await aviary.knock(calls.Score, score(query=f"{QUERY} " * 200))
    await aviary.knock(calls.Score, score(*[TEXT] * (MOST + 1)))
    await aviary.knock(calls.Score, wire.ScoreRequest(query=QUERY, candidates=[wire.Candidate(id="a", text=TEXT)] * 2))
    await aviary.knock(calls.Score, score(model="nowhere"))
    await aviary.knock(calls.Score, score(f"{TEXT} {POISON_WORD}"))
    await aviary.knock(calls.Embed, wire.EmbedRequest(texts=[TEXT, BOOM]))
    raw = aviary.channel.unary_unary("/rescorer.v1.Rescorer/Score")
    await aviary.knock(raw, b"\xff" + QUERY.encode())
    await aviary.knock(aviary.channel.unary_unary(f"/rescorer.v1.Rescorer/{QUERY}"), TEXT.encode())


async def a_full_sidecar(aviary: Aviary) -> None:
    """Too late, too many, stopping, over the quota."""
    calls = rescorer_pb2_grpc.RescorerStub(aviary.channel)
    aviary.backend.door.clear()
    aviary.backend.entered.clear()
    slow = asyncio.ensure_future(aviary.knock(calls.Score, score(f"{TEXT} slow")))
    await asyncio.to_thread(aviary.backend.entered.wait, 20)
    waiting = asyncio.ensure_future(aviary.knock(calls.Score, score(*(f"{TEXT} {word}" for word in "abc"))))
    await until(lambda: aviary.service.registry.served[0].waiting > 0)
    await aviary.knock(calls.Score, score(*(f"{TEXT} {word}" for word in "def")))
    await aviary.knock(calls.Score, score(f"{TEXT} late"), timeout=0.3)
    aviary.backend.door.set()
    await slow
    await waiting
    aviary.service.close()
    await aviary.knock(calls.Score, score())
    with aviary.house.tokens.open("a") as file:
        file.write("[quota.shop]\npairs_per_s = 0.001\n")
    for _ in range(2):
        await aviary.knock(calls.Score, score())


async def other_doors(aviary: Aviary) -> None:
    """HTTP and admin: with the wrong token, with words where none belong, and well."""
    for token in (STRANGER, aviary.operator, aviary.token):
        head = f"authorization: Bearer {token}\r\nx-q: {QUERY}\r\nconnection: close\r\n"
        await aviary.say(f"GET /metrics?q={QUERY} HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode())
    await aviary.say(f"GET /{QUERY} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {STRANGER}\r\n\r\n".encode())
    await aviary.say(f"{QUERY} {TEXT}\r\nauthorization: Bearer {STRANGER}\r\n\r\n".encode())
    admin = admin_pb2_grpc.AdminStub(aviary.admin)
    for token in (STRANGER, aviary.token, aviary.operator):
        await aviary.knock(admin.Status, admin_pb2.StatusRequest(), token=token)
        await aviary.knock(admin.Rollback, admin_pb2.RollbackRequest(), token=token)


async def a_client(aviary: Aviary) -> None:
    """Our client with a token that is refused: its outcome and its log."""
    given = Credentials(token=STRANGER)
    client = fake_clients.made("async_opensearch", FakeEngine(), aviary.address, rescorer_credentials=given)
    body = {"query": {"match": {"body": QUERY}}, "rescore": {"cross_encoder": {"document_fields": ["title"]}}}
    answer = await client.search(index="articles", body=body)
    assert answer["rescore"]["status"] == "fallback"
    aviary.heard += [str(answer["rescore"]), repr(client), repr(client._wiring), str(client.rescore_counts())]
    await client.close()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the process would write to its log, in both forms."""
    out, root = io.StringIO(), logging.getLogger()
    handlers = [logging.StreamHandler(out), logging.StreamHandler(out)]
    handlers[0].setFormatter(logs.Text())
    handlers[1].setFormatter(logs.Json())
    before = root.level
    root.setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    yield out
    root.setLevel(before)
    for handler in handlers:
        root.removeHandler(handler)


async def test_nobodys_words_are_heard_again(house: House, log: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    """Through every method, every code that a call can end with, and each door: no canary sings anywhere."""
    async with opened(house) as aviary:
        for walk in (scoring_door, other_doors, a_client, a_full_sidecar):
            await walk(aviary)
        exposed = [
            aviary.service.metrics.exposed(accept)[0].decode() for accept in ("", "application/openmetrics-text")
        ]
        spans = [span.to_json() for span in aviary.exporter.get_finished_spans()]
        canaries = [QUERY, TEXT, LABEL, CALLER, STRANGER, aviary.token, aviary.operator, *map(_tail, (STRANGER,))]
    assert aviary.codes == {grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED, *(code for _, code in grpc_server.CODES)}
    said = capfd.readouterr()
    places = {
        "log": [log.getvalue()],
        "metrics": exposed,
        "spans": spans,
        "errors and answers": aviary.heard,
        "standard output and error": [said.out, said.err],
    }
    assert all(any(texts) for name, texts in places.items() if name != "standard output and error")
    found = [
        (name, canary, text[max(0, text.find(canary) - 80) :][:200])
        for name, texts in places.items()
        for text in texts
        for canary in canaries
        if canary in text
    ]
    assert found == []
    assert "shop" in "".join(exposed)


def _tail(token: str) -> str:
    return token.removeprefix("rescorer_")
