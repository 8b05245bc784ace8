"""Linear layers for inference, with weights laid out once for the CPU's matrix library where that can be had.

## Decisions
2026-11: the layout is had through private operators of torch, as torch's own compiler uses them. They took 11 to
14 % off fp32 and 5 to 7 % off bf16 products of 4,096 tokens (384 to 1152 and 1536 to 384, one run on two cores). A
release that renames them, or a CPU where they give something else, costs that gain and nothing more: each layer is
tried when it is made.
2026-11: on a GPU in half precision GELU is computed where the product ends, by the matrix library, as the tanh formula
whatever the model was trained with: they differ by 0.0005 at most, less than a half-precision step of values above 1,
and the products' own error (0.002 beside float32, on random layers of three widths) is the same with either. It took
50 to 90 µs off each layer of 15,000 tokens on an H100.
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

    if place.type == "cpu":
        return _laid_out(weight, bias, FUSED[after], plain) or plain
    is_half = dtype in (torch.float16, torch.bfloat16)
    return (_with_gelu(weight, bias, plain) if is_half and after in ("gelu", "gelu_tanh") else None) or plain


def _with_gelu(weight: torch.Tensor, bias: torch.Tensor, plain: Apply) -> Apply | None:
    """The same in one call; ``None`` where that fails or gives something else."""
    turned = weight.t()

    def fused(inputs: torch.Tensor) -> torch.Tensor:
        return torch._addmm_activation(bias, inputs, turned, use_gelu=True)

    return fused if _agrees(fused, plain, weight) else None


def _agrees(one: Apply, plain: Apply, weight: torch.Tensor) -> bool:
    """Whether both give the same on made-up tokens, nearly."""
    sample = torch.linspace(-1, 1, 3 * weight.shape[1]).reshape(3, -1).to(weight)
    try:
        with torch.no_grad():
            found, expected = one(sample).float(), plain(sample).float()
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        logger.info("a faster linear layer can't be had: %s", str(error).splitlines()[:1])
        return False
    if torch.allclose(found, expected, rtol=0.02, atol=0.02 * expected.abs().max().item()):
        return True
    logger.warning("a faster linear layer is left alone: its products differ on %s", weight.device)
    return False


def _laid_out(
    weight: torch.Tensor, bias: torch.Tensor, fused: tuple[str, str], plain: Apply, operators: Any = None
) -> Apply | None:
    """The same by oneDNN with weights in its own layout; ``None`` where that fails or gives something else."""
    operators = operators or torch.ops.mkldnn
    after, algorithm = fused
    try:
        with torch.no_grad():
            ready = operators._reorder_linear_weight(weight)
            pointwise = operators._linear_pointwise
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        logger.info("weights stay as they are, oneDNN's layout can't be had: %s", str(error).splitlines()[:1])
        return None

    def laid_out(inputs: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = pointwise(inputs, ready, bias, after, [], algorithm)
        return product

    return laid_out if _agrees(laid_out, plain, weight) else None
