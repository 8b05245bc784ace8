"""The admin door: what it tells, what it takes, how it refuses, and whom it lets in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from rescorer_proto.admin.v1 import admin_pb2 as wire
from rescorer_proto.admin.v1 import admin_pb2_grpc
from rescorer_sidecar import admin_server
from rescorer_sidecar.admin_server import AdminDoor
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.security import is_loopback as is_this_machine
from rescorer_sidecar.testing import FakeClock, until
from unit.sidecar.door import refusal
from unit.sidecar.swaps import Shop, Version


@dataclass
class Admin:
    """A running admin door, the shop behind it, and an operator's stub."""

    shop: Shop
    channel: grpc.aio.Channel
    calls: admin_pb2_grpc.AdminStub

    async def swap(self, source: str = "v2", **more: Any) -> list[wire.SwapProgress]:
        """All that a swap tells."""
        request = wire.SwapRequest(source=source, **more)
        return [progress async for progress in self.calls.Swap(request, timeout=60)]


@pytest.fixture
async def admin(tokeniser_folder: Path, clock: FakeClock) -> AsyncIterator[Admin]:
    """One over a model ``shop`` at ``v1``, with ``v2``, which scores alike, and ``flat``, which scores all the same."""
    settings = Settings(model="v1", workers=1, admin_port=0)
    versions = {"v1": Version(), "v2": Version(), "flat": Version(factor=0.0)}
    shop = Shop(tokeniser_folder, clock, settings, versions, needed_bytes=5_000_000)
    server, port = admin_server.build(AdminDoor(shop.swapper, shop.service.registry), settings)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Admin(shop, channel, admin_pb2_grpc.AdminStub(channel))
    await server.stop(None)
    shop.close()


async def test_status_tells_what_serves(admin: Admin) -> None:
    """Each model with its version, what it takes of memory, and that nothing is kept and no swap under way."""
    status = await admin.calls.Status(wire.StatusRequest(), timeout=20)
    (shop,) = status.models
    assert (shop.name, shop.kind, shop.is_default) == ("shop", "cross-encoder", True)
    assert (shop.serving.source, shop.serving.digest, shop.serving.memory_bytes) == ("v1", "digest of v1", 5_000_000)
    assert not shop.HasField("kept")
    assert not status.HasField("swap")


async def test_a_swap_tells_its_steps_and_the_version_before_is_kept(admin: Admin) -> None:
    """LOADING, CHECKING, SWITCHED; from then on the new version serves and the old one waits for a roll-back."""
    told = await admin.swap(shadow_requests=0)
    steps = list(dict.fromkeys(progress.step for progress in told))
    assert steps == [wire.STEP_LOADING, wire.STEP_CHECKING, wire.STEP_SWITCHED]
    assert (told[-1].model, told[-1].old.source, told[-1].new.source) == ("shop", "v1", "v2")
    assert told[-1].golden.queries == 4
    status = await admin.calls.Status(wire.StatusRequest(), timeout=20)
    assert (status.models[0].serving.source, status.models[0].kept.source) == ("v2", "v1")
    assert (status.models[0].kept_for_s, status.switched) == (3600.0, 1)


async def test_live_requests_are_counted_while_they_are_compared(admin: Admin) -> None:
    """A swap that compares tells how many requests it has by now, and in the end what they say."""
    swap = asyncio.create_task(admin.swap(shadow_requests=3, shadow_share=1.0))
    while not swap.done():
        await admin.shop.ask()
    told = await swap
    assert [progress.compared for progress in told if progress.step == wire.STEP_SHADOWING][:4] == [0, 1, 2, 3]
    assert (told[-1].step, told[-1].comparison.requests) == (wire.STEP_SWITCHED, 3)
    assert told[-1].comparison.rank_correlation == 1.0
    assert len(told[-1].comparison.new_quantiles) == 3


async def test_a_refused_swap_is_an_answer_with_its_reason(admin: Admin) -> None:
    """A version that the check speaks against ends as REFUSED, not as an error, and forced it is switched."""
    refused = (await admin.swap("flat", shadow_requests=0))[-1]
    assert refused.step == wire.STEP_REFUSED
    assert "golden queries rightly" in refused.reason
    forced = (await admin.swap("flat", shadow_requests=0, force=True))[-1]
    assert (forced.step, len(forced.objections)) == (wire.STEP_SWITCHED, 1)


async def test_the_bounds_of_the_comparison_can_be_set(admin: Admin) -> None:
    """A bound that nothing can keep refuses what the default lets pass, with the bound in the reason."""
    swap = asyncio.create_task(
        admin.swap(shadow_requests=2, shadow_share=1.0, bounds=wire.Bounds(rank_correlation=1.5))
    )
    while not swap.done():
        await admin.shop.ask()
    assert "rank correlation 1.00 is below 1.50" in (await swap)[-1].reason


async def test_a_roll_back_tells_both_versions(admin: Admin) -> None:
    """What went and what serves again."""
    await admin.swap(shadow_requests=0)
    answer = await admin.calls.Rollback(wire.RollbackRequest(), timeout=20)
    assert (answer.model, answer.was.source, answer.serving.source) == ("shop", "v2", "v1")


async def test_what_is_kept_can_be_released(admin: Admin) -> None:
    """Released, the old version is gone, and a roll-back is refused with what to do instead."""
    await admin.swap(shadow_requests=0)
    answer = await admin.calls.Release(wire.ReleaseRequest(model="shop"), timeout=20)
    assert answer.released.source == "v1"
    code, message, _ = await refusal(admin.calls.Rollback(wire.RollbackRequest(), timeout=20))
    assert (code, "to go back, swap to it" in message) == (grpc.StatusCode.FAILED_PRECONDITION, True)


async def test_an_unknown_model_names_the_known_ones(admin: Admin) -> None:
    """F10: a model that is not served is NOT_FOUND with those that are, for each method."""
    for call in (
        admin.swap(model="shoes"),
        admin.calls.Rollback(wire.RollbackRequest(model="shoes"), timeout=20),
        admin.calls.Release(wire.ReleaseRequest(model="shoes"), timeout=20),
    ):
        code, message, _ = await refusal(call)
        assert (code, "served: shop" in message) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"source": " "}, "source"),
        ({"shadow_requests": 10_001}, "shadow_requests"),
        ({"shadow_share": 1.5}, "shadow_share"),
        ({"shadow_share": float("nan")}, "shadow_share"),
        ({"within_s": -1.0}, "within_s"),
        ({"within_s": float("inf")}, "within_s"),
        ({"bounds": wire.Bounds(shift=float("nan"))}, "bounds.shift"),
    ],
)
async def test_a_wrong_order_names_the_field(admin: Admin, wrong: dict[str, Any], field: str) -> None:
    """A number out of range, or none at all, is INVALID_ARGUMENT with the field's path, and nothing is begun."""
    code, _, details = await refusal(admin.swap(**wrong))
    assert (code, details[0].field_violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert admin.shop.swapper.counts.refused == 0


@pytest.mark.parametrize("method", ["Status", "Swap", "Rollback", "Release"])
async def test_bytes_that_are_no_message_are_a_wrong_order(admin: Admin, method: str) -> None:
    """INVALID_ARGUMENT with the method's name, whether one answer or several would have come; nothing changes."""
    kind = admin.channel.unary_stream if method == "Swap" else admin.channel.unary_unary
    call = kind(f"/rescorer.admin.v1.Admin/{method}")(b"\xff\xff", timeout=20)
    code, message, _ = await refusal(anext(aiter(call)) if method == "Swap" else call)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert f"no request of {method}" in message
    assert admin.shop.serving == "v1"


async def test_an_operator_who_hangs_up_ends_the_swap(admin: Admin) -> None:
    """The call is cancelled while live requests are waited for: the new version is let go of, the old one serves."""
    call = admin.calls.Swap(wire.SwapRequest(source="v2"), timeout=60)
    await until(lambda: admin.shop.swapper.current is not None and admin.shop.swapper.current.step == "shadowing")
    call.cancel()
    await until(admin.shop.versions["v2"].is_closed.is_set)
    assert (admin.shop.serving, admin.shop.swapper.current) == ("v1", None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "rescorer.internal"])  # noqa: S104  # refused below
async def test_the_admin_door_stays_on_loopback_where_nobody_is_asked_who_he_is(admin: Admin, host: str) -> None:
    """An address that others can reach is refused at start, and the message says what to do."""
    door = AdminDoor(admin.shop.swapper, admin.shop.service.registry)
    with pytest.raises(ConfigError, match=r"listen on 127\.0\.0\.1 and reach it through a tunnel"):
        admin_server.build(door, Settings(model="v1", admin_host=host))


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True), ("db1", False)],
)
def test_only_this_machine_counts_as_loopback(host: str, is_loopback: bool) -> None:
    """Loopback addresses and localhost are this machine's; any other name may be anywhere."""
    assert is_this_machine(host) == is_loopback
