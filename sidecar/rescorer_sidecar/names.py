"""Label values that callers choose, bounded: a few names at a time, everybody else together. Pure, the time given.

## Decisions
2026-11: a name takes a free place when it is first seen, and gives it up once it has been silent for an hour and
another one comes. The highest counts at each scrape would be truer, but a count that moves between a name and *other*
goes down, and a counter that goes down reads as a restart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

OTHER = "other"
MOST_NAMES = 50
SILENT_S = 3_600.0


class Names:
    """At most ``most`` names at a time; ``forget`` is told a name that gave up its place."""

    def __init__(self, forget: Callable[[str], None], most: int = MOST_NAMES, silent_s: float = SILENT_S) -> None:
        self._forget = forget
        self._most = most
        self._silent_s = silent_s
        self._seen_s: OrderedDict[str, float] = OrderedDict()

    def label(self, name: str, now_s: float) -> str:
        """The name itself if it has a place or can get one, else :data:`OTHER`."""
        if name not in self._seen_s and len(self._seen_s) >= self._most and not self._makes_room(now_s):
            return OTHER
        self._seen_s[name] = now_s
        self._seen_s.move_to_end(name)
        return name

    def _makes_room(self, now_s: float) -> bool:
        oldest, seen_s = next(iter(self._seen_s.items()))
        if now_s - seen_s < self._silent_s:
            return False
        del self._seen_s[oldest]
        self._forget(oldest)
        return True
