"""Systems: the ways of searching that an evaluation sets side by side, as a command line says them.

``bm25``, ``knn`` and ``hybrid`` are asked as the index's profile says; ``@search.json`` is a search of the user's own,
with ``{{query}}`` where the topic's text goes. ``+rescore`` has its hits rescored, after a colon with settings of
``rescore.cross_encoder``: ``hybrid+rescore:window_size=50,score_mode=total``. A name may stand before it all:
``wide=bm25+rescore:window_size=200``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rescorer import config
from rescorer.errors import InvalidSetting
from rescorer_lab.errors import LabError

FIRST_STAGES = ("bm25", "knn", "hybrid")
PLACE = "{{query}}"
"""Where the topic's text goes in a search of the user's own."""

GRAMMAR = (
    "write bm25, knn, hybrid or @search.json, then +rescore where it is to be rescored, and settings after a colon, "
    "such as hybrid+rescore:window_size=50"
)
_SPEC = re.compile(
    r"(?:(?P<name>[^=:@+]+)=)?(?P<first>bm25|knn|hybrid|@[^+:]+)(?P<rescored>\+rescore)?(?::(?P<settings>.+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One way of searching.

    name: as it is shown. first_stage: one of FIRST_STAGES, or ``own`` with ``body``. rescore: settings beside the
    index's profile; None where its hits are left as they are.
    """

    name: str
    first_stage: str
    rescore: Mapping[str, Any] | None = None
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_rescored(self) -> bool:
        """Whether the sidecar is asked."""
        return self.rescore is not None

    @property
    def digested(self) -> list[Any]:
        """All that decides what it returns, in JSON types."""
        return [self.name, self.first_stage, None if self.rescore is None else dict(self.rescore), dict(self.body)]


def read(spec: str) -> System:
    """A system as a command line says it; LabError where it is none, with the setting that is wrong."""
    found = _SPEC.fullmatch(spec.strip())
    if found is None:
        raise LabError(f"{spec!r} is no system", GRAMMAR)
    if found["settings"] and not found["rescored"]:
        raise LabError(f"{spec!r} has settings, but nothing that is rescored", "write +rescore before the colon")
    rescore = _settings(found["settings"] or "", spec) if found["rescored"] else None
    name = (found["name"] or spec).strip()
    if found["first"].startswith("@"):
        return System(name=name, first_stage="own", rescore=rescore, body=_body(Path(found["first"][1:])))
    return System(name=name, first_stage=found["first"], rescore=rescore)


def read_all(specs: Sequence[str]) -> tuple[System, ...]:
    """Several of them; LabError also where two have one name."""
    found = tuple(map(read, specs))
    names = [system.name for system in found]
    for name in names:
        if names.count(name) > 1:
            raise LabError(f"two systems are called {name!r}", "give one a name of its own: wide=bm25+rescore:…")
    return found


def filled(body: Any, text: str) -> Any:
    """A search with the topic's text in its places."""
    if isinstance(body, str):
        return body.replace(PLACE, text)
    if isinstance(body, Mapping):
        return {key: filled(value, text) for key, value in body.items()}
    return [filled(value, text) for value in body] if isinstance(body, list) else body


def _settings(said: str, spec: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in re.split(r",(?=\w+=)", said) if said else []:
        key, equals, value = part.partition("=")
        if not equals:
            raise LabError(f"{part!r} of system {spec!r} is no setting", "write key=value, several with commas between")
        found[key.strip()] = _value(value.strip())
    try:
        config.parse(found, "rescore.cross_encoder")
    except InvalidSetting as error:
        raise LabError(f"system {spec!r}: {error}") from error
    return found


def _value(said: str) -> Any:
    try:
        return json.loads(said)
    except ValueError:
        return said


def _body(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"{path} can't be read: {error.strerror}", "name a file with a search's JSON body") from error
    except ValueError as error:
        raise LabError(f"{path} is no JSON: {error}", "mend it") from error
    if not isinstance(found, dict) or PLACE not in json.dumps(found):
        raise LabError(f"{path} is no search with a place for the query", f'write "{PLACE}" where the text goes')
    return found
