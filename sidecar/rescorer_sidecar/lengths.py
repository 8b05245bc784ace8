"""About how many tokens a text has, told from its bytes, where reading it would cost more than knowing is worth."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rescorer_sidecar.domain import Field, Text

BYTES_PER_TOKEN = 4
"""UTF-8 bytes: English runs at 4 to 5, Chinese at 3 to 5 (a character is three bytes and rarely more than a token)."""

SPECIAL_TOKENS = 4


def pair_tokens(query: str, texts: Iterable[Text]) -> list[int]:
    """About how many tokens each pair has, special tokens included."""
    asked = SPECIAL_TOKENS + _tokens(query)
    return [asked + (_tokens(text) if isinstance(text, str) else sum(map(_of_field, text))) for text in texts]


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def _of_field(field: Field) -> int:
    return _tokens(field.label) + min(_tokens(field.text), field.max_tokens or sys.maxsize)
