"""A two-layer BERT cross-encoder of random weights as ONNX Runtime's dynamic quantisation would store it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HIDDEN, VOCABULARY, LAYERS = 64, 40, 2
EMBEDDINGS = {"word_embeddings": VOCABULARY, "position_embeddings": 16, "token_type_embeddings": 2}


def linear_layers() -> dict[str, tuple[int, int]]:
    """Module → (in, out) of every layer that multiplies."""
    shapes: dict[str, tuple[int, int]] = {"bert.pooler.dense": (HIDDEN, HIDDEN), "classifier": (HIDDEN, 1)}
    for number in range(LAYERS):
        stem = f"bert.encoder.layer.{number}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes[f"{stem}.{part}"] = (HIDDEN, HIDDEN)
        shapes[f"{stem}.intermediate.dense"] = (HIDDEN, 4 * HIDDEN)
        shapes[f"{stem}.output.dense"] = (4 * HIDDEN, HIDDEN)
    return shapes


def expected_weights() -> dict[str, NDArray[np.float32]]:
    """Hugging Face name → the weight that the stored integers stand for, in torch's order."""
    drawn = np.random.default_rng(7)
    shapes = {f"bert.embeddings.{name}.weight": (rows, HIDDEN) for name, rows in EMBEDDINGS.items()}
    shapes |= {f"{module}.weight": (out, into) for module, (into, out) in linear_layers().items()}
    return {name: (drawn.integers(-120, 120, shape) * 0.25).astype(np.float32) for name, shape in shapes.items()}


def save_quantised(folder: Path) -> Path:
    """Write model.onnx and a tokenizer's files; scale 0.25 and zero point 3 for every tensor."""
    folder.mkdir(parents=True)
    tensors, nodes = [], []
    weights = expected_weights()
    for place, (module, _) in enumerate(linear_layers().items()):
        is_named = module in ("bert.pooler.dense", "classifier")  # as the exporter does: Gemm keeps its name
        stem = f"{module}.weight" if is_named else f"onnx::MatMul_{1000 + place}"
        tensors += _stored(stem, weights[f"{module}.weight"].T)
        path = "/" + module.replace(".", "/").replace("layer/", "layer.")
        ending = "Gemm_MatMul_quant" if is_named else "MatMul_quant"
        nodes.append(helper.make_node("MatMulInteger", ["x", f"{stem}_quantized"], ["y"], name=f"{path}/{ending}"))
        tensors.append(_tensor(f"{module}.bias", np.full(weights[f"{module}.weight"].shape[0], place, np.float32)))
    for name in EMBEDDINGS:
        full = f"bert.embeddings.{name}.weight"
        tensors += _stored(full, weights[full])
    tensors.append(_tensor("bert.embeddings.LayerNorm.weight", np.ones(HIDDEN, np.float32)))
    graph = helper.make_graph(nodes, "cross-encoder", [], [], initializer=tensors)
    onnx.save(helper.make_model(graph), str(folder / "model.onnx"))
    for name in ("tokenizer.json", "vocab.txt", "vectrix_config.json"):
        (folder / name).write_text("{}")
    return folder


def _stored(stem: str, weight: NDArray[np.float32]) -> list[TensorProto]:
    integers = (weight / 0.25 + 3).round().astype(np.int8)
    return [
        _tensor(f"{stem}_quantized", np.ascontiguousarray(integers)),
        _tensor(f"{stem}_scale", np.array(0.25, np.float32)),
        _tensor(f"{stem}_zero_point", np.array(3, np.int8)),
    ]


def _tensor(name: str, array: NDArray[np.generic]) -> TensorProto:
    return numpy_helper.from_array(array, name)
