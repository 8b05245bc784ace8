"""What is asked and what a document says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer.config import DocumentField
from rescorer.text import document_texts, query_texts

ASKED = "cancel a flight"


@pytest.mark.parametrize(
    "query",
    [
        {"match": {"body": ASKED}},
        {"match": {"body": {"query": ASKED, "operator": "and"}}},
        {"match_phrase": {"body": {"query": ASKED, "slop": 2}}},
        {"match_phrase_prefix": {"body": ASKED}},
        {"match_bool_prefix": {"body": ASKED}},
        {"multi_match": {"query": ASKED, "fields": ["title^2", "body"]}},
        {"combined_fields": {"query": ASKED, "fields": ["title", "body"]}},
        {"query_string": {"query": ASKED}},
        {"simple_query_string": {"query": ASKED}},
        {"neural": {"embedding": {"query_text": ASKED, "k": 10}}},
        {"neural_sparse": {"terms": {"query_text": ASKED}}},
        {"hybrid": {"queries": [{"match": {"body": ASKED}}, {"knn": {"embedding": {"vector": [1.0], "k": 5}}}]}},
        {"bool": {"must": {"match": {"body": ASKED}}, "filter": [{"match": {"tag": "other words"}}]}},
        {"bool": {"should": [{"match": {"title": ASKED}}, {"match": {"body": ASKED}}]}},
        {"bool": {"must": [{"match": {"body": ASKED}}], "must_not": {"match": {"body": "train"}}}},
        {"dis_max": {"queries": [{"match": {"title": ASKED}}, {"match": {"body": ASKED}}]}},
        {"boosting": {"positive": {"match": {"body": ASKED}}, "negative": {"match": {"body": "train"}}}},
        {"nested": {"path": "chunks", "query": {"match": {"chunks.text": ASKED}}}},
        {"function_score": {"query": {"match": {"body": ASKED}}, "boost": 2}},
        {"script_score": {"query": {"match": {"body": ASKED}}, "script": {"source": "1"}}},
        {"constant_score": {"filter": {"match": {"body": ASKED}}}},
        {"semantic": {"field": "meaning", "query": ASKED}},
        {"sparse_vector": {"field": "terms", "inference_id": "elser", "query": ASKED}},
        {"text_expansion": {"terms": {"model_id": "elser", "model_text": ASKED}}},
        {"knn": {"field": "v", "query_vector_builder": {"text_embedding": {"model_id": "e5", "model_text": ASKED}}}},
        {"pinned": {"ids": ["1"], "organic": {"match": {"body": ASKED}}}},
        {"rule": {"ruleset_ids": ["r"], "match_criteria": {"q": "other"}, "organic": {"match": {"body": ASKED}}}},
        {"standard": {"query": {"match": {"body": ASKED}}, "filter": {"match": {"tag": "other words"}}}},
        {"rrf": {"retrievers": [{"standard": {"query": {"match": {"body": ASKED}}}}, {"knn": {"field": "v"}}]}},
        {"linear": {"retrievers": [{"retriever": {"standard": {"query": {"match": {"a": ASKED}}}}, "weight": 2}]}},
        {"rescorer": {"retriever": {"standard": {"query": {"match": {"body": ASKED}}}}, "rescore": {}}},
        {"diversify": {"type": "mmr", "retriever": {"standard": {"query": {"match": {"body": ASKED}}}}}},
        {
            "text_similarity_reranker": {
                "inference_text": "other",
                "retriever": {"standard": {"query": {"match": {"a": ASKED}}}},
            }
        },
        {"bool": {"must": [{"bool": {"should": [[{"match": {"body": ASKED}}]]}}]}},
    ],
    ids=lambda query: next(iter(query)),
)
def test_the_query_text_is_found_in_each_kind_of_full_text_query(query: Any) -> None:
    """Each kind of full-text clause, alone or wrapped, gives its one string; filters give none."""
    assert query_texts(query) == [ASKED]


@pytest.mark.parametrize(
    "query",
    [
        None,
        {"match_all": {}},
        {"term": {"tag": "flight"}},
        {"match": {"year": 2020}},
        {"match": {"body": "   "}},
        {"knn": {"embedding": {"vector": [1.0], "k": 5}}},
        {"bool": {"filter": {"match": {"body": ASKED}}}},
        {"match": ASKED},
        {"bool": None},
        "not a query",
        [{"multi_match": {"query": None}}],
    ],
)
def test_a_query_without_full_text_gives_none(query: Any) -> None:
    """M7: no text is made up, and no shape of query is an error."""
    assert query_texts(query) == []


def test_two_different_strings_are_both_told() -> None:
    """Which of two strings was asked is not guessed."""
    query = {"bool": {"must": [{"match": {"title": "flight"}}, {"match": {"city": "Oslo"}}]}}
    assert query_texts(query) == ["flight", "Oslo"]


@pytest.mark.parametrize(
    "query",
    [
        {"hybrid": {"queries": [{"match": {"a": "one"}}, {"neural": {"v": {"query_text": "two", "k": 3}}}]}},
        {"match": {"a": "one"}, "multi_match": {"query": "two"}},
        [
            {"query_string": {"query": "one"}},
            {"knn": {"query_vector_builder": {"text_embedding": {"model_text": "two"}}}},
        ],
        {
            "rrf": {
                "retrievers": [
                    {"standard": {"query": {"match": {"a": "one"}}}},
                    {"standard": {"query": {"semantic": {"query": "two"}}}},
                ]
            }
        },
        {"dis_max": {"queries": [{"match": {"a": "one"}}, {"match": {"b": "two"}}, {"match": {"c": "one"}}]}},
    ],
)
def test_texts_come_in_the_order_of_the_query(query: Any) -> None:
    """Each different string once, whatever it stands in, so that an outcome names them as they were written."""
    assert query_texts(query) == ["one", "two"]


@pytest.mark.parametrize("around", [lambda inner: {"bool": {"must": [inner]}}, lambda inner: [inner]])
def test_a_query_nested_deeper_than_the_stack_is_read(around: Any) -> None:
    """No query is too deep to look for its text; one that holds itself ends as well."""
    query: Any = {"match": {"body": ASKED}}
    for _ in range(5000):
        query = around(query)
    assert query_texts(query) == [ASKED]
    endless: dict[str, Any] = {"bool": {"must": [{"match": {"body": ASKED}}]}}
    endless["bool"]["must"].append(endless)
    assert query_texts(endless) == [ASKED]


def test_a_document_nested_deeper_than_the_stack_is_read() -> None:
    """No document is too deep to read, and its leaves keep their order."""
    value: Any = ["two"]
    for _ in range(5000):
        value = {"a": value}
    assert _read({"title": ["one", value, "three"], "long": 10**5000}, "title", "long") == ["one two three"]


def _read(source: Any, *names: str, fields: Any = None, whole: bool = True) -> list[str]:
    hit = {"_source": source} | ({"fields": fields} if fields is not None else {})
    return [text for _, text in document_texts(hit, [DocumentField(field=name) for name in names], whole)]


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ({"a": {"b": "deep"}}, "a.b", "deep"),
        ({"a.b": "literal"}, "a.b", "literal"),
        ({"a": {"b.c": "half literal"}}, "a.b.c", "half literal"),
        ({"a": ["one", "two"]}, "a", "one two"),
        ({"a": [{"b": "one"}, {"b": ["two", "three"]}, {"c": "other"}]}, "a.b", "one two three"),
        ({"a": {"first": "Ada", "last": "Byron"}}, "a", "Ada Byron"),
        ({"a": 3.5}, "a", "3.5"),
        ({"a": [True, None, 7]}, "a", "true 7"),
        ({"title": "parent"}, "title.english", "parent"),
    ],
)
def test_every_shape_of_a_field_gives_its_text(source: Any, name: str, text: str) -> None:
    """M17: nested, dotted, listed and multi-fields are read alike."""
    assert _read(source, name) == [text]


@pytest.mark.parametrize("source", [{}, {"title": None}, {"title": ""}, {"title": []}, {"title": {}}, None])
def test_a_missing_or_empty_field_is_left_out(source: Any) -> None:
    """A document that says nothing gives no text and no error."""
    assert _read(source, "title") == []


def test_fields_are_kept_apart_and_labelled() -> None:
    """M25: title "cat" and body "alog" never run into "catalog", and each keeps its label."""
    wanted = [DocumentField(field="title", label="Title"), DocumentField(field="body")]
    found = document_texts({"_source": {"title": "cat", "body": "alog"}}, wanted, source_is_whole=True)
    assert found == (("Title", "cat"), ("", "alog"))


def test_a_hidden_source_is_read_from_fields() -> None:
    """M17: where ``_source`` is hidden, ``fields`` gives the text, nested objects too."""
    fields = {"title": ["shown"], "chunks": [{"text": ["one"]}, {"text": ["two"]}]}
    assert _read(None, "title", "chunks.text", fields=fields, whole=False) == ["shown", "one two"]


@pytest.mark.parametrize(
    ("fields", "name", "text"),
    [
        ({"people.role": ["r5"], "people.name": ["Ada", "Max"]}, "people", "Ada Max r5"),
        ({"people.name.plain": ["Ada"], "people.name": ["Ada"]}, "people", "Ada"),
        ({"title": ["one"], "title.plain": ["one"]}, "title", "one"),
        ({"titles": ["other"], "title.plain": ["one"]}, "title", "one"),
        ({"chunks": [{"text": ["a"], "n": [1], "in.deep": ["d"]}, {"n": [2]}]}, "chunks", "d 1 a 2"),
        ({"chunks": [{"text": ["a"], "text.plain": ["a"]}, {"n": [2]}]}, "chunks", "a 2"),
        ({"chunks": [{"text": ["a"], "in.deep": ["d"]}]}, "chunks.in", "d"),
        ({"outer.chunks": [{"in": [{"deep": ["d"]}, {"deep": ["e"]}]}]}, "outer.chunks.in.deep", "d e"),
        ({"flat": [{"a": "x", "b": {"c": "y"}}]}, "flat", "x y"),
    ],
)
def test_an_object_is_read_field_by_field_in_the_order_of_their_names(fields: Any, name: str, text: str) -> None:
    """Whatever order an engine shows them in; a multi-field beside its parent says nothing new."""
    assert _read({"place": 1}, name, fields=fields, whole=False) == [text]
    assert _read({"place": 1}, name, fields=dict(reversed(fields.items())), whole=False) == [text]


def test_the_values_of_an_object_stand_in_the_order_of_their_names() -> None:
    """OpenSearch shuffles them where it cuts ``_source``: the text is the same."""
    assert _read({"a": [{"role": "r5", "name": {"last": "B", "first": "A"}}, {"name": "Max"}]}, "a") == ["A B r5 Max"]


def test_a_whole_source_wins_over_formatted_fields() -> None:
    """What the caller asked for in ``fields`` may be formatted, and is not what the document says."""
    assert _read({"day": "2020-01-02"}, "day", fields={"day": ["02/01/20"]}) == ["2020-01-02"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a.b"]), inner, max_size=3),
    max_leaves=12,
)


@given(source=JSON)
def test_no_document_is_an_error(source: Any) -> None:
    """Whatever a document holds, reading its text gives strings."""
    assert all(isinstance(text, str) and text for text in _read(source, "a", "a.b"))


@given(query=JSON)
def test_no_query_is_an_error(query: Any) -> None:
    """Whatever stands in a query, looking for its text gives strings that are not blank."""
    assert all(text.strip() for text in query_texts({"bool": {"must": query}, "match": query}))
