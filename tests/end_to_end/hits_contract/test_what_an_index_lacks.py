"""Indices that keep no ``_source``, allow fewer hits than the window, or ignore long values, four ways."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from end_to_end.hits_contract import corpus
from end_to_end.hits_contract.checks import first_stage, ids, outcome, reordered, same_hits, same_rest
from end_to_end.hits_contract.corpus import ASKED, CLAIM, ONE, PREFIX, SMALL, THREE
from end_to_end.hits_contract.four_ways import Way

LIMIT = 15
"""Hits that an index of few allows: fewer than the window (40) and than the kNN half (25)."""

HIDDEN: list[dict[str, Any]] = [
    {"_source": False},
    {"stored_fields": ["title"]},
    {"stored_fields": ["title"], "_source": False},
    {"script_fields": {"twice": {"script": {"source": "doc['place'].value * 2"}}}},
]


@contextlib.contextmanager
def _index(
    way: Way, kind: str, mappings: Mapping[str, Any], documents: Sequence[Any], **settings: Any
) -> Iterator[str]:
    """An index of this test's own."""
    name, indices = f"{PREFIX}-{kind}-{way.name}", way.official.indices
    way.run(lambda: indices.delete(index=name, ignore_unavailable=True))
    body = {"settings": {"index": {"number_of_shards": 1, **settings}}, "mappings": mappings}
    way.run(lambda: indices.create(index=name, body=body))
    lines = [line for place, text in enumerate(documents) for line in ({"index": {"_id": f"d{place}"}}, text)]
    given = {"body": lines} if way.engine == "opensearch" else {"operations": lines}
    assert not way.plain("bulk", index=name, refresh=True, **given)["errors"]
    try:
        yield name
    finally:
        way.run(lambda: indices.delete(index=name))


def _mapping(way: Way, **more: Any) -> dict[str, Any]:
    return {"properties": corpus.properties(way.engine), "_meta": {"rescorer": corpus.profile()}, **more}


@contextlib.contextmanager
def _without_source(way: Way) -> Iterator[str]:
    mappings = {**_mapping(way), "_source": {"enabled": False}}
    knn = {"knn": True} if way.engine == "opensearch" else {}
    with _index(way, "sourceless", mappings, corpus.documents()[:30], **knn) as name:
        yield name


@contextlib.contextmanager
def _of_few(way: Way, fusion: str) -> Iterator[str]:
    knn = {"knn": True} if way.engine == "opensearch" else {}
    mappings = _mapping(way, _meta={"rescorer": corpus.profile(fusion)})
    with _index(way, "few", mappings, corpus.documents()[:60], max_result_window=LIMIT, **knn) as name:
        yield name


def test_an_index_without_source_answers_all_the_same(way: Way) -> None:
    """Hidden texts that no index keeps: the caller's own answer, one request more, and the reason."""
    with _without_source(way) as name:
        for view in HIDDEN:
            body = {"query": ASKED, "size": 20, **view}
            way.recording.sent.clear()
            answer, plain = way.search(name, body), way.plain_search(name, body)
            assert answer["hits"] == plain["hits"]
            same_rest(answer, plain)
            assert outcome(answer) == ("fallback", "source_disabled")
            assert "_source is disabled in the mappings" in answer["rescore"]["detail"]
            assert len(way.searches_sent()) == 2
    assert way.scorer.requests == []


def test_among_other_indices_it_loses_no_hit(way: Way) -> None:
    """Its shards alone fail, which the engine answers with what is left; the caller gets his own answer."""
    with _without_source(way) as name:
        for options in ({}, {"filter_path": "hits.hits._id,hits.total"}):
            body = {"query": ASKED, "size": 150, "_source": False}
            answer = way.search(f"{name},{ONE}", body, **options)
            plain = way.plain_search(f"{name},{ONE}", body, **options)
            assert answer["hits"] == plain["hits"]
            assert outcome(answer)[0] == "fallback"
            assert outcome(answer)[1] == "source_disabled"


def test_among_other_indices_one_of_few_hits_loses_none(way: Way) -> None:
    """Where only some of the shards refuse the window, no hit of theirs is left out either."""
    body = {"query": ASKED, "size": 15}
    for options in ({}, {"filter_path": "hits.hits._id,hits.total"}):
        answer = way.search(f"{SMALL},{ONE}", body, **options)
        plain = way.plain_search(f"{SMALL},{ONE}", body, **options)
        assert answer["hits"] == plain["hits"]
        assert outcome(answer) == ("fallback", "window_too_large")


def test_what_the_caller_himself_asks_too_much_of_is_his_error(way: Way) -> None:
    """A part of a ``_source`` that is not there, and fields of it: the engine's own words or its own answer."""
    with _without_source(way) as name:
        for view in ({"_source": ["title"]}, {"fields": ["title"]}, {"fields": ["title"], "_source": False}):
            body = {"query": ASKED, **view}
            ours, theirs = (
                _said(lambda call=call, body=body: call(name, body)) for call in (way.search, way.plain_search)
            )
            assert ours == theirs


def _said(call: Any) -> Any:
    try:
        found = call()
    except Exception as error:  # noqa: BLE001 - whatever this engine says
        return f"{type(error).__name__}: {error}"
    return sorted((hit["_id"], str(hit.get("fields"))) for hit in found["hits"]["hits"])


def test_many_searches_of_such_indices_are_asked_again(way: Way) -> None:
    """In an msearch too: each as the caller wrote it, one msearch more for all of them, the others rescored."""
    hidden = {"query": ASKED, "size": 15, "_source": False}
    with _without_source(way) as name:
        lines = [{"index": name}, hidden, {"index": [name, ONE]}, hidden, {"index": ONE}, hidden]
        answer, plain = way.ask("msearch", body=lines), way.plain("msearch", body=lines)
        filtered = way.ask("msearch", body=lines, filter_path="responses.hits.hits._id")
    first, second, third = answer["responses"]
    for ours, theirs in zip((first, second), plain["responses"], strict=False):
        assert ours["hits"] == theirs["hits"]
        assert outcome(ours) == ("fallback", "source_disabled")
    assert outcome(third) == ("reranked", None)
    assert [ids(each) for each in filtered["responses"]] == [ids(each) for each in answer["responses"]]
    assert len(way.searches_sent()) == 4


@pytest.mark.parametrize("fusion", ["min_max", "rrf", "engine"])
def test_fused_lists_are_read_as_deep_as_the_index_allows(way: Way, fusion: str) -> None:
    """A limit below the depth of a hybrid search: both halves to the limit, pages of one list, and the reason."""
    options: dict[str, Any] = {"text": CLAIM}
    if fusion == "engine" and way.engine == "opensearch":
        options["search_pipeline"] = "contract-min-max"
    with _of_few(way, fusion) as name:
        whole = way.ask("hybrid_search", index=name, size=LIMIT, **options)
        pages = [way.ask("hybrid_search", index=name, size=5, from_=begin, **options) for begin in (0, 5, 10)]
        bare = way.ask("hybrid_search", index=name, size=LIMIT, rescored=False, **options)
    assert outcome(whole) == ("fallback", "window_too_large")
    assert "max_result_window" in whole["rescore"]["detail"]
    assert [name for page in pages for name in ids(page)] == ids(whole)
    assert len(set(ids(whole))) == LIMIT
    assert ids(bare) == ids(whole)


def test_a_tree_of_retrievers_is_read_as_deep_as_the_index_allows(elastic: Way) -> None:
    """rrf around and inside, deeper than the limit: the fused lists without ours, every hit once, and the reason."""
    words = {"standard": {"query": ASKED}}
    near = {"knn": {"field": "v", "query_vector": [0.5, -0.5] * 4, "k": 10, "num_candidates": 50}}
    ours = {"field": "body", "inference_id": "rescorer", "inference_text": CLAIM, "rank_window_size": 30}
    around = {"text_similarity_reranker": {"retriever": {"rrf": {"retrievers": [words, near], "rank_window_size": 30}}}}
    around["text_similarity_reranker"] |= ours
    inner = {"text_similarity_reranker": {"retriever": words, **ours}}
    inside = {"rrf": {"retrievers": [inner, near], "rank_window_size": 12}}
    with _of_few(elastic, "engine") as name:
        for tree in (around, inside):
            answer = elastic.search(name, {"retriever": tree, "size": 12})
            assert outcome(answer) == ("fallback", "window_too_large")
            assert len(set(ids(answer))) == 12


@pytest.mark.parametrize(
    "view",
    [{"_source": False}, {"_source": ["n"]}, {"_source": ["n"], "fields": ["title.plain"]}, {"stored_fields": ["n"]}],
    ids=str,
)
@pytest.mark.parametrize("field", ["title", "people", "people.name"])
def test_values_that_an_index_ignores_leave_nothing_behind(way: Way, view: dict[str, Any], field: str) -> None:
    """A multi-field that ignores long values is shown by no hit whose caller did not ask for it, nor read twice."""
    short = {"type": "text", "fields": {"plain": {"type": "keyword", "ignore_above": 4}}}
    mappings = {"properties": {"title": short, "people": {"properties": {"name": short, "role": short}}}}
    document = {"title": "long title", "people": [{"role": "chief", "name": "Ada"}, {"name": "Maximilian"}], "n": 1}
    expected = {"title": "long title", "people": "Ada chief Maximilian", "people.name": "Ada Maximilian"}[field]
    entry = {"cross_encoder": {"query_text": "anything", "document_fields": [field]}}
    with _index(way, "ignoring", mappings, [document]) as name:
        plain = way.plain_search(name, {"query": {"match_all": {}}, **view})
        answer = way.search(name, {"query": {"match_all": {}}, **view, "rescore": entry})
    same_hits(answer, plain)
    assert outcome(answer) == ("reranked", None)
    ((_, text),) = way.scorer.requests[-1].candidates[0].fields
    if isinstance(view.get("_source"), list):
        assert sorted(text.split()) == sorted(expected.split())
    else:
        assert text == expected


AMBIGUOUS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"stored_fields": ["title"], "_source": ["place"]}, {}),
    ({"stored_fields": "*", "_source": {"excludes": ["body"]}}, {}),
    ({"stored_fields": ["place", "t*"]}, {"_source_includes": "place"}),
    ({"stored_fields": ["title.plain"], "_source": ["place"]}, {}),
]


@pytest.mark.parametrize(("view", "options"), AMBIGUOUS, ids=str)
def test_a_stored_text_beside_a_part_of_the_source_is_left_alone(
    way: Way, view: dict[str, Any], options: dict[str, Any]
) -> None:
    """Nobody knows whose the field in ``fields`` would be, so the hits are the engine's, and the reason is told."""
    body = {"query": ASKED, "size": 20, **view}
    answer, plain = way.search(THREE, body, **options), way.plain_search(THREE, body, **options)
    assert answer["hits"] == plain["hits"]
    assert outcome(answer) == ("skipped", "ambiguous_stored_fields")


def test_other_stored_fields_beside_a_part_of_the_source_are_rescored(way: Way) -> None:
    """Only fields that the model reads are in doubt."""
    view = {"stored_fields": ["place", "people.*"], "_source": ["tag"]}
    answer = way.search(THREE, {"query": ASKED, "size": 60, **view})
    assert outcome(answer) == ("reranked", None)
    assert ids(answer) == reordered(ids(first_stage(way, THREE)))[:60]
    same_hits(answer, first_stage(way, THREE, **view))
