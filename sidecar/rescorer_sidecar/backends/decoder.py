"""Generative rerankers through torch and transformers: the logits of their answers, and nothing else of the vocabulary.

What all rows of a batch begin with (the prompt and, mostly, the query) runs once; its keys and values stand before
every row. Rows run filled up at their ends: attention looks back only, so no token ever sees a filling, and a row's
positions are the places of its own tokens.

## Decisions
2026-11: on CUDA ``auto`` is bf16 and not fp16 as for encoders: these models were trained in bf16, and states of some
overflow fp16. The last state times the answers' rows is computed in float32, as every head here.
2026-11: rows part into groups of like length so that a group is never filled up by more than 64 tokens. Each group
costs one more walk over the weights, which is worth about as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rescorer_sidecar.backends import Facts
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import ConfigError, MissingExtra

try:
    import torch
    import transformers
except ImportError as error:
    raise MissingExtra("torch", "sidecar") from error

from rescorer_sidecar.backends.devices import DTYPES, device_and_precision

Rows = Sequence[tuple[int, ...]]
Shared = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, [1, heads, tokens, size of a head]."""

MOST_FILLING = 64
"""Tokens of filling in one group of rows at most."""

GROUP_TOKENS = 16_384
"""Most tokens of one group, shared ones too since each row keeps their keys; whatever a caller gives to one forward."""

LEAST_SAVED = 64
"""A beginning that saves fewer tokens than this is not worth a walk over the weights of its own."""


class DecoderBackend:
    """A causal language model that answers about a pair.

    answers: id of the token that says relevant, and of the one that says not, if the family reads that too.
    device: ``auto`` (CUDA where there is one, else the CPU), ``cpu`` or ``cuda:N``.
    precision: ``auto`` (fp32 on the CPU, bf16 on CUDA), ``fp32``, ``bf16`` or ``fp16``; results are float32 always.
    """

    def __init__(self, folder: Path, answers: Sequence[int], *, device: str, precision: str) -> None:
        place, chosen = device_and_precision(device, precision)
        if precision == "auto" and place.type == "cuda":
            chosen = "bf16"
        model = _load(folder, DTYPES[chosen])
        self._direction, self._bias = _direction(model.get_output_embeddings(), answers, folder, place)
        self._decoder = model.base_model.to(place).eval()
        self._place = place
        self._words = int(model.config.vocab_size)
        self.facts = Facts(name="torch-decoder", device=str(place), precision=chosen, dimension=0, is_packed=True)

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows] logits: of the relevant answer, less that of the other. ValueError for rows no table holds."""
        rows = [row.ids for row in batch]
        self._check(rows)
        begins = shared_tokens(rows)
        results = np.empty(len(rows), dtype=np.float32)
        with torch.inference_mode():
            shared = self._beginning(rows[0][:begins]) if begins else None
            for places in groups([len(row) for row in rows]):
                results[places] = self._logits([rows[place][begins:] for place in places], shared)
        return results

    def close(self) -> None:
        """Let go of the weights."""
        del self._decoder

    def _check(self, rows: Rows) -> None:
        if not all(rows):
            raise ValueError("a row has no tokens")
        least, largest = min(map(min, rows)), max(map(max, rows))
        if least < 0 or largest >= self._words:
            wrong = least if least < 0 else largest
            raise ValueError(f"a token has id {wrong}, but the model knows {self._words} of them, from 0 on")

    def _beginning(self, ids: tuple[int, ...]) -> Shared:
        cache: Any = transformers.DynamicCache()  # of whole keys, so that layers with a window find theirs in it
        self._decoder(input_ids=torch.tensor([ids], device=self._place), past_key_values=cache, use_cache=True)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _logits(self, rows: Rows, shared: Shared | None) -> Floats:
        longest = max(map(len, rows))
        ids = torch.tensor([row + (0,) * (longest - len(row)) for row in rows], device=self._place)
        lasts = torch.tensor([len(row) - 1 for row in rows], device=self._place)
        cache = None
        if shared is not None:
            cache = transformers.DynamicCache(
                [(keys.expand(len(rows), -1, -1, -1), values.expand(len(rows), -1, -1, -1)) for keys, values in shared]
            )
        output = self._decoder(input_ids=ids, past_key_values=cache, use_cache=cache is not None)
        states = output.last_hidden_state[torch.arange(len(rows), device=self._place), lasts].float()
        return np.asarray((states @ self._direction + self._bias).cpu().numpy(), dtype=np.float32)


def shared_tokens(rows: Rows) -> int:
    """How many first tokens to run once for all rows: those they have in common, one of each row left over.

    0 where that saves too little.
    """
    first, last = min(rows), max(rows)
    most = min(map(len, rows)) - 1
    alike = next((place for place in range(most) if first[place] != last[place]), most)
    return alike if alike * (len(rows) - 1) >= LEAST_SAVED else 0


def groups(lengths: Sequence[int]) -> list[list[int]]:
    """Places of rows that run together, longest first; filled up to one length, each is bounded in tokens."""
    made: list[list[int]] = []
    filling = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        longest = lengths[made[-1][0]] if made else 0
        filling += longest - lengths[place]
        if not made or filling > MOST_FILLING or longest * (len(made[-1]) + 1) > GROUP_TOKENS:
            made.append([])
            filling = 0
        made[-1].append(place)
    return made


def _load(folder: Path, dtype: torch.dtype) -> Any:
    auto: Any = transformers.AutoModelForCausalLM
    try:
        model, report = auto.from_pretrained(
            str(folder),
            dtype=dtype,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{folder} can't be loaded by transformers: {first_line}") from error
    if report["missing_keys"]:
        lacking = ", ".join(sorted(report["missing_keys"])[:3])
        raise ConfigError(f"{folder} is no whole language model: its checkpoint lacks {lacking}; download it again")
    return model


def _direction(head: Any, answers: Sequence[int], folder: Path, place: torch.device) -> tuple[torch.Tensor, float]:
    """float32[width] and a number that make the score of a last state: the answers' rows, one less the other."""
    if max(answers) >= len(head.weight):
        raise ConfigError(
            f"{folder}: the tokenizer's answer has id {max(answers)}, but the model knows {len(head.weight)} tokens; "
            "give the tokenizer.json that belongs to this model"
        )
    signs = torch.tensor([1.0, -1.0][: len(answers)])
    chosen = head.weight.detach()[list(answers)].float()
    bias = 0.0 if head.bias is None else float(signs @ head.bias.detach()[list(answers)].float())
    return (signs @ chosen).to(place), bias
