"""Random checkpoints of the described families, rows for them, and what transformers makes of both."""

from __future__ import annotations

import functools
import inspect
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rescorer_sidecar.backends import Backend
from rescorer_sidecar.backends.arrays import one_logit
from rescorer_sidecar.domain import Floats, Tokens

VOCABULARY, LONGEST = 500, 96
FAMILIES = ("bert", "roberta", "xlm-roberta", "electra", "distilbert", "modernbert", "gte")
SEGMENTED = ("bert", "electra")
SHAPES = {"heads of 32": (64, 2, 128), "heads of 8, odd sizes": (24, 3, 40), "heads of 64": (192, 3, 320)}
"""Width, heads and inner width; no vector of any processor divides the odd ones."""
OWN: dict[str, dict[str, object]] = {
    "electra": {"embedding_size": 16, "initializer_range": 0.12},
    "modernbert": {
        "num_hidden_layers": 4,  # the last sees all, and with it what earlier layers' windows made of far tokens
        "local_attention": 32,
        **{f"{name}_token_id": place for place, name in enumerate(("bos", "eos", "cls", "sep"))},
    },
}
"""What a family needs beside: a window shorter than most rows; narrow embeddings, and weights that spread scores."""


def checkpoint(folder: Path, family: str, shape: tuple[int, int, int], labels: int = 1, **settings: object) -> Path:
    """A random three-layer checkpoint with scores that spread, its biases and norms as random as its products."""
    import torch
    import transformers

    torch.manual_seed(1)
    width, heads, inner = shape
    inner_key = "hidden_dim" if family == "distilbert" else "intermediate_size"
    own = {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "num_hidden_layers": 3,
        "num_attention_heads": heads,
        inner_key: inner,
        "max_position_embeddings": LONGEST + 2,
        "type_vocab_size": 2 if family in SEGMENTED else 1,
        "num_labels": labels,
        "pad_token_id": 1 if "roberta" in family else 0,
        "initializer_range": 0.08,
    }
    described = transformers.AutoConfig.for_model(family, **{**own, **OWN.get(family, {}), **settings})
    model = transformers.AutoModelForSequenceClassification.from_config(described)
    with torch.no_grad():
        for values in model.parameters():
            if values.dim() == 1:  # which start as 0 or 1, where a wrong one would change nothing
                values.add_(0.1 * torch.randn(values.shape))
    model.save_pretrained(str(folder))
    return folder


def family_of(folder: Path) -> str:
    """``model_type`` of a folder."""
    return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])


def rows(lengths: Sequence[int], family: str, seed: int = 3) -> list[Tokens]:
    """Random rows of these lengths; segments where the family knows two."""
    dice = random.Random(seed)
    segments = 2 if family in SEGMENTED else 1
    return [
        Tokens(
            ids=tuple(dice.randint(2, VOCABULARY - 1) for _ in range(length)),
            type_ids=tuple(int(place > length // 2) % segments for place in range(length)),
        )
        for length in lengths
    ]


def reference(folder: Path, batch: Sequence[Tokens]) -> Floats:
    """float32[rows, labels] through transformers in float32, one row at a time."""
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    has_segments = "token_type_ids" in inspect.signature(model.forward).parameters
    with torch.inference_mode():
        found = [
            model(
                input_ids=torch.tensor([row.ids]),
                **({"token_type_ids": torch.tensor([row.type_ids])} if has_segments else {}),
            )
            .logits[0]
            .numpy()
            for row in batch
        ]
    return np.array(found, dtype=np.float32)


EVERY_LENGTH = tuple(range(1, LONGEST + 1))


@functools.lru_cache(maxsize=4)
def expected(folder: Path, lengths: tuple[int, ...] = EVERY_LENGTH) -> tuple[list[Tokens], Floats]:
    """Rows of these lengths, and their logits through transformers in float32."""
    batch = rows(lengths, family_of(folder))
    logits = one_logit(reference(folder, batch))
    if logits.std() < 0.02:
        raise AssertionError("the checkpoint scores all rows alike, so that equal scores would prove nothing")
    return batch, logits


def largest_error(backend: Backend, folder: Path, lengths: tuple[int, ...] = EVERY_LENGTH) -> float:
    """How far the backend's logits are from transformers' at most, all rows in one batch."""
    batch, logits = expected(folder, lengths)
    return float(np.abs(backend.forward(batch) - logits).max())


def correlation(backend: Backend, folder: Path, lengths: tuple[int, ...] = EVERY_LENGTH) -> float:
    """Pearson's correlation of the backend's logits with those of transformers in float32."""
    batch, logits = expected(folder, lengths)
    return float(np.corrcoef(backend.forward(batch), logits)[0, 1])


def alone_and_together(
    backend: Backend, lengths: Sequence[int], family: str, dice: random.Random
) -> tuple[Floats, Floats]:
    """Results of rows of these lengths, one row at a time and as one shuffled batch, both in the shuffled order."""
    batch = rows(lengths, family)
    shuffled = dice.sample(batch, len(batch))
    return np.concatenate([backend.forward([row]) for row in shuffled]), backend.forward(shuffled)
