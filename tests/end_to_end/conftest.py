"""What the end-to-end tests share: the real models, and one sidecar process that serves both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


def _quiet(_: str) -> None:
    """Downloads are told by the command, not by its tests."""


@pytest.fixture(scope="session")
def cross_encoder() -> Path:
    """The folder of the real cross-encoder, INT8 ONNX."""
    from rescorer_lab import models

    return models.fetch(models.CROSS_ENCODER, _quiet)


@pytest.fixture(scope="session")
def embedder() -> Path:
    """The folder of the real embedder."""
    from rescorer_lab import models

    return models.fetch(models.EMBEDDER, _quiet)


@pytest.fixture(scope="session")
def recovered() -> Path:
    """The folder of the same cross-encoder's weights as float32 safetensors."""
    from rescorer_lab import models

    return models.fetch(models.RECOVERED, _quiet)


@pytest.fixture(scope="session")
def sidecar_of_two(cross_encoder: Path, recovered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a sidecar process with two cross-encoders, the INT8 one first."""
    from rescorer_lab import sidecar as process

    options = ["--model", f"{cross_encoder},{recovered}"]
    started = process.start(options, tmp_path_factory.mktemp("sidecar-of-two") / "sidecar.log")
    yield started.address
    started.stop()


@pytest.fixture(scope="session")
def sidecar(cross_encoder: Path, embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a sidecar process with both models, which all tests of one run share; none of them stops it."""
    from rescorer_lab import sidecar as process

    options = ["--backend", "onnx", "--model", str(cross_encoder), "--embedder", str(embedder)]
    started = process.start(options, tmp_path_factory.mktemp("sidecar") / "sidecar.log")
    yield started.address
    started.stop()
