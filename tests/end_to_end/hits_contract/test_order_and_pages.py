"""Order, seam, scores and pages of a rescored list, on every kind of index, four ways."""

from __future__ import annotations

from typing import Any

import pytest

from end_to_end.hits_contract import corpus
from end_to_end.hits_contract.checks import (
    contract,
    first_stage,
    ids,
    outcome,
    reordered,
    rescored,
    same_hits,
    same_rest,
)
from end_to_end.hits_contract.corpus import ALIAS, ASKED, LONELY, ONE, PARTS, STREAM, THREE, WINDOW
from end_to_end.hits_contract.four_ways import Way
from rescorer.errors import InvalidSetting
from rescorer.testing import AsyncFakeScorer

EVERYWHERE = [ONE, THREE, LONELY, ALIAS, PARTS, STREAM, f"{ONE},{LONELY}"]
QUESTION = {"cross_encoder": {"query_text": "anything"}}
MODES = ["replace", "total", "multiply", "avg", "max", "min"]


@pytest.mark.parametrize("index", [*EVERYWHERE[:-1]])
def test_the_window_comes_first_and_the_tail_as_it_was(way: Way, index: str) -> None:
    """M3, M5, M11, M15, M18: window and tail over all shards, indices, aliases, wildcards and data streams.

    Negative logits and ties; each hit, its own _rescore and previous_score fields included, is the engine's.
    """
    contract(way, index)


def test_one_expression_may_name_several_indices_of_one_profile(way: Way) -> None:
    """The window is counted over all of them, and the same id in two indices is two hits."""
    first, answer = first_stage(way, f"{ONE},{LONELY}"), rescored(way, f"{ONE},{LONELY}")
    assert sorted(ids(answer)) == sorted(ids(first))
    assert answer["rescore"]["scored"] == WINDOW
    same_hits(answer, first)


@pytest.mark.parametrize("index", [ONE, THREE, LONELY, PARTS, STREAM])
@pytest.mark.parametrize("size", [7, 40, 55])
def test_pages_laid_end_to_end_are_the_long_list(way: Way, index: str, size: int) -> None:
    """M9, M10, M14, M20: no id twice, none missing, across the seam and past it; the outcome says where it was."""
    whole = ids(rescored(way, index))
    walked: list[str] = []
    for begin in range(0, len(whole), size):
        answer = way.search(index, {"query": ASKED, "from": begin, "size": size})
        expected = ("reranked", None) if begin < WINDOW else ("skipped", "page_beyond_window")
        assert outcome(answer) == expected
        assert answer["rescore"]["window"] == WINDOW
        walked += ids(answer)
    assert walked == whole


@pytest.mark.parametrize("index", [ONE, THREE])
def test_pages_of_a_point_in_time_are_the_long_list(way: Way, index: str) -> None:
    """Frozen in time, with the profile of the indices that it was opened on."""
    whole = ids(rescored(way, index))
    walked: list[str] = []
    with way.point_in_time(index) as pit:
        newest = pit
        for begin in range(0, len(whole), 30):
            answer = way.search(None, {"query": ASKED, "from": begin, "size": 30, "pit": newest})
            newest = {**pit, "id": answer["pit_id"]}
            walked += ids(answer)
    assert walked == whole


def test_a_point_in_time_of_another_client_is_rescored_where_the_request_asks(way: Way) -> None:
    """Nothing says of which indices it is, so no profile is known: the request's own word counts, and nothing else."""
    scorer = AsyncFakeScorer(way.scorer) if way.is_async else way.scorer
    with way.point_in_time(ONE) as pit, way.another(rescorer=scorer) as other:
        search = {"query": ASKED, "pit": pit}
        silent = way.through(other, "search", body=search)
        entry = {"cross_encoder": {"document_fields": ["title"]}}
        answer = way.through(other, "search", body={**search, "rescore": entry})
    assert "rescore" not in silent
    assert answer["rescore"]["status"] == "reranked"
    assert set(ids(silent)) <= set(ids(way.plain_search(ONE, {"query": ASKED, "size": WINDOW})))


def test_page_two_asks_for_the_same_window(way: Way) -> None:
    """M19, M20: forty are scored and seven shown, and the next page brings the very same pairs to the sidecar."""
    for begin in (0, 7):
        answer = way.search(ONE, {"query": ASKED, "from": begin, "size": 7})
        assert (len(ids(answer)), answer["rescore"]["scored"]) == (7, WINDOW)
    first, second = way.scorer.requests
    assert first.candidates == second.candidates


@pytest.mark.parametrize("mode", MODES)
def test_no_hit_of_the_tail_stands_above_the_window(way: Way, mode: str) -> None:
    """M3, M22: in every score_mode scores never rise, and the response names their scale."""
    entry = {"score_mode": mode, "query_weight": 0.5, "rescore_query_weight": 2.0}
    first, answer = first_stage(way, THREE), rescored(way, THREE, rescore={"cross_encoder": entry})
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert set(ids(answer)[:WINDOW]) == set(ids(first)[:WINDOW])
    assert ids(answer)[WINDOW:] == ids(first)[WINDOW:]
    assert answer["rescore"]["scale"] == "logit"


def test_a_sigmoid_changes_scores_and_not_the_order(way: Way) -> None:
    """Logits are ranked; the sigmoid is applied afterwards, and the scale says so."""
    answer = rescored(way, ONE, rescore={"cross_encoder": {"activation": "sigmoid"}})
    assert ids(answer) == reordered(ids(first_stage(way, ONE)))
    window = answer["hits"]["hits"][:WINDOW]
    assert all(0 < hit["_score"] < 1 for hit in window)
    assert answer["rescore"]["scale"] == "sigmoid"


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_page_size_changes_no_order(way: Way, size: int) -> None:
    """M14: whatever the size, the same hits begin the list, because the window fixes what the engine is asked for."""
    assert ids(way.search(THREE, {"query": ASKED, "size": size})) == ids(rescored(way, THREE))[:size]


@pytest.mark.parametrize("body", [{"query": {"match": {"body": "zzzunheardof"}}}, {"query": {"match_none": {}}}])
def test_no_hit_is_the_engines_empty_answer(way: Way, body: Any) -> None:
    """M6: no call to the sidecar, and the outcome says that there was nothing."""
    body = {**body, "rescore": {"cross_encoder": {"query_text": "anything"}}}
    answer = way.search(ONE, body)
    plain = way.plain_search(ONE, {"query": body["query"]})
    assert answer["hits"] == plain["hits"]
    same_rest(answer, plain)
    assert outcome(answer) == ("skipped", "no_hits")
    assert way.scorer.requests == []


def test_without_query_text_nothing_is_guessed(way: Way) -> None:
    """M7, M27: match_all and two different texts are the first stage, with the reason, counted, and no call."""
    two = {"bool": {"must": [{"match": {"body": "protein"}}, {"match": {"title": "cells"}}]}}
    for query, reason in (({"match_all": {}}, "no_query_text"), (two, "ambiguous_query_text")):
        answer, plain = way.search(ONE, {"query": query}), way.plain_search(ONE, {"query": query})
        assert answer["hits"] == plain["hits"]
        assert outcome(answer) == ("skipped", reason)
        assert way.client.rescore_counts()[f"skipped:{reason}"] >= 1
    assert way.scorer.requests == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"size": 0}, "size_zero"),
        ({"from": 500}, "page_beyond_window"),
        ({"query": {"ids": {"values": ["d1"]}}, "from": 3, "rescore": QUESTION}, "page_beyond_results"),
        ({"sort": [{"place": "desc"}]}, "explicit_sort"),
        ({"sort": ["_score", {"place": "asc"}]}, "explicit_sort"),
        ({"sort": [{"place": "asc"}], "search_after": [10]}, "search_after"),
        ({"stored_fields": "_none_"}, "stored_fields_none"),
    ],
)
def test_what_rescoring_would_not_fit_is_left_alone(way: Way, body: Any, reason: str) -> None:
    """M23, M24: order, sort values and cursor as the engine's, no call to the sidecar, and the reason."""
    asked = {"query": ASKED, **body}
    plainly = {key: value for key, value in asked.items() if key != "rescore"}
    answer, plain = way.search(THREE, asked), way.plain_search(THREE, plainly)
    assert answer["hits"] == plain["hits"]
    same_rest(answer, plain)
    assert outcome(answer) == ("skipped", reason)
    assert way.scorer.requests == []


def test_a_scroll_passes_through_to_its_end(way: Way) -> None:
    """Each page is the engine's; the first says why it was left alone."""
    answer = way.search(ONE, {"query": ASKED, "size": 50}, scroll="1m")
    assert outcome(answer) == ("skipped", "scroll")
    walked = ids(answer)
    while True:
        answer = way.ask("scroll", body={"scroll_id": answer["_scroll_id"], "scroll": "1m"})
        if not ids(answer):
            break
        walked += ids(answer)
    way.ask("clear_scroll", body={"scroll_id": [answer["_scroll_id"]]})
    assert walked == ids(first_stage(way, ONE))


def test_both_totals_are_told(way: Way) -> None:
    """M13: the engine's count of matches, and how many hits the window held."""
    answer = rescored(way, ONE)
    assert answer["rescore"]["totals"] == {"first_stage": answer["hits"]["total"], "window": WINDOW}


def test_a_rescored_search_is_one_round_trip(way: Way) -> None:
    """Once the profile is known, the engine hears one request, and nothing of ours is in it."""
    way.search(ONE, {"query": ASKED})
    way.recording.sent.clear()
    entry = {"cross_encoder": {"query_text": "anything"}, "window_size": 9}
    way.search(ONE, {"query": ASKED, "rescore": entry})
    assert [sent.is_search for sent in way.recording.sent] == [True]
    assert "cross_encoder" not in str(way.recording.sent[0].body)


def test_an_index_that_allows_less_than_the_window_answers_all_the_same(way: Way) -> None:
    """index.max_result_window below window_size: the caller's own page, and a visible fallback."""
    answer, plain = way.search(corpus.SMALL, {"query": ASKED}), way.plain_search(corpus.SMALL, {"query": ASKED})
    assert answer["hits"] == plain["hits"]
    assert outcome(answer) == ("fallback", "window_too_large")


def test_the_engines_own_limit_is_the_engines_own_error(way: Way) -> None:
    """What the caller himself asks too much for fails as it does with the official client."""
    with pytest.raises(Exception, match="max_result_window") as ours:
        way.search(corpus.SMALL, {"query": ASKED, "size": 21})
    with pytest.raises(Exception, match="max_result_window") as theirs:
        way.plain_search(corpus.SMALL, {"query": ASKED, "size": 21})
    assert type(ours.value) is type(theirs.value)


def test_what_is_wrong_in_ours_is_refused_before_anything_is_sent(way: Way) -> None:
    """The JSON path, the value and the fix, from the client itself."""
    with pytest.raises(InvalidSetting, match=r"^rescore\.cross_encoder\.window_size: 0 must be a whole number"):
        way.search("contract-unheard-of", {"query": ASKED, "rescore": {"cross_encoder": {"window_size": 0}}})
    assert way.recording.sent == []


@pytest.mark.parametrize("body", [{"query": {"mtch": {}}}, {"query": ASKED, "unheard_of": 1}])
def test_what_is_not_ours_to_judge_fails_as_the_engine_says(way: Way, body: Any) -> None:
    """Same class, same status, same words."""
    with pytest.raises(Exception, match=r"parsing_exception|nknown|unexpected keyword") as ours:
        way.search(ONE, body)
    with pytest.raises(type(ours.value)) as theirs:
        way.plain_search(ONE, body)
    assert str(ours.value) == str(theirs.value)


def test_the_largest_window_is_one_request(way: Way) -> None:
    """window_size 10,000 is within both engines' bounds; every hit is scored."""
    answer = rescored(way, THREE, rescore={"cross_encoder": {"window_size": 10_000}})
    first = ids(first_stage(way, THREE))
    assert ids(answer) == reordered(first, 10_000)
    assert answer["rescore"]["scored"] == len(first)
