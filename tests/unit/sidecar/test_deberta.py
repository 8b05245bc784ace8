"""Disentangled attention, and DeBERTa-v2 and v3 whole, against transformers on random weights."""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from rescorer_sidecar import models
from rescorer_sidecar.backends import Backend
from rescorer_sidecar.backends.encoder import Linear, undescribed
from rescorer_sidecar.backends.encoder.relative import Distances, relative
from rescorer_sidecar.backends.native import NativeBackend, build
from rescorer_sidecar.backends.native.kernels import PRECISIONS
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.memory import needed_bytes
from rescorer_sidecar.testing import write_tokeniser
from unit.sidecar.random_encoders import alone_and_together, reference, rows

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")

from transformers.models.deberta_v2 import modeling_deberta_v2 as theirs  # noqa: E402
from transformers.models.deberta_v2.configuration_deberta_v2 import DebertaV2Config  # noqa: E402

from rescorer_sidecar.backends.disentangled import VALUES_AT_ONCE, Disentangled  # noqa: E402
from rescorer_sidecar.backends.packed_attention import Rows  # noqa: E402
from rescorer_sidecar.backends.packed_torch import PackedTorchBackend  # noqa: E402

CPU = torch.device("cpu")
LONGEST, HEADS, SIZE = 96, 3, 8
WIDTH = HEADS * SIZE

V3: dict[str, object] = {"position_buckets": 16, "share_att_key": True, "pos_att_type": ["p2c", "c2p"]}
KINDS: dict[str, dict[str, object]] = {
    "v3": V3,
    "v3, heads that have tables of their own": V3 | {"share_att_key": False},
    "v2, a row for each distance": V3 | {"position_buckets": -1, "max_relative_positions": 40},
    "to keys only": V3 | {"pos_att_type": ["c2p"]},
    "to queries only": V3 | {"pos_att_type": "p2c", "share_att_key": False},
}

TABLE = "deberta.encoder.rel_embeddings.weight"
WHOLE = KINDS | {
    "v2, positions, segments and embeddings of a width of their own": V3
    | {"position_biased_input": True, "type_vocab_size": 2, "embedding_size": 16, "norm_rel_ebd": "none"},
    "v3 with another activation in front of the classifier": V3 | {"pooler_hidden_act": "tanh"},
    "v3, heads of 64": V3
    | {"hidden_size": 192, "intermediate_size": 320, "position_buckets": 32, "initializer_range": 0.08},
}


def config(**changes: object) -> DebertaV2Config:
    """A small model's settings."""
    base = {
        "vocab_size": 700,
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": HEADS,
        "intermediate_size": 40,
        "max_position_embeddings": LONGEST,
        "relative_attention": True,
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "initializer_range": 0.2,
        "num_labels": 1,
    }
    return DebertaV2Config(**(base | changes))


def linear(module: torch.nn.Linear | None) -> Linear | None:
    """A module's weights, where there is one."""
    if module is None:
        return None
    return Linear(module.weight.detach().numpy(), module.bias.detach().numpy())


@settings(deadline=None)
@given(
    buckets=st.sampled_from([-1, 0, 4, 16, 32, 48, 256]),
    most=st.sampled_from([-1, 40, 96, 200, 512, 1024]),
    limit=st.integers(1, 1100),
)
def test_every_distance_has_the_models_row(buckets: int, most: int, limit: int) -> None:
    """Whatever the buckets and the limit, each distance is looked up where transformers looks it up."""
    found = Distances.of({"position_buckets": buckets, "max_relative_positions": most, "max_position_embeddings": 512})
    most = most if most > 0 else 512
    tokens = torch.zeros(1, limit, 1)
    grid = theirs.build_relative_position(tokens, tokens, buckets, most)[0]
    span = buckets if buckets > 0 else most
    expected = torch.clamp(torch.cat([grid[0].flip(0), grid[1:, 0]]) + span, 0, 2 * span - 1)
    assert found.rows(limit).tolist() == expected.tolist()


@pytest.fixture(scope="module", params=KINDS)
def layer(request: pytest.FixtureRequest) -> tuple[theirs.DisentangledSelfAttention, torch.Tensor, Disentangled]:
    """Their attention with its table, and ours from the same weights."""
    torch.manual_seed(2)
    described = config(**KINDS[request.param])
    their = theirs.DisentangledSelfAttention(described).eval()
    for weights in their.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    distances = Distances.of(described.to_dict())
    table = torch.randn(2 * distances.span, WIDTH)
    shared, kinds = described.share_att_key, described.pos_att_type
    key = their.key_proj if shared else getattr(their, "pos_key_proj", None)
    query = their.query_proj if shared else getattr(their, "pos_query_proj", None)
    tables = relative(
        table.numpy(),
        distances.rows(LONGEST),
        linear(key if "c2p" in kinds else None),
        linear(query if "p2c" in kinds else None),
        SIZE,
    )
    return their, table, Disentangled.of(tables, HEADS, CPU, torch.float32)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_attention_is_transformers_row_by_row(
    layer: tuple[theirs.DisentangledSelfAttention, torch.Tensor, Disentangled], lengths: list[int], seed: int
) -> None:
    """Rows of any lengths in one call mix their values as transformers mixes each of them alone."""
    their, table, ours = layer
    states = torch.randn(sum(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    rows = Rows.of(sorted(lengths), CPU)
    with torch.no_grad():
        qkv = torch.cat([part(states) for part in (their.query_proj, their.key_proj, their.value_proj)], dim=1)
        found = ours(qkv.view(-1, 3, HEADS, SIZE), rows).flatten(1)
        for begin, end in zip(rows.starts, rows.starts[1:], strict=False):
            row = states[begin:end][None]
            grid = theirs.build_relative_position(row, row, their.position_buckets, their.max_relative_positions)
            mask = torch.ones(1, 1, end - begin, end - begin)
            expected = their(row, mask, relative_pos=grid, rel_embeddings=table)[0][0]
            assert torch.allclose(found[begin:end], expected, atol=2e-5)


def saved(folder: Path, **changes: object) -> Path:
    """A random checkpoint with scores that spread."""
    torch.manual_seed(1)
    theirs.DebertaV2ForSequenceClassification(config(**changes)).save_pretrained(str(folder))
    return folder


def packed_torch(folder: Path, precision: str = "fp32") -> Backend:
    """A cross-encoder on the CPU, by torch."""
    return PackedTorchBackend(folder, None, device="cpu", precision=precision)


def native(folder: Path, precision: str = "fp32") -> Backend:
    """A cross-encoder on the CPU, by our own kernels."""
    return NativeBackend(folder, None, precision=precision)


Made = Callable[[Path, str], Backend]
BACKENDS: list[Made] = [packed_torch, native]


@pytest.fixture(scope="module", params=WHOLE)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each kind."""
    return saved(tmp_path_factory.mktemp("model"), **WHOLE[request.param])


@pytest.mark.parametrize("made", BACKENDS)
def test_fp32_is_transformers_at_every_length(folder: Path, made: Made) -> None:
    """Logits equal those of transformers within 1e-4 from one token to the limit, all in one batch."""
    batch = rows(range(1, LONGEST + 1), segments(folder))
    expected = reference(folder, batch)[:, 0]
    assert expected.std() > 0.02, "scores that are all alike would prove nothing"
    assert made(folder, "fp32").forward(batch) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("made", "precision", "least"), [(packed_torch, "bf16", 0.999), (native, "bf16", 0.999), (native, "int8", 0.99)]
)
def test_less_precision_ranks_nearly_alike(folder: Path, made: Made, precision: str, least: float) -> None:
    """bf16 correlates with fp32 by 0.999 at least; int8 by 0.99 even on random weights."""
    if made is native and not build.library().rescorer_supports(PRECISIONS[precision]):
        pytest.skip(f"this processor has no {precision}")
    batch = rows([*range(3, LONGEST, 2)] * 2, segments(folder))
    expected = reference(folder, batch)[:, 0]
    assert np.corrcoef(made(folder, precision).forward(batch), expected)[0, 1] >= least


def test_rows_as_long_as_the_real_models_are_read_in_buckets_too(tmp_path: Path) -> None:
    """v3's own 256 buckets over 512 tokens, where most distances share one: every backend agrees with transformers."""
    folder = saved(tmp_path, **V3 | {"position_buckets": 256, "max_position_embeddings": 512, "num_hidden_layers": 1})
    batch = rows([512, 300, 129, 128], "roberta")
    expected = reference(folder, batch)[:, 0]
    for made in BACKENDS:
        assert made(folder, "fp32").forward(batch) == pytest.approx(expected, abs=1e-4)


def segments(folder: Path) -> str:
    """A family with as many segments as the folder's model has."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return "bert" if settings["type_vocab_size"] == 2 else "roberta"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Backend]]:
    """The commonest kind in both backends; torch takes rows of a length in several parts."""
    folder = saved(tmp_path_factory.mktemp("model"), **V3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VALUES_AT_ONCE, "cpu", 3 * HEADS * 30 * 59)
        yield [made(folder, "fp32") for made in BACKENDS]


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=20), dice=st.randoms(use_true_random=False))
def test_a_score_does_not_depend_on_its_batch(small: list[Backend], lengths: list[int], dice: random.Random) -> None:
    """Whatever stands beside it and in whatever order, a row has the score that it has alone, within 1e-5."""
    for backend in small:
        alone, together = alone_and_together(backend, lengths, "roberta", dice)
        assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"conv_kernel_size": 3}, "conv_kernel_size 3"),
        ({"relative_attention": False}, "relative_attention False"),
        ({"hidden_act": "mish"}, "hidden_act mish"),
    ],
)
def test_what_is_not_described_is_refused_by_name(tmp_path: Path, changes: dict[str, object], what: str) -> None:
    """xlarge's convolution, absolute positions alone and odd activations are named, so that transformers takes over."""
    folder = saved(tmp_path, **V3 | changes)
    assert what in undescribed(folder)
    with pytest.raises(ConfigError, match=what):
        packed_torch(folder)


@pytest.mark.parametrize(
    ("changes", "asked", "runs", "said"),
    [
        ({}, "auto", "native", ""),
        ({}, "torch", "torch-packed", ""),
        ({"conv_kernel_size": 3}, "auto", "torch", "conv_kernel_size 3"),
    ],
)
def test_a_model_loads_as_fast_as_it_is_described(
    tmp_path: Path,
    changes: dict[str, object],
    asked: str,
    runs: str,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By itself through our kernels, packed where torch is asked for, and padded, which is told, with a convolution."""
    folder = write_tokeniser(saved(tmp_path / "mxbai", **V3 | changes))
    with caplog.at_level(logging.INFO):
        model = models.load(str(folder), "cross-encoder", Settings(backend=asked, device="cpu", precision="fp32"))
    batch = model.tokeniser.pairs("cat", ["hotel", "cat dog"], 64)
    assert (model.card.backend, model.card.max_tokens) == (runs, LONGEST)
    assert model.backend.forward(batch) == pytest.approx(reference(folder, batch)[:, 0], abs=1e-4)
    assert said in caplog.text


@pytest.mark.parametrize("kept", [None, 30])
def test_a_table_that_is_lost_or_cut_is_refused(tmp_path: Path, kept: int | None) -> None:
    """Without its table of distances, or with fewer rows than its settings tell, a model is refused by its name."""
    folder = write_tokeniser(saved(tmp_path, **V3))
    stored = load_file(folder / "model.safetensors")
    table = stored.pop(TABLE)
    if kept is not None:
        stored[TABLE] = table[:kept]
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(ConfigError, match=re.escape(TABLE)):
        models.load(str(folder), "cross-encoder", Settings(device="cpu"))


@pytest.mark.parametrize(("changes", "terms"), [({}, 2), ({"pos_att_type": ["c2p"]}, 1)])
def test_the_estimate_of_memory_knows_of_tables_by_distance(
    tmp_path: Path, changes: dict[str, object], terms: int
) -> None:
    """Each layer's tables, which no file holds, count at the size of the precision that attention runs in."""
    folder = saved(tmp_path, **V3 | changes)
    stored = load_file(folder / "model.safetensors").values()
    held = 28_000_000 + 4 * sum(weights.size for weights in stored)
    assert needed_bytes(folder, "native", "fp32") == held + 4 * 3 * terms * (2 * LONGEST - 1) * WIDTH
