"""From the domain to the wire: messages built, requests cut into parts.

A request is sent in parts that stay below what any gRPC server takes unless told otherwise (4 MiB), so a window of
10,000 hits needs no agreement on limits. Parts are scored one after the other, in first-stage order, under one
deadline; where it ends, the parts that came back are a partial answer. A cascade, or a choice of model, needs the whole
window at once: it has one part, or is refused here.
Several requests share messages of the same size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from rescorer.domain import Candidate, EmbedRequest, ScoreRequest
from rescorer.errors import ScorerRefused
from rescorer_proto.v1 import rescorer_pb2

PART_BYTES = 3 * 1024 * 1024
PART_TEXTS = 2048


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
