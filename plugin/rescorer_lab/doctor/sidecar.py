"""The sidecar: whether it answers, whether it is ready, and which models it serves with which limits."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import grpc

from rescorer.credentials import VARIABLES, Credentials, from_environment
from rescorer.errors import InvalidCredentials, InvalidSetting
from rescorer.scorers import channels, secure
from rescorer.scorers.channels import Target
from rescorer_lab import handshake
from rescorer_lab.doctor.findings import Finding, ok, unknown, wrong
from rescorer_proto.v1 import rescorer_pb2, rescorer_pb2_grpc

START = "start it: rescorer-sidecar --model cross-encoder/ms-marco-MiniLM-L-12-v2, or name it with --sidecar"
SERVING = b"\x08\x01"
"""``HealthCheckResponse{status: SERVING}`` of grpc.health.v1, whose package the client does not need otherwise."""

TOKEN = VARIABLES["token"]

_CROSS_ENCODER = rescorer_pb2.MODEL_KIND_CROSS_ENCODER
_EMBEDDER = rescorer_pb2.MODEL_KIND_EMBEDDER


@dataclass(frozen=True, slots=True)
class Served:
    """What a sidecar that is ready serves."""

    models: Sequence[rescorer_pb2.ModelInfo]

    def cross_encoder(self, name: str) -> rescorer_pb2.ModelInfo | None:
        """The one of this name, or the default where it is empty."""
        return self._found(_CROSS_ENCODER, name)

    def embedder(self, name: str) -> rescorer_pb2.ModelInfo | None:
        """The one of this name, or the default where it is empty."""
        return self._found(_EMBEDDER, name)

    def names(self) -> str:
        """All of them, for a message."""
        return ", ".join(info.model.name for info in self.models) or "none"

    def _found(self, kind: int, name: str) -> rescorer_pb2.ModelInfo | None:
        of_kind = [info for info in self.models if info.kind == kind]
        return next((info for info in of_kind if (info.model.name == name if name else info.is_default)), None)


def examined(address: str, patience_s: float) -> Generator[Finding, None, Served | None]:
    """One finding for the sidecar and one for each model; None where it can't be asked."""
    try:
        given = from_environment(os.environ) or Credentials()
        (target,) = secure.targets([address], given)
    except InvalidCredentials as error:
        yield wrong("sidecar", str(error), "set these variables as docs/client.md tells")
        return None
    except InvalidSetting as error:
        yield wrong(
            "sidecar", f"--sidecar {error.value!r} is no address", "write it as host:port, such as localhost:50051"
        )
        return None
    with channels.opened(target) as channel:
        failure = _failure(channel, target, patience_s)
        if failure is not None:
            trouble = handshake.trouble(target, given, patience_s) if failure.is_about_connecting else None
            yield failure.finding if trouble is None else wrong("sidecar", trouble.says, trouble.mend)
            yield unknown("models", "could not be asked for without the sidecar")
            return None
        try:
            stub = rescorer_pb2_grpc.RescorerStub(channel)
            asked = rescorer_pb2.ListModelsRequest()
            listed = stub.ListModels(asked, timeout=patience_s, metadata=target.headers)
        except grpc.RpcError as error:
            yield _not_listed(error, target)
            return None
    yield ok("sidecar", f"ready at {address}{_how(target)}")
    served = Served(list(listed.models))
    yield from (ok("model", _described(info)) for info in served.models)
    if served.cross_encoder("") is None:
        yield wrong("model", "no cross-encoder is served, so nothing can be scored", "start the sidecar with --model")
    return served


def _how(target: Target) -> str:
    parts = ["TLS"] * (target.credentials is not None) + ["a token"] * bool(target.headers)
    return f", with {' and '.join(parts)}" if parts else ""


def _not_listed(error: grpc.RpcError, target: Target) -> Finding:
    code, said = error.code(), " ".join((error.details() or "").split())
    if code not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return wrong("sidecar", f"what answers at {target.address} does not list models ({code.name})", START)
    if not target.headers:
        return wrong("sidecar", f"it answers at {target.address} and asks for a token", f"{TOKEN} sends one")
    return wrong("sidecar", f"it answers at {target.address} and refuses this token: {said}", f"set {TOKEN} to another")


@dataclass(frozen=True, slots=True)
class _Failure:
    finding: Finding
    is_about_connecting: bool = False


def _failure(channel: grpc.Channel, target: Target, patience_s: float) -> _Failure | None:
    """What the health check says against it; a server without one is asked for its models all the same."""
    check, address = channel.unary_unary("/grpc.health.v1.Health/Check"), target.address
    try:
        status = check(b"", timeout=patience_s)
    except grpc.RpcError as error:
        code = error.code()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return None
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return _Failure(wrong("sidecar", f"nobody answers at {address} within {patience_s:g} s", START))
        if code is grpc.StatusCode.UNAVAILABLE:
            return _Failure(wrong("sidecar", f"nobody answers at {address}", START), True)
        return _Failure(wrong("sidecar", f"what answers at {address} is no sidecar ({code.name})", START))
    if status == SERVING:
        return None
    mend = "wait until its models are loaded; its log says how far"
    return _Failure(wrong("sidecar", f"it answers at {address} and is not ready", mend))


def _described(info: rescorer_pb2.ModelInfo) -> str:
    kind = "embedder" if info.kind == _EMBEDDER else "cross-encoder"
    facts = [
        f"{kind}{', default' if info.is_default else ''}",
        f"{info.backend} {info.precision} on {info.device}",
        f"up to {info.max_tokens} tokens",
        *([f"{info.dimension} values"] if info.dimension else []),
        f"digest {info.model.digest[:12]}",
    ]
    return f"{info.model.name}: {', '.join(facts)}"
