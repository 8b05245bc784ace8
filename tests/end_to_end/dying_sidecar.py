"""The sidecar's own command over onnxruntime whose device is lost while a file exists; the first argument names it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rescorer_sidecar.__main__ import main
from rescorer_sidecar.backends.onnx import OnnxBackend
from rescorer_sidecar.domain import Floats, Tokens

LOST = Path(sys.argv.pop(1))
computed = OnnxBackend.forward


def forward(backend: OnnxBackend, batch: Sequence[Tokens]) -> Floats:
    """As the real one, while there is a device."""
    if LOST.exists():
        raise RuntimeError("the device is lost")
    return computed(backend, batch)


if __name__ == "__main__":
    OnnxBackend.forward = forward
    main()
