"""What ``transformers`` alone makes of pairs: in float32, on the CPU, one at a time. To compare with, not to serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rescorer_sidecar.backends.arrays import one_logit
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.errors import ConfigError, MissingExtra

try:
    import torch
    import transformers
except ImportError as error:
    raise MissingExtra("torch", "sidecar") from error

Tell = Callable[[], None]
"""Called once for each pair that is done."""


def classified(folder: Path, pairs: Sequence[tuple[str, str]], limit: int, tell: Tell) -> Floats:
    """float32[pairs] logits of a sequence classifier, through its own tokenizer, the text cut and never the query.

    ConfigError where ``transformers`` does not know the model.
    """
    tokenizer = _from(transformers.AutoTokenizer, folder)
    model = _from(transformers.AutoModelForSequenceClassification, folder).float().eval()
    found = []
    with torch.inference_mode():
        for query, text in pairs:
            fed = tokenizer(query, text, truncation="only_second", max_length=limit, return_tensors="pt")
            found.append(model(**fed).logits[0].float().numpy())
            tell()
    return one_logit(np.array(found, dtype=np.float32))


def answered(folder: Path, rows: Sequence[Tokens], answers: Sequence[int], tell: Tell) -> Floats:
    """float32[rows] logits of a generative reranker: of its first answer behind each row, less its second's if any.

    The rows are those of our template, which ``transformers`` knows nothing of.
    """
    model = _from(transformers.AutoModelForCausalLM, folder).float().eval()
    found = []
    with torch.inference_mode():
        for row in rows:
            told = model(input_ids=torch.tensor([row.ids])).logits[0, -1, list(answers)].float().numpy()
            found.append(told[0] - (told[1] if len(told) > 1 else 0))
            tell()
    return np.array(found, dtype=np.float32)


def judged(folder: Path, rows: Sequence[Tokens], tell: Tell) -> Floats:
    """float32[rows] logits of a sequence classifier that is asked in the words of our template."""
    model = _from(transformers.AutoModelForSequenceClassification, folder).float().eval()
    found = []
    with torch.inference_mode():
        for row in rows:
            found.append(model(input_ids=torch.tensor([row.ids])).logits[0].float().numpy())
            tell()
    return one_logit(np.array(found, dtype=np.float32))


def _from(auto: Any, folder: Path) -> Any:
    try:
        return auto.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(f"{folder} can't be loaded by transformers, to compare with: {first_line}") from error
