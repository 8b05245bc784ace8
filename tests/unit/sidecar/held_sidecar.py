"""A sidecar in a process of its own whose model answers nothing: what comes in stays. Prints its port.

Arguments: a folder for the tokenizer, and settings as name=number.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rescorer_sidecar import grpc_server
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model, write_tokeniser


async def serve(folder: Path, settings: Settings) -> None:
    """Until standard input ends."""
    clock, backend = MonotonicClock(), FakeBackend()
    backend.door.clear()
    service = Service(settings, clock)
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    service.open([fake_model(write_tokeniser(folder), backend=backend, max_tokens=512)])
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    backend.door.set()
    await server.stop(None)
    service.close()


if __name__ == "__main__":
    numbers = {name: int(value) for name, _, value in (given.partition("=") for given in sys.argv[2:])}
    asyncio.run(serve(Path(sys.argv[1]), Settings(model="fake", port=0, workers=1, cache_mb=0, **numbers)))
