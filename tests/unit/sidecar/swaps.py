"""A service whose one model can be swapped: versions by their source, with backends that tell when they are closed."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Candidate, Floats, Kind, ScoreAnswer, ScoreRequest, Tokens
from rescorer_sidecar.memory import Budget
from rescorer_sidecar.models import Model
from rescorer_sidecar.service import Service
from rescorer_sidecar.swap import Order, Swap
from rescorer_sidecar.swapping import Swapper
from rescorer_sidecar.testing import FakeClock, fake_model

Seen = Callable[[Swap], Awaitable[None]]
WORDS = ("cancel", "flight", "refund", "hotel", "late", "train")
TEXTS = tuple(f"{one} {other}" for one in WORDS for other in WORDS)


class Version(FakeBackend):
    """The fake backend with a logit of ``factor`` times the fake's; 0 gives the same to all, -1 turns orders round."""

    def __init__(self, factor: float = 1.0, moved: float = 0.0) -> None:
        super().__init__()
        self._factor, self._moved = factor, moved
        self.is_closed = threading.Event()

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        return np.asarray(self._factor * super().forward(batch) + self._moved, dtype=np.float32)

    def close(self) -> None:
        self.is_closed.set()


@dataclass
class Shop:
    """What serves ``v1``; ``versions`` holds the backend of each source, and ``told`` what a swap has told."""

    folder: Path
    clock: FakeClock
    settings: Settings
    versions: dict[str, Version]
    needed_bytes: int = 0
    told: list[Swap] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.service = Service(self.settings, self.clock)
        self.service.open([self.model("v1")])
        self.swapper = Swapper(self.service.registry, self.settings, self.clock, self.load)

    def model(self, source: str) -> Model:
        """The version of this source."""
        made = fake_model(self.folder, name="shop", digest=f"digest of {source}", backend=self.versions[source])
        return replace(made, card=replace(made.card, source=source), memory_bytes=self.needed_bytes)

    def load(self, source: str, kind: Kind, settings: Settings, budget: Budget) -> Model:
        """Stands for loading from files."""
        budget.take(self.needed_bytes, source)
        return self.model(source)

    async def swap(self, source: str = "v2", *, seen: Seen | None = None, **how: object) -> Swap:
        """Swap to this version; each step waits for ``seen``."""

        async def tell(state: Swap) -> None:
            self.told.append(state)
            if seen is not None:
                await seen(state)

        return await self.swapper.swap(Order(source=source, **how), tell)

    async def ask(self, count: int = 6) -> ScoreAnswer:
        """One live request that no other one equals."""
        self.asked += 1
        texts = [TEXTS[(self.asked + place) % len(TEXTS)] for place in range(count)]
        query = f"cat {self.asked}"
        candidates = tuple(Candidate(id=str(place), text=text) for place, text in enumerate(texts))
        return await self.service.score(ScoreRequest(query=query, candidates=candidates))

    @property
    def serving(self) -> str:
        """The source of the version that serves."""
        return self.service.models()[0].source

    def close(self) -> None:
        """Open all doors and stop."""
        for version in self.versions.values():
            version.door.set()
        self.swapper.close()
        self.service.close()
