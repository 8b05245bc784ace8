"""The gRPC door: bytes ↔ domain, error ↔ code, and nothing else."""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar import domain, errors
from rescorer_sidecar.callers import caller_of
from rescorer_sidecar.choice import Choice
from rescorer_sidecar.chunks import LongTexts
from rescorer_sidecar.clock import Clock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.grpc_guard import Guard
from rescorer_sidecar.grpc_quota import Quota
from rescorer_sidecar.grpc_reading import Reading
from rescorer_sidecar.grpc_room import UNREAD_BYTES, Room
from rescorer_sidecar.grpc_trail import Trail
from rescorer_sidecar.security import OPEN, Security
from rescorer_sidecar.service import Service

SERVICE_NAME = wire.DESCRIPTOR.services_by_name["Rescorer"].full_name
HEALTH_NAMES = ("", SERVICE_NAME)
DETAILS_KEY = "grpc-status-details-bin"
TOO_MANY = "TOO_MANY"
"""Reason of the ErrorInfo that says how many a request may hold."""

LEAST_PING_MS = 5000
"""Clients may ask so often whether the connection is alive; gRPC's own five minutes would cut off those that do."""

Answer = TypeVar("Answer")

CODES: tuple[tuple[type[errors.SidecarError], grpc.StatusCode], ...] = (
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.UnknownModel, grpc.StatusCode.NOT_FOUND),
    (errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.CannotSwap, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.NotLetIn, grpc.StatusCode.UNAUTHENTICATED),
    (errors.WrongDoor, grpc.StatusCode.PERMISSION_DENIED),
    (errors.NotReady, grpc.StatusCode.UNAVAILABLE),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.BackendFailed, grpc.StatusCode.INTERNAL),
)
KINDS = {"cross-encoder": wire.MODEL_KIND_CROSS_ENCODER, "embedder": wire.MODEL_KIND_EMBEDDER}


class Door(rescorer_pb2_grpc.RescorerServicer):
    """``rescorer.v1.Rescorer`` over one :class:`Service`."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self._service = service
        self._clock = clock

    def around(self, security: Security) -> tuple[grpc.aio.ServerInterceptor, ...]:
        """What stands around every call, outermost first."""
        metrics = self._service.metrics
        return (
            Room(self._service.settings.requests_mb * 1_000_000, refuse, metrics.refused_at_door),
            Trail(metrics, self._clock, self._service.tracing),
            Guard(security, "score", refuse, metrics.refused_at_door),
            Reading(),
            Quota(security, self._clock, refuse, metrics.refused_at_door),
        )

    async def Score(  # noqa: N802  # named by the proto file
        self, request: wire.ScoreRequest, context: grpc.aio.ServicerContext
    ) -> wire.ScoreResponse:
        """Score every candidate of the request."""
        asked = _asked(request, self._deadline_s(context), caller_of(context))
        answer = await _answered(context, self._service.score, asked)
        return _scores(answer, request.options.activation)

    async def ScoreMany(  # noqa: N802  # named by the proto file
        self, request: wire.ScoreManyRequest, context: grpc.aio.ServicerContext
    ) -> wire.ScoreManyResponse:
        """Score each request on its own terms; one that fails holds its error in the answer."""
        deadline_s, caller = self._deadline_s(context), caller_of(context)
        asked = [_asked(entry, deadline_s, caller) for entry in request.requests]
        outcomes = await _answered(context, self._service.score_many, asked)
        return wire.ScoreManyResponse(
            answers=[
                _outcome(outcome, entry.options.activation)
                for outcome, entry in zip(outcomes, request.requests, strict=True)
            ]
        )

    async def Embed(  # noqa: N802  # named by the proto file
        self, request: wire.EmbedRequest, context: grpc.aio.ServicerContext
    ) -> wire.EmbedResponse:
        """Turn every text of the request into a unit vector."""
        asked = domain.EmbedRequest(
            texts=tuple(request.texts),
            model=request.model,
            kind="query" if request.kind == wire.EMBED_KIND_QUERY else "document",
            deadline_s=self._deadline_s(context),
            caller=caller_of(context),
        )
        answer = await _answered(context, self._service.embed, asked)
        return wire.EmbedResponse(
            embeddings=[
                wire.Embedding(values=entry.values, token_count=entry.token_count, truncated=entry.truncated)
                for entry in answer.embeddings
            ],
            model=_ref(answer.model),
            timings=_timings(answer.timings),
        )

    async def ListModels(  # noqa: N802  # named by the proto file
        self,
        request: wire.ListModelsRequest,  # noqa: ARG002  # it is empty
        context: grpc.aio.ServicerContext,  # noqa: ARG002  # nothing here waits
    ) -> wire.ListModelsResponse:
        """Name what is served."""
        cards = self._service.models()
        first = {card.kind: card.name for card in reversed(cards)}
        return wire.ListModelsResponse(models=[_info(card, first[card.kind] == card.name) for card in cards])

    def _deadline_s(self, context: grpc.aio.ServicerContext) -> float | None:
        left_s = context.time_remaining()
        return None if left_s is None else self._clock.now_s() + left_s


def text_of(candidate: wire.Candidate) -> domain.Text:
    """What the model reads of a candidate: its text, or its fields; one field that says no more is a text."""
    if candidate.WhichOneof("content") != "fields":
        return str(candidate.text)
    found = tuple(
        domain.Field(label=field.label, text=field.text, max_tokens=field.max_tokens)
        for field in candidate.fields.fields
    )
    is_plain = len(found) == 1 and found[0] == domain.Field(text=found[0].text)
    return found[0].text if is_plain else found or ""


def build(
    door: Door, settings: Settings, security: Security = OPEN
) -> tuple[grpc.aio.Server, health_aio.HealthServicer, int]:
    """A server with health, and reflection if it is set, bound but not started, and the port it got.

    ConfigError where the address can't be had.
    """
    most_bytes = settings.max_message_mb * 1024 * 1024
    server = grpc.aio.server(
        interceptors=door.around(security),
        options=[
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_send_message_length", most_bytes),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", UNREAD_BYTES),
            ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    health = health_aio.HealthServicer()
    rescorer_pb2_grpc.add_RescorerServicer_to_server(door, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if settings.reflection:
        reflection.enable_server_reflection(
            (SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME), server
        )
    return server, health, bound(server, settings.host, settings.port, security)


def bound(server: grpc.aio.Server, host: str, port: int, security: Security) -> int:
    """The port that the server got. Tried with a plain socket first: gRPC writes a stack of its own where it can't."""
    host = host.strip("[]")
    is_v6 = ":" in host
    address = f"[{host}]:{port}" if is_v6 else f"{host}:{port}"
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if is_v6 else socket.AF_INET).close()
        if security.certificates is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, security.certificates.grpc()))
    except (OSError, RuntimeError) as error:
        what = error.strerror if isinstance(error, OSError) else "the port was just taken"
        raise errors.ConfigError(
            f"can't listen on {address}: {what}; choose another with --host or --port (0 takes a free one)"
        ) from error


async def tell_health(
    health: health_aio.HealthServicer, *, serving: bool, alive: Mapping[str, bool] | None = None
) -> None:
    """Answer health checks of the server and the service alike, and of a model under ``rescorer.v1.Rescorer/NAME``."""
    said = dict.fromkeys(HEALTH_NAMES, serving)
    said |= {f"{SERVICE_NAME}/{model}": serving and is_alive for model, is_alive in (alive or {}).items()}
    for name, is_serving in said.items():
        status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await health.set(name, status)


async def _answered(
    context: grpc.aio.ServicerContext, ask: Callable[[Any], Awaitable[Answer]], asked: object
) -> Answer:
    try:
        return await ask(asked)
    except errors.SidecarError as error:
        await refuse(context, error)


async def refuse(context: grpc.aio.ServicerContext, error: errors.SidecarError) -> NoReturn:
    """End the call with the error's code, message and details."""
    status = _status(error)
    trailers = (*context.trailing_metadata(), (DETAILS_KEY, status.SerializeToString()))
    await context.abort(_code(error), status.message, trailing_metadata=trailers)
    raise AssertionError("abort raises")  # pragma: no cover  # for the type checker


def _code(error: errors.SidecarError) -> grpc.StatusCode:
    return next((code for kind, code in CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def _status(error: errors.SidecarError) -> status_pb2.Status:
    return status_pb2.Status(code=_code(error).value[0], message=str(error), details=_details(error))


def _details(error: errors.SidecarError) -> list[any_pb2.Any]:
    packed = []
    for detail in _details_of(error):
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return packed


def _details_of(error: errors.SidecarError) -> Iterator[Any]:
    if isinstance(error, errors.InvalidRequest):
        violation = error_details_pb2.BadRequest.FieldViolation
        yield error_details_pb2.BadRequest(
            field_violations=[violation(field=field, description=wrong) for field, wrong in error.violations]
        )
    if isinstance(error, errors.TooMany):
        yield error_details_pb2.ErrorInfo(reason=TOO_MANY, domain="rescorer", metadata={"most": str(error.most)})
    elif isinstance(error, errors.UnknownModel):
        served = ", ".join(error.known)
        yield error_details_pb2.ResourceInfo(
            resource_type="model", resource_name=error.name, description=f"served: {served}"
        )
    elif isinstance(error, errors.Overloaded):
        whole = int(error.retry_after_s)
        delay = duration_pb2.Duration(seconds=whole, nanos=int(1e9 * (error.retry_after_s - whole)))
        yield error_details_pb2.RetryInfo(retry_delay=delay)


def _asked(request: wire.ScoreRequest, deadline_s: float | None, caller: str) -> domain.ScoreRequest:
    return domain.ScoreRequest(
        query=request.query,
        candidates=tuple(domain.Candidate(id=entry.id, text=text_of(entry)) for entry in request.candidates),
        model=request.model,
        max_tokens=request.options.max_tokens,
        long_texts=_long_texts(request.options.long_texts),
        deadline_s=deadline_s,
        cascade=tuple(domain.Stage(model=entry.model, keep=entry.keep) for entry in request.cascade),
        models=tuple(request.models),
        caller=caller,
    )


def _long_texts(how: wire.LongTexts) -> LongTexts | None:
    """How long texts are cut into chunks; ``None`` where they are not."""
    if how.mode != wire.LONG_TEXT_MODE_CHUNKS:
        return None
    return LongTexts(
        chunk_tokens=how.chunk_tokens,
        overlap_tokens=how.overlap_tokens if how.HasField("overlap_tokens") else None,
        most_chunks=how.most_chunks or LongTexts().most_chunks,
        top=how.top or 1,
    )


def _outcome(outcome: domain.ScoreAnswer | errors.SidecarError, activation: int) -> wire.ScoreAnswer:
    if isinstance(outcome, errors.SidecarError):
        return wire.ScoreAnswer(error=_status(outcome))
    return wire.ScoreAnswer(scores=_scores(outcome, activation))


def _scores(answer: domain.ScoreAnswer, activation: int) -> wire.ScoreResponse:
    sigmoid = activation == wire.ACTIVATION_SIGMOID
    return wire.ScoreResponse(
        results=[_scored(entry, sigmoid) for entry in answer.results],
        model=_ref(answer.model),
        status=wire.SCORE_STATUS_COMPLETE if answer.is_complete else wire.SCORE_STATUS_PARTIAL,
        timings=_timings(answer.timings),
        stages=[
            wire.StageResult(model=_ref(entry.model), candidates=entry.candidates, scored=entry.scored, ms=entry.ms)
            for entry in answer.stages
        ],
        choice=None if answer.choice is None else _choice(answer.choice),
    )


def _choice(choice: Choice) -> wire.Choice:
    return wire.Choice(model=choice.model, window=choice.window, reason=choice.reason)


def _scored(entry: domain.ScoredCandidate, sigmoid: bool) -> wire.ScoredCandidate:
    logit = entry.pair.logit
    return wire.ScoredCandidate(
        id=entry.id,
        index=entry.index,
        logit=logit,
        score=_sigmoid(logit) if sigmoid else logit,
        token_count=entry.pair.token_count,
        truncated=entry.pair.truncated,
        cached=entry.cached,
        chunk_count=entry.chunk_count,
        best_chunk=entry.best_chunk,
        stage=entry.stage,
    )


def _sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)) in float64, written so that neither sign overflows."""
    small = math.exp(-abs(logit))
    return 1.0 / (1.0 + small) if logit >= 0 else small / (1.0 + small)


def _ref(card: domain.ModelCard) -> wire.ModelRef:
    return wire.ModelRef(name=card.name, digest=card.digest)


def _info(card: domain.ModelCard, is_default: bool) -> wire.ModelInfo:
    return wire.ModelInfo(
        model=_ref(card),
        kind=KINDS[card.kind],
        is_default=is_default,
        max_tokens=card.max_tokens,
        dimension=card.dimension,
        backend=card.backend,
        device=card.device,
        precision=card.precision,
    )


def _timings(timings: domain.Timings) -> wire.Timings:
    return wire.Timings(
        tokenise_ms=timings.tokenise_ms,
        queue_ms=timings.queue_ms,
        forward_ms=timings.forward_ms,
        total_ms=timings.total_ms,
    )
