"""The tensors of a folder's safetensors files, by their headers, and what speaks against them before a model is built.

## Decisions
2026-11: names and shapes are checked against ``config.json`` before anything is handed to a kernel: C reads as many
numbers as a shape promises, and ``transformers`` fills what is missing with random ones.
2026-11: values are read once for NaN and infinity, a second for each 2 GB or so. One such weight makes every score NaN,
and which one it is can't be told from the scores.
2026-11: what a checkpoint holds besides is refused inside the layers, where it means that config.json is another
model's (a 13th layer, a bias too many), and passed elsewhere: heads of pre-training are left in many rerankers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rescorer_sidecar.backends.encoder import Description
from rescorer_sidecar.errors import BadCheckpoint

Numbers = npt.NDArray[Any]

KINDS = {
    name: np.dtype(kind)
    for name, kind in (
        *(("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("BF16", "<u2")),
        *(("I64", "<i8"), ("I32", "<i4"), ("I16", "<i2"), ("I8", "i1"), ("U8", "u1"), ("BOOL", "u1")),
    )
}
"""numpy's types for those of safetensors; BF16, which numpy has none for, as its bits."""

FLOATS = ("F64", "F32", "F16", "BF16")

BUFFERS = re.compile(r"(position_ids|token_type_ids|inv_freq|num_batches_tracked)$")
"""What older checkpoints keep besides weights; computed anew today."""

AGAIN = "download or save the model again"
READ_AT_ONCE = 16_000_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a safetensors file, by its header; ``begin`` is its first byte in the file."""

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str
    begin: int

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes in the file."""
        return self.values * KINDS[self.kind].itemsize

    def parts(self) -> Iterator[Numbers]:
        """Its numbers, some at a time."""
        for first in range(0, self.values, READ_AT_ONCE):
            place = self.begin + first * KINDS[self.kind].itemsize
            count = min(READ_AT_ONCE, self.values - first)
            yield np.fromfile(self.path, KINDS[self.kind], count, offset=place)


def stored(folder: Path) -> list[Stored]:
    """Every tensor of a folder's safetensors files; BadCheckpoint where a file is none, or shorter than it says."""
    return [tensor for path in sorted(folder.glob("*.safetensors")) for tensor in _header(path)]


def check_values(tensors: Iterable[Stored]) -> None:
    """BadCheckpoint for the first weight that holds a value that is not finite."""
    for tensor in tensors:
        if tensor.kind in FLOATS and not all(map(_is_finite, tensor.parts())):
            raise BadCheckpoint(tensor.path, f"holds NaN or infinity in {tensor.name}", AGAIN)


def check_names(tensors: Iterable[Stored], described: Description, facts: Mapping[str, Any]) -> None:
    """BadCheckpoint for a weight that a described model does not have, or has in another shape.

    What is missing is told by whoever reads it.
    """
    stem = described.names.stem
    found = list(tensors)
    if not any(tensor.name.startswith(stem) for tensor in found):
        stem = ""  # a bare encoder
    layer = re.compile(re.escape(stem + described.names.layer) + r"(\d+)\.")
    expected = {name.removeprefix(described.names.stem): shape for name, shape in _expected(described, facts)}
    for tensor in found:
        place = layer.match(tensor.name)
        if place and int(place[1]) >= described.shape.layers:
            told = f"and config.json tells {described.shape.layers} layers"
            raise BadCheckpoint(tensor.path, f"holds {tensor.name}, {told}", "take config.json from the same model")
        name = re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", tensor.name.removeprefix(stem)))
        if name in expected and tensor.shape != expected[name]:
            told = f"as {list(tensor.shape)}, and config.json tells {list(expected[name])}"
            raise BadCheckpoint(tensor.path, f"holds {tensor.name} {told}", "take config.json from the same model")
        if name not in expected and place and not BUFFERS.search(name):
            raise BadCheckpoint(
                tensor.path, f"holds {tensor.name}, which {described.names.stem}… has not", "use --backend torch"
            )


def _expected(described: Description, facts: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each weight's name, with the stem, and its shape."""
    names, shape = described.names, described.shape
    width, stem = shape.width, names.stem
    if not names.projection and not names.widening:  # else tables are narrower, by what each family calls otherwise
        tables = {names.words: "vocab_size", names.positions: "max_position_embeddings"}
        for name, key in tables.items():
            if name and key in facts:
                yield f"{stem}{name}.weight", (facts[key], width)
        yield from _block(names.biasless, "embedded_norm", stem + names.embedded_norm, (width,))
    apart = described.disentanglement
    if apart:
        yield f"{stem}{apart.table}.weight", (2 * apart.distances.span, width)
        if apart.norm:
            yield from _block(names.biasless, "apart", stem + apart.norm, (width,))
    for place in range(shape.layers):
        layer = f"{stem}{names.layer}{place}."
        for name in names.qkv:
            yield from _block(names.biasless, "qkv", layer + name, (3 * width // len(names.qkv), width))
        for name in filter(None, (apart.key, apart.query) if apart else ()):
            yield from _block(names.biasless, "apart", layer + name, (width, width))
        yield from _block(names.biasless, "attended", layer + names.attended, (width, width))
        yield from _block(names.biasless, "attended_norm", layer + names.attended_norm, (width,))
        yield from _block(names.biasless, "up", layer + names.up, ((1 + shape.is_gated) * shape.inner, width))
        yield from _block(names.biasless, "down", layer + names.down, (width, shape.inner))
        yield from _block(names.biasless, "norm", layer + names.norm, (width,))
    yield from _block(names.biasless, "dense", names.head[0], (width, width))


def _block(
    biasless: frozenset[str], block: str, name: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    if block not in biasless:
        yield f"{name}.bias", shape[:1]


def _is_finite(part: Numbers) -> bool:
    if part.dtype == KINDS["BF16"]:
        return bool(((part & 0x7F80) != 0x7F80).all())  # infinity and NaN have all bits of the exponent
    return bool(np.isfinite(part).all())


def _header(path: Path) -> list[Stored]:
    """https://huggingface.co/docs/safetensors: the header's length in 8 bytes, the header in JSON, then the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= size else b""
    try:
        entries: Mapping[str, Any] = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        found = [
            Stored(path, name, tuple(entry["shape"]), entry["dtype"], 8 + length + entry["data_offsets"][0])
            for name, entry in entries.items()
        ]
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(path, "is no safetensors file", AGAIN) from error
    odd = next((tensor for tensor in found if tensor.kind not in KINDS), None)
    if odd is not None:
        raise BadCheckpoint(path, f"holds {odd.name} as {odd.kind}", f"store it as one of {', '.join(KINDS)}")
    if size < end:
        raise BadCheckpoint(path, f"has {size:,} of the {end:,} bytes that its header tells", AGAIN)
    return found
