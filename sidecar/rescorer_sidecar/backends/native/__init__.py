"""Described encoders on the CPU through our own forward pass: no padding, no torch, one thread a forward.

The kernels are C, from vectors up: ``lanes.h``, ``product.h``, ``linear.h``, ``relative.h``, ``attention.h``,
``layers.h``, ``head.h``, ``encoder.c``; :mod:`.build` compiles them for this machine.

## Decisions
2026-11: one thread a forward and as many forwards at once as there are cores. Halves of a request on a core each need
no meeting point in any layer; the batcher splits a lone request.
2026-11: int8 has a scale for each token and each output column. With one scale a batch, as dynamically quantised ONNX
files have it, a pair's logit moves with its neighbours, and twice as far from float32.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rescorer_sidecar.backends import Facts
from rescorer_sidecar.backends.arrays import Pooling, checked_labels, one_logit, unit
from rescorer_sidecar.backends.encoder import Checkpoint, Embeddings, Undescribed, described
from rescorer_sidecar.backends.native import build
from rescorer_sidecar.backends.native.kernels import PRECISIONS, Kernels, Result
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import ConfigError

logger = logging.getLogger(__name__)


def unsuited(folder: Path) -> str:
    """Why the kernels can't run the folder's checkpoint, in a few words; empty where they can."""
    try:
        found = described(folder)
    except Undescribed as error:
        return str(error)
    shape = found.shape
    lacks = {
        f"{shape.activation} in its layers": shape.activation != "gelu",
        "heads of an odd size": shape.width // shape.heads % 2 == 1,  # steps of bfloat16 are pairs
    }
    return ", ".join(what for what, is_there in lacks.items() if is_there)


RESULTS: dict[Pooling | None, Result] = {None: "logits", "cls": "first", "mean": "mean"}
TRIAL_TOKENS = 128
TRIALS = 5
"""One layer over this many tokens, this often, tells which precision is faster here: milliseconds in all."""


class NativeBackend:
    """A cross-encoder (``pooling`` is ``None``) or embedder of a family that ``encoder`` describes.

    precision: ``auto`` (bf16 where it is measured to be faster than fp32, else fp32), ``fp32``, ``bf16`` or ``int8``.
    """

    def __init__(self, folder: Path, pooling: Pooling | None, *, precision: str) -> None:
        library = build.library()
        checkpoint = Checkpoint(folder)
        tables = checkpoint.embeddings()
        chosen = _fastest(library, checkpoint, tables) if precision == "auto" else precision
        if chosen not in PRECISIONS or not library.rescorer_supports(PRECISIONS[chosen]):
            able = ", ".join(name for name, code in PRECISIONS.items() if library.rescorer_supports(code))
            raise ConfigError(
                f"precision {chosen}: backend native has {able} on this processor; choose one of them or auto, "
                "or use --backend torch, which has bf16 and fp16 on any processor, slower"
            )
        if pooling is None:
            checked_labels(len(checkpoint.head().out.bias), folder)
        self._kernels = Kernels(library, checkpoint, tables, chosen, is_classifier=pooling is None)
        self._result = RESULTS[pooling]
        self._memory = threading.local()
        self.facts = Facts(
            name="native",
            device="cpu",
            precision=chosen,
            dimension=0 if pooling is None else checkpoint.shape.width,
            is_packed=True,
            workers=None,
        )

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows] logits, or float32[rows, dimension] unit vectors."""
        lengths = [len(row) for row in batch]
        starts = np.zeros(len(batch) + 1, dtype=np.int32)
        starts[1:] = np.cumsum(lengths)
        ids = np.fromiter(itertools.chain.from_iterable(row.ids for row in batch), np.int32, starts[-1])
        types = np.fromiter(itertools.chain.from_iterable(row.type_ids for row in batch), np.int32, starts[-1])
        bytes_needed = self._kernels.scratch_bytes(int(starts[-1]), max(lengths))
        found = self._kernels.run(self._result, starts, ids, types, self._scratch(bytes_needed))
        return one_logit(found) if self._result == "logits" else unit(found)

    def close(self) -> None:
        """Let go of the weights."""
        self._kernels.close()

    def _scratch(self, size: int) -> npt.NDArray[np.uint8]:
        """This thread's own memory, kept from forward to forward: fresh pages cost a tenth of a short forward."""
        kept: npt.NDArray[np.uint8] | None = getattr(self._memory, "kept", None)
        if kept is None or len(kept) < size:
            kept = self._memory.kept = np.empty(size, dtype=np.uint8)
        return kept


def _fastest(library: Any, checkpoint: Checkpoint, tables: Embeddings) -> str:
    took_s = {
        name: _trial_s(Kernels(library, checkpoint, tables, name, is_classifier=False, most_layers=1))
        for name in ("fp32", "bf16")
        if library.rescorer_supports(PRECISIONS[name])
    }
    chosen = min(took_s, key=lambda name: took_s[name])
    said = ", ".join(f"{name} {1000 * seconds:.2f} ms" for name, seconds in took_s.items())
    instructions = library.rescorer_instructions().decode()
    logger.info("native on %s: %s, for a layer over %d tokens: %s", instructions, chosen, TRIAL_TOKENS, said)
    return chosen


def _trial_s(kernels: Kernels) -> float:
    length = min(TRIAL_TOKENS, kernels.positions)
    starts = np.array([0, length], dtype=np.int32)
    zeros = np.zeros(length, dtype=np.int32)
    scratch = np.zeros(kernels.scratch_bytes(length, length), dtype=np.uint8)
    took_s = []
    for _ in range(TRIALS):
        begun_s = time.perf_counter()
        kernels.run("mean", starts, zeros, zeros, scratch)
        took_s.append(time.perf_counter() - begun_s)
    kernels.close()
    return min(took_s)
