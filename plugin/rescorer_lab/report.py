"""The report file of an evaluation: the same keys every time, written whole or not at all."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rescorer
from rescorer_lab.errors import LabError


def write(path: Path, report: Mapping[str, Any]) -> Path:
    """Write ``report`` as JSON beside ``path`` and rename it; returns the absolute path.

    Figures keep six decimals; not-a-number is null, as JSON has none. Raises LabError where it can't be written.
    """
    path = path.absolute()
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(_rounded(report), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise LabError(f"{path} can't be written: {error.strerror}", "name another with --report") from error
    return path


def check_writable(path: Path) -> None:
    """Raise LabError where ``path`` can't be written, before minutes of work instead of after them."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise LabError(f"{path} can't be written", "name a file in a folder of yours with --report")


def versions() -> dict[str, str]:
    """What the figures were made with: our version and those of the libraries that decide them."""
    libraries = ("opensearch-py", "onnxruntime", "tokenizers", "ir-measures")
    return {
        "rescorer": rescorer.__version__,
        "python": platform.python_version(),
        **{name: found for name in libraries if (found := _installed(name))},
    }


def machine() -> dict[str, Any]:
    """What the times were taken on. The processor's name is null where the system does not tell it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": platform.system(), "architecture": platform.machine(), "cores": cores, "processor": _processor()}


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
