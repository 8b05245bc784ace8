"""A sum and its layer norm in one pass on a GPU, in Triton: two tensors read, two written, sums in float32.

Triton reads the kernel's annotations, so that it has those of its compile-time sizes alone, and none is a string.
"""

from typing import TYPE_CHECKING, Any

import torch
import triton
from triton import language as tl

if TYPE_CHECKING:
    from rescorer_sidecar.backends.packed_norm import Norm, Sums

AT_ONCE = 2048
"""Values of one program: several narrow rows or one wide one."""


def added(norm: "Norm", states: torch.Tensor, beside: torch.Tensor) -> "Sums":
    """The sum of two tensors [tokens, width] and its norm."""
    states, beside = states.contiguous(), beside.contiguous()
    tokens, width = states.shape
    sums, normed = torch.empty_like(states), torch.empty_like(states)
    columns = triton.next_power_of_2(width)
    rows = max(1, AT_ONCE // columns)
    grid = (triton.cdiv(tokens, rows),)
    sizes: dict[str, Any] = {"ROWS": rows, "COLUMNS": columns}
    _added[grid](states, beside, norm.weight, norm.bias, sums, normed, norm.epsilon, tokens, width, **sizes)
    return sums, normed


@triton.jit
def _added(
    states,
    beside,
    weight,
    bias,
    sums,
    normed,
    epsilon,
    tokens,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, COLUMNS)[None, :]
    is_there = (rows < tokens) & (columns < width)
    places = rows * width + columns
    one = tl.load(states + places, mask=is_there, other=0.0).to(tl.float32)
    other = tl.load(beside + places, mask=is_there, other=0.0).to(tl.float32)
    # rounded as it is stored, so that the norm is that of what goes on
    total = (one + other).to(sums.dtype.element_ty)
    tl.store(sums + places, total, mask=is_there)
    value = total.to(tl.float32)
    centred = tl.where(columns < width, value - (tl.sum(value, 1) / width)[:, None], 0.0)
    spread = tl.rsqrt(tl.sum(centred * centred, 1) / width + epsilon)
    scale = tl.load(weight + columns, mask=columns < width, other=0.0).to(tl.float32)
    shift = tl.load(bias + columns, mask=columns < width, other=0.0).to(tl.float32)
    found = centred * spread[:, None] * scale + shift
    tl.store(normed + places, found.to(normed.dtype.element_ty), mask=is_there)
