"""What is fuzzed: the client's stories, fed with arbitrary JSON wherever somebody else's JSON comes in.

Each target takes a JSON value and raises only where a claim is broken: an error that is not ours, an argument that was
changed, a hit that was lost. Hypothesis feeds them in ``make test`` (test_fuzz.py), atheris in ``make fuzz``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rescorer import explain, filter_path, flow, hybrid, many, profile
from rescorer.context import Context
from rescorer.domain import (
    Call,
    Embed,
    Engine,
    Flow,
    OpenPointInTime,
    ReadMapping,
    Render,
    Score,
    Scored,
    ScoreLater,
    ScoreMany,
    ScoreRequest,
    Scores,
    Search,
    SearchMany,
    SearchManyTemplates,
)
from rescorer.errors import RescorerError
from rescorer.pages import Page
from rescorer.profiles import ProfileCache

_NAMES = (
    "rescore cross_encoder retriever text_similarity_reranker rrf linear standard knn retrievers query match bool must"
    " hybrid queries ext rerank query_context query_text window_size document_fields field label inference_id rescorer"
    " inference_text hits _id _score _source fields total sort _score:desc size from pit id weight normalizer a title"
    " hits.hits._id -hits ** * docvalue_fields script_fields min_score collapse filter highlight aggs _index responses"
    " error status template_output params index rank_window_size rank_constant minmax multi_match semantic _name"
    " gate query_types patterns margin audit select novelty lambda vector_field duplicates brevity recency weights"
    " calibration method platt isotonic slope intercept points is_probability model models cascade keep long_texts"
)
NAMES = _NAMES.split()
"""Words that mean something to the client, without which most of it would never be reached."""

ENGINES: tuple[Engine, ...] = ("opensearch", "elasticsearch")
PROFILE = {
    "document_fields": ["title"],
    "window_size": 3,
    "hybrid": {"text_fields": ["title"], "vector_field": "v", "fusion": "rrf"},
}
OBJECTS = ("gate", "select", "calibration")
"""Settings that hold settings."""

ASKED = {"query": {"match": {"title": "a flight"}}}


WORDS = {"standard": {"query": {"match": {"title": "a flight"}}}}


def _ours(inner: Any) -> dict[str, Any]:
    said = {"retriever": inner, "field": "title", "inference_id": "rescorer", "inference_text": "x"}
    return {"text_similarity_reranker": said}


def _fused(part: Any) -> dict[str, Any]:
    return _ours({"rrf": {"retrievers": [part, WORDS]}})


FUSED = {"retriever": _fused(WORDS)}


class EngineError(Exception):
    """The engine's own."""


def context(engine: Engine) -> Context:
    """A client with a sidecar."""
    return Context(
        clock=time.monotonic,
        now=time.time,
        profiles=ProfileCache(60.0),
        lot=lambda: 0.0,
        note=lambda outcome: None,
        audited=lambda audit: None,
        has_scorer=True,
        timeout_s=10.0,
        engine=engine,
        refused=lambda item: EngineError(repr(item)),
        engine_error=(EngineError,),
    )


def answer(count: int = 5) -> dict[str, Any]:
    """A plain search answer."""
    hits = [
        {"_index": "a", "_id": f"d{place}", "_score": 9.0 - place, "_source": {"title": f"title {place}"}}
        for place in range(count)
    ]
    return {"took": 1, "timed_out": False, "hits": {"total": {"value": count}, "max_score": 9.0, "hits": hits}}


def scores(request: ScoreRequest) -> Scores:
    """Later is better."""
    results = [
        Scored(id=candidate.id, index=place, logit=float(place), score=float(place))
        for place, candidate in enumerate(request.candidates)
    ]
    return Scores(results=results, model="m")


def told(
    story: Flow[Any], said: Any = None, scored: Callable[[ScoreRequest], Any] = scores, meta: Any = PROFILE
) -> Any:
    """Run a story against an engine that says ``said`` to every search, and return what it returns."""
    reply: Any = None
    while True:
        try:
            effect = story.send(reply)
        except StopIteration as end:
            return end.value
        reply = _reply(effect, said, scored, meta)


def _reply(effect: Any, said: Any, scored: Callable[[ScoreRequest], Any], meta: Any) -> Any:
    if isinstance(effect, ReadMapping):
        return {"a": {"mappings": {"_meta": {"rescorer": meta}}}}
    if isinstance(effect, Embed):
        return [[0.5, 0.5] for _ in effect.request.texts]
    if isinstance(effect, Score):
        return scored(effect.request)
    if isinstance(effect, ScoreLater):
        effect.finish(scored(effect.request))
        return True
    if isinstance(effect, ScoreMany):
        return [scored(request) for request in effect.requests]
    if isinstance(effect, Render):
        return {"template_output": ASKED}
    one = answer() if said is None else said
    if isinstance(effect, SearchMany | SearchManyTemplates):
        body = effect.call.body
        count = len(body) // 2 if isinstance(body, list) else 1
        return {"took": 1, "responses": [one] * count}
    return one


def _kept(value: Any, *stories: Callable[[], Any]) -> Any:
    """Run stories that may only raise our own errors and must not change the value; the last one's answer, if any."""
    before = _content(value)
    found = None
    for story in stories:
        try:
            found = story()
        except (RescorerError, EngineError):
            found = None
    if _content(value) != before:
        raise AssertionError("the caller's argument was changed")
    return found


def _content(value: Any) -> list[Any]:
    """All that a value holds, in its order, however deep; two that are alike are equal, not-a-number too."""
    found: list[Any] = []
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found.append((dict, list(node)))
            waiting += node.values()
        elif isinstance(node, list | tuple):
            found.append((type(node), len(node)))
            waiting += node
        else:
            found.append((type(node), node if node == node else "not a number"))  # noqa: PLR0124
    return found


def body(value: Any) -> None:
    """Arbitrary JSON as the body of a search: every hit of the page's window is there, or a typed error."""
    call, answers = Call(value, {"index": "a"}), []

    def searched(engine: Engine) -> None:
        answers.append(told(flow.search(call, context(engine))))

    _kept(
        value,
        *(partial(searched, engine) for engine in ENGINES),
        *(lambda engine=engine: told(explain.explained(call, context(engine))) for engine in ENGINES),
    )
    for found in answers:
        if isinstance(found, Mapping) and found.get("rescore", {}).get("status") == "reranked":
            _permuted(found)


def request(value: Any) -> None:
    """The same in each place of a body that is ours to read."""
    for key in ("rescore", "retriever", "ext", "query", "sort", "fields", "_source", "collapse", "pit", "size"):
        body({**ASKED, key: value})
    body({**ASKED, "rescore": {"cross_encoder": value}})
    for name in OBJECTS:
        body({**ASKED, "rescore": {"cross_encoder": {"document_fields": ["title"], name: value}}})
    body({**ASKED, "rescore": [{"query": {}}, {"cross_encoder": value, "window_size": 3}]})
    body({**ASKED, "ext": {"rerank": {"query_context": value}}})
    body({"retriever": {"text_similarity_reranker": {"retriever": value, "field": "t", "inference_id": "rescorer"}}})
    inner = {"retriever": value, "field": "t", "inference_id": "rescorer", "inference_text": "x"}
    body({"retriever": {"text_similarity_reranker": inner}})
    body({"retriever": {"rrf": {"retrievers": [{"text_similarity_reranker": inner}, value]}}})


def options(value: Any) -> None:
    """Arbitrary JSON as each keyword that is read, of a search and of one whose lists the client fuses."""
    names = "filter_path size from sort q request_timeout params index stored_fields scroll _source _source_includes"
    for name in [*names.split(), "docvalue_fields", "explain", "routing"]:
        given = {"index": "a", name: value}
        for asked in (ASKED, FUSED):
            _kept(given, lambda given=given, asked=asked: told(flow.search(Call(asked, given), context("opensearch"))))


def trees(value: Any) -> None:
    """Arbitrary JSON as a list that the client fuses with another, and beside such lists."""
    for key in ("sort", "fields", "_source", "collapse", "min_score", "highlight", "aggs", "docvalue_fields", "size"):
        body({**FUSED, key: value})
    for tree in (_fused(value), _fused({"standard": value}), _fused({"knn": value}), _fused({"rule": value})):
        body({"retriever": tree})
    for kind, key in (("rrf", "rank_constant"), ("linear", "normalizer"), ("linear", "filter"), ("rrf", "min_score")):
        body({"retriever": _ours({kind: {"retrievers": [WORDS, WORDS], key: value}})})
    body({"retriever": _ours({"linear": {"retrievers": [{"retriever": WORDS, "weight": value}, WORDS]}})})


def lines(value: Any) -> None:
    """Arbitrary JSON as the lines of an msearch, as one of its searches, and as the line before one."""
    wanted = [{}, {**ASKED, "rescore": {"cross_encoder": {"document_fields": ["title"]}}}]
    for call in (
        Call(value, {"index": "a"}),
        Call([{}, value, {"index": "a"}, ASKED], {}),
        Call([value, ASKED, *wanted], {}),
        Call([{"index": value}, ASKED, *wanted], {}),
        Call([{"params": value}, ASKED, *wanted], {"index": "a"}),
    ):
        for story in (many.msearch, many.msearch_template):
            _kept(call.body, lambda call=call, story=story: told(story(call, context("elasticsearch"))))


def replies(value: Any) -> None:
    """Arbitrary JSON as the engine's and the scorer's reply to each thing that a story asks of them."""
    call, wanted = Call(ASKED, {"index": "a"}), hybrid.Wanted(text="x", page=Page(0, 10), options={"index": "a"})
    template = Call({"id": "t"}, {"index": "a"})
    stories: tuple[tuple[type, Callable[[], Flow[Any]]], ...] = (
        (ReadMapping, lambda: flow.search(call, context("opensearch"))),
        (Search, lambda: flow.search(call, context("opensearch"))),
        (Score, lambda: flow.search(call, context("opensearch"))),
        (SearchMany, lambda: flow.search(Call(FUSED, {}), context("elasticsearch"))),
        (SearchMany, lambda: many.msearch(Call([{}, ASKED], {"index": "a"}), context("opensearch"))),
        (ScoreMany, lambda: many.msearch(Call([{}, ASKED], {"index": "a"}), context("opensearch"))),
        (Render, lambda: flow.search_template(template, context("opensearch"))),
        (Render, lambda: many.msearch_template(Call([{}, {"id": "t"}], {"index": "a"}), context("opensearch"))),
        (Embed, lambda: flow.hybrid_search(wanted, context("elasticsearch"))),
        (SearchMany, lambda: flow.hybrid_search(wanted, context("elasticsearch"))),
        (ReadMapping, lambda: flow.hybrid_search(wanted, context("opensearch"))),
        (OpenPointInTime, lambda: flow.open_point_in_time(Call(None, {"index": "a"}), context("opensearch"))),
    )
    for kind, story in stories:
        said = [value] if kind is not SearchMany else [value, {"responses": value}, {"responses": [value] * 3}]
        for one in said:
            _kept(one, lambda kind=kind, story=story, one=one: _replied(story(), kind, one))


def _replied(story: Flow[Any], kind: type, said: Any) -> Any:
    reply: Any = None
    while True:
        try:
            effect = story.send(reply)
        except StopIteration as end:
            return end.value
        reply = said if isinstance(effect, kind) else _reply(effect, None, scores, PROFILE)


def engine_answer(value: Any) -> None:
    """Arbitrary JSON instead of an answer, its hits, and each part of a hit: handed on, or a typed error."""
    hit = answer(1)["hits"]["hits"][0]
    said = [value, {"hits": value}, {**answer(), "hits": {"hits": value}}]
    said += [{"hits": {"hits": [hit, {**hit, key: value}]}} for key in ("_id", "_score", "_source", "fields", "_index")]
    said += [{"hits": {"hits": [hit, value]}}]
    for one in said:
        for wanted in ({"index": "a"}, {"index": "a", "filter_path": "hits.hits._id"}):
            found = _kept(
                one, lambda one=one, wanted=wanted: told(flow.search(Call(ASKED, wanted), context("opensearch")), one)
            )
            if isinstance(found, Mapping) and "filter_path" not in wanted:
                _as_many(one, found)
        _kept(one, lambda one=one: told(many.msearch(Call([{"index": "a"}, ASKED], {}), context("opensearch")), one))


def scorer_answer(value: Any) -> None:
    """Arbitrary numbers and names from a scorer: each score on its own hit, or a visible fallback."""

    def odd(request: ScoreRequest) -> Any:
        made = scores(request).results
        return Scores(results=[*made[:-1], Scored(id=value, index=value, logit=value, score=value)], model="m")

    def number(request: ScoreRequest) -> Any:
        results = [replace(scored, logit=value, score=value) for scored in scores(request).results[:1]]
        return Scores(results=[*scores(request).results[1:], *results], model="m")

    for scored in (odd, number, lambda request: value, lambda request: replace(scores(request), timings=value)):
        found = _kept(
            value,
            lambda scored=scored: told(flow.search(Call(ASKED, {"index": "a"}), context("opensearch")), None, scored),
        )
        if found is None or found["rescore"]["status"] not in ("fallback", "reranked", "partial"):
            raise AssertionError(f"nonsense from the scorer ended as {found}")
        _permuted(found)
        if len(found["hits"]["hits"]) != len(answer()["hits"]["hits"]):
            raise AssertionError("a hit was lost")


def meta(value: Any) -> None:
    """Arbitrary JSON as a profile, and as each of its values."""
    said = [
        value,
        *({**PROFILE, key: value} for key in (*PROFILE, "min_score", "budget_ms", "model", "enabled", *OBJECTS)),
    ]
    for one in said:
        _kept(one, lambda one=one: profile.read(one))
        found = _kept(
            one,
            lambda one=one: told(flow.search(Call(ASKED, {"index": "a"}), context("opensearch")), None, scores, one),
        )
        if found is None:
            raise AssertionError("a profile broke a search")


def shown(value: Any) -> None:
    """Arbitrary text as filter_path."""
    wanted = list(value) if isinstance(value, list | dict) else value
    for engine in ENGINES:
        _kept(wanted, lambda engine=engine: filter_path.filtered(answer(), wanted, engine))
        _kept(wanted, lambda engine=engine: filter_path.to_fetch(wanted, "", engine))


def _permuted(found: Mapping[str, Any]) -> None:
    ids = [hit["_id"] for hit in found["hits"]["hits"]]
    if len(set(ids)) != len(ids) or not set(ids) <= {f"d{place}" for place in range(5)}:
        raise AssertionError(f"hits were doubled or invented: {ids}")


def _as_many(one: Any, found: Mapping[str, Any]) -> None:
    had = one.get("hits") if isinstance(one, Mapping) else None
    listed = had.get("hits") if isinstance(had, Mapping) else None
    if isinstance(listed, list) and len(found["hits"]["hits"]) != min(len(listed), 10):
        raise AssertionError(f"{len(listed)} hits became {len(found['hits']['hits'])}")


TARGETS: tuple[Callable[[Any], None], ...] = (
    body,
    request,
    trees,
    options,
    lines,
    replies,
    engine_answer,
    scorer_answer,
    meta,
    shown,
)
