"""Which errors of an engine are for the sake of what rescoring adds, as both engines write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer import refusals
from rescorer.errors import Reason
from rescorer.refusals import Refusal

FIELDS = "Unable to retrieve the requested [fields] since _source is disabled in the mappings for index [articles-1]"
SOURCE = "unable to fetch fields from _source field: _source is disabled in the mappings for index [articles-1]"
WINDOW = (
    "Result window is too large, from + size must be less than or equal to: [{}] but was [40]. See the scroll api for a"
    " more efficient way to request large data sets. This limit can be set by changing the [index.max_result_window]"
    " index level setting."
)
OTHERS = [
    "failed to create query: _source is disabled in the mappings for index [articles-1]",
    f"Failed to parse query [{FIELDS}",
    f"{SOURCE}, they say",
    "Rescore window [20000] is too large. It must be less than [10000].",
]


class EngineError(Exception):
    """An official client's error: ``info`` in OpenSearch's, ``body`` in Elasticsearch's."""

    def __init__(self, name: str, said: Any) -> None:
        super().__init__(400, "search_phase_execution_exception")
        setattr(self, name, said)


def _failed(*reasons: Any) -> dict[str, Any]:
    causes = [{"type": "illegal_argument_exception", "reason": reason} for reason in reasons]
    return {"error": {"root_cause": causes, "type": "search_phase_execution_exception", "reason": "all shards failed"}}


def _in_part(*reasons: Any) -> dict[str, Any]:
    failures = [{"shard": 0, "index": "articles-1", "reason": {"type": "x", "reason": reason}} for reason in reasons]
    return {"_shards": {"total": 2, "failed": len(failures), "failures": failures}, "hits": {"hits": []}}


@pytest.mark.parametrize("made", [_failed, _in_part])
@pytest.mark.parametrize("said", [FIELDS, SOURCE])
def test_a_disabled_source_is_known_by_the_engines_words(made: Any, said: str) -> None:
    """Of the whole search as of some of its shards; the detail is what the engine says."""
    assert refusals.of_answer(made("something else", said)) == Refusal(Reason.SOURCE_DISABLED, said)


@pytest.mark.parametrize("made", [_failed, _in_part])
def test_the_smallest_limit_is_told(made: Any) -> None:
    """Where several indices allow less than the window, each in its own words."""
    found = refusals.of_answer(made(WINDOW.format(20), SOURCE, WINDOW.format(15)))
    assert found == Refusal(Reason.WINDOW_TOO_LARGE, WINDOW.format(20), 15)


@pytest.mark.parametrize("made", [_failed, _in_part])
@pytest.mark.parametrize("said", OTHERS)
def test_other_errors_stay_the_callers(made: Any, said: str) -> None:
    """Also those in which the same words stand among others, as a query of the caller's may hold them."""
    assert refusals.of_answer(made(said)) is None


@pytest.mark.parametrize("name", ["info", "body"])
def test_an_official_clients_error_holds_the_engines_words(name: str) -> None:
    """In the one client under one name, in the other under another."""
    assert refusals.of_error(EngineError(name, _failed(FIELDS))) == Refusal(Reason.SOURCE_DISABLED, FIELDS)
    assert refusals.of_error(EngineError(name, _failed(OTHERS[0]))) is None


def test_a_window_is_known_by_the_setting_that_an_error_names() -> None:
    """Also where an error is a text alone, over several lines."""
    error = ValueError("too large:\n see [index.max_result_window]")
    assert refusals.of_error(error) == Refusal(Reason.WINDOW_TOO_LARGE, "too large: see [index.max_result_window]")


def test_one_search_of_many_speaks_for_all() -> None:
    """With the smallest of their limits; searches that went well say nothing."""
    many = {"responses": [{"hits": {}}, _failed(WINDOW.format(20)), _in_part(WINDOW.format(15))]}
    assert refusals.of_many(many) == Refusal(Reason.WINDOW_TOO_LARGE, WINDOW.format(20), 15)
    assert refusals.of_many({"responses": [{"hits": {}}]}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "root_cause", "reason", "_shards", "failures", "responses"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(said=JSON)
def test_no_answer_is_an_error_here(said: Any) -> None:
    """Whatever an engine or a stand-in for one answers."""
    assert refusals.of_answer(said) is None
    assert refusals.of_many(said) is None
    assert refusals.of_error(EngineError("info", said)) is None
