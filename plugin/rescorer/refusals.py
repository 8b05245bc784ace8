"""What an engine refuses for the sake of what rescoring adds to a search: more hits, or texts that the caller hides.

The whole search fails, or only the shards of one of several indices do, whose hits are then missing in the answer.
Either way the search that the caller wrote might have gone well, so it is sent after all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rescorer.errors import Reason

_LIMIT = re.compile(r"less than or equal to: \[(\d+)\]")
_WITHOUT_SOURCE = re.compile(
    r"(Unable to retrieve the requested \[fields\] since|unable to fetch fields from _source field:)"
    r" _source is disabled in the mappings for index \[[^\]]*\]"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why, in our words and in the engine's. most: how many hits the index allows, where it says so."""

    reason: Reason
    detail: str
    most: int | None = None


def of_error(error: Exception) -> Refusal | None:
    """What an official client's error refuses; None where it has nothing to do with rescoring."""
    found = of_answer(getattr(error, "info", None)) or of_answer(getattr(error, "body", None))
    if found is None and "max_result_window" in str(error):
        return Refusal(Reason.WINDOW_TOO_LARGE, " ".join(str(error).split()))
    return found


def of_answer(answer: Any) -> Refusal | None:
    """What an answer or an item of an ``msearch`` refuses, as a whole or on some of its shards."""
    said = list(_said(answer))
    too_large = [reason for reason in said if "max_result_window" in reason]
    if too_large:
        limits = [int(limit) for reason in too_large for limit in _LIMIT.findall(reason)]
        return Refusal(Reason.WINDOW_TOO_LARGE, too_large[0], min(limits, default=None))
    without_source = [reason for reason in said if _WITHOUT_SOURCE.fullmatch(reason)]
    return Refusal(Reason.SOURCE_DISABLED, without_source[0]) if without_source else None


def of_many(answer: Any) -> Refusal | None:
    """What the searches of an ``msearch`` refuse, with the smallest of the limits that they tell."""
    responses = answer.get("responses") if isinstance(answer, Mapping) else None
    found = [refusal for entry in _mappings(responses) if (refusal := of_answer(entry)) is not None]
    limits = [refusal.most for refusal in found if refusal.most is not None]
    return replace(found[0], most=min(limits, default=None)) if found else None


def _said(answer: Any) -> Iterator[str]:
    """The reasons that stand in an error, and those of the shards that failed in an answer."""
    if not isinstance(answer, Mapping):
        return
    error, shards = answer.get("error"), answer.get("_shards")
    causes = error.get("root_cause") if isinstance(error, Mapping) else None
    failures = shards.get("failures") if isinstance(shards, Mapping) else None
    listed = [entry.get("reason") for entry in _mappings(failures)]
    for cause in [*_mappings(causes), *_mappings(listed)]:
        if isinstance(cause.get("reason"), str):
            yield cause["reason"]


def _mappings(found: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
