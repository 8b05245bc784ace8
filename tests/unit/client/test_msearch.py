"""``msearch``: each search on its own terms, one round trip to the engine and one to the sidecar."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import elasticsearch
import opensearchpy
import pytest

from rescorer.errors import InvalidSetting, Reason, ScorerError, ScorerRefused, ScorerUnavailable
from rescorer.testing import FakeScorer
from unit.client.fake_clients import official, plain, settled
from unit.client.fake_engine import PROFILE, SOURCELESS, TOO_LARGE, FakeEngine, Refusal, hit

ASKED = {"match": {"body": "cancel a flight"}}
REFUSED = Refusal(400, "illegal_argument_exception", "no such template")
Made = Callable[..., Any]


def _body(page: Any = None, **said: Any) -> dict[str, Any]:
    entry = {"document_fields": ["title"], "window_size": 5, **said}
    return {"query": ASKED, "rescore": {"cross_encoder": entry}, **(page or {})}


def _ids(answer: Any) -> list[str]:
    return [entry["_id"] for entry in answer["hits"]["hits"]]


def _names(*places: int) -> list[str]:
    return [f"d{place}" for place in places]


def _text(lines: list[Any]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


async def test_each_search_is_rescored_on_its_own_terms(made: Made, scorer: FakeScorer) -> None:
    """Ours beside the engine's own: pages, windows and texts of each, one msearch and one call to the sidecar."""
    engine = FakeEngine()
    lines = [
        {"index": "articles"},
        _body({"size": 3}),
        {"index": "articles"},
        {"query": {"match_all": {}}, "size": 2},
        {},
        _body({"from": 1, "size": 2, "_source": False}, window_size=3, query_text="other"),
    ]
    before = copy.deepcopy(lines)
    answer = await settled(made(engine).msearch(body=lines))
    first, second, third = answer["responses"]
    assert (_ids(first), _ids(second), _ids(third)) == (_names(4, 3, 2), _names(0, 1), _names(1, 0))
    assert [entry["status"] for entry in answer["responses"]] == [200, 200, 200]
    assert answer["took"] == 7
    assert "rescore" not in second
    assert third["hits"]["hits"][0].keys() == {"_index", "_id", "_score"}
    assert [request.query for request in scorer.requests] == ["cancel a flight", "other"]
    assert [len(request.candidates) for request in scorer.requests] == [5, 3]
    assert scorer.calls == 1
    assert engine.paths() == ["/articles/_mapping", "/_msearch"]
    assert lines == before


async def test_a_window_that_an_index_forbids_is_asked_again_without_it(made: Made) -> None:
    """The caller's own pages after all, in one more msearch, with the reason; one that he asks too much of fails."""
    engine = FakeEngine(most_hits=6)
    lines = [{"index": "articles"}, _body({"size": 3}, window_size=7), {}, _body({"size": 3}), {}, _body({"size": 9})]
    first, second, third = (await settled(made(engine).msearch(body=lines)))["responses"]
    assert (_ids(first), _ids(second)) == (_names(0, 1, 2), _names(4, 3, 2))
    assert (first["rescore"]["status"], first["rescore"]["reason"]) == ("fallback", "window_too_large")
    assert "max_result_window" in str(third["error"])
    assert first["rescore"]["detail"] == TOO_LARGE.format(6, 7)
    assert engine.paths() == ["/articles/_mapping", "/_msearch", "/_msearch"]
    assert [line.get("size") for line in engine.of_path("/_msearch")[1].lines[1::2]] == [3, 9]


async def test_a_source_that_an_index_does_not_keep_is_asked_again_without_ours(made: Made) -> None:
    """Only the searches that hide it, as they were written; an error that the caller meets with anyway is his."""
    engine = FakeEngine(keeps_source=False)
    hidden, his = _body({"size": 3, "_source": False}), _body({"size": 3, "fields": ["year"]})
    lines = [{"index": "articles"}, hidden, {}, _body({"size": 3}), {}, his]
    first, second, third = (await settled(made(engine).msearch(body=lines)))["responses"]
    assert (_ids(first), _ids(second)) == (_names(0, 1, 2), _names(4, 3, 2))
    assert (first["rescore"]["status"], first["rescore"]["reason"]) == ("fallback", "source_disabled")
    assert (third["status"], third["error"]["root_cause"][0]["reason"]) == (400, SOURCELESS)
    assert [len(sent.lines) for sent in engine.of_path("/_msearch")] == [6, 2]


@pytest.mark.parametrize("written", [str, bytes, "lines", "mixed", "tuple", "iterator"])
async def test_lines_are_read_in_every_form(made: Made, written: Any) -> None:
    """One text, bytes, texts and objects in a list, a tuple and an iterator mean the same."""
    whole: list[Any] = [{"index": "articles"}, _body({"size": 2}), {}, _body({"size": 1})]
    forms: dict[Any, Any] = {
        str: _text(whole),
        bytes: _text(whole).encode(),
        "lines": [json.dumps(line) for line in whole],
        "mixed": [json.dumps(whole[0]).encode(), whole[1], "{}", json.dumps(whole[3])],
        "tuple": tuple(whole),
        "iterator": iter(whole),
    }
    answer = await settled(made(FakeEngine()).msearch(body=forms[written]))
    assert [_ids(entry) for entry in answer["responses"]] == [_names(4, 3), _names(4)]


@pytest.mark.parametrize("written", [list, tuple, iter, _text, lambda lines: _text(lines).encode()])
async def test_what_asks_for_nothing_passes_through(made: Made, kind: str, written: Any) -> None:
    """Same bytes to the engine as with the official client, also where the lines come from an iterator."""
    lines = [{"index": "articles"}, {"query": ASKED}, {}, {"query": {"match_all": {}}, "size": 1}]
    ours, theirs = FakeEngine(), FakeEngine()
    expected = await settled(official(kind, theirs).msearch(body=written(lines), max_concurrent_searches=2))
    answer = await settled(made(ours).msearch(body=written(lines), max_concurrent_searches=2))
    assert (type(answer), plain(answer)) == (type(expected), plain(expected))
    assert (ours.sent[-1].raw, ours.sent[-1].params) == (theirs.sent[-1].raw, theirs.sent[-1].params)


@pytest.mark.parametrize("body", [[], [{}], [[], []], "no json", b"\xff\n\xff\n", [{"index": "a"}, "no json"], "{}"])
async def test_what_is_no_list_of_searches_is_the_engines_to_judge(made: Made, kind: str, body: Any) -> None:
    """Lines that can't be read are sent as they are, and the official client's own error comes back."""
    ours, theirs = FakeEngine(), FakeEngine()
    with pytest.raises(Exception) as expected:  # noqa: PT011 - compared below
        await settled(official(kind, theirs).msearch(body=copy.copy(body)))
    with pytest.raises(type(expected.value)) as caught:
        await settled(made(ours).msearch(body=copy.copy(body)))
    assert str(caught.value) == str(expected.value)
    assert [sent.raw for sent in ours.sent] == [sent.raw for sent in theirs.sent]


async def test_the_index_of_a_search_stands_in_its_line_or_in_the_call(made: Made) -> None:
    """A profile is that of the line's index, else of the call's; a list of names works in both."""
    engine = FakeEngine(hits=[hit(place, index="a") for place in range(8)], profile=PROFILE)
    lines = [{}, {"query": ASKED, "size": 1}, {"index": ["b", "c"]}, {"query": ASKED, "size": 1}]
    answer = await settled(made(engine).msearch(index="a", body=lines))
    assert engine.paths()[:2] == ["/a/_mapping", "/b,c/_mapping"]
    assert [_ids(entry) for entry in answer["responses"]] == [_names(4), _names(0)]
    assert answer["responses"][1]["rescore"]["reason"] == "profiles_differ"


async def test_a_search_that_the_engine_refuses_fails_alone(made: Made) -> None:
    """An error item stays the engine's, in its place, and the others are rescored."""
    engine = FakeEngine(missing=frozenset({"gone"}))
    lines = [{"index": "gone"}, _body(), {"index": "articles"}, _body({"size": 1})]
    answer = await settled(made(engine).msearch(body=lines))
    gone, found = answer["responses"]
    assert gone["error"]["type"] == "index_not_found_exception"
    assert (gone["status"], "rescore" in gone) == (404, False)
    assert _ids(found) == _names(4)


async def test_a_search_whose_scores_cannot_be_had_fails_alone(made: Made, scorer: FakeScorer) -> None:
    """P13: first stage and reason for one, an error item as the engines write it for one that asked for that."""
    scorer.failure = {"bad": ScorerRefused("unknown model")}
    lines = [
        {},
        _body({"size": 2}, query_text="bad"),
        {},
        _body({"size": 2}),
        {},
        _body({"size": 2}, query_text="bad", on_failure="error"),
    ]
    answer = await settled(made(FakeEngine()).msearch(index="articles", body=lines))
    first, second, third = answer["responses"]
    assert (_ids(first), first["rescore"]["reason"], first["rescore"]["detail"]) == (
        _names(0, 1),
        "scorer_refused",
        "unknown model",
    )
    assert (_ids(second), second["rescore"]["status"]) == (_names(4, 3), "reranked")
    assert third["status"] == 503
    assert third["error"]["root_cause"] == [{"type": "rescorer_exception", "reason": "scorer_refused: unknown model"}]


async def test_a_sidecar_that_is_gone_costs_no_search(made: Made, scorer: FakeScorer) -> None:
    """Each search falls back with the reason; without a sidecar at all, it says that none was named."""
    scorer.failure = ScorerUnavailable("gone")
    for client, reason in [(made(FakeEngine()), "scorer_unavailable"), (made(FakeEngine(), scorer=None), "no_scorer")]:
        answer = await settled(client.msearch(index="articles", body=[{}, _body(), {}, _body()]))
        assert [entry["rescore"]["reason"] for entry in answer["responses"]] == [reason] * 2
        assert [_ids(entry) for entry in answer["responses"]] == [_names(*range(10))] * 2


async def test_searches_of_one_budget_share_a_call(made: Made, scorer: FakeScorer) -> None:
    """P13: one call per ``budget_ms``, each with its own time; every score reaches its own search."""
    lines = [
        *({}, _body({"size": 1}, budget_ms=100)),
        *({}, _body({"size": 1}, budget_ms=9000, window_size=2)),
        *({}, _body({"size": 1}, budget_ms=100, window_size=3)),
    ]
    answer = await settled(made(FakeEngine()).msearch(index="articles", body=lines))
    assert scorer.calls == 2
    assert [_ids(entry) for entry in answer["responses"]] == [_names(4), _names(1), _names(2)]
    assert scorer.timeouts_s[0] <= 0.1 < scorer.timeouts_s[1] <= 9


class Miscounting(FakeScorer):
    """Answers fewer requests than it was asked."""

    def score_many(self, requests: Any, timeout_s: float) -> Any:
        """All but the last."""
        return super().score_many(requests, timeout_s)[:-1]


async def test_answers_that_do_not_fit_the_questions_reach_no_search(made: Made) -> None:
    """M1: a scorer that answers another number of requests scores none of them, visibly."""
    made_client = made(FakeEngine(), scorer=Miscounting())
    answer = await settled(made_client.msearch(index="articles", body=[{}, _body(), {}, _body()]))
    assert [entry["rescore"]["reason"] for entry in answer["responses"]] == ["bad_scores"] * 2


async def test_searches_that_are_left_alone_say_why(made: Made, scorer: FakeScorer) -> None:
    """M7, M23: sorted, empty, without text or switched off, each says so in its own place and is sent as it came."""
    engine = FakeEngine()
    bodies = [
        _body({"sort": "year"}),
        _body({"size": 0}),
        _body({"query": {"match_all": {}}}),
        {"query": ASKED, "rescore": {"cross_encoder": False}},
        _body({"from": 7}),
    ]
    lines = [line for body in bodies for line in ({}, body)]
    answer = await settled(made(engine).msearch(index="articles", body=lines))
    reasons = ["explicit_sort", "size_zero", "no_query_text", "disabled", "page_beyond_window"]
    assert [entry["rescore"]["reason"] for entry in answer["responses"]] == reasons
    sent = engine.of_path("_msearch")[0].lines[1::2]
    assert sent == [{key: value for key, value in body.items() if key != "rescore"} for body in bodies]
    assert scorer.calls == 0


async def test_an_unfused_hybrid_search_fails_alone(made: Made) -> None:
    """Raw halves become an error item that names the mend, and the other search is rescored."""
    halves = [{**hit(0), "_score": -9549511920.4881596}, hit(1), {**hit(2), "_score": -4422440593.9791198}]
    engine = FakeEngine(lists=lambda body: halves if "hybrid" in body["query"] else [hit(0), hit(1)])
    lines = [{}, _body({"query": {"hybrid": {"queries": [ASKED]}}}), {}, _body()]
    answer = await settled(made(engine).msearch(index="articles", body=lines))
    refused, found = answer["responses"]
    assert (refused["status"], "search_pipeline=" in refused["error"]["reason"]) == (400, True)
    assert _ids(found) == _names(1, 0)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (_body(window_size=0), "body[3].rescore.cross_encoder.window_size"),
        ({"rescore": [{"cross_encoder": {"modle": "m"}}]}, "body[3].rescore[0].cross_encoder.modle"),
        (
            {"retriever": {"text_similarity_reranker": {"inference_id": "rescorer"}}},
            "body[3].retriever.text_similarity_reranker",
        ),
        (
            {"rescore": {"cross_encoder": {"document_fields": ["a"]}}, "ext": {"rerank": {"query_context": {"x": 1}}}},
            "body[3].ext.rerank.query_context.x",
        ),
    ],
)
async def test_a_wrong_setting_names_its_line(made: Made, body: Any, path: str) -> None:
    """InvalidSetting before anything is sent, with the place of the line in its path."""
    engine = FakeEngine()
    with pytest.raises(InvalidSetting) as caught:
        await settled(made(engine).msearch(body=[{}, {"query": ASKED}, {}, body]))
    assert caught.value.path == path
    assert engine.sent == []


async def test_an_invalid_profile_harms_its_own_search_alone(made: Made) -> None:
    """The search of the broken index falls back and says where; the other is rescored."""
    engine = FakeEngine()
    engine.mappings = {"a": {"mappings": {"_meta": {"rescorer": {"window_size": "many"}}}}}
    answer = await settled(made(engine).msearch(body=[{"index": "a"}, {"query": ASKED}, {}, _body()]))
    first, second = answer["responses"]
    assert (first["rescore"]["status"], first["rescore"]["reason"]) == ("fallback", "invalid_profile")
    assert second["rescore"]["status"] == "reranked"


@pytest.mark.parametrize("shown", ["responses.hits.hits._id", ["responses.hits.hits._id"]])
async def test_filter_path_applies_to_the_final_answer(made: Made, shown: Any) -> None:
    """What the filter hides is fetched, used and hidden again; each search's outcome stays."""
    lines = [{}, _body({"size": 2}), {}, {"query": ASKED, "size": 1}]
    answer = await settled(made(FakeEngine()).msearch(index="articles", body=lines, filter_path=shown))
    first, second = answer["responses"]
    assert first.keys() == {"hits", "rescore"}
    assert first["hits"] == {"hits": [{"_id": "d4"}, {"_id": "d3"}]}
    assert second == {"hits": {"hits": [{"_id": "d0"}]}}
    assert answer.keys() == {"responses"}


def _errors() -> Iterator[Any]:
    for error in (ScorerError, ScorerUnavailable, ScorerRefused):
        yield pytest.param(error, error.reason, id=error.__name__)


@pytest.mark.parametrize(("error", "reason"), list(_errors()))
async def test_every_kind_of_failure_is_told(made: Made, scorer: FakeScorer, error: Any, reason: Reason) -> None:
    """F2: the reason of each error stands in the outcome and is counted."""
    scorer.failure = error("why")
    client = made(FakeEngine())
    answer = await settled(client.msearch(index="articles", body=[{}, _body()]))
    assert answer["responses"][0]["rescore"]["reason"] == reason
    assert client.rescore_counts() == {f"fallback:{reason}": 1}


@pytest.mark.parametrize(
    "odd", [{}, {"responses": 5}, {"responses": "ab"}, {"responses": []}, {"error": "no", "status": 503}]
)
async def test_what_is_no_answer_to_an_msearch_is_handed_on(made: Made, odd: Any) -> None:
    """A proxy's words come back as they are."""
    answer = await settled(made(FakeEngine(raw_many=odd)).msearch(index="articles", body=[{}, _body(), {}, _body()]))
    assert plain(answer) == odd


@pytest.mark.parametrize("odd", [5, None, "x", {}, {"hits": 5}, {"hits": {"hits": [5]}}, {"error": None}])
async def test_an_item_that_is_no_answer_is_handed_on_alone(made: Made, odd: Any) -> None:
    """The others are rescored beside it."""
    whole = plain(await settled(official("opensearch", FakeEngine()).search(body={"query": ASKED})))
    engine = FakeEngine(raw_many={"responses": [odd, whole]})
    answer = await settled(made(engine).msearch(index="articles", body=[{}, _body(), {}, _body({"size": 2})]))
    assert answer["responses"][0] == odd
    assert _ids(answer["responses"][1]) == _names(4, 3)


@pytest.mark.parametrize(
    "line",
    [{"size": 3}, {"params": {"size": 3}}, {"params": "x"}, {"filter_path": 5}, {"scroll": "1m"}, {"q": "other"}],
)
async def test_a_line_names_indices_and_nothing_else_that_we_read(made: Made, scorer: FakeScorer, line: Any) -> None:
    """What the engine does not know in a line it refuses itself; it is never taken for the search's own."""
    engine = FakeEngine()
    answer = await settled(made(engine).msearch(body=[{"index": "articles", **line}, _body({"size": 2})]))
    assert _ids(answer["responses"][0]) == _names(4, 3)
    assert engine.of_path("_msearch")[0].lines[0] == {"index": "articles", **line}
    assert scorer.requests[0].query == "cancel a flight"


TEMPLATE = '{"query": {"match": {"body": "{{text}}"}}, "size": 2}'
OURS = {"query": ASKED, "size": 1, "rescore": {"cross_encoder": {"document_fields": ["title"], "window_size": 3}}}


def _templates(kind: str, lines: list[Any]) -> dict[str, Any]:
    return {"search_templates" if kind.endswith("elasticsearch") else "body": lines}


async def test_templates_are_filled_in_and_searched_together(made: Made, kind: str, scorer: FakeScorer) -> None:
    """One request per template to fill it in, one msearch for all, one call to the sidecar."""
    engine = FakeEngine(profile=PROFILE, templates={"t": TEMPLATE})
    lines = [{}, {"id": "t", "params": {"text": "cancel"}}, {}, {"source": json.dumps(OURS)}, {}, {"source": OURS}]
    before = copy.deepcopy(lines)
    answer = await settled(made(engine).msearch_template(index="articles", **_templates(kind, lines)))
    assert [_ids(entry) for entry in answer["responses"]] == [_names(4, 3), _names(2), _names(2)]
    assert [request.query for request in scorer.requests] == ["cancel", "cancel a flight", "cancel a flight"]
    assert len([path for path in engine.paths() if path.startswith("/_render")]) == 3
    assert (len(engine.of_path("_msearch")), scorer.calls, lines) == (1, 1, before)


async def test_templates_that_ask_for_nothing_pass_through(made: Made, kind: str) -> None:
    """Same bytes to the engine, and the engine's own answer."""
    lines = [{"index": "articles"}, {"id": "t", "params": {"text": "x"}}, {}, {"source": TEMPLATE}]
    ours, theirs = FakeEngine(templates={"t": TEMPLATE}), FakeEngine(templates={"t": TEMPLATE})
    expected = await settled(official(kind, theirs).msearch_template(**_templates(kind, lines)))
    assert plain(await settled(made(ours).msearch_template(**_templates(kind, lines)))) == plain(expected)
    assert ours.sent[-1].raw == theirs.sent[-1].raw


@pytest.mark.parametrize("broken", [{"id": "gone"}, {"source": "{no json"}])
async def test_a_template_that_cannot_be_filled_in_is_the_engines_to_judge(made: Made, kind: str, broken: Any) -> None:
    """All of them are sent as they came, so that the engine says which one is wrong."""
    engine = FakeEngine(profile=PROFILE, templates={"t": TEMPLATE}, refusals={"_msearch/template": REFUSED})
    lines = [{}, {"id": "t", "params": {"text": "x"}}, {}, broken]
    with pytest.raises((opensearchpy.TransportError, elasticsearch.ApiError), match="no such template"):
        await settled(made(engine).msearch_template(index="articles", **_templates(kind, lines)))
    assert engine.sent[-1].lines == lines


@pytest.mark.parametrize("said", [None, 5, [], {}, {"template_output": 5}, {"error": "gone", "status": 404}])
async def test_a_template_without_output_runs_as_it_is(made: Made, kind: str, said: Any) -> None:
    """``ignore=404``, a proxy: what can't be read as a filled-in template is no search of ours."""
    engine = FakeEngine(profile=PROFILE, templates={"t": TEMPLATE}, raw_rendered=said)
    template = {"id": "t", "params": {"text": "x"}}
    one = template if kind.endswith("elasticsearch") else {"body": template}
    found = await settled(made(engine).search_template(index="articles", **one))
    assert (found["rescore"]["status"], found["rescore"]["reason"]) == ("fallback", "template_unreadable")
    many = await settled(made(engine).msearch_template(index="articles", **_templates(kind, [{}, template])))
    assert (_ids(many["responses"][0]), engine.paths()[-1]) == (_names(0, 1), "/articles/_msearch/template")
