"""Checkpoints of described families, read a block at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from rescorer_sidecar.backends.encoder.blocks import Embeddings, Head, Layer, Linear, Norm, Relative
from rescorer_sidecar.backends.encoder.description import Description, Undescribed
from rescorer_sidecar.backends.encoder.families import family
from rescorer_sidecar.backends.encoder.relative import normalised, relative
from rescorer_sidecar.domain import Floats
from rescorer_sidecar.errors import ConfigError


def describes(folder: Path) -> bool:
    """Whether the folder holds a checkpoint of a family that is described here."""
    return not undescribed(folder)


def undescribed(folder: Path) -> str:
    """Why the folder's checkpoint is not described, in a few words; empty where it is."""
    try:
        described(folder)
    except Undescribed as error:
        return str(error)
    return ""


def described(folder: Path) -> Description:
    """The folder's checkpoint, from its settings alone; Undescribed says why there is none."""
    path = folder / "config.json"
    if not path.is_file():
        raise Undescribed("it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise Undescribed("it has no safetensors")
    return family(json.loads(path.read_text(encoding="utf-8")))


class Checkpoint:
    """The weights of a folder that :func:`describes` accepts, as float32. ConfigError where a weight is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.settings: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        try:
            self._described = family(self.settings)
        except Undescribed as error:
            raise ConfigError(f"{folder} is not described: {error}") from error
        self._names = self._described.names
        self._files = {name: path for path in sorted(folder.glob("*.safetensors")) for name in _names(path)}
        has_stem = any(name.startswith(self._names.stem) for name in self._files)
        self._stem = self._names.stem if has_stem else ""
        self.shape = self._described.shape

    def embeddings(self) -> Embeddings:
        """The tables, the norm behind them, and what brings them to the encoder's width."""
        names, stem = self._names, self._stem
        words = self._table(names.words)
        positions = None
        if names.positions:
            positions = self._table(names.positions)[self._described.first_position :]
        return Embeddings(
            words=words,
            positions=positions,
            types=self._table(names.types) if names.types else np.zeros_like(words[:1]),
            norm=self._norm("embedded_norm", f"{stem}{names.embedded_norm}"),
            limit=self._described.limit if positions is None else len(positions),
            projection=self._linear("projection", f"{stem}{names.projection}") if names.projection else None,
        )

    def layer(self, place: int) -> Layer:
        """One layer, counted from 0."""
        names, stem = self._names, f"{self._stem}{self._names.layer}{place}."
        parts = [self._linear("qkv", stem + name) for name in names.qkv]
        norm = stem + names.norm
        if names.last_norm:  # a norm that stands before the next layer
            is_last = place == self.shape.layers - 1
            norm = self._stem + (names.last_norm if is_last else f"{names.layer}{place + 1}.{names.norm}")
        return Layer(
            qkv=Linear(np.concatenate([part.weight for part in parts]), np.concatenate([part.bias for part in parts])),
            attended=self._linear("attended", stem + names.attended),
            attended_norm=self._norm("attended_norm", stem + names.attended_norm),
            up=self._up(stem + names.up),
            down=self._linear("down", stem + names.down),
            norm=self._norm("norm", norm),
            relative=self._relative(stem),
        )

    def head(self) -> Head:
        """The classifier; ConfigError where the checkpoint is a bare encoder."""
        (dense, out), norm = self._names.head, self._names.head_norm
        if f"{out}.weight" not in self._files:
            raise ConfigError(f"{self._folder} is no cross-encoder: its checkpoint lacks {out}.weight")
        return Head(
            dense=self._linear("dense", dense),
            activation=self._described.head_activation,
            norm=self._norm("head_norm", norm) if norm else None,
            out=self._linear("out", out),
            pooling=self._described.pooling,
        )

    def _table(self, name: str) -> Floats:
        """One of the embeddings, as wide as the norm behind them."""
        table, widening = self._tensor(f"{self._stem}{name}.weight"), self._names.widening
        return table @ self._tensor(f"{self._stem}{widening}.weight").T if widening else table

    def _relative(self, stem: str) -> Relative | None:
        described, shape = self._described.disentanglement, self.shape
        if described is None:
            return None
        table = self._tensor(f"{self._stem}{described.table}.weight")
        if described.norm:
            table = normalised(table, self._norm("distances", self._stem + described.norm), shape.norm_epsilon)
        return relative(
            table,
            described.distances.rows(self._described.limit),
            self._linear("distances", stem + described.key) if described.key else None,
            self._linear("distances", stem + described.query) if described.query else None,
            shape.width // shape.heads,
        )

    def _up(self, name: str) -> Linear:
        """The activated half first."""
        up = self._linear("up", name)
        if not self._described.gate_first:
            return up
        half = len(up.bias) // 2
        return Linear(np.roll(up.weight, half, axis=0), np.roll(up.bias, half))

    def _linear(self, block: str, name: str) -> Linear:
        weight = self._tensor(f"{name}.weight")
        return Linear(weight, self._bias(block, f"{name}.bias", len(weight)))

    def _norm(self, block: str, name: str) -> Norm:
        old = f"{name}.gamma" in self._files  # as BERT's first release called them
        weight = self._tensor(f"{name}.{'gamma' if old else 'weight'}")
        return Norm(weight, self._bias(block, f"{name}.{'beta' if old else 'bias'}", len(weight)))

    def _bias(self, block: str, name: str, size: int) -> Floats:
        return np.zeros(size, dtype=np.float32) if block in self._names.biasless else self._tensor(name)

    def _tensor(self, name: str) -> Floats:
        path = self._files.get(name)
        if path is None:
            raise ConfigError(f"{self._folder}: its checkpoint lacks {name}")
        with safe_open(path, framework="np") as stored:
            kind = stored.get_slice(name).get_dtype()
            if kind == "BF16":  # which numpy has no type for
                return _from_bfloat16(path, name)
            if kind not in ("F16", "F32", "F64"):
                raise ConfigError(f"{path}: {name} is {kind}; store it as F32, F16 or BF16")
            return np.ascontiguousarray(stored.get_tensor(name), dtype=np.float32)


def _names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="np") as stored:
            return list(stored.keys())
    except Exception as error:  # the Rust library's own, with no root but this
        raise ConfigError(f"{path} is no safetensors file: {error}") from error


def _from_bfloat16(path: Path, name: str) -> Floats:
    """bfloat16 is the upper half of float32. The bytes stand where the header, behind its own length, says."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        stored = json.loads(file.read(header_bytes))[name]
        begin, end = stored["data_offsets"]
        file.seek(8 + header_bytes + begin)
        halves = np.frombuffer(file.read(end - begin), dtype="<u2").astype(np.uint32)
    return (halves << 16).view(np.float32).reshape(stored["shape"])
