"""Sidecars that share scores through a real Redis: found, never wrong, and never waited for when it is dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import redis
import trustme

from end_to_end.redis_server import RedisServer, free_port, redis_server
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Candidate, ScoreAnswer, ScoreRequest
from rescorer_sidecar.pause import FAILURES
from rescorer_sidecar.service import Service
from rescorer_sidecar.shared_cache import Place, SharedCache
from rescorer_sidecar.testing import FakeClock, fake_model, write_tokeniser

TEXTS = ("a late train", "cancel a flight", "hotel refund", "cat")
REQUEST = ScoreRequest(
    query="cat", candidates=tuple(Candidate(id=str(place), text=text) for place, text in enumerate(TEXTS))
)

Open = Callable[..., Awaitable[Service]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis without password on a unix socket."""
    with redis_server(tmp_path) as started:
        yield started


@pytest.fixture
def stored(server: RedisServer) -> Iterator[redis.Redis]:
    """Somebody else's client of that server."""
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny tokenizer."""
    return write_tokeniser(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
async def opened(folder: Path, clock: FakeClock) -> AsyncIterator[Open]:
    """Opens services over the shared cache at an address, greeted; settings, and the model's card, by name."""
    async with contextlib.AsyncExitStack() as at_end:

        async def start(address: str, secret: str = "", wait_ms: float = 20_000, **card: object) -> Service:
            settings = Settings(
                model="fake",
                workers=1,
                shared_cache=address,
                shared_cache_secret=secret,
                shared_cache_ttl_s=7_777,
                shared_cache_wait_ms=wait_ms,
            )
            service = Service(settings, clock)
            service.open([fake_model(folder, **{"backend": FakeBackend(), **card})])
            at_end.callback(service.close)
            at_end.push_async_callback(service.leave_shared_cache)
            assert await shared(service).greeted()
            return service

        yield start


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still, so that a pause lasts until it is set on."""
    return FakeClock()


def shared(service: Service) -> SharedCache:
    """A service's shared cache, which it must have."""
    assert service.shared_cache is not None
    return service.shared_cache


async def scored(service: Service) -> ScoreAnswer:
    """The answer to the request, and all that it wrote is written."""
    answer = await service.score(REQUEST)
    await shared(service).written()
    return answer


def logits(answer: ScoreAnswer) -> list[float]:
    """All logits; each candidate must have one."""
    assert answer.is_complete
    return [entry.pair.logit for entry in answer.results]


async def test_what_one_sidecar_scored_another_one_knows(server: RedisServer, opened: Open) -> None:
    """The second sidecar answers the same scores to the last bit without asking its model."""
    first, second = await opened(server.address), await opened(server.address)
    computed, found = await scored(first), await scored(second)
    assert logits(found) == logits(computed)
    assert all(entry.cached for entry in found.results)
    assert (second.counters.cached, second.counters.computed) == (len(TEXTS), 0)
    assert shared(first).counters.stored == shared(second).counters.found == len(TEXTS)


@pytest.mark.parametrize(
    "other", [{"digest": "d2"}, {"max_tokens": 32}, {"secret": "x"}], ids=["model", "limit", "secret"]
)
async def test_another_model_or_limit_finds_nothing(
    server: RedisServer, opened: Open, other: dict[str, object]
) -> None:
    """S5: swap the model's files, the length limit or the secret, and no shared score survives."""
    await scored(await opened(server.address))
    swapped = await opened(server.address, **other)
    answer = await scored(swapped)
    assert not any(entry.cached for entry in answer.results)
    assert shared(swapped).counters.found == 0


@pytest.mark.parametrize(
    "poison",
    [
        lambda entry, others: b"",
        lambda entry, others: entry[:-1],
        lambda entry, others: entry + b"\0",
        lambda entry, others: bytes([entry[0], entry[1] ^ 1, *entry[2:]]),
        lambda entry, others: others[0],
        lambda entry, others: b"3.14",
        lambda entry, others: b"\x01\x00\x00\xc0\x7f" + entry[5:],
        lambda entry, others: b"x" * 100_000,
    ],
    ids=["empty", "cut", "lengthened", "changed", "of another pair", "foreign", "not a number", "huge"],
)
async def test_a_poisoned_entry_is_a_miss(
    server: RedisServer, stored: redis.Redis, opened: Open, poison: Callable[[bytes, list[bytes]], bytes]
) -> None:
    """Whatever somebody put in the place of an entry, the answer is what the model says; it is counted as spoilt."""
    computed = await scored(await opened(server.address))
    names = sorted(stored.keys())
    entries = [stored.get(name) for name in names]
    for place, name in enumerate(names):
        stored.set(name, poison(entries[place], entries[place + 1 :] + entries[:place]))
    victim = await opened(server.address)
    answer = await scored(victim)
    assert logits(answer) == logits(computed)
    assert not any(entry.cached for entry in answer.results)
    assert shared(victim).counters.spoilt == len(TEXTS)
    assert [stored.get(name) for name in names] == entries


async def test_a_list_under_an_entry_s_name_is_a_miss(server: RedisServer, stored: redis.Redis, opened: Open) -> None:
    """A value of another type under our name is absent to us, and the cache works on."""
    computed = await scored(await opened(server.address))
    for name in stored.keys():  # noqa: SIM118  # it is a client, not a dict
        stored.delete(name)
        stored.lpush(name, b"x")
    assert logits(await scored(await opened(server.address))) == logits(computed)


async def test_a_frozen_cache_costs_its_few_milliseconds_and_then_nothing(
    server: RedisServer, opened: Open, clock: FakeClock
) -> None:
    """SIGSTOP: each answer is whole, three look-ups end without a reply; then nobody asks until the pause is over."""
    service = await opened(server.address, wait_ms=Settings().shared_cache_wait_ms)
    server.freeze()
    try:
        for count in range(FAILURES + 5):
            request = ScoreRequest(query=f"train {count}", candidates=REQUEST.candidates)
            assert len(logits(await service.score(request))) == len(TEXTS)
        assert shared(service).counters.failures >= FAILURES
        assert shared(service).counters.skipped >= 5 * len(TEXTS)
        assert not shared(service).is_reachable
    finally:
        server.thaw()
    clock.advance(60.0)
    assert await shared(service).greeted()
    await scored(service)
    assert shared(service).counters.stored >= len(TEXTS)


async def test_a_killed_cache_costs_nothing_and_comes_back(server: RedisServer, opened: Open, clock: FakeClock) -> None:
    """SIGKILL: answers stay whole; a new server at the same address is used after the pause."""
    service = await opened(server.address)
    computed = logits(await scored(service))
    server.kill()
    for count in range(FAILURES + 1):
        request = ScoreRequest(query=f"hotel {count}", candidates=REQUEST.candidates)
        assert len(logits(await service.score(request))) == len(TEXTS)
    assert logits(await service.score(REQUEST)) == computed
    server.start()
    clock.advance(60.0)
    assert await shared(service).greeted()
    request = ScoreRequest(query="train", candidates=REQUEST.candidates)
    await service.score(request)
    await shared(service).written()
    assert shared(service).counters.stored == 2 * len(TEXTS)


async def test_entries_end(server: RedisServer, stored: redis.Redis, opened: Open) -> None:
    """Each entry carries the time to live that was set."""
    await scored(await opened(server.address))
    assert {0 < stored.ttl(name) <= 7_777 for name in stored.keys()} == {True}  # noqa: SIM118


async def test_nothing_of_a_text_lies_in_the_cache(server: RedisServer, stored: redis.Redis, opened: Open) -> None:
    """Names and entries hold digests and numbers alone, a few dozen bytes for each pair."""
    await scored(await opened(server.address))
    held = [(name, stored.get(name)) for name in stored.keys()]  # noqa: SIM118
    assert {(len(name), len(entry)) for name, entry in held} == {(27, 18)}
    assert all(name.startswith(b"rescorer:1:") for name, _ in held)


async def test_a_full_cache_takes_no_more_and_is_read_on(tmp_path: Path, opened: Open) -> None:
    """Out of memory without eviction: scores are not stored, answers are whole, and the cache is not left alone."""
    with redis_server(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as full:
        service = await opened(full.address)
        assert len(logits(await scored(service))) == len(TEXTS)
        assert shared(service).counters.dropped == len(TEXTS)
        assert shared(service).is_reachable


async def test_many_requests_at_once_find_what_is_shared(server: RedisServer, opened: Open) -> None:
    """50 requests at the same moment are all whole, and those that found a connection in time asked no model."""
    await scored(await opened(server.address))
    service = await opened(server.address)
    answers = await asyncio.gather(*(service.score(REQUEST) for _ in range(50)))
    assert len({tuple(logits(answer)) for answer in answers}) == 1


async def test_over_tls_with_a_password_and_not_without_them(tmp_path: Path, folder: Path, opened: Open) -> None:
    """F12: rediss:// with authority and password is used; a wrong password, or an authority of others, is not."""
    authority, stranger = trustme.CA(), trustme.CA()
    certificate, port = authority.issue_cert("localhost"), free_port()
    for name, pem in (("ca", authority.cert_pem), ("other", stranger.cert_pem), ("key", certificate.private_key_pem)):
        pem.write_to_path(tmp_path / f"{name}.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = ["--tls-cert-file", tmp_path / "cert.pem", "--tls-key-file", tmp_path / "key.pem"]
    words = ["--tls-port", port, *files, "--tls-ca-cert-file", tmp_path / "ca.pem", "--tls-auth-clients", "no"]
    with redis_server(tmp_path, *map(str, words), "--requirepass", "s3cret"):
        place = f"localhost:{port}/0?ssl_ca_certs={tmp_path}"
        service = await opened(f"rediss://:s3cret@{place}/ca.pem")
        await scored(service)
        assert shared(service).counters.stored == len(TEXTS)
        for address in (f"rediss://:wrong@{place}/ca.pem", f"rediss://:s3cret@{place}/other.pem"):
            stranger_s = SharedCache(Place(address=address), FakeClock())
            assert not await stranger_s.greeted()
            await stranger_s.close()
