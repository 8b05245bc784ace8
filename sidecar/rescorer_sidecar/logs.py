"""How log lines look: text for people, or JSON, one object a line; both name the call that a line is about.

An error is told by its type and where it was raised, never in its own words, which may repeat somebody's text.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from rescorer_sidecar.marks import MARK

LINES_PER_S = 20.0
"""Lines about failed requests, on average; a burst may hold as many."""


class Text(logging.Formatter):
    """``time level logger: message``, then fields as ``key=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line without an error's frames, which follow."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return super().formatMessage(record) + fields

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's name
        """The error's type and frames."""
        return _where(ei)


class Json(logging.Formatter):
    """``{"time", "level", "logger", "message"}`` and fields, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = _where(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up(log_format: str) -> None:
    """Let the process log to standard error in this format, instead of what was set up before."""
    logging.basicConfig(level=logging.INFO, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Json() if log_format == "json" else Text())


def speaker(log_format: str, say: Callable[[str], None]) -> Callable[[str], None]:
    """What tells of start and stop: ``say`` beside text, a log line beside JSON, so that every line is JSON there."""
    return logging.getLogger("rescorer_sidecar").info if log_format == "json" else say


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says besides its message; ``extra={"fields": {…}}`` gives it more."""
    fields = getattr(record, "fields", None)
    mark = MARK.get()
    told = {"request_id": mark.request_id, "trace_id": mark.trace_id}
    return {name: value for name, value in told.items() if value} | (
        dict(fields) if isinstance(fields, Mapping) else {}
    )


def _where(
    error: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | BaseException,
) -> str:
    kind, _, frames = error if isinstance(error, tuple) else (type(error), error, error.__traceback__)
    return "".join(traceback.format_tb(frames)) + (kind.__name__ if kind else "")


class Ration:
    """Lets so many lines a second pass, and counts those left out until the next that passes; pure, the time given."""

    def __init__(self, lines_per_s: float = LINES_PER_S) -> None:
        self._per_s = lines_per_s
        self._tokens = lines_per_s
        self._then_s: float | None = None
        self._left_out = 0

    def take(self, now_s: float) -> int | None:
        """How many lines were left out before this one; None where this one is left out too."""
        passed_s = 0.0 if self._then_s is None else now_s - self._then_s
        self._then_s = now_s
        self._tokens = min(self._per_s, self._tokens + passed_s * self._per_s)
        if self._tokens < 1:
            self._left_out += 1
            return None
        self._tokens -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out
