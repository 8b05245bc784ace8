"""The shared cache against servers that are no help: silent, broken, foreign, refusing. Scores are never wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rescorer_sidecar.cache import ScoreCache
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import PairScore
from rescorer_sidecar.known_scores import KnownScores
from rescorer_sidecar.pause import FAILURES, FIRST_S
from rescorer_sidecar.shared_cache import MOST_LINKS, MOST_WAITING, Place, SharedCache
from rescorer_sidecar.shared_entries import Sealer
from rescorer_sidecar.testing import FakeClock, until

KEYS = [bytes([number]) * 32 for number in range(3)]
SCORE = PairScore(logit=1.5, token_count=9, truncated=False)
SOON_S = 0.004
"""For servers that do not answer; of those that do, no machine is too slow."""

PONG = b"+PONG\r\n"

Reply = Callable[[bytes], bytes | None]
"""What a server says to some bytes that it got; ``None`` says nothing."""

Serving = Callable[..., Awaitable[SharedCache]]


class Server:
    """Says what it is told to; counts its open connections."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the other side closes it."""
        self.count += 1
        try:
            while said := await reader.read(65_536):
                answer = PONG if b"PING" in said else b"" if b"CLIENT" in said else self.reply(said)
                writer.write(b"+OK\r\n" * said.count(b"CLIENT") + (answer or b""))
        except ConnectionError:
            pass
        finally:
            self.count -= 1
            writer.close()


@pytest.fixture
async def serving(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Serving]:
    """A cache over a server that answers greetings, and everything else as it is told; greeted already."""
    async with AsyncExitStack() as at_end:

        async def started(reply: Reply, wait_s: float = 20.0) -> SharedCache:
            behind = Server(reply)
            server = await asyncio.start_unix_server(behind.serve, tmp_path / "socket")
            at_end.push_async_callback(until, lambda: not behind.count)
            at_end.callback(server.close)
            cache = SharedCache(Place(address=f"unix://{tmp_path / 'socket'}", wait_s=wait_s), clock)
            at_end.push_async_callback(cache.close)
            assert await cache.greeted()
            return cache

        yield started


def listed(*entries: bytes | None) -> bytes:
    """A RESP answer to MGET."""
    return b"*%d\r\n" % len(entries) + b"".join(
        b"$-1\r\n" if entry is None else b"$%d\r\n%s\r\n" % (len(entry), entry) for entry in entries
    )


async def asked(cache: SharedCache, times: int, keys: Sequence[bytes] = KEYS) -> None:
    """So many look-ups, one after the other, which find nothing."""
    for _ in range(times):
        assert await cache.known(keys) == {}


async def test_what_lies_there_is_found_and_the_rest_is_not(serving: Serving) -> None:
    """A sound entry is a score under its own key; an absent one and a spoilt one are misses, each counted."""
    entry = Sealer("").packed(KEYS[0], SCORE)
    cache = await serving(lambda said: listed(entry, None, entry))
    assert await cache.known(KEYS) == {KEYS[0]: SCORE}
    assert (cache.counters.found, cache.counters.absent, cache.counters.spoilt) == (1, 1, 1)
    assert cache.is_reachable


def test_a_look_up_costs_at_most_five_milliseconds() -> None:
    """What a request may wait for the shared cache, whatever the server does."""
    assert Settings().shared_cache_wait_ms <= 5
    assert Place(address="redis://cache").wait_s == Settings().shared_cache_wait_ms / 1000


async def test_a_silent_server_is_left_alone_after_three_look_ups(serving: Serving, clock: FakeClock) -> None:
    """Each of the first look-ups ends by itself; then nothing is sent any more until the pause is over."""
    cache = await serving(lambda said: None, SOON_S)
    await asked(cache, FAILURES)
    assert cache.counters.failures == FAILURES
    assert not cache.is_reachable
    await asked(cache, 100)
    assert cache.counters.failures == FAILURES
    assert cache.counters.skipped == 100 * len(KEYS)
    clock.advance(FIRST_S)
    assert await cache.greeted()


async def test_a_server_that_recovers_is_asked_again(serving: Serving, clock: FakeClock) -> None:
    """After the pause a greeting in the background brings the cache back; the request that woke it went without."""
    entry, is_refusing = Sealer("").packed(KEYS[0], SCORE), True
    cache = await serving(lambda said: b"-LOADING wait\r\n" if is_refusing else listed(entry))
    await asked(cache, FAILURES)
    is_refusing = False
    clock.advance(FIRST_S)
    await cache.known(KEYS[:1])
    assert await cache.greeted()
    await until(lambda: cache._links.count == MOST_LINKS)
    assert await cache.known(KEYS[:1]) == {KEYS[0]: SCORE}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"+OK\r\n",
        b":7\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*1\r\n$1\r\nx\r\n",
        b"*many\r\n",
        b"*9999999999\r\n",
        b"$99999999999\r\nx",
        b"\xff\xfe\xfd\r\n",
        b"\r\n",
        b"*1\r\n" * 5000,
    ],
)
async def test_a_foreign_answer_is_a_miss(serving: Serving, answer: bytes) -> None:
    """HTTP, refusals, numbers, lists of another length, nonsense: no score, no exception, and left alone in the end."""
    cache = await serving(lambda said: answer, SOON_S)
    await asked(cache, FAILURES)
    assert not cache.is_reachable
    assert cache.counters.found == 0


async def test_other_things_in_a_list_are_spoilt(serving: Serving) -> None:
    """Numbers, lists and errors where entries should be are misses, and the server is asked on."""
    cache = await serving(lambda said: b"*3\r\n:7\r\n*1\r\n:1\r\n-ERR odd\r\n")
    await asked(cache, FAILURES)
    assert cache.counters.spoilt == 3 * FAILURES
    assert cache.is_reachable


async def test_a_connection_that_breaks_is_made_anew(serving: Serving) -> None:
    """A look-up whose connection is closed under it finds nothing; the next ones go by other connections."""
    entry, is_broken = Sealer("").packed(KEYS[0], SCORE), True

    def reply(said: bytes) -> bytes:
        if is_broken:
            raise ConnectionResetError
        return listed(entry)

    cache = await serving(reply)
    await asked(cache, 1, KEYS[:1])
    is_broken = False
    assert await cache.known(KEYS[:1]) == {KEYS[0]: SCORE}
    assert await cache.greeted()
    await until(lambda: cache._links.count == MOST_LINKS)


async def test_look_ups_at_once_share_the_connections(serving: Serving) -> None:
    """With every connection held, a further look-up ends in its time and is no failure of the server."""
    cache = await serving(lambda said: None, SOON_S)
    held = [await cache._links.take() for _ in range(MOST_LINKS)]
    await asked(cache, 1)
    assert (cache.counters.busy, cache.counters.failures) == (1, 0)
    for link in held:
        cache._links.give_back(link)


async def test_a_look_up_that_is_cancelled_leaves_nothing_behind(serving: Serving) -> None:
    """The caller hung up: his connection, which owes an answer, is closed, and none is lost for good."""
    cache = await serving(lambda said: None)
    await until(lambda: cache._links.count == MOST_LINKS)
    look_up = asyncio.create_task(cache.known(KEYS))
    await until(lambda: cache._links._ready.qsize() == MOST_LINKS - 1)
    look_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look_up
    await until(lambda: cache._links.count == MOST_LINKS - 1)
    assert await cache.greeted()
    await until(lambda: cache._links.count == MOST_LINKS)


async def test_what_waits_to_be_written_is_bounded(serving: Serving) -> None:
    """With a server that takes nothing, memory stays bounded: what is too much is dropped, and counted."""
    cache = await serving(lambda said: None, SOON_S)
    for number in range(MOST_WAITING + 50):
        cache.put(number.to_bytes(32), SCORE)
    assert len(cache._waiting) == MOST_WAITING
    assert cache.counters.dropped == 50


async def test_a_score_that_the_server_refuses_is_dropped(serving: Serving) -> None:
    """Out of memory, read-only: the score is not stored, that is counted, and look-ups go on."""
    cache = await serving(
        lambda said: b"-OOM command not allowed\r\n" * said.count(b"SET") if b"SET" in said else listed(None)
    )
    for key in KEYS:
        cache.put(key, SCORE)
    await cache.written()
    assert (cache.counters.stored, cache.counters.dropped) == (0, len(KEYS))
    assert await cache.known(KEYS[:1]) == {}
    assert cache.is_reachable


async def test_without_a_server_nothing_waits(tmp_path: Path, clock: FakeClock) -> None:
    """Nothing listens there: the first look-up wakes a greeting, which fails, and all go without."""
    cache = SharedCache(Place(address=f"unix://{tmp_path / 'nothing'}"), clock)
    await asked(cache, 1)
    assert not await cache.greeted()
    await asked(cache, 10)
    cache.put(KEYS[0], SCORE)
    assert cache.counters.skipped == 11 * len(KEYS)
    assert (cache.counters.failures, cache.counters.dropped) == (0, 1)
    await cache.close()


async def test_logs_tell_no_password(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of a server that does not answer names it without its password."""
    cache = SharedCache(Place(address="redis://ann:s3cret@127.0.0.1:1/0", secret="s3cret"), clock)
    assert not await cache.greeted()
    await cache.close()
    assert "redis://ann:***@127.0.0.1:1/0 is left alone for 1 s" in caplog.text
    assert "s3cret" not in caplog.text


async def test_what_was_told_is_known_here_from_then_on(serving: Serving) -> None:
    """A shared score is kept in process and not asked for twice; without room here it is used all the same."""
    entry = Sealer("").packed(KEYS[0], SCORE)
    cache = await serving(lambda said: listed(entry))
    known, roomless = KnownScores(ScoreCache(4000), cache), KnownScores(ScoreCache(0), cache)
    assert known.known(KEYS[:1]) == [None]
    assert await known.found(KEYS[:1], None) == [SCORE]
    assert await known.found(KEYS[:1], None) == known.known(KEYS[:1]) == [SCORE]
    assert cache.counters.found == 1
    assert await roomless.found([KEYS[0], KEYS[0]], 1.0) == [SCORE, SCORE]
