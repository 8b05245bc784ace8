"""Checkpoints through torch and transformers, on the CPU or on CUDA, padded within a batch of like lengths.

## Decisions
2026-11-21: the head runs in float32 whatever the encoder runs in. A bf16 logit near 10 comes in steps of 1/16, and
candidates that tie for no better reason would keep the first stage's order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rescorer_sidecar.backends import Facts
from rescorer_sidecar.backends.arrays import Pooling, checked_labels, one_logit, padded, pooled
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import BadCheckpoint, ConfigError, MissingExtra

try:
    import torch
    import transformers
except ImportError as error:
    raise MissingExtra("torch", "sidecar") from error

from rescorer_sidecar.backends.devices import DTYPES, device_and_precision


class TorchBackend:
    """A Hugging Face sequence classifier (``pooling`` is ``None``) or encoder.

    device: ``auto`` (CUDA where there is one, else the CPU), ``cpu`` or ``cuda:N``.
    precision: ``auto`` (fp32 on the CPU, fp16 on CUDA), ``fp32``, ``bf16`` or ``fp16``; results are float32 always.
    """

    def __init__(self, folder: Path, pooling: Pooling | None, *, device: str, precision: str) -> None:
        place, chosen = device_and_precision(device, precision)
        self._model = _load(folder, pooling).to(device=place, dtype=DTYPES[chosen]).eval()
        _run_head_in_float32(self._model)
        self._place = place
        self._pooling = pooling
        settings = self._model.config
        self._pad_id = settings.pad_token_id or 0
        self._has_types = getattr(settings, "type_vocab_size", 0) > 1
        if pooling is None:
            checked_labels(settings.num_labels, folder)
        self.facts = Facts(
            name="torch",
            device=str(place),
            precision=chosen,
            dimension=0 if pooling is None else settings.hidden_size,
            # without a padding id, classifiers that read the last token can't tell where a shorter row ends
            rows_per_forward=1 if settings.pad_token_id is None else None,
        )

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows] logits, or float32[rows, dimension] unit vectors."""
        arrays = padded(batch, self._pad_id)
        mask = arrays["attention_mask"]
        if not self._has_types:
            del arrays["token_type_ids"]
        with torch.inference_mode():
            fed = {name: torch.from_numpy(array).to(self._place) for name, array in arrays.items()}
            output = self._model(**fed)
            if self._pooling is None:
                return one_logit(_numpy(output.logits))
            return pooled(_numpy(output.last_hidden_state), mask, self._pooling)

    def close(self) -> None:
        """Let go of the weights."""
        del self._model


def _load(folder: Path, pooling: Pooling | None) -> Any:
    auto = transformers.AutoModelForSequenceClassification if pooling is None else transformers.AutoModel
    try:
        model, report = auto.from_pretrained(
            str(folder),
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # it would say that there are some, and not which
        )
    except (OSError, ValueError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(f"{folder} can't be loaded by transformers: {first_line}") from error
    if pooling is None and report["missing_keys"]:
        # transformers fills what a checkpoint lacks with random numbers, and random scores look like scores
        lacking = ", ".join(sorted(report["missing_keys"])[:3])
        raise ConfigError(f"{folder} is no cross-encoder: its checkpoint lacks {lacking}")
    _check_fits(folder, model, report)
    return model


def _check_fits(folder: Path, model: Any, report: Mapping[str, Any]) -> None:
    """BadCheckpoint for a weight of another shape than config.json tells, or that the encoder has no place for."""
    mend = "take config.json from the same model"
    for name, stored, told in sorted(report["mismatched_keys"]):
        raise BadCheckpoint(folder, f"holds {name} as {list(stored)}, and config.json tells {list(told)}", mend)
    inside = f"{model.base_model_prefix}."
    extra = [
        name for name in sorted(report["unexpected_keys"]) if name.startswith(inside) and re.search(r"\.\d+\.", name)
    ]
    if extra:
        raise BadCheckpoint(folder, f"holds {extra[0]}, which config.json tells nothing of", mend)


def _run_head_in_float32(model: Any) -> None:
    """All that stands beside the encoder itself: a classifier, and in some families what pools for it."""
    for part in model.children():
        if part is not model.base_model:
            part.float().register_forward_pre_hook(_float32)


def _float32(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)


def _numpy(tensor: torch.Tensor) -> Floats:
    return np.asarray(tensor.float().cpu().numpy(), dtype=np.float32)
