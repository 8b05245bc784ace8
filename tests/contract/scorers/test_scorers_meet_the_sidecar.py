"""The real scorers at the real door: what one says the other understands, with a model that needs no weights."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import grpc
import pytest

from rescorer.config import LongTexts
from rescorer.domain import Candidate, EmbedRequest, ScoreRequest, Scores
from rescorer.errors import ScorerError
from rescorer.fuse import aligned
from rescorer.scorers.channels import Target
from rescorer.scorers.fake import FakeScorer
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer_sidecar import grpc_server
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model, write_tokeniser

Ask = Callable[[str, list[ScoreRequest]], Awaitable[list[Scores | ScorerError]]]
CANDIDATES = [Candidate(f"{place}:d", (("title", f"hotel {place}"),)) for place in range(20)]
WISHES = [
    ScoreRequest(query="cat", candidates=CANDIDATES, activation="sigmoid"),
    ScoreRequest(query="late", candidates=CANDIDATES, model="nowhere"),
    ScoreRequest(query=" ", candidates=CANDIDATES),
    ScoreRequest(query="late", candidates=[*CANDIDATES, CANDIDATES[0]]),
    ScoreRequest(query="late", candidates=CANDIDATES[:3], max_tokens=20),
]


@pytest.fixture(params=[10_000, 25])
async def door(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where a sidecar listens: one that takes all at once, and one that takes too little at once for that."""
    settings, clock = Settings(model="fake", port=0, max_candidates=request.param), MonotonicClock()
    service = Service(settings, clock)
    service.open([fake_model(write_tokeniser(tmp_path))])
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)
    service.close()


async def _by_thread(address: str, wishes: list[ScoreRequest]) -> list[Scores | ScorerError]:
    scorer = GrpcScorer(Target(address=address))
    try:
        return await asyncio.to_thread(partial(scorer.score_many, wishes, 20.0))
    finally:
        scorer.close()


async def _by_fake(address: str, wishes: list[ScoreRequest]) -> list[Scores | ScorerError]:
    return FakeScorer().score_many(wishes, 20.0)


async def _by_loop(address: str, wishes: list[ScoreRequest]) -> list[Scores | ScorerError]:
    scorer = AsyncGrpcScorer(Target(address=address))
    try:
        return await scorer.score_many(wishes, 20.0)
    finally:
        await scorer.close()


@pytest.mark.parametrize("asked_by", [_by_thread, _by_loop])
async def test_each_request_has_its_own_end(asked_by: Ask, door: str) -> None:
    """Scores for the good ones, and for each bad one the field or name that is wrong with it, however they travel."""
    first, unknown, empty, doubled, last = await asked_by(door, WISHES)
    assert isinstance(first, Scores)
    assert isinstance(last, Scores)
    assert all(aligned(first, CANDIDATES))
    assert all(0 <= entry.score <= 1 for entry in first.results)
    assert all(aligned(last, CANDIDATES[:3]))
    assert [entry.cached for entry in last.results] == [False] * 3
    assert "'nowhere' is not served here; served: fake" in str(unknown)
    assert "query: is empty" in str(empty)
    assert "candidates[20].id: repeats the id of candidates[0]" in str(doubled)


@pytest.mark.parametrize("asked_by", [_by_thread, _by_loop])
async def test_a_window_above_the_sidecars_limit_is_scored_in_parts(asked_by: Ask, door: str) -> None:
    """M4, M21: 66 candidates for a sidecar that takes 25 at a time all come back; the limit is the sidecar's word."""
    candidates = [Candidate(f"{place}:d", (("", f"hotel {place}"),)) for place in range(66)]
    (found,) = await asked_by(door, [ScoreRequest(query="cat", candidates=candidates)])
    assert isinstance(found, Scores)
    assert all(aligned(found, candidates))


CUT = [
    Candidate("0:long", (("", "cat hotel"), ("", "late " * 200))),
    Candidate("1:short", (("", "hotel"), ("", "train"))),
    Candidate("2:bounded", (("", "cat " * 9), ("", "train")), max_tokens=(3, 0)),
]


@pytest.mark.parametrize("asked_by", [_by_thread, _by_loop, _by_fake])
@pytest.mark.parametrize(
    ("how", "chunks"),
    [
        (None, [(1, True), (1, False), (1, True)]),
        (LongTexts(overlap_tokens=0), [(6, False), (1, False), (1, True)]),
        (LongTexts(chunk_tokens=20, overlap_tokens=10, most_chunks=4), [(4, True), (1, False), (1, True)]),
        (LongTexts(chunk_tokens=20, overlap_tokens=0, top=3), [(10, False), (1, False), (1, True)]),
    ],
)
async def test_long_texts_are_read_as_asked_and_counted(
    asked_by: Ask, door: str, how: LongTexts | None, chunks: list[tuple[int, bool]]
) -> None:
    """Cut off, or in so many chunks as head, window, overlap and bound make: the fake counts as the sidecar does."""
    wish = ScoreRequest(query="cat", candidates=CUT, max_tokens=40, long_texts=how)
    (found,) = await asked_by(door, [wish])
    assert isinstance(found, Scores)
    assert [(scored.chunk_count, scored.truncated) for scored in found.results] == chunks
    assert all(scored is not None and scored.best_chunk < scored.chunk_count for scored in aligned(found, CUT))


async def test_texts_above_the_sidecars_limit_are_embedded_in_parts(tmp_path: Path) -> None:
    """M21: the same for vectors, which come back in the order of the texts."""
    settings, clock = Settings(model="fake", port=0, max_candidates=3), MonotonicClock()
    service = Service(settings, clock)
    service.open([fake_model(write_tokeniser(tmp_path), kind="embedder")])
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    await server.start()
    scorer = AsyncGrpcScorer(Target(address=f"127.0.0.1:{port}"))
    texts = [f"hotel {place}" for place in range(8)]
    together = await scorer.embed(EmbedRequest(texts=texts, kind="document"), 20.0)
    alone = [(await scorer.embed(EmbedRequest(texts=[text], kind="document"), 20.0))[0] for text in texts]
    assert together == alone
    await scorer.close()
    await server.stop(None)
    service.close()


@pytest.mark.slow
async def test_a_client_that_is_idle_stays_connected(tmp_path: Path) -> None:
    """Asking every ten seconds whether the connection is alive is allowed: the sidecar does not cut it off for that."""
    settings, clock = Settings(model="fake", port=0), MonotonicClock()
    service = Service(settings, clock)
    service.open([fake_model(write_tokeniser(tmp_path))])
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    await server.start()
    target = Target(address=f"127.0.0.1:{port}")
    cut_off, ready = threading.Event(), threading.Event()

    def watch(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            ready.set()
        elif ready.is_set():
            cut_off.set()

    with grpc.insecure_channel(target.address, target.options) as channel:
        channel.subscribe(watch, try_to_connect=True)
        assert await asyncio.to_thread(ready.wait, 20)
        assert not await asyncio.to_thread(cut_off.wait, 45)
        channel.unsubscribe(watch)
    await server.stop(None)
    service.close()
