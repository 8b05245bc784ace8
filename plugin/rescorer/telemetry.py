"""What happened, counted and logged: one count per answer, no text of a query or document anywhere."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from rescorer.domain import Outcome

_log = logging.getLogger(__name__)


class Tally:
    """Counts outcomes by status and reason, and logs each new reason for a fallback once.

    The first fallback of a reason is a WARNING, its repetitions are INFO; after an answer that was rescored,
    the next fallback is news again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # one short update; nothing else is called while it is held
        self._counts: Counter[tuple[str, str]] = Counter()
        self._known: set[str] = set()

    def note(self, outcome: Outcome) -> None:
        """Count one answer, and log it if it is a fallback."""
        reason = "" if outcome.reason is None else str(outcome.reason)
        with self._lock:
            self._counts[outcome.status, reason] += 1
            is_news = outcome.status == "fallback" and reason not in self._known
            if outcome.status == "fallback":
                self._known.add(reason)
            elif outcome.status == "reranked":
                self._known.clear()
        if outcome.status == "fallback":
            level = logging.WARNING if is_news else logging.INFO
            _log.log(level, "answered in first-stage order (%s): %s", reason, outcome.detail)

    def counts(self) -> dict[str, int]:
        """How many answers there were, by ``status`` or ``status:reason``."""
        with self._lock:
            return {":".join(filter(None, key)): count for key, count in sorted(self._counts.items())}
