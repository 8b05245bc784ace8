"""Texts to tokens, in batches, by the Rust tokenizers; the query whole, the text cut at its end or into chunks.

## Decisions
2026-11-21: query and texts are encoded apart, the text is cut, and the tokenizer's own post-processor joins them. Its
built-in truncation is never switched on: it is state of the shared tokenizer (two requests with different limits race
for it) and, for a long query, cuts the query. Without it the tokenizer is never written to and is shared by threads.
2026-11-21: only the head of a long text is encoded, as much as the limit can take; it is enough when the last token
kept lies in an earlier word than the head's last word, because words are encoded independently of what follows. Where
that can't be seen, a longer head is encoded.
2026-11: where the post-processor only puts fixed tokens around query and text, which is looked at when the tokenizer is
loaded, pairs are laid out here and a text's ids are kept for the next query. Where it does anything else, it joins;
then fields are read as one plain text, and no text is cut into chunks.
2026-11: a text is encoded once, all its fields together; what is kept of each field and what stands in each chunk are
spans of its tokens (:mod:`rescorer_sidecar.chunks`). Rejected: encoding each chunk, which reads overlaps and title
again, and makes other tokens where a chunk begins inside a word.
2026-11: a prompt takes the post-processor's place. Special tokens are read as such in its own parts only: a document
that holds ``<|im_end|>`` holds those characters, and can't end the turn to answer in the model's name.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tokenizers import Encoding, Tokenizer

from rescorer_sidecar import fields
from rescorer_sidecar.chunks import LongTexts
from rescorer_sidecar.domain import Chunks, Field, Text, Tokens, text_digest
from rescorer_sidecar.errors import ConfigError, InvalidRequest
from rescorer_sidecar.prompts import LABEL_END, QUERY, Prompt
from rescorer_sidecar.token_cache import Beginning, TokenCache

LONE_SURROGATE = re.compile("[\ud800-\udfff]")

LEAST_TEXT_TOKENS = 8
"""A query that leaves less room than this for the text is refused: the scores would mean nothing."""

CHARACTERS_PER_TOKEN = 16
"""How much of a long text is encoded at first; English runs at 4 to 5 characters a token."""

Got = TypeVar("Got")


class Tokeniser:
    """A model's tokenizer.json, which puts pairs into ``prompt`` if there is one; safe to use from several threads.

    answers: the ids of the prompt's answers, in its order.
    """

    def __init__(self, folder: Path, prompt: Prompt | None = None) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ConfigError(f"{folder} holds no tokenizer.json; save the model with a fast tokenizer")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises nothing narrower
            raise ConfigError(f"{path} can't be read: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._question, self._lead = QUERY, ""
        self.answers: tuple[int, ...] = ()
        if prompt is None:
            self._layout = _layout(self._tokenizer)
            return
        self._question, self._lead = prompt.question, prompt.lead
        self.answers = _known_ids(self._tokenizer, prompt, path)
        self._layout = _prompt_layout(self._tokenizer, prompt)
        self._tokenizer.encode_special_tokens = True

    @property
    def keeps_texts(self) -> bool:
        """Whether a text's ids can be kept for other queries."""
        return self._layout is not None

    @property
    def vocabulary(self) -> int:
        """One more than the highest id that it gives."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    @property
    def specials(self) -> int:
        """How many tokens its own post-processor puts around a pair."""
        return int(self._tokenizer.num_special_tokens_to_add(is_pair=True))

    def pairs(self, query: str, texts: Sequence[Text], limit: int, known: TokenCache | None = None) -> list[Tokens]:
        """Each text behind the query, ``limit`` tokens a pair at most; InvalidRequest where no room is left for it.

        Texts that ``known`` holds are not read again, and those that were read are put there.
        """
        asked, room = self._asked(query, limit)
        if self._layout is None:
            return [
                _tokens(self._tokenizer.post_process(asked, encoding), truncated)
                for encoding, truncated in self._heads([fields.lines(text) for text in texts], room)
            ]
        front = self._layout.front(asked.ids)
        texts = [_led(self._lead, text) for text in texts]
        found = self._read(texts, room, limit, known, lambda beginning: beginning.cut(room))
        return [front.pair(ids, truncated) for ids, truncated in found]

    def chunks(
        self, query: str, texts: Sequence[Text], limit: int, how: LongTexts, known: TokenCache | None = None
    ) -> list[Chunks]:
        """As :meth:`pairs`, but a text that does not fit becomes several pairs, each behind the query."""
        asked, room = self._asked(query, limit)
        if self._layout is None:
            return [Chunks(pairs=(pair,), truncated=pair.truncated) for pair in self.pairs(query, texts, limit)]
        front, most = self._layout.front(asked.ids), how.most_chunks
        texts = [_led(self._lead, text, in_chunks=True) for text in texts]
        found = self._read(texts, room * most, limit * most, known, lambda beginning: beginning.chunks(room, how))
        return [
            Chunks(pairs=tuple(front.pair(ids, False) for ids in cut), truncated=truncated) for cut, truncated in found
        ]

    def texts(self, texts: Sequence[str], limit: int) -> list[Tokens]:
        """Each text alone, at most ``limit`` tokens, special tokens included."""
        room = limit - self._tokenizer.num_special_tokens_to_add(is_pair=False)
        return [
            _tokens(self._tokenizer.post_process(encoding), truncated)
            for encoding, truncated in self._heads(texts, room)
        ]

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        try:
            return list(self._tokenizer.encode_batch(list(texts), add_special_tokens=False))
        except TypeError:  # what the library says to a lone surrogate, which is no character
            clean = [LONE_SURROGATE.sub("\ufffd", text) for text in texts]
            return list(self._tokenizer.encode_batch(clean, add_special_tokens=False))

    def _asked(self, query: str, limit: int) -> tuple[Encoding, int]:
        """The query's tokens and how many are left for a text."""
        (asked,) = self._encoded([self._question.replace(QUERY, query)])
        layout = self._layout
        specials = self._tokenizer.num_special_tokens_to_add(is_pair=True) if layout is None else len(layout)
        room = limit - specials - len(asked)
        if room < LEAST_TEXT_TOKENS:
            most = limit - specials - LEAST_TEXT_TOKENS
            raise InvalidRequest(("query", f"is {len(asked)} tokens long and may be {most} under a limit of {limit}"))
        return asked, room

    def _read(
        self,
        texts: Sequence[Text],
        need: int,
        keep: int,
        known: TokenCache | None,
        use: Callable[[Beginning], Got | None],
    ) -> list[Got]:
        """What ``use`` makes of each text, of which ``need`` ids are certain, or all; ``keep`` of them are remembered.

        use: gives ``None`` where a known beginning is too short for it.
        """
        digests = [text_digest(text) for text in texts] if known is not None else []
        found = [None if (kept := known.get(digest)) is None else use(kept) for digest in digests] if known else []
        found = found or [None] * len(texts)
        missing = [place for place, made in enumerate(found) if made is None]
        heads = [_head(texts[place], keep, CHARACTERS_PER_TOKEN) for place in missing]
        for place, encoding in zip(missing, self._encoded(heads), strict=True):
            beginning = self._beginning(texts[place], encoding, need, keep)
            found[place] = use(beginning)
            if known is not None:
                known.put(digests[place], beginning)
        return [made for made in found if made is not None]

    def _beginning(self, text: Text, encoding: Encoding, need: int, keep: int) -> Beginning:
        """What is certain of a text; at least ``need`` ids or all of them, about ``keep`` at most, of each field."""
        characters = CHARACTERS_PER_TOKEN
        while not (found := _certain_beginning(text, encoding, keep, characters)).has(need):
            characters *= 4
            (encoding,) = self._encoded([_head(text, keep, characters)])
        return found

    def _heads(self, texts: Sequence[str], room: int) -> list[tuple[Encoding, bool]]:
        size = room * CHARACTERS_PER_TOKEN
        encodings = self._encoded([text[:size] for text in texts])
        return [self._cut(text, encoding, room) for text, encoding in zip(texts, encodings, strict=True)]

    def _cut(self, text: str, encoding: Encoding, room: int) -> tuple[Encoding, bool]:
        size = room * CHARACTERS_PER_TOKEN
        while len(text) > size and _certain(encoding) < room:
            size *= 4
            (encoding,) = self._encoded([text[:size]])
        truncated = len(encoding) > room
        if truncated:
            encoding.truncate(room)
        return encoding, truncated


def _led(lead: str, text: Text, *, in_chunks: bool = False) -> Text:
    """The text behind what a prompt puts before it, which in chunks is a label, so that each of them has it."""
    if not lead:
        return text
    if isinstance(text, str):
        return (Field(label=lead.removesuffix(LABEL_END), text=text),) if in_chunks else lead + text
    label = f"{lead}{text[0].label}" if text[0].label else lead.removesuffix(LABEL_END)
    return (replace(text[0], label=label), *text[1:])


def _head(text: Text, keep: int, characters: int) -> str:
    """As much of a text as ``keep`` tokens may need, at so many characters a token."""
    return text[: keep * characters] if isinstance(text, str) else fields.joined(text, keep, characters).text


def _certain_beginning(text: Text, encoding: Encoding, keep: int, characters: int) -> Beginning:
    """What is certain of a text whose head this is."""
    if not isinstance(text, str):
        return fields.read(text, fields.joined(text, keep, characters), encoding, keep)
    if len(text) <= keep * characters:
        return Beginning(array("i", encoding.ids[:keep]), len(encoding) <= keep)
    return Beginning(array("i", encoding.ids[: min(_certain(encoding), keep)]), is_whole=False)


def _certain(encoding: Encoding) -> int:
    """How many first tokens of a head are those of the whole text: all that lie in words before its last one."""
    words = encoding.word_ids
    last = words[-1] if words else None
    if last is None:
        return 0
    places = range(len(words), 0, -1)
    return next((count for count in places if (word := words[count - 1]) is not None and word < last), 0)


def _tokens(encoding: Encoding, truncated: bool) -> Tokens:
    return Tokens(ids=tuple(encoding.ids), type_ids=tuple(encoding.type_ids), truncated=truncated)


@dataclass(frozen=True, slots=True)
class _Front:
    """A pair up to its text, and what stands behind the text."""

    ids: tuple[int, ...]
    types: tuple[int, ...]
    text_type: int
    end_ids: tuple[int, ...]
    end_types: tuple[int, ...]

    def pair(self, ids: tuple[int, ...], truncated: bool) -> Tokens:
        """The whole pair."""
        return Tokens(
            ids=self.ids + ids + self.end_ids,
            type_ids=self.types + (self.text_type,) * len(ids) + self.end_types,
            truncated=truncated,
        )


@dataclass(frozen=True, slots=True)
class _Layout:
    """The fixed tokens before the query, between query and text and behind the text, and all segment numbers."""

    ids: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    types: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    query_type: int
    text_type: int

    def __len__(self) -> int:
        return sum(map(len, self.ids))

    def front(self, asked: Sequence[int]) -> _Front:
        """Everything but the text."""
        types = self.types[0] + (self.query_type,) * len(asked) + self.types[1]
        return _Front(self.ids[0] + tuple(asked) + self.ids[1], types, self.text_type, self.ids[2], self.types[2])


PROBES = (("a query", "one text"), ("1", "!"), ("a", ""), ("", "b"), ("", ""), ("a b c d 1 2 3", "it's " * 40))


def _layout(tokenizer: Tokenizer) -> _Layout | None:
    """How the tokenizer's own post-processor lays a pair out; ``None`` where it does more than put tokens around."""
    encoded = [tuple(tokenizer.encode(part, add_special_tokens=False) for part in probe) for probe in PROBES]
    joined = [tokenizer.post_process(asked, read) for asked, read in encoded]
    asked, read = encoded[0]
    whole, types = tuple(joined[0].ids), tuple(joined[0].type_ids)
    query = _place(whole, asked.ids, 0)
    text = _place(whole, read.ids, query + len(asked))
    if query < 0 or text < 0 or not asked.ids or not read.ids:
        return None
    parts = (slice(0, query), slice(query + len(asked), text), slice(text + len(read), len(whole)))
    before, between, behind = parts
    found = _Layout(
        (whole[before], whole[between], whole[behind]),
        (types[before], types[between], types[behind]),
        types[query],
        types[text],
    )
    for (asked, read), whole_pair in zip(encoded, joined, strict=True):
        if found.front(asked.ids).pair(tuple(read.ids), False) != _tokens(whole_pair, False):
            return None
    return found


def _prompt_layout(tokenizer: Tokenizer, prompt: Prompt) -> _Layout:
    """How a prompt lays a pair out; all of it is one segment."""
    asked = prompt.front.index(prompt.question)
    before, between, behind = (
        tuple(number for part in parts for number in tokenizer.encode(part, add_special_tokens=False).ids)
        for parts in (prompt.front[:asked], prompt.front[asked + 1 :], prompt.back)
    )
    types = ((0,) * len(before), (0,) * len(between), (0,) * len(behind))
    return _Layout((before, between, behind), types, 0, 0)


def _known_ids(tokenizer: Tokenizer, prompt: Prompt, path: Path) -> tuple[int, ...]:
    """The ids of the answers; ConfigError where they, or the prompt's marks, are no tokens."""
    ids = {word: tokenizer.token_to_id(word) for word in (*prompt.marks, *prompt.answers)}
    unknown = [word for word, number in ids.items() if number is None]
    if unknown:
        raise ConfigError(
            f"{path} knows no token {unknown[0]!r}, which the template of {prompt.family} needs; "
            f"give the tokenizer.json that belongs to this {prompt.family}"
        )
    return tuple(number for answer in prompt.answers if (number := ids[answer]) is not None)


def _place(whole: Sequence[int], part: Sequence[int], begin: int) -> int:
    """Where ``part`` first stands in ``whole`` from ``begin`` on; -1 if nowhere."""
    places = range(begin, len(whole) - len(part) + 1)
    return next((place for place in places if list(whole[place : place + len(part)]) == list(part)), -1)
