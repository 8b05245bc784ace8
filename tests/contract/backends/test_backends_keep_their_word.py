"""What every backend promises, run over every backend that there is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from contract.backends.tiny_models import write_causal_torch, write_onnx, write_padless_torch, write_torch
from rescorer_sidecar.backends import Backend
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import ConfigError

Make = Callable[[Path], Backend]


def _onnx(folder: Path, pooling: str | None = None, **how: object) -> Backend:
    from rescorer_sidecar.backends.onnx import OnnxBackend

    return OnnxBackend(write_onnx(folder, **how), pooling, pad_id=0)


def _torch(folder: Path, pooling: str | None = None, **how: object) -> Backend:
    from rescorer_sidecar.backends.torch import TorchBackend

    return TorchBackend(write_torch(folder, **how), pooling, device="cpu", precision="fp32")


def _packed(folder: Path, pooling: str | None = None, **how: object) -> Backend:
    from rescorer_sidecar.backends.packed_torch import PackedTorchBackend

    return PackedTorchBackend(write_torch(folder, **how), pooling, device="cpu", precision="fp32")


def _padless(folder: Path) -> Backend:
    from rescorer_sidecar.backends.torch import TorchBackend

    return TorchBackend(write_padless_torch(folder), None, device="cpu", precision="fp32")


def _decoder(folder: Path, *answers: int) -> Backend:
    from rescorer_sidecar.backends.decoder import DecoderBackend

    return DecoderBackend(write_causal_torch(folder), answers, device="cpu", precision="fp32")


def _native(folder: Path, pooling: str | None = None, precision: str = "fp32", **how: object) -> Backend:
    from rescorer_sidecar.backends.native import NativeBackend

    return NativeBackend(write_torch(folder, **how), pooling, precision=precision)


def _native_short(folder: Path, precision: str) -> Backend:
    try:
        return _native(folder, precision=precision)
    except ConfigError as error:
        pytest.skip(str(error))


CROSS_ENCODERS = [
    pytest.param(lambda folder: FakeBackend(), id="fake"),
    pytest.param(lambda folder: FakeBackend(rows_per_forward=1), id="fake, row by row"),
    pytest.param(_onnx, id="onnx"),
    pytest.param(lambda folder: _onnx(folder, labels=2), id="onnx, two labels"),
    pytest.param(lambda folder: _onnx(folder, quantised=True), id="onnx, int8"),
    pytest.param(_torch, id="torch", marks=pytest.mark.slow),
    pytest.param(lambda folder: _torch(folder, labels=2), id="torch, two labels", marks=pytest.mark.slow),
    pytest.param(_native, id="native", marks=pytest.mark.slow),
    pytest.param(lambda folder: _native(folder, labels=2), id="native, two labels", marks=pytest.mark.slow),
    pytest.param(lambda folder: _native_short(folder, "bf16"), id="native, bf16", marks=pytest.mark.slow),
    pytest.param(lambda folder: _native_short(folder, "int8"), id="native, int8", marks=pytest.mark.slow),
    pytest.param(_packed, id="torch, packed", marks=pytest.mark.slow),
    pytest.param(lambda folder: _packed(folder, labels=2), id="torch, packed, two labels", marks=pytest.mark.slow),
    pytest.param(_padless, id="torch, no padding id", marks=pytest.mark.slow),
    pytest.param(lambda folder: _decoder(folder, 7, 8), id="decoder, two answers", marks=pytest.mark.slow),
    pytest.param(lambda folder: _decoder(folder, 7), id="decoder, one answer", marks=pytest.mark.slow),
]
EMBEDDERS = [
    pytest.param(lambda folder: FakeBackend(dimension=8), id="fake, vectors"),
    pytest.param(lambda folder: _onnx(folder, "mean", labels=None), id="onnx, mean"),
    pytest.param(lambda folder: _onnx(folder, "cls", labels=None), id="onnx, cls"),
    pytest.param(lambda folder: _torch(folder, "mean", labels=None), id="torch, mean", marks=pytest.mark.slow),
    pytest.param(lambda folder: _torch(folder, "cls", labels=None), id="torch, cls", marks=pytest.mark.slow),
    pytest.param(lambda folder: _native(folder, "mean", labels=None), id="native, mean", marks=pytest.mark.slow),
    pytest.param(lambda folder: _native(folder, "cls", labels=None), id="native, cls", marks=pytest.mark.slow),
    pytest.param(lambda folder: _packed(folder, "mean", labels=None), id="torch, packed, mean", marks=pytest.mark.slow),
    pytest.param(lambda folder: _packed(folder, "cls", labels=None), id="torch, packed, cls", marks=pytest.mark.slow),
]


def _made(make: Make, folder: Path) -> Iterator[Backend]:
    backend = make(folder)
    yield backend
    backend.close()


@pytest.fixture(params=CROSS_ENCODERS)
def classifier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Every cross-encoder."""
    yield from _made(request.param, tmp_path)


@pytest.fixture(params=EMBEDDERS)
def embedder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Every embedder."""
    yield from _made(request.param, tmp_path)


@pytest.fixture(params=[*CROSS_ENCODERS, *EMBEDDERS])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Every backend of either kind."""
    yield from _made(request.param, tmp_path)


def rows(count: int, seed: int = 5) -> list[Tokens]:
    """Rows of 2 to 40 tokens: a first segment, then a second one."""
    dice = random.Random(seed)
    made = []
    for _ in range(count):
        length = dice.randint(2, 40)
        first = dice.randint(1, length)
        ids = tuple(dice.randint(4, 600) for _ in range(length))
        made.append(Tokens(ids=ids, type_ids=(0,) * first + (1,) * (length - first)))
    return made


def run(backend: Backend, batch: list[Tokens]) -> Floats:
    """The batch in forwards as large as the backend takes."""
    size = backend.facts.rows_per_forward or len(batch)
    return np.concatenate([backend.forward(batch[at : at + size]) for at in range(0, len(batch), size)])


def test_logits_are_one_finite_float32_a_row(classifier: Backend) -> None:
    """float32[rows], finite, for one row and for many; a cross-encoder has dimension 0."""
    for count in (1, 9):
        found = run(classifier, rows(count))
        assert (found.dtype, found.shape) == (np.float32, (count,))
        assert np.isfinite(found).all()
    assert classifier.facts.dimension == 0


def test_vectors_are_one_float32_unit_vector_a_row(embedder: Backend) -> None:
    """float32[rows, dimension], each of length one, for one row and for many."""
    for count in (1, 9):
        found = run(embedder, rows(count))
        assert (found.dtype, found.shape) == (np.float32, (count, embedder.facts.dimension))
        assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(count), abs=1e-5)


def test_facts_are_filled_in(backend: Backend) -> None:
    """A backend says its name, its device, its precision, and how many rows it takes."""
    facts = backend.facts
    assert facts.name in {"fake", "native", "onnx", "torch", "torch-packed", "torch-decoder"}
    assert facts.device == "cpu"
    assert facts.precision in {"int8", "bf16", "fp32"}
    assert facts.rows_per_forward in {None, 1}


def test_a_row_keeps_its_place(backend: Backend) -> None:
    """Results come in the order of the rows: turned around, they come turned around."""
    batch = rows(9)
    assert run(backend, batch[::-1]) == pytest.approx(run(backend, batch)[::-1], abs=1e-4)


def test_a_row_does_not_depend_on_its_neighbours(backend: Backend) -> None:
    """F7, T4: alone, beside longer and beside shorter rows, a row has the same result within 0.0001."""
    batch = rows(9)
    together = run(backend, batch)
    for place, row in enumerate(batch):
        assert run(backend, [row]) == pytest.approx(together[place : place + 1], abs=1e-4)


def test_the_same_rows_have_exactly_the_same_result(backend: Backend) -> None:
    """The same batch again: bit for bit the same; a forward leaves nothing behind."""
    batch = rows(9)
    first = run(backend, batch)
    run(backend, rows(5, seed=6))
    assert (run(backend, batch) == first).all()


def test_different_rows_have_different_results(backend: Backend) -> None:
    """The result does depend on the row: its words, and which segment they stand in."""
    row = rows(1)[0]
    other_word = Tokens(ids=(row.ids[0] + 1, *row.ids[1:]), type_ids=row.type_ids)
    assert not np.allclose(run(backend, [row]), run(backend, [other_word]), atol=1e-5)


def test_four_threads_get_what_one_gets(backend: Backend) -> None:
    """Forwards from four threads at once equal the serial ones."""
    batches = [rows(1 if backend.facts.rows_per_forward else 4, seed=seed) for seed in range(24)]
    serial = [backend.forward(batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        for found, expected in zip(threads.map(backend.forward, batches), serial, strict=True):
            assert found == pytest.approx(expected, abs=1e-5)


def test_rows_are_not_changed(backend: Backend) -> None:
    """A backend reads its rows and leaves them as they are."""
    batch = rows(1 if backend.facts.rows_per_forward else 4)
    before = list(batch)
    backend.forward(batch)
    assert batch == before
