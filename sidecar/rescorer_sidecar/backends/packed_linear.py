"""Linear layers for inference, with weights laid out once for the CPU's matrix library where that can be had.

## Decisions
2026-11: the layout is had through private operators of torch, as torch's own compiler uses them. They took 11 to
14 % off fp32 and 5 to 7 % off bf16 products of 4,096 tokens (384 to 1152 and 1536 to 384, one run on two cores). A
release that renames them, or a CPU where they give something else, costs that gain and nothing more: each layer is
tried when it is made.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from rescorer_sidecar.backends.encoder import Activation, Linear

logger = logging.getLogger(__name__)
Apply = Callable[[torch.Tensor], torch.Tensor]
"""[tokens, out] from [tokens, in]."""

ACTIVATED: dict[Activation, Apply] = {
    "gelu": functional.gelu,
    "gelu_tanh": functools.partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
FUSED: dict[Activation | None, tuple[str, str]] = {
    None: ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
    "silu": ("swish", ""),
    "tanh": ("tanh", ""),
}
"""What oneDNN calls an activation and its algorithm."""


def linear(weights: Linear, place: torch.device, dtype: torch.dtype, after: Activation | None = None) -> Apply:
    """``weight · x + bias``, followed by the activation; holds its own copy or layout of the weights."""
    weight, bias = (torch.from_numpy(array).to(device=place, dtype=dtype) for array in (weights.weight, weights.bias))

    def plain(inputs: torch.Tensor) -> torch.Tensor:
        product = functional.linear(inputs, weight, bias)
        return ACTIVATED[after](product) if after else product

    return (_laid_out(weight, bias, FUSED[after], plain) if place.type == "cpu" else None) or plain


def _laid_out(
    weight: torch.Tensor, bias: torch.Tensor, fused: tuple[str, str], plain: Apply, operators: Any = None
) -> Apply | None:
    """The same by oneDNN with weights in its own layout; ``None`` where that fails or gives something else."""
    operators = operators or torch.ops.mkldnn
    after, algorithm = fused
    sample = torch.linspace(-1, 1, 3 * weight.shape[1]).reshape(3, -1).to(weight.dtype)
    try:
        with torch.no_grad():
            ready = operators._reorder_linear_weight(weight)
            pointwise = operators._linear_pointwise
            found = pointwise(sample, ready, bias, after, [], algorithm).float()
            expected = plain(sample).float()
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        logger.info("weights stay as they are, oneDNN's layout can't be had: %s", str(error).splitlines()[:1])
        return None
    if not torch.allclose(found, expected, rtol=0.02, atol=0.02 * expected.abs().max().item()):
        logger.warning("weights stay as they are: products in oneDNN's layout differ on this CPU")
        return None

    def laid_out(inputs: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = pointwise(inputs, ready, bias, after, [], algorithm)
        return product

    return laid_out
