"""The packed torch backend on a GPU; skipped, aloud, where torch sees none."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rescorer_sidecar.backends.arrays import Pooling
from unit.sidecar.random_encoders import (
    FAMILIES,
    LONGEST,
    SHAPES,
    alone_and_together,
    checkpoint,
    correlation,
    largest_error,
    rows,
)

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("torch sees no GPU", allow_module_level=True)

from rescorer_sidecar.backends import packed_attention  # noqa: E402
from rescorer_sidecar.backends.packed_graphs import SIZES, TOKENS_A_ROW  # noqa: E402
from rescorer_sidecar.backends.packed_torch import PackedTorchBackend  # noqa: E402


@pytest.fixture(scope="module", params=[(family, name) for family in FAMILIES for name in SHAPES])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each family and shape."""
    family, name = request.param
    return checkpoint(tmp_path_factory.mktemp("model"), family, SHAPES[name])


def test_fp32_on_a_gpu_is_transformers_on_the_cpu(folder: Path) -> None:
    """Logits equal those of transformers within 1e-4 from one token to the limit, all in one batch."""
    backend = PackedTorchBackend(folder, None, device="cuda:0", precision="fp32")
    assert largest_error(backend, folder) < 1e-4


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_gpu_ranks_nearly_alike(folder: Path, precision: str) -> None:
    """fp16 and bf16 correlate with fp32 by 0.999 at least."""
    backend = PackedTorchBackend(folder, None, device="cuda:0", precision=precision)
    assert correlation(backend, folder) >= 0.999


def test_a_gpu_runs_rows_of_all_lengths_in_one_call(tmp_path: Path) -> None:
    """With heads of 32 and 64, whole rows are attended by the variable-length kernel."""
    for name in ("heads of 32", "heads of 64"):
        folder = checkpoint(tmp_path / name.replace(" ", "-"), "bert", SHAPES[name])
        backend = PackedTorchBackend(folder, None, device="cuda:0", precision="auto")
        assert backend.facts.precision == "fp16"
        assert backend.attention is packed_attention.flash


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_on_a_gpu_a_score_depends_little_on_its_batch(tmp_path: Path, family: str) -> None:
    """Alone or beside others, in any order, a row's fp16 score moves by less than 0.01."""
    backend = PackedTorchBackend(
        checkpoint(tmp_path, family, SHAPES["heads of 64"]), None, device="cuda:0", precision="fp16"
    )
    dice = random.Random(0)
    for _ in range(20):
        lengths = [dice.randint(1, LONGEST) for _ in range(dice.randint(1, 30))]
        alone, together = alone_and_together(backend, lengths, family, dice)
        assert together == pytest.approx(alone, abs=0.01)


@pytest.mark.parametrize("pooling", [None, "mean", "cls"])
def test_a_graph_gives_what_a_forward_without_gives(tmp_path: Path, pooling: Pooling | None) -> None:
    """At both sides of each recorded size, and of its number of rows, a graph's results are those without it."""
    folder = checkpoint(tmp_path, "bert", SHAPES["heads of 64"])
    backend = PackedTorchBackend(folder, pooling, device="cuda:0", precision="fp16")
    assert backend.graphs is not None
    plain = PackedTorchBackend(folder, pooling, device="cuda:0", precision="fp16")
    plain.graphs = None
    for size in SIZES[:6]:
        for tokens in (size - 2, size - 1, size):
            whole, rest = divmod(tokens, LONGEST)
            batch = rows([LONGEST] * whole + [rest] * bool(rest), "bert")
            assert backend.forward(batch) == pytest.approx(plain.forward(batch), abs=0.005)
        for count in (size // TOKENS_A_ROW - 1, size // TOKENS_A_ROW, size // TOKENS_A_ROW + 1):
            batch = rows([4] * count, "bert")
            assert backend.forward(batch) == pytest.approx(plain.forward(batch), abs=0.005)


def test_threads_share_a_graph_without_mixing_their_rows(tmp_path: Path) -> None:
    """Eight threads with batches of their own each get the scores that they would get alone."""
    folder = checkpoint(tmp_path, "bert", SHAPES["heads of 64"])
    backend = PackedTorchBackend(folder, None, device="cuda:0", precision="fp16")
    batches = [rows([3 + number, 20, 40], "bert", seed=number) for number in range(8)]
    alone = [backend.forward(batch) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            for found, expected in zip(threads.map(backend.forward, batches), alone, strict=True):
                assert found == pytest.approx(expected, abs=1e-6)


def test_norms_and_gelu_run_fused(tmp_path: Path) -> None:
    """On a GPU the kernel that adds and norms is taken, and no warning says that something slower runs."""
    backend = PackedTorchBackend(
        checkpoint(tmp_path, "bert", SHAPES["heads of 64"]), None, device="cuda:0", precision="fp16"
    )
    layer = backend.encoder.layers[0]
    assert layer.norm.fused is not None
    assert layer.up.__name__ == "fused"
