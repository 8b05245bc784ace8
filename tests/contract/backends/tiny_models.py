"""Model folders of a few kilobytes with random weights: ONNX by hand, torch checkpoints through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rescorer_sidecar.testing import write_tokeniser

VOCABULARY, WIDTH = 700, 16
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def write_onnx(
    folder: Path, *, labels: int | None = 1, seed: int = 0, quantised: bool = False, width_is_named: bool = False
) -> Path:
    """A folder with ``model.onnx`` and a tokenizer.

    Token and segment embeddings through a tanh; with ``labels`` their masked mean times a matrix (a cross-encoder),
    without it the states themselves (an embedder). ``quantised`` makes the matrix product run on dynamically quantised
    activations; ``width_is_named`` leaves the output's last axis open in the file.
    """
    dice = np.random.default_rng(seed)
    weights = {
        "words": dice.normal(size=(VOCABULARY, WIDTH)),
        "segments": dice.normal(size=(2, WIDTH)),
        "last": dice.normal(size=(WIDTH, labels or WIDTH)),
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["word"]),
        helper.make_node("Gather", ["segments", "token_type_ids"], ["segment"]),
        helper.make_node("Add", ["word", "segment"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["states"]),
    ]
    constants = {name: numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()}
    if labels is None:
        output, shape = "states", ["batch", "length", "width" if width_is_named else WIDTH]
    else:
        nodes += _mean()
        nodes += _quantised_product(weights["last"], constants) if quantised else _product()
        output, shape = "logits", ["batch", "labels" if width_is_named else labels]
    _save(folder, nodes, constants, (output, shape))
    write_tokeniser(folder)
    return folder


def _mean() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis"], ["column"]),
        helper.make_node("Mul", ["states", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "places"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "places"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["mean"]),
    ]


def _product() -> list[onnx.NodeProto]:
    return [helper.make_node("MatMul", ["mean", "last"], ["logits"])]


def _quantised_product(last: np.ndarray, constants: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    scale = float(np.abs(last).max() / 127)
    constants["last8"] = numpy_helper.from_array(np.round(last / scale).astype(np.int8), "last8")
    constants["scale"] = numpy_helper.from_array(np.float32(scale), "scale")
    del constants["last"]
    return [
        helper.make_node("DynamicQuantizeLinear", ["mean"], ["mean8", "mean_scale", "mean_zero"]),
        helper.make_node("MatMulInteger", ["mean8", "last8", "mean_zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["mean_scale", "scale"], ["both"]),
        helper.make_node("Mul", ["real", "both"], ["logits"]),
    ]


def _save(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, onnx.TensorProto],
    output: tuple[str, list[Any]],
) -> None:
    constants["axis"] = numpy_helper.from_array(np.array([2], dtype=np.int64), "axis")
    constants["places"] = numpy_helper.from_array(np.array([1], dtype=np.int64), "places")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in INPUTS],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        list(constants.values()),
    )
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))


def write_torch(folder: Path, *, labels: int | None = 1, seed: int = 0) -> Path:
    """A folder with a random two-layer BERT checkpoint and a tokenizer; without ``labels`` a bare encoder."""
    import torch
    import transformers

    torch.manual_seed(seed)
    settings = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=labels or 2,
        initializer_range=0.5,
    )
    made = transformers.BertModel(settings) if labels is None else transformers.BertForSequenceClassification(settings)
    made.save_pretrained(str(folder))
    return write_tokeniser(folder)


def write_padless_torch(folder: Path) -> Path:
    """A folder with a random two-layer GPT-2 classifier of one label that knows no padding id."""
    import torch
    import transformers

    torch.manual_seed(0)
    settings = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=2,
        n_head=2,
        n_positions=64,
        num_labels=1,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=None,
    )
    transformers.GPT2ForSequenceClassification(settings).save_pretrained(str(folder))
    return write_tokeniser(folder)


def write_causal_torch(folder: Path) -> Path:
    """A folder with a random two-layer Qwen3 language model and a tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    settings = transformers.Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=32,
        initializer_range=0.5,
    )
    transformers.Qwen3ForCausalLM(settings).save_pretrained(str(folder))
    return write_tokeniser(folder)
