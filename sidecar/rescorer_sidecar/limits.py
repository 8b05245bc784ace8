"""How many tokens a model reads at most, by all the files that say something about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.prompts import Prompt

UNBOUNDED = 1_000_000
"""Some tokenizers say 1e30 where they know no limit."""

DEFAULT_LIMIT = 512
LEAST_LIMIT = 16
"""Below this no query and text fit together."""


def limit(facts: Mapping[str, Any], wanted: int, prompt: Prompt | None = None) -> int:
    """The model's own limit, or less where less is wanted; ConfigError where that holds no query and text.

    Its own is the least of the position table, the tokenizer's ``model_max_length``, ``max_seq_length`` of
    sentence-transformers and the prompt's. RoBERTa's positions start behind its padding id.
    """
    positions = facts.get("max_position_embeddings") or facts.get("n_positions") or UNBOUNDED
    if "roberta" in facts.get("model_type", ""):
        positions -= facts.get("pad_token_id", 1) + 1
    told = (facts.get("model_max_length"), facts.get("max_seq_length"), prompt and prompt.max_tokens)
    own = min(positions, *(int(number) for number in told if number), UNBOUNDED)
    own = own if own < UNBOUNDED else DEFAULT_LIMIT
    found = min(own, wanted) if wanted else own
    if found < LEAST_LIMIT:
        raise ConfigError(f"a limit of {found} tokens holds no query and text; give max_tokens {LEAST_LIMIT} or more")
    return found
