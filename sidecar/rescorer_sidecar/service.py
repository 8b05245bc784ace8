"""The one ``score`` behind every door: admit → cache → tokenise → submit → assemble. ``embed`` goes the same way."""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rescorer_sidecar import pairing, stages
from rescorer_sidecar.admission import Ask, check_size
from rescorer_sidecar.batcher import Batcher
from rescorer_sidecar.choice import Cost
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import (
    EmbedAnswer,
    Embedding,
    EmbedRequest,
    ModelCard,
    ScoreAnswer,
    ScoreRequest,
    Timings,
)
from rescorer_sidecar.errors import (
    BackendFailed,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SidecarError,
    TooMany,
)
from rescorer_sidecar.flights import Pairs, in_thread
from rescorer_sidecar.lengths import pair_tokens
from rescorer_sidecar.metrics import Metrics
from rescorer_sidecar.models import Model
from rescorer_sidecar.observing import Observer
from rescorer_sidecar.policy import patience_s
from rescorer_sidecar.registry import Registry, Served
from rescorer_sidecar.shared_cache import SharedCache
from rescorer_sidecar.standing import Standing
from rescorer_sidecar.tracing import Tracing
from rescorer_sidecar.works import Job

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 0.5

MOST_VIOLATIONS = 10
"""How many bad fields one answer names; error details travel in trailers, and those are small."""


class Service:
    """Scores and embeds with the models it was given; owned by the event loop."""

    def __init__(self, settings: Settings, clock: Clock, tracing: Tracing | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self.metrics = Metrics(clock)
        self._registry = Registry(settings, clock, self.metrics)
        self.tracing = tracing
        self._observer = Observer(self.metrics, clock, self._label, tracing)
        self.metrics.add(Standing(self._registry, settings, lambda: self.is_ready))
        self._cache = self._registry.cache
        self.is_draining = False
        self.counters = self._registry.counters

    def open(self, models: Iterable[Model]) -> None:
        """Serve these models from now on; the first of a kind is its default."""
        self._registry.open(models)

    def close(self) -> None:
        """Take no more requests and let go of threads and models; what runs is waited for."""
        self._registry.close()

    @property
    def registry(self) -> Registry:
        """Which versions are served, and which stand beside."""
        return self._registry

    def models(self) -> list[ModelCard]:
        """What is served, defaults first of their kind."""
        return self._registry.cards()

    def drain(self) -> None:
        """Say that no more requests should be sent; those that come all the same are answered."""
        self.is_draining = True

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent: there are warm models, and the sidecar is not about to stop."""
        return not self.unready

    @property
    def unready(self) -> str:
        """Why no requests should be sent; empty while they should."""
        if self.is_draining:
            return "the sidecar is stopping"
        if not self._registry.is_open:
            return "the models are not loaded and warm yet"
        return "" if any(self._registry.alive.values()) else "the model has failed and is being loaded again"

    @property
    def is_hung(self) -> bool:
        """Whether a model that is served has a forward that does not come back: starting anew is all that helps."""
        return any(served.batcher.hung for served in self._registry.served)

    @property
    def shared_cache(self) -> SharedCache | None:
        """The cache that is shared with other sidecars, if there is one."""
        return self._cache.shared

    async def leave_shared_cache(self) -> None:
        """Let go of the shared cache's connections; before :meth:`close`, in the loop that they were made in."""
        await self._cache.close()

    @property
    def waiting(self) -> int:
        """Pairs and texts of all models that somebody waits for and that were not started yet."""
        return self._registry.waiting

    async def score(self, request: ScoreRequest) -> ScoreAnswer:
        """Every candidate's score, or those that were ready just before the deadline.

        Raises InvalidRequest, UnknownModel, NotReady, Overloaded, DeadlineExceeded, BackendFailed.
        """
        with self._observer.sees(request) as seen:
            answer = seen.answer = await self._answered(request)
        return answer

    async def _answered(self, request: ScoreRequest) -> ScoreAnswer:
        asked_s = self._clock.now_s()
        if not request.cascade and request.model != stages.AUTO:
            return await self._score(request, asked_s)
        self._registry.check_open()
        self._admit(request)
        way = self._way(request, asked_s)
        return await (stages.in_turn(request, way) if request.cascade else stages.by_choice(request, way))

    def _way(self, request: ScoreRequest, asked_s: float) -> stages.Way:
        """How a request of several models, which came at ``asked_s``, reaches them."""

        def known(name: str) -> tuple[ModelCard, Cost | None]:
            served = self._registry.find(name, "cross-encoder")
            return served.model.card, served.cost

        def left_ms() -> float | None:
            left_s = self._patience_s(request.deadline_s, asked_s)
            return None if left_s is None else 1000 * left_s

        return stages.Way(lambda plain: self._score(plain, asked_s), known, left_ms, self._clock.now_s)

    async def _score(self, request: ScoreRequest, asked_s: float) -> ScoreAnswer:
        """What one model answers to a request that came at ``asked_s``, alone or as a part of another."""
        served = self._registry.find(request.model, "cross-encoder")
        with served.in_use():
            answer = await self._scored(request, served, asked_s)
            if served.watch is not None:
                served.watch(request, answer)
        return answer

    async def _scored(self, request: ScoreRequest, served: Served, asked_s: float) -> ScoreAnswer:
        begun_s = self._clock.now_s()
        self._admit(request)
        card = served.model.card
        limit = min(request.max_tokens or card.max_tokens, card.max_tokens)
        self._check_tokens(request, limit)
        wanted = await self._wanted(request, served, limit, asked_s)
        keys = wanted.keys
        scores = await self._cache.found(keys, self._patience_s(request.deadline_s, asked_s))
        missing = [index for index, score in enumerate(scores) if score is None]
        self.counters.cached += len(keys) - len(missing)
        if not missing:
            results = wanted.results(request, scores, {})
            is_complete = len(results) == len(request.candidates)
            timings = self._timings(begun_s, begun_s, None)
            return ScoreAnswer(model=card, results=results, is_complete=is_complete, timings=timings)
        pairs = Pairs(request.query, {keys[index]: wanted.said[index] for index in missing}, limit)
        fresh = served.flights.fresh(pairs)
        foretold_s = self._let_in(request, fresh.values(), served, asked_s)
        job = served.flights.board(pairs, fresh, request.deadline_s, request.caller)
        self.counters.coalesced += len(missing) - len(pairs.said)
        await self._wait(served.batcher, job, request.deadline_s, asked_s)
        served.admission.took(request.caller, foretold_s, job.expected_s)
        results = wanted.results(request, scores, {flight.key: flight.score for flight in job.works})
        if not results:
            _refuse(job)
        return ScoreAnswer(
            model=card,
            results=results,
            is_complete=len(results) == len(request.candidates),
            timings=self._timings(begun_s, job.queued_s or begun_s, job),
        )

    async def _wanted(self, request: ScoreRequest, served: Served, limit: int, asked_s: float) -> pairing.Wanted:
        digest = served.model.card.scored_by
        if request.long_texts is None:
            return pairing.whole(request, digest, limit)
        self._check_room(len(request.candidates), 0)
        patience_s = self._patience_s(request.deadline_s, asked_s)
        until_s = math.inf if patience_s is None else self._clock.now_s() + patience_s / 2
        return await pairing.chunked(request, digest, limit, served.reader, lambda: self._clock.now_s() > until_s)

    async def score_many(self, requests: Sequence[ScoreRequest]) -> list[ScoreAnswer | SidecarError]:
        """What :meth:`score` answers to each request, or its error, in their order; they share batches.

        Raises NotReady, and InvalidRequest where they hold more together than one request may.
        """
        self._registry.check_open()
        self._check_count("requests", len(requests))
        self._check_count("requests[].candidates", sum(map(_most_pairs, requests)))
        return await asyncio.gather(*(self._outcome(request) for request in requests))

    async def embed(self, request: EmbedRequest) -> EmbedAnswer:
        """One unit vector per text; nothing partial, since a missing vector helps nobody.

        Raises InvalidRequest, UnknownModel, NotReady, Overloaded, DeadlineExceeded, BackendFailed.
        """
        with self._observer.sees(request) as seen:
            answer = seen.answer = await self._embed(request)
        return answer

    async def _embed(self, request: EmbedRequest) -> EmbedAnswer:
        served = self._registry.find(request.model, "embedder")
        with served.in_use():
            return await self._embedded(request, served)

    async def _embedded(self, request: EmbedRequest, served: Served) -> EmbedAnswer:
        begun_s = self._clock.now_s()
        card = served.model.card
        if not request.texts:
            raise InvalidRequest(("texts", "is empty; give at least one text"))
        self._check_count("texts", len(request.texts))
        prefix = served.model.query_prefix if request.kind == "query" else served.model.document_prefix
        texts = [prefix + text for text in request.texts]
        lengths = [min(card.max_tokens, tokens) for tokens in pair_tokens("", texts)]
        check_size("texts", lengths, self.settings.max_request_tokens)
        foretold_s = self._let_in(request, lengths, served, begun_s)
        with served.enters(len(texts)):
            tokens = await in_thread(self._registry.threads, served.model.tokeniser.texts, texts, card.max_tokens)
        tokenised_s = self._clock.now_s()
        job = served.batcher.submit(tokens, request.deadline_s, request.caller)
        await self._wait(served.batcher, job, request.deadline_s, begun_s)
        served.admission.took(request.caller, foretold_s, job.expected_s)
        if any(value is None for value in job.values):
            _refuse(job)
        embeddings = tuple(
            Embedding(values=value, token_count=len(row), truncated=row.truncated)
            for value, row in zip(job.values, tokens, strict=True)
            if value is not None
        )
        return EmbedAnswer(model=card, embeddings=embeddings, timings=self._timings(begun_s, tokenised_s, job))

    def _label(self, request: ScoreRequest | EmbedRequest) -> str:
        if isinstance(request, EmbedRequest):
            return self._registry.label(request.model, "embedder")
        if request.cascade or request.model == stages.AUTO:
            return "cascade" if request.cascade else stages.AUTO
        return self._registry.label(request.model, "cross-encoder")

    async def _outcome(self, request: ScoreRequest) -> ScoreAnswer | SidecarError:
        try:
            async with asyncio.timeout(self._last_call_s(request.deadline_s)):
                return await self.score(request)
        except SidecarError as error:
            return error
        except TimeoutError:
            return DeadlineExceeded("the deadline passed before the model was asked")
        except Exception as error:  # noqa: BLE001  # whatever it is, the other requests are answered
            where = "".join(traceback.format_tb(error.__traceback__))  # the message itself may hold somebody's text
            logger.error("a request failed with %s:\n%s", type(error).__name__, where)
            return BackendFailed(f"the sidecar failed on this request: {type(error).__name__}; see its log")

    def _last_call_s(self, deadline_s: float | None) -> float | None:
        """Seconds until a request is given up, so that those beside it are answered in time.

        That is later than it would answer by itself: between its patience and the deadline.
        """
        if deadline_s is None:
            return None
        left_s = deadline_s - self._clock.now_s()
        return (patience_s(left_s) + left_s) / 2

    def _check_count(self, field: str, count: int) -> None:
        most = self.settings.max_candidates
        if count > most:
            raise TooMany(field, count, most)

    def _admit(self, request: ScoreRequest) -> None:
        most = max(1, self.settings.max_candidates // (request.long_texts.most_chunks if request.long_texts else 1))
        if len(request.candidates) > most:
            raise TooMany("candidates", len(request.candidates), most)
        ids = {candidate.id for candidate in request.candidates}
        is_wrong = not request.query.strip() or len(ids) < len(request.candidates) or "" in ids
        if is_wrong or pairing.violations(request.long_texts):
            raise InvalidRequest(*_violations(request)[:MOST_VIOLATIONS])

    def _check_tokens(self, request: ScoreRequest, limit: int) -> None:
        """TooManyTokens where a request of candidates that are read to this limit holds more than one may."""
        limit *= request.long_texts.most_chunks if request.long_texts else 1
        if len(request.candidates) * limit > self.settings.max_request_tokens:
            lengths = pair_tokens(request.query, [candidate.text for candidate in request.candidates])
            check_size("candidates", [min(length, limit) for length in lengths], self.settings.max_request_tokens)

    def _let_in(
        self, request: ScoreRequest | EmbedRequest, lengths: Collection[int], served: Served, asked_s: float
    ) -> float:
        """Seconds that pairs of so many tokens should take; Overloaded where there is no room or time, ModelDied."""
        served.batcher.check_alive()
        tokens = sum(lengths)
        self._check_room(len(lengths), tokens)
        ask = Ask(
            caller=request.caller,
            tokens=tokens,
            deadline_s=request.deadline_s,
            patience_s=self._patience_s(request.deadline_s, asked_s),
        )
        return served.admission.let_in(ask, served.tokens_per_s)

    def _check_room(self, pairs: int, tokens: int) -> None:
        """Overloaded where so much more would be too much, unless nothing waits."""
        waiting, unfinished = self._registry.let_in
        for what, held, more, most in (
            ("pairs are waiting", waiting, pairs, self.settings.max_waiting_pairs),
            ("tokens are unfinished", unfinished, tokens, self.settings.max_waiting_tokens),
        ):
            if held and more and held + more > most:
                why = f"{held} {what} and at most {most} may; try again in {RETRY_AFTER_S:.1f} s"
                raise Overloaded(why, RETRY_AFTER_S)

    async def _wait(self, batcher: Batcher, job: Job[Any], deadline_s: float | None, begun_s: float) -> None:
        try:
            await asyncio.wait({job.settled}, timeout=self._patience_s(deadline_s, begun_s))
        finally:
            batcher.abandon(job)

    def _patience_s(self, deadline_s: float | None, begun_s: float) -> float | None:
        """How long a request that came at ``begun_s`` waits from now on: however long it was tokenised, to one end."""
        if deadline_s is None:
            return None
        return max(0.0, patience_s(deadline_s - begun_s) - (self._clock.now_s() - begun_s))

    def _timings(self, begun_s: float, tokenised_s: float, job: Job[Any] | None) -> Timings:
        return Timings(
            tokenise_ms=1000 * (tokenised_s - begun_s),
            queue_ms=job.queue_ms if job else 0.0,
            forward_ms=job.forward_ms if job else 0.0,
            total_ms=1000 * (self._clock.now_s() - begun_s),
        )


def _violations(request: ScoreRequest) -> list[tuple[str, str]]:
    wrong = pairing.violations(request.long_texts)
    if not request.query.strip():
        wrong.append(("query", "is empty; give the text that the user searched for"))
    seen: dict[str, int] = {}
    for index, candidate in enumerate(request.candidates):
        if not candidate.id:
            wrong.append((f"candidates[{index}].id", "is empty; give each candidate an id of its own"))
        elif candidate.id in seen:
            wrong.append((f"candidates[{index}].id", f"repeats the id of candidates[{seen[candidate.id]}]"))
        seen.setdefault(candidate.id, index)
    return wrong


def _most_pairs(request: ScoreRequest) -> int:
    return len(request.candidates) * (request.long_texts.most_chunks if request.long_texts else 1)


def _refuse(job: Job[Any]) -> None:
    if job.failures:
        failures = list(job.failures.values())
        for failure in failures:
            if isinstance(failure, SidecarError):
                raise failure
        raise BackendFailed(f"the model failed on {len(failures)} of {len(job.works)} rows") from failures[0]
    raise DeadlineExceeded("the deadline passed before the model had an answer")
