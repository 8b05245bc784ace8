"""What runs a model's folder: the fastest backend that suits it, once its files are sound and there is memory for it.

## Decisions
2026-11: names and headers are checked first, then memory, then values: a model that does not fit is refused within
milliseconds, whatever its size.
2026-11: memory is judged by an estimate and not by a try. A process that the kernel kills for its memory takes the
models that it serves along.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescorer_sidecar import weights
from rescorer_sidecar.backends import Backend, encoder, native, onnx_file
from rescorer_sidecar.backends.arrays import Pooling
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError, NoCompiler
from rescorer_sidecar.memory import Budget, needed_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A model to be loaded: what it was called, its folder, what that says, and the memory that it may take of."""

    source: str
    folder: Path
    facts: Mapping[str, Any]
    settings: Settings
    budget: Budget


def backend(wanted: Wanted, pooling: Pooling | None) -> Backend:
    """What ``--backend`` names; under ``auto`` the fastest that there is for this folder and device."""
    settings, folder = wanted.settings, wanted.folder
    named, on_gpu = settings.backend, settings.device.startswith("cuda")
    if on_gpu and named in ("native", "onnx"):
        raise ConfigError(f"device {settings.device}: backend {named} runs on the CPU; use --backend torch")
    if named == "native" or (named == "auto" and _suits_native(folder, settings)):
        try:
            return _native(wanted, pooling)
        except NoCompiler as error:
            if named == "native":
                raise
            logger.warning("%s", error)
    if named == "onnx" or (named == "auto" and onnx_file(folder) and not on_gpu):
        from rescorer_sidecar.backends.onnx import OnnxBackend

        wanted.budget.take(needed_bytes(folder, "onnx", "fp32"), wanted.source)
        return OnnxBackend(folder, pooling, pad_id=wanted.facts.get("pad_token_id") or 0)
    if settings.precision == "int8":
        raise ConfigError(f"precision int8: backend torch has none, and native can't run {folder}; use bf16 or fp32")
    lacking = encoder.undescribed(folder)
    _check_on_torch(wanted)
    if lacking:
        from rescorer_sidecar.backends.torch import TorchBackend

        logger.info("%s runs padded, through transformers: %s", folder, lacking)
        return TorchBackend(folder, pooling, device=settings.device, precision=settings.precision)
    from rescorer_sidecar.backends.packed_torch import PackedTorchBackend

    unsuited = native.unsuited(folder)
    if unsuited:
        logger.info("%s runs packed on torch; backend native can't run it: %s", folder, unsuited)
    return PackedTorchBackend(folder, pooling, device=settings.device, precision=settings.precision)


def decoder(wanted: Wanted, answers: Sequence[int]) -> Backend:
    """A generative reranker, whose answers have these ids."""
    settings, folder = wanted.settings, wanted.folder
    if settings.backend not in ("auto", "torch") or settings.precision == "int8":
        asked = f"backend {settings.backend}, precision {settings.precision}"
        raise ConfigError(
            f"{folder}: {asked}: generative models run on torch in fp32, bf16 or fp16; use --backend torch"
        )
    _check_on_torch(wanted)
    from rescorer_sidecar.backends.decoder import DecoderBackend

    return DecoderBackend(folder, answers, device=settings.device, precision=settings.precision)


def _suits_native(folder: Path, settings: Settings) -> bool:
    """Whether nothing speaks against the native kernels: a checkpoint that they run, and a CPU is all that is used."""
    if settings.device == "auto" and shutil.which("nvidia-smi"):
        return False
    return settings.device in ("auto", "cpu") and settings.precision != "fp16" and not native.unsuited(folder)


def _native(wanted: Wanted, pooling: Pooling | None) -> Backend:
    folder, precision = wanted.folder, wanted.settings.precision
    lacking = native.unsuited(folder)
    if lacking:
        raise ConfigError(f"{folder}: backend native can't run it ({lacking}); use --backend torch or onnx")
    needed = needed_bytes(folder, "native", "fp32" if precision in ("auto", "fp16") else precision)
    _check(wanted, wanted.budget, needed)
    return native.NativeBackend(folder, pooling, precision=precision)


def _check_on_torch(wanted: Wanted) -> None:
    """As :func:`_check`, with the memory of the device that torch will use."""
    from rescorer_sidecar.backends.devices import device_and_precision, free_bytes

    place, precision = device_and_precision(wanted.settings.device, wanted.settings.precision)
    on_device = place.type == "cuda" and not wanted.budget.is_set
    needed = needed_bytes(wanted.folder, "torch", precision)
    _check(wanted, Budget(free_bytes(place)) if on_device else wanted.budget, needed)
    if on_device:
        wanted.budget.elsewhere(needed)


def _check(wanted: Wanted, budget: Budget, needed: int) -> None:
    """Take the memory, and look at the weights. BadCheckpoint, TooLarge."""
    tensors = weights.stored(wanted.folder)
    if encoder.describes(wanted.folder):
        weights.check_names(tensors, encoder.described(wanted.folder), wanted.facts)
    budget.take(needed, wanted.source)
    weights.check_values(tensors)
