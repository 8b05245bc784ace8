"""The blocks that encoders are made of: their sizes, and their weights as float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rescorer_sidecar.backends.arrays import Pooling
from rescorer_sidecar.domain import Floats

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]
"""``gelu`` is the exact one, by erf; ``gelu_tanh`` its approximation; ``silu`` is x · sigmoid(x)."""


@dataclass(frozen=True, slots=True)
class Rotary:
    """Positions as rotations: a head's pair i (its values i and i + size / 2) turns by position · theta^(-2i / size).

    factor: NTK's, by which a family stretches its positions; theta is ``factor`` times as large and each frequency
    divided by factor^(2 / size) (the fixed kind of https://kexue.fm/archives/9706, formula 6).
    """

    theta: float
    factor: float = 1.0

    def frequencies(self, size: int) -> Floats:
        """float32[size / 2], radians a position, of heads of this size; rounded where models in training round them."""
        powers = (np.arange(0, size, 2) / size).astype(np.float32)
        wavelengths = ((self.theta * self.factor) ** powers.astype(np.float64)).astype(np.float32)
        return np.asarray(np.float32(1) / wavelengths / np.float32(self.factor ** (2 / size)), dtype=np.float32)

    def turns(self, positions: int, size: int) -> tuple[Floats, Floats]:
        """Cosines and sines of every pair at every position, float32[positions, size / 2] both."""
        angles = np.arange(positions, dtype=np.float32)[:, None] * self.frequencies(size)
        return np.cos(angles), np.sin(angles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a token sees in one layer: ``reach`` tokens to either side, or its whole row where that is ``None``."""

    reach: int | None = None
    rotary: Rotary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of an encoder; ``width`` is split over ``heads``, and ``sights`` has one for each layer.

    is_gated: ``up`` has twice ``inner`` rows; the first half's activation is multiplied by the second half.
    keeps_sums: the sums around the blocks go on as they are (norms first); else their norm does.
    """

    width: int
    heads: int
    inner: int
    norm_epsilon: float
    sights: tuple[Sight, ...]
    activation: Activation = "gelu"
    is_gated: bool = False
    keeps_sums: bool = False

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.sights)


@dataclass(frozen=True, slots=True)
class Linear:
    """float32[out, in] and float32[out]; a bias that a family does without is 0."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Norm:
    """float32[width] twice."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """What distances add to one layer's scores: two tables, float32[2 · limit - 1, width] each, or ``None``.

    The score of query i and key j is ``scale · (query_i · key_j + query_i · keys_r + key_j · queries_s)`` with rows
    r = limit - 1 + j - i and s = limit - 1 + i - j; a term without a table is left out.
    """

    keys: Floats | None
    queries: Floats | None
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One transformer layer; ``qkv`` holds query, key and value one below the other, float32[3 · width, width].

    attended_norm is that of the sum behind attention, norm that of the sum behind the feed-forward block.
    relative: what disentangled attention adds; else scores are products divided by the root of a head's size.
    """

    qkv: Linear
    attended: Linear
    attended_norm: Norm
    up: Linear
    down: Linear
    norm: Norm
    relative: Relative | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """float32[vocabulary, size], float32[positions, size] from the first position on, float32[types, size].

    ``positions`` is ``None`` where layers turn by them; a family without segments has one type, all 0.
    limit: how many tokens a row may have. projection: from ``size`` to the encoder's width, behind the norm.
    """

    words: Floats
    positions: Floats | None
    types: Floats
    norm: Norm
    limit: int
    projection: Linear | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Logits of the first token's state or of the states' mean: ``out · norm(activation(dense · state))``."""

    dense: Linear
    activation: Activation
    norm: Norm | None
    out: Linear
    pooling: Pooling
