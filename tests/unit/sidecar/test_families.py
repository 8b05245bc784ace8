"""What families do beyond small checkpoints: real sizes, older settings, two labels, activations, windows."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rescorer_sidecar.backends import Backend, native
from rescorer_sidecar.backends.encoder import FAMILIES, described
from rescorer_sidecar.backends.native import build
from rescorer_sidecar.backends.native.kernels import PRECISIONS
from unit.sidecar import random_encoders
from unit.sidecar.random_encoders import alone_and_together, checkpoint, correlation, family_of, largest_error, rows

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")

from rescorer_sidecar.backends.packed_torch import PackedTorchBackend  # noqa: E402

SMALL = (64, 2, 128)
MINILM, TINYBERT = (384, 12, 1536), (312, 12, 1200)
ALL_BIASES = {f"{block}_bias": True for block in ("attention", "mlp", "norm", "classifier")}
VARIANTS: dict[str, tuple[str, tuple[int, int, int], dict[str, object]]] = {
    "TinyBERT": ("bert", TINYBERT, {"num_hidden_layers": 2}),
    "MiniLM": ("bert", MINILM, {"num_hidden_layers": 2}),
    "mMiniLM": ("xlm-roberta", MINILM, {"num_hidden_layers": 2}),
    "a layer only": ("bert", SMALL, {"num_hidden_layers": 1}),
    "two labels": ("bert", SMALL, {"num_labels": 2, "problem_type": "single_label_classification"}),
    "ELECTRA with two labels": ("electra", SMALL, {"num_labels": 2}),
    "ELECTRA as wide as its embeddings": ("electra", SMALL, {"embedding_size": 64}),
    "ELECTRA narrower than its embeddings": ("electra", SMALL, {"embedding_size": 160}),
    "DistilBERT with two labels": ("distilbert", SMALL, {"num_labels": 2}),
    "ModernBERT of means, with biases": ("modernbert", SMALL, {**ALL_BIASES, "classifier_pooling": "mean"}),
    "ModernBERT with another head": ("modernbert", SMALL, {"classifier_activation": "silu", "num_labels": 2}),
    "ModernBERT of one's own neighbours": ("modernbert", SMALL, {"local_attention": 2}),
    "GTE without segments": ("gte", SMALL, {"type_vocab_size": 0}),
}


def packed_torch(folder: Path, precision: str = "fp32") -> Backend:
    """On the CPU."""
    return PackedTorchBackend(folder, None, device="cpu", precision=precision)


def native_kernels(folder: Path, precision: str = "fp32") -> Backend:
    """In C."""
    return native.NativeBackend(folder, None, precision=precision)


Make = Callable[..., Backend]
BACKENDS = pytest.mark.parametrize("backend", [packed_torch, native_kernels])


def has_bf16(backend: Make) -> bool:
    """torch has it everywhere; native where the processor has instructions for it."""
    return backend is packed_torch or bool(build.library().rescorer_supports(PRECISIONS["bf16"]))


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each variant."""
    family, shape, settings = VARIANTS[request.param]
    return checkpoint(tmp_path_factory.mktemp("model"), family, shape, **settings)


@BACKENDS
def test_a_variant_is_transformers_at_every_length(variant: Path, backend: Make) -> None:
    """Logits equal those of transformers within 1e-4, and bf16's correlate with them by 0.999 at least."""
    assert largest_error(backend(variant), variant) < 1e-4
    if has_bf16(backend):
        assert correlation(backend(variant, "bf16"), variant) >= 0.999


def test_a_variant_scores_a_row_alone_as_it_does_among_others(variant: Path) -> None:
    """The least batch, a token, has all the memory that its forward works in: its score is bit for bit the same."""
    backend, dice = native_kernels(variant), random.Random(1)
    alone, together = alone_and_together(backend, (1, 1, 2, 40, 90), family_of(variant), dice)
    assert (alone == together).all()


LONG = (1, 2, 63, 64, 65, 66, 96, 129, 130, 257, 700)
"""Around a window of 64 to either side, around blocks of 32, 48, 96 and 192 rows, and much longer than both."""


@pytest.fixture(scope="module", params=["modernbert", "gte"])
def long_rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of 64, and the window and the limit that the hub's checkpoints have."""
    own = {"local_attention": 128} if request.param == "modernbert" else {}
    folder = tmp_path_factory.mktemp("model")
    return checkpoint(folder, request.param, (128, 2, 192), max_position_embeddings=8192, num_hidden_layers=5, **own)


@BACKENDS
def test_rotary_families_are_transformers_on_long_rows(long_rows: Path, backend: Make) -> None:
    """Windows and turned positions are right far behind the window's end too."""
    assert largest_error(backend(long_rows), long_rows, LONG) < 1e-4
    if has_bf16(backend):
        assert correlation(backend(long_rows, "bf16"), long_rows, LONG) >= 0.999


def resaid(folder: Path, without: tuple[str, ...], **settings: object) -> None:
    """The folder's settings, some of them left out and others said otherwise."""
    path = folder / "config.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in said.items() if key not in without}
    path.write_text(json.dumps({**kept, **settings}), encoding="utf-8")


@BACKENDS
def test_modernbert_is_read_as_its_first_checkpoints_say_it(tmp_path: Path, backend: Make) -> None:
    """Thetas, and which layers see all, stand under their old names in what the hub holds."""
    checkpoint(tmp_path, "modernbert", SMALL)
    old = {"global_rope_theta": 500.0, "local_rope_theta": 20.0, "global_attn_every_n_layers": 2}
    resaid(tmp_path, ("layer_types", "rope_parameters"), **old)
    thetas = [sight.rotary.theta for sight in described(tmp_path).shape.sights if sight.rotary is not None]
    assert thetas == [500.0, 20.0, 500.0, 20.0]
    assert largest_error(backend(tmp_path), tmp_path) < 1e-4


@BACKENDS
@pytest.mark.parametrize("factor", [None, 8.0])
def test_gte_is_read_under_its_first_name(
    tmp_path: Path, backend: Make, factor: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``new`` is GTE with names and settings of its own; its stretched positions turn as NTK's formula says.

    transformers has this family's layers, but not its stretching: the reference is its class with frequencies
    theta_i = (theta · factor)^(-2i / size) / factor^(2 / size) put in.
    """
    from transformers.models.gte.modeling_gte import GteRotaryEmbedding

    theta, size = 300.0, 32
    named, ours = tmp_path / "named", tmp_path / "new"
    checkpoint(named, "gte", SMALL, rope_parameters={"rope_type": "default", "rope_theta": theta})
    ours.mkdir()
    (ours / "config.json").write_bytes((named / "config.json").read_bytes())
    stretch = {"type": "ntk", "factor": factor} if factor else None
    own = {"pack_qkv": True, "position_embedding_type": "rope", "rope_theta": theta, "rope_scaling": stretch}
    resaid(ours, ("rope_parameters",), model_type="new", **own)
    stored = load_file(named / "model.safetensors")
    save_file({name.replace("gte.", "new.", 1): array for name, array in stored.items()}, ours / "model.safetensors")
    stretched = [(theta * (factor or 1)) ** (-i / size) / (factor or 1) ** (2 / size) for i in range(0, size, 2)]
    monkeypatch.setattr(
        GteRotaryEmbedding,
        "compute_default_rope_parameters",
        staticmethod(lambda *_, **__: (torch.tensor(stretched), 1.0)),
    )
    assert largest_error(backend(ours), named) < 1e-4


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish"])
def test_layers_of_other_activations_run_on_torch(tmp_path: Path, name: str) -> None:
    """What ``config.json`` calls an activation is what runs; the kernels, which have one, say that they lack it."""
    folder = checkpoint(tmp_path, "bert", SMALL, hidden_act=name)
    assert largest_error(packed_torch(folder), folder) < 1e-4
    assert native.unsuited(folder) == f"{described(folder).shape.activation} in its layers"


def test_every_family_has_a_random_checkpoint() -> None:
    """No description is without its parity test, here or beside it."""
    beside = {"new", "deberta-v2"}  # above, and in test_deberta.py
    assert set(random_encoders.FAMILIES) | beside == set(FAMILIES)


@BACKENDS
def test_a_row_longer_than_a_rotary_familys_limit_is_refused(tmp_path: Path, backend: Make) -> None:
    """No table ends there, but the model was never taught what lies behind."""
    made = backend(checkpoint(tmp_path, "modernbert", SMALL))
    (longest,) = rows([random_encoders.LONGEST + 3], "modernbert")
    with pytest.raises(ValueError, match=str(random_encoders.LONGEST + 2)):
        made.forward([longest])


@BACKENDS
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_an_embedder_of_a_new_family_is_its_states(tmp_path: Path, backend: Make, pooling: str) -> None:
    """Without a head, ModernBERT's vectors are its final norm's, pooled and made one long."""
    import transformers

    folder = checkpoint(tmp_path, "modernbert", SMALL)
    batch = rows([3, 40], "modernbert")
    model = transformers.AutoModel.from_pretrained(str(folder)).eval()
    with torch.inference_mode():
        states = [model(input_ids=torch.tensor([row.ids])).last_hidden_state[0].numpy() for row in batch]
    pooled = np.array([one[0] if pooling == "cls" else one.mean(axis=0) for one in states])
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    made = (
        native.NativeBackend(folder, pooling, precision="fp32")  # type: ignore[arg-type]
        if backend is native_kernels
        else PackedTorchBackend(folder, pooling, device="cpu", precision="fp32")  # type: ignore[arg-type]
    )
    assert np.abs(made.forward(batch) - expected).max() < 1e-4
