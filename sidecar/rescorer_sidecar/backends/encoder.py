"""An encoder as a description and its weights, read from a checkpoint; what runs it packed needs nothing else.

A family says how its checkpoints name the shared blocks (embeddings, attention, feed-forward, head). A checkpoint that
no family describes is not read here and runs through ``transformers``.

## Decisions
2026-11: layers are read one at a time from the mapped file, so that a backend that keeps its own copy of a layer never
holds the whole checkpoint twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from rescorer_sidecar.domain import Floats
from rescorer_sidecar.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one family's checkpoints name the shared blocks.

    stem: what stands before the encoder's names; left out in bare encoders. first_position: position of the first
    token; None for RoBERTa's rule, one behind the padding id. head: names of the classifier's two linear layers.
    """

    stem: str
    first_position: int | None
    head: tuple[str, str]


FAMILIES = {
    "bert": Family(stem="bert.", first_position=0, head=("bert.pooler.dense", "classifier")),
    "roberta": Family(stem="roberta.", first_position=None, head=("classifier.dense", "classifier.out_proj")),
    "xlm-roberta": Family(stem="roberta.", first_position=None, head=("classifier.dense", "classifier.out_proj")),
}
"""By ``model_type``. All of them: absolute positions, post-norm, erf GELU, a tanh between the head's two layers."""


@dataclass(frozen=True, slots=True)
class Linear:
    """float32[out, in] and float32[out]."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Norm:
    """float32[width] twice."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One transformer layer; ``qkv`` holds query, key and value one below the other, float32[3 · width, width]."""

    qkv: Linear
    attended: Linear
    attended_norm: Norm
    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """float32[vocabulary, width], float32[positions, width] from the first position on, float32[types, width]."""

    words: Floats
    positions: Floats
    types: Floats
    norm: Norm


@dataclass(frozen=True, slots=True)
class Head:
    """Logits of the first token's state: ``out · tanh(dense · state)``."""

    dense: Linear
    out: Linear


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of an encoder; ``width`` is split over ``heads``."""

    layers: int
    width: int
    heads: int
    inner: int
    norm_epsilon: float


def describes(folder: Path) -> bool:
    """Whether the folder holds a checkpoint of a family that is described here."""
    path = folder / "config.json"
    if not path.is_file() or not any(folder.glob("*.safetensors")):
        return False
    settings = json.loads(path.read_text(encoding="utf-8"))
    return (
        settings.get("model_type") in FAMILIES
        and settings.get("hidden_act", "gelu") == "gelu"
        and settings.get("position_embedding_type", "absolute") == "absolute"
        and not settings.get("is_decoder", False)
        and settings["hidden_size"] // settings["num_attention_heads"] % 2 == 0  # steps of bfloat16 are pairs
    )


class Checkpoint:
    """The weights of a folder that :func:`describes` accepts, as float32. ConfigError where a weight is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.settings: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._family = FAMILIES[self.settings["model_type"]]
        self._files = {name: path for path in sorted(folder.glob("*.safetensors")) for name in _names(path)}
        has_stem = any(name.startswith(self._family.stem) for name in self._files)
        self._stem = self._family.stem if has_stem else ""
        self.shape = Shape(
            layers=self.settings["num_hidden_layers"],
            width=self.settings["hidden_size"],
            heads=self.settings["num_attention_heads"],
            inner=self.settings["intermediate_size"],
            norm_epsilon=self.settings.get("layer_norm_eps", 1e-12),
        )

    def embeddings(self) -> Embeddings:
        """The three tables and the norm behind them."""
        first, stem = self._family.first_position, f"{self._stem}embeddings."
        if first is None:
            first = int(self.settings.get("pad_token_id", 1)) + 1
        return Embeddings(
            words=self._tensor(f"{stem}word_embeddings.weight"),
            positions=self._tensor(f"{stem}position_embeddings.weight")[first:],
            types=self._tensor(f"{stem}token_type_embeddings.weight"),
            norm=self._norm(f"{stem}LayerNorm"),
        )

    def layer(self, place: int) -> Layer:
        """One layer, counted from 0."""
        stem = f"{self._stem}encoder.layer.{place}."
        parts = [self._linear(f"{stem}attention.self.{name}") for name in ("query", "key", "value")]
        return Layer(
            qkv=Linear(np.concatenate([part.weight for part in parts]), np.concatenate([part.bias for part in parts])),
            attended=self._linear(f"{stem}attention.output.dense"),
            attended_norm=self._norm(f"{stem}attention.output.LayerNorm"),
            up=self._linear(f"{stem}intermediate.dense"),
            down=self._linear(f"{stem}output.dense"),
            norm=self._norm(f"{stem}output.LayerNorm"),
        )

    def head(self) -> Head:
        """The classifier; ConfigError where the checkpoint is a bare encoder."""
        dense, out = self._family.head
        if f"{out}.weight" not in self._files:
            raise ConfigError(f"{self._folder} is no cross-encoder: its checkpoint lacks {out}.weight")
        return Head(self._linear(dense), self._linear(out))

    def _linear(self, name: str) -> Linear:
        return Linear(self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"))

    def _norm(self, name: str) -> Norm:
        old = f"{name}.gamma" in self._files  # as BERT's first release called them
        weight, bias = ("gamma", "beta") if old else ("weight", "bias")
        return Norm(self._tensor(f"{name}.{weight}"), self._tensor(f"{name}.{bias}"))

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
