"""What the gRPC scorers do beyond the common contract: time, retries, codes, parts, shared channels."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from contract.scorers.conftest import Driven, Timed
from contract.scorers.fake_sidecar import FakeService, bad_field, fails, partial, retry_after, scored, served
from rescorer.domain import Candidate, EmbedRequest, ScoreRequest
from rescorer.errors import (
    BadScores,
    InvalidSetting,
    Reason,
    ScorerError,
    ScorerOverloaded,
    ScorerRefused,
    ScorerTimeout,
    ScorerUnavailable,
)
from rescorer.fuse import aligned
from rescorer.opensearch import AsyncOpenSearch, OpenSearch
from rescorer.scorers import channels
from rescorer.scorers.channels import Target
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer_proto.v1 import rescorer_pb2

Code = grpc.StatusCode


def _request(count: int = 2, size: int = 10, **other: Any) -> ScoreRequest:
    candidates = [Candidate(f"{place}:d", (("", "flight " + "x" * size),)) for place in range(count)]
    return ScoreRequest(query="cancel a flight", candidates=candidates, **other)


async def test_everything_that_was_set_arrives(timed: Timed, service: FakeService) -> None:
    """Query, labels, model, length limit and activation reach the sidecar as they were set."""
    candidate = Candidate("0:d", (("Title", "cat"), ("", "alog")))
    wish = ScoreRequest(query="q", candidates=[candidate], model="m", max_tokens=64, activation="sigmoid")
    await timed.driven.score(wish)
    (seen,) = service.seen
    assert [(field.label, field.text) for field in seen.candidates[0].fields.fields] == [("Title", "cat"), ("", "alog")]
    assert (seen.query, seen.model, seen.options.max_tokens) == ("q", "m", 64)
    assert seen.options.activation == rescorer_pb2.ACTIVATION_SIGMOID
    await timed.driven.embed(EmbedRequest(texts=["t"], kind="query", model="e"))
    assert (service.seen[1].model, service.seen[1].kind) == ("e", rescorer_pb2.EMBED_KIND_QUERY)


async def test_everything_that_was_answered_comes_back(timed: Timed) -> None:
    """Model, digest, timings and the flags of each score are read."""
    scores = await timed.driven.score(_request())
    assert (scores.model, scores.digest) == ("fake", "0" * 64)
    assert scores.timings["forward_ms"] == 1.5
    assert [entry.truncated for entry in scores.results] == [False, True]


async def test_the_deadline_travels_with_the_call(timed: Timed, service: FakeService) -> None:
    """F9: the sidecar sees no more time than the search has left."""
    await timed.driven.score(_request(), timeout_s=7.0)
    assert 5.0 < service.left_s[0] < 7.1  # gRPC rounds


async def test_a_slow_sidecar_costs_the_deadline_and_no_more(timed: Timed, service: FakeService) -> None:
    """F5: no answer in time is a timeout, which is final."""
    service.next_answers = [service.held, service.held]
    with pytest.raises(ScorerTimeout, match="in time"):
        await timed.driven.score(_request(), timeout_s=0.2)
    assert len(service.seen) == 1


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.CANCELLED])
async def test_a_passing_trouble_is_tried_again(timed: Timed, service: FakeService, code: grpc.StatusCode) -> None:
    """Not ready, too busy for a moment, or stopping with the call in hand: the second try answers."""
    service.next_answers = [fails(code, "later")]
    scores = await timed.driven.score(_request())
    assert len(scores.results) == 2
    assert timed.clock.waits_s == [0.02]


async def test_retries_end_soon(timed: Timed, service: FakeService) -> None:
    """F1: three tries and a tenth of a second, then the error, however long the deadline is."""
    service.next_answers = [fails(Code.UNAVAILABLE, "not warm")] * 9
    with pytest.raises(ScorerUnavailable, match="not warm"):
        await timed.driven.score(_request(), timeout_s=60.0)
    assert len(service.seen) == 3
    assert sum(timed.clock.waits_s) < 0.1


async def test_nobody_at_the_address_is_said_at_once(lonely: Timed) -> None:
    """A stopped sidecar or a wrong port: one line with the address and what to check."""
    with pytest.raises(ScorerUnavailable, match=r"nobody serves scores at 127\.0\.0\.1:.*sidecar") as caught:
        await lonely.driven.score(_request(), timeout_s=60.0)
    assert "\n" not in str(caught.value)
    assert sum(lonely.clock.waits_s) < 0.1


async def test_an_overloaded_sidecar_says_when_to_come_again(timed: Timed, service: FakeService) -> None:
    """F6: RetryInfo is obeyed where the deadline allows it."""
    service.next_answers = [fails(Code.RESOURCE_EXHAUSTED, "full", retry_after(1.5))]
    await timed.driven.score(_request(), timeout_s=10.0)
    assert timed.clock.waits_s == [1.5]


async def test_a_wait_past_the_deadline_is_not_begun(timed: Timed, service: FakeService) -> None:
    """F5: asked to come back after the deadline, the client gives up now."""
    service.next_answers = [fails(Code.RESOURCE_EXHAUSTED, "full", retry_after(20))]
    with pytest.raises(ScorerOverloaded, match="full") as caught:
        await timed.driven.score(_request(), timeout_s=10.0)
    assert caught.value.retry_after_s == 20
    assert timed.clock.waits_s == []
    assert len(service.seen) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.INVALID_ARGUMENT, ScorerRefused),
        (Code.NOT_FOUND, ScorerRefused),
        (Code.UNAUTHENTICATED, ScorerRefused),
        (Code.PERMISSION_DENIED, ScorerRefused),
        (Code.UNIMPLEMENTED, ScorerRefused),
        (Code.DEADLINE_EXCEEDED, ScorerTimeout),
        (Code.INTERNAL, ScorerError),
        (Code.UNKNOWN, ScorerError),
        (Code.DATA_LOSS, ScorerError),
    ],
)
async def test_what_is_final_is_never_tried_again(
    timed: Timed, service: FakeService, code: grpc.StatusCode, kind: type[ScorerError]
) -> None:
    """Each code becomes its own error, once, in one line, with what the sidecar said."""
    service.next_answers = [fails(code, "known models:\n a, b")]
    with pytest.raises(kind) as caught:
        await timed.driven.score(_request())
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert kind is ScorerTimeout or "known models: a, b" in str(caught.value)
    assert len(service.seen) == 1
    assert isinstance(caught.value.__cause__, grpc.RpcError)


async def test_the_field_that_was_refused_is_named(timed: Timed, service: FakeService) -> None:
    """BadRequest details say which field, and the message hands them on."""
    service.next_answers = [fails(Code.INVALID_ARGUMENT, "invalid", bad_field("query", "must not be empty"))]
    with pytest.raises(ScorerRefused, match="query: must not be empty"):
        await timed.driven.score(_request())


async def test_a_partial_answer_says_why(timed: Timed, service: FakeService) -> None:
    """The deadline came first: what was scored comes back with the reason."""
    service.next_answers = [partial]
    scores = await timed.driven.score(_request(3))
    assert (len(scores.results), scores.reason) == (1, Reason.DEADLINE_EXCEEDED)


async def test_ten_thousand_candidates_go_in_parts(timed: Timed, service: FakeService) -> None:
    """M4, M21: a window over any message limit is scored in parts, and each score finds its own candidate."""
    wish = _request(10_000, size=1000)
    scores = await timed.driven.score(wish, timeout_s=60.0)
    assert len(service.seen) > 3
    assert all(seen.ByteSize() <= 4 * 1024 * 1024 - 1024 for seen in service.seen)
    assert [entry.id for entry in scores.results] == [candidate.id for candidate in wish.candidates]
    assert all(aligned(scores, wish.candidates))


async def test_long_texts_go_in_parts_by_their_bytes(timed: Timed, service: FakeService) -> None:
    """M4: few candidates with long texts pass the message limit too, and a text too long for any is cut."""
    wish = _request(400, size=25_000)
    assert all(aligned(await timed.driven.score(wish, timeout_s=60.0), wish.candidates))
    huge = ScoreRequest(query="q", candidates=[Candidate("0:d", (("a", "é" * 3_000_000), ("b", "x" * 9_000_000)))])
    assert all(aligned(await timed.driven.score(huge, timeout_s=60.0), huge.candidates))
    assert all(seen.ByteSize() <= 4 * 1024 * 1024 - 1024 for seen in service.seen)
    assert len(service.seen) > 4


async def test_the_parts_that_came_in_time_are_kept(timed: Timed, service: FakeService) -> None:
    """The deadline inside a large window leaves a partial answer: the first parts' scores."""
    service.next_answers = [scored_, fails(Code.DEADLINE_EXCEEDED, "late")]
    scores = await timed.driven.score(_request(2100), timeout_s=60.0)
    assert (len(scores.results), scores.reason) == (2048, Reason.DEADLINE_EXCEEDED)
    service.next_answers = [scored_, fails(Code.INVALID_ARGUMENT, "wrong")]
    with pytest.raises(ScorerRefused):
        await timed.driven.score(_request(2100), timeout_s=60.0)


def scored_(request: Any, context: Any) -> Any:
    """The usual answer."""
    return scored(request)


async def test_a_model_swapped_between_parts_is_noticed(timed: Timed, service: FakeService) -> None:
    """S5: scores of two models are never mixed in one list."""

    def of_another(request: Any, context: Any) -> Any:
        answer = scored(request)
        answer.model.digest = "1" * 64
        return answer

    service.next_answers = [scored_, of_another]
    with pytest.raises(BadScores, match="changed its model"):
        await timed.driven.score(_request(2100), timeout_s=60.0)


async def test_many_texts_are_embedded_in_parts(timed: Timed, service: FakeService) -> None:
    """A list over any limit comes back whole and in order."""
    texts = [f"text {place}" for place in range(5000)]
    vectors = await timed.driven.embed(EmbedRequest(texts=texts, kind="document"), timeout_s=60.0)
    assert len(service.seen) == 3
    assert len(vectors) == 5000
    (alone,) = await timed.driven.embed(EmbedRequest(texts=[texts[4321]], kind="document"))
    assert vectors[4321] == alone


@pytest.mark.parametrize(
    "vectors", [[[1.0, 0.0]], [[1.0, 0.0], [1.0]], [[], []], [[1.0, 0.0], [float("nan"), 0.0]], [[1.0]] * 3]
)
async def test_vectors_that_do_not_fit_are_refused(timed: Timed, service: FakeService, vectors: Any) -> None:
    """Too few, too many, of different length, empty or not finite: never used as a query vector."""
    answer = rescorer_pb2.EmbedResponse(embeddings=[rescorer_pb2.Embedding(values=values) for values in vectors])
    service.next_answers = [lambda request, context: answer]
    with pytest.raises(BadScores):
        await timed.driven.embed(EmbedRequest(texts=["a", "b"], kind="document"))


async def test_a_restarted_sidecar_is_found_again(unused_port: int) -> None:
    """The channel reconnects by itself: nothing has to be made anew after a restart."""
    target = Target(address=f"127.0.0.1:{unused_port}")
    scorer = GrpcScorer(target)
    with pytest.raises(ScorerUnavailable):
        scorer.score(_request(), 5.0)
    with served(FakeService(), port=unused_port):
        key = channels.sync_key(target)
        grpc.channel_ready_future(channels.SYNC.hold(key, target)).result(timeout=20)
        channels.SYNC.let_go(key)
        assert len(scorer.score(_request(), 5.0).results) == 2
    scorer.close()


async def test_credentials_of_the_call_travel_along(address: str, service: FakeService) -> None:
    """Metadata such as a bearer token is sent with each call, and never shown."""
    target = Target(address=address, metadata=(("authorization", "Bearer secret"),))
    for scorer in (Driven(GrpcScorer(target)), Driven(AsyncGrpcScorer(target))):
        await scorer.score(_request())
        await scorer.close()
    assert [seen["authorization"] for seen in service.metadata] == ["Bearer secret"] * 2
    assert "secret" not in repr(target)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[bytes, bytes]:
    """A key and a certificate for this machine, good for a day."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate of this test")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    return key.read_bytes(), certificate.read_bytes()


async def test_tls_is_spoken_with_credentials(pair: tuple[bytes, bytes]) -> None:
    """F12: with the sidecar's certificate the call is encrypted and answered, without it nobody is served."""
    with served(FakeService(), credentials=grpc.ssl_server_credentials([pair])) as address:
        trusting = Target(address=address, credentials=grpc.ssl_channel_credentials(pair[1]))
        for scorer in (Driven(GrpcScorer(trusting)), Driven(AsyncGrpcScorer(trusting))):
            assert len((await scorer.score(_request())).results) == 2
            await scorer.close()
        plain = Driven(GrpcScorer(Target(address=address)))
        with pytest.raises(ScorerUnavailable):
            await plain.score(_request(), timeout_s=5.0)
        await plain.close()


async def test_tls_is_not_spoken_to_a_plain_port(address: str) -> None:
    """With credentials the client insists on TLS, and a plain sidecar is not served a single byte of text."""
    target = Target(address=address, credentials=grpc.ssl_channel_credentials())
    for scorer in (Driven(GrpcScorer(target)), Driven(AsyncGrpcScorer(target))):
        with pytest.raises(ScorerUnavailable):
            await scorer.score(_request(), timeout_s=5.0)
        await scorer.close()


def test_clients_of_one_address_share_one_channel(address: str) -> None:
    """The channel opens once and closes with its last holder; another process has its own."""
    target = Target(address=address)
    first, second = GrpcScorer(target), GrpcScorer(target)
    first.score(_request(), 5.0)
    second.score(_request(), 5.0)
    key = channels.sync_key(target)
    assert key[0] == os.getpid()
    channel = channels.SYNC.hold(key, target)
    first.close()
    second.close()
    assert channels.SYNC.let_go(key) is channel
    channel.close()


async def test_a_client_closes_the_channel_that_it_opened(address: str) -> None:
    """Made from an address, the scorer is the client's own and goes with it."""
    target = Target(address=address)
    with OpenSearch([{"host": "127.0.0.1"}], rescorer=address) as client:
        assert len(client.embed(["text"])) == 1
    assert channels.SYNC.let_go(channels.sync_key(target)) is None
    async with AsyncOpenSearch([{"host": "127.0.0.1"}], rescorer=address) as later:
        assert len(await later.embed(["text"])) == 1
    assert channels.ASYNC.let_go(channels.async_key(target)) is None


def test_threads_of_one_client_hold_one_channel(address: str) -> None:
    """Many first calls at once open one channel, and one ``close`` lets go of it."""
    target = Target(address=address)
    scorer, begin = GrpcScorer(target), threading.Barrier(8)

    def ask(_: int) -> int:
        begin.wait(timeout=10)
        return len(scorer.score(_request(), 10.0).results)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [2] * 8
    scorer.close()
    assert channels.SYNC.let_go(channels.sync_key(target)) is None


def test_a_forked_process_opens_its_own_channel(address: str) -> None:
    """A worker that was forked after the first call scores over a channel of its own, and closes only that."""
    code = (
        "import multiprocessing, sys\n"
        "from rescorer.domain import Candidate, ScoreRequest\n"
        "from rescorer.scorers.channels import Target\n"
        "from rescorer.scorers.grpc import GrpcScorer\n"
        f"scorer = GrpcScorer(Target(address={address!r}))\n"
        "wish = ScoreRequest(query='q', candidates=[Candidate('0', ())])\n"
        "def ask(put):\n"
        "    put(len(scorer.score(wish, 10.0).results)); scorer.close()\n"
        "ask_here = len(scorer.score(wish, 10.0).results)\n"
        "here = multiprocessing.get_context('fork'); queue = here.SimpleQueue()\n"
        "child = here.Process(target=ask, args=(queue.put,)); child.start(); child.join(20)\n"
        "assert child.exitcode == 0, child.exitcode\n"
        "print(ask_here, queue.get(), len(scorer.score(wish, 10.0).results))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["1", "1", "1"], done.stderr


def test_a_client_that_was_closed_opens_again(address: str) -> None:
    """Closing lets go; a later call simply holds a channel again."""
    scorer = GrpcScorer(Target(address=address))
    scorer.score(_request(), 5.0)
    scorer.close()
    assert len(scorer.score(_request(), 5.0).results) == 2
    scorer.close()


def test_an_asyncio_scorer_serves_one_loop_after_the_other(address: str) -> None:
    """A second ``asyncio.run`` gets a channel of its own, and closing from there is harmless."""
    scorer = AsyncGrpcScorer(Target(address=address))

    async def ask() -> int:
        return len((await scorer.score(_request(), 5.0)).results)

    assert asyncio.run(ask()) == 2
    assert asyncio.run(ask()) == 2
    asyncio.run(scorer.close())


@pytest.mark.parametrize("address", ["unix:/run/rescorer.sock", "dns:///sidecar:50051", "[::1]:50051", "host:1"])
def test_addresses_of_every_kind_are_taken(address: str) -> None:
    """gRPC's own names for an address are understood."""
    assert Target(address=address).address == address


@pytest.mark.parametrize("address", ["", "host", "host:port", "host:70000", "https://host:443", ":1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """A wrong address is found before the first search."""
    with pytest.raises(InvalidSetting, match="host:port"):
        Target(address=address)
