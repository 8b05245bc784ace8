"""The native forward pass, compiled for this machine when it is first needed, and kept.

## Decisions
2026-11: compiled where it runs, with ``-march=native``: one source serves AMX, AVX-512, AVX2 and whatever comes, and a
wheel stays free of machine code. Rejected: a build hook, which compiles for the machine that installs, not the one that
runs (container images). Without a compiler the torch and onnx backends do the same work more slowly.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from rescorer_sidecar.backends.native.kernels import typed
from rescorer_sidecar.config import cache_folder
from rescorer_sidecar.errors import NoCompiler

HERE = Path(__file__).parent
SOURCES = ("lanes.h", "product.h", "linear.h", "relative.h", "attention.h", "layers.h", "head.h", "encoder.c")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fPIC", "-shared")
COMPILERS = ("cc", "gcc", "clang")


def library() -> Any:
    """The compiled library, loaded, its functions typed; NoCompiler where it is neither there nor can be made."""
    path = cache_folder() / "native" / f"encoder-{_key()}.so"
    if not path.is_file():
        _compile(path)
    return typed(ctypes.CDLL(str(path)))


def _key() -> str:
    """What decides the machine code: our sources, the flags, and what this processor can do."""
    whole = hashlib.sha256(" ".join(FLAGS).encode())
    for name in SOURCES:
        whole.update((HERE / name).read_bytes())
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("flags", "Features", "model name")):
            whole.update(line.encode())
        elif not line:
            break
    return whole.hexdigest()[:16]


def _compile(path: Path) -> None:
    named = os.environ.get("CC")
    compiler = named or next((name for name in COMPILERS if shutil.which(name)), None)
    if compiler is None:
        raise NoCompiler(f"none of {', '.join(COMPILERS)} is on PATH")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [*compiler.split(), *FLAGS, "-o", str(made), str(HERE / "encoder.c"), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode:
                raise NoCompiler(f"{compiler} failed: {(done.stderr.strip() or 'no message').splitlines()[0]}")
            made.replace(path)  # whole or not there, also for a sidecar that starts beside this one
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompiler(f"{compiler} could not be run into {path.parent}: {error}") from error
