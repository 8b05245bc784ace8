"""From the wire to the domain: answers read, and refused where they do not fit the question.

An answer is counted before it is read, in bytes and in entries, so that one that is far too large costs no search its
time; gRPC takes up to 64 MiB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from rescorer.domain import Choice, Scored, Scores, StageResult
from rescorer.errors import BadScores, Reason, ScorerError
from rescorer.scorers import codes, wire
from rescorer_proto.v1 import rescorer_pb2

ScorePart: TypeAlias = wire.Part[rescorer_pb2.ScoreRequest]
_BYTES_A_SCORE = 256
"""More than one score takes beside its id."""

_BYTES_BESIDE = 256 * 1024
"""More than model, timings, stages and what went wrong take."""


def scores(part: ScorePart, raw: bytes, address: str) -> Scores:
    """The answer to ``Score``, as :func:`score_answer`."""
    _check_size(raw, part.message.ByteSize() + _BYTES_A_SCORE * part.count, address)
    return score_answer(_parsed(rescorer_pb2.ScoreResponse, raw, address), part, address)


def outcomes(asked: Sequence[rescorer_pb2.ScoreRequest], raw: bytes, address: str) -> list[Scores | ScorerError]:
    """The answer to ``ScoreMany``, as :func:`score_many_answers`."""
    most = sum(one.ByteSize() + _BYTES_A_SCORE * len(one.candidates) + _BYTES_BESIDE for one in asked)
    _check_size(raw, most, address)
    return score_many_answers(_parsed(rescorer_pb2.ScoreManyResponse, raw, address), asked, address)


def vectors(count: int, raw: bytes, address: str) -> list[list[float]]:
    """The answer to ``Embed``, as :func:`embed_answer`."""
    return embed_answer(_parsed(rescorer_pb2.EmbedResponse, raw, address), count, address)


def _check_size(raw: bytes, most: int, address: str) -> None:
    if len(raw) > most + _BYTES_BESIDE:
        raise BadScores(f"the sidecar at {address} answered {len(raw):,} bytes, far more than was asked for")


def _parsed(kind: Any, raw: bytes, address: str) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise BadScores(f"the sidecar at {address} answered {len(raw):,} bytes that are no {kind.__name__}") from error


def score_answer(answer: rescorer_pb2.ScoreResponse, part: ScorePart, address: str) -> Scores:
    """One part's answer, its places counted in the whole request; raises BadScores where it does not fit the part."""
    wrong = _misfit(answer, part.message)
    if wrong:
        raise BadScores(f"the sidecar at {address} answered {wrong}")
    timings, offset = answer.timings, part.offset
    is_partial = answer.status == rescorer_pb2.SCORE_STATUS_PARTIAL
    return Scores(
        results=[
            Scored(
                id=result.id,
                index=offset + result.index,
                logit=result.logit,
                score=result.score,
                truncated=result.truncated,
                cached=result.cached,
                chunk_count=result.chunk_count or 1,
                best_chunk=result.best_chunk,
                stage=result.stage,
            )
            for result in answer.results
        ],
        model=answer.model.name,
        digest=answer.model.digest,
        reason=Reason.DEADLINE_EXCEEDED if is_partial else None,
        timings={
            "tokenise_ms": timings.tokenise_ms,
            "queue_ms": timings.queue_ms,
            "forward_ms": timings.forward_ms,
            "total_ms": timings.total_ms,
        },
        stages=[
            StageResult(model=stage.model.name, candidates=stage.candidates, scored=stage.scored, ms=stage.ms)
            for stage in answer.stages
        ],
        choice=_choice(answer),
    )


def _misfit(answer: rescorer_pb2.ScoreResponse, asked: rescorer_pb2.ScoreRequest) -> str | None:
    """What is wrong with an answer at first sight; counted before it is read, so that too much costs no time.

    What a search relies on is checked again where scores are merged: :func:`rescorer.fuse.aligned`.
    """
    # Many checks in one piece: a call for each of the scores would cost more than what it checks.
    count, most = len(answer.results), len(asked.candidates)
    if count > most:
        return f"{count} scores for {most} candidates"
    if count < most and answer.status != rescorer_pb2.SCORE_STATUS_PARTIAL:
        return f"{count} scores for {most} candidates, and not that time was too short"
    if len({result.index for result in answer.results}) < count:
        return "two scores for one candidate"
    for result in answer.results:
        if result.index >= most or result.id != asked.candidates[result.index].id:
            return "a score for a candidate that it was not asked about at that place"
        if not (math.isfinite(result.logit) and math.isfinite(result.score)):
            return "a score that is no finite number"
    return None


def _choice(answer: rescorer_pb2.ScoreResponse) -> Choice | None:
    if not answer.HasField("choice"):
        return None
    return Choice(model=answer.choice.model, window=answer.choice.window, reason=answer.choice.reason)


def score_many_answers(
    answer: rescorer_pb2.ScoreManyResponse, asked: Sequence[rescorer_pb2.ScoreRequest], address: str
) -> list[Scores | ScorerError]:
    """What became of each request; raises BadScores where they are not as many as were asked."""
    if len(answer.answers) != len(asked):
        raise BadScores(f"the sidecar at {address} answered {len(answer.answers)} of {len(asked)} requests")
    return [_outcome(entry, one, address) for entry, one in zip(answer.answers, asked, strict=True)]


def _outcome(entry: rescorer_pb2.ScoreAnswer, asked: rescorer_pb2.ScoreRequest, address: str) -> Scores | ScorerError:
    if entry.WhichOneof("outcome") == "error":
        return codes.of_status(entry.error, address)
    if entry.WhichOneof("outcome") is None:
        return BadScores(f"the sidecar at {address} answered a request with neither scores nor an error")
    try:
        return score_answer(entry.scores, wire.Part(0, len(asked.candidates), asked), address)
    except BadScores as error:
        return error


def together(answers: Sequence[Scores], cut_short: ScorerError | None) -> Scores:
    """The answers of all parts as one; ``cut_short`` is why later parts are missing. At least one answer is needed."""
    first = answers[0]
    if any((answer.model, answer.digest) != (first.model, first.digest) for answer in answers):
        raise BadScores("the sidecar changed its model between two parts of one request")
    reasons = [answer.reason for answer in answers] + [cut_short.reason if cut_short else None]
    return replace(
        first,
        results=[scored for answer in answers for scored in answer.results],
        reason=next((reason for reason in reasons if reason is not None), None),
        timings={name: sum(answer.timings[name] for answer in answers) for name in first.timings},
    )


def embed_answer(answer: rescorer_pb2.EmbedResponse, count: int, address: str) -> list[list[float]]:
    """The vectors of one part; raises BadScores where their number or length is wrong, or a value not finite."""
    found = answer.embeddings
    lengths = {len(embedding.values) for embedding in found}
    if len(found) != count or len(lengths) > 1 or 0 in lengths:
        raise BadScores(
            f"the sidecar at {address} answered {len(found)} embeddings for {count} texts, or of different lengths"
        )
    vectors = [list(embedding.values) for embedding in found]
    if not all(math.isfinite(value) for vector in vectors for value in vector):
        raise BadScores(f"the sidecar at {address} answered an embedding with a value that is not finite")
    return vectors
