"""``filter_path``: what is fetched instead, and the caller's filter applied as the engines apply it.

That it is as the engines apply it is held by tests/engines/test_filter_path_on_engines.py.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rescorer import filter_path
from rescorer.domain import Engine
from rescorer.filter_path import NEEDED, filtered, to_fetch

SOURCE = {"a": {"b": 1, "c": [1, 2]}, "d.e": 5, "l": [{"x": 1}, {"y": 2}, [{"x": 3}]], "none": None, "o": {}}
OUTCOME = {"status": "reranked", "timings": {"took": 3}}
ANSWER: dict[str, Any] = {
    "took": 3,
    "timed_out": False,
    "hits": {"total": {"value": 1}, "max_score": 1.0, "hits": [{"_id": "1", "_score": 1.0, "_source": SOURCE}]},
    "aggregations": {"years": {"buckets": [{"key": 1, "doc_count": 2}]}},
    "rescore": OUTCOME,
}
ENGINES = ("opensearch", "elasticsearch")


def left(paths: Any, engine: Engine = "opensearch") -> dict[str, Any]:
    """What is left of ANSWER but for our own key, which stays."""
    found = filtered(ANSWER, paths, engine)
    assert found.pop("rescore") == OUTCOME
    return found


def source(paths: str, engine: Engine = "opensearch") -> Any:
    """What is left of the one hit's source."""
    hits = left(paths, engine)["hits"]["hits"]
    return hits[0]["_source"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("took", {"took": 3}),
        (" took , timed_out ,", {"took": 3, "timed_out": False}),
        (["took", "timed_out"], {"took": 3, "timed_out": False}),
        (["took,timed_out"], {"took": 3, "timed_out": False}),
        ("t*", {"took": 3, "timed_out": False}),
        ("t*k,*d*t", {"took": 3, "timed_out": False}),
        ("hits.total", {"hits": {"total": {"value": 1}}}),
        ("*.total.value", {"hits": {"total": {"value": 1}}}),
        ("hits.hits._id", {"hits": {"hits": [{"_id": "1"}]}}),
        ("**._id", {"hits": {"hits": [{"_id": "1"}]}}),
        ("**.doc_count", {"aggregations": {"years": {"buckets": [{"doc_count": 2}]}}}),
        ("hits.**._score", {"hits": {"hits": [{"_score": 1.0}]}}),
        ("**.took", {}),
        ("nothing", {}),
        ("hits.nothing", {}),
        ("took.x", {}),
        ("T*", {}),
        ("t?ok", {}),
        ("hits..total", {}),
    ],
)
def test_includes_keep_what_they_name(paths: Any, expected: dict[str, Any]) -> None:
    """Names, stars and double stars, in text or list; objects and arrays that end up empty are left out."""
    assert left(paths) == left(paths, "elasticsearch") == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b", {"a": {"b": 1}}),
        ("a.c", {"a": {"c": [1, 2]}}),
        ("a.c.x", None),
        ("l.x", {"l": [{"x": 1}, [{"x": 3}]]}),
        ("none", {"none": None}),
        ("o", {"o": {}}),
        ("o.x", None),
        (r"d\.e", {"d.e": 5}),
        ("d.e", None),
        ("d*", {"d.e": 5}),
    ],
)
def test_includes_go_into_documents(path: str, expected: Any) -> None:
    """Arrays are entered element by element, also nested ones; a point in a name is written with a backslash."""
    found = left(f"hits.hits._source.{path}")
    assert found == ({} if expected is None else {"hits": {"hits": [{"_source": expected}]}})


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("-hits.hits._source.a", {key: value for key, value in SOURCE.items() if key != "a"}),
        ("-hits.hits._source.a.b", SOURCE | {"a": {"c": [1, 2]}}),
        ("-hits.hits._source.a.*", {key: value for key, value in SOURCE.items() if key != "a"}),
        ("-hits.hits._source.l.x", SOURCE | {"l": [{"y": 2}]}),
        ("-hits.hits._source.a.c.x", SOURCE),
        (r"-hits.hits._source.d\.e", {key: value for key, value in SOURCE.items() if key != "d.e"}),
    ],
)
def test_excludes_take_what_they_name(paths: str, expected: dict[str, Any]) -> None:
    """All else stays, empty objects too; what an exclude empties is gone."""
    assert source(paths) == source(paths, "elasticsearch") == expected


def test_includes_come_before_excludes() -> None:
    """Whatever the order in which they are written."""
    assert left("hits.hits,-hits.hits._source") == left("-**._source,hits.hits")
    assert left("hits.hits,-hits.hits._source") == {"hits": {"hits": [{"_id": "1", "_score": 1.0}]}}
    assert left("took,-took") == {}


@pytest.mark.parametrize("paths", ["", " , ", [], "-", "*", "**", "hits,-,*"])
def test_a_filter_that_filters_nothing(paths: Any) -> None:
    """Empty, or a star: the whole answer stays."""
    assert filtered(ANSWER, paths) == filtered(ANSWER, paths, "elasticsearch") == ANSWER


def test_the_engines_differ_about_what_is_empty_already() -> None:
    """Where an exclude leads into an empty object, OpenSearch leaves it out and Elasticsearch keeps it."""
    without = {key: value for key, value in SOURCE.items() if key != "o"}
    assert source("-hits.hits._source.o.x") == source("-**.nothing") == without
    assert source("-hits.hits._source.o.x", "elasticsearch") == source("-**.nothing", "elasticsearch") == SOURCE


def test_the_engines_differ_about_points_at_the_end() -> None:
    """OpenSearch does not see them; for Elasticsearch an empty name follows."""
    assert left("took..") == {"took": 3}
    assert left("took..", "elasticsearch") == {}
    assert filtered(ANSWER, ".") == filtered(ANSWER, ".", "elasticsearch") == {"rescore": OUTCOME}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("hits.hits._id", OUTCOME),
        ("-**.took", OUTCOME),
        ("-*", OUTCOME),
        ("-r*", OUTCOME),
        ("rescore", OUTCOME),
        ("*.status", {"status": "reranked", "timings": {"took": 3}}),
        ("rescore.status", {"status": "reranked"}),
        ("-rescore.timings", {"status": "reranked"}),
        ("-rescore", None),
        ("rescore,-rescore", None),
    ],
)
def test_our_outcome_survives_unless_it_is_named(paths: str, expected: Any) -> None:
    """Only a filter that begins with ``rescore`` itself reaches it: a fallback is never silent."""
    assert filtered(ANSWER, paths).get("rescore") == expected


def test_the_outcome_of_each_search_of_many_survives() -> None:
    """In an msearch's answer it stands in each search; excluding the searches excludes it as well."""
    many = {"took": 1, "responses": [ANSWER, {"error": {"type": "x"}, "status": 400}]}
    assert filtered(many, "responses.hits.hits._id,responses.error")["responses"] == [
        {"hits": {"hits": [{"_id": "1"}]}, "rescore": OUTCOME},
        {"error": {"type": "x"}},
    ]
    assert filtered(many, "took") == {"took": 1, "responses": [{"rescore": OUTCOME}]}
    assert filtered(many, "-responses.*") == {"took": 1, "responses": [{"rescore": OUTCOME}]}
    assert filtered(many, "-responses.rescore,-**.status")["responses"][1] == {"error": {"type": "x"}}
    assert "rescore" not in filtered(many, "-responses.rescore")["responses"][0]
    assert filtered(many, "-responses") == {"took": 1}


ALL_NEEDED = ",".join(NEEDED)


@pytest.mark.parametrize(
    ("paths", "sent"),
    [
        ("", None),
        ("*", None),
        ("**,took", None),
        ("-hits.hits._source", None),
        ("-**.x", None),
        ("-h*", None),
        ("-rescore", None),
        ("-aggregations", "-aggregations"),
        ("-_shards.failed,-hits.total", None),
        ("*,-profile.shards", "-profile.shards"),
        ("hits", ALL_NEEDED),
        ("hits.hits._id,hits.total,rescore.status,took", ALL_NEEDED),
        ("aggregations.*.buckets.key", f"{ALL_NEEDED},aggregations.*.buckets.key"),
        ("aggregations,-aggregations.a,-pit_id", f"{ALL_NEEDED},aggregations,-aggregations.a"),
        (["suggest", "a*"], f"{ALL_NEEDED},suggest,a*"),
        (r"aggregations.a\.b", rf"{ALL_NEEDED},aggregations.a\.b"),
        ("-", "-"),
        ("-,-_clusters", "-_clusters"),
    ],
)
def test_what_is_fetched_instead(paths: Any, sent: str | None) -> None:
    """All that is needed, what else the caller's includes name, and the excludes that reach nothing needed."""
    assert to_fetch(paths) == sent


def test_what_is_fetched_of_many_searches() -> None:
    """Everything needed is looked for below ``responses``."""
    sent = to_fetch(
        "took,responses.hits.hits._id,responses.aggregations,-responses._clusters,-responses.hits", "responses"
    )
    below = ",".join(f"responses.{name}" for name in NEEDED)
    assert sent == f"{below},took,responses.aggregations,-responses._clusters"
    assert to_fetch("-**.x,-*.hits,-took,-responses.**", "responses") == "-took"


NAMES = st.sampled_from(["a", "b", "ab", "a.b", "x", "hits", "_source", "rescore", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
HITS = st.fixed_dictionaries(
    {"hits": st.lists(st.fixed_dictionaries({"_id": st.just("1"), "_source": VALUES}), max_size=3)}
)
SEARCH_ANSWERS = st.fixed_dictionaries(
    {"took": st.just(1), "hits": HITS},
    optional={"aggregations": VALUES, "pit_id": st.just("p"), "_shards": VALUES, "rescore": VALUES},
)
STEPS = st.sampled_from(
    ["a", "b", "*", "**", "a*", "*b", r"a\.b", "hits", "_source", "_*", "aggregations", "took", "rescore", "", "**a"]
)
PATHS = st.builds(
    lambda sign, steps: sign + ".".join(steps), st.sampled_from(["", "", "-"]), st.lists(STEPS, min_size=1, max_size=4)
)
FILTERS = st.lists(PATHS, min_size=1, max_size=3)
ANY_ENGINE = st.sampled_from(ENGINES)


def is_part(found: Any, whole: Any) -> bool:
    """Whether nothing was made up, moved or changed on the way."""
    if isinstance(found, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(inner, whole[name]) for name, inner in found.items())
    if isinstance(found, list) and isinstance(whole, list):
        rest = iter(whole)
        return all(any(is_part(inner, entry) for entry in rest) for inner in found)
    return bool(found == whole)


@given(SEARCH_ANSWERS, FILTERS, ANY_ENGINE)
def test_a_filter_only_leaves_out(answer: dict[str, Any], paths: list[str], engine: Engine) -> None:
    """The result is a part of the answer in the answer's order, and the answer is as it was."""
    before = copy.deepcopy(answer)
    found = filtered(answer, paths, engine)
    assert answer == before
    assert is_part(found, answer)
    assert filtered(answer, ",".join(paths), engine) == found


@given(SEARCH_ANSWERS, FILTERS, ANY_ENGINE)
def test_filtering_twice_is_filtering_once(answer: dict[str, Any], paths: list[str], engine: Engine) -> None:
    """So the part of the filter that the engine applied already does no harm."""
    once = filtered(answer, paths, engine)
    assert filtered(once, paths, engine) == once


@given(SEARCH_ANSWERS, FILTERS, ANY_ENGINE)
def test_the_smaller_answer_is_enough(answer: dict[str, Any], paths: list[str], engine: Engine) -> None:
    """What is fetched instead holds all that is needed, and filtered it is what the whole answer would have become."""
    sent = to_fetch(paths, engine=engine)
    fetched = answer if sent is None else filtered(answer, sent, engine)
    assert {name: fetched.get(name) for name in NEEDED} == {name: answer.get(name) for name in NEEDED}
    assert filtered(fetched, paths, engine) == filtered(answer, paths, engine)


@given(st.lists(SEARCH_ANSWERS, min_size=1, max_size=3), FILTERS, st.booleans(), ANY_ENGINE)
def test_the_smaller_answer_of_many_is_enough(
    answers: list[dict[str, Any]], paths: list[str], is_below: bool, engine: Engine
) -> None:
    """The same for msearch, whether the filter looks below ``responses`` or not."""
    many = {"took": 3, "responses": answers}
    if is_below:
        paths = [f"-responses.{path[1:]}" if path.startswith("-") else f"responses.{path}" for path in paths]
    sent = to_fetch(paths, "responses", engine)
    fetched = many if sent is None else filtered(many, sent, engine)
    assert [entry["hits"] for entry in fetched["responses"]] == [entry["hits"] for entry in answers]
    assert filtered(fetched, paths, engine) == filtered(many, paths, engine)


@given(SEARCH_ANSWERS, FILTERS, ANY_ENGINE)
def test_the_outcome_survives_filters_that_do_not_name_it(
    answer: dict[str, Any], paths: list[str], engine: Engine
) -> None:
    """Whatever the filters are, ``rescore`` is whole where none of them begins with it."""
    foreign = [path for path in paths if not path.lstrip("-").startswith("rescore")]
    assert filtered(answer, foreign, engine).get("rescore") == answer.get("rescore")


@given(st.text(max_size=20) | st.lists(st.text(max_size=8) | st.integers(), max_size=3) | VALUES, VALUES, ANY_ENGINE)
def test_any_text_is_a_filter(paths: Any, value: Any, engine: Engine) -> None:
    """Nothing that a caller can write raises anything."""
    assert isinstance(filtered({"hits": value}, paths, engine), dict)
    assert isinstance(to_fetch(paths, engine=engine), str | None)


@example("a*a", "a")
@example("ab*ba", "aba")
@example("*ab*ab*", "abab")
@given(st.text("ab*", max_size=6), st.text("ab", max_size=6))
def test_the_star_is_any_part_of_a_name(pattern: str, name: str) -> None:
    """A pattern fits as it fits when each star is tried with every part of the name."""

    def fits(pattern: str, name: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(fits(pattern[1:], name[place:]) for place in range(len(name) + 1))
        return name[:1] == pattern[0] and fits(pattern[1:], name[1:])

    found = filtered({"m": {name: 1}}, ["m." + pattern])
    assert (found == {"m": {name: 1}}) is (fits(pattern, name) or not pattern)


def test_a_long_filter_takes_no_long_time() -> None:
    """Many stars against long names, in a deep answer, stay fast: the filter comes from outside."""
    name = "a" * 2_000
    answer: dict[str, Any] = {name: 1}
    for _ in range(200):
        answer = {name: answer}
    pattern = "*a" * 500 + "*b"
    started = time.perf_counter()
    assert filtered(answer, f"**.{pattern},**.**.{pattern},-**.{pattern}.**.x") == {}
    assert time.perf_counter() - started < 5


def test_the_same_objects_are_handed_on() -> None:
    """What stays whole is not copied: a thousand hits cost a look at their names."""
    assert filter_path.filtered(ANSWER, "hits.hits,-took")["hits"]["hits"][0]["_source"] is SOURCE
