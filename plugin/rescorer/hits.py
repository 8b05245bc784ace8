"""Reading an engine's answer and building the one the caller gets: the same hits, permuted, with new scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from rescorer import fuse, text
from rescorer.config import AUTO, AutoWindow, RescoreSettings
from rescorer.domain import Candidate, Outcome, Scored, ScoreRequest, Scores
from rescorer.errors import HybridWithoutPipeline
from rescorer.fuse import Moved, Ranked
from rescorer.plan import Plan

Hit: TypeAlias = Mapping[str, Any]
_DELIMITERS = (-9549511920.4881596, -4422440593.9791198)
"""What OpenSearch writes between the halves of a hybrid answer that no search pipeline has fused."""

_ROUNDING = 1000.0
"""The engine's versions round the delimiters to float32 and print them with 7 to 9 digits."""

_SHOWN_FIELDS = ("fields", "ignored_field_values")
"""Where a hit holds what ``fields`` asks for: values, and on Elasticsearch those that its index ignores."""


def has_hits(response: Any) -> bool:
    """Whether the answer is one that holds a list of hits: not an error, not YAML, not filtered away."""
    if not isinstance(response, Mapping) or not isinstance(response.get("hits"), Mapping):
        return False
    found = response["hits"].get("hits")
    return isinstance(found, list) and all(map(_is_hit, found))


def _is_hit(hit: Any) -> bool:
    if not isinstance(hit, (dict, Mapping)):  # dict first: asking an ABC costs ten times as much
        return False
    score, index, name = hit.get("_score"), hit.get("_index"), hit.get("_id")
    if not (score is None or isinstance(score, (float, int))):  # tuples: `|` makes a new union for every hit
        return False
    return (index is None or isinstance(index, str)) and (name is None or isinstance(name, str))


def within(response: Mapping[str, Any]) -> list[Hit]:
    """The hits of an answer whose list was checked before."""
    found: list[Hit] = response["hits"]["hits"]
    return found


def listed(response: Mapping[str, Any]) -> list[Hit]:
    """The hits of an answer; raises HybridWithoutPipeline where they are raw halves of a hybrid query."""
    found = within(response)
    for hit in found:
        score = hit.get("_score")
        if score is not None and -1e10 < score < -1e9 and any(abs(score - mark) < _ROUNDING for mark in _DELIMITERS):
            raise HybridWithoutPipeline
    return found


def candidates(hits: Sequence[Hit], plan: Plan, settings: RescoreSettings) -> list[Candidate]:
    """The window's candidates, in first-stage order. An id holds the place, so that it is unique for any hits."""
    wanted, whole = settings.document_fields, plan.source_is_whole
    has_bounds = any(field.max_tokens for field in wanted)
    found = []
    for place, hit in enumerate(hits[: settings.window_size]):
        read = text.document_fields(hit, wanted, whole)
        labelled = tuple((field.label, said) for field, said in read)
        bounds = tuple(field.max_tokens for field, _ in read) if has_bounds else ()
        found.append(Candidate(f"{place}:{hit.get('_id')}", labelled, bounds))
    return found


def score_request(hits: Sequence[Hit], plan: Plan, settings: RescoreSettings, query: str) -> ScoreRequest:
    """What the scorer is asked for the window of a list; under ``auto`` it may score fewer of it, from the first on."""
    is_narrowed = isinstance(settings.window_size, AutoWindow) and not (settings.models or settings.cascade)
    return ScoreRequest(
        query=query,
        candidates=candidates(hits, plan, settings),
        model=AUTO if is_narrowed else settings.model,
        max_tokens=settings.max_tokens,
        activation=settings.activation,
        long_texts=settings.long_texts,
        models=(settings.model,) if is_narrowed else settings.models,
        cascade=settings.cascade,
    )


def window_of(scores: Scores, wish: ScoreRequest, settings: RescoreSettings) -> list[Scored | None]:
    """The wished-for scores in first-stage order, calibrated; under ``auto`` as far as the window was chosen.

    Raises BadScores and CalibrationMismatch.
    """
    window = fuse.aligned(scores, wish.candidates, len(wish.cascade))
    if isinstance(settings.window_size, AutoWindow) and scores.choice is not None:
        reached = 1 + max(place for place, entry in enumerate(window) if entry is not None)
        told = scores.choice.window
        window = window[: max(reached, told if type(told) is int else 0)]
    return fuse.calibrated(window, scores, settings.calibration)


def outcome(scores: Scores, window: Sequence[Scored | None], settings: RescoreSettings) -> Outcome:
    """What became of a window, with its counts; one entry per candidate, as :func:`fuse.aligned` makes them."""
    scored = [entry for entry in window if entry is not None]
    is_auto = isinstance(settings.window_size, AutoWindow) and scores.choice is not None
    reason = None if is_auto and len(scored) == len(window) else scores.reason
    return Outcome(
        status="reranked" if reason is None else "partial",
        reason=reason,
        model=scores.model,
        model_digest=scores.digest,
        window=len(window) if is_auto else settings.window_size,
        scored=len(scored),
        cached=sum(entry.cached for entry in scored),
        truncated=sum(entry.truncated for entry in scored),
        chunks=_chunks(scored, settings),
        timings={f"sidecar_{name}": value for name, value in scores.timings.items()},
        scale=_scale(settings),
        stages=scores.stages,
        choice=scores.choice,
    )


def _chunks(scored: Sequence[Scored], settings: RescoreSettings) -> int | None:
    return None if settings.long_texts is None else sum(entry.chunk_count for entry in scored)


def _scale(settings: RescoreSettings) -> Literal["logit", "sigmoid", "calibrated", "probability"]:
    if settings.calibration is not None:
        return "probability" if settings.calibration.is_probability else "calibrated"
    return "sigmoid" if settings.activation == "sigmoid" else "logit"


def lists(raw: Any, count: int) -> list[Mapping[str, Any]] | None:
    """The answers of an ``msearch`` of so many searches; None where it is no such answer."""
    found: Any = raw.get("responses") if isinstance(raw, Mapping) else None
    if not isinstance(found, list | tuple) or len(found) != count:
        return None
    is_whole = all(isinstance(entry, Mapping) and isinstance(entry.get("status", 200), int) for entry in found)
    return list(found) if is_whole else None


def answer(response: Mapping[str, Any], page: Sequence[Hit]) -> dict[str, Any]:
    """The engine's answer with this page of hits, everything else as it was."""
    return {**response, "hits": {**response["hits"], "hits": list(page)}}


def ranked_answer(response: Mapping[str, Any], page: Sequence[Hit], max_score: float | None) -> dict[str, Any]:
    """As :func:`answer`, with the score of the first hit of all; None where none is left."""
    return {**response, "hits": {**response["hits"], "hits": list(page), "max_score": max_score}}


def fused_answer(raw: Mapping[str, Any], body: Mapping[str, Any], listed: Sequence[Hit]) -> dict[str, Any]:
    """The fused list as a search answer: with the last search's totals and aggregations, and the time of the whole."""
    responses: Sequence[Mapping[str, Any]] = raw["responses"]
    rest = {key: value for key, value in responses[-1].items() if key != "status"}
    if "took" in raw:
        rest["took"] = raw["took"]
    rest["timed_out"] = any(response.get("timed_out") for response in responses)
    kept = _kept(body, listed)
    return ranked_answer(rest, kept, kept[0]["_score"] if kept else None)


def _kept(body: Mapping[str, Any], listed: Sequence[Hit]) -> list[Hit]:
    """The fused list under the search's own ``min_score`` and ``collapse``, which hold for the list as a whole."""
    least, collapse = body.get("min_score"), body.get("collapse")
    name = collapse.get("field") if isinstance(collapse, Mapping) else None
    name = name if isinstance(name, str) else None
    seen: set[str] = set()
    found = []
    for hit in listed:
        shown = hit.get("fields")
        group = repr(shown.get(name) if isinstance(shown, Mapping) else None) if name else ""
        if (least is None or hit["_score"] >= least) and not (name and group in seen):
            seen.add(group)
            found.append(hit)
    return found


def told(response: Any, outcome: Outcome) -> Any:
    """The answer with its outcome under ``rescore``; an answer that is no object is left as it is."""
    return {**response, "rescore": outcome.as_dict()} if isinstance(response, Mapping) else response


def restored(hit: Hit, plan: Plan) -> Hit:
    """The hit as the caller asked for it, without what was added for the model."""
    if plan.added_source and "_source" in hit:
        hit = {key: value for key, value in hit.items() if key != "_source"}
    if not plan.added_fields:
        return hit
    for part in _SHOWN_FIELDS:
        if isinstance(hit.get(part), Mapping):
            left = _cut(hit[part], "", plan)
            hit = {**hit, part: left} if left else {key: value for key, value in hit.items() if key != part}
    return hit


def _cut(fields: Mapping[str, Any], above: str, plan: Plan) -> dict[str, Any]:
    """Fields without ours; Elasticsearch shows those of nested objects in a list under the name of the objects."""
    left = {}
    for key, value in fields.items():
        name = f"{above}{key}"
        is_ours, objects = _is_ours(name, plan), _objects(value)
        if any(fnmatchcase(name, pattern) for pattern in plan.own_fields):
            left[key] = value
        elif objects and (is_ours or _holds_ours(name, plan)):
            shown = [inner for entry in objects if (inner := _cut(entry, f"{name}.", plan))]
            if shown:  # as in the engine, which shows no object of which it shows nothing
                left[key] = shown
        elif not is_ours:
            left[key] = value
    return left


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _is_ours(name: str, plan: Plan) -> bool:
    return any(_is_within(name, ours) for ours in plan.added_fields)


def _holds_ours(name: str, plan: Plan) -> bool:
    return any(_is_within(ours, name) for ours in plan.added_fields)


def _is_within(name: str, other: str) -> bool:
    """Whether a field is another one, or below it."""
    return f"{name}.".startswith(f"{other}.")


def rescored(listed: Sequence[Hit], ranked: Ranked, plan: Plan, model: str) -> Hit:
    """The hit at the ranked place of a list with its final score, and under ``explain`` with where that came from."""
    hit = listed[ranked.place]
    found = {**restored(hit, plan), "_score": ranked.final}
    if plan.explain:
        second = None if ranked.scored is None else ranked.scored.score
        found["_rescore"] = {
            "first_stage_score": hit.get("_score"),
            "first_stage_rank": ranked.place + 1,
            "cross_encoder_score": second,
            "model": model,
            **({} if ranked.moved is None else {"select": _moved(ranked.moved, listed)}),
        }
        found["_explanation"] = _explanation(hit, ranked, plan.settings, model)
    return found


def _moved(moved: Moved, listed: Sequence[Hit]) -> dict[str, Any]:
    """What choices other than relevance did to a hit; ``similar_to`` is the hit that it repeats."""
    repeated = None if moved.similar_to is None else listed[moved.similar_to]
    return {
        "score": moved.score,
        **moved.changes,
        "similar_to": None if repeated is None else {key: repeated.get(key) for key in ("_index", "_id")},
        "is_duplicate": moved.is_duplicate,
        "unknown": list(moved.unknown),
    }


def model_of(ranked: Ranked, scores: Scores) -> str:
    """The model whose score a hit has: of a cascade that of the last stage that scored it."""
    stage = 0 if ranked.scored is None else ranked.scored.stage
    return scores.stages[stage - 1].model if 0 < stage <= len(scores.stages) else scores.model


def summary(hit: Hit, ranked: Ranked) -> dict[str, Any]:
    """What the outcome says about one hit of the page; ``stage`` under a cascade, ``chunks`` where it has several."""
    stage = 0 if ranked.scored is None else ranked.scored.stage
    chunks = 1 if ranked.scored is None else ranked.scored.chunk_count
    return {
        "_index": hit.get("_index"),
        "_id": hit.get("_id"),
        "first_stage_score": hit.get("_score"),
        "first_stage_rank": ranked.place + 1,
        "cross_encoder_score": None if ranked.scored is None else ranked.scored.score,
        **({"stage": stage} if stage else {}),
        **({"chunks": chunks, "best_chunk": ranked.scored.best_chunk} if ranked.scored and chunks > 1 else {}),
    }


def _explanation(hit: Hit, ranked: Ranked, settings: RescoreSettings, model: str) -> dict[str, Any]:
    if ranked.moved is None:
        return _explained(hit, ranked, settings, model)
    moved = ranked.moved
    inner = _explained(hit, replace(ranked, final=moved.score), settings, model)
    added = [_node(change, f"{name}, added") for name, change in moved.changes.items()]
    said = "cross_encoder, select: the score below and what is added to it, no higher than the hit before"
    duplicate = ", behind because it is nearly a duplicate" if moved.is_duplicate else ""
    return _node(ranked.final, f"{said}{duplicate}", inner, *added)


def _explained(hit: Hit, ranked: Ranked, settings: RescoreSettings, model: str) -> dict[str, Any]:
    first = hit.get("_explanation") or _node(hit.get("_score"), "first-stage score")
    if ranked.scored is None:
        said = "cross_encoder, not scored: continues below the lowest scored hit by the distance of the first stage"
        return _node(ranked.final, said, first)
    stage = f", stage {ranked.scored.stage} of the cascade" if ranked.scored.stage else ""
    second = _node(ranked.scored.score, f"cross_encoder score, model {model}{stage}")
    if settings.score_mode == "replace":
        return _node(ranked.final, "cross_encoder, score_mode replace: the second score alone", second, first)
    return _node(
        ranked.final,
        f"cross_encoder, score_mode {settings.score_mode} of both scores, each times its weight",
        _node(settings.query_weight, "query_weight, times the first-stage score", first),
        _node(settings.rescore_query_weight, "rescore_query_weight, times the cross_encoder score", second),
    )


def _node(value: Any, description: str, *details: Any) -> dict[str, Any]:
    return {"value": value, "description": description, "details": list(details)}
