"""Bytes as a row of choices, and messages of the wire made by them; when the bytes are at an end, the least is chosen.

Both fuzzers give bytes. A target reads them once as they are and once through here, so that what lies behind a reader
is reached without a fuzzer that knows the reader's grammar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_NUMBERS = (0, 1, 2, 3, 8, 15, 16, 17, 50, 51, 64, 512, 10_000, 10_001, 2**31 - 1, 2**31, 2**32 - 1)
_FLOATS = (0.0, 0.5, 1.0, -1.0, 1e-300, 1e308, float("nan"), float("inf"), float("-inf"), 30.0, 86_401.0)
_ODD = ("", " ", "\x00", "\ufeff", "\u202e", "é" * 40, "cat " * 300, "a" * 2000, "🐈", "\r\nx: y", "%s{}")


class Choices:
    """What the bytes choose, one after the other."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def whole(self, most: int) -> int:
        """0 … ``most``, which is below 256."""
        if self._at >= len(self._raw):
            return 0
        self._at += 1
        return self._raw[self._at - 1] % (most + 1)

    def of(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.whole(min(len(options), 256) - 1)]

    def raw(self) -> bytes:
        """Up to 15 bytes as they stand."""
        begin, self._at = self._at, self._at + 1 + self.whole(15)
        return self._raw[begin + 1 : self._at]

    def text(self, words: Sequence[str]) -> str:
        """A word, something odd, a few words, or what the bytes say."""
        match self.whole(3):
            case 0:
                return self.of(words)
            case 1:
                return self.of(_ODD)
            case 2:
                return " ".join(self.of(words) for _ in range(self.whole(6)))
        return self.raw().decode("utf-8", "replace")


def message(kind: type[T], choices: Choices, words: Sequence[str]) -> T:
    """A message with each of its fields set or not; ``words`` are those that mean something to its reader."""
    made: Any = kind()
    for field in made.DESCRIPTOR.fields:
        if not choices.whole(3):
            continue
        value = getattr(made, field.name)
        if field.is_repeated:
            value.extend(_value(field, choices, words) for _ in range(choices.whole(4)))
        elif field.message_type is not None:
            value.CopyFrom(_value(field, choices, words))
        else:
            setattr(made, field.name, _value(field, choices, words))
    return made  # type: ignore[no-any-return]


def _value(field: Any, choices: Choices, words: Sequence[str]) -> Any:
    if field.message_type is not None:
        return message(field.message_type._concrete_class, choices, words)
    if field.cpp_type == field.CPPTYPE_STRING:
        return choices.text(words) if field.type == field.TYPE_STRING else choices.raw()
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return choices.of(_FLOATS)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return bool(choices.whole(1))
    number = choices.of(_NUMBERS)
    return number if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else number % 2**31
