"""Searches that come together, out of templates, or with failures, four ways."""

from __future__ import annotations

from typing import Any

import pytest

from end_to_end.hits_contract.checks import first_stage, ids, outcome, reordered, same_hits, same_rest
from end_to_end.hits_contract.corpus import ASKED, BARE, ONE, SMALL, THREE
from end_to_end.hits_contract.four_ways import Way
from rescorer.domain import ScoreRequest, Scores
from rescorer.errors import InvalidSetting, Reason, ScorerUnavailable

SOURCE = '{"query": {"match": {"body": "{{q}}"}}, "size": 60}'
PARAMS = {"q": ASKED["match"]["body"]}


def _lines() -> list[Any]:
    return [
        {"index": ONE},
        {"query": ASKED, "size": 60},
        {"index": THREE},
        {"query": ASKED, "size": 5, "rescore": {"cross_encoder": {"query_text": "mine", "window_size": 7}}},
        {"index": BARE},
        {"query": ASKED, "size": 3},
        {"index": ONE},
        {"query": {"match_all": {}}, "size": 3},
        {"index": "contract-unheard-of"},
        {"query": ASKED},
    ]


def _plainly() -> list[Any]:
    return [{key: value for key, value in line.items() if key != "rescore"} for line in _lines()]


def test_each_search_of_many_is_rescored_on_its_own_terms(way: Way) -> None:
    """One round trip to the engine and one call to the scorer; what is not rescored, or fails, is the engine's."""
    answer, plain = way.ask("msearch", body=_lines()), way.plain("msearch", body=_plainly())
    assert len([sent for sent in way.searches_sent() if "_msearch" in sent.path]) == 1
    assert way.scorer.calls == 1
    first, second, third, fourth, fifth = answer["responses"]
    of_first, _, of_third, of_fourth, of_fifth = plain["responses"]
    assert ids(first) == reordered(ids(of_first))
    same_hits(first, of_first)
    assert ids(second) == reordered(ids(first_stage(way, THREE)), 7)[:5]
    assert [outcome(each) for each in (first, second)] == [("reranked", None)] * 2
    assert (third["hits"], "rescore" in third) == (of_third["hits"], False)
    assert (fourth["hits"], outcome(fourth)) == (of_fourth["hits"], ("skipped", "no_query_text"))
    assert (fifth["status"], fifth["error"]["type"]) == (404, of_fifth["error"]["type"])
    same_rest(first, of_first)


@pytest.mark.parametrize("options", [{}, {"rest_total_hits_as_int": True, "typed_keys": True}], ids=str)
def test_what_one_of_many_is_left_alone_for_is_told(way: Way, options: dict[str, Any]) -> None:
    """A window that the index forbids, a sort, no page and a query that the engine refuses: each answered plainly."""
    left = [
        {"query": ASKED, "sort": ["place"]},
        {"query": ASKED, "size": 0, "aggs": {"t": {"terms": {"field": "tag"}}}},
    ]
    lines: list[Any] = [{"index": SMALL}, {"query": ASKED}, {"index": ONE}, left[0], {"index": THREE}, left[1]]
    lines += [{"index": ONE}, {"query": {"range": {"day": {"gte": "no date"}}}}]
    answer, plain = way.ask("msearch", body=lines, **options), way.plain("msearch", body=lines, **options)
    *told, refused = answer["responses"]
    *as_engine, its_error = plain["responses"]
    assert [each["hits"] for each in told] == [each["hits"] for each in as_engine]
    for ours, theirs in zip(told, as_engine, strict=True):
        same_rest(ours, theirs)
    reasons = [("fallback", "window_too_large"), ("skipped", "explicit_sort"), ("skipped", "size_zero")]
    assert [outcome(each) for each in told] == reasons
    assert refused == its_error


@pytest.mark.parametrize(
    "lines", [[{}, {"query": {"mtch": {}}}], [{}], [{"index": ONE}, {"query": ASKED}, {"x": 1}, {}]]
)
def test_many_searches_that_the_engine_cannot_read_are_its_own_error(way: Way, lines: list[Any]) -> None:
    """An unknown query, a line too few, a line that is none: same class, same words."""
    with pytest.raises(Exception, match=r"rror|xception") as ours:
        way.ask("msearch", body=lines)
    with pytest.raises(type(ours.value)) as theirs:
        way.plain("msearch", body=lines)
    assert str(ours.value) == str(theirs.value)


def test_a_search_of_many_that_says_nonsense_is_named_by_its_line(way: Way) -> None:
    """Before anything is sent."""
    lines = [*_lines()[:2], {"index": ONE}, {"query": ASKED, "rescore": {"cross_encoder": {"window_size": "many"}}}]
    with pytest.raises(InvalidSetting, match=r"^body\[3\]\.rescore\.cross_encoder\.window_size: 'many' "):
        way.ask("msearch", body=lines)
    assert [sent for sent in way.recording.sent if sent.is_search] == []


def test_scores_that_cannot_be_had_cost_no_search_of_many(way: Way) -> None:
    """F1: first-stage order and the reason for each; an error item where that was wished."""
    way.scorer.failure = ScorerUnavailable("gone")
    lines = _lines()[:4]
    lines[3]["rescore"]["cross_encoder"]["on_failure"] = "error"
    first, second = way.ask("msearch", body=lines)["responses"]
    assert ids(first) == ids(first_stage(way, ONE))[:60]
    assert outcome(first) == ("fallback", "scorer_unavailable")
    assert (second["status"], second["error"]["type"]) == (503, "rescorer_exception")


def test_a_search_template_is_rescored(opensearch: Way) -> None:
    """Filled in by the engine, then searched; stored or inline, alone or among others."""
    opensearch.ask("put_script", id="contract-template", body={"script": {"lang": "mustache", "source": SOURCE}})
    expected = reordered(ids(first_stage(opensearch, ONE)))[:60]
    for template in ({"source": SOURCE, "params": PARAMS}, {"id": "contract-template", "params": PARAMS}):
        assert ids(opensearch.ask("search_template", index=ONE, body=template)) == expected
        lines = [{"index": ONE}, template, {"index": BARE}, template]
        first, second = opensearch.ask("msearch_template", body=lines)["responses"]
        assert (ids(first), "rescore" in second) == (expected, False)
    plain = opensearch.plain("search_template", index=BARE, body={"source": SOURCE, "params": PARAMS})
    ours = opensearch.ask("search_template", index=BARE, body={"source": SOURCE, "params": PARAMS})
    assert ours["hits"] == plain["hits"]


def test_a_template_that_the_engine_cannot_read_is_its_own_error(way: Way) -> None:
    """Same class and words as with the official client; on a node without mustache for every template."""
    template = {"source": '{"query": {{broken', "params": PARAMS}
    with pytest.raises(Exception, match=r"rror|xception") as ours:
        way.ask("search_template", index=ONE, body=template)
    with pytest.raises(type(ours.value)) as theirs:
        way.plain("search_template", index=ONE, body=template)
    assert str(ours.value) == str(theirs.value)


def test_a_scorer_that_is_gone_costs_no_search(way: Way) -> None:
    """F1: 200, the first stage, the reason and what mends it; an error where that was wished."""
    way.scorer.failure = ScorerUnavailable("gone")
    answer = way.search(ONE, {"query": ASKED, "size": 50})
    assert ids(answer) == ids(first_stage(way, ONE))[:50]
    assert (outcome(answer), answer["rescore"]["detail"]) == (("fallback", "scorer_unavailable"), "gone")
    with pytest.raises(ScorerUnavailable):
        way.search(ONE, {"query": ASKED, "rescore": {"cross_encoder": {"on_failure": "error"}}})


@pytest.mark.parametrize("kind", ["shuffled", "doubled", "missing", "not a number", "foreign"])
def test_each_score_lands_on_its_own_hit_or_nowhere(way: Way, kind: str) -> None:
    """M1: whatever the order of the scorer's answer; nonsense is a visible fallback."""
    honest = type(way.scorer).score

    def odd(request: ScoreRequest, timeout_s: float) -> Scores:
        whole = honest(way.scorer, request, timeout_s)
        results = list(whole.results)
        if kind == "shuffled":
            results.reverse()
        elif kind == "doubled":
            results[3] = results[4]
        elif kind == "missing":
            del results[2]
        elif kind == "foreign":
            results[0] = _renamed(results[0], id="somebody")
        else:
            results[1] = _renamed(results[1], logit=float("nan"))
        return Scores(results=results, model=whole.model)

    way.scorer.score = odd  # type: ignore[method-assign]  # a scorer of its own for this test
    try:
        answer = way.search(ONE, {"query": ASKED, "size": 60})
    finally:
        del way.scorer.score
    first = ids(first_stage(way, ONE))[:60]
    if kind == "shuffled":
        assert ids(answer) == reordered(first)
    else:
        assert (ids(answer), outcome(answer)) == (first, ("fallback", "bad_scores"))


def test_what_time_was_too_short_for_follows_in_first_stage_order(way: Way) -> None:
    """partial: the scored hits first, by score, then the rest as they were, all on one falling scale."""
    honest = type(way.scorer).score

    def late(request: ScoreRequest, timeout_s: float) -> Scores:
        whole = honest(way.scorer, request, timeout_s)
        return Scores(results=whole.results[:10], model=whole.model, reason=Reason.DEADLINE_EXCEEDED)

    way.scorer.score = late  # type: ignore[method-assign]  # a scorer of its own for this test
    try:
        answer = way.search(THREE, {"query": ASKED, "size": 60})
    finally:
        del way.scorer.score
    assert ids(answer) == reordered(ids(first_stage(way, THREE))[:60], 10)
    assert (outcome(answer), answer["rescore"]["scored"]) == (("partial", "deadline_exceeded"), 10)


def _renamed(scored: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(scored, **changes)
