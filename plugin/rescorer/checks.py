"""What a value of the settings must be: each check returns it in its own type or raises InvalidSetting."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from rescorer.errors import InvalidSetting


def checked_keys(mapping: Any, known: Iterable[str], path: str) -> None:
    """Raise InvalidSetting where ``mapping`` is no object or holds a key that is not known."""
    if not isinstance(mapping, Mapping):
        raise InvalidSetting(path, mapping, "must be an object")
    names = list(known)
    for key in mapping:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(names))}"
            raise InvalidSetting(f"{path}{_step(key)}", mapping[key], f"stands under an unknown key; {hint}")


def _step(key: Any) -> str:
    """A key as part of a path, on one line whatever it holds."""
    return f".{key}" if isinstance(key, str) and key and key.isprintable() else f"[{key!r}]"


def text(value: Any, path: str) -> str:
    """A string that holds more than white space."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidSetting(path, value, "must be a string that is not empty")
    return value


def any_text(value: Any, path: str) -> str:
    """A string, also the empty one."""
    if not isinstance(value, str):
        raise InvalidSetting(path, value, "must be a string")
    return value


def whole(least: int, most: int) -> Callable[[Any, str], int]:
    """A check for a whole number from ``least`` to ``most``, ``true`` and ``1.0`` not counted as one."""

    def check(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidSetting(path, value, f"must be a whole number in {least}..{most}")
        return value

    return check


def json_whole(least: int, most: int) -> Callable[[Any, str], int]:
    """As :func:`whole`, for a number out of JSON, where ``100.0`` and ``100`` are the same number."""
    check = whole(least, most)

    def check_json(value: Any, path: str) -> int:
        return check(int(value) if isinstance(value, float) and value.is_integer() else value, path)

    return check_json


def one_of(literal: Any) -> Callable[[Any, str], str]:
    """A check for one of a Literal's words."""
    words = get_args(literal)

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in words:
            raise InvalidSetting(path, value, f"must be one of {', '.join(words)}")
        return value

    return check


def number(value: Any, path: str) -> float:
    """A finite number, as float64."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_float(value)):
        raise InvalidSetting(path, value, "must be a finite number")
    return float(value)


def _float(value: float) -> float:
    """The value as float64; a whole number that is too large for it is infinite, not an OverflowError."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def positive(value: Any, path: str) -> float:
    """A finite number above 0."""
    if number(value, path) <= 0:
        raise InvalidSetting(path, value, "must be greater than 0")
    return float(value)


def boolean(value: Any, path: str) -> bool:
    """``true`` or ``false`` and nothing that passes for one."""
    if not isinstance(value, bool):
        raise InvalidSetting(path, value, "must be true or false")
    return value
