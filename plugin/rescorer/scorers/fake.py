"""Scorers without a sidecar, for tests: scores that can be told in advance, failures on demand, every request kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

from rescorer.domain import Candidate, EmbedRequest, Scored, ScoreRequest, Scores
from rescorer.errors import ScorerError

DIMENSION = 8


def shared_words(query: str, text: str) -> float:
    """A logit for tests: how many of the query's words the text holds, its length deciding between equals."""
    asked, said = set(query.lower().split()), text.lower().split()
    return float(sum(word in asked for word in said)) - len(said) / 1000


class FakeScorer:
    """Scores by a function of query and text; ``failure`` comes instead as long as it is set.

    failure: the error of every call, or errors by query: then only requests with such a query fail.
    requests, embed_requests: what was asked, in order. timeouts_s: with how much time each call came.
    calls: how often it was asked to score, one request or many at a time.
    """

    def __init__(
        self,
        logit: Callable[[str, str], float] = shared_words,
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
        results = [self._scored(place, candidate, request) for place, candidate in enumerate(request.candidates)]
        return Scores(results=results, model=request.model or "fake", digest="0" * 64, timings={"total_ms": 0.0})

    def _scored(self, place: int, candidate: Candidate, request: ScoreRequest) -> Scored:
        logit = self.logit(request.query, " ".join(text for _, text in candidate.fields))
        score = 1 / (1 + math.exp(-logit)) if request.activation == "sigmoid" else logit
        return Scored(id=candidate.id, index=place, logit=logit, score=score)


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


def _unit_vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    values = [byte - 127.5 for byte in digest[:DIMENSION]]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]
