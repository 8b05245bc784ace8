"""A sample of live requests, scored again by a version that nobody is sent to yet; callers never wait for it.

Three bounds keep it out of the way. It takes at most a share of the pairs that are scored. It holds one request at a
time. And it runs one small forward at a time, beginning only while no model has anything to do: a request that comes
meanwhile finds at worst that one forward under way.

## Decisions
2026-11: shadow work goes on whenever a request leaves, and when a forward of its own ends. Both are moments at which
the sidecar may have become idle, so that nothing has to look again and again.
2026-11: scores of the shadow do not go into the cache, where they would push out those that are asked for today.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rescorer_sidecar.comparison import LEAST_CANDIDATES, Sample
from rescorer_sidecar.domain import ScoreAnswer, ScoredCandidate, ScoreRequest, Text, Tokens
from rescorer_sidecar.registry import Served

logger = logging.getLogger(__name__)

MOST_CANDIDATES = 32
"""Of one request, evenly from its whole window."""

FORWARD_TOKENS = 512
"""Most tokens of one forward, and of a text that is sampled at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What is sampled: so many requests, and at most this share of the pairs that are scored meanwhile."""

    requests: int = 50
    pairs: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Of one request what is scored again, with the logits of the version that serves."""

    query: str
    texts: tuple[Text, ...]
    limit: int
    logits: tuple[float, ...]


class Shadow:
    """Samples requests until it has enough; owned by the event loop.

    ``is_idle`` tells whether nothing else has anything to do. ``told`` is set after each request that was compared,
    ``seen`` counts those that were answered.
    """

    def __init__(self, version: Served, share: Share, is_idle: Callable[[], bool]) -> None:
        self._reader = version.reader
        self._batcher = version.batcher
        self._most_tokens = version.model.card.max_tokens
        self._share = share
        self._is_idle = is_idle
        self._credit_pairs = float(MOST_CANDIDATES)
        self._rows: list[Tokens] = []
        self._new: list[float] = []
        self._chosen: Chosen | None = None
        self._task: asyncio.Task[None] | None = None
        self.samples: list[Sample] = []
        self.seen = self.failed_texts = 0
        self.told = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether enough was compared, or the version failed on a text."""
        return bool(self.failed_texts) or len(self.samples) >= self._share.requests

    def offer(self, request: ScoreRequest, answer: ScoreAnswer) -> None:
        """A request was answered by the version that serves; taken where nothing else is held and the share allows."""
        self.seen += 1
        self._credit_pairs += self._share.pairs * len(answer.results)
        if self._chosen is not None or self.is_over or self._credit_pairs < LEAST_CANDIDATES:
            return
        limit = min(request.max_tokens or self._most_tokens, self._most_tokens)
        chosen = choose(request, limit, answer.results, int(self._credit_pairs))
        if chosen is not None:
            self._credit_pairs -= len(chosen.texts)
            self._chosen = chosen

    def go_on(self) -> None:
        """Run the next forward, if one is due and the sidecar is idle."""
        if self._chosen is None or self._task is not None or not self._is_idle():
            return
        self._task = asyncio.get_running_loop().create_task(self._step(self._chosen))
        self._task.add_done_callback(self._stepped)

    def close(self) -> None:
        """Sample nothing more."""
        self._share = Share(requests=0)
        self._chosen = None
        if self._task is not None:
            self._task.cancel()

    async def _step(self, chosen: Chosen) -> None:
        """Read a request that is not read yet, else score a few of its rows."""
        if not self._rows:
            self._rows = await self._reader.pairs(chosen.query, chosen.texts, chosen.limit)
            return
        part = _part(self._rows[len(self._new) :])
        job = self._batcher.submit(part, None)
        try:
            await job.settled
        finally:
            self._batcher.abandon(job)
        self.failed_texts += len(job.failures)
        self._new += [float(value) for value in job.values if value is not None]

    def _stepped(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled() or self._chosen is None:
            return
        error = task.exception()
        if error is not None:
            logger.error("the version in the shadow failed to read a request: %s", type(error).__name__)
            self.failed_texts += 1
        if self.failed_texts or len(self._new) == len(self._chosen.logits):
            self._settle(self._chosen)
        self.go_on()

    def _settle(self, chosen: Chosen) -> None:
        if not self.failed_texts:
            self.samples.append(Sample(old=chosen.logits, new=tuple(self._new)))
        self._chosen, self._rows, self._new = None, [], []
        self.told.set()


def choose(request: ScoreRequest, limit: int, results: Sequence[ScoredCandidate], most: int) -> Chosen | None:
    """What of an answered request is scored again; ``None`` where it says nothing.

    Texts in chunks are left out: their score is made of several. So are texts of more than :data:`FORWARD_TOKENS`.
    """
    if request.long_texts is not None:
        return None
    short = [entry for entry in results if entry.pair.token_count <= FORWARD_TOKENS]
    step = -(-len(short) // max(1, min(most, MOST_CANDIDATES)))
    taken = short[:: max(1, step)]
    if len(taken) < LEAST_CANDIDATES:
        return None
    return Chosen(
        query=request.query,
        texts=tuple(request.candidates[entry.index].text for entry in taken),
        limit=limit,
        logits=tuple(entry.pair.logit for entry in taken),
    )


def _part(rows: Sequence[Tokens]) -> Sequence[Tokens]:
    """The first rows that make one forward."""
    tokens = 0
    for count, row in enumerate(rows):
        tokens += len(row)
        if count and tokens > FORWARD_TOKENS:
            return rows[:count]
    return rows
