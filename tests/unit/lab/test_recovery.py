"""Weights come back out of a quantised file: the right values, names and order, as a folder that torch can load."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from safetensors.numpy import load_file

from rescorer_lab import recovery
from rescorer_lab.errors import DownloadError
from unit.lab.quantised import HIDDEN, LAYERS, VOCABULARY, expected_weights, save_quantised


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small quantised cross-encoder."""
    return save_quantised(tmp_path / "int8")


def _quiet(_: str) -> None:
    """Say nothing."""


def test_each_weight_is_what_its_integers_stand_for(source: Path) -> None:
    """Every linear and embedding weight equals (q − zero point) · scale exactly, under its Hugging Face name."""
    found = recovery.weights(source / "model.onnx")
    for name, weight in expected_weights().items():
        np.testing.assert_array_equal(found[name], weight, err_msg=name)


def test_linear_weights_stand_as_torch_has_them(source: Path) -> None:
    """A layer from 64 to 256 values is stored 256 × 64, the classifier 1 × 64, all contiguous in float32."""
    found = recovery.weights(source / "model.onnx")
    assert found["bert.encoder.layer.1.intermediate.dense.weight"].shape == (4 * HIDDEN, HIDDEN)
    assert found["classifier.weight"].shape == (1, HIDDEN)
    assert {array.dtype.name for array in found.values()} == {"float32"}
    assert all(array.flags["C_CONTIGUOUS"] for array in found.values())


def test_biases_and_norms_are_taken_as_they_are(source: Path) -> None:
    """What was never quantised keeps name and value, and no scale or zero point is taken for a weight."""
    found = recovery.weights(source / "model.onnx")
    np.testing.assert_array_equal(found["bert.embeddings.LayerNorm.weight"], np.ones(HIDDEN))
    np.testing.assert_array_equal(found["classifier.bias"], [1.0])
    assert not [name for name in found if "scale" in name or "zero_point" in name or "onnx::" in name]


def test_the_configuration_is_read_from_the_shapes(source: Path) -> None:
    """Sizes come from the weights, heads from the family's width of 32, and there is one label."""
    config = recovery.bert_config(recovery.weights(source / "model.onnx"))
    assert config["vocab_size"] == VOCABULARY
    assert config["hidden_size"] == HIDDEN
    assert config["num_hidden_layers"] == LAYERS
    assert config["num_attention_heads"] == HIDDEN // 32
    assert config["intermediate_size"] == 4 * HIDDEN
    assert config["max_position_embeddings"] == 16
    assert list(config["id2label"]) == ["0"]


def test_the_folder_holds_weights_configuration_and_tokenizer_and_nothing_else(source: Path, tmp_path: Path) -> None:
    """The recovered folder is a whole Hugging Face folder that every user of the cache can read."""
    target = recovery.recover(source, tmp_path / "fp32", _quiet)
    assert {path.name for path in target.iterdir()} == {
        *("model.safetensors", "config.json", "tokenizer.json", "vocab.txt")
    }
    saved = load_file(target / "model.safetensors")
    np.testing.assert_array_equal(saved["bert.pooler.dense.weight"], expected_weights()["bert.pooler.dense.weight"])
    assert json.loads((target / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]
    assert stat.S_IMODE((target / "model.safetensors").stat().st_mode) == 0o644


def test_what_an_interrupted_recovery_left_is_replaced(source: Path, tmp_path: Path) -> None:
    """A half-written folder beside the target is thrown away, and nothing of it gets into the target."""
    left = tmp_path / "fp32.partial"
    left.mkdir()
    (left / "half.safetensors").write_text("half")
    target = recovery.recover(source, tmp_path / "fp32", _quiet)
    assert not left.exists()
    assert not (target / "half.safetensors").exists()


def test_a_file_that_is_no_quantised_cross_encoder_is_refused(tmp_path: Path) -> None:
    """Another graph is named in the error and leaves no target behind."""
    other = tmp_path / "other"
    other.mkdir()
    onnx.save(helper.make_model(helper.make_graph([], "empty", [], [])), str(other / "model.onnx"))
    with pytest.raises(DownloadError, match="no quantised BERT cross-encoder"):
        recovery.recover(other, tmp_path / "fp32", _quiet)
    assert not (tmp_path / "fp32").exists()
