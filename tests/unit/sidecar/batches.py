"""Rows for a batcher, and a way to keep its worker busy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.batcher import Batcher, Job
from rescorer_sidecar.domain import Tokens

MakeBatcher = Callable[..., Batcher]


def row(*ids: int) -> Tokens:
    """A tokenised pair."""
    return Tokens(ids=ids, type_ids=(0,) * len(ids))


async def held(batcher: Batcher, backend: FakeBackend) -> Job:
    """A job that occupies the only worker until the door opens."""
    backend.door.clear()
    backend.entered.clear()
    job = batcher.submit([row(1)], None)
    assert await asyncio.to_thread(backend.entered.wait, 20)
    return job
