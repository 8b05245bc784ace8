"""The packed torch backend against transformers, on random checkpoints of every described family."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.errors import ConfigError
from unit.sidecar.random_encoders import (
    FAMILIES,
    LONGEST,
    SHAPES,
    VOCABULARY,
    alone_and_together,
    checkpoint,
    correlation,
    largest_error,
)

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")

from rescorer_sidecar.backends import packed_attention, packed_linear  # noqa: E402
from rescorer_sidecar.backends.encoder import Activation, Linear  # noqa: E402
from rescorer_sidecar.backends.packed_attention import Rows, by_length, chosen  # noqa: E402
from rescorer_sidecar.backends.packed_torch import PackedTorchBackend  # noqa: E402

CPU = torch.device("cpu")
Kernel = Callable[["torch.Tensor", Rows, int | None], "torch.Tensor"]


def packed_torch(folder: Path, precision: str = "fp32") -> PackedTorchBackend:
    """A cross-encoder on the CPU."""
    return PackedTorchBackend(folder, None, device="cpu", precision=precision)


@pytest.fixture(scope="module", params=[(family, name) for family in FAMILIES for name in SHAPES])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each family and shape."""
    family, name = request.param
    return checkpoint(tmp_path_factory.mktemp("model"), family, SHAPES[name])


def test_fp32_is_transformers_at_every_length(folder: Path) -> None:
    """Logits equal those of transformers within 1e-4 from one token to the limit, all in one batch."""
    assert largest_error(packed_torch(folder), folder) < 1e-4


def test_bf16_ranks_nearly_alike(folder: Path) -> None:
    """bf16 correlates with fp32 by 0.999 at least."""
    assert correlation(packed_torch(folder, "bf16"), folder) >= 0.999


@pytest.fixture(scope="module", params=["bert", "roberta", "modernbert"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PackedTorchBackend:
    """A family that counts positions from 0, one that does not, and one that turns by them and sees windows."""
    return packed_torch(checkpoint(tmp_path_factory.mktemp("model"), request.param, SHAPES["heads of 32"]))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=30), dice=st.randoms(use_true_random=False))
def test_a_score_does_not_depend_on_its_batch(
    small: PackedTorchBackend, lengths: list[int], dice: random.Random
) -> None:
    """Whatever stands beside it and in whatever order, a row has the score that it has alone, within 1e-5."""
    alone, together = alone_and_together(small, lengths, "roberta", dice)
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (Tokens(ids=(VOCABULARY,), type_ids=(0,)), f"id {VOCABULARY}"),
        (Tokens(ids=(5, -1), type_ids=(0, 0)), "id -1"),
        (Tokens(ids=(), type_ids=()), "no tokens"),
        (Tokens(ids=(5,) * (LONGEST + 10), type_ids=(0,) * (LONGEST + 10)), f"position {LONGEST + 9}"),
    ],
)
def test_what_no_table_holds_is_refused(small: PackedTorchBackend, row: Tokens, what: str) -> None:
    """An id or a length outside the model's tables, and a row of nothing, are errors by name, beside good rows too."""
    with pytest.raises(ValueError, match=what):
        small.forward([Tokens(ids=(5, 6), type_ids=(0, 0)), row])


def test_a_segment_counts_only_where_the_family_has_segments(tmp_path: Path) -> None:
    """RoBERTa reads any segment number as its only one; BERT refuses a third one."""
    row, other = (Tokens(ids=(5, 6), type_ids=types) for types in ((0, 0), (0, 7)))
    roberta, bert = (
        packed_torch(checkpoint(tmp_path / family, family, SHAPES["heads of 32"])) for family in ("roberta", "bert")
    )
    assert roberta.forward([row]) == roberta.forward([other])
    with pytest.raises(ValueError, match="segment 7"):
        bert.forward([other])


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A device that torch can't have is a ConfigError that names it, before any weight is read."""
    for device in ["no-such", *(["cuda:0"] if not torch.cuda.is_available() else [])]:
        with pytest.raises(ConfigError, match=device):
            PackedTorchBackend(tmp_path, None, device=device, precision="auto")


def _breaks(qkv: torch.Tensor, rows: Rows, reach: int | None) -> torch.Tensor:
    raise RuntimeError("no kernel image\nis available")


def _sees_other_rows(qkv: torch.Tensor, rows: Rows, reach: int | None) -> torch.Tensor:
    whole = Rows.of([len(qkv)], CPU)
    return by_length(qkv, whole, reach)


def _sees_all(qkv: torch.Tensor, rows: Rows, reach: int | None) -> torch.Tensor:
    return by_length(qkv, rows, None)


def _knows_no_window(qkv: torch.Tensor, rows: Rows, reach: int | None) -> torch.Tensor:
    if reach is not None:
        raise ValueError("no window is known")
    return by_length(qkv, rows, reach)


def _right(qkv: torch.Tensor, rows: Rows, reach: int | None) -> torch.Tensor:
    return by_length(qkv, rows, reach)


@pytest.mark.parametrize(
    ("kernels", "taken", "said"),
    [
        ((_right, _breaks), _right, ""),
        ((_breaks, _right), _right, "_breaks: no kernel image"),
        ((_sees_other_rows, _right), _right, "_sees_other_rows: its results are off"),
        ((_breaks, _sees_other_rows), by_length, "one call for each length"),
    ],
)
def test_attention_runs_by_the_first_kernel_that_proves_right(
    kernels: tuple[Kernel, ...], taken: Kernel, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A kernel that fails, or that lets a row see its neighbours, is passed over, and a warning says why."""
    assert chosen(4, 32, CPU, torch.float32, kernels=kernels) is taken
    ours = [record.getMessage() for record in caplog.records if record.name == packed_attention.__name__]
    assert said in "\n".join(ours)
    assert bool(said) == bool(ours)


@pytest.mark.parametrize("kernel", [_sees_all, _knows_no_window])
def test_a_kernel_that_knows_no_window_is_passed_over_where_one_is_needed(kernel: Kernel) -> None:
    """A layer that sees a window runs by a kernel that keeps to it, whatever other layers run by."""
    assert chosen(4, 32, CPU, torch.float32, reach=16, kernels=(kernel, _right)) is _right


def _absent() -> SimpleNamespace:
    return SimpleNamespace()


def _wrong() -> SimpleNamespace:
    def pointwise(inputs: torch.Tensor, weight: torch.Tensor, *_rest: object) -> torch.Tensor:
        return 2 * torch.nn.functional.linear(inputs, weight)

    return SimpleNamespace(_reorder_linear_weight=lambda weight: weight, _linear_pointwise=pointwise)


@pytest.mark.parametrize("operators", [_absent, _wrong])
def test_a_layout_that_fails_or_computes_something_else_is_not_taken(operators: Callable[[], object]) -> None:
    """Without torch's private operators, or where they give other products, a layer keeps its weights as they are."""
    weight, bias = torch.randn(8, 16), torch.randn(8)

    def plain(inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(inputs, weight, bias)

    assert packed_linear._laid_out(weight, bias, ("none", ""), plain, operators()) is None


FORMULAS: dict[Activation | None, Callable[[torch.Tensor], torch.Tensor]] = {
    None: lambda x: x,
    "gelu": lambda x: x / 2 * (1 + torch.erf(x / 2**0.5)),
    "gelu_tanh": lambda x: x / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "relu": lambda x: x.clamp(min=0),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("after", FORMULAS)
def test_a_linear_layer_is_its_formula(after: Activation | None) -> None:
    """``weight · x + bias``, and the activation behind it where asked for, however the weights are laid out."""
    dice = np.random.default_rng(0)
    weights = Linear(dice.normal(size=(24, 40)).astype(np.float32), dice.normal(size=24).astype(np.float32))
    inputs = dice.normal(size=(5, 40)).astype(np.float32)
    expected = torch.from_numpy(inputs @ weights.weight.T + weights.bias)
    found = packed_linear.linear(weights, CPU, torch.float32, after=after)(torch.from_numpy(inputs))
    assert torch.allclose(found, FORMULAS[after](expected), atol=1e-4)
