"""What the faults are done with does what it says, seen with stand-ins for sidecar and engine."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest

from chaos import door, raw
from chaos.harm import request_of
from chaos.meddler import meddling
from contract.scorers.fake_sidecar import FakeService, served
from rescorer_proto.v1 import rescorer_pb2_grpc

LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def sidecar() -> Iterator[str]:
    """The address of a fake sidecar on the real wire."""
    with served(FakeService()) as address:
        yield address


class _Engine(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Answer with what was asked."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Say nothing."""


@pytest.fixture
def engine() -> Iterator[str]:
    """The address of a server that answers each search with its own body."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Engine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def searched(url: str, words: str) -> bytes:
    """What is answered to a search for these words."""
    asked = json.dumps({"query": {"match": {"body": words}}}).encode()
    with LOOPBACK.open(urllib.request.Request(f"{url}/index/_search", asked), timeout=10) as answer:  # noqa: S310
        found: bytes = answer.read()
    return found


def test_frames_by_hand_are_http2_and_grpc(sidecar: str) -> None:
    """A well-formed call in these frames is answered, so it is their malformation that the others are refused for."""
    message = request_of(["a text"]).SerializeToString()
    prefixed = b"\0" + len(message).to_bytes(4, "big") + message
    well = raw.OPENED + raw.call(1) + raw.frame(raw.DATA, prefixed, stream=1, flags=raw.END_STREAM)
    reaction = raw.sent(sidecar, well)
    assert reaction.frames.count(raw.HEADERS) == 2
    assert raw.DATA in reaction.frames
    assert not reaction.has_ended


def test_a_server_that_hangs_up_is_seen_to(sidecar: str) -> None:
    """Settings of five bytes cost their connection."""
    assert raw.sent(sidecar, raw.MALFORMED["settings of five bytes"]).has_ended


def test_a_loris_keeps_its_connections_and_goes(sidecar: str) -> None:
    """All are open while it lasts, and none afterwards."""
    with raw.lorises(sidecar, 5, raw.PREFACE) as slow:
        assert len(slow.open) == 5
    assert all(one.fileno() == -1 for one in slow.open)


def test_a_meddler_changes_answers_and_nothing_else(sidecar: str) -> None:
    """The answer is the sidecar's but for the change, which is counted."""

    def change(answer: object) -> None:
        answer.results[0].logit = 7.0  # type: ignore[attr-defined]  # a message

    with meddling(sidecar, change) as between, grpc.insecure_channel(between.address) as channel:
        answer = rescorer_pb2_grpc.RescorerStub(channel).Score(request_of(["a", "b"]), timeout=10)
    assert [result.id for result in answer.results] == ["0", "1"]
    assert answer.results[0].logit == 7.0
    assert answer.model.name == "fake"
    assert between.counts["answers changed"] == 1


def test_a_door_harms_the_same_searches_each_time_and_hands_on_the_rest(engine: str) -> None:
    """Whether a search is harmed depends on its words alone, and about half of them are."""
    with door.before(engine, lambda visit, answer: visit.reply(429, b"{}")) as made:
        fates = [_fate(made.url, f"words {number}") for number in range(20)]
        assert fates == [_fate(made.url, f"words {number}") for number in range(20)]
        assert 2 < fates.count(429) < 18
        assert made.counts["searches harmed"] == 2 * fates.count(429)


def _fate(url: str, words: str) -> int:
    try:
        assert words.encode() in searched(url, words)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def test_a_door_can_cut_an_answer_off(engine: str) -> None:
    """Half an answer, then a reset."""

    def half(visit: door.Visit, answer: bytes) -> None:
        visit.reply(200, answer, cut=len(answer) // 2)
        visit.reset()

    words = next(f"words {number}" for number in range(20) if door.is_harmed(_body(f"words {number}")))
    with door.before(engine, half) as made, pytest.raises(ConnectionResetError):
        searched(made.url, words)


def _body(words: str) -> bytes:
    return json.dumps({"query": {"match": {"body": words}}}).encode()
