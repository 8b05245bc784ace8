"""The sidecar's three doors, open on real sockets over models without weights, and what must hold whatever comes in.

Each target takes bytes, sends them as they are and once more as the message or request that they choose, and raises
where a claim is broken: a code that says that the sidecar failed, an answer that does not fit its question, somebody's
text in an error, work that is left behind, a door that no longer answers.
"""

from __future__ import annotations

import asyncio
import functools
import math
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from fuzz.choices import Choices, message
from rescorer_proto.admin.v1 import admin_pb2 as admin_wire
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_sidecar import admin_server, grpc_server, http_server
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Kind
from rescorer_sidecar.errors import ModelNotFound
from rescorer_sidecar.memory import Budget
from rescorer_sidecar.models import Model
from rescorer_sidecar.service import Service
from rescorer_sidecar.swapping import Swapper
from rescorer_sidecar.testing import fake_model, until, write_tokeniser

SECRET = "zzzqj"
"""A text that only a query or a document holds."""

WORDS = ("fake", "small", "vectors", "auto", "c1", "c2", "c3", "title", "cat", "flight", "late", "v2")
CALL_S = 20.0
CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""How a call may end here, where nothing fails and nothing is late."""


class Doors:
    """A data door, an admin door and an HTTP door in an event loop of their own; opened when first asked for."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._runner.run(self._open())

    async def _open(self) -> None:
        tokeniser = write_tokeniser(Path(self._folder.name))
        clock, settings = MonotonicClock(), Settings(model="fake", port=0, workers=1, max_candidates=50)
        self.service = Service(settings, clock)
        named = (("fake", "cross-encoder"), ("small", "cross-encoder"), ("vectors", "embedder"))
        self.service.open([fake_model(tokeniser, name=name, kind=kind, digest=name) for name, kind in named])

        def load(source: str, kind: Kind, _: Settings, __: Budget) -> Model:
            if source != "v2":
                raise ModelNotFound(f"no model {len(source)}")
            return fake_model(tokeniser, kind=kind, digest=str(id(object())))

        self.swapper = Swapper(self.service.registry, settings, clock, load)
        admin = admin_server.AdminDoor(self.swapper, self.service.registry)
        data_door, _, data_port = grpc_server.build(grpc_server.Door(self.service, clock), settings)
        admin_door, admin_port = admin_server.build(admin, settings)
        self.http = http_server.HttpDoor(self.service, settings)
        for door in (data_door, admin_door, self.http):
            await door.start()
        self._servers = (data_door, admin_door)
        self.data, self.admin = (grpc.aio.insecure_channel(f"127.0.0.1:{port}") for port in (data_port, admin_port))

    def run(self, work: Callable[[Doors], Awaitable[Any]]) -> Any:
        """What becomes of it in the doors' loop."""
        return self._runner.run(work(self))  # type: ignore[arg-type]

    def close(self) -> None:
        """Shut them."""
        self._runner.run(self._close())
        self._runner.close()
        self._folder.cleanup()

    async def _close(self) -> None:
        for channel in (self.data, self.admin):
            await channel.close()
        for server in self._servers:
            await server.stop(None)
        await self.http.stop(1)
        self.swapper.close()
        self.service.close()


@functools.cache
def doors() -> Doors:
    """Those of this process."""
    return Doors()


def shut() -> None:
    """Shut those of this process, if they are open."""
    if doors.cache_info().currsize:
        doors().close()
        doors.cache_clear()


def _checked(condition: bool, claim: str) -> None:
    if not condition:
        raise AssertionError(claim)


def score(raw: bytes) -> None:
    """Bytes as a ``Score`` call: an answer that fits them, or an error that says what is wrong with them."""
    asked = _secret(message(wire.ScoreRequest, Choices(raw), WORDS))
    for sent in (raw, asked.SerializeToString()):
        answer = doors().run(lambda opened, sent=sent: _unary(opened, "Score", sent))
        if answer is not None:
            _fits(wire.ScoreResponse.FromString(answer), wire.ScoreRequest.FromString(sent))


def score_many(raw: bytes) -> None:
    """Bytes as a ``ScoreMany`` call: each of its requests is answered as if it were alone."""
    asked = message(wire.ScoreManyRequest, Choices(raw), WORDS)
    for one in asked.requests:
        _secret(one)
    for sent in (raw, asked.SerializeToString()):
        answer = doors().run(lambda opened, sent=sent: _unary(opened, "ScoreMany", sent))
        if answer is None:
            continue
        requests, answers = wire.ScoreManyRequest.FromString(sent).requests, wire.ScoreManyResponse.FromString(answer)
        _checked(len(answers.answers) == len(requests), "requests without an answer")
        for one, request in zip(answers.answers, requests, strict=True):
            if one.WhichOneof("outcome") == "scores":
                _fits(one.scores, request)
            else:
                _checked(one.error.code in {code.value[0] for code in CODES - {grpc.StatusCode.OK}}, str(one.error))


def embed(raw: bytes) -> None:
    """Bytes as an ``Embed`` call: a unit vector for each text, or an error that says what is wrong with them."""
    asked = message(wire.EmbedRequest, Choices(raw), WORDS)
    asked.texts[:] = [text + SECRET for text in asked.texts]
    for sent in (raw, asked.SerializeToString()):
        answer = doors().run(lambda opened, sent=sent: _unary(opened, "Embed", sent))
        if answer is not None:
            found = wire.EmbedResponse.FromString(answer).embeddings
            _checked(len(found) == len(wire.EmbedRequest.FromString(sent).texts), "texts without a vector")
            _checked(all(math.isclose(math.hypot(*one.values), 1.0, rel_tol=1e-3) for one in found), "no unit vector")


def list_models(raw: bytes) -> None:
    """Bytes as a ``ListModels`` call: it is empty, so whatever can be read is answered."""
    doors().run(lambda opened: _unary(opened, "ListModels", raw))


def _secret(asked: wire.ScoreRequest) -> wire.ScoreRequest:
    """The request with a text in it that no error may repeat, where it has a query or texts."""
    asked.query += SECRET if asked.query.strip() else ""
    for candidate in asked.candidates:
        candidate.text += SECRET if candidate.WhichOneof("content") == "text" else ""
        for field in candidate.fields.fields if candidate.WhichOneof("content") == "fields" else ():
            field.text, field.label = field.text + SECRET, field.label + SECRET
    return asked


async def _unary(opened: Doors, method: str, raw: bytes) -> bytes | None:
    """The answer to a call of the data door; None where it is refused."""
    answer = await _ended(opened.data.unary_unary(f"/rescorer.v1.Rescorer/{method}")(raw, timeout=CALL_S))
    await until(lambda: opened.service.waiting == 0)
    return answer


async def _ended(call: Any) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        said = error.details() or ""
        _checked(error.code() in CODES, f"a call ended with {error.code()}: {said}")
        _checked(SECRET not in said, f"somebody's text stands in an error: {said}")
        return None


def _fits(answer: wire.ScoreResponse, asked: wire.ScoreRequest) -> None:
    places = [entry.index for entry in answer.results]
    _checked(len(set(places)) == len(places), "a candidate was scored twice")
    _checked(all(asked.candidates[entry.index].id == entry.id for entry in answer.results), "a score of another one")
    numbers = [number for entry in answer.results for number in (entry.logit, entry.score)]
    _checked(all(map(math.isfinite, numbers)), "a score that is no number")
    _checked(len(places) == len(asked.candidates), "candidates without a score, with all the time there is")


def admin(raw: bytes) -> None:
    """Bytes as each call of the admin door: done, or refused with a reason, and something serves all the while."""
    kinds = {"Status": "StatusRequest", "Rollback": "RollbackRequest", "Release": "ReleaseRequest"}
    for method, kind in kinds.items():
        asked = message(getattr(admin_wire, kind), Choices(raw), WORDS)
        for sent in (raw, asked.SerializeToString()):
            call = f"/rescorer.admin.v1.Admin/{method}"
            doors().run(lambda opened, call=call, sent=sent: _ended(opened.admin.unary_unary(call)(sent)))
    for sent in (raw, message(admin_wire.SwapRequest, Choices(raw), WORDS).SerializeToString()):
        doors().run(lambda opened, sent=sent: _swap(opened, sent))


async def _swap(opened: Doors, raw: bytes) -> None:
    """A swap up to the moment when it waits for live requests; there its caller goes."""
    call = opened.admin.unary_stream("/rescorer.admin.v1.Admin/Swap")(raw, timeout=CALL_S)
    steps = []

    async def hear() -> None:
        async for told in call:
            steps.append(admin_wire.SwapProgress.FromString(told).step)
            if steps[-1] == admin_wire.STEP_SHADOWING:
                call.cancel()
                return

    await _ended(hear())
    await until(lambda: opened.swapper.current is None)
    _checked(opened.service.is_ready, "a swap left nothing that serves")
    ends = (admin_wire.STEP_SHADOWING, admin_wire.STEP_SWITCHED, admin_wire.STEP_REFUSED)
    _checked(not steps or steps[-1] in ends, f"a swap ended in the middle: {steps}")


def http(raw: bytes) -> None:
    """Bytes as an HTTP connection: nothing, or answers that are no 500, and the next connection is answered."""
    for sent in (raw, _request(Choices(raw))):
        heard = doors().run(lambda opened, sent=sent: _heard(opened, sent))
        _checked(not heard or heard.startswith(b"HTTP/1.1 "), f"an answer that is none: {heard[:40]!r}")
        status = heard.split(b" ", 2)[1] if heard else b""
        _checked(not status.startswith(b"5"), f"answered {status!r}")
    alive = doors().run(lambda opened: _heard(opened, b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
    _checked(alive.startswith(b"HTTP/1.1 200 "), f"the door answers {alive[:40]!r} by now")


def _request(choices: Choices) -> bytes:
    paths = [route.path for route in http_server.app(doors().service).routes]  # type: ignore[attr-defined]
    methods = ("GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "get", "\x00")
    names = ("host", "accept", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "content-type")
    values = (
        "a",
        "close",
        "chunked",
        "gzip",
        "*/*",
        "application/openmetrics-text",
        "application/json",
        "5",
        "-1",
        "9e9",
    )
    versions = ("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", "")
    first = f"{choices.of(methods)} {choices.of(paths)}{choices.text(('', '?a=b', '/..', '#'))} {choices.of(versions)}"
    lines = [f"{choices.of(names)}: {choices.text(values)}" for _ in range(choices.whole(6))]
    return "\r\n".join([first, *lines, "", choices.text(("{}", "[]", "5\r\n12345\r\n0\r\n\r\n"))]).encode()


async def _heard(opened: Doors, raw: bytes) -> bytes:
    """All that a connection says until it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", opened.http.port)
    writer.write(raw)
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), CALL_S)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


TARGETS: tuple[Callable[[bytes], None], ...] = (score, score_many, embed, list_models, admin, http)
