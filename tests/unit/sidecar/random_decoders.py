"""Random checkpoints of generative rerankers with a tokenizer each, and what transformers makes of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.prompts import BGE_RERANKER_V2_GEMMA, GOLDEN, MXBAI_RERANK_V2, QWEN3_RERANKER, Prompt

FAMILIES = {"qwen3": QWEN3_RERANKER, "qwen2": MXBAI_RERANK_V2, "gemma": BGE_RERANKER_V2_GEMMA}
VOCABULARY = 500
WIDTH = 64


def checkpoint(folder: Path, family: str, dtype: str = "float32", **odd: object) -> Path:
    """A random three-layer language model, two query heads to one of keys, whose scores spread."""
    import torch
    import transformers

    torch.manual_seed(1)
    described = transformers.AutoConfig.for_model(
        family,
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 96,
            "max_position_embeddings": 2048,
            "initializer_range": 0.15,
            "tie_word_embeddings": False,
        }
        | odd,
    )
    made = transformers.AutoModelForCausalLM.from_config(described)
    made.to(getattr(torch, dtype)).save_pretrained(str(folder))
    return folder


def tokenizer(folder: Path, prompt: Prompt) -> Tokenizer:
    """A byte-level tokenizer with the prompt's marks, written into the folder; its answers are tokens."""
    specials = [mark for mark in prompt.marks if "think" not in mark]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 8,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["yes\nno\nYes\nNo\n0\n1\n"] * 9 + [text for pair in GOLDEN for text in pair], trainer)
    made.add_tokens([mark for mark in prompt.marks if "think" in mark])
    made.save(str(folder / "tokenizer.json"))
    return made


def rows(lengths: Sequence[int], shared: int = 0, seed: int = 3) -> list[Tokens]:
    """Random rows of these lengths, the first ``shared`` ids of all alike."""
    dice = random.Random(seed)
    front = [dice.randrange(VOCABULARY) for _ in range(shared)]
    return [
        Tokens(ids=tuple(ids), type_ids=(0,) * length)
        for length in lengths
        for ids in [(front + [dice.randrange(VOCABULARY) for _ in range(length)])[:length]]
    ]


def reference(folder: Path, batch: Sequence[Tokens], answers: Sequence[int]) -> Floats:
    """float32[rows] through transformers' whole model in float32, one row at a time, all of the vocabulary."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([row.ids])).logits[0, -1].numpy() for row in batch]
    found = [row[answers[0]] - (row[answers[1]] if len(answers) > 1 else 0.0) for row in logits]
    return np.array(found, dtype=np.float32)


def teach_golden(folder: Path, ids: Sequence[Sequence[Tokens]], answer: int) -> None:
    """Set the relevant answer's row of the checkpoint so that each golden query's own text scores 1, all others −1.

    ids: rows of each golden query with each golden text.
    """
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
        model.get_output_embeddings().weight[answer] = _golden_row(model.base_model, ids)
    model.save_pretrained(str(folder))


def made_classifier(folder: Path, ids: Sequence[Sequence[Tokens]], labels: int) -> None:
    """Turn the language model into a classifier with the head of :func:`teach_golden`; a random one without ids."""
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder), num_labels=labels).eval()
    with torch.no_grad():
        if ids:
            model.score.weight.zero_()
            model.score.weight[-1] = _golden_row(model.base_model, ids)
    model.save_pretrained(str(folder))


def _golden_row(decoder: Any, ids: Sequence[Sequence[Tokens]]) -> Any:
    """float64[width] that makes 1 of the last state of each golden query with its own text, −1 of all others."""
    import torch

    states = torch.stack(
        [decoder(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1] for rows in ids for row in rows]
    )
    wanted = (2 * torch.eye(len(ids)) - 1).flatten()
    return torch.linalg.lstsq(states.double(), wanted.double()[:, None], driver="gelsd").solution[:, 0]
