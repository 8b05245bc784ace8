"""Described encoders through torch alone, on the CPU or on CUDA: a batch is one vector of tokens without padding.

## Decisions
2026-11: the whole forward stands here and not in ``transformers``, whose models take rows padded to one length:
candidates cut to windows of 60 words still have from 55 to 230 tokens, and padding is computed like any token.
2026-11: the head and the pooling run in float32 whatever the encoder runs in, for the reason that ``torch.py`` gives.
2026-11: an id that no table holds is refused before it leaves the CPU. On CUDA such a look-up would spoil the
process's whole context, and with it every request behind the one that is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rescorer_sidecar.backends import Facts
from rescorer_sidecar.backends.arrays import Ids, Pooling, checked_labels, one_logit
from rescorer_sidecar.backends.encoder import Activation, Checkpoint, Embeddings, Layer, Shape, Sight
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import MissingExtra

try:
    import torch
    from torch.nn import functional
except ImportError as error:
    raise MissingExtra("torch", "sidecar") from error

from rescorer_sidecar.backends.devices import DTYPES, device_and_precision
from rescorer_sidecar.backends.disentangled import Disentangled
from rescorer_sidecar.backends.packed_attention import Rows, by_length, chosen
from rescorer_sidecar.backends.packed_graphs import MOST_TOKENS, recorded
from rescorer_sidecar.backends.packed_linear import ACTIVATED, Apply, linear
from rescorer_sidecar.backends.packed_norm import Norm

Mix = Callable[[torch.Tensor], torch.Tensor]
"""[tokens, heads, size] from queries, keys and values [tokens, 3, heads, size]: the attention of one layer."""


class PackedTorchBackend:
    """A described cross-encoder (``pooling`` is ``None``) or encoder.

    device: ``auto`` (CUDA where there is one, else the CPU), ``cpu`` or ``cuda:N``.
    precision: ``auto`` (fp32 on the CPU, fp16 on CUDA), ``fp32``, ``bf16`` or ``fp16``; results are float32 always.
    """

    def __init__(self, folder: Path, pooling: Pooling | None, *, device: str, precision: str) -> None:
        place, named = device_and_precision(device, precision)
        checkpoint = Checkpoint(folder)
        self._head = _Head(checkpoint, folder, place) if pooling is None else None
        self.encoder = _Encoder(checkpoint, place, DTYPES[named])
        self._place = place
        self._pooling = pooling
        limit = self.encoder.limits.positions
        self.graphs = recorded(self._vectors, limit, place) if self.encoder.is_one_call else None
        self.attention = self.encoder.attention.get(checkpoint.shape.sights[0].reach)
        self.facts = Facts(
            name="torch-packed",
            device=str(place),
            precision=named,
            dimension=0 if pooling is None else checkpoint.shape.width,
            is_packed=True,
        )

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows] logits, or float32[rows, dimension] unit vectors.

        ValueError for a row without tokens, and for ids, segments and lengths that no table holds.
        """
        order = sorted(range(len(batch)), key=lambda place: len(batch[place]))
        ordered = [batch[place] for place in order]
        if not ordered[0].ids:
            raise ValueError("a row has no tokens")
        ids = packed(ordered)
        self.encoder.check(ids)
        found = self._computed(ids, [len(row) for row in ordered])
        values = one_logit(found) if self._pooling is None else found
        result = np.empty_like(values)
        result[order] = values
        return result

    def _computed(self, ids: Ids, lengths: list[int]) -> Floats:
        """float32[rows, labels or dimension]: by a graph where there is one for so few tokens."""
        if self.graphs is not None and ids.shape[1] < MOST_TOKENS:
            found = self.graphs.forward(ids, lengths)
            if found is not None:
                return found.numpy()
        with torch.no_grad():
            return self._vectors(torch.from_numpy(ids).to(self._place), Rows.of(lengths, self._place)).cpu().numpy()

    def _vectors(self, ids: torch.Tensor, rows: Rows) -> torch.Tensor:
        """float32[rows, labels or dimension] from ids, positions and segments [3, tokens]."""
        states = self.encoder.states(ids, rows)
        pooling = self._head.pooling if self._head is not None else self._pooling
        if pooling == "mean":
            pooled = torch.segment_reduce(
                states.float(), "mean", lengths=rows.starts.diff().long(), axis=0, unsafe=True
            )
        else:
            pooled = states[rows.starts[:-1].long()].float()
        return self._head(pooled) if self._head is not None else functional.normalize(pooled, eps=1e-12)

    def close(self) -> None:
        """Let go of the weights."""
        del self.encoder, self._head, self.graphs


def packed(batch: Sequence[Tokens]) -> Ids:
    """int64[3, tokens]: ids, positions from 0 on, and segment numbers, row behind row."""
    lengths = np.fromiter(map(len, batch), np.int64, len(batch))
    tokens = int(lengths.sum())
    made = np.empty((3, tokens), dtype=np.int64)
    made[0] = np.fromiter(itertools.chain.from_iterable(row.ids for row in batch), np.int64, tokens)
    made[1] = np.arange(tokens) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # by way of bytes, in a third of the time: a model knows two segments
    made[2] = np.frombuffer(b"".join(bytes(row.type_ids) for row in batch), np.uint8)
    return made


class _Encoder:
    """The embeddings and layers of a checkpoint, at their place and in their number format."""

    def __init__(self, checkpoint: Checkpoint, place: torch.device, dtype: torch.dtype) -> None:
        self._shape = shape = checkpoint.shape
        heads = (shape.heads, shape.width // shape.heads)
        found = checkpoint.embeddings()
        tables = (found.words, found.types, found.positions)
        self._tables = [_table(table, place, dtype) for table in tables if table is not None]
        self._norm = Norm.of(found.norm, shape.norm_epsilon, place, dtype)
        self._project = linear(found.projection, place, dtype) if found.projection else None
        self.limits = _Limits.of(found)
        self._turns = {
            rotary: _table(rotary.frequencies(heads[1]), place, torch.float32)
            for rotary in {sight.rotary for sight in shape.sights}
            if rotary is not None
        }
        self.layers = [_Layer.of(checkpoint.layer(number), shape, place, dtype) for number in range(shape.layers)]
        reaches = {
            sight.reach for sight, layer in zip(shape.sights, self.layers, strict=True) if layer.disentangled is None
        }
        self.attention = {reach: chosen(*heads, place, dtype, reach=reach) for reach in reaches}
        is_described = all(layer.disentangled is None for layer in self.layers)
        self.is_one_call = is_described and by_length not in self.attention.values()

    def check(self, ids: Ids) -> None:
        """Refuse what no table holds; families of one segment read every segment number as 0, in place."""
        if self.limits.types == 1:
            ids[2] = 0
        self.limits.check(ids)

    def states(self, ids: torch.Tensor, rows: Rows) -> torch.Tensor:
        """[tokens, width] hidden states of the last layer."""
        numbers, positions, types = ids
        places = (numbers, types, positions)[: len(self._tables)]
        found = [functional.embedding(place, table) for place, table in zip(places, self._tables, strict=True)]
        normed = self._norm(sum(found[1:], start=found[0]))
        sums = normed = self._project(normed) if self._project else normed
        for layer, mix in zip(self.layers, self._mixes(rows, positions), strict=True):
            sums, normed = layer(sums, normed, mix)
        return normed

    def _mixes(self, rows: Rows, positions: torch.Tensor) -> list[Mix]:
        """How each layer's tokens see each other in this batch."""
        angles = {rotary: (positions[:, None].float() * turns) for rotary, turns in self._turns.items()}
        turned = {rotary: (angle.cos()[:, None, None], angle.sin()[:, None, None]) for rotary, angle in angles.items()}

        def mix_of(sight: Sight, disentangled: Disentangled | None) -> Mix:
            if disentangled is not None:
                return lambda qkv: disentangled(qkv, rows)
            attention = self.attention[sight.reach]
            turn = turned[sight.rotary] if sight.rotary is not None else None
            return lambda qkv: attention(qkv if turn is None else _rotated(qkv, *turn), rows, sight.reach)

        return [mix_of(sight, layer.disentangled) for sight, layer in zip(self._shape.sights, self.layers, strict=True)]


def _rotated(qkv: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Queries and keys turned, in float32, by the cosines and sines [tokens, 1, 1, size / 2]; values as they are."""
    first, second = qkv[:, :2].float().chunk(2, dim=-1)
    rotated = torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)
    return torch.cat((rotated.to(qkv.dtype), qkv[:, 2:]), dim=1)


@dataclass(frozen=True, slots=True)
class _Limits:
    """How many words, positions and segments the tables hold."""

    words: int
    positions: int
    types: int

    @classmethod
    def of(cls, tables: Embeddings) -> _Limits:
        return cls(len(tables.words), tables.limit, len(tables.types))

    def check(self, ids: Ids) -> None:
        for numbers, (name, most) in zip(
            ids, (("id", self.words), ("position", self.positions), ("segment", self.types)), strict=True
        ):
            least, largest = int(numbers.min()), int(numbers.max())
            if least < 0 or largest >= most:
                wrong = least if least < 0 else largest
                raise ValueError(f"a token has {name} {wrong}, but the model knows {most} of them, from 0 on")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """One layer; ``heads`` is (heads, size of a head), ``gate`` the activation of a gated one."""

    heads: tuple[int, int]
    keeps_sums: bool
    gate: Activation | None
    qkv: Apply
    attended: Apply
    attended_norm: Norm
    up: Apply
    down: Apply
    norm: Norm
    disentangled: Disentangled | None

    @classmethod
    def of(cls, layer: Layer, shape: Shape, place: torch.device, dtype: torch.dtype) -> _Layer:
        return cls(
            heads=(shape.heads, shape.width // shape.heads),
            keeps_sums=shape.keeps_sums,
            gate=shape.activation if shape.is_gated else None,
            qkv=linear(layer.qkv, place, dtype),
            attended=linear(layer.attended, place, dtype),
            attended_norm=Norm.of(layer.attended_norm, shape.norm_epsilon, place, dtype),
            up=linear(layer.up, place, dtype, after=None if shape.is_gated else shape.activation),
            down=linear(layer.down, place, dtype),
            norm=Norm.of(layer.norm, shape.norm_epsilon, place, dtype),
            disentangled=Disentangled.of(layer.relative, shape.heads, place, dtype) if layer.relative else None,
        )

    def __call__(self, sums: torch.Tensor, normed: torch.Tensor, mix: Mix) -> tuple[torch.Tensor, torch.Tensor]:
        """What goes on beside the next block, and what goes into it: [tokens, width] both."""
        mixed = mix(self.qkv(normed).view(-1, 3, *self.heads)).flatten(1)
        sums, normed = self.attended_norm.added(self.attended(mixed), sums)
        sums, normed = self.norm.added(self.down(self._grown(normed)), sums if self.keeps_sums else normed)
        return (sums if self.keeps_sums else normed), normed

    def _grown(self, states: torch.Tensor) -> torch.Tensor:
        """[tokens, inner]."""
        grown = self.up(states)
        if self.gate is None:
            return grown
        activated, factor = grown.chunk(2, dim=-1)
        return ACTIVATED[self.gate](activated) * factor


class _Head:
    """The classifier, in float32: [rows, labels] from the rows' pooled states [rows, width]."""

    def __init__(self, checkpoint: Checkpoint, folder: Path, place: torch.device) -> None:
        head = checkpoint.head()
        checked_labels(len(head.out.weight), folder)
        self.pooling = head.pooling
        self._dense = linear(head.dense, place, torch.float32, after=head.activation)
        self._norm = None
        if head.norm is not None:
            self._norm = Norm.of(head.norm, checkpoint.shape.norm_epsilon, place, torch.float32)
        self._out = linear(head.out, place, torch.float32)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        found = self._dense(states)
        return self._out(self._norm(found) if self._norm is not None else found)


def _table(array: Floats, place: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(array).to(device=place, dtype=dtype)
