"""Settings that are objects: one table says what each key must be, to the reader and in JSON Schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from rescorer import checks
from rescorer.errors import InvalidSetting

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value must be. ``read(value, path)`` returns it in its own type or raises InvalidSetting; the same as
    JSON Schema stands in ``schema``.
    """

    read: Callable[[Any, str], Any]
    schema: Mapping[str, Any]


def number(least: float, most: float, *, above: bool = False, below: bool = False) -> Shape:
    """A number in ``least`` … ``most``; ``above`` and ``below`` leave that end out."""

    def read(value: Any, path: str) -> float:
        found = checks.number(value, path)
        if not least <= found <= most or (above and found == least) or (below and found == most):
            words = (
                f"must be {'above' if above else 'at least'} {least:g} and {'below' if below else 'at most'} {most:g}"
            )
            raise InvalidSetting(path, value, words)
        return found

    ends = {"exclusiveMinimum" if above else "minimum": least, "exclusiveMaximum" if below else "maximum": most}
    return Shape(read, {"type": "number", **ends})


def whole(least: int, most: int) -> Shape:
    """A whole number in ``least`` … ``most``."""
    return Shape(checks.json_whole(least, most), {"type": "integer", "minimum": least, "maximum": most})


def word(literal: Any) -> Shape:
    """One of a Literal's words."""
    return Shape(checks.one_of(literal), {"enum": list(get_args(literal))})


def text(most: int) -> Shape:
    """A text of ``most`` characters at most that holds more than white space."""

    def read(value: Any, path: str) -> str:
        found = checks.text(value, path)
        if len(found) > most:
            raise InvalidSetting(path, value, f"is longer than {most} characters; shorten it")
        return found

    return Shape(read, {"type": "string", "pattern": r"\S", "maxLength": most})


def listed(entry: Shape, such: str) -> Shape:
    """A list of different values, at least one; ``such`` shows one."""

    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not value:
            raise InvalidSetting(path, value, f"must be a list, such as {such}")
        found = tuple(entry.read(item, f"{path}[{place}]") for place, item in enumerate(value))
        if len(set(found)) < len(found):
            raise InvalidSetting(path, value, "names a value twice")
        return found

    return Shape(read, {"type": "array", "items": entry.schema, "minItems": 1, "uniqueItems": True})


def table(entry: Shape, such: str) -> Shape:
    """An object with names of the user's own, at least one, and one kind of value; ``such`` shows one."""

    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not value:
            raise InvalidSetting(path, value, f"must be an object, such as {such}")
        return {checks.text(name, path): entry.read(item, f"{path}.{name}") for name, item in value.items()}

    names = {"propertyNames": {"pattern": r"\S"}}
    return Shape(read, {"type": "object", "minProperties": 1, "additionalProperties": entry.schema, **names})


def record(kind: type[T], keys: Mapping[str, Shape], such: str) -> Shape:
    """An object that becomes ``kind``; a key is needed where the dataclass has no default for it."""
    needed = [
        entry.name
        for entry in dataclasses.fields(kind)  # type: ignore[arg-type]  # a dataclass, which Type has no word for
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    ]

    def read(value: Any, path: str) -> T:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping) or not value:
            raise InvalidSetting(path, value, f"must be an object, such as {such}")
        checks.checked_keys(value, keys, path)
        for name in needed:
            if name not in value:
                raise InvalidSetting(path, dict(value), f'must hold "{name}"')
        return kind(**{name: keys[name].read(item, f"{path}.{name}") for name, item in value.items()})

    properties = {name: shape.schema for name, shape in keys.items()}
    closed = {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}
    return Shape(read, closed | ({"required": needed} if needed else {}))


def or_off(shape: Shape) -> Shape:
    """The shape, or ``false`` for nothing, which also sets aside what a weaker layer says."""

    def read(value: Any, path: str) -> Any:
        return None if value is False else shape.read(value, path)

    return Shape(read, {"anyOf": [{"const": False}, shape.schema]})
