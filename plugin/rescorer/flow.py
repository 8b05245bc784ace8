"""The story of one search: plan → search → texts → score → fuse → answer, with an outcome at every exit.

A flow is a generator. It yields what it wants done (:data:`rescorer.domain.Effect`) and is sent the result, or has the
error thrown in; :mod:`rescorer.drive` does the doing, with threads or with asyncio. So there is one story, and it runs
in tests without engine, sidecar or clock.

## Decisions
2026-11: a page wholly past the window is fetched as it is, with first-stage scores: scoring a window of which nothing
is shown would cost a full rescoring for numbers alone.
2026-11: where the query can't be embedded, ``hybrid_search`` answers with its BM25 half in first-stage order and
``fallback``. Rejected: rescoring that half, whose ``reranked`` would hide that kNN is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rescorer import budget, config, fuse, hits, hybrid, pages, plan, profile, profiles, request
from rescorer.budget import Watch
from rescorer.config import RescoreSettings
from rescorer.domain import (
    Call,
    Embed,
    EmbedRequest,
    Flow,
    Outcome,
    ReadMapping,
    Score,
    Scored,
    ScoreRequest,
    Scores,
    Search,
)
from rescorer.errors import InvalidProfile, InvalidSetting, ProfileUnreadable, Reason, ScorerError
from rescorer.plan import Plan, Skip
from rescorer.profiles import Found, ProfileCache
from rescorer.request import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one client brings to each of its searches.

    note: is told each outcome. timeout_s: the client's own limit for a request.
    """

    clock: budget.Clock
    profiles: ProfileCache
    note: Callable[[Outcome], None]
    has_scorer: bool
    timeout_s: float

    def watch(self, asked_s: Any) -> Watch:
        """A watch for a search that begins now; ``asked_s`` is the call's own ``request_timeout``, if it has one."""
        is_number = isinstance(asked_s, int | float) and not isinstance(asked_s, bool) and asked_s > 0
        return Watch(self.clock, asked_s if is_number else self.timeout_s)


def search(call: Call, context: Context) -> Flow[Any]:
    """One ``search``. Where nobody asks for rescoring, call and answer pass through as they are.

    Raises InvalidSetting before anything is sent; the engine's own errors; a ScorerError or InvalidProfile under
    ``on_failure: "error"``; HybridWithoutPipeline.
    """
    asked = request.read(call)
    watch = context.watch(asked.option("request_timeout"))
    found = yield from _profile(asked, context)
    if asked.said is None and found.says_nothing:
        return (yield Search(call))
    watch.lap("profile_ms", of_rescoring=False)
    return (yield from _Rescoring(context, watch, found).run(asked))


def hybrid_search(wanted: hybrid.Wanted, context: Context) -> Flow[Any]:
    """One ``hybrid_search``: the query vector, then the index's hybrid query, rescored like any search.

    Raises as :func:`search` does, and InvalidProfile where the index does not say how to ask it.
    """
    of_call = config.parse(wanted.rescore or {}, "rescore") | ({} if wanted.rescored else {"enabled": False})
    of_body = request.read(Call(wanted.extra, wanted.options))
    watch = context.watch(of_body.option("request_timeout"))
    found = yield from _profile_or_error(of_body, context)
    form = hybrid.required(found.profile.hybrid)
    watch.lap("profile_ms", of_rescoring=False)
    said = {"query_text": wanted.text, **(of_body.said or {}), **of_call}
    settings = config.merged(found.profile.rescore, said)
    vector, failure = yield from _query_vector(
        EmbedRequest(texts=(wanted.text,), kind="query", model=form.model), watch, settings
    )
    body = hybrid.body(replace(wanted, extra=of_body.body), form, vector, settings.window_size)
    call = Call(body, hybrid.options(wanted, form, vector is not None))
    rescoring = _Rescoring(context, watch, found)
    if failure is None:
        return (yield from rescoring.run(Asked(call=call, body=body, said=said)))
    outcome = replace(_fallback(failure, context), window=settings.window_size)
    return (yield from rescoring.without_scores(call, outcome))


def _query_vector(
    wish: EmbedRequest, watch: Watch, settings: RescoreSettings
) -> Flow[tuple[list[float] | None, ScorerError | None]]:
    """The query's vector, or why there is none; raises under ``on_failure: "error"``."""
    try:
        vectors = yield Embed(wish, watch.left_s(settings.budget_ms))
    except ScorerError as error:
        if settings.on_failure == "error":
            raise
        return None, error
    watch.lap("embedding_ms", of_rescoring=True)
    return vectors[0], None


def _profile(asked: Asked, context: Context) -> Flow[Found]:
    """The profile of the searched indices; one that can't be read never breaks a search."""
    is_off = asked.said is not None and asked.said.get("enabled") is False
    if is_off or not context.has_scorer or not profiles.expression(asked):
        return profiles.NOTHING
    kept = context.profiles.fresh(asked, context.clock())
    if kept is not None:
        return kept
    try:
        mappings = yield ReadMapping(profiles.mapping_options(asked))
    except ProfileUnreadable:
        return context.profiles.after_failure(asked, context.clock())
    return context.profiles.keep(asked, profiles.found(mappings), context.clock())


def _profile_or_error(asked: Asked, context: Context) -> Flow[Found]:
    if not profiles.expression(asked):
        raise InvalidSetting("index", asked.call.options.get("index"), "must name an index that has a profile")
    kept = context.profiles.fresh(asked, context.clock())
    if kept is None or kept.profile.hybrid is None:
        mappings = yield ReadMapping(profiles.mapping_options(asked))
        kept = context.profiles.keep(asked, profiles.found(mappings), context.clock())
    if kept.error is not None:
        raise kept.error
    if kept.differ:
        names = ", ".join(sorted(kept.indices))
        raise InvalidProfile(profile.PATH, names, "are indices with different profiles; name one of them")
    return kept


def _fallback(error: ScorerError, context: Context) -> Outcome:
    reason = error.reason if context.has_scorer else Reason.NO_SCORER
    return Outcome(status="fallback", reason=reason, detail=str(error))


@dataclass(frozen=True, slots=True)
class _Rescoring:
    """The second half of the story, from the plan on; holds what every step of one search needs."""

    context: Context
    watch: Watch
    found: Found

    def run(self, asked: Asked) -> Flow[Any]:
        said = asked.said or {}
        if self.found.error is not None and said.get("enabled") is not False:
            if said.get("on_failure") == "error":
                raise self.found.error
            outcome = Outcome(status="fallback", reason=Reason.INVALID_PROFILE, detail=str(self.found.error))
            return (yield from self.without_scores(asked.call, outcome))
        if self.found.differ and "document_fields" not in said:
            return (yield from self._skipped(Skip(asked.call, Reason.PROFILES_DIFFER)))
        settings = config.merged(self.found.profile.rescore, said)
        planned = plan.made(asked, settings)
        if isinstance(planned, Skip):
            return (yield from self._skipped(planned, settings.window_size))
        return (yield from self._searched(asked, planned))

    def _searched(self, asked: Asked, planned: Plan) -> Flow[Any]:
        response = yield Search(planned.call)
        self.watch.lap("first_stage_ms", of_rescoring=False)
        if not hits.has_hits(response):
            return response
        listed = hits.listed(response)
        reason = self._nothing_to_do(asked, planned, listed)
        if reason is not None:
            return self._first_stage(response, planned, Outcome(status="skipped", reason=reason))
        try:
            return (yield from self._rescored(response, planned))
        except ScorerError as error:
            if planned.settings.on_failure == "error":
                raise
            return self._first_stage(response, planned, _fallback(error, self.context))

    def without_scores(self, call: Call, outcome: Outcome) -> Flow[Any]:
        """Send the search as it is; answer with what the engine says, and why nothing was rescored."""
        response = yield Search(call)
        self.watch.lap("first_stage_ms", of_rescoring=False)
        return self._told(response, outcome)

    def _skipped(self, skip: Skip, window: int | None = None) -> Flow[Any]:
        if skip.reason is None:
            return (yield Search(skip.call))
        outcome = Outcome(status="skipped", reason=skip.reason, window=window)
        return (yield from self.without_scores(skip.call, outcome))

    def _nothing_to_do(self, asked: Asked, planned: Plan, listed: list[hits.Hit]) -> Reason | None:
        if not listed:
            return Reason.NO_HITS
        if not planned.page.cut(listed):
            return Reason.PAGE_BEYOND_RESULTS
        window_size = planned.settings.window_size
        if not pages.touches(planned.page, window_size):
            return Reason.PAGE_BEYOND_WINDOW
        is_own = "document_fields" in (asked.said or {})
        return None if is_own or self.found.covers(listed[:window_size]) else Reason.PROFILES_DIFFER

    def _rescored(self, response: Mapping[str, Any], planned: Plan) -> Flow[Any]:
        settings, listed = planned.settings, hits.listed(response)
        candidates = hits.candidates(listed, planned)
        wish = ScoreRequest(
            query=planned.query,
            candidates=candidates,
            model=settings.model,
            max_tokens=settings.max_tokens,
            activation=settings.activation,
        )
        scores: Scores = yield Score(wish, self.watch.left_s(settings.budget_ms))
        self.watch.lap("scoring_ms", of_rescoring=True)
        window = fuse.aligned(scores, candidates)
        order = fuse.ranked([hit.get("_score") for hit in listed], window, settings)
        page = planned.page.cut(order)
        shown = [hits.rescored(listed[ranked.place], ranked, planned, scores.model) for ranked in page]
        outcome = replace(
            _outcome(scores, window, settings),
            totals=_totals(response, len(candidates)),
            hits=[hits.summary(listed[ranked.place], ranked) for ranked in page],
        )
        return self._told(hits.answer(response, shown, order[0].final), outcome)

    def _first_stage(self, response: Any, planned: Plan, outcome: Outcome) -> Any:
        page = [hits.restored(hit, planned) for hit in planned.page.cut(hits.listed(response))]
        in_window = min(len(hits.listed(response)), planned.settings.window_size)
        outcome = replace(outcome, window=planned.settings.window_size, totals=_totals(response, in_window))
        return self._told(hits.answer(response, page), outcome)

    def _told(self, response: Any, outcome: Outcome) -> Any:
        total_ms = self.watch.total_ms()
        timings = {"first_stage_ms": 0.0, "scoring_ms": 0.0, **self.watch.timings, **outcome.timings}
        took_ms = total_ms - timings["first_stage_ms"]
        outcome = replace(outcome, took_ms=took_ms, timings={**timings, "total_ms": total_ms})
        self.context.note(outcome)
        return hits.told(response, outcome)


def _outcome(scores: Scores, window: list[Scored | None], settings: RescoreSettings) -> Outcome:
    scored = [entry for entry in window if entry is not None]
    return Outcome(
        status="reranked" if len(scored) == len(window) else "partial",
        reason=scores.reason if len(scored) < len(window) else None,
        model=scores.model,
        model_digest=scores.digest,
        window=settings.window_size,
        scored=len(scored),
        cached=sum(entry.cached for entry in scored),
        truncated=sum(entry.truncated for entry in scored),
        timings={f"sidecar_{name}": value for name, value in scores.timings.items()},
        scale="sigmoid" if settings.activation == "sigmoid" else "logit",
    )


def _totals(response: Mapping[str, Any], in_window: int) -> dict[str, Any]:
    return {"first_stage": response["hits"].get("total"), "window": in_window}
