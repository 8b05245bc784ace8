"""Pairs on their way to a score, each once, whoever asked for it: joined, tokenised part by part, remembered.

A pair is in flight from the moment it is let in until it has ended, under the same key as in the cache. Who asks for it
meanwhile waits for the same flight. It belongs to none of them: it is tokenised by a task of its own, and it is given
up only when the last of them has left.

## Decisions
2026-11: the first part is 16 texts and each further one twice as many, so that the model begins while the rest is read
and a large request costs few hand-offs. Reading 100 texts of 119 tokens takes 10 ms, the first 16 of them
2 ms (one core); on slow models the overlap is lost in the noise and costs nothing. On a GPU it costs: three forwards of
a small model take longer than one. So the first part is what keeps the model busy for 5 ms, where that is more.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from rescorer_sidecar.batcher import Batcher
from rescorer_sidecar.chunks import LongTexts
from rescorer_sidecar.domain import Chunks, PairScore, Text, Tokens
from rescorer_sidecar.errors import STOPPING, BackendFailed, NotReady, SidecarError
from rescorer_sidecar.known_scores import KnownScores
from rescorer_sidecar.lengths import pair_tokens
from rescorer_sidecar.token_cache import TokenCache
from rescorer_sidecar.tokenise import Tokeniser
from rescorer_sidecar.works import NOTHING, Job, Work

logger = logging.getLogger(__name__)

FIRST_PART_TEXTS = 16
FIRST_PART_US = 5000
PAIR_TOKENS = 128
"""Tokens that a pair is taken to have before it is read."""

Given = ParamSpec("Given")
Got = TypeVar("Got")


@dataclass(slots=True, kw_only=True)
class Counters:
    """How pairs got their scores, since the start: from the cache, from a flight of somebody else's, by the model."""

    cached: int = 0
    coalesced: int = 0
    computed: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Flight(Work):
    """One pair under its key; ``score`` is there once the model has given it."""

    key: bytes
    text: Text
    score: PairScore | None = None

    def forget(self) -> None:
        """Neither will its text be read."""
        self.row, self.text = NOTHING, ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """A request's pairs under one query and limit: by key a text, or its tokens where it was read before."""

    query: str
    said: Mapping[bytes, Text | Tokens]
    limit: int


@dataclass(frozen=True, slots=True)
class Reader:
    """Tokenises pairs in threads and remembers texts."""

    tokeniser: Tokeniser
    known: TokenCache
    threads: ThreadPoolExecutor

    async def pairs(self, query: str, texts: Sequence[Text], limit: int) -> list[Tokens]:
        """As :meth:`Tokeniser.pairs`; NotReady where the sidecar stops meanwhile."""
        return await in_thread(self.threads, self.tokeniser.pairs, query, texts, limit, self.known)

    async def chunks(self, query: str, texts: Sequence[Text], limit: int, how: LongTexts) -> list[Chunks]:
        """As :meth:`Tokeniser.chunks`; NotReady where the sidecar stops meanwhile."""
        return await in_thread(self.threads, self.tokeniser.chunks, query, texts, limit, how, self.known)


class Flights:
    """What is in flight to one model; owned by the event loop. ``entering`` pairs are not tokenised yet."""

    def __init__(self, batcher: Batcher, reader: Reader, cache: KnownScores, counters: Counters) -> None:
        self._batcher = batcher
        self._reader = reader
        self._cache = cache
        self._counters = counters
        self._by_key: dict[bytes, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.entering = 0

    def fresh(self, pairs: Pairs) -> dict[bytes, int]:
        """Those of these pairs that are not in flight, with about how many tokens each has."""
        keys = [key for key in pairs.said if self._joinable(key) is None]
        unread = [said for key in keys if not isinstance(said := pairs.said[key], Tokens)]
        expected = iter(pair_tokens(pairs.query, unread))
        return {
            key: len(said) if isinstance(said := pairs.said[key], Tokens) else min(pairs.limit, next(expected))
            for key in keys
        }

    def board(
        self, pairs: Pairs, fresh: Mapping[bytes, int], deadline_s: float | None, caller: str = ""
    ) -> Job[Flight]:
        """A job that waits for these pairs; those that are not in flight, as :meth:`fresh` just said, start now."""
        arrival = self._batcher.next_arrival()
        flights, starting = [], []
        for index, (key, said) in enumerate(pairs.said.items()):
            if key not in fresh:
                flights.append(self._by_key[key])
                continue
            flight = self._by_key[key] = Flight(
                index=index,
                tokens=len(said) if isinstance(said, Tokens) else 0,
                expected_tokens=fresh[key],
                arrival=arrival,
                caller=caller,
                key=key,
                text="" if isinstance(said, Tokens) else said,
                row=said if isinstance(said, Tokens) else NOTHING,
                on_end=self._ended,
            )
            flights.append(flight)
            starting.append(flight)
        job = self._batcher.wait_for(flights, deadline_s, caller)
        self._counters.coalesced += len(flights) - len(starting)
        self._batcher.enqueue([flight for flight in starting if flight.tokens])
        self._read([flight for flight in starting if not flight.tokens], pairs)
        return job

    def _read(self, flights: list[Flight], pairs: Pairs) -> None:
        if not flights:
            return
        self.entering += len(flights)
        task = asyncio.get_running_loop().create_task(self._feed(pairs.query, flights, pairs.limit))
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    def _joinable(self, key: bytes) -> Flight | None:
        """The pair's flight; one that everybody has left goes on only if the model has begun with it."""
        flight = self._by_key.get(key)
        return None if flight is None or (flight.is_abandoned and not flight.is_started) else flight

    async def _feed(self, query: str, flights: list[Flight], limit: int) -> None:
        """Tokenise and enqueue part by part; what can't be tokenised ends with the error, for all who wait for it."""
        error: BaseException = NotReady(STOPPING)
        left = list(flights)
        try:
            for part in _parts(flights, self._first_part()):
                wanted = [flight for flight in part if not flight.is_abandoned]
                rows = await self._reader.pairs(query, [flight.text for flight in wanted], limit) if wanted else []
                del left[: len(part)]
                self.entering -= len(part)
                self._enqueue(wanted, rows)
                self._give_up([flight for flight in part if flight.is_abandoned])
        except SidecarError as refused:
            error = refused
        except Exception as failed:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            error = _unforeseen(failed)
        finally:
            self.entering -= len(left)
            for flight in left:
                self._batcher.end(flight, error)

    def _first_part(self) -> int:
        learnt = self._batcher.learnt_cost()
        return (
            FIRST_PART_TEXTS if learnt is None else max(FIRST_PART_TEXTS, int(FIRST_PART_US / learnt[1] / PAIR_TOKENS))
        )

    def _enqueue(self, flights: list[Flight], rows: Sequence[Tokens]) -> None:
        for flight, row in zip(flights, rows, strict=True):
            flight.row, flight.tokens = row, len(row)
        self._batcher.enqueue([flight for flight in flights if not flight.is_abandoned])

    def _give_up(self, flights: list[Flight]) -> None:
        for flight in flights:
            if not flight.is_ended:
                self._batcher.end(flight)

    def _ended(self, work: Work) -> None:
        if not isinstance(work, Flight):
            raise TypeError(f"{type(work).__name__} is no flight")
        if self._by_key.get(work.key) is work:
            del self._by_key[work.key]
        if work.value is not None:
            row = work.row
            work.score = PairScore(logit=float(work.value), token_count=len(row), truncated=row.truncated)
            self._cache.put(work.key, work.score)
            self._counters.computed += 1


def _parts(flights: list[Flight], first: int) -> Iterator[list[Flight]]:
    begin, size = 0, first
    while begin < len(flights):
        end = begin + size if len(flights) - begin > 2 * size else len(flights)
        yield flights[begin:end]
        begin, size = end, 2 * size


def _unforeseen(error: Exception) -> BackendFailed:
    where = "".join(traceback.format_tb(error.__traceback__))  # the message itself may hold somebody's text
    logger.error("reading a request failed with %s:\n%s", type(error).__name__, where)
    return BackendFailed(f"the sidecar failed on this request: {type(error).__name__}; see its log")


async def in_thread(
    threads: ThreadPoolExecutor, work: Callable[Given, Got], *given: Given.args, **named: Given.kwargs
) -> Got:
    """``work``'s result from one of the threads; NotReady where they are stopped before it begins."""
    try:
        future = asyncio.wrap_future(threads.submit(work, *given, **named))
    except RuntimeError:  # they take nothing any more
        raise NotReady(STOPPING) from None
    try:
        return await future
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise NotReady(STOPPING) from None
