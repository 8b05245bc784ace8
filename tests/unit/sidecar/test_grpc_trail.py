"""What stands around every call: its id there and back, its line in the log, the time of its reply."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import grpc
import pytest

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar import grpc_server
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.marks import MARK, NOBODY
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import POISON_WORD, until
from unit.sidecar.door import Served, asking
from unit.sidecar.scrape import scrape

ID = (("x-request-id", "shop-42"),)


def id_of(trailers: Any) -> str:
    """The request id in a call's trailing metadata."""
    return dict(trailers)["x-request-id"]


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of each line about a request, and how loud it was."""
    return [
        {**entry.fields, "level": entry.levelno}
        for entry in caplog.records
        if getattr(entry, "fields", None) is not None
    ]


async def test_an_answer_brings_the_request_id_back(served: Served) -> None:
    """The caller's own id, or one that was made here."""
    call = served.calls.Score(asking("hotel"), timeout=20, metadata=ID)
    await call
    assert id_of(await call.trailing_metadata()) == "shop-42"
    call = served.calls.ListModels(wire.ListModelsRequest(), timeout=20)
    await call
    assert len(id_of(await call.trailing_metadata())) == 16


async def test_a_refusal_brings_the_request_id_back(served: Served) -> None:
    """Beside the details of the error."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await served.calls.Score(asking("hotel", model="nobody"), timeout=20, metadata=ID)
    trailers = failed.value.trailing_metadata()
    assert id_of(trailers) == "shop-42"
    assert "grpc-status-details-bin" in dict(trailers)


async def test_each_request_that_is_not_answered_is_one_line(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Loud where the sidecar failed, quiet where the caller erred; nothing of what was asked is in it."""
    caplog.set_level(logging.INFO, "rescorer_sidecar.observing")
    for request in (asking("hotel"), asking(POISON_WORD), asking("hotel", query=" "), asking("hotel", model="nobody")):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await served.calls.Score(request, timeout=20)
    told = [(line["outcome"], line["level"], line["candidates"], line["model"]) for line in lines(caplog)]
    assert told == [
        ("failed", logging.ERROR, 1, "fake"),
        ("invalid", logging.INFO, 1, "fake"),
        ("unknown_model", logging.INFO, 1, "unknown"),
    ]
    assert "hotel" not in caplog.text
    assert "nobody" not in caplog.text


async def test_each_request_of_many_has_its_own_line(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """One that fails among others is told, and the others are not."""
    caplog.set_level(logging.INFO, "rescorer_sidecar.observing")
    many = wire.ScoreManyRequest(requests=[asking("hotel"), asking("late", query=" ")])
    await served.calls.ScoreMany(many, timeout=20)
    assert [line["outcome"] for line in lines(caplog)] == ["invalid"]


async def test_the_time_of_the_reply_is_counted(served: Served) -> None:
    """From the answer until it was on its way: the last stage."""
    await served.calls.Score(asking("hotel"), timeout=20)
    metrics = served.service.metrics
    await until(lambda: scrape(metrics)("rescorer_stage_duration_seconds_count", stage="reply") == 1)


class Broken(Service):
    """A service that fails in a way that nobody foresaw, with somebody's text in its mouth."""

    async def score(self, request: Any) -> Any:
        """Fail."""
        raise LookupError(f"no such thing as {request.query}")


async def test_what_nobody_foresaw_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    """INTERNAL with the error's type and the request id; neither the caller nor the log gets its message."""
    clock, settings = MonotonicClock(), Settings(model="fake", port=0)
    service = Broken(settings, clock)
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = rescorer_pb2_grpc.RescorerStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Score(asking("hotel", query="secret wish"), timeout=20, metadata=ID)
    await server.stop(None)
    service.close()
    assert (failed.value.code(), id_of(failed.value.trailing_metadata())) == (grpc.StatusCode.INTERNAL, "shop-42")
    assert failed.value.details() == "the sidecar failed on this call: LookupError; see its log"
    assert "LookupError" in caplog.text
    assert "secret wish" not in caplog.text


async def test_a_mark_ends_with_its_call(served: Served) -> None:
    """What runs beside calls belongs to none of them."""
    await served.calls.Score(asking("hotel"), timeout=20, metadata=ID)
    assert MARK.get() is NOBODY
