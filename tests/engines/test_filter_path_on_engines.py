"""``filtered`` against the engines' own ``filter_path``: the same search with and without it, on real nodes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescorer.domain import Engine
from rescorer.filter_path import ALONE, filtered, to_fetch

pytestmark = pytest.mark.slow

LOOPBACK = build_opener(ProxyHandler({}))
DOCUMENTS = [
    {"title": "Cancelling flights", "year": 2001, "author": {"name": "A", "tags": ["x", "y"]}, "a.b": 5, "empty": []},
    {"title": "Booking", "year": 2002, "notes": [{"x": 1}, {"y": 2}, [{"x": 3}]], "none": None, "author": {}},
    {"title": "", "year": 2003, "notes": [[], {}, [{"x": {"x": []}}], "text", 1.5], "x": {"x": {"y": {"x": 1}}}},
]
SEARCH = {
    "sort": ["year"],
    "highlight": {"fields": {"title": {}}},
    "query": {"bool": {"should": [{"match": {"title": "flights"}}, {"match_all": {}}]}},
    "aggs": {"years": {"terms": {"field": "year"}}, "none": {"filter": {"term": {"year": 1}}}},
}


@dataclass(frozen=True)
class Node:
    """A node with an index of this test, and the whole answer to SEARCH."""

    engine: Engine
    url: str
    index: str

    def asked(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The JSON answer; raises HTTPError where the node refuses."""
        headers = {"Content-Type": "application/json"}
        request = Request(self.url + path, data=body, headers=headers, method=method)  # noqa: S310 - loopback
        with LOOPBACK.open(request, timeout=60) as answer:
            return json.load(answer)

    def search(self, paths: str | None = None) -> Any:
        """The answer to SEARCH, without the one value that is never the same."""
        query = "" if paths is None else f"?filter_path={quote(paths)}"
        return without_took(self.asked("POST", f"/{self.index}/_search{query}", json.dumps(SEARCH).encode()))


def without_took(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the time that it took."""
    return {name: value for name, value in answer.items() if name != "took"}


@pytest.fixture(scope="module", params=["opensearch", "elasticsearch"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """Each engine in turn, with the documents; the index is gone afterwards."""
    url = request.getfixturevalue(f"{request.param}_url")
    made = Node(request.param, url, f"filter-{uuid.uuid4().hex[:8]}")
    fields = {"title": {"type": "text"}, "year": {"type": "integer"}}
    body = {"mappings": {"dynamic": False, "properties": fields}, "settings": {"number_of_replicas": 0}}
    made.asked("PUT", f"/{made.index}", json.dumps(body).encode())
    for place, document in enumerate(DOCUMENTS):
        made.asked("PUT", f"/{made.index}/_doc/{place}?refresh=true", json.dumps(document).encode())
    yield made
    made.asked("DELETE", f"/{made.index}")


@pytest.mark.parametrize(
    "paths",
    [
        "hits.hits._id",
        "hits.hits._id,hits.hits._score,hits.total.value,timed_out",
        " hits.total , -hits.total.relation",
        "**.x",
        "-**.x",
        "**.x.x",
        "-**.x.x",
        "**.hits",
        "**.timed_out",
        "hits.**.x,-**.y",
        "*.hits._source.a*",
        r"hits.hits._source.a\.b",
        "hits.hits._source.a.b",
        "hits.hits._source.notes.*",
        "-hits.hits._source.notes.*",
        "-hits.hits._source.empty.x",
        "-hits.hits._source.author.*",
        "hits.hits.highlight",
        "aggregations.*.buckets.key",
        "aggregations,-aggregations.**.doc_count",
        "-*",
        "-**",
        "*",
        "**",
        "*.*.*",
        "nothing",
        "",
        " , ",
        "hits.",
        "-hits.hits..",
        ".hits",
        "hits..total",
        ".",
        "-.",
        "h*s.t*l,t*",
        "**s.total",
        "t?med_out",
        "--timed_out",
        "- timed_out",
        "-,-timed_out",
    ],
)
def test_a_filter_leaves_what_the_engine_leaves(node: Node, paths: str) -> None:
    """Each form of a filter, applied here to the whole answer, gives the node's own filtered answer."""
    assert filtered(node.search(), paths, node.engine) == node.search(paths)


def test_a_bare_minus_is_refused_by_opensearch_alone(node: Node) -> None:
    """What OpenSearch refuses is sent to it, so that the caller gets its own error; Elasticsearch does not see it."""
    assert to_fetch("-", engine=node.engine) == ALONE
    if node.engine == "elasticsearch":
        assert node.search("-") == node.search()
        return
    with pytest.raises(HTTPError) as caught:
        node.search("-")
    assert caught.value.code == 400
    caught.value.close()


NAMES = ["hits", "total", "_source", "_id", "author", "notes", "x", "y", "empty", "name", r"a\.b", "years", "timed_out"]
PATTERNS = ["*", "*", "**", "a*", "*s", "_*", "n*e*", "**s", ""]
STEPS = st.sampled_from([*NAMES, *PATTERNS])
HEADS = st.sampled_from(["", "", "**.", "hits.hits._source.", "hits.hits.", "hits.*._source.", "hits.**."])
PATHS = st.builds(
    lambda sign, head, steps: sign + head + ".".join(steps),
    st.sampled_from(["", "", "-", "-"]),
    HEADS,
    st.lists(STEPS, min_size=1, max_size=3),
)
FILTERS = st.lists(PATHS.filter(lambda path: path.strip() != ALONE), min_size=1, max_size=3).map(",".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS)
def test_any_filter_leaves_what_the_engine_leaves(node: Node, paths: str) -> None:
    """The same for generated filters, several at once; and from what is fetched instead, the same is made."""
    whole = node.search()
    assert filtered(whole, paths, node.engine) == node.search(paths)
    fetched = node.search(to_fetch(paths, engine=node.engine))
    assert fetched["hits"] == whole["hits"]
    assert filtered(fetched, paths, node.engine) == filtered(whole, paths, node.engine)


@pytest.mark.parametrize(
    "paths",
    [
        "responses.hits.hits._id",
        "responses.status",
        "-responses.hits",
        "-**.total",
        "responses",
        "**.error,**.x",
        "took",
    ],
)
def test_a_filter_of_many_searches_leaves_what_the_engine_leaves(node: Node, paths: str) -> None:
    """In an msearch's answer the filter begins at its root, and the failed search is one of the searches."""

    def asked(query: str) -> Any:
        search, nowhere = json.dumps({"query": {"match_all": {}}}), json.dumps({"index": f"{node.index}-not"})
        lines = ["{}", search, nowhere, search, "{}", search]
        answer = node.asked("POST", f"/{node.index}/_msearch{query}", ("\n".join(lines) + "\n").encode())
        cleaned = [without_took(entry) for entry in answer.get("responses", [])]
        return without_took(answer) | ({"responses": cleaned} if cleaned else {})

    whole, real = asked(""), asked(f"?filter_path={quote(paths)}")
    assert filtered(whole, paths, node.engine) == real
    sent = to_fetch(paths, "responses", node.engine)
    fetched = whole if sent is None else asked(f"?filter_path={quote(sent)}")
    assert [entry.get("hits") for entry in fetched["responses"]] == [entry.get("hits") for entry in whole["responses"]]
    assert filtered(fetched, paths, node.engine) == real
