"""The story of one search: plan → search → texts → score → fuse → answer, with an outcome at every exit.

A flow is a generator. It yields what it wants done (:data:`rescorer.domain.Effect`) and is sent the result, or has the
error thrown in; :mod:`rescorer.drive` does the doing, with threads or with asyncio. So there is one story, and it runs
in tests without engine, sidecar or clock. The steps are :mod:`rescorer.rescoring`'s; several searches at once are
:mod:`rescorer.many`'s.

## Decisions
2026-11: where the query can't be embedded, ``hybrid_search`` answers with its BM25 half in first-stage order and
``fallback``. Rejected: rescoring that half, whose ``reranked`` would hide that kNN is missing.
2026-11: a search template is filled in by the engine first and then searched, which is a second round trip: what it
asks for is not known before. Only where an index's profile asks for rescoring, or the template itself holds ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rescorer import config, fuse, hybrid, request
from rescorer.budget import Watch
from rescorer.config import RescoreSettings
from rescorer.context import Context, profile_of, profile_or_error
from rescorer.domain import Call, Embed, EmbedRequest, Flow, OpenPointInTime, Outcome, Render, Search, SearchTemplate
from rescorer.errors import Reason, ScorerError, one_line
from rescorer.profiles import Found
from rescorer.request import Asked
from rescorer.rescoring import Left, Rescoring


def search(call: Call, context: Context) -> Flow[Any]:
    """One ``search``. Where nobody asks for rescoring, call and answer pass through as they are.

    Raises InvalidSetting before anything is sent; the engine's own errors; a ScorerError or InvalidProfile under
    ``on_failure: "error"``; HybridWithoutPipeline.
    """
    begun_s = context.clock()
    asked = request.read(call)
    found = yield from profile_of(asked, context)
    asked = understood(asked, found, context)
    if asked.said is None and found.says_nothing:
        response = yield Search(call)
    else:
        watch = context.watch(asked.option("request_timeout"), begun_s)
        watch.lap("profile_ms", of_rescoring=False)
        response = yield from Rescoring(context, watch, found, asked).run()
    context.profiles.follow(asked, response)
    return response


def open_point_in_time(call: Call, context: Context) -> Flow[Any]:
    """Open a point in time and remember which indices it is of, since a search of it names none."""
    answer = yield OpenPointInTime(call)
    if isinstance(answer, Mapping):
        context.profiles.opened(answer.get("pit_id") or answer.get("id"), call.options.get("index"))
    return answer


def understood(asked: Asked, found: Found, context: Context, place: str = "") -> Asked:
    """The search with ``ext.rerank`` taken as ours, where a sidecar is there and the fields to read are known."""
    if "ext" not in asked.body or not context.has_scorer or not request.asks_to_rerank(asked):
        return asked
    knows_fields = "document_fields" in (asked.said or {}) or "document_fields" in found.profile.rescore
    return request.with_rerank(asked, place) if knows_fields else asked


def search_template(call: Call, context: Context) -> Flow[Any]:
    """One ``search_template``: passed through as it is, or filled in by the engine first and then searched."""
    template = request.as_mapping(call.body)
    asked = Asked(call=call, body=template, said=None)
    found = yield from profile_of(asked, context)
    if found.says_nothing and not request.names_ours(template.get("source")):
        return (yield SearchTemplate(call))
    try:
        filled = yield Render(request.template_call(call))
        detail = "the engine answered without template_output"
    except context.engine_error as error:
        filled, detail = None, one_line(error)
    output = filled.get("template_output") if isinstance(filled, Mapping) else None
    if isinstance(output, Mapping):
        return (yield from search(request.filled_in(call, output), context))
    response = yield SearchTemplate(call)
    outcome = Outcome(status="fallback", reason=Reason.TEMPLATE_UNREADABLE, detail=detail)
    watch = context.watch(asked.option("request_timeout"))
    return Rescoring(context, watch, found, asked).told(response, outcome)


def hybrid_search(wanted: hybrid.Wanted, context: Context) -> Flow[Any]:
    """One ``hybrid_search``: the query vector, then the index's hybrid query, rescored like any search.

    Raises as :func:`search` does, and InvalidProfile where the index does not say how to ask it.
    """
    of_call = config.parse(wanted.rescore or {}, "rescore") | ({} if wanted.rescored else {"enabled": False})
    of_body = request.read(Call(wanted.extra, wanted.options))
    watch = context.watch(of_body.option("request_timeout"))
    found = yield from profile_or_error(of_body, context)
    form = hybrid.required(found.profile.hybrid)
    watch.lap("profile_ms", of_rescoring=False)
    said = config.layered({"query_text": wanted.text}, of_body.said or {}, of_call)
    settings = config.merged(found.profile.rescore, said)
    vector, failure = yield from _query_vector(
        EmbedRequest(texts=(wanted.text,), kind="query", model=form.model), watch, settings
    )
    asked = hybrid.asked(replace(wanted, extra=of_body.body), form, vector, settings.window_size, context.engine)
    rescoring = Rescoring(context, watch, found, replace(asked, said=said))
    if failure is None:
        return (yield from rescoring.run())
    outcome = replace(rescoring.fallback(failure), window=settings.window_size)
    return (yield from rescoring.left_alone(Left(asked.call, outcome)))


def _query_vector(
    wish: EmbedRequest, watch: Watch, settings: RescoreSettings
) -> Flow[tuple[list[float] | None, ScorerError | None]]:
    """The query's vector, or why there is none; raises under ``on_failure: "error"``."""
    try:
        vector = fuse.vector((yield Embed(wish, watch.left_s(settings.budget_ms))))
    except ScorerError as error:
        if settings.on_failure == "error":
            raise
        return None, error
    watch.lap("embedding_ms", of_rescoring=True)
    return vector, None
