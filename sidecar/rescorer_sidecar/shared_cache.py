"""Scores that several sidecars share through Redis or Valkey: asked for a moment, written in the background.

A look-up waits ``wait_s`` at most, whatever the server does, and what has come by then is used. After three
failures in a row the server is left alone for a second, then two, up to 30: nothing is sent and nobody waits. The
first request after that wakes a greeting in the background and goes without the cache itself.

## Decisions
2026-11: connections are made beside requests, never by them: a handshake with TLS takes longer than a look-up may.
2026-11: an answer that lies in the socket when the time is over counts as come in time. A busy event loop would
otherwise call the server slow. Hence ``asyncio.wait``, which cancels nothing.
2026-11: pairs are looked up 128 at a time in first-stage order, so that of a large request the first ones are found.
A server that gave some of them is alive, however late the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rescorer_sidecar import masking
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.domain import PairScore
from rescorer_sidecar.pause import Pause
from rescorer_sidecar.shared_entries import Sealer
from rescorer_sidecar.shared_links import Link, Links

logger = logging.getLogger(__name__)

WRITE_S = 1.0
MOST_LINKS = 4
MOST_WAITING = 10_000
"""Scores that wait to be written; a few hundred bytes each."""

PART = 128
"""Pairs of one MGET, and SETs sent together: what the event loop does in about a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the server is, how long it keeps a score and a look-up waits, and what seals entries, if anything."""

    address: str
    ttl_s: int = 86_400
    wait_s: float = 0.004
    secret: str = ""


@dataclass(slots=True, kw_only=True)
class SharedCounters:
    """What became of pairs and look-ups since the start.

    Of pairs: found, absent, spoilt (something lay there that is no score), skipped (the server is left alone), late
    (no answer in time), stored, dropped (not stored: no room to wait, or the server failed or refused).
    Of look-ups: failures, and those that found all connections busy.
    """

    found: int = 0
    absent: int = 0
    spoilt: int = 0
    skipped: int = 0
    late: int = 0
    stored: int = 0
    dropped: int = 0
    failures: int = 0
    busy: int = 0


@dataclass(slots=True, eq=False)
class _LookUp:
    keys: Sequence[bytes]
    found: dict[bytes, PairScore] = field(default_factory=dict)
    has_link: bool = False
    heard: int = 0
    error: Exception | None = None


class SharedCache:
    """Owned by the event loop, so it needs no lock; ConfigError or MissingExtra where it can't be had."""

    def __init__(self, at: Place, clock: Clock) -> None:
        self._links = Links(at.address, MOST_LINKS)
        self._sealer = Sealer(at.secret)
        self._at = at
        self._clock = clock
        self._pause = Pause()
        self._waiting: deque[tuple[bytes, PairScore]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._greeting: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self.shown = masking.url(at.address)
        self.counters = SharedCounters()

    @property
    def is_reachable(self) -> bool:
        """There is a connection, and the server is not left alone."""
        return bool(self._links.count) and not self._pause.holds(self._clock.now_s())

    async def known(self, keys: Sequence[bytes], within_s: float | None = None) -> dict[bytes, PairScore]:
        """What is found of these pairs within ``wait_s``, or ``within_s`` if that is less; never an error."""
        if not keys:
            return {}
        if not self._may_ask():
            self.counters.skipped += len(keys)
            return {}
        look_up = _LookUp(keys)
        task = self._spawned(self._read(look_up))
        limit_s = self._at.wait_s if within_s is None else min(self._at.wait_s, within_s)
        try:
            await asyncio.wait({task}, timeout=limit_s)
        finally:
            is_late = not task.done()
            task.cancel()
        self._judge(look_up, is_late)
        return dict(look_up.found)

    def put(self, key: bytes, score: PairScore) -> None:
        """Write it when there is time; dropped where too many wait, or nobody would take it."""
        if len(self._waiting) >= MOST_WAITING or self._pause.holds(self._clock.now_s()):
            self.counters.dropped += 1
            return
        self._waiting.append((key, score))
        if self._writing is None:
            self._writing = self._spawned(self._write())

    async def greeted(self) -> bool:
        """Wait until the server has answered a greeting or failed to; whether it is reachable."""
        self._may_ask()
        if self._greeting is not None:
            await asyncio.wait({self._greeting})
        return self.is_reachable

    async def written(self) -> None:
        """Wait until nothing waits to be written."""
        while self._writing is not None:
            await asyncio.wait({self._writing})

    async def close(self) -> None:
        """Let go of all connections; what waits to be written is lost."""
        self._waiting.clear()
        working = list(self._tasks)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await self._links.lose_all()

    def _may_ask(self) -> bool:
        """Whether there is a connection; where one is missing and it is time to try, a greeting begins."""
        if self._pause.holds(self._clock.now_s()):
            return False
        if self._links.count < MOST_LINKS and self._greeting is None:
            self._greeting = self._spawned(self._greet())
        return self._links.count > 0

    async def _greet(self) -> None:
        try:
            await self._links.greet()
            logger.info("the shared cache at %s answers", self.shown)
        except Exception as error:  # noqa: BLE001  # whatever listens there: scores come from the model
            self._failed(error, at_once=True)
        finally:
            self._greeting = None

    async def _read(self, look_up: _LookUp) -> None:
        link, is_sound = await self._links.take(), False
        look_up.has_link = True
        try:
            for keys in _parts(look_up.keys):
                (answer,) = await link.ask(("MGET", *map(self._sealer.name, keys)))
                self._keep(look_up, keys, answer)
            is_sound = True
        except Exception as error:  # noqa: BLE001  # whatever listens there: scores come from the model
            look_up.error = error
        finally:
            await self._let_go(link, is_sound)

    def _keep(self, look_up: _LookUp, keys: Sequence[bytes], answer: object) -> None:
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, list) or len(answer) != len(keys):
            raise ConnectionError("the answer is none to what was asked")
        look_up.heard += len(keys)
        for key, entry in zip(keys, answer, strict=True):
            score = self._sealer.unpacked(key, entry)
            if score is not None:
                look_up.found[key] = score
                self.counters.found += 1
            elif entry is None:
                self.counters.absent += 1
            else:
                self.counters.spoilt += 1

    def _judge(self, look_up: _LookUp, is_late: bool) -> None:
        self.counters.late += len(look_up.keys) - look_up.heard
        if look_up.error is None and look_up.heard:
            self._pause.worked()
        elif not look_up.has_link:
            self.counters.busy += 1
        elif is_late or look_up.error is not None:
            self.counters.failures += 1
            self._failed(look_up.error or TimeoutError())

    async def _write(self) -> None:
        try:
            while self._waiting:
                part = [self._waiting.popleft() for _ in range(min(PART, len(self._waiting)))]
                stored = await self._store(part)
                self.counters.stored += stored
                self.counters.dropped += len(part) - stored
        finally:
            self._writing = None

    async def _store(self, part: Sequence[tuple[bytes, PairScore]]) -> int:
        sealed = [(key, self._sealer.packed(key, score)) for key, score in part]
        commands = [("SET", self._sealer.name(key), entry, "EX", self._at.ttl_s) for key, entry in sealed if entry]
        try:
            async with asyncio.timeout(WRITE_S):
                link = await self._links.take()
        except TimeoutError:
            return 0
        is_sound = False
        try:
            async with asyncio.timeout(WRITE_S):
                answers = await link.ask(*commands)
            is_sound = True
        except Exception as error:  # noqa: BLE001  # whatever listens there: a score that is lost is computed again
            self._failed(error)
            return 0
        finally:
            await self._let_go(link, is_sound)
        return sum(answer == b"OK" for answer in answers)

    async def _let_go(self, link: Link, is_sound: bool) -> None:
        if is_sound and not self._pause.holds(self._clock.now_s()):
            self._links.give_back(link)
        else:
            await self._links.lose(link)

    def _failed(self, error: Exception, *, at_once: bool = False) -> None:
        """Count it; the error's own words may come from anywhere, so its kind is all that is told."""
        now_s = self._clock.now_s()
        if self._pause.failed(now_s, at_once=at_once):
            self.counters.dropped += len(self._waiting)
            self._waiting.clear()
            self._spawned(self._links.lose_all())
            rest_s = self._pause.until_s - now_s
            logger.warning(
                "the shared cache at %s is left alone for %g s: %s", self.shown, rest_s, type(error).__name__
            )

    def _spawned(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for begin in range(0, len(keys), PART):
        yield keys[begin : begin + PART]
