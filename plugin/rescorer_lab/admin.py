"""An operator's side of a sidecar's admin door: look, swap, roll back, release."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import grpc

from rescorer.credentials import Credentials, from_environment
from rescorer.errors import InvalidSetting
from rescorer.scorers import channels, secure
from rescorer.scorers.channels import Target
from rescorer_lab import handshake
from rescorer_lab.errors import LabError
from rescorer_proto.admin.v1 import admin_pb2 as wire
from rescorer_proto.admin.v1 import admin_pb2_grpc

ANSWERS_WITHIN_S = 10.0
"""How long a sidecar may take for what it does at once."""


class AdminError(LabError):
    """The admin door is shut, or refuses."""


class NobodyThere(AdminError):
    """No connection came about."""


class Admin:
    """The models behind one admin door, ``host:port``. Each method raises AdminError, which says what mends it."""

    def __init__(self, target: Target, channel: grpc.Channel) -> None:
        self._address = target.address
        self._given: dict[str, Any] = {"timeout": ANSWERS_WITHIN_S, "metadata": target.headers}
        self._calls = admin_pb2_grpc.AdminStub(channel)

    def status(self) -> wire.StatusResponse:
        """Which versions serve, which are kept, and the swap that is under way."""
        with self._border():
            status: wire.StatusResponse = self._calls.Status(wire.StatusRequest(), **self._given)
        return status

    def swap(self, order: wire.SwapRequest) -> Iterator[wire.SwapProgress]:
        """Each step of a swap; the last one is SWITCHED or REFUSED. Closed before, it ends the swap."""
        with self._border():
            call = self._calls.Swap(order, metadata=self._given["metadata"])
            try:
                yield from call
            finally:
                call.cancel()

    def roll_back(self, model: str) -> wire.RollbackResponse:
        """Bring the version before the last swap back."""
        with self._border():
            request = wire.RollbackRequest(model=model)
            answer: wire.RollbackResponse = self._calls.Rollback(request, **self._given)
        return answer

    def release(self, model: str) -> wire.ReleaseResponse:
        """Let go of the version that is kept for a roll-back."""
        with self._border():
            request = wire.ReleaseRequest(model=model)
            answer: wire.ReleaseResponse = self._calls.Release(request, **self._given)
        return answer

    @contextlib.contextmanager
    def _border(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise _ours(error, self._address) from error


@contextlib.contextmanager
def connected(address: str) -> Iterator[Admin]:
    """The admin door at ``host:port``, with the credentials of the environment; AdminError where these don't fit."""
    try:
        given = from_environment(os.environ) or Credentials()
        (target,) = secure.targets([address], given)
    except InvalidSetting as error:
        raise AdminError(str(error)) from error
    with channels.opened(target) as channel:
        try:
            yield Admin(target, channel)
        except AdminError as error:
            found = handshake.trouble(target, given, ANSWERS_WITHIN_S) if isinstance(error, NobodyThere) else None
            if found is None:
                raise
            raise AdminError(found.says, found.mend) from error


def _ours(error: grpc.RpcError, address: str) -> AdminError:
    code, said = error.code(), error.details() or ""
    if code == grpc.StatusCode.UNAVAILABLE and "warm" not in said:
        mend = "start the sidecar with --admin-port, and name that port with --admin"
        return NobodyThere(f"no admin door answers at {address}", mend)
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return AdminError(f"{address} is no admin door", "name the port of --admin-port, not the one that scores")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return AdminError(f"{address} has not answered within {ANSWERS_WITHIN_S:g} s", "see whether the process hangs")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        mend = "set RESCORER_TOKEN to one of rescorer sidecar token NAME --door admin"
        return AdminError(f"the admin door at {address} lets nobody in unasked: {said}", mend)
    return AdminError(said or f"{address}: {code.name}")
