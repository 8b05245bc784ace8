"""Texts to tokens, in batches, by the Rust tokenizers; the query whole, the text cut at its end.

## Decisions
2026-11-21: query and texts are encoded apart, the text is cut, and the tokenizer's own post-processor joins them. Its
built-in truncation is never switched on: it is state of the shared tokenizer (two requests with different limits race
for it) and, for a long query, cuts the query. Without it the tokenizer is never written to and is shared by threads.
2026-11-21: only the head of a long text is encoded, as much as the limit can take; it is enough when the last token
kept lies in an earlier word than the head's last word, because words are encoded independently of what follows. Where
that can't be seen, a longer head is encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.errors import ConfigError, InvalidRequest

LEAST_TEXT_TOKENS = 8
"""A query that leaves less room than this for the text is refused: the scores would mean nothing."""

CHARACTERS_PER_TOKEN = 16
"""How much of a long text is encoded at first; English runs at 4 to 5 characters a token."""


class Tokeniser:
    """A model's tokenizer.json; safe to use from several threads at once."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ConfigError(f"{folder} holds no tokenizer.json; save the model with a fast tokenizer")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises nothing narrower
            raise ConfigError(f"{path} can't be read: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def pairs(self, query: str, texts: Sequence[str], limit: int) -> list[Tokens]:
        """Each text behind the query, ``limit`` tokens a pair at most; InvalidRequest where no room is left for it."""
        asked = self._tokenizer.encode(query, add_special_tokens=False)
        specials = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        room = limit - specials - len(asked)
        if room < LEAST_TEXT_TOKENS:
            most = limit - specials - LEAST_TEXT_TOKENS
            raise InvalidRequest(("query", f"is {len(asked)} tokens long and may be {most} under a limit of {limit}"))
        found = []
        for encoding, truncated in self._heads(texts, room):
            joined = self._tokenizer.post_process(asked, encoding)
            found.append(_tokens(joined, truncated))
        return found

    def texts(self, texts: Sequence[str], limit: int) -> list[Tokens]:
        """Each text alone, at most ``limit`` tokens, special tokens included."""
        room = limit - self._tokenizer.num_special_tokens_to_add(is_pair=False)
        return [
            _tokens(self._tokenizer.post_process(encoding), truncated)
            for encoding, truncated in self._heads(texts, room)
        ]

    def _heads(self, texts: Sequence[str], room: int) -> list[tuple[Encoding, bool]]:
        first = room * CHARACTERS_PER_TOKEN
        encodings = self._tokenizer.encode_batch([text[:first] for text in texts], add_special_tokens=False)
        return [self._cut(text, encoding, room) for text, encoding in zip(texts, encodings, strict=True)]

    def _cut(self, text: str, encoding: Encoding, room: int) -> tuple[Encoding, bool]:
        size = room * CHARACTERS_PER_TOKEN
        while len(text) > size and not _is_settled(encoding, room):
            size *= 4
            encoding = self._tokenizer.encode(text[:size], add_special_tokens=False)
        truncated = len(encoding) > room
        if truncated:
            encoding.truncate(room)
        return encoding, truncated


def _is_settled(encoding: Encoding, room: int) -> bool:
    words = encoding.word_ids
    if len(words) <= room:
        return False
    last_kept, last = words[room - 1], words[-1]
    return last_kept is not None and last is not None and last_kept < last


def _tokens(encoding: Encoding, truncated: bool) -> Tokens:
    return Tokens(ids=tuple(encoding.ids), type_ids=tuple(encoding.type_ids), truncated=truncated)
