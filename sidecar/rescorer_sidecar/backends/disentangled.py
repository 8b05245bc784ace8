"""Disentangled attention of DeBERTa-v2 and v3 over rows that lie end to end, nothing padded.

## Decisions
2026-11: products of a row's tokens with the tables, which lie by distance, hold a pair's term ``width - 1`` values
behind that of the token before. Read by that stride they are the scores' bias without an index, and torch's own
attention does the rest.
2026-11: rows of a length go through in parts of about a cache's size. On one core, eight rows of 130 tokens in fp32
took 20.9 µs a token together and 14.5 one by one; on CUDA large calls win.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from rescorer_sidecar.backends.encoder import Relative
from rescorer_sidecar.backends.packed_attention import Rows
from rescorer_sidecar.domain import Floats

VALUES_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}
"""How many products with a table are held at once, if one row has no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disentangled:
    """The attention of one layer: [tokens, heads, size] from queries, keys and values [tokens, 3, heads, size].

    keys, queries: [heads, size, 2 · limit - 1], scaled already, as scores are; ``None`` where there is no such term.
    """

    keys: torch.Tensor | None
    queries: torch.Tensor | None
    scale: float

    @classmethod
    def of(cls, relative: Relative, heads: int, place: torch.device, dtype: torch.dtype) -> Disentangled:
        """The tables at their place and in their number format."""

        def laid_out(table: Floats | None) -> torch.Tensor | None:
            if table is None:
                return None
            by_head = (torch.from_numpy(table) * relative.scale).view(len(table), heads, -1).permute(1, 2, 0)
            return by_head.to(device=place, dtype=dtype).contiguous()

        return cls(keys=laid_out(relative.keys), queries=laid_out(relative.queries), scale=relative.scale)

    def __call__(self, qkv: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Each token sees its own row."""
        mixed = qkv.new_empty((qkv.shape[0], *qkv.shape[2:]))
        for begin, end, length in _parts(rows, qkv.shape[2], VALUES_AT_ONCE.get(qkv.device.type, 1 << 20)):
            part = qkv[begin:end]
            query, key, value = part.view(-1, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
            found = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=self._bias(part, length), scale=self.scale
            )
            mixed[begin:end].view(-1, length, *mixed.shape[1:]).copy_(found.transpose(1, 2))
        return mixed

    def _bias(self, part: torch.Tensor, length: int) -> torch.Tensor | None:
        """[rows, heads, queries, keys], what distances add to the scores of rows of one length."""
        count, heads = part.shape[0] // length, part.shape[2]
        by_key = _by_distance(part[:, 0], self.keys, length)
        by_query = _by_distance(part[:, 1], self.queries, length)
        found = [term for term in (by_key, None if by_query is None else by_query.transpose(2, 3)) if term is not None]
        if len(found) < 2:
            return found[0].contiguous() if found else None
        return torch.add(*found, out=part.new_empty((count, heads, length, length)))


def _by_distance(tokens: torch.Tensor, table: torch.Tensor | None, length: int) -> torch.Tensor | None:
    """[rows, heads, token, other]: a token's product with the table at other - token, for rows of one length.

    tokens: [rows · length, heads, size]. table: [heads, size, 2 · limit - 1], the middle column for distance 0.
    """
    if table is None:
        return None
    middle, width = table.shape[2] // 2, 2 * length - 1
    near = table[:, :, middle - length + 1 : middle + length]
    products = torch.bmm(tokens.transpose(0, 1), near)
    shape = (len(tokens) // length, len(table), length, length)
    strides = (length * width, len(tokens) * width, width - 1, 1)
    return products.as_strided(shape, strides, length - 1)


def _parts(rows: Rows, heads: int, most: int) -> Iterator[tuple[int, int, int]]:
    """First token, end and length of runs of rows of one length, none larger than needed."""
    begin = 0
    for length, same in itertools.groupby(rows.lengths):
        left = sum(1 for _ in same)
        at_once = max(1, most // (heads * length * (2 * length - 1)))
        while left:
            count = min(left, at_once)
            yield begin, begin + count * length, length
            begin += count * length
            left -= count
