"""A backend for tests: a logit that anyone can compute by hand, and a door that tests can hold shut."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from rescorer_sidecar.backends import Facts
from rescorer_sidecar.domain import Floats, Tokens

POISON = 666
"""A token id that this backend fails on, alone or in a batch."""


class FakeBackend:
    """Logit of a row = its tokens' sum modulo 1,000, minus 500; a vector is that number's direction on a circle.

    ``row_s`` is how long each row takes. ``batches`` lists what was run. While ``door`` is cleared, ``forward`` waits;
    ``entered`` tells that it got there.
    """

    def __init__(self, dimension: int = 0, rows_per_forward: int | None = None, row_s: float = 0.0) -> None:
        self.facts = Facts(
            name="fake", device="cpu", precision="fp32", dimension=dimension, rows_per_forward=rows_per_forward
        )
        self._row_s = row_s
        self.batches: list[list[Tokens]] = []
        self.door = threading.Event()
        self.door.set()
        self.entered = threading.Event()

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows], or float32[rows, dimension] with all but the first two values 0."""
        self.batches.append(list(batch))
        self.entered.set()
        self.door.wait(timeout=30)
        if self._row_s:
            threading.Event().wait(self._row_s * len(batch))
        if any(POISON in row.ids for row in batch):
            raise RuntimeError("a poisoned row")
        logits = np.array([sum(row.ids) % 1000 - 500 for row in batch], dtype=np.float32)
        if not self.facts.dimension:
            return logits
        vectors = np.zeros((len(batch), self.facts.dimension), dtype=np.float32)
        vectors[:, 0], vectors[:, 1] = np.cos(logits), np.sin(logits)
        return vectors

    def close(self) -> None:
        """Nothing to let go of."""
