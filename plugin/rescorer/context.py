"""What one client brings to each of its searches, and the profile of the indices that a search names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rescorer import budget, profile, profiles
from rescorer.budget import Watch
from rescorer.domain import Audit, Engine, Flow, Outcome, ReadMapping
from rescorer.errors import InvalidProfile, InvalidSetting, ProfileUnreadable, one_line
from rescorer.profiles import Found, ProfileCache
from rescorer.request import Asked

MOST_S = 1e9
"""A time limit that no search reaches, and that any clock can be added to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one client brings to each of its searches.

    now: seconds since 1970. lot: draws a number from 0 to below 1. note, audited: are told each outcome, each audit.
    timeout_s: the client's own limit for a request. refused: the engine's own error for an item of an ``msearch`` that
    failed. engine_error: the roots of the engine client's own errors.
    """

    clock: budget.Clock
    now: budget.Clock
    profiles: ProfileCache
    lot: Callable[[], float]
    note: Callable[[Outcome], None]
    audited: Callable[[Audit], None]
    has_scorer: bool
    timeout_s: float
    engine: Engine
    refused: Callable[[Mapping[str, Any]], Exception]
    engine_error: tuple[type[Exception], ...]

    def watch(self, asked_s: Any, begun_s: float | None = None) -> Watch:
        """A watch for a search that begins now, or did at ``begun_s``; ``asked_s`` is its own ``request_timeout``."""
        is_number = isinstance(asked_s, int | float) and not isinstance(asked_s, bool) and asked_s > 0
        return Watch(self.clock, min(asked_s, MOST_S) if is_number else self.timeout_s, begun_s)


def profile_of(asked: Asked, context: Context) -> Flow[Found]:
    """The profile of the searched indices; one that can't be read never breaks a search."""
    try:
        return (yield from profile_read(asked, context))
    except Exception:  # noqa: BLE001 - an application's own transport raises what it likes, and the search may go well
        return context.profiles.after_failure(context.profiles.key(asked), context.clock())


def profile_read(asked: Asked, context: Context) -> Flow[Found]:
    """As :func:`profile_of`, with the error where it can't be read."""
    is_off = asked.said is not None and asked.said.get("enabled") is False
    if is_off or not context.has_scorer:
        return profiles.NOTHING
    cache = context.profiles
    key = cache.key(asked)
    if not key[0]:
        return profiles.NOTHING
    kept = cache.fresh(key, context.clock())
    if kept is not None:
        return kept
    mappings = yield ReadMapping(profiles.mapping_options(asked, key[0]))
    return cache.keep(key, profiles.found(mappings), context.clock())


def profile_or_error(asked: Asked, context: Context) -> Flow[Found]:
    """As :func:`profile_of`, for a call that can't do without: InvalidProfile, InvalidSetting, ProfileUnreadable."""
    cache = context.profiles
    key = cache.key(asked)
    if not key[0]:
        raise InvalidSetting("index", asked.call.options.get("index"), "must name an index that has a profile")
    kept = cache.fresh(key, context.clock())
    if kept is None or kept.profile.hybrid is None:
        try:
            mappings = yield ReadMapping(profiles.mapping_options(asked, key[0]))
        except context.engine_error as error:
            raise ProfileUnreadable(f"the mapping of {key[0]} can't be read: {one_line(error)}") from error
        kept = cache.keep(key, profiles.found(mappings), context.clock())
    if kept.error is not None:
        raise kept.error
    if kept.differ:
        names = ", ".join(sorted(kept.indices))
        raise InvalidProfile(profile.PATH, names, "are indices with different profiles; name one of them")
    return kept
