"""What a model will take of memory, told from its files before it is loaded, and how much there is.

Measured with a BERT of 33 M parameters (46 MB of them tables): native took 157, 108 and 85 MB in fp32, bf16 and int8,
packed torch up to 161 and 136 MB in fp32 and bf16, an INT8 ONNX file of 34 MB took 96; tokenizer and first forward
included.
"""

from __future__ import annotations

from pathlib import Path

from rescorer_sidecar.backends import encoder, onnx_file
from rescorer_sidecar.errors import TooLarge
from rescorer_sidecar.weights import KINDS, stored

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
ONNX_FACTOR = 2.5
"""A session holds the file's weights, and a copy of them in the order that its kernels like."""

BESIDES_BYTES = 28_000_000
"""Tokenizer, and what a first forward works in."""


class Budget:
    """Memory for models, given out one model after the other; ``total_bytes`` 0 takes what the machine has free."""

    def __init__(self, total_bytes: int = 0) -> None:
        self.is_set = bool(total_bytes)
        self.taken_bytes = 0
        self._free_bytes = total_bytes or free_bytes()

    def take(self, needed_bytes: int, source: str) -> None:
        """Count a model as loaded; TooLarge where it does not fit into what is left."""
        if needed_bytes > self._free_bytes:
            raise TooLarge(source, needed_bytes, self._free_bytes, is_set=self.is_set)
        self._free_bytes -= needed_bytes
        self.taken_bytes += needed_bytes

    def elsewhere(self, needed_bytes: int) -> None:
        """Count a model as loaded into another memory, a GPU's."""
        self.taken_bytes += needed_bytes

    def holds(self, loaded_bytes: int) -> None:
        """Count models that were loaded before; what the machine has free tells of them by itself."""
        if self.is_set:
            self._free_bytes = max(0, self._free_bytes - loaded_bytes)


def needed_bytes(folder: Path, backend: str, precision: str) -> int:
    """About how much a backend (``native``, ``onnx``, ``torch``) takes for this folder, loading included."""
    if backend == "onnx":
        path = onnx_file(folder)
        beside = [] if path is None else [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
        return BESIDES_BYTES + int(ONNX_FACTOR * sum(file.stat().st_size for file in beside))
    tensors = stored(folder)
    values = sum(tensor.values for tensor in tensors)
    tables = sum(tensor.values for tensor in tensors if "embed" in tensor.name and len(tensor.shape) == 2)
    size = BYTES[precision]
    made = max(size, 2) * _made_values(folder)  # attention runs in bf16 beside int8
    if backend == "native":  # reads its tables in float32 whatever it computes in
        return BESIDES_BYTES + BYTES["fp32"] * tables + size * (values - tables) + made
    converted = sum(tensor.size_bytes for tensor in tensors if KINDS[tensor.kind].itemsize != size)
    return BESIDES_BYTES + size * values + converted + made


def _made_values(folder: Path) -> int:
    try:
        return encoder.described(folder).made_values
    except encoder.Undescribed:
        return 0


def free_bytes() -> int:
    """What the machine, or the control group that holds this process, has free."""
    return min(_free_on_machine(), free_in_group(Path("/sys/fs/cgroup")))


def _free_on_machine() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 1 << 62)


def free_in_group(group: Path) -> int:
    """The group's limit less what it holds; file pages that nobody uses give way. No limit where there is none."""
    try:
        most = int((group / "memory.max").read_text(encoding="ascii"))
        held = int((group / "memory.current").read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # another kind of group, or "max"
        return 1 << 62
    idle = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return max(0, most - held + idle)
