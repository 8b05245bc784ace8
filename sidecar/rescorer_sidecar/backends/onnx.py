"""Models as ONNX files, on the CPU, through onnxruntime.

## Decisions
2026-11-21: a dynamically quantised file runs one row a forward. It quantises activations over the whole batch, padding
included, so a pair's logit would move with its neighbours (by up to 0.4), which no cache and no test could bear.
2026-11-21: one thread a forward and as many forwards at once as the batcher has workers. Two workers of one thread
scored 242-token pairs in 20 ms each where one of two threads took 26 ms (INT8 MiniLM-L12, two cores with AMX).
2026-12-01: onnxruntime's telemetry is off. Since 1.29 its Linux wheels write a device id on import and send events to
their maker (microsoft/onnxruntime#27379); it can be put off before the import only, by this variable.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rescorer_sidecar.backends import ONNX_FILES, Facts, onnx_file
from rescorer_sidecar.backends.arrays import Pooling, checked_labels, one_logit, padded, pooled
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import ConfigError, MissingExtra

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
try:
    import onnxruntime
except ImportError as error:
    raise MissingExtra("onnxruntime", "onnx") from error

DYNAMIC_QUANTISATION = b"DynamicQuantizeLinear"


class OnnxBackend:
    """An ONNX cross-encoder (``pooling`` is ``None``) or embedder."""

    def __init__(self, folder: Path, pooling: Pooling | None, pad_id: int) -> None:
        path = onnx_file(folder)
        if path is None:
            raise ConfigError(f"{folder} holds no {' or '.join(ONNX_FILES)}; use backend torch, or export the model")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common root but this
            first_line = str(error).strip().splitlines()[0]
            raise ConfigError(f"{path} can't be loaded by onnxruntime: {first_line}") from error
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._pooling = pooling
        self._pad_id = pad_id
        width = self._width()
        if pooling is None:
            checked_labels(width, path)
        is_quantised = DYNAMIC_QUANTISATION in path.read_bytes()
        self.facts = Facts(
            name="onnx",
            device="cpu",
            precision="int8" if is_quantised else "fp32",
            dimension=0 if pooling is None else width,
            rows_per_forward=1 if is_quantised else None,
            workers=None,
        )

    def _width(self) -> int:
        """Labels or dimension; some exports leave it open in the file, so that only a run can tell."""
        width = self._session.get_outputs()[0].shape[-1]
        if isinstance(width, int):
            return width
        arrays = padded([Tokens(ids=(0,), type_ids=(0,))], self._pad_id)
        (output, *_) = self._session.run(None, {name: arrays[name] for name in self._inputs})
        return int(output.shape[-1])

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows] logits, or float32[rows, dimension] unit vectors."""
        arrays = padded(batch, self._pad_id)
        fed = {name: array for name, array in arrays.items() if name in self._inputs}
        (output, *_) = self._session.run(None, fed)
        result = np.asarray(output, dtype=np.float32)
        if self._pooling is None:
            return one_logit(result)
        return pooled(result, arrays["attention_mask"], self._pooling)

    def close(self) -> None:
        """Let go of the session."""
        del self._session
