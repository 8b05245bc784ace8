"""Where the model runs. A backend is one method and a few facts; the contract tests run over every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rescorer_sidecar.domain import Floats, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a backend is and may be given.

    rows_per_forward: most rows of one forward; 1 where a row's result depends on its neighbours, ``None`` for any.
    dimension: length of an embedder's vectors, 0 for a cross-encoder.
    precision: ``int8``, ``fp32``, ``bf16`` or ``fp16``.
    is_packed: rows run end to end, so that a batch costs the sum of its tokens; else each is padded to the longest.
    workers: how many forwards are best run at once; ``None`` for as many as there are cores.
    """

    name: str
    device: str
    precision: str
    dimension: int
    rows_per_forward: int | None = None
    is_packed: bool = False
    workers: int | None = 1


class Backend(Protocol):
    """A loaded model. ``forward`` is called from several threads at once and holds no state between calls."""

    facts: Facts

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows] logits of a cross-encoder, or float32[rows, dimension] unit vectors of an embedder."""
        ...

    def close(self) -> None:
        """Let go of the model's memory."""
        ...


ONNX_FILES = ("model.onnx", "onnx/model.onnx")


def onnx_file(folder: Path) -> Path | None:
    """The ONNX file of a model folder, if it has one; whether it has decides which backend loads the folder."""
    return next((folder / name for name in ONNX_FILES if (folder / name).is_file()), None)
