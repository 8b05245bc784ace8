"""Relative positions of disentangled attention (He et al., DeBERTa, https://arxiv.org/abs/2006.03654, equation 4).

Two projections of one table, looked up by how far two tokens are apart, stand in for their keys and their queries.

## Decisions
2026-11: the tables are projected once, when a layer is read, and laid out by distance and not by the model's buckets.
Attention then finds its terms by stride instead of by index. Costs 8 · width bytes a position and layer in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rescorer_sidecar.backends.encoder.blocks import Linear, Norm, Relative
from rescorer_sidecar.domain import Floats

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """How a model counts distances: up to ``span`` either way, and from ``buckets // 2`` on in growing steps.

    buckets: 0 where every distance up to ``span`` has a row of its own; else ``span`` is ``buckets``, and distances
    of ``most`` and more share the last.
    """

    span: int
    buckets: int
    most: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Distances:
        """From ``config.json``, where -1 stands for what is not set."""
        most = int(settings.get("max_relative_positions", -1))
        most = most if most >= 1 else int(settings["max_position_embeddings"])
        buckets = max(int(settings.get("position_buckets", -1)), 0)
        return cls(span=buckets or most, buckets=buckets, most=most)

    def rows(self, limit: int) -> Indices:
        """int64[2 · limit - 1]: the model's row for each distance query - key, from -(limit - 1) on."""
        distances = np.arange(1 - limit, limit)
        found = self._bucket(distances) if self.buckets else distances
        return np.clip(found + self.span, 0, 2 * self.span - 1)

    def _bucket(self, distances: Indices) -> Indices:
        """In float32 throughout, as models were trained: half a bucket more or less is another row."""
        half = self.buckets // 2
        far = np.maximum(np.abs(distances), half).astype(np.float32)
        whole = np.log(np.float32((self.most - 1) / half))
        steps = np.ceil(np.log(far / np.float32(half)) / whole * np.float32(half - 1)) + half
        return np.where(np.abs(distances) <= half, distances, steps * np.sign(distances)).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disentanglement:
    """How a checkpoint counts distances and names what belongs to them.

    table, norm: of the whole encoder; key, query: within a layer. All but the table are empty where there is none.
    """

    distances: Distances
    table: str
    norm: str
    key: str
    query: str


def relative(table: Floats, rows: Indices, key: Linear | None, query: Linear | None, size: int) -> Relative:
    """One layer's tables, from the model's and what projects its rows to keys and to queries.

    table: float32[model's rows, width]; rows: :meth:`Distances.rows` of the limit; size: of a head.
    """
    terms = 1 + (key is not None) + (query is not None)
    return Relative(
        keys=None if key is None else (table @ key.weight.T + key.bias)[rows[::-1]],
        queries=None if query is None else (table @ query.weight.T + query.bias)[rows],
        scale=(size * terms) ** -0.5,
    )


def normalised(table: Floats, norm: Norm, epsilon: float) -> Floats:
    """Layer norm of each row."""
    centred = table - table.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(axis=1, keepdims=True) + np.float32(epsilon))
    found: Floats = centred / deviation * norm.weight + norm.bias
    return found
