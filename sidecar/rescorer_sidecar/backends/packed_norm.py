"""Layer norms over tokens that lie end to end, with the sum before them in one pass where a GPU does that.

## Decisions
2026-11: one kernel of our own in Triton, which comes with torch's builds for CUDA: torch adds and norms in two passes,
which read and write five tensors where three do. What that takes off stands in docs/speed.md. A kernel is taken only
after it agreed with torch on made-up tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from rescorer_sidecar.backends import encoder
from rescorer_sidecar.domain import Floats

logger = logging.getLogger(__name__)
Sums = tuple[torch.Tensor, torch.Tensor]
"""A sum and its norm, [tokens, width] both."""
Added = Callable[["Norm", torch.Tensor, torch.Tensor], Sums]


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm at its place; ``fused`` adds and norms in one pass."""

    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float
    fused: Added | None = None

    @classmethod
    def of(cls, norm: encoder.Norm, epsilon: float, place: torch.device, dtype: torch.dtype) -> Norm:
        """The norm of a checkpoint."""
        made = cls(_table(norm.weight, place, dtype), _table(norm.bias, place, dtype), epsilon)
        return cls(made.weight, made.bias, epsilon, _fused(made)) if place.type == "cuda" else made

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """[tokens, width]."""
        return functional.layer_norm(states, self.weight.shape, self.weight, self.bias, self.epsilon)

    def added(self, states: torch.Tensor, beside: torch.Tensor) -> Sums:
        """The sum of both and its norm."""
        if self.fused is not None:
            return self.fused(self, states, beside)
        sums = states + beside
        return sums, self(sums)


def _table(array: Floats, place: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(array).to(device=place, dtype=dtype)


def _fused(norm: Norm) -> Added | None:
    """The kernel, if it can be had here and agrees with torch."""
    states, beside = torch.linspace(-2, 3, 2 * 5 * len(norm.weight)).reshape(2, 5, -1).to(norm.weight)
    try:
        from rescorer_sidecar.backends.packed_triton import added

        with torch.no_grad():
            pairs = zip(added(norm, states, beside), norm.added(states, beside), strict=True)
            off = max((found.float() - expected.float()).abs().max().item() for found, expected in pairs)
    except Exception as error:  # noqa: BLE001  # no Triton, no compiler, an unknown card: whatever it is, torch does the work
        logger.warning("norms run in two passes, Triton can't be had: %s", (str(error).splitlines() or [""])[0])
        return None
    if off < 0.05:
        return added
    logger.warning("norms run in two passes: those by Triton are off by %.3g", off)
    return None
