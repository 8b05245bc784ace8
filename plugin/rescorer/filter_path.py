"""The engines' ``filter_path``: what to fetch instead, and the caller's own filter applied to the finished answer.

A rescored search needs hits that the caller's filter may hide, and adds ``rescore``, which no engine can filter. So the
engine is asked for :func:`to_fetch`, and :func:`filtered` does afterwards what the engine would have done.

The grammar, which both engines share: filters stand in one comma-separated text or in a list; ``.`` leads one name
deeper, and ``\\.`` is a point in a name; ``*`` is any part of one name, ``**`` is one name or more; ``-`` in front
excludes. Arrays are no step: a filter goes into each element. Includes are applied first, then excludes.

## Decisions
2026-11-25: the engines differ in three things (OpenSearch 2.19.6, 3.6.0; Elasticsearch 8.19.13, 9.4.3), and an argument
says which is meant. Where an exclude leads into a container that is empty already, OpenSearch leaves it out and
Elasticsearch keeps it; points at the end of a filter are nothing on OpenSearch and empty names on Elasticsearch; a bare
``-`` as the one exclude is refused by OpenSearch. Rejected: one behaviour for both, which is wrong on one of them.
2026-11-25: ``rescore`` survives every filter that does not begin with its name, since a fallback is never silent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rescorer import request
from rescorer.domain import Engine
from rescorer.errors import InvalidSetting

Path = tuple[str, ...]

OUTCOME = "rescore"
"""Our key in a search answer."""

MANY = "responses"
"""Where ``msearch`` and ``msearch_template`` keep their search answers."""

NEEDED = ("hits", "_shards", "took", "timed_out", "terminated_early", "pit_id", "_scroll_id", "error", "status")
"""What a rescored search reads of a search answer, or hands on as a handle; all but ``hits`` is small."""

ALONE = "-"
"""A filter that excludes nothing: OpenSearch refuses the request unless it excludes something else."""

_EVERYTHING: frozenset[Path] = frozenset({("*",), ("**",)})
_NOTHING = object()
_POINT = re.compile(r"(?<!\\)\.")


def filtered(
    answer: Mapping[str, Any], filter_path: str | Sequence[str], engine: Engine = "opensearch"
) -> dict[str, Any]:
    """The parts of a JSON answer that ``filter_path`` leaves, as ``engine`` would have sent them.

    The answer is not changed; parts that stay whole are the same objects in both. ``rescore``, also that of each of an
    msearch's answers, stays whole unless a filter begins with its name.
    """
    includes, excludes = _parsed(filter_path, engine)
    found = dict(answer)
    if includes:
        own = [path for path in ((OUTCOME,), (MANY, OUTCOME)) if not any(_begins(other, path) for other in includes)]
        kept = _included(found, _State([*includes, *own]))
        found = {} if kept is _NOTHING else kept
    return _without(found, _State(excludes), engine == "elasticsearch") if excludes else found


def widened(options: Mapping[str, Any], filter_path: Any, below: str, engine: Engine) -> dict[str, Any]:
    """The keywords of a search with what :func:`to_fetch` makes of its ``filter_path``, or with none."""
    rest = request.without(options, "filter_path")
    wider = None if filter_path is None else to_fetch(filter_path, below, engine)
    return rest if wider is None else {**rest, "filter_path": wider}


def to_fetch(filter_path: str | Sequence[str], below: str = "", engine: Engine = "opensearch") -> str | None:
    """The filter to send to the engine instead, or None where it has to send everything.

    With it, all of :data:`NEEDED` arrives and whatever the caller's filter leaves. ``below``: the key that holds the
    search answers where there are several, ``"responses"`` for msearch. What :func:`filtered` makes of the smaller
    answer is what it makes of the whole one.
    """
    prefix = (below,) if below else ()
    needed = [(*prefix, name) for name in NEEDED]
    includes, excludes = _parsed(filter_path, engine)
    if not _EVERYTHING.isdisjoint(includes):
        includes = []
    known = [*needed, (*prefix, OUTCOME)]
    sent = [_written(path) for path in needed] if includes else []
    sent += _beside(known, includes, _begins)
    sent += [f"-{path}" for path in _beside(known, excludes, _reaches)]
    if not excludes and ALONE in _entries(filter_path):
        sent.append(ALONE)
    return ",".join(dict.fromkeys(sent)) or None


def _beside(known: Sequence[Path], paths: Sequence[Path], means: Callable[[Path, Path], bool]) -> list[str]:
    """Filters as they are written, without those that mean what is known already."""
    return [_written(path) for path in paths if path != ("",) and not any(means(path, name) for name in known)]


def _entries(filter_path: Any) -> list[str]:
    """As the official clients write it into the address: a list joined by commas, anything else as text."""
    try:
        whole = ",".join(map(str, filter_path)) if isinstance(filter_path, list | tuple) else str(filter_path)
    except (RecursionError, ValueError) as error:
        raise InvalidSetting("filter_path", filter_path, "must be a text or a list of texts") from error
    return [entry.strip() for entry in whole.split(",") if entry.strip()]


def _parsed(filter_path: str | Sequence[str], engine: Engine) -> tuple[list[Path], list[Path]]:
    """Includes and excludes, each a tuple of names and patterns."""
    entries = [entry for entry in _entries(filter_path) if entry != ALONE]
    includes = [_path(entry, engine) for entry in entries if not entry.startswith("-")]
    return includes, [_path(entry[1:].strip(), engine) for entry in entries if entry.startswith("-")]


def _path(entry: str, engine: Engine) -> Path:
    names = [name.replace("\\.", ".") for name in _POINT.split(entry)]
    while engine == "opensearch" and len(names) > 1 and not names[-1]:
        names.pop()
    return tuple(names)


def _written(path: Path) -> str:
    return ".".join(name.replace(".", "\\.") for name in path)


class _State:
    """Where the walk stands in every filter at once; remembers each step, since hits repeat their names."""

    __slots__ = ("_known", "paths")

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(dict.fromkeys(paths))
        self._known: dict[str, _State | None] = {}

    def after(self, name: str) -> _State | None:
        """The state one name deeper; None where a filter ends here, so that it means all of this value."""
        if name not in self._known:
            self._known[name] = self._after(name)
        return self._known[name]

    def _after(self, name: str) -> _State | None:
        deeper: list[Path] = []
        for path in self.paths:
            if _matches(path[0], name):
                if len(path) == 1:
                    return None
                deeper += [path, path[1:]] if path[0] == "**" else [path[1:]]
        return _State(deeper)

    def named(self, name: str) -> _State:
        """Only the filters that begin with this very name."""
        return _State(path for path in self.paths if path[0] == name)


def _matches(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern, of which the star alone has a meaning; in time linear in the name, unlike re."""
    if "*" not in pattern:
        return pattern == name
    first, *middle, last = pattern.split("*")
    place, end = len(first), len(name) - len(last)
    if place > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        found = name.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _included(value: Any, state: _State | None) -> Any:
    """What includes leave of a value: all of it where one ends there, ``_NOTHING`` where none leads into it."""
    if state is None:
        return value
    if isinstance(value, Mapping) and state.paths:
        return _object_of((name, _included(inner, state.after(name))) for name, inner in value.items())
    if isinstance(value, list) and state.paths:
        return _array_of(_included(inner, state) for inner in value)
    return _NOTHING


def _object_of(entries: Iterable[tuple[str, Any]]) -> Any:
    return {name: value for name, value in entries if value is not _NOTHING} or _NOTHING


def _array_of(values: Iterable[Any]) -> Any:
    return [value for value in values if value is not _NOTHING] or _NOTHING


def _without(answer: Mapping[str, Any], state: _State, keeps_empty: bool) -> dict[str, Any]:
    """A search answer, or an answer that holds several, without what the excludes name."""
    left: dict[str, Any] = {}
    for name, inner in answer.items():
        deeper = (state.named(OUTCOME) if name == OUTCOME else state).after(name)
        if deeper is None:
            continue
        if name == MANY and deeper.paths and isinstance(inner, list) and inner:
            kept: Any = [_without(item, deeper, keeps_empty) for item in inner if isinstance(item, Mapping)]
            kept = [item for item in kept if item] or _NOTHING
        else:
            kept = _excluded(inner, deeper, keeps_empty)
        if kept is not _NOTHING:
            left[name] = kept
    return left


def _excluded(value: Any, state: _State | None, keeps_empty: bool) -> Any:
    """What excludes leave of a value; ``_NOTHING`` where one ends there, or nothing in it is left."""
    if state is None:
        return _NOTHING
    if not state.paths or not isinstance(value, Mapping | list):
        return value
    if not value:
        return value if keeps_empty else _NOTHING
    if isinstance(value, list):
        return _array_of(_excluded(inner, state, keeps_empty) for inner in value)
    return _object_of((name, _excluded(inner, state.after(name), keeps_empty)) for name, inner in value.items())


def _begins(path: Path, start: Path) -> bool:
    """Whether a filter means the value at ``start`` or a part of it, and nothing else."""
    return path[: len(start)] == start


def _reaches(path: Path, start: Path) -> bool:
    """Whether a filter may mean the value at ``start``, a part of it, or what holds it."""
    for pattern, name in zip(path, start, strict=False):
        if pattern == "**":
            return True
        if not _matches(pattern, name):
            return False
    return True
