"""The admin door: ``rescorer.admin.v1.Admin`` over one :class:`Swapper`; bytes ↔ values, and nothing else.

## Decisions
2026-11: a server of its own on a port of its own, and not one more service behind the data door. A firewall, a
Kubernetes Service and a network policy tell ports apart, and none of them tells gRPC methods apart.
2026-11: no reflection. Who may use it has its proto file or ``rescorer sidecar``.
"""

from __future__ import annotations

import math

import grpc

from rescorer_proto.admin.v1 import admin_pb2 as wire
from rescorer_proto.admin.v1 import admin_pb2_grpc
from rescorer_sidecar import grpc_server
from rescorer_sidecar.comparison import Bounds, Comparison
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import ModelCard
from rescorer_sidecar.errors import InvalidRequest, SidecarError
from rescorer_sidecar.grpc_guard import Count, Guard
from rescorer_sidecar.grpc_reading import Reading
from rescorer_sidecar.registry import Registry, Served
from rescorer_sidecar.security import OPEN, Security, check_admin
from rescorer_sidecar.swap import Golden, Order, Step, Swap
from rescorer_sidecar.swapping import Swapper

STEPS = {
    Step.LOADING: wire.STEP_LOADING,
    Step.CHECKING: wire.STEP_CHECKING,
    Step.SHADOWING: wire.STEP_SHADOWING,
    Step.SWITCHED: wire.STEP_SWITCHED,
    Step.REFUSED: wire.STEP_REFUSED,
}
MOST_SHADOW_REQUESTS = 10_000
MOST_WITHIN_S = 86_400.0


class AdminDoor(admin_pb2_grpc.AdminServicer):
    """What an operator may do with the models that serve; ``count`` is told of calls that are refused."""

    def __init__(self, swapper: Swapper, registry: Registry, count: Count = lambda _door, _reason: None) -> None:
        self.count = count
        self._swapper = swapper
        self._registry = registry

    async def Status(  # noqa: N802  # named by the proto file
        self,
        request: wire.StatusRequest,  # noqa: ARG002  # it is empty
        context: grpc.aio.ServicerContext,  # noqa: ARG002  # nothing here waits
    ) -> wire.StatusResponse:
        """Tell which versions serve and which are kept."""
        versions = self._registry.served
        first = {served.model.card.kind: served for served in reversed(versions)}
        swap, counts = self._swapper.current, self._swapper.counts
        return wire.StatusResponse(
            models=[self._status(served, first[served.model.card.kind] is served) for served in versions],
            swap=None if swap is None else _progress(swap),
            switched=counts.switched,
            refused=counts.refused,
            rolled_back=counts.rolled_back,
        )

    async def Swap(  # noqa: N802  # named by the proto file
        self, request: wire.SwapRequest, context: grpc.aio.ServicerContext
    ) -> None:
        """Put another version in a model's place; each step is a message."""

        async def tell(state: Swap) -> None:
            await context.write(_progress(state))

        try:
            await self._swapper.swap(_order(request), tell)
        except SidecarError as error:
            await grpc_server.refuse(context, error)

    async def Rollback(  # noqa: N802  # named by the proto file
        self, request: wire.RollbackRequest, context: grpc.aio.ServicerContext
    ) -> wire.RollbackResponse:
        """Put the version before the last swap in its place again."""
        try:
            was, serving = self._swapper.roll_back(request.model)
        except SidecarError as error:
            await grpc_server.refuse(context, error)
        return wire.RollbackResponse(model=serving.name, was=_version(was), serving=_version(serving))

    async def Release(  # noqa: N802  # named by the proto file
        self, request: wire.ReleaseRequest, context: grpc.aio.ServicerContext
    ) -> wire.ReleaseResponse:
        """Let go of the version that is kept for a roll-back."""
        try:
            released = self._swapper.release(request.model)
        except SidecarError as error:
            await grpc_server.refuse(context, error)
        return wire.ReleaseResponse(model=released.name, released=_version(released))

    def _status(self, served: Served, is_default: bool) -> wire.ModelStatus:
        card = served.model.card
        kept = self._swapper.kept(card.name)
        return wire.ModelStatus(
            name=card.name,
            kind=card.kind,
            is_default=is_default,
            serving=_version(card, served.model.memory_bytes),
            kept=None if kept is None else _version(kept[0].card, kept[0].memory_bytes),
            kept_for_s=0.0 if kept is None else kept[1],
            waiting=served.waiting,
        )


def build(door: AdminDoor, settings: Settings, security: Security = OPEN) -> tuple[grpc.aio.Server, int]:
    """A server bound to ``admin_host`` and ``admin_port`` (0 takes a free one) but not started, and the port it got.

    ConfigError where the address can't be had, or where everybody could reach it and nobody is asked who he is.
    """
    check_admin(settings, security)
    guard = Guard(security, "admin", grpc_server.refuse, door.count)
    server = grpc.aio.server(interceptors=[guard, Reading()], options=[("grpc.so_reuseport", 0)])
    admin_pb2_grpc.add_AdminServicer_to_server(door, server)
    return server, grpc_server.bound(server, settings.admin_host, settings.admin_port, security)


def _order(request: wire.SwapRequest) -> Order:
    usual = Order(source=request.source)
    shadow = request.shadow_requests if request.HasField("shadow_requests") else usual.shadow_requests
    share = request.shadow_share if request.HasField("shadow_share") else usual.shadow_share
    checks = (
        ("source", bool(request.source.strip()), "is empty; name a folder, a fetched model or a hub name"),
        ("shadow_requests", shadow <= MOST_SHADOW_REQUESTS, f"is {shadow} and may be {MOST_SHADOW_REQUESTS}"),
        ("shadow_share", 0 < share <= 1, f"is {share:g} and must be above 0 and at most 1"),
        ("within_s", 0 <= request.within_s <= MOST_WITHIN_S, f"must be 0 to {MOST_WITHIN_S:g} seconds"),
    )
    wrong = [(field, what) for field, is_right, what in checks if not is_right]
    if wrong:
        raise InvalidRequest(*wrong)
    return Order(
        source=request.source,
        model=request.model,
        shadow_requests=shadow,
        shadow_share=share,
        within_s=request.within_s or usual.within_s,
        bounds=_bounds(request.bounds),
        is_forced=request.force,
    )


def _bounds(given: wire.Bounds) -> Bounds:
    named = {field.name: value for field, value in given.ListFields()}
    wrong = [(f"bounds.{name}", "is no number") for name, value in named.items() if math.isnan(value)]
    if wrong:
        raise InvalidRequest(*wrong)
    return Bounds(**named)


def _progress(swap: Swap) -> wire.SwapProgress:
    return wire.SwapProgress(
        model=swap.old.name,
        step=STEPS[swap.step],
        source=swap.order.source,
        old=_version(swap.old),
        new=None if swap.new is None else _version(swap.new),
        golden=None if swap.golden is None else _golden(swap.golden),
        compared=swap.compared,
        shadow_requests=swap.order.shadow_requests,
        comparison=None if swap.comparison is None else _comparison(swap.comparison),
        objections=swap.objections,
        reason=swap.reason,
    )


def _golden(golden: Golden) -> wire.Golden:
    return wire.Golden(queries=golden.queries, old=golden.old, new=golden.new)


def _comparison(found: Comparison) -> wire.Comparison:
    return wire.Comparison(
        requests=found.requests,
        pairs=found.pairs,
        rank_correlation=found.rank_correlation,
        distance=found.distance,
        shift=found.shift,
        old_quantiles=found.old_quantiles,
        new_quantiles=found.new_quantiles,
    )


def _version(card: ModelCard, memory_bytes: int = 0) -> wire.Version:
    return wire.Version(
        source=card.source,
        digest=card.digest,
        backend=card.backend,
        device=card.device,
        precision=card.precision,
        max_tokens=card.max_tokens,
        memory_bytes=memory_bytes,
    )
