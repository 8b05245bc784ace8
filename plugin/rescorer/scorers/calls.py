"""What a scorer asks of a sidecar, one call after the other, as generators that do no I/O themselves.

A driver in :mod:`rescorer.scorers.grpc` makes each :class:`Ask` and hands back what the answer reads as, or throws in
the ScorerError that came instead. So parts, batches and further tries are written once for threads and for asyncio.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from rescorer.domain import EmbedRequest, ScoreRequest, Scores
from rescorer.errors import ScorerError, ScorerOverloaded, ScorerRefused, ScorerTimeout, ScorerUnavailable
from rescorer.scorers import answers, codes, wire

ATTEMPTS = 3
FIRST_WAIT_S = 0.02
PASSING = (ScorerUnavailable, ScorerOverloaded)
"""Errors after which another try may succeed."""
_WORTH_PARTS = (*PASSING, ScorerTimeout)
"""Errors that say nothing about the request: what was answered before them stays good."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One call: the name of the method, its message, and what its answer reads as.

    read: what the answer of the sidecar at an address says, from its bytes; raises BadScores where it does not fit the
    question.
    after_s: how many seconds to wait before it, where the sidecar that was asked last is asked again.
    """

    method: Literal["Score", "ScoreMany", "Embed"]
    message: Any
    read: Callable[[bytes, str], Any]
    after_s: float = 0.0


T = TypeVar("T")
Calls: TypeAlias = Generator[Ask, Any, T]


def wait_s(error: BaseException | None, attempt: int) -> float:
    """Seconds between try number ``attempt``, which ended with this error, and the next."""
    asked_s = error.retry_after_s if isinstance(error, ScorerOverloaded) else None
    return FIRST_WAIT_S * 2.0 ** (attempt - 1) if asked_s is None else asked_s


def score(request: ScoreRequest, most: int = wire.PART_TEXTS) -> Calls[Scores]:
    """The scores of all parts, or of those that were answered in time. Raises ScorerError.

    most: how many candidates a part holds; a sidecar that takes fewer says how many, and gets that many.
    """
    try:
        return (yield from _score(request, most))
    except ScorerRefused as error:
        if not _is_smaller(error.most, most):
            raise
        return (yield from score(request, error.most or most))


def _is_smaller(told: int | None, most: int) -> bool:
    return told is not None and told < most


def _score(request: ScoreRequest, most: int) -> Calls[Scores]:
    found: list[Scores] = []
    for part in wire.score_parts(request, most):
        try:
            found.append((yield Ask("Score", part.message, partial(answers.scores, part))))
        except _WORTH_PARTS as error:
            if not found:
                raise
            return answers.together(found, error)
    return answers.together(found, None) if found else Scores(results=[])


def embed(request: EmbedRequest, most: int = wire.PART_TEXTS) -> Calls[list[list[float]]]:
    """The vectors of all parts, which hold as many texts as :func:`score` says. Raises ScorerError."""
    found: list[list[float]] = []
    try:
        for part in wire.embed_parts(request, most):
            found += yield Ask("Embed", part.message, partial(answers.vectors, part.count))
    except ScorerRefused as error:
        if not _is_smaller(error.most, most):
            raise
        return (yield from embed(request, error.most or most))
    return found


def score_many(requests: Sequence[ScoreRequest]) -> Calls[list[Scores | ScorerError]]:
    """One entry per request: its scores, or the error that it alone ended with.

    Raises ScorerError where a call failed before any was answered; later, that error stands for what is left.
    """
    found: dict[int, Scores | ScorerError] = {}
    try:
        yield from _fill(found, requests)
    except ScorerError as error:
        if not found:
            raise
        found = {**dict.fromkeys(range(len(requests)), error), **found}
    return [found[place] if request.candidates else Scores(results=[]) for place, request in enumerate(requests)]


def _fill(found: dict[int, Scores | ScorerError], requests: Sequence[ScoreRequest]) -> Calls[None]:
    takes_many = True
    for batch in wire.batches(requests):
        if takes_many and batch.messages:
            try:
                found.update((yield from _together(batch)))
                continue
            except ScorerRefused as error:
                takes_many = not codes.takes_only_one(error)
                if takes_many:
                    raise
        for place in batch.places:
            found[place] = yield from _alone(requests[place])


def _together(batch: wire.Batch) -> Calls[dict[int, Scores | ScorerError]]:
    """One call for all, and further ones for those alone whose error may pass."""
    found: dict[int, Scores | ScorerError] = {}
    left, after_s = dict(zip(batch.places, batch.messages, strict=True)), 0.0
    for attempt in range(1, ATTEMPTS + 1):
        try:
            message = wire.score_many_request(left.values())
            ends = yield Ask("ScoreMany", message, partial(answers.outcomes, list(left.values())), after_s)
        except ScorerError:
            if not found:
                raise
            return found
        found.update(zip(left, ends, strict=True))
        passing = {place: error for place in left if isinstance(error := found[place], PASSING)}
        if not passing:
            return found
        left = {place: left[place] for place in passing}
        after_s = max(wait_s(error, attempt) for error in passing.values())
    return found


def _alone(request: ScoreRequest) -> Calls[Scores | ScorerError]:
    try:
        return (yield from score(request))
    except _WORTH_PARTS:
        raise
    except ScorerError as error:
        return error
