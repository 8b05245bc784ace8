"""Where parts of the contract meet: one shard and five, filtered aliases, formats of many searches, groups, pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from end_to_end.hits_contract import corpus
from end_to_end.hits_contract.checks import contract, first_stage, ids, outcome, reordered, rescored, same_hits
from end_to_end.hits_contract.corpus import ASKED, CLAIM, FUSED, LONELY, ONE, THREE, WINDOW
from end_to_end.hits_contract.four_ways import Way
from rescorer.domain import EmbedRequest
from rescorer.errors import InvalidSetting
from rescorer.testing import FakeScorer

VECTOR = FakeScorer().embed(EmbedRequest(texts=[CLAIM], kind="query"), 1.0)[0]
WORDS = {"standard": {"query": ASKED}}
GROUPS = 7


@contextlib.contextmanager
def _alias(way: Way, name: str, filtered: Any) -> Iterator[str]:
    """An alias of the index with three shards that shows a part of it."""
    indices = way.official.indices
    way.run(lambda: indices.put_alias(index=THREE, name=name, body={"filter": filtered}))
    try:
        yield name
    finally:
        way.run(lambda: indices.delete_alias(index=THREE, name=name))


def test_matches_on_one_shard_of_five_are_ranked_as_on_one_shard(way: Way) -> None:
    """M5: four shards without a hit change neither order nor scores."""
    alone, among = rescored(way, ONE), rescored(way, LONELY)
    assert [(hit["_id"], hit["_score"]) for hit in among["hits"]["hits"]] == [
        (hit["_id"], hit["_score"]) for hit in alone["hits"]["hits"]
    ]


def test_the_window_counts_what_a_filtered_alias_shows(way: Way) -> None:
    """Hits that the alias hides are neither scored nor counted, and the profile of its index holds."""
    with _alias(way, f"{corpus.PREFIX}-filtered-{way.name}", {"terms": {"tag": ["t1", "t2", "t4"]}}) as name:
        answer = contract(way, name)
    assert {hit["_source"]["tag"] for hit in answer["hits"]["hits"]} == {"t1", "t2", "t4"}
    assert answer["rescore"]["scored"] == WINDOW


def test_the_page_may_stand_in_keywords(way: Way) -> None:
    """``from_`` and ``size`` beside the body cut the same list, whatever each client makes of them."""
    whole = ids(rescored(way, ONE))
    assert ids(way.search(ONE, {"query": ASKED}, from_=WINDOW - 2, size=5)) == whole[WINDOW - 2 : WINDOW + 3]


def test_a_walk_by_cursor_is_the_official_clients(way: Way) -> None:
    """M23: with a sort of one's own, each page, its sort values and the next cursor are as without us."""
    body: dict[str, Any] = {"query": ASKED, "sort": [{"place": "desc"}], "size": 50}
    for _ in range(3):
        answer, plain = way.search(THREE, body), way.plain_search(THREE, body)
        assert answer["hits"] == plain["hits"]
        assert outcome(answer)[0] == "skipped"
        body["search_after"] = answer["hits"]["hits"][-1]["sort"]
    assert way.scorer.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {"rest_total_hits_as_int": True},
        {"typed_keys": True},
        {"filter_path": "responses.hits.hits._id,responses.aggregations"},
    ],
    ids=str,
)
def test_formats_of_many_searches_are_the_engines(way: Way, options: dict[str, Any]) -> None:
    """M15: totals, names of aggregations and what a filter leaves are as in the msearch without us."""
    searched = {"query": ASKED, "size": 20, "aggs": {"tags": {"terms": {"field": "tag"}}}}
    lines = [{"index": ONE}, searched, {"index": corpus.BARE}, searched]
    answer, plain = way.ask("msearch", body=lines, **options), way.plain("msearch", body=lines, **options)
    assert answer.keys() - {"took"} == plain.keys() - {"took"}
    (ours, bare), (theirs, of_bare) = answer["responses"], plain["responses"]
    assert outcome(ours) == ("reranked", None)
    assert "rescore" not in bare
    for mine, other in ((ours, theirs), (bare, of_bare)):
        assert mine["aggregations" if "aggregations" in other else "hits"] is not None
        assert mine.get("aggregations") == other.get("aggregations")
        assert mine["hits"].get("total") == other["hits"].get("total")
    assert sorted(hit.keys() - {"_score"} for hit in ours["hits"]["hits"]) == sorted(
        hit.keys() - {"_score"} for hit in theirs["hits"]["hits"]
    )


@pytest.mark.parametrize("fusion", ["min_max", "rrf"])
def test_a_list_that_the_client_fuses_has_the_callers_format(way: Way, fusion: str) -> None:
    """Totals as a number, typed names and a filter of one's own, although an msearch stands behind it."""
    aggs = {"tags": {"terms": {"field": "tag"}}}
    options = {
        "rest_total_hits_as_int": True,
        "typed_keys": True,
        "filter_path": "hits.total,hits.hits._id,aggregations",
    }
    answer = way.ask("hybrid_search", index=FUSED[fusion], text=CLAIM, size=5, body={"aggs": aggs}, **options)
    assert answer.keys() == {"hits", "aggregations", "rescore"}
    assert isinstance(answer["hits"]["total"], int)
    assert answer["aggregations"].keys() == {"sterms#tags"}
    assert [hit.keys() for hit in answer["hits"]["hits"]] == [{"_id"}] * 5


@pytest.mark.parametrize("fusion", ["min_max", "rrf"])
def test_groups_of_a_list_that_the_client_fuses_come_once(way: Way, fusion: str) -> None:
    """M2, M12, M16: collapse holds for the fused list, and its pages join to one list of groups."""
    options: dict[str, Any] = {"index": FUSED[fusion], "text": CLAIM, "body": {"collapse": {"field": "tag"}}}
    whole = way.ask("hybrid_search", size=50, **options)
    groups = [hit["fields"]["tag"][0] for hit in whole["hits"]["hits"]]
    assert sorted(groups) == [f"t{number}" for number in range(GROUPS)]
    walked: list[str] = []
    for begin in range(0, GROUPS, 3):
        walked += ids(way.ask("hybrid_search", size=3, from_=begin, **options))
    assert walked == ids(whole)


def _hybrid(**more: Any) -> dict[str, Any]:
    words = {"multi_match": {"query": CLAIM, "fields": ["title^2", "body"]}}
    halves = [words, {"knn": {"v": {"vector": VECTOR, "k": corpus.K}}}]
    return {"query": {"hybrid": {"queries": halves, "pagination_depth": WINDOW}}, **more}


def test_totals_and_aggregations_of_a_hybrid_query_are_the_engines(opensearch: Way) -> None:
    """M13, M15: nested aggregations too; and the window's own count stands beside the total."""
    aggs = {"tags": {"terms": {"field": "tag"}, "aggs": {"far": {"max": {"field": "place"}}}}}
    options = {"search_pipeline": "contract-min-max"}
    plain = opensearch.plain_search(THREE, _hybrid(size=WINDOW, aggs=aggs), **options)
    answer = opensearch.search(THREE, _hybrid(size=WINDOW, aggs=aggs), **options)
    assert outcome(answer) == ("reranked", None)
    assert answer["aggregations"] == plain["aggregations"]
    assert answer["hits"]["total"] == plain["hits"]["total"]
    assert answer["rescore"]["totals"] == {"first_stage": plain["hits"]["total"], "window": WINDOW}
    assert sorted(ids(answer)) == sorted(ids(plain))
    same_hits(answer, plain)


def test_an_indexs_default_pipeline_fuses_its_hybrid_query(opensearch: Way) -> None:
    """M14: nothing is refused where the index itself names the pipeline, and size changes no order."""
    name, setting = FUSED["engine"], "index.search.default_pipeline"
    settings = opensearch.official.indices.put_settings
    opensearch.run(lambda: settings(index=name, body={setting: "contract-rrf"}))
    try:
        longer, shorter = (opensearch.search(name, _hybrid(size=size)) for size in (10, 5))
    finally:
        opensearch.run(lambda: settings(index=name, body={setting: None}))
    assert [outcome(answer) for answer in (longer, shorter)] == [("reranked", None)] * 2
    assert ids(shorter) == ids(longer)[:5]


def test_groups_of_a_hybrid_query_page_as_one_list(opensearch: Way) -> None:
    """M12, M16: where the engine collapses a hybrid query each group comes once; where it ignores it, so do we."""
    collapse = {"collapse": {"field": "tag"}}
    options = {"search_pipeline": "contract-min-max"}
    whole = opensearch.search(ONE, _hybrid(size=200, **collapse), **options)
    plain = opensearch.plain_search(ONE, _hybrid(size=200, **collapse), **options)
    assert sorted(ids(whole)) == sorted(ids(plain))
    same_hits(whole, plain)
    walked: list[str] = []
    for begin in range(0, len(ids(whole)), 3):
        walked += ids(opensearch.search(ONE, _hybrid(**collapse, **{"from": begin, "size": 3}), **options))
    assert walked == ids(whole)


def test_an_engines_own_retriever_is_rescored_by_the_profile(elastic: Way) -> None:
    """A standard retriever is a query in another place: the index's profile holds for it."""
    answer = elastic.search(ONE, {"retriever": WORDS, "size": 60})
    assert outcome(answer) == ("reranked", None)
    assert ids(answer) == reordered(ids(first_stage(elastic, ONE)))[:60]


@pytest.mark.parametrize("kind", ["pinned", "rule", "diversify"])
def test_inside_what_only_the_engine_can_run_ours_is_refused(elastic: Way, kind: str) -> None:
    """pinned, rule and diversify are named, with where to put ours instead, before anything is sent."""
    body = {"retriever": WORDS, "field": "body", "inference_id": "rescorer", "inference_text": CLAIM}
    tree = {kind: {"retriever": {"text_similarity_reranker": body}}}
    with pytest.raises(InvalidSetting, match=rf"^retriever\.{kind}: .*around {kind} instead"):
        elastic.search(ONE, {"retriever": tree})
    assert elastic.searches_sent() == []
