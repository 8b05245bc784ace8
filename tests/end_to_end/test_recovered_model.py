"""The model recovered for torch is the INT8 release's: the same pairs score the same but for its rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from rescorer_lab import collections, models

pytestmark = pytest.mark.slow

PAIRS = 60
HAS_VNNI = any(flag in Path("/proc/cpuinfo").read_text().split() for flag in ("avx512_vnni", "avx_vnni"))
"""Without these instructions onnxruntime adds two INT8 products in 16 bits, which overflow and are cut off."""

ROUNDING = 0.2 if HAS_VNNI else 0.3
Column = dict[str, NDArray[np.int64]]


@pytest.fixture(scope="module")
def pairs(cross_encoder: Path) -> list[Column]:
    """Queries with their judged document and with two others each, tokenised, so that scores spread widely."""
    tokenizer = Tokenizer.from_file(str(cross_encoder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128, strategy="only_second")
    scifact = collections.scifact(lambda line: None)
    documents = {document.id: document for document in scifact.documents}
    others = scifact.documents[: 2 * PAIRS]
    found = []
    for place, query in enumerate(scifact.sample(PAIRS // 3)):
        judged = documents[next(iter(scifact.qrels[query]))]
        for document in (judged, others[2 * place], others[2 * place + 1]):
            encoded = tokenizer.encode(scifact.queries[query], f"{document.title} {document.body}")
            columns = zip(
                ("input_ids", "attention_mask", "token_type_ids"),
                (encoded.ids, encoded.attention_mask, encoded.type_ids),
                strict=True,
            )
            found.append({name: np.array([values], dtype=np.int64) for name, values in columns})
    return found


@pytest.fixture(scope="module")
def quantised(cross_encoder: Path, pairs: list[Column]) -> NDArray[np.float64]:
    """Logits of the INT8 file, one pair at a time."""
    session = onnxruntime.InferenceSession(cross_encoder / "model.onnx", providers=["CPUExecutionProvider"])
    return np.array([session.run(["logits"], pair)[0][0, 0] for pair in pairs], dtype=np.float64)


@pytest.fixture(scope="module")
def recovered(pairs: list[Column]) -> NDArray[np.float64]:
    """Logits of the recovered folder through transformers, in float32."""
    folder = models.fetch(models.RECOVERED, lambda line: None)
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    model.eval()
    with torch.inference_mode():
        answers = [
            model(**{name: torch.from_numpy(values) for name, values in pair.items()}).logits[0, 0] for pair in pairs
        ]
    return np.array([float(logit) for logit in answers])


def test_scores_agree_with_the_int8_release(quantised: NDArray[np.float64], recovered: NDArray[np.float64]) -> None:
    """Over 60 pairs from best to worst, Pearson's correlation is at least 0.999."""
    assert len(quantised) == PAIRS
    assert quantised.max() - quantised.min() > 10
    assert np.corrcoef(quantised, recovered)[0, 1] >= 0.999


def test_scores_differ_by_rounding_alone(quantised: NDArray[np.float64], recovered: NDArray[np.float64]) -> None:
    """The mean difference is below 0.2 logits on a scale of twenty; below 0.3 where INT8 sums are cut off as well."""
    assert np.abs(quantised - recovered).mean() < ROUNDING


def test_the_folder_is_a_one_label_classifier() -> None:
    """Loading code that looks at the configuration finds one label and the sizes of MiniLM-L12-H384."""
    folder = models.fetch(models.RECOVERED, lambda line: None)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.num_labels == 1
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.num_attention_heads) == (384, 12, 12)
    assert sum(weight.numel() for weight in model.parameters()) == 33_360_385
