"""Every part of a hit and of an answer beside the order: shown as the engine shows it, whatever the caller asks for."""

from __future__ import annotations

from typing import Any

import pytest

from end_to_end.hits_contract.checks import (
    contract,
    first_stage,
    ids,
    outcome,
    reordered,
    rescored,
    same_hits,
    same_rest,
    without_score,
)
from end_to_end.hits_contract.corpus import ASKED, BARE, LONELY, ONE, OTHER, STREAM, THREE, WINDOW
from end_to_end.hits_contract.four_ways import Way

VIEWS: list[dict[str, Any]] = [
    {"_source": False},
    {"_source": "place"},
    {"_source": "true"},
    {"_source": ["place", "tag"]},
    {"_source": {"includes": ["*"], "excludes": ["title", "body", "chunks"]}},
    {"_source": {"excludes": ["*"]}},
    {"_source": []},
    {"fields": ["tag", "day"], "_source": False},
    {"fields": ["title"], "_source": ["place"]},
    {"fields": [{"field": "day", "format": "yyyy"}, "bo*"], "_source": False},
    {"docvalue_fields": ["tag", {"field": "day", "format": "yyyy"}], "_source": False},
    {"stored_fields": ["place"]},
    {"stored_fields": []},
    {"stored_fields": ["title", "body"]},
    {"stored_fields": "*"},
    {"stored_fields": "*", "_source": False},
    {"stored_fields": ["_source", "title"]},
    {"stored_fields": ["_source"], "_source": False},
    {"stored_fields": ["_source"], "_source": ["place"]},
    {"stored_fields": ["place"], "_source": ["place"]},
    {"script_fields": {"twice": {"script": {"source": "doc['place'].value * 2"}}}},
    {"runtime_mappings": {"r": {"type": "keyword", "script": {"source": "emit('r')"}}}, "fields": ["r"]},
    {"version": True, "seq_no_primary_term": True},
]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_hits_look_as_the_caller_asked(way: Way, view: dict[str, Any]) -> None:
    """M11, M17: texts are read although the caller hides them, and every hit is byte for byte the engine's."""
    if "runtime_mappings" in view and way.engine == "opensearch":
        pytest.skip("OpenSearch has no runtime_mappings")
    contract(way, THREE, **view)
    assert all(len(candidate.fields) > 0 for candidate in way.scorer.requests[-1].candidates)


@pytest.mark.parametrize(
    ("options", "beside"),
    [
        ({"_source": "place"}, {}),
        ({"_source_includes": "place"}, {}),
        ({"_source_excludes": "body"}, {}),
        ({"_source": False}, {}),
        ({"_source": False}, {"stored_fields": ["title"]}),
    ],
)
def test_the_same_by_url_parameters(way: Way, options: dict[str, Any], beside: dict[str, Any]) -> None:
    """``_source`` and its relatives as keywords, and stored fields of the caller's beside them."""
    body = {"query": ASKED, "size": 60, **beside}
    answer, plain = way.search(ONE, body, **options), way.plain_search(ONE, body, **options)
    assert ids(answer) == reordered(ids(plain))
    same_hits(answer, plain)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("author.name", "author 5"),
        ("people.role", "r5"),
        ("people", "Ada r5 Max"),
        ("meta.note", "note 5"),
        ("chunks.text", "chunk no5"),
        ("tag", "t5"),
        ("place", "5"),
    ],
)
def test_every_kind_of_field_gives_text(way: Way, field: str, expected: str) -> None:
    """M17: nested objects, arrays of objects, literal dotted keys, numbers; a missing field gives none."""
    body = {"query": {"ids": {"values": ["d5"]}}, "rescore": {"cross_encoder": {"document_fields": [field]}}}
    body["rescore"]["cross_encoder"]["query_text"] = "anything"
    assert outcome(way.search(ONE, body)) == ("reranked", None)
    (candidate,) = way.scorer.requests[-1].candidates
    assert expected in candidate.fields[0][1]
    body["rescore"]["cross_encoder"]["document_fields"] = ["nowhere"]
    assert outcome(way.search(ONE, body)) == ("reranked", None)
    assert way.scorer.requests[-1].candidates[0].fields == ()


@pytest.mark.parametrize("field", ["people", "chunks", "author", "people.name", "meta.note"])
def test_a_hidden_object_gives_the_text_of_a_shown_one(way: Way, field: str) -> None:
    """Letter for letter where the caller sees no ``_source``; where he sees a part, the same values by field."""
    entry = {"cross_encoder": {"query_text": "anything", "document_fields": [field]}}
    body = {"query": {"ids": {"values": ["d5"]}}, "rescore": entry}
    for view in ({}, {"_source": False}, {"stored_fields": ["title"]}, {"_source": ["place"]}):
        assert outcome(way.search(ONE, {**body, **view})) == ("reranked", None)
    whole, *hidden, part = (request.candidates[0].fields[0][1] for request in way.scorer.requests)
    assert hidden == [whole, whole]
    assert sorted(part.split()) == sorted(whole.split())


@pytest.mark.parametrize(
    "view",
    [
        {"_source": False},
        {"_source": ["place"], "fields": ["tag"]},
        {"_source": False, "fields": ["chunks.text"]},
        {"_source": False, "fields": ["chunks.place"]},
        {"_source": ["place"], "fields": ["people.name", "chunks.text", "title.plain"]},
        {"_source": {"excludes": ["*"]}, "docvalue_fields": ["people.role"]},
        {"stored_fields": ["title"]},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "field",
    ["chunks.text", "chunks.place", "people.role", "meta.note", "title.plain", "people", "chunks", "author"],
)
def test_hidden_texts_are_read_and_leave_nothing_behind(way: Way, field: str, view: dict[str, Any]) -> None:
    """M17: however deep the field stands, its text is read, and the hit shows what the caller asked for alone."""
    query = {"ids": {"values": ["d5"]}}
    plain = way.plain_search(ONE, {"query": query, **view})
    entry = {"cross_encoder": {"query_text": "anything", "document_fields": [field]}}
    same_hits(way.search(ONE, {"query": query, **view, "rescore": entry}), plain)
    assert way.scorer.requests[-1].candidates[0].fields


def test_texts_of_several_fields_never_run_together(way: Way) -> None:
    """M25: each field is a text of its own for the model, whole, in the profile's order; a missing one is left out."""
    shown = {hit["_id"]: hit["_source"] for hit in rescored(way, ONE)["hits"]["hits"]}
    read = [(candidate.id.split(":")[1], candidate.fields) for candidate in way.scorer.requests[-1].candidates]
    for name, fields in read:
        texts = [shown[name][field] for field in ("title", "body") if field in shown[name]]
        assert fields == tuple(("", text) for text in texts)
    assert {len(fields) for _, fields in read} == {1, 2}


def test_highlights_and_matched_queries_travel_with_their_hit(way: Way) -> None:
    """M8: fragments and names are those of the same hit without rescoring."""
    query = {"match": {"body": {"query": ASKED["match"]["body"], "_name": "words"}}}
    highlight = {"fields": {"body": {}, "title": {"type": "plain"}}}
    answer = contract(way, THREE, query=query, highlight=highlight)
    assert all(hit["matched_queries"] == ["words"] for hit in answer["hits"]["hits"])
    assert any("highlight" in hit for hit in answer["hits"]["hits"])


def test_nested_inner_hits_travel_with_their_hit(way: Way) -> None:
    """The chunks that matched are shown with the document that holds them."""
    nested = {"path": "chunks", "query": {"match": {"chunks.text": "chunk"}}, "inner_hits": {"size": 2}}
    query = {"bool": {"must": [ASKED], "should": [{"nested": nested}]}}
    entry = {"cross_encoder": {"query_text": "anything"}}
    first = way.plain_search(THREE, {"query": query, "size": 200})
    answer = way.search(THREE, {"query": query, "size": 200, "rescore": entry})
    assert ids(answer) == reordered(ids(first))
    same_hits(answer, first)
    assert answer["hits"]["hits"][0]["inner_hits"]["chunks"]["hits"]["hits"]


@pytest.mark.parametrize("window", [3, 5, 40])
def test_groups_come_once_and_keep_their_heads(way: Way, window: int) -> None:
    """M2, M26: more groups than window: those past it keep first-stage order, none is given an invented score."""
    collapse = {"field": "tag", "inner_hits": {"name": "more", "size": 2, "_source": False}}
    body = {"query": ASKED, "size": 20, "collapse": collapse}
    first = way.plain_search(THREE, body)
    answer = way.search(THREE, {**body, "rescore": {"cross_encoder": {"window_size": window}}})
    assert outcome(answer) == ("reranked", None)
    assert ids(answer) == reordered(ids(first), window)
    same_hits(answer, first)
    assert len(ids(answer)) == 7
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert 0.0 not in scores


def test_aggregations_suggestions_and_filters_are_those_of_the_plain_search(way: Way) -> None:
    """M15: over all matches, not over the page or the window; post_filter and min_score hold before rescoring."""
    body = {
        "aggs": {"tags": {"terms": {"field": "tag"}, "aggs": {"far": {"max": {"field": "place"}}}}},
        "suggest": {"s": {"text": "protien", "term": {"field": "body"}}},
        "post_filter": {"range": {"place": {"lt": 150}}},
        "min_score": 0.001,
    }
    contract(way, THREE, **body)


def test_min_score_of_the_engine_holds_before_rescoring(way: Way) -> None:
    """It is compared with first-stage scores; what it leaves is rescored."""
    scores = [hit["_score"] for hit in first_stage(way, ONE)["hits"]["hits"]]
    answer = contract(way, ONE, min_score=scores[9])
    assert len(ids(answer)) == 10


def test_min_score_of_ours_holds_afterwards(way: Way) -> None:
    """On the cross-encoder's score: lower hits and the tail are left out, and counted."""
    first = ids(first_stage(way, ONE))
    answer = rescored(way, ONE, rescore={"cross_encoder": {"min_score": -10.0}})
    kept = [name for name in reordered(first)[:WINDOW] if _logit(name) >= -10]
    assert ids(answer) == kept
    assert answer["rescore"]["totals"]["left_out"] == len(first) - len(kept)


def _logit(name: str) -> float:
    from end_to_end.hits_contract import corpus

    return corpus.logit_of(int(name[1:]))


@pytest.mark.parametrize("wanted", [True, False, 5, 1000])
def test_the_total_is_counted_as_asked(way: Way, wanted: Any) -> None:
    """track_total_hits in each form, the missing total too."""
    contract(way, THREE, track_total_hits=wanted)


@pytest.mark.parametrize(
    "body",
    [
        {"track_scores": True},
        {"sort": ["_score"]},
        {"sort": [{"_score": {"order": "desc"}}], "track_scores": True},
        {"timeout": "5s"},
        {"indices_boost": [{THREE: 2.0}]},
        {"stats": ["group"]},
    ],
    ids=str,
)
def test_what_only_the_engine_minds_changes_nothing(way: Way, body: Any) -> None:
    """Scores tracked or sorted by, time-outs and boosts are the engine's own business."""
    contract(way, THREE, **body)


def test_an_answer_cut_short_is_rescored_as_far_as_it_goes(way: Way) -> None:
    """terminate_after: the hits that came are the list."""
    body = {"query": ASKED, "size": 200, "terminate_after": 30}
    answer, plain = way.search(ONE, body), way.plain_search(ONE, body)
    assert sorted(ids(answer)) == sorted(ids(plain))
    assert answer["terminated_early"] == plain["terminated_early"]


def test_explain_adds_a_node_above_the_engines(way: Way) -> None:
    """M3: every hit has its explanation, ours on top with model, both scores and weights, the engine's below."""
    first = {hit["_id"]: hit for hit in first_stage(way, ONE, explain=True)["hits"]["hits"]}
    entry = {"cross_encoder": {"score_mode": "total", "query_weight": 0.5}}
    answer = rescored(way, ONE, explain=True, rescore=entry)
    for place, hit in enumerate(answer["hits"]["hits"]):
        assert hit["_explanation"]["value"] == hit["_score"]
        assert "cross_encoder" in hit["_explanation"]["description"]
        assert str(first[hit["_id"]]["_explanation"]) in str(hit["_explanation"])
        assert hit["_rescore"]["first_stage_score"] == first[hit["_id"]]["_score"]
        assert (hit["_rescore"]["cross_encoder_score"] is None) == (place >= WINDOW)


def test_the_engines_profile_is_handed_on(way: Way) -> None:
    """profile: true shows the engine's own timings."""
    answer = rescored(way, ONE, profile=True)
    assert answer["profile"]["shards"]


@pytest.mark.parametrize(
    "options",
    [
        {"preference": "_local"},
        {"routing": "all-on-one"},
        {"search_type": "dfs_query_then_fetch"},
        {"typed_keys": True},
        {"rest_total_hits_as_int": True},
        {"allow_partial_search_results": True},
        {"request_timeout": 20, "opaque_id": "mine", "headers": {"x-own": "1"}},
    ],
    ids=str,
)
def test_keywords_of_the_call_reach_the_engine(way: Way, options: dict[str, Any]) -> None:
    """Routing, preference and formats as in the plain search; headers and ids on each of our requests."""
    body = {"query": ASKED, "size": 200, "aggs": {"tags": {"terms": {"field": "tag"}}}}
    answer, plain = way.search(LONELY, body, **options), way.plain_search(LONELY, body, **options)
    assert ids(answer) == reordered(ids(plain))
    same_rest(answer, plain)
    if "headers" in options:
        sent = {key.lower(): value for key, value in way.searches_sent()[-1].headers.items()}
        assert (sent["x-own"], sent["x-opaque-id"]) == ("1", "mine")


@pytest.mark.parametrize(
    "shown", ["hits.hits._id", "hits.hits._source.place,took", "-hits.hits._source", "-took,-_shards"]
)
def test_filter_path_applies_to_the_final_answer(way: Way, shown: str) -> None:
    """The hits that we need are fetched all the same; the caller sees what the engine would have shown."""
    body = {"query": ASKED, "size": 60}
    answer, plain = way.search(ONE, body, filter_path=shown), way.plain_search(ONE, body, filter_path=shown)
    assert outcome(answer) == ("reranked", None)
    assert answer.keys() - {"rescore"} == plain.keys()
    mine, theirs = ([without_score(hit) for hit in each["hits"]["hits"]] for each in (answer, plain))
    assert sorted(map(str, mine)) == sorted(map(str, theirs))
    assert mine != theirs or shown == "-hits.hits._id"


def test_a_query_in_the_url_is_rescored(way: Way) -> None:
    """q= is a query_string, and its text is the question."""
    answer = way.search(ONE, q="body:protein", size=50)
    plain = way.plain_search(ONE, q="body:protein", size=50)
    assert outcome(answer) == ("reranked", None)
    assert ids(answer) == reordered(ids(plain))
    assert way.scorer.requests[-1].query == "body:protein"


@pytest.mark.parametrize("rescorers", [1, 2])
def test_the_engines_own_rescorers_run_first(way: Way, rescorers: int) -> None:
    """M26, E2: as an object beside ours and as a list; what they make is the first stage."""
    native = {
        "window_size": 100,
        "query": {"rescore_query": {"match": {"title": "cells"}}, "rescore_query_weight": 3.0},
    }
    listed = [native] * rescorers
    first = first_stage(way, ONE, rescore=listed)
    answer = rescored(way, ONE, rescore=[*listed, {"window_size": WINDOW, "cross_encoder": {}}])
    assert ids(answer) == reordered(ids(first))


@pytest.mark.parametrize("index", [BARE, f"{BARE},{ONE}", f"{OTHER},{ONE}"])
def test_what_no_index_wants_passes_through(way: Way, index: str) -> None:
    """Without a profile nothing is added; with different ones nothing is guessed, and the outcome says so."""
    body = {"query": ASKED, "size": 30}
    answer, plain = way.search(index, body), way.plain_search(index, body)
    assert answer["hits"] == plain["hits"]
    same_rest(answer, plain)
    if index == BARE:
        assert "rescore" not in answer
    else:
        assert outcome(answer) == ("skipped", "profiles_differ")


def test_one_hit_and_a_hit_without_text_are_defined(way: Way) -> None:
    """A single hit is scored; a document without the field is scored as an empty text."""
    entry = {"cross_encoder": {"query_text": "anything", "document_fields": ["body"]}}
    for name in ("d5", "d18"):
        answer = way.search(ONE, {"query": {"ids": {"values": [name]}}, "rescore": entry})
        assert (ids(answer), outcome(answer)) == ([name], ("reranked", None))
    assert way.scorer.requests[-1].candidates[0].fields == ()


def test_a_data_streams_hits_are_rescored_by_its_template(way: Way) -> None:
    """The profile of the backing index is that of the stream."""
    answer = rescored(way, STREAM)
    assert answer["hits"]["hits"][0]["_index"].startswith(".ds-")
