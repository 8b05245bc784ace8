"""Between the wire and the domain: messages built and read, requests cut into parts, codes turned into errors.

A request is sent in parts that stay below what any gRPC server takes unless told otherwise (4 MiB), so a window of
10,000 hits needs no agreement on limits. Parts are scored one after the other, in first-stage order, under one
deadline; where it ends, the parts that came back are a partial answer. A cascade, or a choice of model, needs the whole
window at once: it has one part, or is refused here.
Several requests share messages of the same size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Generic, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from rescorer.domain import Candidate, Choice, EmbedRequest, Scored, ScoreRequest, Scores, StageResult
from rescorer.errors import (
    BadScores,
    Reason,
    ScorerError,
    ScorerOverloaded,
    ScorerRefused,
    ScorerTimeout,
    ScorerUnavailable,
)
from rescorer_proto.v1 import rescorer_pb2

PART_BYTES = 3 * 1024 * 1024
PART_TEXTS = 2048
DETAILS_KEY = "grpc-status-details-bin"
_REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.FAILED_PRECONDITION,
}
_ONLY_ONE = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


Message = TypeVar("Message", rescorer_pb2.ScoreRequest, rescorer_pb2.EmbedRequest)


@dataclass(frozen=True, slots=True)
class Part(Generic[Message]):
    """One message of a request: ``offset`` is the place of its first candidate or text in the whole."""

    offset: int
    count: int
    message: Message


def score_parts(request: ScoreRequest, most: int = PART_TEXTS) -> Iterator[Part[rescorer_pb2.ScoreRequest]]:
    """The messages of a request, each below PART_BYTES and with ``most`` candidates at most."""
    candidates = [_candidate(candidate) for candidate in request.candidates]
    options = rescorer_pb2.ScoreOptions(max_tokens=request.max_tokens, long_texts=_long_texts(request))
    if request.activation == "sigmoid":
        options.activation = rescorer_pb2.ACTIVATION_SIGMOID
    query = utf8(request.query)
    spans = list(_spans([candidate.ByteSize() + 8 for candidate in candidates], most))
    if len(spans) > 1 and (request.cascade or request.models):
        raise ScorerRefused(
            f"{'a cascade' if request.cascade else 'a choice of model'} sees its whole window at once, and these "
            f"{len(candidates)} hits take {len(spans)} messages of {most} texts and {PART_BYTES >> 20} MiB at most; "
            "set a smaller window_size"
        )
    cascade = [rescorer_pb2.Stage(model=stage.model, keep=stage.keep) for stage in request.cascade]
    for begin, end in spans:
        message = rescorer_pb2.ScoreRequest(
            query=query,
            candidates=candidates[begin:end],
            model=request.model,
            options=options,
            cascade=cascade,
            models=request.models,
        )
        yield Part(begin, end - begin, message)


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that share a message, by their places in the whole list; no messages where one alone needs parts."""

    places: Sequence[int]
    messages: Sequence[rescorer_pb2.ScoreRequest]


def batches(requests: Sequence[ScoreRequest]) -> Iterator[Batch]:
    """Every request that has candidates, as many to a message as PART_BYTES and PART_TEXTS allow, oversized last."""
    held: dict[int, Part[rescorer_pb2.ScoreRequest]] = {}
    oversized: list[int] = []
    held_bytes = held_texts = 0
    for place, request in enumerate(requests):
        try:
            parts = list(islice(score_parts(request), 2))
        except ScorerRefused:  # it alone fails, where it is asked for alone
            oversized.append(place)
            continue
        if not parts:
            continue
        if len(parts) > 1:
            oversized.append(place)
            continue
        size, texts = parts[0].message.ByteSize() + 8, parts[0].count
        if held and (held_bytes + size > PART_BYTES or held_texts + texts > PART_TEXTS):
            yield _batch(held)
            held, held_bytes, held_texts = {}, 0, 0
        held[place] = parts[0]
        held_bytes, held_texts = held_bytes + size, held_texts + texts
    if held:
        yield _batch(held)
    yield from (Batch([place], []) for place in oversized)


def _batch(parts: Mapping[int, Part[rescorer_pb2.ScoreRequest]]) -> Batch:
    return Batch(list(parts), [part.message for part in parts.values()])


def score_many_request(messages: Iterable[rescorer_pb2.ScoreRequest]) -> rescorer_pb2.ScoreManyRequest:
    """The message for all of them."""
    return rescorer_pb2.ScoreManyRequest(requests=messages)


def embed_parts(request: EmbedRequest, most: int = PART_TEXTS) -> Iterator[Part[rescorer_pb2.EmbedRequest]]:
    """The messages of a request to embed, each below PART_BYTES and with ``most`` texts at most."""
    texts = [_cut(utf8(text)) for text in request.texts]
    kinds = {"query": rescorer_pb2.EMBED_KIND_QUERY, "document": rescorer_pb2.EMBED_KIND_DOCUMENT}
    for begin, end in _spans([len(text.encode()) + 8 for text in texts], most):
        message = rescorer_pb2.EmbedRequest(texts=texts[begin:end], model=request.model, kind=kinds[request.kind])
        yield Part(begin, end - begin, message)


def _spans(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    begin = held = 0
    for place, size in enumerate(sizes):
        if place > begin and (held + size > PART_BYTES or place - begin == most):
            yield begin, place
            begin, held = place, 0
        held += size
    if begin < len(sizes):
        yield begin, len(sizes)


def _candidate(candidate: Candidate) -> rescorer_pb2.Candidate:
    fields = candidate.fields
    bounds = candidate.max_tokens or (0,) * len(fields)
    if len(fields) == 1 and not fields[0][0] and not bounds[0]:
        return rescorer_pb2.Candidate(id=utf8(candidate.id), text=_cut(utf8(fields[0][1])))
    if not fields:
        return rescorer_pb2.Candidate(id=utf8(candidate.id), text="")
    share = PART_BYTES // 2 // len(fields)
    labelled = [
        rescorer_pb2.LabelledField(label=utf8(label), text=_cut(utf8(text), share), max_tokens=most)
        for (label, text), most in zip(fields, bounds, strict=True)
    ]
    return rescorer_pb2.Candidate(id=utf8(candidate.id), fields=rescorer_pb2.LabelledFields(fields=labelled))


def _long_texts(request: ScoreRequest) -> rescorer_pb2.LongTexts | None:
    how = request.long_texts
    if how is None:
        return None
    return rescorer_pb2.LongTexts(
        mode=rescorer_pb2.LONG_TEXT_MODE_CHUNKS,
        chunk_tokens=how.chunk_tokens,
        overlap_tokens=how.overlap_tokens,
        most_chunks=how.most_chunks,
        top=how.top,
    )


def utf8(text: str) -> str:
    """The text without lone surrogates, which JSON may hold and protobuf may not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _cut(text: str, most_bytes: int = PART_BYTES // 2) -> str:
    """A text that would not fit into a message alone loses its end, which lies far past every model's limit."""
    if len(text) * 4 <= most_bytes:
        return text
    return text.encode()[:most_bytes].decode("utf-8", "ignore")


def score_answer(answer: rescorer_pb2.ScoreResponse, part: Part[rescorer_pb2.ScoreRequest], address: str) -> Scores:
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
        code = _CODES.get(entry.error.code, grpc.StatusCode.UNKNOWN)
        return _error(code, entry.error.message, entry.error, address)
    if entry.WhichOneof("outcome") is None:
        return BadScores(f"the sidecar at {address} answered a request with neither scores nor an error")
    try:
        return score_answer(entry.scores, Part(0, len(asked.candidates), asked), address)
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


def takes_only_one(error: ScorerRefused) -> bool:
    """The sidecar knows no ScoreMany yet, or not of so much at once; each request alone it may well take."""
    cause = error.__cause__
    return isinstance(cause, grpc.RpcError) and cause.code() in _ONLY_ONE


def mapped(error: grpc.RpcError, address: str) -> ScorerError:
    """The error of this package for a call that failed; the message is one line and names the address."""
    return _error(error.code(), error.details() or "", _status(error), address)


def is_its_word(error: BaseException) -> bool:
    """Whether the sidecar itself said this, and not gRPC on this side, whose clock ran out."""
    cause = error.__cause__
    return isinstance(cause, grpc.RpcError) and bool(_status(cause).code)


def _status(error: grpc.RpcError) -> status_pb2.Status:
    """What the sidecar said beyond the code; empty where it said nothing, or nothing that can be read."""
    packed = dict(error.trailing_metadata() or ()).get(DETAILS_KEY, b"")
    try:
        return status_pb2.Status.FromString(packed)
    except (DecodeError, TypeError):
        return status_pb2.Status()


def _error(code: grpc.StatusCode, message: str, status: status_pb2.Status, address: str) -> ScorerError:
    said = " ".join(message.split())
    if code is grpc.StatusCode.CANCELLED:
        return ScorerUnavailable(f"the sidecar at {address} broke off ({said}); did it stop just now?")
    if code is grpc.StatusCode.UNAVAILABLE:
        return ScorerUnavailable(f"nobody serves scores at {address} ({said}); is the sidecar running there?")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ScorerTimeout(f"the sidecar at {address} did not answer in time")
    details = _details(status)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        retry = [detail.retry_delay for detail in details if isinstance(detail, error_details_pb2.RetryInfo)]
        return ScorerOverloaded(f"the sidecar at {address} is overloaded: {said}", _seconds(retry))
    fields = [
        f"{violation.field}: {violation.description}"
        for detail in details
        if isinstance(detail, error_details_pb2.BadRequest)
        for violation in detail.field_violations
    ]
    told = "; ".join([said, *(field for field in fields if field not in said)])
    if code in _REFUSED:
        return ScorerRefused(f"the sidecar at {address} refused ({code.name}): {told}", _most(details))
    return ScorerError(f"the sidecar at {address} failed ({code.name}): {told}")


def _most(details: Sequence[object]) -> int | None:
    """How many texts the sidecar says that a request may hold."""
    told = [detail.metadata.get("most", "") for detail in details if isinstance(detail, error_details_pb2.ErrorInfo)]
    return int(told[0]) if told and told[0].isdigit() and int(told[0]) > 0 else None


def _seconds(delays: Sequence[Duration]) -> float | None:
    return max(0.0, delays[0].seconds + delays[0].nanos / 1e9) if delays else None


def _details(status: status_pb2.Status) -> list[object]:
    """The ``google.rpc`` details of a failure; those of unknown type left out."""
    found: list[object] = []
    for entry in status.details:
        for kind in (error_details_pb2.RetryInfo, error_details_pb2.BadRequest, error_details_pb2.ErrorInfo):
            if entry.Is(kind.DESCRIPTOR):
                detail = kind()
                with suppress(DecodeError):
                    entry.Unpack(detail)
                    found.append(detail)
    return found
