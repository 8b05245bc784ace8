"""All four clients, end to end over an engine in memory: what is sent, and what the application gets."""

from __future__ import annotations

import copy
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import elasticsearch
import opensearchpy
import pytest

from rescorer.errors import (
    BadScores,
    HybridWithoutPipeline,
    InvalidProfile,
    InvalidSetting,
    ScorerError,
    ScorerRefused,
    ScorerTimeout,
    ScorerUnavailable,
)
from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, OFFICIAL, OURS, official, plain, settled
from unit.client.fake_engine import FORBIDDEN, NOT_FOUND, PROFILE, UNREACHABLE, FakeEngine, Refusal, hit, reversing

pytestmark = [  # elasticsearch-py's own words about keywords that it wants to be rid of
    pytest.mark.filterwarnings("ignore:Passing transport options:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'params' parameter is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Received .* via a specific parameter:DeprecationWarning"),
]
ASKED = {"match": {"body": "cancel a flight"}}
OUTCOME_KEYS = {"status", "reason", "detail", "model", "model_digest", "window", "scored", "cached", "truncated"} | {
    *("chunks", "took", "timings", "scale", "totals", "hits", "stages", "choice", "selected")
}
Made = Callable[..., Any]


@pytest.fixture
def scorer() -> FakeScorer:
    """Turns the first stage round."""
    return FakeScorer(reversing)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each class of ours in turn."""
    return str(request.param)


@pytest.fixture
def made(kind: str, scorer: FakeScorer) -> Made:
    """Makes a client of a kind, with a fake engine and a fake scorer."""

    def make(engine: FakeEngine, **kwargs: Any) -> Any:
        return fake_clients.made(kind, engine, **{"scorer": scorer, **kwargs})

    return make


def _ids(answer: Any) -> list[str]:
    return [entry["_id"] for entry in answer["hits"]["hits"]]


def _body(page: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    entry = {"document_fields": ["title", "body"], "window_size": 5, **said}
    return {"query": ASKED, "rescore": {"cross_encoder": entry}, **(page or {})}


def _names(*places: int) -> list[str]:
    return [f"d{place}" for place in places]


async def test_the_classes_are_the_official_ones(made: Made, kind: str) -> None:
    """``isinstance`` holds, and every other method still reaches the engine."""
    engine = FakeEngine()
    made_client = made(engine)
    assert isinstance(made_client, OFFICIAL[kind])
    await settled(made_client.indices.get_mapping(index="articles"))
    assert engine.paths() == ["/articles/_mapping"]
    await settled(made_client.close())


@pytest.mark.parametrize("body", [{"query": ASKED}, None, '{"query": {"match_all": {}}}'])
async def test_a_search_that_asks_for_nothing_passes_through(made: Made, kind: str, body: Any) -> None:
    """Same bytes to the engine and same answer back as with the official client, once the profile is known."""
    ours, theirs = FakeEngine(), FakeEngine()
    asked = {"body": body, "index": "articles", "routing": "r", "preference": "_local"}
    expected = await settled(official(kind, theirs).search(**asked))
    made_client = made(ours)
    for _ in range(2):
        answer = await settled(made_client.search(**asked))
        assert (type(answer), plain(answer)) == (type(expected), plain(expected))
        last, first = ours.sent[-1], theirs.sent[-1]
        assert (last.path, last.params, last.raw, last.headers) == (first.path, first.params, first.raw, first.headers)
    assert ours.paths() == ["/articles/_mapping", "/articles/_search", "/articles/_search"]


async def test_a_client_without_sidecar_reads_no_profile(made: Made, scorer: FakeScorer) -> None:
    """``rescorer=None`` never rescores on its own account."""
    engine = FakeEngine(profile=PROFILE)
    answer = await settled(made(engine, scorer=None).search(index="articles", body={"query": ASKED}))
    assert engine.paths() == ["/articles/_search"]
    assert "rescore" not in answer


async def test_a_client_without_sidecar_that_is_asked_says_so(made: Made) -> None:
    """Asked for rescoring without a sidecar: first-stage order and the reason, or an error that names the mend."""
    made_client = made(FakeEngine(), scorer=None)
    answer = await settled(made_client.search(index="articles", body=_body()))
    assert _ids(answer) == _names(*range(10))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "no_scorer")
    with pytest.raises(ScorerUnavailable, match="rescorer='localhost:50051'"):
        await settled(made_client.search(index="articles", body=_body(on_failure="error")))


async def test_the_window_is_reordered_and_the_tail_follows(made: Made, scorer: FakeScorer) -> None:
    """M19: five are scored, ten returned; window first by score, then the tail as it was, no score rising."""
    engine = FakeEngine()
    answer = await settled(made(engine).search(index="articles", body=_body()))
    assert _ids(answer) == _names(4, 3, 2, 1, 0, 5, 6, 7, 8, 9)
    scores = [entry["_score"] for entry in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["hits"]["max_score"] == scores[0] == -996.0
    assert [len(request.candidates) for request in scorer.requests] == [5]
    assert scorer.requests[0].candidates[0].fields == (("", "title 0"), ("", "body 0"))
    assert scorer.requests[0].query == "cancel a flight"
    assert engine.searches()[0].body == {"query": ASKED, "from": 0, "size": 10}


async def test_every_other_part_of_the_answer_is_the_engines(made: Made) -> None:
    """M8, M11, M15: hits equal the engine's save for the score, and totals, aggregations and took are untouched."""
    engine = FakeEngine(extra={"aggregations": {"years": {"value": 12}}, "suggest": {"s": []}, "profile": {"x": 1}})
    for entry in engine.hits:
        entry |= {"highlight": {"body": [f"<em>{entry['_id']}</em>"]}, "sort": [entry["_score"]], "fields": {"f": [1]}}
        entry |= {"matched_queries": ["q"], "inner_hits": {"c": {"hits": {"hits": []}}}, "_rescore": "a field"}
    answer = await settled(made(engine).search(index="articles", body=_body()))
    first = {entry["_id"]: entry for entry in engine.hits}
    for entry in answer["hits"]["hits"]:
        assert {**entry, "_score": 0} == {**first[entry["_id"]], "_score": 0}
    assert answer["hits"]["total"] == {"value": 12, "relation": "eq"}
    rest = {key: value for key, value in answer.items() if key not in ("hits", "rescore")}
    assert rest == {"took": 3, "timed_out": False, "_shards": {"total": 1}, **engine.extra}


async def test_the_outcome_says_everything_that_happened(made: Made) -> None:
    """M13, F2: status, model, window, both totals, scale, timings and each hit's way are in the answer."""
    answer = await settled(made(FakeEngine()).search(index="articles", body=_body({"size": 6})))
    outcome = answer["rescore"]
    assert outcome.keys() == OUTCOME_KEYS
    assert outcome["status"] == "reranked"
    assert (outcome["reason"], outcome["model"], outcome["scale"]) == (None, "fake", "logit")
    assert (outcome["window"], outcome["scored"], outcome["cached"], outcome["truncated"]) == (5, 5, 0, 0)
    assert outcome["totals"] == {"first_stage": {"value": 12, "relation": "eq"}, "window": 5}
    assert {"first_stage_ms", "scoring_ms", "total_ms"} <= outcome["timings"].keys()
    assert outcome["hits"][0] == {
        "_index": "articles",
        "_id": "d4",
        "first_stage_score": 28.0,
        "first_stage_rank": 5,
        "cross_encoder_score": -996.0,
    }
    assert outcome["hits"][5]["cross_encoder_score"] is None
    json.dumps(plain(answer))


async def test_nothing_of_the_callers_is_changed(made: Made) -> None:
    """Body, params and headers are the same objects with the same content afterwards."""
    body, params, headers = _body({"_source": False}), {"size": 3}, {"X-One": "1"}
    before = copy.deepcopy((body, params, headers))
    await settled(made(FakeEngine()).search(index="articles", body=body, params=params, headers=headers))
    assert (body, params, headers) == before


async def test_the_index_says_so(made: Made, scorer: FakeScorer) -> None:
    """With a profile the application changes nothing: the text comes from the query, the settings from the index."""
    engine = FakeEngine(profile=PROFILE)
    made_client = made(engine)
    for _ in range(2):
        answer = await settled(made_client.search(index="articles", body={"query": ASKED, "size": 3}))
        assert _ids(answer) == _names(4, 3, 2)
    assert engine.paths() == ["/articles/_mapping", "/articles/_search", "/articles/_search"]
    assert scorer.requests[0].query == "cancel a flight"


async def test_the_stronger_layer_wins_key_by_key(made: Made, scorer: FakeScorer) -> None:
    """Request over profile over defaults, each key for itself."""
    engine = FakeEngine(profile={**PROFILE, "model": "of-profile", "max_tokens": 64})
    body = {"query": ASKED, "rescore": {"cross_encoder": {"model": "of-request", "query_text": "mine"}}}
    await settled(made(engine).search(index="articles", body=body))
    (sent,) = scorer.requests
    assert (sent.model, sent.max_tokens, sent.query, len(sent.candidates)) == ("of-request", 64, "mine", 5)


async def test_a_request_can_switch_the_profile_off(made: Made, scorer: FakeScorer) -> None:
    """``"cross_encoder": false`` is stripped, nothing is scored, and the outcome says that it was asked for."""
    engine = FakeEngine(profile=PROFILE)
    body = {"query": ASKED, "rescore": {"cross_encoder": False}}
    answer = await settled(made(engine).search(index="articles", body=body))
    assert _ids(answer) == _names(*range(10))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("skipped", "disabled")
    assert engine.paths() == ["/articles/_search"]
    assert scorer.requests == []


@pytest.mark.parametrize("error", [NOT_FOUND, FORBIDDEN, UNREACHABLE])
async def test_a_profile_that_cannot_be_read_breaks_no_search(made: Made, error: Refusal) -> None:
    """A user who may search and may not read mappings searches as before."""
    engine = FakeEngine(refusals={"_mapping": error})
    answer = await settled(made(engine).search(index="articles", body={"query": ASKED}))
    assert "rescore" not in answer
    assert _ids(answer) == _names(*range(10))


async def test_the_profile_is_read_with_the_searchs_own_credentials(made: Made) -> None:
    """Per-call credentials, timeout and index options go along to the mapping request."""
    engine = FakeEngine()
    options = {"headers": {"authorization": "Bearer x"}, "ignore_unavailable": True, "request_timeout": 3}
    await settled(made(engine).search(index=["a", "b"], body={"query": ASKED}, **options))
    read = engine.sent[0]
    assert read.path == "/a,b/_mapping"
    assert read.headers["authorization"] == "Bearer x"
    assert read.params["filter_path"] == "*.mappings._meta.rescorer"
    assert "ignore_unavailable" in read.params


@pytest.mark.parametrize("index", [None, "", "_all", "*"])
async def test_a_search_over_the_whole_cluster_has_no_profile(made: Made, index: Any) -> None:
    """Nobody's mapping is read for it, and it passes through."""
    engine = FakeEngine(profile=PROFILE)
    answer = await settled(made(engine).search(index=index, body={"query": ASKED}))
    assert len(engine.sent) == 1
    assert "rescore" not in answer


async def test_an_invalid_profile_is_a_visible_fallback(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    """A broken template breaks no search: first-stage order, the reason in the answer, the path in the log."""
    engine = FakeEngine(profile={"window_size": 0})
    answer = await settled(made(engine).search(index="articles", body={"query": ASKED}))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "invalid_profile")
    assert answer["rescore"]["detail"].startswith("mappings._meta.rescorer.window_size: 0 ")
    assert "mappings._meta.rescorer.window_size" in caplog.text
    with pytest.raises(InvalidProfile, match=r"^mappings\._meta\.rescorer\.window_size: 0 "):
        await settled(made(engine).search(index="articles", body=_body(on_failure="error")))


async def test_indices_with_different_profiles_have_none_in_common(made: Made, scorer: FakeScorer) -> None:
    """Several profiles under one expression: not guessed between, unless the request brings its own fields."""
    engine = FakeEngine()
    engine.mappings = {
        "a": {"mappings": {"_meta": {"rescorer": PROFILE}}},
        "b": {"mappings": {"_meta": {"rescorer": {**PROFILE, "window_size": 7}}}},
    }
    answer = await settled(made(engine).search(index="a,b", body={"query": ASKED}))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("skipped", "profiles_differ")
    answer = await settled(made(engine).search(index="a,b", body=_body()))
    assert answer["rescore"]["status"] == "reranked"


async def test_hits_of_an_index_without_profile_are_not_rescored(made: Made, scorer: FakeScorer) -> None:
    """One profiled index among others says nothing about the others' documents."""
    hits = [hit(place, index="other" if place == 3 else "articles") for place in range(12)]
    engine = FakeEngine(hits=hits, mappings={"articles": {"mappings": {"_meta": {"rescorer": PROFILE}}}})
    answer = await settled(made(engine).search(index="articles,other", body={"query": ASKED}))
    assert (answer["rescore"]["reason"], scorer.requests) == ("profiles_differ", [])
    assert _ids(answer) == _names(*range(10))


@pytest.mark.parametrize("shown", [False, ["year"], "year", {"includes": ["year"]}, {"excludes": ["*"]}, []])
async def test_the_callers_view_of_the_document_is_restored(
    made: Made, kind: str, scorer: FakeScorer, shown: Any
) -> None:
    """Texts are read although the caller hides them, and every hit looks as it would have without us."""
    engine = FakeEngine()
    asked = {"query": ASKED, "_source": shown, "size": 12}
    expected = await settled(official(kind, FakeEngine()).search(index="a", body=asked))
    answer = await settled(made(engine).search(index="articles", body=_body({"_source": shown, "size": 12})))
    assert scorer.requests[0].candidates[2].fields == (("", "title 2"), ("", "body 2"))
    first = {entry["_id"]: entry for entry in expected["hits"]["hits"]}
    for entry in answer["hits"]["hits"]:
        assert {**entry, "_score": 0} == {**first[entry["_id"]], "_score": 0}


async def test_fields_that_the_caller_asked_for_stay(made: Made) -> None:
    """Only what was added for the model is taken out of ``fields``."""
    body = _body({"_source": False, "fields": ["ti*", "year"], "size": 1})
    answer = await settled(made(FakeEngine()).search(index="articles", body=body))
    assert answer["hits"]["hits"][0]["fields"] == {"title": ["title 4"], "year": [2004]}


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        ({"sort": "year"}, {}, "explicit_sort"),
        ({"size": 0}, {}, "size_zero"),
        ({"search_after": [3]}, {}, "search_after"),
        ({}, {"scroll": "1m"}, "scroll"),
        ({"from": 5}, {}, "page_beyond_window"),
        ({"query": {"match_all": {}}}, {}, "no_query_text"),
    ],
)
async def test_what_is_left_alone_arrives_as_it_was_written(
    made: Made, scorer: FakeScorer, body: Any, options: Any, reason: str
) -> None:
    """M23, M24: a search that rescoring would harm reaches the engine unchanged and says why it was skipped."""
    engine = FakeEngine(profile=PROFILE)
    whole = {"query": ASKED, **body}
    answer = await settled(made(engine).search(index="articles", body=whole, **options))
    assert engine.searches()[0].body == whole
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("skipped", reason)
    assert scorer.requests == []


async def test_no_hits_is_an_answer(made: Made, scorer: FakeScorer) -> None:
    """M6: nothing found gives the engine's empty answer, and the sidecar is not asked."""
    answer = await settled(made(FakeEngine(hits=[])).search(index="articles", body=_body()))
    assert answer["hits"]["hits"] == []
    assert answer["hits"]["max_score"] is None
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("skipped", "no_hits")
    assert scorer.requests == []


async def test_a_page_past_the_last_hit_is_an_answer(made: Made, scorer: FakeScorer) -> None:
    """M24: an empty page inside a window that is not full makes no call to the sidecar."""
    engine = FakeEngine(hits=[hit(place) for place in range(3)])
    answer = await settled(made(engine).search(index="articles", body=_body({"from": 4})))
    assert answer["hits"]["hits"] == []
    assert answer["rescore"]["reason"] == "page_beyond_results"
    assert scorer.requests == []


async def test_one_hit_and_hits_without_text_are_scored(made: Made, scorer: FakeScorer) -> None:
    """A single hit, a missing field and an empty text are defined."""
    engine = FakeEngine(hits=[hit(0)])
    assert _ids(await settled(made(engine).search(index="articles", body=_body()))) == ["d0"]
    engine = FakeEngine(hits=[{**hit(0), "_source": {}}, hit(1), {**hit(2), "_source": {"title": "", "body": None}}])
    answer = await settled(made(engine).search(index="articles", body=_body()))
    assert _ids(answer) == _names(1, 0, 2)
    assert answer["rescore"]["scored"] == 3


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 7])
async def test_pages_laid_end_to_end_are_the_first_stage_set(made: Made, page_size: int) -> None:
    """M9, M10, M20: walking pages across the seam gives each hit once, in the order of the long list."""
    made_client = made(FakeEngine())
    whole = await settled(made_client.search(index="articles", body=_body({"size": 12})))
    walked = []
    for begin in range(0, 12, page_size):
        answer = await settled(made_client.search(index="articles", body=_body({"from": begin, "size": page_size})))
        walked += _ids(answer)
        assert answer["rescore"]["window"] == 5
    assert walked == _ids(whole)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ScorerUnavailable("gone"), "scorer_unavailable"),
        (ScorerTimeout("slow"), "deadline_exceeded"),
        (ScorerRefused("unknown model"), "scorer_refused"),
        (BadScores("nonsense"), "bad_scores"),
        (ScorerError("broken"), "scorer_failed"),
    ],
)
async def test_a_failing_scorer_never_fails_the_search(
    made: Made, scorer: FakeScorer, failure: ScorerError, reason: str
) -> None:
    """F1, F2, F10: first-stage order, scores and page as the engine gave them, and the reason; or the typed error."""
    scorer.failure = failure
    made_client = made(FakeEngine())
    answer = await settled(made_client.search(index="articles", body=_body({"from": 2, "size": 4, "_source": False})))
    assert _ids(answer) == _names(2, 3, 4, 5)
    assert [entry["_score"] for entry in answer["hits"]["hits"]] == [29.0, 28.5, 28.0, 27.5]
    assert all("fields" not in entry for entry in answer["hits"]["hits"])
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", reason)
    assert answer["rescore"]["detail"] == str(failure)
    assert answer["rescore"].keys() == OUTCOME_KEYS
    with pytest.raises(type(failure)) as caught:
        await settled(made_client.search(index="articles", body=_body(on_failure="error")))
    assert caught.value is failure
    assert made_client.rescore_counts() == {f"fallback:{reason}": 1}
    scorer.failure = None
    assert (await settled(made_client.search(index="articles", body=_body())))["rescore"]["status"] == "reranked"


async def test_nonsense_from_the_scorer_is_a_visible_fallback(made: Made, scorer: FakeScorer) -> None:
    """M1: scores that are not numbers reach no hit."""
    scorer.logit = lambda query, text: float("nan")
    answer = await settled(made(FakeEngine()).search(index="articles", body=_body()))
    assert _ids(answer) == _names(*range(10))
    assert answer["rescore"]["reason"] == "bad_scores"


async def test_a_fallback_is_logged_without_any_text(
    made: Made, scorer: FakeScorer, caplog: pytest.LogCaptureFixture
) -> None:
    """The first fallback of a reason warns, repetitions do not, after a success it is news again; no text is logged."""
    scorer.failure = ScorerUnavailable("gone")
    made_client = made(FakeEngine())
    with caplog.at_level(logging.INFO, "rescorer"):
        for failure in (scorer.failure, scorer.failure, None, scorer.failure):
            scorer.failure = failure
            await settled(made_client.search(index="articles", body=_body()))
    levels = [record.levelno for record in caplog.records if record.name.startswith("rescorer")]
    assert levels == [logging.WARNING, logging.INFO, logging.WARNING]
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("rescorer"))
    assert "cancel" not in ours
    assert "body" not in ours


@pytest.mark.parametrize("marks", [(-9549511920.4881596, -4422440593.9791198), (-9549512000.0, -4422440400.0)])
async def test_an_unfused_hybrid_answer_is_refused(made: Made, marks: tuple[float, float]) -> None:
    """Raw halves of a hybrid query are not rescored: the error names the search pipeline that is missing."""
    engine = FakeEngine(hits=[{**hit(0), "_score": marks[0]}, hit(1), {**hit(2), "_score": marks[1]}])
    with pytest.raises(HybridWithoutPipeline, match="search_pipeline="):
        await settled(made(engine).search(index="articles", body=_body()))


async def test_explain_shows_where_each_score_comes_from(made: Made) -> None:
    """M3: under ``explain`` each hit, of window and tail, holds both scores and a cross_encoder node."""
    engine = FakeEngine()
    for entry in engine.hits:
        entry["_explanation"] = {"value": entry["_score"], "description": "weight(body:flight)", "details": []}
    body = _body({"explain": True, "size": 6}, score_mode="total", query_weight=2.0)
    answer = await settled(made(engine).search(index="articles", body=body))
    by_id = {entry["_id"]: entry for entry in answer["hits"]["hits"]}
    assert by_id["d4"]["_rescore"] == {
        "first_stage_score": 28.0,
        "first_stage_rank": 5,
        "cross_encoder_score": -996.0,
        "model": "fake",
    }
    assert by_id["d5"]["_rescore"]["cross_encoder_score"] is None
    for entry in answer["hits"]["hits"]:
        assert entry["_explanation"]["value"] == entry["_score"]
        assert entry["_explanation"]["description"].startswith("cross_encoder")
        assert "weight(body:flight)" in json.dumps(entry["_explanation"])
    assert "fake" in json.dumps(by_id["d4"]["_explanation"])


async def test_without_explain_hits_gain_nothing(made: Made) -> None:
    """M18: a hit holds the engine's keys and no others."""
    answer = await settled(made(FakeEngine()).search(index="articles", body=_body()))
    assert all(entry.keys() == {"_index", "_id", "_score", "_source"} for entry in answer["hits"]["hits"])


async def test_a_wrong_request_is_refused_before_anything_is_sent(made: Made) -> None:
    """InvalidSetting comes from the client itself, whatever the engine would say."""
    engine = FakeEngine()
    with pytest.raises(InvalidSetting, match=r"^rescore\.cross_encoder\.window_size: 0 "):
        await settled(made(engine).search(index="articles", body=_body(window_size=0)))
    with pytest.raises(InvalidSetting, match=r"^body\[1\]\.rescore\.cross_encoder\.window_size: 0 "):
        await settled(made(engine).msearch(body=[{"index": "articles"}, _body(window_size=0)]))
    assert engine.sent == []


async def test_msearch_without_our_key_passes_through(made: Made) -> None:
    """An ordinary msearch reaches the engine."""
    engine = FakeEngine()
    await settled(made(engine).msearch(body=[{"index": "articles"}, {"query": ASKED}]))
    assert engine.paths() == ["/articles/_mapping", "/_msearch"]


async def test_the_engines_own_error_passes_through(made: Made, kind: str) -> None:
    """What the engine refuses, it refuses in its own words and type."""
    engine = FakeEngine(refusals={"_search": NOT_FOUND})
    with pytest.raises((opensearchpy.NotFoundError, elasticsearch.NotFoundError)) as ours:
        await settled(made(engine).search(index="articles", body=_body()))
    with pytest.raises(type(ours.value)) as theirs:
        await settled(official(kind, engine).search(index="articles", body={"query": ASKED}))
    assert str(ours.value) == str(theirs.value)


async def test_embed_gives_one_vector_per_text(made: Made, scorer: FakeScorer) -> None:
    """Texts go to the sidecar with their kind, and come back as vectors."""
    made_client = made(FakeEngine())
    vectors = await settled(made_client.embed(["one", "two"]))
    assert len(vectors) == 2
    assert (scorer.embed_requests[0].kind, tuple(scorer.embed_requests[0].texts)) == ("document", ("one", "two"))
    with pytest.raises(InvalidSetting, match="list of strings"):
        await settled(made_client.embed("one"))
    with pytest.raises(ScorerUnavailable):
        await settled(made(FakeEngine(), scorer=None).embed(["one"]))


async def test_a_scorer_that_was_handed_in_stays_open(made: Made, scorer: FakeScorer) -> None:
    """The client closes what it made itself, and nothing else."""
    await settled(made(FakeEngine()).close())
    assert scorer.is_closed is False


WRONG = ["localhost", "http://localhost:50051", "localhost:0", "localhost:x", ":50051", b"localhost:50051", 50051, {}]


@pytest.mark.parametrize("address", WRONG, ids=repr)
async def test_what_is_neither_address_nor_scorer_is_refused_at_once(kind: str, address: object) -> None:
    """A wrong ``rescorer=`` is found when the client is made, with an example of a right one."""
    with pytest.raises(InvalidSetting, match="host:port"):
        OURS[kind]("http://fake:9200", rescorer=address)


@pytest.mark.parametrize(("module", "extra"), [("opensearchpy", "opensearch"), ("elasticsearch", "elasticsearch")])
def test_a_missing_engine_client_names_the_extra(module: str, extra: str) -> None:
    """Without the official client the import says what to install, in one line."""
    code = f"import sys; sys.modules[{module!r}] = None; import rescorer.{extra}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"pip install 'rescorer[{extra}]'" in done.stderr.splitlines()[-1]
