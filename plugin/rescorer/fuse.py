"""From two scores to one order: the scorer's answer checked, both scores combined, the tail put below.

**The join at the seam.** Hits without a cross-encoder score (the tail, and what time was too short for) follow the
scored ones in first-stage order. Their score continues below the lowest scored hit ``l``: a hit with first-stage
score ``f`` gets ``l + (f - s)``, where ``s`` is the lowest first-stage score among the scored hits, and never more
than the hit before it. So scores never rise along the list, in every ``score_mode``, and differences of the first
stage stay what they were.

## Decisions
2026-11: rejected for the tail: its first-stage scores as they are (another scale: BM25 12.3 over a logit of -4), and
0.0 (invented, and above every negative logit).
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from rescorer.calibration import Calibration
from rescorer.config import RescoreSettings, ScoreMode
from rescorer.domain import Candidate, Choice, Scored, Scores, StageResult
from rescorer.errors import BadScores, CalibrationMismatch

_COMBINED: Mapping[ScoreMode, Callable[[float, float], float]] = {
    "total": lambda first, second: first + second,
    "multiply": lambda first, second: first * second,
    "avg": lambda first, second: (first + second) / 2,
    "max": max,
    "min": min,
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A hit in its final place: ``place`` is its first-stage place from 0; ``scored`` None where it has no score.

    moved: what :mod:`rescorer.select` did to it, where that was asked for.
    """

    place: int
    final: float
    scored: Scored | None
    moved: Moved | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What choices other than relevance did to a hit's score, and the place of the hit that it repeats.

    score: as it was before. changes: what each choice added, by its name. unknown: choices for which the hit
    has no value.
    """

    score: float
    changes: Mapping[str, float]
    similar_to: int | None = None
    is_duplicate: bool = False
    unknown: tuple[str, ...] = ()


def aligned(scores: Scores, candidates: Sequence[Candidate], stages: int = 0) -> list[Scored | None]:
    """The scores in the order of the candidates, None where a partial answer holds none.

    stages: how many a cascade was asked to have; 0 for none. Raises BadScores where an id is foreign, stands at another
    candidate's place, comes twice or is missing from a complete answer, where a number is not finite or a stage was
    not asked for; and where the answer is no Scores at all.
    """
    _check_form(scores)
    _check_stages(scores, stages)
    found: list[Scored | None] = [None] * len(candidates)
    for entry in scores.results:
        scored = _checked(entry, candidates)
        if found[scored.index] is not None:
            raise BadScores(f"the scorer's answer holds place {scored.index} twice")
        found[scored.index] = scored
    missing = sum(scored is None for scored in found)
    if missing and (scores.reason is None or missing == len(found)):
        raise BadScores(f"the scorer's answer misses {missing} of {len(found)} candidates")
    return found


def calibrated(window: Sequence[Scored | None], scores: Scores, calibration: Calibration | None) -> list[Scored | None]:
    """The window with the scores that a calibration makes of the logits; CalibrationMismatch for another model's."""
    if calibration is None:
        return list(window)
    if scores.stages or (calibration.model and calibration.model not in (scores.model, scores.digest)):
        of = "several models, in a cascade" if scores.stages else f"{scores.model} ({scores.digest})"
        raise CalibrationMismatch(
            f"the calibration is that of {calibration.model or 'one model'}, and the scores are of {of}; "
            "fit one for it with rescorer calibrate, or leave calibration out"
        )
    return [entry and replace(entry, score=calibration.value(entry.logit)) for entry in window]


def _check_form(scores: Any) -> None:
    """A scorer may be anybody's: what it hands over is looked at before it is used."""
    is_whole = isinstance(scores, Scores) and isinstance(scores.results, list | tuple)
    if not is_whole or not isinstance(scores.timings, Mapping):
        raise BadScores("the scorer's answer is no Scores with a list of results")
    if not all(isinstance(scored, Scored) and type(scored.index) is int for scored in scores.results):
        raise BadScores("the scorer's answer holds a result that is no Scored with a place")
    if not all(_is_finite(value) for value in scores.timings.values()):
        raise BadScores("the scorer's answer holds a time that is no number")


def _check_stages(scores: Scores, stages: int) -> None:
    """A sidecar that knows no cascades answers with one model's scores, and must not pass for one that does."""
    told = scores.stages if isinstance(scores.stages, list | tuple) else [None]
    is_choice = scores.choice is None or isinstance(scores.choice, Choice)
    if not is_choice or not all(isinstance(stage, StageResult) for stage in told):
        raise BadScores("the scorer's answer tells of its stages or its choice in a form that is none of ours")
    if len(told) != stages:
        raise BadScores(f"the scorer's answer tells of {len(told)} stages, and {stages} were asked for: update it")
    if not all(type(scored.stage) is int and bool(stages) <= scored.stage <= stages for scored in scores.results):
        raise BadScores("the scorer's answer holds a score of a stage that was not asked for")


def vector(vectors: Any) -> list[float]:
    """The one vector of a scorer's answer about one text; raises BadScores where it is none."""
    try:
        (found,) = vectors
        numbers = list(found)
    except (TypeError, ValueError) as error:
        raise BadScores("the scorer was asked for one vector and answered something else") from error
    if not numbers or not all(map(_is_finite, numbers)):
        raise BadScores("the scorer's vector is empty or holds what is no finite number")
    return [float(number) for number in numbers]


def _is_finite(value: Any) -> bool:
    """Whether it is a number that float64 holds; numpy's are numbers as well."""
    if type(value) is float:
        return math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _checked(scored: Scored, candidates: Sequence[Candidate]) -> Scored:
    if not 0 <= scored.index < len(candidates) or candidates[scored.index].id != scored.id:
        raise BadScores("the scorer's answer names a candidate that was not asked for, or not at that place")
    if not (_is_finite(scored.logit) and _is_finite(scored.score)):
        raise BadScores(f"the scorer's answer holds a number that is not finite at place {scored.index}")
    if type(scored.logit) is float and type(scored.score) is float:
        return scored
    return replace(scored, logit=float(scored.logit), score=float(scored.score))


def ranked(
    first_stage: Sequence[float | None],
    window: Sequence[Scored | None],
    settings: RescoreSettings,
    select: Callable[[list[Ranked]], list[Ranked]] = list,
) -> list[Ranked]:
    """Every hit in its final order with its final score.

    first_stage: ``_score`` of each hit in first-stage order, None where the engine gave none.
    window: one entry for each of the first hits, from :func:`aligned`; at least one holds a score.
    select: what makes another order of the scored hits, from which their scores do not rise.
    Logits are ranked as float32; equal ones keep first-stage order. What a later stage of a cascade scored stands above
    all others, in every ``score_mode``. Raises BadScores where weights overflow.
    """
    first_stage = [first if first is None or _is_finite(first) else None for first in first_stage]
    block = [
        _ranked(place, first_stage[place], scored, settings)
        for place, scored in enumerate(window)
        if scored is not None
    ]
    keys = dict(zip((hit.place for hit in block), _rank_keys(block, settings), strict=True))
    block.sort(key=lambda hit: (-_stage(hit), -keys[hit.place]))
    block = never_rising(select(never_rising(block)))
    below = [place for place in range(len(first_stage)) if place >= len(window) or window[place] is None]
    return block + _joined_below(block, below, first_stage)


def passing(order: Sequence[Ranked], window: Sequence[Scored | None], settings: RescoreSettings) -> list[Ranked]:
    """What ``min_score`` leaves of an order: no hit scored lower, and no tail. What time was too short for stays."""
    least = settings.min_score
    if least is None:
        return list(order)
    return [hit for hit in order if (hit.place < len(window) if hit.scored is None else hit.scored.score >= least)]


def _ranked(place: int, first: float | None, scored: Scored, settings: RescoreSettings) -> Ranked:
    final = scored.score
    if settings.score_mode != "replace":
        second = settings.rescore_query_weight * scored.score
        final = second if first is None else _COMBINED[settings.score_mode](settings.query_weight * first, second)
    if not math.isfinite(final):
        raise BadScores(f"score_mode {settings.score_mode} with these weights gives a score that is not finite")
    return Ranked(place, final, scored)


def _rank_keys(block: Sequence[Ranked], settings: RescoreSettings) -> Sequence[float]:
    if settings.score_mode == "replace":
        return array("f", (hit.scored.logit for hit in block if hit.scored is not None))
    return [hit.final for hit in block]


def _stage(hit: Ranked) -> int:
    return 0 if hit.scored is None else hit.scored.stage


def never_rising(block: Sequence[Ranked]) -> list[Ranked]:
    """The hits with no score above the one before: first-stage scores may lift a hit above a later stage's."""
    found, lowest = [], math.inf
    for hit in block:
        lowest = min(lowest, hit.final)
        found.append(hit if hit.final == lowest else replace(hit, final=lowest))
    return found


def _joined_below(block: Sequence[Ranked], below: Sequence[int], first_stage: Sequence[float | None]) -> list[Ranked]:
    lowest = min(hit.final for hit in block)
    seam = min((first for hit in block if (first := first_stage[hit.place]) is not None), default=None)
    found, floor = [], lowest
    for place in below:
        first = first_stage[place]
        if first is not None and seam is not None:
            floor = max(min(floor, lowest + (first - seam)), -sys.float_info.max)
        found.append(Ranked(place, floor, None))
    return found
