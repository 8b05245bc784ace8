"""Relative positions of disentangled attention: what DeBERTa-v2 and v3 add to the product of a query and a key.

Score of query i and key j, all three terms scaled alike (He et al., DeBERTa, ICLR 2021, equation 4):
``query_i · key_j + query_i · keys[i - j] + key_j · queries[i - j]``, where ``keys`` and ``queries`` are projections of
one table of the model, looked up by the distance of the two tokens.

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

from rescorer_sidecar.backends.encoder import Linear
from rescorer_sidecar.domain import Floats

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """One layer's tables, float32[2 · limit - 1, width] each; ``None`` where the model has no such term.

    Row r of ``keys`` is for a key r - (limit - 1) tokens behind the query, row r of ``queries`` for a query as far
    behind the key. scale: what all three terms are multiplied with.
    """

    keys: Floats | None
    queries: Floats | None
    scale: float

    @classmethod
    def of(cls, table: Floats, rows: Indices, key: Linear | None, query: Linear | None, size: int) -> Relative:
        """From the model's table and what projects its rows to keys and to queries of heads of a size, where it does.

        table: float32[model's rows, width]; rows: :meth:`Distances.rows` of the limit.
        """

        def projected(projection: Linear) -> Floats:
            found: Floats = table @ projection.weight.T + projection.bias
            return found

        return cls(
            keys=None if key is None else projected(key)[rows[::-1]],
            queries=None if query is None else projected(query)[rows],
            scale=(size * (1 + (key is not None) + (query is not None))) ** -0.5,
        )


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
