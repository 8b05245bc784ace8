"""A sample of outcomes as lines of JSON, for ``rescorer watch``; pass one as ``rescorer_telemetry``. No texts, no ids.

## Decisions
2026-11: the file is opened for each line and written to its end. So forked workers and threads share it, whoever moves
it away gets a new one, and there is nothing to close; of a hundred searches one pays some 50 microseconds.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from rescorer.domain import Audit, Outcome
from rescorer.errors import InvalidSetting
from rescorer.telemetry import Telemetry

DIGEST = 12


class OutcomeLog(Telemetry):
    """Writes this share of all outcomes to a file, and every audit: status, model, counts, time and scores of the page.

    Raises InvalidSetting for a share that is none and for a file that can't be written. What happens to the file later
    is logged, and breaks no search.
    """

    def __init__(
        self, path: str | PathLike[str], share: float = 0.01, *, lot: Callable[[], float] = random.random
    ) -> None:
        if not 0 < share <= 1:
            raise InvalidSetting("share", share, "must be above 0 and at most 1, such as 0.01")
        self._path, self._share, self._lot = Path(path), share, lot
        try:
            self._path.open("a", encoding="utf-8").close()
        except OSError as error:
            raise InvalidSetting("path", str(path), f"can't be written ({error.strerror}); name another") from error

    def __reduce__(self) -> Any:
        return OutcomeLog, (self._path, self._share)

    def __deepcopy__(self, _: Any) -> OutcomeLog:
        return self

    def note(self, outcome: Outcome) -> None:
        """Write it, if the lot says so."""
        if self._lot() < self._share:
            self._write(described(outcome) | {"share": self._share})

    def audited(self, audit: Audit) -> None:
        """Write what the gate cost one search."""
        told = {"reason": str(audit.reason), "depth": audit.depth, "overlap": audit.overlap, "ndcg": audit.ndcg}
        self._write({"audit": told | {"first_changed": audit.first_changed, "failed": audit.failed}})

    def _write(self, entry: Mapping[str, Any]) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, **entry}, separators=(",", ":")).encode() + b"\n"
        with self._path.open("ab", buffering=0) as file:
            file.write(line)


def described(outcome: Outcome) -> dict[str, Any]:
    """What a line says of an outcome, in JSON types: no text, no id. Scores are those of the page, in its order."""
    scores = [hit.get("cross_encoder_score") for hit in outcome.hits or ()]
    return {
        "status": outcome.status,
        "reason": None if outcome.reason is None else str(outcome.reason),
        "model": outcome.model,
        "digest": None if outcome.model_digest is None else outcome.model_digest[:DIGEST],
        "scale": outcome.scale,
        "window": outcome.window,
        "scored": outcome.scored,
        "cached": outcome.cached,
        "truncated": outcome.truncated,
        "took_ms": round(outcome.took_ms, 1),
        "scores": [round(score, 4) for score in scores if score is not None],
    }
