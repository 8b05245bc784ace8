"""How a call failed: gRPC's codes and ``google.rpc`` details, as errors of this package.

Details that nobody can read are left out; the code alone is enough for an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from rescorer.errors import ScorerError, ScorerOverloaded, ScorerRefused, ScorerTimeout, ScorerUnavailable

REQUEST_ID_KEY = "x-request-id"
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


def takes_only_one(error: ScorerRefused) -> bool:
    """The sidecar knows no ScoreMany yet, or not of so much at once; each request alone it may well take."""
    cause = error.__cause__
    return isinstance(cause, grpc.RpcError) and cause.code() in _ONLY_ONE


def mapped(error: grpc.RpcError, address: str) -> ScorerError:
    """The error of this package for a call that failed; the message is one line and names the address.

    It names the request, too, as far as the sidecar's own answer and its log call it by an id.
    """
    request_id = dict(error.trailing_metadata() or ()).get(REQUEST_ID_KEY, "")
    said = error.details() or ""
    told = f"{said} [request {request_id[:64]}]" if request_id else said
    return error_of(error.code(), told, _status(error), address)


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


def of_status(status: status_pb2.Status, address: str) -> ScorerError:
    """The error for a status inside an answer."""
    return error_of(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status, address)


def error_of(code: grpc.StatusCode, message: str, status: status_pb2.Status, address: str) -> ScorerError:
    """The error for a code and what was said with it."""
    said = " ".join(message.split())
    if code is grpc.StatusCode.CANCELLED:
        return ScorerUnavailable(f"the sidecar at {address} broke off ({said}); did it stop just now?")
    if code is grpc.StatusCode.UNAVAILABLE and "handshake" in said.lower():
        mend = "do certificates and authorities fit? rescorer doctor says which does not"
        return ScorerUnavailable(f"no TLS connection to the sidecar at {address} came about ({said}); {mend}")
    if code is grpc.StatusCode.UNAVAILABLE:
        return ScorerUnavailable(f"nobody serves scores at {address} ({said}); is the sidecar running there?")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ScorerTimeout(f"the sidecar at {address} did not answer in time")
    details = _details(status)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        retry = [detail.retry_delay for detail in details if isinstance(detail, error_details_pb2.RetryInfo)]
        return ScorerOverloaded(f"the sidecar at {address} is overloaded: {said}", _seconds(retry))
    told = "; ".join([said, *(field for field in _violations(details) if field not in said)])
    if code in _REFUSED:
        return ScorerRefused(f"the sidecar at {address} refused ({code.name}): {told}", _most(details))
    return ScorerError(f"the sidecar at {address} failed ({code.name}): {told}")


def _violations(details: Sequence[object]) -> list[str]:
    """``field: description`` for each wrong field."""
    return [
        f"{violation.field}: {violation.description}"
        for detail in details
        if isinstance(detail, error_details_pb2.BadRequest)
        for violation in detail.field_violations
    ]


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
