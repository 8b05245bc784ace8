"""Every error that the client raises on its own account; the engine's own errors pass through unchanged."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why an answer is not, or not wholly, rescored. Stands in ``response["rescore"]["reason"]``."""

    # skipped: nothing failed, there was nothing to rescore or no way to know how
    NO_HITS = "no_hits"
    SIZE_ZERO = "size_zero"
    PAGE_BEYOND_RESULTS = "page_beyond_results"
    PAGE_BEYOND_WINDOW = "page_beyond_window"
    EXPLICIT_SORT = "explicit_sort"
    SCROLL = "scroll"
    SEARCH_AFTER = "search_after"
    SUGGEST_ONLY = "suggest_only"
    STORED_FIELDS_NONE = "stored_fields_none"
    AMBIGUOUS_STORED_FIELDS = "ambiguous_stored_fields"
    NO_QUERY_TEXT = "no_query_text"
    AMBIGUOUS_QUERY_TEXT = "ambiguous_query_text"
    NO_DOCUMENT_FIELDS = "no_document_fields"
    PROFILES_DIFFER = "profiles_differ"
    DISABLED = "disabled"
    GATE_PATTERN = "gate_pattern"
    GATE_CODE = "gate_code"
    GATE_ONE_WORD = "gate_one_word"
    GATE_QUOTED = "gate_quoted"
    GATE_MARGIN = "gate_margin"
    # fallback: rescoring was wanted and did not happen
    INVALID_PROFILE = "invalid_profile"
    TEMPLATE_UNREADABLE = "template_unreadable"
    WINDOW_TOO_LARGE = "window_too_large"
    SOURCE_DISABLED = "source_disabled"
    NO_SCORER = "no_scorer"
    SCORER_UNAVAILABLE = "scorer_unavailable"
    BREAKER_OPEN = "breaker_open"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    SCORER_OVERLOADED = "scorer_overloaded"
    SCORER_REFUSED = "scorer_refused"
    SCORER_FAILED = "scorer_failed"
    BAD_SCORES = "bad_scores"
    CALIBRATION_MISMATCH = "calibration_mismatch"
    NO_TIME_LEFT = "no_time_left"


class RescorerError(Exception):
    """Root of this package's errors."""


class InvalidSetting(RescorerError, ValueError):
    """A setting has a wrong key, type or value. The message is one line: path, value, what to write instead."""

    def __init__(self, path: str, value: Any, mend: str) -> None:
        self.path = path
        self.value = value
        self.mend = mend
        super().__init__(f"{path}: {_shown(value)} {mend}")


class InvalidCredentials(InvalidSetting):
    """How a client proves who it is, or knows its sidecar, is wrong. The message tells no value: it may be secret."""

    def __init__(self, path: str, mend: str) -> None:
        super().__init__(path, "***", mend)
        self.args = (f"{path}: {mend}",)

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidProfile(InvalidSetting):
    """An index template's or mapping's ``_meta.rescorer`` is wrong."""


class ProfileUnreadable(RescorerError):
    """The engine did not hand out an index's mapping, so that nobody knows its profile."""


class HybridWithoutPipeline(RescorerError):
    """The engine answered a hybrid query without fusing its halves: the hits hold delimiter scores."""

    def __init__(self) -> None:
        super().__init__(
            "the hybrid query ran without a search pipeline, so its hits are not fused; pass "
            "search_pipeline='rescorer-normalization' or set index.search.default_pipeline"
        )


class MissingExtra(RescorerError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{package} is not installed; run: pip install 'rescorer[{extra}]'")


class ScorerError(RescorerError):
    """Scoring failed; ``reason`` is what the outcome shows where the search falls back to the first stage."""

    reason: Reason = Reason.SCORER_FAILED


class ScorerUnavailable(ScorerError):
    """Nobody answers at the sidecar's address, or the sidecar is not ready yet."""

    reason = Reason.SCORER_UNAVAILABLE


class BreakerOpen(ScorerUnavailable):
    """Every sidecar failed several times in a row, and is left alone for a moment: none was asked."""

    reason = Reason.BREAKER_OPEN


class ScorerTimeout(ScorerError):
    """The scores did not come within the deadline."""

    reason = Reason.DEADLINE_EXCEEDED


class ScorerOverloaded(ScorerError):
    """The sidecar has more work than it may hold; ``retry_after_s`` is when it asks to be called again."""

    reason = Reason.SCORER_OVERLOADED

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ScorerRefused(ScorerError):
    """The sidecar will not score this request: unknown model, empty query, missing credentials.

    most: how many texts it takes at a time, where the request held more.
    """

    reason = Reason.SCORER_REFUSED

    def __init__(self, message: str, most: int | None = None) -> None:
        self.most = most
        super().__init__(message)


class BadScores(ScorerError):
    """The answer does not fit the question: a score is missing, doubled, foreign or not finite."""

    reason = Reason.BAD_SCORES


class CalibrationMismatch(ScorerError):
    """The scores are of another model than the one that the calibration was fitted for."""

    reason = Reason.CALIBRATION_MISMATCH


def one_line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())


def _shown(value: Any, most: int = 80) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or a number of more digits than Python writes
        text = f"a {type(value).__name__} that can't be written"
    return text if len(text) <= most else text[: most - 1] + "…"
