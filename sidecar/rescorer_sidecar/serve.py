"""One sidecar process from start to stop: door open, models loaded and warm, serving, drained."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import grpc
from prometheus_client import disable_created_metrics

from rescorer_sidecar import admin_server, config, grpc_server, models, security, tracing
from rescorer_sidecar.background import in_daemon
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.http_server import HttpDoor
from rescorer_sidecar.reviving import Reviver
from rescorer_sidecar.service import Service
from rescorer_sidecar.swapping import Swapper

Say = Callable[[str], None]
Loaded = list[models.Model]


async def serve(settings: config.Settings, say: Say) -> None:
    """Serve until SIGTERM or SIGINT, then let running calls finish within ``drain_s``.

    Health says NOT_SERVING until the models are warm and again while draining. ConfigError where a model or the
    address can't be had.
    """
    secured = security.opened(settings, say)
    clock = MonotonicClock()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series beside each counter that nobody asks for
    traces = tracing.to_collector(settings.traces) if settings.traces else None
    service = Service(settings, clock, traces)
    server, health, port = grpc_server.build(grpc_server.Door(service, clock), settings, secured)
    http = HttpDoor(service, settings, secured) if settings.http_port else None
    say(f"settings: {config.shown(settings)}")
    swapper = Swapper(service.registry, settings, clock)
    operated = admin_server.AdminDoor(swapper, service.registry, service.metrics.refused_at_door)
    admin = await _admin(operated, settings, secured, say)

    async def tell_health() -> None:
        await grpc_server.tell_health(health, serving=service.is_ready, alive=service.registry.alive)

    reviver = Reviver(service.registry, settings, clock, tell_health)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await tell_health()
    await server.start()
    if http is not None:
        await http.start()
        say(f"metrics and health are on {http.scheme}://{settings.host}:{http.port}")
    try:
        if await _open(service, settings, stop, say):
            if service.shared_cache is not None:
                answers = "answers" if await service.shared_cache.greeted() else "does not answer, and is tried again"
                say(f"shared cache {service.shared_cache.shown} {answers}")
            await tell_health()
            say(f"rescorer-sidecar is serving on {settings.host}:{port}")
            await stop.wait()
        service.drain()
        await tell_health()
    finally:
        if admin is not None:
            await admin.stop(None)
        reviver.close()
        swapper.close()
        await server.stop(settings.drain_s)
        await service.leave_shared_cache()
        if http is not None:
            await http.stop(settings.drain_s)
        service.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)
    say("rescorer-sidecar has stopped")


async def _admin(
    door: admin_server.AdminDoor, settings: config.Settings, secured: security.Security, say: Say
) -> grpc.aio.Server | None:
    """The admin door, open from the start, if it is to be open at all."""
    if not settings.admin_port:
        return None
    server, port = admin_server.build(door, settings, secured)
    await server.start()
    say(f"the admin door is on {settings.admin_host}:{port}")
    return server


async def _open(service: Service, settings: config.Settings, stop: asyncio.Event, say: Say) -> bool:
    """Load the models in a thread while the door answers health checks; false if told to stop meanwhile."""
    loading = in_daemon(lambda: _load(settings, say))
    stopping = asyncio.create_task(stop.wait())
    either: set[asyncio.Future[Any]] = {loading, stopping}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        return False
    service.open(await loading)
    return True


def _load(settings: config.Settings, say: Say) -> Loaded:
    begun_s = time.monotonic()

    def tell(model: models.Model) -> None:
        nonlocal begun_s
        card, now_s = model.card, time.monotonic()
        how = ", padded, through transformers" if card.backend == "torch" else ""
        say(
            f"model {card.name}: {card.kind}, {card.backend} {card.precision} on {card.device}{how}, "
            f"{card.max_tokens} tokens, digest {card.digest[:12]}, {now_s - begun_s:.1f} s"
        )
        begun_s = now_s

    return models.load_all(settings, tell)
