"""BM25 and kNN together: fused by the engine or by the client, the same on both engines; the engines' own grammars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.hits_contract import corpus
from end_to_end.hits_contract.checks import first_stage, ids, outcome, reordered, same_hits
from end_to_end.hits_contract.corpus import ASKED, CLAIM, FUSED, ONE, THREE, WINDOW
from end_to_end.hits_contract.four_ways import Way
from rescorer.domain import EmbedRequest
from rescorer.errors import HybridWithoutPipeline, InvalidProfile, InvalidSetting, ScorerUnavailable
from rescorer.testing import FakeScorer

VECTOR = FakeScorer().embed(EmbedRequest(texts=[CLAIM], kind="query"), 1.0)[0]
WORDS = {"standard": {"query": ASKED}}
NEAR = {"knn": {"field": "v", "query_vector": VECTOR, "k": 20, "num_candidates": 100}}
FUSIONS = ["min_max", "rrf"]


def _scores(answer: Any) -> dict[str, float]:
    return {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}


def _hybrid_body(**more: Any) -> dict[str, Any]:
    words = {"multi_match": {"query": CLAIM, "fields": ["title^2", "body"]}}
    halves = [words, {"knn": {"v": {"vector": VECTOR, "k": corpus.K}}}]
    return {"query": {"hybrid": {"queries": halves, "pagination_depth": corpus.K}}, **more}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fused_lists_are_the_same_on_both_engines(engines: tuple[Way, Way], fusion: str) -> None:
    """The same documents on one shard: the same hits with the same scores, within 1e-6."""
    of_opensearch, of_elasticsearch = (
        way.ask("hybrid_search", index=FUSED[fusion], text=CLAIM, size=100, rescored=False) for way in engines
    )
    assert _scores(of_opensearch) == pytest.approx(_scores(of_elasticsearch), abs=1e-6)
    assert of_opensearch["hits"]["total"] == of_elasticsearch["hits"]["total"]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fused_lists_are_those_of_opensearchs_own_pipelines(opensearch: Way, fusion: str) -> None:
    """min_max as the normalization-processor, rrf as the score-ranker-processor, within 1e-5."""
    pipeline = f"contract-{fusion.replace('_', '-')}"
    theirs = opensearch.plain_search(FUSED[fusion], _hybrid_body(size=100), search_pipeline=pipeline)
    ours = opensearch.ask("hybrid_search", index=FUSED[fusion], text=CLAIM, size=100, rescored=False)
    assert _scores(ours) == pytest.approx(_scores(theirs), abs=1e-5)


@pytest.mark.parametrize("fusion", [*FUSIONS, "engine"])
def test_a_hybrid_search_is_rescored_in_one_round_trip(way: Way, fusion: str) -> None:
    """M8, M15: its window reordered, with highlights, aggregations and totals of the list alone."""
    body = {"aggs": {"tags": {"terms": {"field": "tag"}}}, "highlight": {"fields": {"body": {}}}}
    options: dict[str, Any] = {"body": body, "size": 60}
    if fusion == "engine" and way.engine == "opensearch":
        options["search_pipeline"] = "contract-min-max"
    plain = way.ask("hybrid_search", index=FUSED[fusion], text=CLAIM, rescored=False, **options)
    way.recording.sent.clear()
    answer = way.ask("hybrid_search", index=FUSED[fusion], text=CLAIM, **options)
    assert outcome(answer) == ("reranked", None)
    assert ids(answer) == reordered(ids(plain), 10)
    same_hits(answer, plain)
    assert answer["aggregations"] == plain["aggregations"]
    assert answer["hits"]["total"] == plain["hits"]["total"]
    assert len(way.searches_sent()) == 1


@pytest.mark.parametrize("fusion", [*FUSIONS, "engine"])
def test_pages_of_a_hybrid_search_are_the_long_list(way: Way, fusion: str) -> None:
    """M12, M14: whatever the page and its size, because both halves are read to the same depth."""
    options: dict[str, Any] = {"index": FUSED[fusion], "text": CLAIM}
    if fusion == "engine" and way.engine == "opensearch":
        options["search_pipeline"] = "contract-min-max"
    whole = ids(way.ask("hybrid_search", size=25, **options))
    walked: list[str] = []
    for begin in range(0, 25, 5):
        walked += ids(way.ask("hybrid_search", size=5, from_=begin, **options))
    assert walked == whole


@pytest.mark.parametrize("fusion", FUSIONS)
def test_filters_hold_in_both_halves(way: Way, fusion: str) -> None:
    """No hit that the filter forbids, whichever half would have found it."""
    wanted = [{"term": {"tag": "t3"}}, {"range": {"place": {"lt": 100}}}]
    answer = way.ask("hybrid_search", index=FUSED[fusion], text=CLAIM, size=50, filter=wanted)
    places = [hit["_source"]["place"] for hit in answer["hits"]["hits"]]
    assert sorted(places) == [place for place in range(100) if place % 7 == 3]


def test_a_hybrid_query_without_its_pipeline_is_refused(opensearch: Way) -> None:
    """Its hits are raw halves; the error says what mends it."""
    body = {**_hybrid_body(), "rescore": {"cross_encoder": {"query_text": CLAIM}}}
    with pytest.raises(HybridWithoutPipeline, match="search_pipeline="):
        opensearch.search(ONE, body)


def test_a_hybrid_query_of_the_application_is_rescored(opensearch: Way) -> None:
    """M8, M11, M14: with its pipeline, highlights and pages, as any search."""
    extra = {"highlight": {"fields": {"body": {}}}}
    plain = opensearch.plain_search(THREE, _hybrid_body(size=200, **extra), search_pipeline="contract-rrf")
    answer = opensearch.search(THREE, _hybrid_body(size=200, **extra), search_pipeline="contract-rrf")
    assert outcome(answer) == ("reranked", None)
    assert sorted(ids(answer)) == sorted(ids(plain))
    same_hits(answer, plain)
    shorter = opensearch.search(THREE, _hybrid_body(size=5), search_pipeline="contract-rrf")
    assert ids(shorter) == ids(answer)[:5]


def test_collapse_in_a_hybrid_query_is_as_the_engine_has_it(opensearch: Way) -> None:
    """M12, M16: the groups of the official client, or its own error, unchanged."""
    body = _hybrid_body(size=200, collapse={"field": "tag"})
    plain = _said(lambda: opensearch.plain_search(ONE, body, search_pipeline="contract-rrf"))
    answer = _said(lambda: opensearch.search(ONE, body, search_pipeline="contract-rrf"))
    if isinstance(plain, str):
        assert answer == plain
    else:
        assert sorted(ids(answer)) == sorted(ids(plain))


def _said(call: Callable[[], Any]) -> Any:
    """The answer, or the error's class and words."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever this version says
        return f"{type(error).__name__}: {error}"


def test_ext_rerank_is_understood(opensearch: Way) -> None:
    """OpenSearch's own grammar for a second stage, without ML nodes: query_text and query_text_path."""
    expected = reordered(ids(first_stage(opensearch, ONE)))
    for context in ({"query_text": "mine"}, {"query_text_path": "query.match.body.query"}):
        body = {"query": ASKED, "size": 200, "ext": {"rerank": {"query_context": context}}}
        answer = opensearch.search(ONE, body)
        assert (ids(answer), outcome(answer)) == (expected, ("reranked", None))
    assert [request.query for request in opensearch.scorer.requests] == ["mine", CLAIM]


def _ours(inner: Any, **said: Any) -> dict[str, Any]:
    body = {"retriever": inner, "field": "body", "inference_id": "rescorer", "inference_text": CLAIM, **said}
    return {"text_similarity_reranker": body}


@pytest.mark.parametrize("window", [5, WINDOW])
def test_text_similarity_reranker_is_understood(elastic: Way, window: int) -> None:
    """Elasticsearch's own grammar around one of its retrievers: one search, no inference endpoint, no hit lost."""
    plain = elastic.plain_search(ONE, {"retriever": WORDS, "size": 100})
    answer = elastic.search(ONE, {"retriever": _ours(WORDS, rank_window_size=window), "size": 100})
    assert ids(answer) == reordered(ids(plain), window)
    same_hits(answer, plain)
    assert len(elastic.searches_sent()) == 1
    filtered = _ours(WORDS, filter={"term": {"tag": "t2"}})
    answer = elastic.search(ONE, {"retriever": filtered, "size": 100})
    assert {hit["_source"]["tag"] for hit in answer["hits"]["hits"]} == {"t2"}


def test_its_min_score_is_that_of_the_model(elastic: Way) -> None:
    """Lower hits and the tail are left out, as the engine's own reranker does."""
    answer = elastic.search(ONE, {"retriever": _ours(WORDS, rank_window_size=20, min_score=-10.0), "size": 100})
    kept = [name for name in ids(first_stage(elastic, ONE))[:20] if corpus.logit_of(int(name[1:])) >= -10]
    assert sorted(ids(answer)) == sorted(kept)


def test_around_and_inside_fusions_the_client_runs_the_tree(elastic: Way) -> None:
    """rrf and linear need no paid licence: one msearch, totals and aggregations over the union."""
    around = _ours({"rrf": {"retrievers": [WORDS, NEAR], "rank_window_size": 30}}, rank_window_size=10)
    inside = {"linear": {"retrievers": [{"retriever": _ours(WORDS), "normalizer": "minmax"}, {"retriever": NEAR}]}}
    for tree in (around, inside):
        elastic.recording.sent.clear()
        body = {"retriever": tree, "size": 60, "aggs": {"tags": {"terms": {"field": "tag"}}}}
        answer = elastic.search(ONE, body)
        assert outcome(answer) == ("reranked", None)
        assert len(elastic.searches_sent()) == 1
        assert len(set(ids(answer))) == len(ids(answer)) > 10
        union = {"query": ASKED, "knn": NEAR["knn"], "size": 0, "aggs": body["aggs"]}
        plain = elastic.plain_search(ONE, union)
        assert answer["aggregations"] == plain["aggregations"]
        assert answer["hits"]["total"] == plain["hits"]["total"]


def test_inside_the_engines_other_retrievers_it_is_refused(elastic: Way) -> None:
    """The engine would have to call us; the error says where to put it instead."""
    tree = {"rescorer": {"retriever": _ours(WORDS), "rescore": {"query": {"rescore_query": ASKED}}}}
    with pytest.raises(InvalidSetting, match=r"^retriever\.rescorer: .*put text_similarity_reranker around rescorer"):
        elastic.search(ONE, {"retriever": tree})
    assert elastic.searches_sent() == []


def test_around_the_engines_own_second_stage_it_runs_last(elastic: Way) -> None:
    """What the engine's rescorer makes is the first stage."""
    rescore = {
        "window_size": 100,
        "query": {"rescore_query": {"match": {"title": "cells"}}, "rescore_query_weight": 3.0},
    }
    inner = {"rescorer": {"retriever": WORDS, "rescore": rescore}}
    plain = elastic.plain_search(ONE, {"retriever": inner, "size": 60})
    answer = elastic.search(ONE, {"retriever": _ours(inner, rank_window_size=WINDOW), "size": 60})
    assert ids(answer) == reordered(ids(plain))


def test_a_vector_search_beside_a_query_is_rescored_by_its_text(elastic: Way) -> None:
    """query and knn in one search: the engine's sum is the first stage."""
    body = {"query": ASKED, "knn": NEAR["knn"], "size": 60}
    answer, plain = elastic.search(ONE, body), elastic.plain_search(ONE, body)
    assert (ids(answer), outcome(answer)) == (reordered(ids(plain)), ("reranked", None))


def test_without_an_embedder_the_bm25_half_answers(way: Way) -> None:
    """F1: first-stage order of the words alone, filtered as asked, and the reason; never a hit that kNN found."""
    way.scorer.failure = ScorerUnavailable("gone")
    wanted = {"term": {"tag": "t3"}}
    answer = way.ask("hybrid_search", index=FUSED["rrf"], text=CLAIM, filter=wanted, size=50)
    words = {"multi_match": {"query": CLAIM, "fields": ["title^2", "body"]}}
    plain = way.plain_search(FUSED["rrf"], {"query": {"bool": {"must": [words], "filter": [wanted]}}, "size": 50})
    assert answer["hits"] == plain["hits"]
    assert outcome(answer) == ("fallback", "scorer_unavailable")


def test_an_index_without_hybrid_profile_says_what_to_add(way: Way) -> None:
    """The path in the mapping, and an example."""
    with pytest.raises(InvalidProfile, match=r"^mappings\._meta\.rescorer\.hybrid: None is missing; add for example"):
        way.ask("hybrid_search", index=corpus.BARE, text=CLAIM)
