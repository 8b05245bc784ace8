"""Array work that every backend shares: padding in, one logit or one unit vector a row out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import ConfigError

Pooling = Literal["cls", "mean"]
Ids = npt.NDArray[np.int64]


def padded(batch: Sequence[Tokens], pad_id: int) -> dict[str, Ids]:
    """int64[rows, longest] ``input_ids``, ``attention_mask`` and ``token_type_ids``, filled up at the end."""
    shape = (len(batch), max(len(row) for row in batch))
    ids = np.full(shape, pad_id, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    types = np.zeros(shape, dtype=np.int64)
    for place, row in enumerate(batch):
        ids[place, : len(row)] = row.ids
        mask[place, : len(row)] = 1
        types[place, : len(row)] = row.type_ids
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def one_logit(logits: Floats) -> Floats:
    """float32[rows] from float32[rows, labels]: the only label's logit, or, of two, relevant minus not relevant.

    The difference of two logits is the logit of their softmax; it ranks as the softmax does and does not saturate.
    """
    if logits.shape[1] == 1:
        return logits[:, 0].astype(np.float32)
    return (logits[:, 1] - logits[:, 0]).astype(np.float32)


def checked_labels(count: int, where: object) -> None:
    """Refuse a classifier that is no reranker."""
    if count not in (1, 2):
        raise ConfigError(f"{where} has {count} labels; a cross-encoder has 1, or 2 (not relevant, relevant)")


def pooled(states: Floats, mask: Ids, pooling: Pooling) -> Floats:
    """Unit vectors float32[rows, dimension] from hidden states float32[rows, longest, dimension]."""
    if pooling == "cls":
        vectors = states[:, 0]
    else:
        weights = mask[:, :, None].astype(np.float32)
        vectors = (states * weights).sum(axis=1) / weights.sum(axis=1)
    return unit(vectors)


def unit(vectors: Floats) -> Floats:
    """Each row of float32[rows, dimension] made one long."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
