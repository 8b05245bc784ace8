"""What leaves the client, what the sidecar's own limits do, and what users' own assertion says, four ways."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.hits_contract.checks import contract, first_stage, ids, outcome, reordered, same_rest
from end_to_end.hits_contract.corpus import ALIAS, ASKED, BARE, CLAIM, FUSED, LONELY, ONE, PARTS, PREFIX, THREE, WINDOW
from end_to_end.hits_contract.four_ways import Way
from rescorer.errors import InvalidSetting
from rescorer.testing import assert_contract, assert_page_contract
from rescorer_lab import sidecar as process

LIMIT = 64
"""Candidates that the small sidecar takes at a time; one more window would not fit."""

PLAIN: list[dict[str, Any]] = [
    {"query": {"match_all": {}}},
    {"query": ASKED, "_source": False, "sort": ["_score", {"place": "asc"}], "track_scores": True},
    {"query": ASKED, "rescore": {"window_size": 5, "query": {"rescore_query": {"match": {"title": "cells"}}}}},
    {"size": 0, "aggs": {"tags": {"terms": {"field": "tag"}}}, "track_total_hits": True},
    {"query": {"knn": {"v": {"vector": [0.1] * 8, "k": 3}}}},
    {"query": {"bool": {"filter": [ASKED]}}, "fields": ["tag"], "stored_fields": "_none_", "_source": False},
]


@pytest.fixture(scope="module")
def small_sidecar(cross_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A sidecar with the real model that takes 64 candidates at a time."""
    options = ["--backend", "onnx", "--model", str(cross_encoder), "--max-candidates", str(LIMIT)]
    started = process.start(options, tmp_path_factory.mktemp("small") / "sidecar.log")
    yield started.address
    started.stop()


@contextlib.contextmanager
def _two_words(way: Way) -> Iterator[str]:
    """An index with one document whose fields make another word where they are glued."""
    name, indices = f"{PREFIX}-words-{way.name}", way.official.indices
    way.run(lambda: indices.create(index=name))
    lines = [{"index": {"_index": name, "_id": "two"}}, {"title": "cat", "body": ["alog", "ue"]}]
    way.plain("bulk", **({"body": lines} if way.engine == "opensearch" else {"operations": lines}), refresh=True)
    try:
        yield name
    finally:
        way.run(lambda: indices.delete(index=name))


@pytest.mark.slow
def test_a_window_above_the_sidecars_limit_is_scored_whole(way: Way, small_sidecar: str) -> None:
    """M4, M21: 66 candidates for a sidecar that takes 64: all scored, in one list, whatever the client knew before."""
    entry = {"cross_encoder": {"window_size": 66, "max_tokens": 48, "budget_ms": 60_000, "on_failure": "error"}}
    body = {"query": ASKED, "size": 100, "rescore": entry}
    with way.another(rescorer=small_sidecar) as client:
        answer = way.through(client, "search", index=THREE, body=body, request_timeout=60)
    assert (outcome(answer), answer["rescore"]["scored"]) == (("reranked", None), 66)
    assert_contract(way.plain_search(THREE, {"query": ASKED, "size": 100}), answer)


def test_fields_and_values_never_make_a_new_word(way: Way) -> None:
    """M25: title "cat" and body "alog", "ue" reach the model as three words."""
    entry = {"cross_encoder": {"query_text": "catalogue", "document_fields": ["title", "body"]}}
    with _two_words(way) as name:
        assert ids(way.search(name, {"query": {"match_all": {}}, "rescore": entry})) == ["two"]
    (candidate,) = way.scorer.requests[-1].candidates
    assert [text for _, text in candidate.fields] == ["cat", "alog ue"]


@pytest.mark.parametrize("body", PLAIN, ids=str)
def test_what_passes_through_is_sent_as_it_came(way: Way, body: dict[str, Any]) -> None:
    """Nobody asks for rescoring: one request with the caller's own body, and the engine's own answer or error."""
    way.search(BARE, {"query": {"match_all": {}}})
    way.recording.sent.clear()
    ours, theirs = (_said(lambda call=call: call(BARE, body)) for call in (way.search, way.plain_search))
    (sent,) = way.recording.sent
    assert (sent.path.partition("?")[0], sent.body) == (f"/{BARE}/_search", body)
    if isinstance(theirs, str):
        assert ours == theirs
    else:
        assert ours["hits"] == theirs["hits"]
        same_rest(ours, theirs)


def _said(call: Any) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever this engine says
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("index", [ONE, THREE, LONELY, ALIAS, PARTS])
def test_the_assertion_for_users_holds_on_real_answers(way: Way, index: str) -> None:
    """rescorer.testing: assert_contract for the whole list, assert_page_contract for any page of it."""
    body = {"query": ASKED, "highlight": {"fields": {"body": {}}}, "aggs": {"tags": {"terms": {"field": "tag"}}}}
    assert_contract(way.plain_search(index, {**body, "size": 200}), way.search(index, {**body, "size": 200}))
    for begin in (0, WINDOW - 3, WINDOW + 5):
        page = {**body, "from": begin, "size": 9}
        assert_page_contract(way.plain_search(index, page), way.search(index, page))


def test_a_documents_own_fields_of_our_names_are_its_own(way: Way) -> None:
    """M18: beside our _rescore under explain, _source keeps the document's _rescore and previous_score."""
    answer = way.search(ONE, {"query": ASKED, "size": 60, "explain": True})
    for hit in answer["hits"]["hits"]:
        place = hit["_source"]["place"]
        assert hit["_source"]["_rescore"] == {"mine": place}
        assert hit["_source"]["previous_score"] == place / 2
        assert hit["_rescore"].keys() == {"first_stage_score", "first_stage_rank", "cross_encoder_score", "model"}


@pytest.mark.parametrize("window", [2, 4])
def test_pages_of_groups_are_the_long_list(way: Way, window: int) -> None:
    """M2, M9: with collapse the window counts groups, and pages join across its seam."""
    entry = {"cross_encoder": {"window_size": window}}
    body = {"query": ASKED, "collapse": {"field": "tag"}, "rescore": entry}
    whole = ids(way.search(THREE, {**body, "size": 20}))
    assert whole == reordered(ids(first_stage(way, THREE, collapse={"field": "tag"})), window)
    walked: list[str] = []
    for begin in (0, 3, 6):
        walked += ids(way.search(THREE, {**body, "from": begin, "size": 3}))
    assert walked == whole


def test_a_total_is_that_of_the_matches_of_all_shards(way: Way) -> None:
    """M13, M15: a bound below the matches is told as one, on several shards and with a filter after the query."""
    contract(
        way, THREE, track_total_hits=9, post_filter={"term": {"tag": "t1"}}, aggs={"n": {"max": {"field": "place"}}}
    )


@pytest.mark.parametrize("name", ["size", "from"])
def test_a_page_in_the_body_of_a_hybrid_search_is_refused(way: Way, name: str) -> None:
    """It would be overridden by the call's own; the error names the keyword."""
    with pytest.raises(InvalidSetting, match=rf"^body\.{name}: 3 .*{'from_' if name == 'from' else 'size'}="):
        way.ask("hybrid_search", index=FUSED["rrf"], text=CLAIM, body={name: 3})
    assert way.searches_sent() == []


def test_templates_that_the_engine_cannot_fill_in_are_its_own_error(way: Way) -> None:
    """msearch_template: same class and words as with the official client, on a node without mustache too."""
    lines = [{"index": ONE}, {"id": "contract-unheard-of", "params": {}}]
    ours, theirs = (_said(lambda call=call: call("msearch_template", body=lines)) for call in (way.ask, way.plain))
    if isinstance(theirs, str):
        assert ours == theirs
    else:
        assert ours["responses"] == theirs["responses"]


def test_a_vector_retriever_inside_ours_is_rescored(elastic: Way) -> None:
    """text_similarity_reranker around knn: the neighbours, each once, in the model's order."""
    near = {"knn": {"field": "v", "query_vector": [0.5, -0.5] * 4, "k": 20, "num_candidates": 100}}
    plain = elastic.plain_search(ONE, {"retriever": near, "size": 50})
    ours = {"retriever": near, "field": "body", "inference_id": "rescorer", "inference_text": CLAIM}
    answer = elastic.search(ONE, {"retriever": {"text_similarity_reranker": ours}, "size": 50})
    assert outcome(answer) == ("reranked", None)
    assert_contract(plain, answer)
    assert len(elastic.searches_sent()) == 1
