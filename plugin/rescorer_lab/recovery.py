"""Floating-point weights out of a dynamically quantised ONNX file of a BERT cross-encoder.

ONNX Runtime's dynamic quantisation stores each weight as 8-bit integers with one scale and one zero point per tensor,
so ``w = (q − zero_point) · scale`` (its quantisation guide, "quantization formula") gives back what the quantised
model multiplies with: not the weights it was made from, but the nearest ones that torch can run and train.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescorer_lab.downloads import PARTIAL, Say
from rescorer_lab.errors import DownloadError

Weights = dict[str, NDArray[np.float32]]
QUANTIZED = "_quantized"
BESIDE = frozenset({"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "NOTICE"})
"""Files of the release that go with the weights as they are."""

HEAD_WIDTH = 32
"""Values per attention head in the MiniLM-H384 family; the graph does not name it."""


def recover(source: Path, target: Path, say: Say = print) -> Path:
    """Write ``target``, a Hugging Face folder (fp32 safetensors, ``num_labels=1``), from the INT8 folder ``source``.

    Written beside its place and renamed, so that ``target`` is complete where it is there. DownloadError where the
    file is not the quantised BERT cross-encoder that this can read.
    """
    begun_s = time.monotonic()
    say(f"recovering fp32 weights from {source.name}")
    found = weights(source / "model.onnx")
    partial = target.with_name(target.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _save(found, partial / "model.safetensors")
    (partial / "config.json").write_text(json.dumps(bert_config(found), indent=2) + "\n", encoding="utf-8")
    for path in source.iterdir():
        if path.name in BESIDE:
            shutil.copyfile(path, partial / path.name)
    partial.rename(target)
    say(f"  done in {time.monotonic() - begun_s:.1f} s")
    return target


def weights(path: Path) -> Weights:
    """Every weight of a quantised graph under its Hugging Face name, float32, linear layers as ``[out, in]``.

    Biases and norms are stored as they are. A matrix that the graph multiplies with is stored ``[in, out]`` there,
    the pooler's and the classifier's too, and is transposed back.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    tensors = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    layers = dict(_linear_layers(graph.node))
    found: Weights = {}
    for name, tensor in tensors.items():
        if name.endswith(QUANTIZED):
            stem = name.removesuffix(QUANTIZED)
            real = _dequantised(tensor, tensors[f"{stem}_scale"], tensors[f"{stem}_zero_point"])
            found[layers.get(name, stem)] = np.ascontiguousarray(real.T if name in layers else real)
        elif not name.endswith(("_scale", "_zero_point")) and tensor.dtype == np.float32:
            found[name] = np.array(tensor)
    if not {"classifier.weight", "bert.embeddings.word_embeddings.weight"} <= found.keys():
        raise DownloadError(f"{path} is no quantised BERT cross-encoder", "see: rescorer models list")
    return found


def bert_config(found: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """``config.json`` of a one-label BERT with these weights; sizes are read from their shapes."""
    vocabulary, hidden = found["bert.embeddings.word_embeddings.weight"].shape
    layers = {name.split(".")[3] for name in found if name.startswith("bert.encoder.layer.")}
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": len(layers),
        "num_attention_heads": hidden // HEAD_WIDTH,
        "intermediate_size": found["bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        "max_position_embeddings": found["bert.embeddings.position_embeddings.weight"].shape[0],
        "type_vocab_size": found["bert.embeddings.token_type_embeddings.weight"].shape[0],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }


def _dequantised(tensor: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any]) -> NDArray[np.float32]:
    return (tensor.astype(np.float32) - zero_point.astype(np.float32)) * scale.astype(np.float32)


def _linear_layers(nodes: Any) -> Iterator[tuple[str, str]]:
    """Stored matrix → parameter name. The exporter names a multiplication after its module: ``/a/b/c/MatMul_quant``."""
    for node in nodes:
        if node.op_type == "MatMulInteger" and node.input[1].endswith(QUANTIZED):
            module = node.name.strip("/").rsplit("/", 1)[0].replace("/", ".")
            yield node.input[1], f"{module}.weight"


def _save(found: Weights, path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(found, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes it for its owner alone, unlike every other file of the cache
