"""Memory is bounded whatever arrives: calls are refused unread, and what was refused leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.domain import ScoreRequest
from rescorer_sidecar.errors import DeadlineExceeded, Overloaded
from rescorer_sidecar.grpc_room import COPIES, READERS, UNREAD_BYTES, Room
from rescorer_sidecar.testing import fake_model, until
from unit.sidecar.door import Serve, asking, refusal
from unit.sidecar.scrape import scrape

MB = 1_000_000
LARGE = asking("hotel " * 100_000)
"""0.6 MB, which count four times."""


async def test_calls_are_refused_unread_while_others_hold_the_memory(
    serve: Serve, tokeniser_folder: Path, backend: FakeBackend
) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo, counted at the door; health answers, and afterwards there is room again."""
    served = await serve(fake_model(tokeniser_folder, backend=backend), requests_mb=1)
    backend.door.clear()
    held = asyncio.ensure_future(served.calls.Score(LARGE, timeout=20))
    await until(backend.entered.is_set)
    code, message, (detail,) = await refusal(served.calls.Score(asking("train"), timeout=20))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert re.match(r"requests that are being answered hold 2 MB and may hold 1; try again in 0.5 s", message)
    assert detail.retry_delay.ToTimedelta().total_seconds() == 0.5
    assert scrape(served.service.metrics)("rescorer_door_refusals_total", door="grpc", reason="full") == 1
    assert await served.health_of() == 1
    backend.door.set()
    await held
    assert (await served.calls.Score(asking("train"), timeout=20)).results


async def test_one_call_alone_may_hold_more_than_all_together(serve: Serve, tokeniser_folder: Path) -> None:
    """The limit of a message is max_message_mb; nothing else is in the way of a lone one."""
    served = await serve(fake_model(tokeniser_folder), requests_mb=1)
    assert (await served.calls.Score(LARGE, timeout=20)).results


async def test_a_call_that_brings_no_message_is_told_what_it_lacks(serve: Serve, tokeniser_folder: Path) -> None:
    """A stream that ends before its first message is an empty request."""
    served = await serve(fake_model(tokeniser_folder))
    code, message, _ = await refusal(served.channel.stream_unary("/rescorer.v1.Rescorer/Score")(iter(()), timeout=20))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("query: is empty")


class Call:
    """What the room sees of a call, whose message comes when it is sent."""

    def __init__(self) -> None:
        self._message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def send(self, size_bytes: int) -> None:
        """The message has come."""
        self._message.set_result(bytes(size_bytes))

    async def read(self) -> bytes:
        """The message, once it is there."""
        return await self._message

    def set_trailing_metadata(self, _: object) -> None:
        """Goes with a refusal."""


@dataclass(frozen=True)
class _Details:
    method: str = "/rescorer.v1.Rescorer/Score"


async def _refused(_: object, error: Exception) -> None:
    raise error


def room_of(most_mb: int, read_s: float = 20.0) -> Room:
    """A room that raises its refusals."""
    return Room(most_mb * MB, _refused, lambda *_: None, read_s)


async def entered(room: Room, call: Call, go_on: asyncio.Event | None = None) -> asyncio.Task[int]:
    """A call that has come in, and answers the length of its message once ``go_on`` is set."""

    async def length(raw: bytes, _: object) -> int:
        if go_on is not None:
            await go_on.wait()
        return len(raw)

    async def plain(_: object) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(length)

    task = asyncio.create_task((await room.intercept_service(plain, _Details())).stream_unary(None, call))
    await asyncio.sleep(0)
    return task


async def test_so_many_are_read_at_a_time_and_the_next_one_follows() -> None:
    """Whoever waits to be read follows in order; a call that leaves gives back its place and its bytes."""
    room = room_of(100)
    slow = [await entered(room, Call()) for _ in range(READERS)]
    quick = Call()
    quick.send(7)
    answered = await entered(room, quick)
    await until(lambda: room.held_bytes > READERS * UNREAD_BYTES)
    assert not answered.done()
    slow[0].cancel()
    assert await answered == 7
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    assert room.held_bytes == 0


async def test_a_message_that_does_not_end_is_given_up() -> None:
    """Its call is told so within its own time, so that slow callers can't hold all the places."""
    room = room_of(100, read_s=0.01)
    with pytest.raises(DeadlineExceeded, match="the message had not come whole within 0"):
        await (await entered(room, Call()))
    assert room.held_bytes == 0


async def test_a_message_counts_as_often_as_it_lies_in_memory() -> None:
    """A call that was read in spite of too little room is refused, and one alone is not."""
    room, calls, go_on = room_of(10), [Call(), Call()], asyncio.Event()
    first, second = [await entered(room, call, go_on) for call in calls]
    calls[0].send(2 * MB)
    await until(lambda: room.held_bytes > COPIES * 2 * MB)
    calls[1].send(2 * MB)
    with pytest.raises(Overloaded, match="hold 16 MB and may hold 10"):
        await second
    go_on.set()
    assert await first == 2 * MB
    assert room.held_bytes == 0


async def test_a_refused_call_leaves_no_message_in_memory(serve: Serve, tokeniser_folder: Path) -> None:
    """Without Python's search for cycles, which comes late, nothing refers to the message any more."""
    served = await serve(fake_model(tokeniser_folder))
    gc.collect()
    gc.disable()
    try:
        code, _, _ = await refusal(served.calls.Score(asking("hotel", query=" "), timeout=20))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        await until(lambda: not [held for held in gc.get_objects() if _is_message(held)])
    finally:
        gc.enable()


def _is_message(held: object) -> bool:
    return type(held) is ScoreRequest and held.query == " "


@pytest.fixture
def held_sidecar(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Process id and port of a sidecar whose model never answers, with small limits."""
    command = [sys.executable, str(Path(__file__).with_name("held_sidecar.py")), str(tmp_path)]
    limits = ["requests_mb=16", "max_message_mb=4", "max_waiting_pairs=2000", "max_waiting_tokens=100000"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, *limits, "max_request_tokens=600000"], stdin=pipe, stdout=pipe, text=True) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        yield run.pid, int(run.stdout.readline())
        run.stdin.close()


def peak_bytes(pid: int) -> int:
    """The most that the process has held so far."""
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


async def test_memory_stays_within_its_stated_bound_whatever_arrives(held_sidecar: tuple[int, int]) -> None:
    """P7: 400 MB in 200 calls at once, all of them other texts, cost no more than docs/sidecar.md says."""
    pid, port = held_sidecar
    unlimited = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", unlimited) as channel:
        calls = rescorer_pb2_grpc.RescorerStub(channel)
        await refusal(calls.Score(asking("hotel"), timeout=0.5))
        before = peak_bytes(pid)
        text = "late " * 400
        asked = [asking(*(f"{number} {place} {text}" for place in range(1000))) for number in range(4)]
        ends = await asyncio.gather(
            *(calls.Score(asked[number % 4], timeout=4) for number in range(200)), return_exceptions=True
        )
    late = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
    assert {end.code() for end in ends} <= {grpc.StatusCode.RESOURCE_EXHAUSTED, *late}
    bound = 16 * MB + 2 * READERS * 4 * MB + 4_000 * 2_000 + 60 * (100_000 + 600_000)
    assert peak_bytes(pid) - before < bound
