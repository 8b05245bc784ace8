"""Libraries that score pairs, each in the settings that are its best on a CPU. Runs in the peers' environment.

Each class takes a :class:`Settings` and has ``score(query, texts)`` → logits in the order of the texts, and ``detail``,
one line about what it really runs. Nothing of rescorer is imported here.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """model: folder of the fp32 checkpoint; int8: folder with the INT8 model.onnx; cache: where exports may lie."""

    model: str
    int8: str
    cache: str
    threads: int


def sorted_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Places by length, longest first, in batches of ``size``."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    return [order[begin : begin + size] for begin in range(0, len(order), size)]


class SentenceTransformers:
    """``CrossEncoder.predict`` as it comes (batches of 32, sorted by the library); ``dtype`` is torch's name."""

    def __init__(self, settings: Settings, dtype: str) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(settings.threads)
        kwargs = {} if dtype == "float32" else {"model_kwargs": {"dtype": getattr(torch, dtype)}}
        self._model = CrossEncoder(
            settings.model, max_length=LIMIT_TOKENS, device="cpu", activation_fn=torch.nn.Identity(), **kwargs
        )
        self.detail = f"{next(self._model.parameters()).dtype}, batch 32"

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits."""
        pairs = [(query, text) for text in texts]
        return [float(one) for one in self._model.predict(pairs, show_progress_bar=False)]


class Reference:
    """transformers alone, fp32, one pair at a time: what every other figure is compared with."""

    def __init__(self, settings: Settings) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        torch.set_num_threads(settings.threads)
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(settings.model)
        self._model = AutoModelForSequenceClassification.from_pretrained(settings.model, dtype=torch.float32).eval()
        self.detail = "transformers fp32, one pair at a time"

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits."""
        return [self._one(query, text) for text in texts]

    def _one(self, query: str, text: str) -> float:
        tokens = self._tokenizer(query, text, truncation="only_second", max_length=LIMIT_TOKENS, return_tensors="pt")
        with self._torch.inference_mode():
            return float(self._model(**tokens).logits[0, 0])


class _Tokens:
    """Pairs to padded arrays with the tokenizers library."""

    def __init__(self, folder: str) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_length=LIMIT_TOKENS, strategy="only_second")
        self._tokenizer.no_padding()

    def encoded(self, query: str, texts: Sequence[str]) -> list[Any]:
        return list(self._tokenizer.encode_batch([(query, text) for text in texts]))

    @staticmethod
    def padded(rows: Sequence[Any]) -> dict[str, Any]:
        """int64[rows, longest] of ids, mask and types; BERT's padding id is 0."""
        import numpy as np

        shape = (len(rows), max(len(row.ids) for row in rows))
        made = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        for place, row in enumerate(rows):
            made["input_ids"][place, : len(row.ids)] = row.ids
            made["attention_mask"][place, : len(row.ids)] = 1
            made["token_type_ids"][place, : len(row.ids)] = row.type_ids
        return made


class OnnxRuntime:
    """onnxruntime on the INT8 file; ``batch`` pairs of like lengths a forward, 1 for an engine's loop."""

    def __init__(self, settings: Settings, batch: int) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        model = str(Path(settings.int8) / "model.onnx")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._wanted = {entry.name for entry in self._session.get_inputs()}
        self._tokens, self._batch = _Tokens(settings.int8), batch
        self.detail = f"INT8 file, batch {batch}{', sorted' if batch > 1 else ''}"

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits."""
        rows = self._tokens.encoded(query, texts)
        logits = [0.0] * len(rows)
        for places in sorted_batches([len(row.ids) for row in rows], self._batch):
            arrays = self._tokens.padded([rows[place] for place in places])
            fed = {name: array for name, array in arrays.items() if name in self._wanted}
            for place, value in zip(places, self._session.run(None, fed)[0].reshape(-1), strict=True):
                logits[place] = float(value)
        return logits


class OpenVino:
    """OpenVINO alone: bf16 where the chip has it, sorted; ``streams`` batches run at a time."""

    def __init__(self, settings: Settings, batch: int, streams: int) -> None:
        import openvino

        core = openvino.Core()
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        asked = {
            "INFERENCE_NUM_THREADS": settings.threads,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 else "f32",
        }
        self._model = core.compile_model(core.read_model(_exported(settings)), "CPU", asked)
        self._queue = openvino.AsyncInferQueue(self._model, streams)
        self._queue.set_callback(self._take)
        self._tokens, self._batch = _Tokens(settings.model), batch
        self._logits: list[float] = []
        precision = str(self._model.get_property("INFERENCE_PRECISION_HINT")).split("'")[1:2]
        self.detail = f"{precision[0] if precision else '?'}, batch {batch}, sorted, streams {streams}"

    def _take(self, request: Any, places: list[int]) -> None:
        for place, value in zip(places, request.get_output_tensor(0).data.reshape(-1), strict=True):
            self._logits[place] = float(value)

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits."""
        rows = self._tokens.encoded(query, texts)
        self._logits = [0.0] * len(rows)
        for places in sorted_batches([len(row.ids) for row in rows], self._batch):
            self._queue.start_async(self._tokens.padded([rows[place] for place in places]), places)
        self._queue.wait_all()
        return self._logits


def _exported(settings: Settings) -> str:
    """The checkpoint as OpenVINO's files, converted from torch once; weights stay fp32 in the file."""
    import openvino

    target = Path(settings.cache) / f"openvino-{openvino.__version__.split('-')[0]}" / "model.xml"
    if target.is_file():
        return str(target)
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(settings.model, dtype=torch.float32).eval()
    model.config.return_dict = False
    names = ("input_ids", "attention_mask", "token_type_ids")
    example = {name: torch.ones((2, 16), dtype=torch.int64) for name in names}
    example["attention_mask"][1, 12:] = 0  # an all-ones mask may be traced away
    converted = openvino.convert_model(model, example_input=example)
    for port, name in zip(converted.inputs, names, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    converted.validate_nodes_and_infer_types()
    target.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(converted, target, compress_to_fp16=False)
    return str(target)


class FlashRank:
    """FlashRank's ``Ranker`` on the INT8 file, laid out as it expects; its sigmoid is undone to compare logits."""

    def __init__(self, settings: Settings) -> None:
        from flashrank import Ranker

        name = "ms-marco-MiniLM-L-12-v2"
        self._folder = tempfile.TemporaryDirectory(prefix="flashrank-")
        model = Path(self._folder.name) / name
        model.mkdir()
        (model / "flashrank-MiniLM-L-12-v2_Q.onnx").symlink_to(Path(settings.int8) / "model.onnx")
        (model / "config.json").symlink_to(Path(settings.model) / "config.json")
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (model / file).symlink_to(Path(settings.int8) / file)
        self._ranker = Ranker(model_name=name, cache_dir=self._folder.name, max_length=LIMIT_TOKENS)
        self.detail = "INT8 file, all pairs in one batch"

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits."""
        from flashrank import RerankRequest

        passages = [{"id": place, "text": text} for place, text in enumerate(texts)]
        found = self._ranker.rerank(RerankRequest(query=query, passages=passages))
        logits = [0.0] * len(texts)
        for one in found:
            share = min(max(float(one["score"]), 1e-7), 1 - 1e-7)
            logits[one["id"]] = math.log(share / (1 - share))
        return logits


MAKERS = {
    "reference": Reference,
    "st-fp32": lambda settings: SentenceTransformers(settings, "float32"),
    "st-bf16": lambda settings: SentenceTransformers(settings, "bfloat16"),
    "openvino": lambda settings: OpenVino(settings, batch=16, streams=1),
    "openvino-streams": lambda settings: OpenVino(settings, batch=8, streams=settings.threads),
    "ort-int8": lambda settings: OnnxRuntime(settings, batch=4),
    "ort-int8-single": lambda settings: OnnxRuntime(settings, batch=1),
    "flashrank": FlashRank,
}
