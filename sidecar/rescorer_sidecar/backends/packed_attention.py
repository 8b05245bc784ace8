"""Attention over rows that lie end to end: each token sees its own row, and nothing is padded.

## Decisions
2026-11: on the CPU only rows of exactly one length share a call, so that no mask is ever made.
2026-11: on CUDA a kernel is taken only after it agreed with the plain way on made-up rows of the model's own head size
and number format. Which kernels a card, a driver and a torch release have together can't be read off their versions.
2026-11: nested tensors were rejected: on an H100 with torch 2.11 their attention took 3.3 ms a layer for any rows, and
the variable-length kernel 0.1. That kernel is called without torch's Python before it, which took 45 µs.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows of a packed batch lie, the shortest first; ``starts`` is int32[rows + 1] on their device.

    Kernels that take all rows in one call read no more of ``lengths`` than the last one, as a bound.
    """

    lengths: tuple[int, ...]
    starts: torch.Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], place: torch.device) -> Rows:
        """Rows of these lengths, none of them 0, in rising order."""
        starts = [0, *itertools.accumulate(lengths)]
        return cls(tuple(lengths), torch.tensor(starts, dtype=torch.int32).to(place))


Attention = Callable[[torch.Tensor, Rows, int | None], torch.Tensor]
"""[tokens, heads, size] from queries, keys and values [tokens, 3, heads, size], their rows, and how many tokens to
either side a token sees: all of its row where that is ``None``."""


def by_length(qkv: torch.Tensor, rows: Rows, reach: int | None) -> torch.Tensor:
    """One call for all rows of a length; runs anywhere."""
    mixed = qkv.new_empty((qkv.shape[0], *qkv.shape[2:]))
    begin = 0
    for length, same in itertools.groupby(rows.lengths):
        end = begin + length * sum(1 for _ in same)
        query, key, value = qkv[begin:end].view(-1, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
        seen = None if reach is None or length <= reach + 1 else _seen(length, reach, qkv.device)
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        mixed[begin:end].view(-1, length, *mixed.shape[1:]).copy_(found.transpose(1, 2))
        begin = end
    return mixed


def _seen(length: int, reach: int, place: torch.device) -> torch.Tensor:
    """bool[length, length]: which token sees which."""
    numbers = torch.arange(length, device=place)
    return (numbers[:, None] - numbers).abs() <= reach


def flash(qkv: torch.Tensor, rows: Rows, reach: int | None) -> torch.Tensor:
    """One call for all rows, by the kernel that :func:`varlen` reaches through more Python; CUDA, half precision."""
    query, key, value = qkv.unbind(1)
    window = {} if reach is None else {"window_size_left": reach, "window_size_right": reach}
    longest = rows.lengths[-1]
    kernel = torch.ops.aten._flash_attention_forward
    found = kernel(query, key, value, rows.starts, rows.starts, longest, longest, 0.0, False, False, **window)
    mixed: torch.Tensor = found[0]
    return mixed


def varlen(qkv: torch.Tensor, rows: Rows, reach: int | None) -> torch.Tensor:
    """One call for all rows, by torch's public function for it; CUDA, half precision, newer torch."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = qkv.unbind(1)
    longest = rows.lengths[-1]
    attention = varlen_attn if reach is None else functools.partial(varlen_attn, window_size=(reach, reach))
    mixed = attention(query, key, value, rows.starts, rows.starts, longest, longest)
    if isinstance(mixed, tuple):
        raise TypeError("varlen_attn gives more than one tensor here")
    return mixed


ON_CUDA: tuple[Attention, ...] = (flash, varlen)
"""From the fastest on; behind the last one stands :func:`by_length`."""


def chosen(
    heads: int,
    size: int,
    place: torch.device,
    dtype: torch.dtype,
    *,
    reach: int | None = None,
    kernels: Sequence[Attention] | None = None,
) -> Attention:
    """The first of the kernels that agrees with :func:`by_length` here, else that one itself, which a warning tells.

    reach: as the kernel will be called with; a kernel may do whole rows and not windows, or the other way about.
    Without ``kernels``: those of CUDA there, and none on the CPU, where nothing is missed and nothing warned about.
    """
    if kernels is None and place.type == "cpu":
        return by_length
    for kernel in ON_CUDA if kernels is None else kernels:
        name = getattr(kernel, "__name__", repr(kernel))
        wrong = _what_is_wrong(kernel, (heads, size), reach, place, dtype)
        if not wrong:
            logger.info("packed attention on %s runs by %s", place, name)
            return kernel
        logger.warning("packed attention on %s can't run by %s: %s", place, name, wrong)
    logger.warning("packed attention on %s runs one call for each length of row, which is slower", place)
    return by_length


TRIAL = (1, 3, 3, 40, 130)
"""Lengths below and above a kernel's tile, one of them twice."""


def _what_is_wrong(
    kernel: Attention, heads: tuple[int, int], reach: int | None, place: torch.device, dtype: torch.dtype
) -> str:
    """Why the kernel can't be used, in one line; empty where it can. ``heads`` is (heads, size of a head)."""
    dice = torch.Generator().manual_seed(0)
    qkv = torch.randn((sum(TRIAL), 3, *heads), generator=dice).to(device=place, dtype=dtype)
    rows = Rows.of(TRIAL, place)
    try:
        with torch.no_grad():
            off = (kernel(qkv, rows, reach).float() - by_length(qkv, rows, reach).float()).abs().max().item()
    except (RuntimeError, ValueError, TypeError, AttributeError, ImportError) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    # values near 1 have steps of 1/128 in bf16; a kernel that mixes up rows is off by about 1
    return "" if off < 0.05 else f"its results are off by {off:.3g}"
