"""What asks for nothing: whatever it is, the engine gets the same bytes and the caller the same answer or error."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_engine import FakeEngine

KEYS = st.sampled_from(
    [
        "query",
        "knn",
        "retriever",
        "rescore",
        "ext",
        "sort",
        "size",
        "from",
        "from_",
        "source",
        "_source",
        "fields",
        "collapse",
        "pit",
        "aggs",
        "match",
        "bool",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 20)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["title", "_score"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
BODIES = VALUES | st.dictionaries(KEYS, VALUES, max_size=4) | st.binary(max_size=8)
ENGINES = st.sampled_from(["opensearch", "elasticsearch"])
AT_EASE = settings(max_examples=80, deadline=None)


def _said(client: Any, method: str, asked: dict[str, Any]) -> Any:
    """What comes out of a call: the answer and its class, or the error and its words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer = getattr(client, method)(**copy.deepcopy(asked))
        except Exception as error:  # noqa: BLE001 - compared with the official client's
            return type(error), str(error)
    return type(answer), repr(fake_clients.plain(answer))


def _agree(engine: str, method: str, asked: dict[str, Any], answer: Any) -> None:
    ours, theirs = (FakeEngine(raw_answer=answer, raw_many=answer) for _ in range(2))
    expected = _said(fake_clients.official(engine, theirs), method, asked)
    found = _said(fake_clients.made(engine, ours, FakeScorer()), method, asked)
    assert found == expected
    sent = [(one.method, one.path, one.params, one.raw) for one in ours.sent if not one.path.endswith("/_mapping")]
    assert sent == [(one.method, one.path, one.params, one.raw) for one in theirs.sent]


@AT_EASE
@given(engine=ENGINES, body=BODIES, answer=VALUES)
def test_a_search_of_any_shape_passes_through(engine: str, body: Any, answer: Any) -> None:
    """Any JSON as a body, any JSON as the answer, bodies that are none: all as with the official client."""
    _agree(engine, "search", {"index": "articles", "body": body}, answer)


@AT_EASE
@given(engine=ENGINES, lines=st.lists(VALUES, max_size=4) | BODIES, answer=VALUES)
def test_an_msearch_of_any_shape_passes_through(engine: str, lines: Any, answer: Any) -> None:
    """The same for the lines of an msearch."""
    _agree(engine, "msearch", {"index": "articles", "body": lines}, answer)


@AT_EASE
@given(engine=ENGINES, options=st.dictionaries(KEYS, VALUES, max_size=3))
def test_keywords_of_any_shape_pass_through(engine: str, options: dict[str, Any]) -> None:
    """The same for keywords, those that the method does not know among them."""
    _agree(engine, "search", {"index": "articles", **options}, None)
