"""Scorers without a sidecar, for tests: scores that can be told in advance, failures on demand, every request kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from rescorer.config import AUTO, Stage
from rescorer.domain import Choice, EmbedRequest, Scored, ScoreRequest, Scores, StageResult
from rescorer.errors import ScorerError
from rescorer.scorers import fake_texts

DIMENSION = 8
SEAM = 0.001
"""How far below the seam between two stages of a cascade the earlier one begins, at least."""

Logit: TypeAlias = Callable[[str, str], float]


def shared_words(query: str, text: str) -> float:
    """A logit for tests: how many of the query's words the text holds, its length deciding between equals."""
    asked, said = set(query.lower().split()), text.lower().split()
    return float(sum(word in asked for word in said)) - len(said) / 1000


class FakeScorer:
    """Scores by a function of query and text; ``failure`` comes instead as long as it is set.

    logit: the function, for all models or for each by its name; a cascade keeps as many as it asks for, and ``auto``
    takes the best of its models. Long texts are read as the sidecar reads them, a word for a token.
    failure: the error of every call, or errors by query: then only requests with such a query fail.
    requests, embed_requests: what was asked, in order. timeouts_s: with how much time each call came.
    calls: how often it was asked to score, one request or many at a time.
    """

    def __init__(
        self,
        logit: Logit | Mapping[str, Logit] = shared_words,
        *,
        failure: ScorerError | Mapping[str, ScorerError] | None = None,
    ) -> None:
        self.logit = logit
        self.failure = failure
        self.calls = 0
        self.requests: list[ScoreRequest] = []
        self.embed_requests: list[EmbedRequest] = []
        self.timeouts_s: list[float] = []
        self.is_closed = False

    def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate."""
        (outcome,) = self.score_many([request], timeout_s)
        if isinstance(outcome, ScorerError):
            raise outcome
        return outcome

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """Score every candidate of every request."""
        self.calls += 1
        self.requests.extend(requests)
        self.timeouts_s.append(timeout_s)
        self._fail_if_told()
        return [self._outcome(request) for request in requests]

    def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """A unit vector per text, the same for the same text."""
        self.embed_requests.append(request)
        self.timeouts_s.append(timeout_s)
        self._fail_if_told()
        return [_unit_vector(text) for text in request.texts]

    def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True

    def _fail_if_told(self) -> None:
        if isinstance(self.failure, ScorerError):
            raise self.failure

    def _outcome(self, request: ScoreRequest) -> Scores | ScorerError:
        if isinstance(self.failure, Mapping) and request.query in self.failure:
            return self.failure[request.query]
        is_auto = request.model == AUTO and bool(request.models)
        default = next(iter(self.logit), "") if isinstance(self.logit, Mapping) else ""
        stages = request.cascade or (Stage(model=(request.models[0] if is_auto else request.model) or default),)
        read = [fake_texts.read(candidate, request) for candidate in request.candidates]
        by_chunk = self._in_turn(request, stages, read)
        scored = [{place: _pooled(own, request) for place, own in stage.items()} for stage in by_chunk]
        logits = _one_order(scored)
        last = {place: own for stage in by_chunk for place, own in stage.items()}
        reached = {place: number for number, own in enumerate(scored, 1) for place in own} if request.cascade else {}
        results = [
            Scored(
                id=request.candidates[place].id,
                index=place,
                logit=logits[place],
                score=_score(logits[place], request),
                truncated=read[place].truncated,
                chunk_count=len(own),
                best_chunk=own.index(max(own)),
                stage=reached.get(place, 0),
            )
            for place, own in sorted(last.items())
        ]
        told = [
            StageResult(model=stage.model, candidates=len(own), scored=len(own), ms=0.0)
            for stage, own in zip(stages, scored, strict=True)
        ]
        choice = Choice(model=stages[0].model, window=len(results), reason="a fake takes the best")
        return Scores(
            results=results,
            model=stages[-1].model or "fake",
            digest="0" * 64,
            timings={"total_ms": 0.0},
            stages=told if request.cascade else (),
            choice=choice if is_auto else None,
        )

    def _in_turn(
        self, request: ScoreRequest, stages: Sequence[Stage], read: Sequence[fake_texts.Read]
    ) -> list[dict[int, list[float]]]:
        """Each stage's logits by place, one for each chunk: of all candidates, later of those that survived."""
        found, places = [], list(range(len(request.candidates)))
        for stage in stages:
            logit = self.logit[stage.model] if isinstance(self.logit, Mapping) else self.logit
            own = {place: [logit(request.query, chunk) for chunk in read[place].chunks] for place in places}
            found.append(own)
            best = sorted(own, key=lambda place: (-_pooled(own[place], request), place))
            places = best[: stage.keep or None]
        return found


class AsyncFakeScorer:
    """The same for asyncio, around a :class:`FakeScorer` that keeps the requests."""

    def __init__(self, inner: FakeScorer | None = None) -> None:
        self.inner = inner or FakeScorer()

    async def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Score every candidate."""
        return self.inner.score(request, timeout_s)

    async def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """Score every candidate of every request."""
        return self.inner.score_many(requests, timeout_s)

    async def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        """A unit vector per text."""
        return self.inner.embed(request, timeout_s)

    async def close(self) -> None:
        """Remember that it was closed."""
        self.inner.close()


def _pooled(logits: Sequence[float], request: ScoreRequest) -> float:
    return fake_texts.pooled(logits, 1 if request.long_texts is None else request.long_texts.top)


def _score(logit: float, request: ScoreRequest) -> float:
    return 1 / (1 + math.exp(-logit)) if request.activation == "sigmoid" else logit


def _one_order(stages: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The last stage's logits as they are; what an earlier one did not pass on below them, by its own distances."""
    order = dict(stages[-1])
    for own in reversed(stages[:-1]):
        if order:
            shift = min(order.values()) - min(own[place] for place in order) - SEAM
            order |= {place: logit + shift for place, logit in own.items() if place not in order}
    return order


def _unit_vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    values = [byte - 127.5 for byte in digest[:DIMENSION]]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]
