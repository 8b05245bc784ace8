"""Elasticsearch's ``retriever``: where ours stands in it, what is sent of it, and what is refused by its path."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rescorer import first_stage, request, retriever
from rescorer.config import DocumentField
from rescorer.domain import Call
from rescorer.errors import InvalidSetting
from rescorer.retriever import Fused, Leaf, Rescored

WORDS = {"standard": {"query": {"match": {"body": "a flight"}}}}
NEAR = {"knn": {"field": "v", "query_vector": [1.0], "k": 3, "num_candidates": 9}}


def _ours(inner: Any, **said: Any) -> dict[str, Any]:
    body = {"retriever": inner, "field": "body", "inference_id": "rescorer", "inference_text": "cancel", **said}
    return {"text_similarity_reranker": body}


def _read(tree: Any, **body: Any) -> request.Asked:
    return request.read(Call({"retriever": tree, **body}, {}))


@pytest.mark.parametrize(
    "tree",
    [
        WORDS,
        NEAR,
        {"rrf": {"retrievers": [WORDS, NEAR]}},
        {"text_similarity_reranker": {"retriever": WORDS, "field": "body", "inference_id": ".rerank-v1"}},
        {"standard": {"query": {"term": {"inference_id": "rescorer"}}}},
        "no retriever",
        None,
        17,
    ],
)
def test_a_retriever_without_ours_is_the_very_same_object(tree: Any) -> None:
    """The engine's own retrievers are its own to judge."""
    body = {"retriever": tree}
    asked = request.read(Call(body, {}))
    assert (asked.said, asked.tree) == (None, None)
    assert asked.call.body is body


def test_around_one_retriever_ours_is_one_search() -> None:
    """What it stands around is sent, its settings are said, and the caller's body stays as it was."""
    tree = _ours(WORDS, rank_window_size=50, min_score=0.5, filter={"term": {"lang": "en"}})
    before = copy.deepcopy(tree)
    asked = _read(tree, size=3)
    assert asked.tree is None
    fields = (DocumentField(field="body"),)
    assert asked.said == {"document_fields": fields, "query_text": "cancel", "window_size": 50, "min_score": 0.5}
    inner = {"standard": {**WORDS["standard"], "filter": [{"term": {"lang": "en"}}]}}
    assert asked.call.body == {"retriever": inner, "size": 3}
    assert tree == before


def test_around_a_fusion_the_client_runs_the_tree() -> None:
    """rrf and linear under ours: leaves, weights and depth are read, filters reach every leaf."""
    linear = {
        "linear": {
            "retrievers": [
                {"retriever": WORDS, "weight": 2.0, "normalizer": "minmax"},
                {"retriever": {"rrf": {"retrievers": [NEAR, WORDS], "rank_constant": 20, "rank_window_size": 7}}},
            ],
            "filter": {"term": {"a": 1}},
            "min_score": 0.1,
        }
    }
    tree = _read(_ours(linear)).tree
    assert isinstance(tree, Rescored)
    fusion = tree.inner
    assert isinstance(fusion, Fused)
    assert (fusion.how.weights, fusion.how.normalizers) == ((2.0, 1.0), ("minmax", "none"))
    assert (fusion.depth, fusion.min_score) == (10, 0.1)
    inner = fusion.parts[1]
    assert isinstance(inner, Fused)
    assert (inner.how.rank_constant, inner.depth) == (20, 7)
    filters = [
        leaf.search["retriever"][kind]["filter"] for leaf in retriever.leaves(tree) for kind in leaf.search["retriever"]
    ]
    assert filters == [[{"term": {"a": 1}}]] * 3


def test_inside_a_fusion_each_list_is_rescored_on_its_own() -> None:
    """The tree keeps ours where it stands; without it, the same lists are left."""
    tree = _read({"rrf": {"retrievers": [_ours(WORDS), NEAR]}}).tree
    assert isinstance(tree, Fused)
    assert [type(part) for part in tree.parts] == [Rescored, Leaf]
    bare = retriever.first_stage_of(tree)
    assert isinstance(bare, Fused)
    assert [type(part) for part in bare.parts] == [Leaf, Leaf]
    assert list(retriever.document_fields(tree)) == [DocumentField(field="body")]
    assert retriever.foremost(tree).said["query_text"] == "cancel"


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        (_ours(WORDS, rank_window_size=0), r"retriever\.text_similarity_reranker\.rank_window_size: 0 "),
        (_ours(WORDS, field=""), r"retriever\.text_similarity_reranker\.field: '' "),
        (_ours(WORDS, inference_text=[]), r"retriever\.text_similarity_reranker\.inference_text: \[\] "),
        (_ours(WORDS, min_score="high"), r"retriever\.text_similarity_reranker\.min_score: 'high' "),
        (
            _ours(WORDS, rank_windo_size=3),
            r"retriever\.text_similarity_reranker\.rank_windo_size: .*did you mean rank_w",
        ),
        (_ours({}), r"retriever\.text_similarity_reranker\.retriever: \{\} "),
        (_ours([WORDS]), r"retriever\.text_similarity_reranker\.retriever: "),
        (
            {"text_similarity_reranker": {"inference_id": "rescorer", "field": "b", "inference_text": "c"}},
            r'retriever\.text_similarity_reranker: .*must hold "retriever"',
        ),
        (_ours({"rrf": {"retrievers": []}}), r"\.retriever\.rrf\.retrievers: \[\] "),
        (_ours({"rrf": {"retrievers": [WORDS], "rank_constant": 0}}), r"\.rrf\.rank_constant: 0 "),
        (_ours({"rrf": {"retrievers": [WORDS], "rank_window_size": "x"}}), r"\.rrf\.rank_window_size: 'x' "),
        (_ours({"rrf": {"retrievers": [WORDS], "normalizer": "none"}}), r"\.rrf\.normalizer: "),
        (
            _ours({"linear": {"retrievers": [{"retriever": WORDS, "normalizer": "max"}]}}),
            r"\.linear\.retrievers\[0\]\.normalizer: 'max' ",
        ),
        (
            _ours({"linear": {"retrievers": [{"retriever": WORDS, "weight": "2"}]}}),
            r"\.linear\.retrievers\[0\]\.weight: '2' ",
        ),
        (
            {"pinned": {"ids": ["1"], "retriever": _ours(WORDS)}},
            r"retriever\.pinned: .*put text_similarity_reranker around",
        ),
        ({"rrf": {"retrievers": [{"rule": {"retriever": _ours(WORDS)}}]}}, r"retriever\.rrf\.retrievers\[0\]\.rule: "),
    ],
)
def test_a_wrong_retriever_is_refused_by_its_path(tree: Any, path: str) -> None:
    """Whoever wrote it reads which key, which value, and what to write instead, before anything is sent."""
    with pytest.raises(InvalidSetting, match=path):
        _read(tree)


def _lines(tree: Any, options: Any = None, **body: Any) -> Any:
    asked = request.read(Call({"retriever": tree, **body}, options or {}))
    assert asked.tree is not None
    return first_stage.branches(asked, asked.tree, ("hidden",), 12).call


def test_each_list_and_the_rest_have_their_own_search() -> None:
    """Hits are asked for by the lists, to the depth that counts; totals and aggregations by the last search alone."""
    tree = _ours({"rrf": {"retrievers": [WORDS, NEAR], "rank_window_size": 5}})
    body = {"aggs": {"t": {}}, "size": 3, "from": 2, "_source": ["a"], "min_score": 0.1, "track_total_hits": 7}
    _, words, _, near, _, rest = _lines(tree, **body).body
    shown = {"_source": ["a"], "fields": ["hidden"], "size": 5, "track_total_hits": False}
    assert words == {"retriever": WORDS, **shown}
    assert near == {"retriever": NEAR, **shown}
    union = {"query": WORDS["standard"]["query"], "knn": [NEAR["knn"]]}
    assert rest == {**union, "aggs": {"t": {}}, "track_total_hits": 7, "size": 0}


def test_every_keyword_goes_where_an_msearch_takes_it() -> None:
    """In the line before the search, into its body, or beside the call; page and filter_path are the client's."""
    options = {"index": "a", "routing": "r", "version": True, "request_timeout": 3, "_source_includes": "x", "size": 9}
    call = _lines(_ours({"rrf": {"retrievers": [WORDS, NEAR]}}), {**options, "filter_path": "took"})
    assert call.options == {"request_timeout": 3}
    assert call.body[::2] == [{"index": "a", "routing": "r"}] * 3
    assert call.body[1]["version"] is True
    assert call.body[1]["_source"] == {"includes": ["x"]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"_source": "false", "_source_includes": "x"}, {"_source": False}),
        ({"_source_includes": "x", "_source": False}, {"_source": False}),
        ({"_source": "a,b"}, {"_source": ["a", "b"]}),
        ({"_source": "a", "_source_excludes": "b,c"}, {"_source": {"includes": ["a"], "excludes": ["b", "c"]}}),
        ({"_source": "a", "_source_includes": ["b"]}, {"_source": {"includes": ["b"]}}),
        ({"params": {"_source": "true", "docvalue_fields": "y,z"}}, {"_source": True, "docvalue_fields": ["y", "z"]}),
        ({"stored_fields": "_none_", "stats": "g"}, {"stored_fields": ["_none_"], "stats": ["g"]}),
    ],
)
def test_names_in_the_url_become_lists_in_the_body(options: Any, said: Any) -> None:
    """A URL has commas and the words true and false where a body has lists and values."""
    lines = _lines(_ours({"rrf": {"retrievers": [WORDS, NEAR]}}), options).body
    assert {key: lines[1].get(key) for key in said} == said


def test_highlights_are_by_the_words_of_all_lists() -> None:
    """A hit that only kNN finds shows the fragments that it would show in the other list."""
    lines = _lines(_ours({"rrf": {"retrievers": [WORDS, NEAR]}}), highlight={"fields": {"body": {}}})
    assert lines.body[3]["highlight"]["highlight_query"] == WORDS["standard"]["query"]
    assert "highlight" not in lines.body[5]


@pytest.mark.parametrize(
    ("body", "options", "name"),
    [
        ({"sort": ["year"]}, {}, "sort"),
        ({"search_after": [1]}, {}, "search_after"),
        ({}, {"scroll": "1m"}, "scroll"),
        ({}, {"q": "a flight"}, "q"),
        ({}, {"params": {"lenient": True}}, "lenient"),
    ],
)
def test_what_a_fused_list_has_no_answer_for_is_refused_by_name(body: Any, options: Any, name: str) -> None:
    """It is never left out in silence."""
    with pytest.raises(InvalidSetting, match=f"^{name}: .*leave it out"):
        _lines(_ours({"rrf": {"retrievers": [WORDS, NEAR]}}), options, **body)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"mystery": {"x": 1}}, "'mystery'"),
        ({"knn": 5}, "'knn'"),
        ({"standard": []}, "'standard'"),
        ({"rule": {"retriever": 5}}, "5"),
        ({"rule": {"retriever": {"standard": {}, "knn": {}}}}, "{'standard'"),
        ({"rule": {"retrievers": 5}}, "'rule'"),
        ({"rule": {"retrievers": []}}, "'rule'"),
        ({"rule": {"retrievers": [{"retriever": "x"}]}}, "'x'"),
    ],
)
def test_a_list_that_cannot_be_joined_with_others_is_named(part: Any, kind: str) -> None:
    """Totals and aggregations need a query for every list."""
    with pytest.raises(InvalidSetting, match=rf"^retriever: {kind}.* can't be run beside other lists"):
        _lines(_ours({"rrf": {"retrievers": [WORDS, part]}}))


@pytest.mark.parametrize("least", ["high", [1], {}, True, float("nan")])
def test_a_min_score_that_no_engine_would_see_is_checked(least: Any) -> None:
    """It holds for the fused list, so no list's own search holds it, and its mistakes are ours to name."""
    with pytest.raises(InvalidSetting, match=r"^min_score: .*must be a finite number"):
        _lines(_ours({"rrf": {"retrievers": [WORDS, NEAR]}}), min_score=least)


def test_a_retriever_nested_without_end_is_refused() -> None:
    """With ours in it, it has to be run here: to a depth that is said. Without ours it is the engine's to judge."""
    tree: Any = WORDS
    for _ in range(5000):
        tree = {"rrf": {"retrievers": [tree]}}
    with pytest.raises(InvalidSetting, match=r"^retriever: .*must not be nested 100 levels deep"):
        _read(_ours(tree))
    assert _read(tree).said is None


def test_a_list_is_read_as_deep_as_its_cross_encoder_needs() -> None:
    """The larger of its own window and what the fusion around it reads; its filter reaches the leaf."""
    tree = {"rrf": {"retrievers": [_ours(WORDS, rank_window_size=30, filter={"term": {"a": 1}}), NEAR]}}
    _, words, _, near, _, _ = _lines(tree).body
    assert (words["size"], near["size"]) == (30, 10)
    assert words["retriever"]["standard"]["filter"] == [{"term": {"a": 1}}]
    tree["rrf"]["rank_window_size"] = 50
    assert [line["size"] for line in _lines(tree).body[1:4:2]] == [50, 50]
