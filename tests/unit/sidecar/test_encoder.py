"""What is read from a checkpoint, whichever way it was written."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rescorer_sidecar.backends.encoder import FAMILIES, Checkpoint, describes, undescribed
from rescorer_sidecar.domain import Floats
from rescorer_sidecar.errors import ConfigError

WIDTH, INNER, WORDS, POSITIONS = 8, 12, 50, 20
SIZES = {"num_hidden_layers": 1, "hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": INNER}
SETTINGS = {
    "distilbert": {"n_layers": 1, "dim": WIDTH, "n_heads": 2, "hidden_dim": INNER},
    "deberta-v2": {**SIZES, "max_position_embeddings": POSITIONS, "relative_attention": True},
    "modernbert": {**SIZES, "max_position_embeddings": POSITIONS},
    "new": {**SIZES, "max_position_embeddings": POSITIONS},
    "gte": {**SIZES, "max_position_embeddings": POSITIONS},
}
"""What ``config.json`` says of the sizes, where that is not as in BERT's."""
Weights = dict[str, Floats]


def weights(family: str, *, words: int = WORDS, has_head: bool = True, stem: str | None = None) -> Weights:
    """A one-layer encoder's weights under its family's names; positions hold their own number."""
    description = FAMILIES[family](SETTINGS.get(family, SIZES))
    names, up = description.names, 2 * INNER if description.shape.is_gated else INNER
    begin = names.stem if stem is None else stem
    layer = f"{begin}{names.layer}0."
    linears = {layer + name: ("qkv", 3 * WIDTH // len(names.qkv), WIDTH) for name in names.qkv}
    linears |= {layer + names.attended: ("attended", WIDTH, WIDTH)}
    linears |= {layer + names.up: ("up", up, WIDTH), layer + names.down: ("down", WIDTH, INNER)}
    if has_head:
        linears |= {names.head[0]: ("dense", WIDTH, WIDTH), names.head[1]: ("out", 1, WIDTH)}
    last = begin + names.last_norm if names.last_norm else layer + names.norm
    norms = {begin + names.embedded_norm: "embedded_norm", layer + names.attended_norm: "attended_norm", last: "norm"}
    norms |= {names.head_norm: "head_norm"} if has_head and names.head_norm else {}
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, (_, *shape) in linears.items()}
    shapes |= {f"{name}.weight": (WIDTH,) for name in norms}
    blocks = {name: (block, rows) for name, (block, rows, _) in linears.items()}
    blocks |= {name: (block, WIDTH) for name, block in norms.items()}
    shapes |= {f"{name}.bias": (rows,) for name, (block, rows) in blocks.items() if block not in names.biasless}
    shapes |= {f"{begin}{names.words}.weight": (words, WIDTH)}
    shapes |= {f"{begin}{names.types}.weight": (2, WIDTH)} if names.types else {}
    if description.disentanglement is not None:
        shapes |= {f"{begin}{description.disentanglement.table}.weight": (2 * POSITIONS, WIDTH)}
    dice = np.random.default_rng(4)
    made = {name: dice.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    numbers = np.repeat(np.arange(POSITIONS, dtype=np.float32)[:, None], WIDTH, axis=1)
    return made | ({f"{begin}{names.positions}.weight": numbers} if names.positions else {})


def folder_of(folder: Path, stored: Mapping[str, np.ndarray], family: str = "bert", **settings: object) -> Path:
    """A checkpoint of these weights in one file."""
    described(folder, family, **settings)
    save_file(dict(stored), folder / "model.safetensors")
    return folder


def described(folder: Path, family: str = "bert", **settings: object) -> None:
    """The checkpoint's config.json alone."""
    said = {"model_type": family, **SETTINGS.get(family, SIZES), **settings}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")


def in_bfloat16(folder: Path, stored: Weights) -> Path:
    """A checkpoint of these weights, cut to bfloat16."""
    described(folder)
    header: dict[str, object] = {}
    data = b""
    for name, array in stored.items():
        half = (array.view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": [len(data), len(data) + len(half)]}
        data += half
    said = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(said).to_bytes(8, "little") + said + data)
    return folder


def everything(folder: Path) -> list[Floats]:
    """All that a checkpoint with a head holds, in one order."""
    checkpoint = Checkpoint(folder)
    tables, layer, head = checkpoint.embeddings(), checkpoint.layer(0), checkpoint.head()
    parts = [tables.norm, layer.qkv, layer.attended, layer.attended_norm, layer.up, layer.down, layer.norm]
    both = [array for part in [*parts, head.dense, head.out] for array in (part.weight, part.bias)]
    assert tables.positions is not None
    return [tables.words, tables.positions, tables.types, *both]


def same(found: list[Floats], expected: list[Floats]) -> bool:
    """Whether all arrays are float32 and equal to the last bit."""
    return all(
        one.dtype == np.float32 and np.array_equal(one, other) for one, other in zip(found, expected, strict=True)
    )


@pytest.fixture
def plain(tmp_path: Path) -> list[Floats]:
    """What a float32 checkpoint in one file gives."""
    folder = tmp_path / "plain"
    folder.mkdir()
    return everything(folder_of(folder, weights("bert")))


def test_query_key_and_value_lie_one_below_the_other(tmp_path: Path) -> None:
    """``qkv`` has the query's rows, then the key's, then the value's."""
    stored = weights("bert")
    qkv = Checkpoint(folder_of(tmp_path, stored)).layer(0).qkv
    for place, name in enumerate(("query", "key", "value")):
        rows = slice(place * WIDTH, (place + 1) * WIDTH)
        assert (qkv.weight[rows] == stored[f"bert.encoder.layer.0.attention.self.{name}.weight"]).all()
        assert (qkv.bias[rows] == stored[f"bert.encoder.layer.0.attention.self.{name}.bias"]).all()


def test_float16_is_read_as_the_float32_of_the_same_value(tmp_path: Path, plain: list[Floats]) -> None:
    """A checkpoint in float16 gives float32 arrays that round nothing further."""
    stored = {name: array.astype(np.float16) for name, array in weights("bert").items()}
    expected = [array.astype(np.float16).astype(np.float32) for array in plain]
    assert same(everything(folder_of(tmp_path, stored)), expected)


def test_bfloat16_is_read_as_the_float32_of_the_same_value(tmp_path: Path, plain: list[Floats]) -> None:
    """A checkpoint in bfloat16 gives float32 arrays whose lower halves are zero."""
    expected = [(array.view(np.uint32) & 0xFFFF0000).view(np.float32) for array in plain]
    assert same(everything(in_bfloat16(tmp_path, weights("bert"))), expected)


def test_one_layer_in_bfloat16_costs_its_own_bytes(tmp_path: Path) -> None:
    """Reading a layer does not read the vocabulary's megabytes beside it."""
    words = 500_000
    checkpoint = Checkpoint(in_bfloat16(tmp_path, weights("bert", words=words)))
    tracemalloc.start()
    checkpoint.layer(0)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < words * WIDTH * 2 / 10


def test_a_number_format_that_no_encoder_is_made_of_is_refused(tmp_path: Path) -> None:
    """Weights stored as integers are a ConfigError that names the weight and its format."""
    name = "bert.encoder.layer.0.output.dense.weight"
    stored: dict[str, np.ndarray] = {**weights("bert"), name: np.zeros((WIDTH, INNER), dtype=np.int8)}
    with pytest.raises(ConfigError, match=f"{name} is I8"):
        Checkpoint(folder_of(tmp_path, stored)).layer(0)


def test_weights_are_found_in_whichever_file_they_lie(tmp_path: Path, plain: list[Floats]) -> None:
    """A sharded checkpoint gives what one file gives."""
    described(tmp_path)
    stored = weights("bert")
    for number in range(3):
        shard = dict(list(stored.items())[number::3])
        save_file(shard, tmp_path / f"model-0000{number + 1}-of-00003.safetensors")
    assert same(everything(tmp_path), plain)


def test_norms_are_found_under_their_old_names(tmp_path: Path, plain: list[Floats]) -> None:
    """``LayerNorm.gamma`` and ``LayerNorm.beta`` are its weight and bias."""
    stored = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in weights("bert").items()
    }
    assert same(everything(folder_of(tmp_path, stored)), plain)


@pytest.mark.parametrize(
    "lost",
    [
        "embeddings.word_embeddings.weight",
        "encoder.layer.0.attention.self.key.bias",
        "encoder.layer.0.output.LayerNorm.weight",
        "pooler.dense.weight",
    ],
)
def test_a_missing_weight_is_named(tmp_path: Path, lost: str) -> None:
    """A checkpoint without one of its weights is a ConfigError that says which one, never a random number."""
    stored = weights("bert")
    del stored[f"bert.{lost}"]
    with pytest.raises(ConfigError, match=f"lacks bert.{lost}$"):
        everything(folder_of(tmp_path, stored))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bare_encoder_is_read_but_is_no_cross_encoder(tmp_path: Path, family: str) -> None:
    """Names without their stem are found, and the head that is not there is a ConfigError that says so."""
    stored = weights(family, has_head=False, stem="")
    checkpoint = Checkpoint(folder_of(tmp_path, stored, family))
    description = FAMILIES[family](checkpoint.settings)
    assert (checkpoint.embeddings().words == stored[f"{description.names.words}.weight"]).all()
    assert checkpoint.layer(0).down.weight.shape == (WIDTH, INNER)
    with pytest.raises(ConfigError, match=f"is no cross-encoder: its checkpoint lacks {description.names.head[1]}"):
        checkpoint.head()


@pytest.mark.parametrize(
    ("family", "settings", "first"),
    [
        ("bert", {"pad_token_id": 0}, 0),
        ("bert", {"pad_token_id": 3}, 0),
        ("roberta", {}, 2),
        ("roberta", {"pad_token_id": 1}, 2),
        ("xlm-roberta", {"pad_token_id": 1}, 2),
        ("xlm-roberta", {"pad_token_id": 0}, 1),
    ],
)
def test_the_first_token_has_the_position_that_its_family_gives_it(
    tmp_path: Path, family: str, settings: dict[str, int], first: int
) -> None:
    """BERT counts from 0; RoBERTa and XLM-R from one behind the padding id, which is 1 where nothing is said."""
    positions = Checkpoint(folder_of(tmp_path, weights(family), family, **settings)).embeddings().positions
    assert positions is not None
    assert positions[:, 0].tolist() == list(range(first, POSITIONS))


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    """A safetensors file of something else is a ConfigError with its path."""
    described(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs")
    with pytest.raises(ConfigError, match=r"model\.safetensors is no safetensors file"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("xlnet", {}, "model_type xlnet is none of bert, roberta"),
        ("bert", {"hidden_act": "mish"}, "hidden_act mish is none of gelu"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type relative_key"),
        ("bert", {"is_decoder": True}, "is_decoder True"),
        ("distilbert", {"activation": "mish"}, "activation mish"),
        ("modernbert", {"hidden_activation": "mish"}, "hidden_activation mish"),
        ("modernbert", {"layer_types": ["chunked_attention"]}, "chunked_attention"),
        ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type yarn"),
        ("modernbert", {"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling"),
        ("gte", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type dynamic"),
        ("new", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling dynamic"),
        ("new", {"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 0.6}}, "mixed_b"),
        ("new", {"rope_scaling": {"factor": 2.0}}, "rope_scaling of no type"),
        ("new", {"position_embedding_type": "absolute"}, "position_embedding_type absolute"),
        ("new", {"logn_attention_scale": True}, "logn_attention_scale"),
        ("new", {"layer_norm_type": "rms_norm"}, "layer_norm_type"),
        ("new", {"pack_qkv": False}, "pack_qkv"),
    ],
)
def test_what_a_family_does_not_describe_is_left_to_transformers(
    tmp_path: Path, family: str, settings: dict[str, object], said: str
) -> None:
    """Another family, activation, kind of position or direction is not described, and why is said; the plain one is."""
    plain = "bert" if family == "xlnet" else family
    folder_of(tmp_path, weights(plain), plain)
    assert describes(tmp_path)
    described(tmp_path, family, **settings)
    assert said in undescribed(tmp_path)


def test_settings_without_a_size_are_not_described(tmp_path: Path) -> None:
    """transformers may know a default for what config.json leaves out; we would have to guess."""
    folder_of(tmp_path, weights("bert"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    assert undescribed(tmp_path) == "its config.json says no hidden_size"


def test_a_folder_without_weights_in_safetensors_is_not_described(tmp_path: Path) -> None:
    """Neither a config alone nor weights alone make a checkpoint."""
    assert not describes(tmp_path)
    described(tmp_path)
    assert not describes(tmp_path)
    (tmp_path / "config.json").unlink()
    save_file(weights("bert"), tmp_path / "model.safetensors")
    assert not describes(tmp_path)
