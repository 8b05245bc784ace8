"""What the client knows about the profiles of the indices that it searches: read once, kept for a while.

## Decisions
2026-11: an expression over the whole cluster (no index, ``_all``, ``*``) has no profile. A point-in-time search names
no index: it has the profile of the indices that its point in time was opened on, if this client opened it. Indices
with different profiles have none in common: the search says so unless it brings its own ``document_fields``. Hits of
an index without profile count as a different profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rescorer import profile
from rescorer.errors import InvalidProfile
from rescorer.profile import Profile
from rescorer.request import Asked

WHOLE_CLUSTER = frozenset({"", "*", "_all"})
EXPANSION = ("allow_no_indices", "expand_wildcards", "ignore_unavailable")
FORWARDED = ("api_key", "headers", "http_auth", "opaque_id", "request_timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The profile that the searched indices have in common.

    indices: names of the indices that have it. differ: they have several, so none is common.
    error: a profile is wrong, and this says where.
    """

    profile: Profile = field(default_factory=Profile)
    indices: frozenset[str] = frozenset()
    differ: bool = False
    error: InvalidProfile | None = None

    @property
    def says_nothing(self) -> bool:
        """No index says anything about rescoring."""
        return not (self.profile.rescore or self.differ or self.error)

    def covers(self, hits: Iterable[Mapping[str, Any]]) -> bool:
        """Whether each hit comes from an index that has this profile."""
        return not self.indices or all(hit.get("_index") in self.indices for hit in hits)


NOTHING = Found()
Key: TypeAlias = tuple[str, ...]
_NEVER: tuple[float, Found | None] = (0.0, None)


def found(mappings: Any) -> Found:
    """Read the profiles out of a mapping answer, ``{index: {"mappings": {"_meta": …}}}``; none out of another one."""
    if not isinstance(mappings, Mapping):
        return NOTHING  # an application's stand-in for an engine answers every request alike
    said = {name: meta for name, entry in mappings.items() if (meta := _meta(entry)) is not None}
    if not said:
        return NOTHING
    try:
        read = [profile.read(meta) for meta in said.values()]
    except InvalidProfile as error:
        return Found(error=error, indices=frozenset(said))
    if any(other != read[0] for other in read[1:]):
        return Found(differ=True, indices=frozenset(said))
    return Found(profile=read[0], indices=frozenset(said))


def _meta(entry: Any) -> Any:
    for key in ("mappings", "_meta", "rescorer"):
        entry = entry.get(key) if isinstance(entry, Mapping) else None
    return entry


def mapping_options(asked: Asked, expression: str) -> dict[str, Any]:
    """Keywords for reading the mappings of what a search names, with the search's own credentials and timeout."""
    given = {name: value for name in (*EXPANSION, *FORWARDED) if (value := asked.option(name)) is not None}
    return {**given, "index": expression, "filter_path": "*.mappings._meta.rescorer"}


class ProfileCache:
    """Profiles by index expression, each kept for ``ttl_s`` seconds, and an older one where a new one can't be read.

    Several threads may read the same profile at once; the last one wins, which harms nobody.
    """

    def __init__(self, ttl_s: float, most: int = 1000) -> None:
        self._ttl_s = ttl_s
        self._most = most
        self._kept: dict[Key, tuple[float, Found]] = {}
        self._pits: dict[str, str] = {}

    def expression(self, asked: Asked) -> str:
        """The index expression of a search as one string; empty where it names the whole cluster.

        A search of a point in time has that of the call that opened it, where it was opened through this client.
        """
        pit = asked.body.get("pit")
        if isinstance(pit, Mapping):
            return self._pits.get(str(pit.get("id")), "")
        return _named(asked.call.options.get("index"))

    def opened(self, pit_id: Any, index: Any) -> None:
        """Remember which indices a point in time is of."""
        _make_room(self._pits, self._most)
        self._pits[str(pit_id)] = _named(index)

    def follow(self, asked: Asked, response: Any) -> None:
        """Remember the id under which the engine goes on with the point in time that was searched."""
        pit = asked.body.get("pit")
        if isinstance(pit, Mapping) and isinstance(response, Mapping) and "pit_id" in response:
            self.opened(response["pit_id"], self._pits.get(str(pit.get("id")), ""))

    def key(self, asked: Asked) -> Key:
        """What a search's profile is kept under: its index expression first, and how that is to be expanded."""
        expression, options = self.expression(asked), asked.call.options
        if "params" not in options and options.keys().isdisjoint(EXPANSION):
            return (expression,)
        return (expression, *[str(asked.option(name)) for name in EXPANSION])

    def fresh(self, key: Key, now_s: float) -> Found | None:
        """The profile if it was read less than ``ttl_s`` ago."""
        until_s, kept = self._kept.get(key, _NEVER)
        return kept if now_s < until_s else None

    def keep(self, key: Key, now: Found, now_s: float) -> Found:
        """Keep a profile that was just read."""
        _make_room(self._kept, self._most)
        self._kept[key] = (now_s + self._ttl_s, now)
        return now

    def after_failure(self, key: Key, now_s: float) -> Found:
        """The last known profile, else an empty one; asked again only after a tenth of ``ttl_s``."""
        _, kept = self._kept.get(key, (0.0, NOTHING))
        self._kept[key] = (now_s + self._ttl_s / 10, kept)
        return kept


def _make_room(kept: dict[Any, Any], most: int) -> None:
    """Drop the oldest entries; over a copy of the keys, since another thread may add one meanwhile."""
    for key in list(kept)[: len(kept) + 1 - most] if len(kept) >= most else ():
        kept.pop(key, None)


def _named(index: Any) -> str:
    try:
        joined = ",".join(map(str, index)) if isinstance(index, list | tuple | set | frozenset) else index
        name = str(joined) if joined else ""
    except (RecursionError, ValueError):  # what can't be written names no index
        name = ""
    return "" if name in WHOLE_CLUSTER else name
