"""A sidecar for tests: the real wire over loopback, and behind it a function instead of a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from rescorer.testing import FakeScorer, shared_words
from rescorer_proto.v1 import rescorer_pb2, rescorer_pb2_grpc

Answer = Callable[[Any, grpc.ServicerContext], Any]
REFUSED = "a query that is refused"
"""Every scorer of the tests refuses this query."""


class FakeService(rescorer_pb2_grpc.RescorerServicer):
    """Scores by shared words. ``next_answers`` are used up first, one for each call.

    seen: each request that arrived. left_s: the time that each had. metadata: what each brought along.
    """

    def __init__(self) -> None:
        self.next_answers: list[Answer] = []
        self.seen: list[Any] = []
        self.left_s: list[float] = []
        self.metadata: list[dict[str, Any]] = []
        self.entered = threading.Event()
        self.release = threading.Event()

    def Score(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - named by the wire
        """One answer per candidate, in the order of the request."""
        return self._answered(request, context, scored)

    def ScoreMany(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - named by the wire
        """One answer per request, in their order."""
        return self._answered(request, context, scored_many)

    def Embed(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - named by the wire
        """One unit vector per text."""
        return self._answered(request, context, embedded)

    def _answered(self, request: Any, context: grpc.ServicerContext, usual: Answer) -> Any:
        self.seen.append(request)
        self.left_s.append(context.time_remaining())
        self.metadata.append(dict(context.invocation_metadata()))
        answer = self.next_answers.pop(0) if self.next_answers else usual
        return answer(request, context)

    def held(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Say with ``entered`` that the call is here, and answer only when ``release`` is set."""
        self.entered.set()
        self.release.wait(timeout=30)
        return scored(request, context)


def text_of(candidate: Any) -> str:
    """The text as a sidecar joins it."""
    if candidate.WhichOneof("content") != "fields":
        return str(candidate.text)
    return "\n".join(f"{field.label}: {field.text}" if field.label else field.text for field in candidate.fields.fields)


def scored(request: Any, context: grpc.ServicerContext | None = None) -> Any:
    """A complete answer; the refused query ends a call that is one request's own."""
    if request.query == REFUSED and context is not None:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this query is refused")
    results = [
        rescorer_pb2.ScoredCandidate(id=candidate.id, index=place, logit=logit, score=logit, truncated=place == 1)
        for place, candidate in enumerate(request.candidates)
        for logit in [shared_words(request.query, text_of(candidate))]
    ]
    return rescorer_pb2.ScoreResponse(
        results=results,
        model=rescorer_pb2.ModelRef(name=request.model or "fake", digest="0" * 64),
        status=rescorer_pb2.SCORE_STATUS_COMPLETE,
        timings=rescorer_pb2.Timings(forward_ms=1.5),
    )


def scored_many(request: Any, context: grpc.ServicerContext | None = None) -> Any:
    """A complete answer for each request but those with the refused query."""
    return answers(*[_refusal() if one.query == REFUSED else scored(one) for one in request.requests])


def _refusal() -> Any:
    return error(grpc.StatusCode.INVALID_ARGUMENT, "this query is refused")


def answers(*outcomes: Any) -> Any:
    """Scores and errors, one per request."""
    return rescorer_pb2.ScoreManyResponse(
        answers=[
            rescorer_pb2.ScoreAnswer(error=outcome)
            if isinstance(outcome, status_pb2.Status)
            else rescorer_pb2.ScoreAnswer(scores=outcome)
            for outcome in outcomes
        ]
    )


def error(code: grpc.StatusCode, said: str, *details: Any) -> Any:
    """A Status with ``google.rpc`` details if there are any."""
    packed = [any_pb2.Any() for _ in details]
    for place, detail in enumerate(details):
        packed[place].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=said, details=packed)


def partial(request: Any, context: grpc.ServicerContext) -> Any:
    """An answer that holds the first candidate alone."""
    whole = scored(request)
    whole.status = rescorer_pb2.SCORE_STATUS_PARTIAL
    del whole.results[1:]
    return whole


def embedded(request: Any, context: grpc.ServicerContext | None = None) -> Any:
    """A vector per text."""
    wish = _Wish(request.texts)
    vectors = FakeScorer().embed(wish, 1.0)  # type: ignore[arg-type]  # texts are all that it reads
    return rescorer_pb2.EmbedResponse(embeddings=[rescorer_pb2.Embedding(values=vector) for vector in vectors])


class _Wish:
    def __init__(self, texts: Any) -> None:
        self.texts = list(texts)


def fails(code: grpc.StatusCode, said: str, *details: Any) -> Answer:
    """An answer that is an error, with ``google.rpc`` details if there are any."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if details:
            status = error(code, said, *details)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, said)

    return answer


def retry_after(seconds: float) -> Any:
    """The detail that says when to come again."""
    delay = duration_pb2.Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def bad_field(name: str, said: str) -> Any:
    """The detail that names a field."""
    violation = error_details_pb2.BadRequest.FieldViolation(field=name, description=said)
    return error_details_pb2.BadRequest(field_violations=[violation])


@contextmanager
def served(service: FakeService, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """The address of a running server for this service, over TLS if it has credentials; stopped on the way out."""
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    rescorer_pb2_grpc.add_RescorerServicer_to_server(service, server)
    if credentials is None:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        bound = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        service.release.set()
        server.stop(grace=None).wait()


@contextmanager
def served_raw(answer: bytes) -> Iterator[str]:
    """The address of a server that answers every call with these bytes."""

    def always(details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        """Handles whatever is asked."""

        service = staticmethod(always)

    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Handler(),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield address
    finally:
        server.stop(grace=None).wait()
