"""The hits contract on a real OpenSearch node: every answer is compared with what the official client gets.

The scorer is a fake that turns the first stage round, so that a window without a change of order would be noticed;
no model and no sidecar runs here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import opensearchpy
import pytest
from opensearchpy.helpers import bulk, scan

from rescorer.errors import HybridWithoutPipeline, InvalidProfile, ScorerUnavailable
from rescorer.opensearch import AsyncOpenSearch, OpenSearch
from rescorer.scorers.fake import DIMENSION
from rescorer.testing import AsyncFakeScorer, FakeScorer

COUNT = 30
WINDOW = 12
ASKED = {"match": {"body": "flight"}}
PROFILE: dict[str, Any] = {
    "document_fields": ["title", "body"],
    "window_size": WINDOW,
    "hybrid": {"text_fields": ["title^2", "body"], "vector_field": "v", "k": 20, "search_pipeline": "e2e-fused"},
}
FUSED = {
    "phase_results_processors": [
        {
            "normalization-processor": {
                "combination": {"technique": "arithmetic_mean", "parameters": {"weights": [0.5, 0.5]}}
            }
        }
    ]
}
FIELDS = {
    "title": {"type": "text", "fields": {"plain": {"type": "keyword"}}},
    "body": {"type": "text"},
    "tag": {"type": "keyword"},
    "place": {"type": "integer"},
    "author": {"properties": {"name": {"type": "text"}}},
    "chunks": {"type": "nested", "properties": {"text": {"type": "text"}}},
    "v": {
        "type": "knn_vector",
        "dimension": DIMENSION,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"},
    },
}


def reversing(query: str, text: str) -> float:
    """Negative logits, higher for a document that the first stage puts lower."""
    return int(text.split("number ")[1].split(maxsplit=1)[0]) - 100.0 if "number " in text else -500.0


def _documents() -> list[dict[str, Any]]:
    vectors = FakeScorer().embed(_Texts([f"doc {place}" for place in range(COUNT)]), 1.0)  # type: ignore[arg-type]
    return [
        {
            "title": f"title {place}",
            "body": f"number {place} flight " + "filler " * (2 * place),
            "tag": f"t{place % 7}",
            "place": place,
            "author": {"name": f"author {place}"},
            "meta.note": f"note {place}",
            "chunks": [{"text": f"number {place}"}, {"text": "second chunk"}],
            "v": vectors[place],
            "_rescore": {"mine": place},
        }
        for place in range(COUNT)
    ]


class _Texts:
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts


@pytest.fixture(scope="module")
def plain(opensearch_url: str) -> Iterator[opensearchpy.OpenSearch]:
    """The official client, with the indices that these tests search."""
    with opensearchpy.OpenSearch([opensearch_url]) as made:
        _set_up(made)
        yield made
        made.indices.delete(index="e2e-*")
        made.transport.perform_request("DELETE", "/_search/pipeline/e2e-fused")


def _set_up(made: opensearchpy.OpenSearch) -> None:
    made.indices.delete(index="e2e-*")
    made.transport.perform_request("PUT", "/_search/pipeline/e2e-fused", body=FUSED)
    for name, shards, meta in [
        ("e2e-bare", 1, {}),
        ("e2e-one.v1", 1, {"_meta": {"rescorer": PROFILE}}),
        ("e2e-three", 3, {"_meta": {"rescorer": PROFILE}}),
        ("e2e-lonely", 5, {"_meta": {"rescorer": PROFILE}}),
        ("e2e-other", 1, {"_meta": {"rescorer": {**PROFILE, "model": "other"}}}),
    ]:
        settings = {"number_of_shards": shards, "number_of_replicas": 0, "knn": True}
        mappings = {**meta, "properties": FIELDS}
        made.indices.create(index=name, body={"settings": {"index": settings}, "mappings": mappings})
        routing = {"routing": "all-on-one"} if name == "e2e-lonely" else {}
        actions = [
            {"_index": name, "_id": f"d{place}", "_source": document, **routing}
            for place, document in enumerate(_documents())
        ]
        bulk(made, actions, refresh=True)
    made.indices.put_alias(index="e2e-three", name="e2e-alias")


@pytest.fixture
def scorer() -> FakeScorer:
    """Turns the first stage round."""
    return FakeScorer(reversing)


@pytest.fixture
def client(opensearch_url: str, plain: opensearchpy.OpenSearch, scorer: FakeScorer) -> Iterator[OpenSearch]:
    """Our client on the same node."""
    with OpenSearch([opensearch_url], rescorer=scorer) as made:
        yield made


def _ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def _expected(first_stage: list[str]) -> list[str]:
    """The order that the fake scorer makes of a first-stage list."""
    return sorted(first_stage[:WINDOW], key=lambda name: -int(name[1:])) + first_stage[WINDOW:]


def _without_score(hit: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in hit.items() if key != "_score"}


def _same_hits(ours: Any, theirs: Any) -> None:
    """Each of our hits equals the engine's hit of that id in everything but the score."""
    first = {hit["_id"]: _without_score(hit) for hit in theirs["hits"]["hits"]}
    for hit in ours["hits"]["hits"]:
        assert _without_score(hit) == first[hit["_id"]]


def _all(plain: opensearchpy.OpenSearch, index: str, **body: Any) -> Any:
    return plain.search(index=index, body={"query": ASKED, "size": COUNT, **body})


INDICES = ["e2e-one.v1", "e2e-three", "e2e-lonely", "e2e-alias"]


@pytest.mark.parametrize("index", INDICES)
def test_the_window_is_reordered_and_every_hit_is_the_engines(
    client: OpenSearch, plain: opensearchpy.OpenSearch, index: str
) -> None:
    """M3, M5, M11, M15, M18, M19: the model's order, the engine's hits and totals, on 1, 3 and 5 shards."""
    first = _all(plain, index)
    answer = client.search(index=index, body={"query": ASKED, "size": COUNT})
    assert _ids(answer) == _expected(_ids(first))
    _same_hits(answer, first)
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["hits"]["max_score"] == scores[0]
    assert answer["hits"]["total"] == first["hits"]["total"]
    assert answer["rescore"]["totals"] == {"first_stage": first["hits"]["total"], "window": WINDOW}
    assert answer["_shards"] == first["_shards"]


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("page_size", [5, 7, 12])
def test_pages_give_each_hit_once(
    client: OpenSearch, plain: opensearchpy.OpenSearch, index: str, page_size: int
) -> None:
    """M9, M10, M14, M20: pages laid end to end are the long list, across the seam and past it."""
    walked: list[str] = []
    for begin in range(0, COUNT, page_size):
        walked += _ids(client.search(index=index, body={"query": ASKED, "from": begin, "size": page_size}))
    assert walked == _expected(_ids(_all(plain, index)))


@pytest.mark.parametrize("body", [{"query": ASKED}, {"query": {"match_all": {}}, "size": 3}, None])
def test_an_index_without_profile_is_searched_as_before(
    client: OpenSearch, plain: opensearchpy.OpenSearch, scorer: FakeScorer, body: Any
) -> None:
    """Nobody asked for rescoring: the answer is the official client's."""
    ours, theirs = client.search(index="e2e-bare", body=body), plain.search(index="e2e-bare", body=body)
    assert {**ours, "took": 0} == {**theirs, "took": 0}
    assert scorer.requests == []


VIEWS: list[Any] = [
    False,
    "title",
    ["ti*", "author.name"],
    {"includes": ["author*"], "excludes": ["author.name"]},
    {"excludes": ["body", "v"]},
    [],
]


@pytest.mark.parametrize("shown", VIEWS, ids=str)
@pytest.mark.parametrize("more", [{}, {"fields": ["place", "ti*"]}, {"docvalue_fields": ["tag"]}], ids=str)
def test_the_callers_view_is_restored(
    client: OpenSearch, plain: opensearchpy.OpenSearch, scorer: FakeScorer, shown: Any, more: Any
) -> None:
    """T7: the model reads what the caller hides, and the caller sees exactly what he would have seen."""
    view = {"_source": shown, **more}
    answer = client.search(index="e2e-three", body={"query": ASKED, "size": COUNT, **view})
    first = _all(plain, "e2e-three", **view)
    _same_hits(answer, first)
    assert _ids(answer) == _expected(_ids(first))
    assert all("number" in dict(candidate.fields)[""] for candidate in scorer.requests[0].candidates)


def test_a_view_in_the_url_is_restored_too(client: OpenSearch, plain: opensearchpy.OpenSearch) -> None:
    """``_source``, ``size`` and ``from_`` as keywords mean the same."""
    options: dict[str, Any] = {"_source_includes": "place", "size": 4, "from_": 2}
    answer = client.search(index="e2e-three", body={"query": ASKED, "size": 1}, **options)
    assert _ids(answer) == _expected(_ids(_all(plain, "e2e-three")))[2:6]
    assert all(hit["_source"].keys() == {"place"} for hit in answer["hits"]["hits"])


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("author.name", "author 0"),
        ("meta.note", "note 0"),
        ("title.plain", "title 0"),
        ("chunks.text", "number 0 second chunk"),
        ("place", "0"),
    ],
)
def test_every_kind_of_field_gives_its_text(
    client: OpenSearch, scorer: FakeScorer, hidden: bool, name: str, text: str
) -> None:
    """M17: objects, literal dotted keys, multi-fields, nested ones and numbers, also where ``_source`` is hidden."""
    body: dict[str, Any] = {"query": ASKED, "rescore": {"cross_encoder": {"document_fields": [name]}}}
    client.search(index="e2e-bare", body=body | ({"_source": False} if hidden else {}))
    assert [said for _, said in scorer.requests[0].candidates[0].fields] == [text]


def test_highlights_aggregations_and_named_queries_travel(client: OpenSearch, plain: opensearchpy.OpenSearch) -> None:
    """M8, M15: fragments, inner hits and matched queries go with their hit; aggregations are the engine's."""
    query = {
        "bool": {
            "must": {"match": {"body": {"query": "flight", "_name": "named"}}},
            "should": {"nested": {"path": "chunks", "query": {"match_all": {}}, "inner_hits": {}}},
        }
    }
    body = {"query": query, "highlight": {"fields": {"body": {}}}, "aggs": {"tags": {"terms": {"field": "tag"}}}}
    ours = client.search(index="e2e-three", body={**body, "size": COUNT})
    theirs = plain.search(index="e2e-three", body={**body, "size": COUNT})
    assert ours["rescore"]["status"] == "reranked"
    _same_hits(ours, theirs)
    assert ours["aggregations"] == theirs["aggregations"]
    assert all("<em>flight</em>" in hit["highlight"]["body"][0] for hit in ours["hits"]["hits"])


def test_collapse_works_with_rescoring(client: OpenSearch, plain: opensearchpy.OpenSearch) -> None:
    """M2, M26: OpenSearch refuses collapse with rescore; with ours each group stands once, past the window too."""
    collapse = {"field": "tag", "inner_hits": {"name": "rest", "size": 2}}
    entry = {"cross_encoder": {"window_size": 4}}
    answer = client.search(
        index="e2e-three", body={"query": ASKED, "collapse": collapse, "rescore": entry, "size": COUNT}
    )
    first = _all(plain, "e2e-three", collapse=collapse)
    heads = _ids(first)
    assert _ids(answer) == sorted(heads[:4], key=lambda name: -int(name[1:])) + heads[4:]
    assert len({hit["fields"]["tag"][0] for hit in answer["hits"]["hits"]}) == 7
    assert all(hit["_score"] < 0 for hit in answer["hits"]["hits"])
    _same_hits(answer, first)


def test_the_engines_own_rescorers_run_first(client: OpenSearch, plain: opensearchpy.OpenSearch) -> None:
    """E2: a native rescorer in the list decides who is in the window; the cross-encoder orders it."""
    boost = {"function_score": {"query": {"match_all": {}}, "field_value_factor": {"field": "place"}}}
    native = {"window_size": COUNT, "query": {"rescore_query": boost, "rescore_query_weight": 10.0}}
    first = _ids(_all(plain, "e2e-one.v1", rescore=native))
    assert first[0] == "d29"
    for rescore in ([native, {"cross_encoder": {}}], {**native, "cross_encoder": {"window_size": WINDOW}}):
        answer = client.search(index="e2e-one.v1", body={"query": ASKED, "rescore": rescore, "size": COUNT})
        assert _ids(answer) == _expected(first)


def test_explain_answers_for_every_hit(client: OpenSearch) -> None:
    """M3: window and tail have a cross_encoder node above the engine's own explanation."""
    answer = client.search(index="e2e-one.v1", body={"query": ASKED, "explain": True, "size": COUNT})
    for hit in answer["hits"]["hits"]:
        assert hit["_explanation"]["description"].startswith("cross_encoder")
        assert hit["_explanation"]["value"] == hit["_score"]
        assert "weight(body:flight" in str(hit["_explanation"])
        assert hit["_source"]["_rescore"] == {"mine": int(hit["_id"][1:])}


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        ({"query": ASKED, "sort": [{"place": "desc"}]}, {}, "explicit_sort"),
        ({"query": ASKED, "size": 0}, {}, "size_zero"),
        ({"query": {"match_all": {}}}, {}, "no_query_text"),
        ({"query": ASKED, "from": 200}, {}, "page_beyond_window"),
        ({"query": {"match": {"body": "nowhere"}}}, {}, "no_hits"),
        ({"query": ASKED}, {"scroll": "1m"}, "scroll"),
        ({"suggest": {"s": {"text": "fligth", "term": {"field": "body"}}}}, {}, "suggest_only"),
        ({"query": ASKED, "rescore": {"cross_encoder": False}}, {}, "disabled"),
    ],
)
def test_what_is_left_alone_says_why(
    client: OpenSearch, plain: opensearchpy.OpenSearch, body: Any, options: Any, reason: str
) -> None:
    """M6, M7, M23, M24: the engine's own answer, plus the reason."""
    answer = client.search(index="e2e-three", body=body, **options)
    official = {key: value for key, value in body.items() if key != "rescore"}
    theirs = plain.search(index="e2e-three", body=official, **options)
    drop = {"took", "rescore", "_scroll_id"}
    ours = {key: value for key, value in answer.items() if key not in drop}
    assert ours == {key: value for key, value in theirs.items() if key not in drop}
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("skipped", reason)


def test_helpers_of_the_official_client_work(client: OpenSearch) -> None:
    """``scan`` over an index with a profile gives every document."""
    found = list(scan(client, index="e2e-three", query={"query": ASKED}, size=7))
    assert len(found) == COUNT


@pytest.mark.parametrize("index", ["e2e-one.v1", "e2e-three"])
def test_hybrid_search_is_fused_and_rescored(client: OpenSearch, scorer: FakeScorer, index: str) -> None:
    """M8, M9, M12: both halves through the pipeline, pages without gap or double, fragments with their hit."""
    body = {"highlight": {"fields": {"body": {}}}}
    whole = client.hybrid_search(index, "flight", size=COUNT, rescored=False, body=body)
    answer = client.hybrid_search(index, "flight", size=COUNT, body=body)
    assert answer["rescore"]["status"] == "reranked"
    assert _ids(answer) == _expected(_ids(whole))
    _same_hits(answer, whole)
    assert len(set(_ids(whole))) == len(_ids(whole)) > WINDOW
    walked = []
    for begin in range(0, 2 * COUNT, 5):
        walked += _ids(client.hybrid_search(index, "flight", from_=begin, size=5))
    assert walked == _ids(answer)


def test_a_hybrid_body_of_ones_own_pages_without_gap(client: OpenSearch) -> None:
    """M9, M14: a hybrid query in the caller's body keeps one list over all pages, past the window too."""
    (vector,) = FakeScorer().embed(_Texts(["doc 3"]), 1.0)  # type: ignore[arg-type]
    query = {"hybrid": {"queries": [ASKED, {"knn": {"v": {"vector": vector, "k": 8}}}]}}
    walked: list[str] = []
    for begin in range(0, COUNT, 5):
        body = {"query": query, "from": begin, "size": 5}
        walked += _ids(client.search(index="e2e-one.v1", body=body, search_pipeline="e2e-fused"))
    assert len(set(walked)) == len(walked) > WINDOW
    first = client.search(
        index="e2e-one.v1",
        body={"query": query, "size": WINDOW, "rescore": {"cross_encoder": False}},
        search_pipeline="e2e-fused",
    )
    assert sorted(walked[:WINDOW]) == sorted(_ids(first))


@pytest.mark.parametrize("given", [{"terms": {"tag": ["t1", "t2"]}}, [{"term": {"tag": "t1"}}]], ids=["one", "list"])
def test_a_hybrid_filter_bounds_both_halves(client: OpenSearch, given: Any) -> None:
    """Only documents that pass the filter come back."""
    answer = client.hybrid_search("e2e-three", "flight", filter=given, size=COUNT)
    assert {hit["_source"]["tag"] for hit in answer["hits"]["hits"]} <= {"t1", "t2"}
    assert len(_ids(answer)) >= 4


def test_hybrid_search_without_embedder_answers_with_bm25(client: OpenSearch, scorer: FakeScorer) -> None:
    """F1, F2: no sidecar: the BM25 half, filtered, with the reason; or the typed error."""
    scorer.failure = ScorerUnavailable("gone")
    answer = client.hybrid_search("e2e-one.v1", "flight", filter={"term": {"tag": "t1"}})
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "scorer_unavailable")
    assert _ids(answer) == ["d1", "d8", "d15", "d22", "d29"]
    with pytest.raises(ScorerUnavailable):
        client.hybrid_search("e2e-one.v1", "flight", rescore={"on_failure": "error"})


def test_a_hybrid_query_without_pipeline_is_refused(client: OpenSearch) -> None:
    """Delimiter scores never reach the application as if they were results."""
    query = {"hybrid": {"queries": [ASKED, {"match": {"title": "flight"}}]}}
    with pytest.raises(HybridWithoutPipeline, match="search_pipeline"):
        client.search(index="e2e-one.v1", body={"query": query})


def test_an_index_without_hybrid_profile_says_what_to_add(client: OpenSearch) -> None:
    """The message names the path in the mapping."""
    with pytest.raises(InvalidProfile, match=r"mappings\._meta\.rescorer\.hybrid"):
        client.hybrid_search("e2e-bare", "flight")


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("e2e-one.v1,e2e-three", None),
        ("e2e-three,e2e-other", "profiles_differ"),
        ("e2e-one.v1,e2e-bare", "profiles_differ"),
    ],
)
def test_several_indices_need_one_profile(client: OpenSearch, index: str, reason: str | None) -> None:
    """Equal profiles are one; different ones, or none beside one, are not guessed between."""
    answer = client.search(index=index, body={"query": ASKED})
    assert answer["rescore"]["reason"] == reason


def test_the_engines_errors_pass_through(client: OpenSearch, plain: opensearchpy.OpenSearch) -> None:
    """A missing index, a deep page and a broken query are the engine's to refuse, in its own words."""
    with pytest.raises(opensearchpy.NotFoundError):
        client.search(index="e2e-nowhere", body={"query": ASKED})
    with pytest.raises(opensearchpy.RequestError, match="Result window is too large"):
        client.search(index="e2e-three", body={"query": ASKED, "from": 5, "size": 10_000})
    with pytest.raises(opensearchpy.RequestError):
        client.search(index="e2e-three", body={"query": {"mach": {"body": "x"}}})


def test_the_largest_window_is_one_request(client: OpenSearch, scorer: FakeScorer) -> None:
    """``window_size`` 10,000 is within the engine's bounds."""
    body = {"query": ASKED, "rescore": {"window_size": 10_000, "cross_encoder": {}}}
    assert client.search(index="e2e-three", body=body)["rescore"]["scored"] == COUNT


def test_a_failing_scorer_never_fails_the_search(
    client: OpenSearch, plain: opensearchpy.OpenSearch, scorer: FakeScorer
) -> None:
    """F1: the engine's order and scores, byte for byte, and the reason."""
    scorer.failure = ScorerUnavailable("gone")
    answer = client.search(index="e2e-three", body={"query": ASKED, "_source": False, "size": 8})
    theirs = plain.search(index="e2e-three", body={"query": ASKED, "_source": False, "size": 8})
    assert answer["hits"] == theirs["hits"]
    assert answer["rescore"]["reason"] == "scorer_unavailable"


def test_the_asyncio_client_gives_the_same_answers(opensearch_url: str, client: OpenSearch) -> None:
    """Both clients run one story: equal searches have equal answers."""

    async def asked() -> tuple[Any, Any]:
        async with AsyncOpenSearch([opensearch_url], rescorer=AsyncFakeScorer(FakeScorer(reversing))) as made:
            one = await made.search(index="e2e-three", body={"query": ASKED, "_source": ["title"]})
            return one, await made.hybrid_search("e2e-three", "flight", from_=8, size=8)

    searched, hybrid = asyncio.run(asked())
    same = client.search(index="e2e-three", body={"query": ASKED, "_source": ["title"]})
    assert searched["hits"] == same["hits"]
    assert hybrid["hits"] == client.hybrid_search("e2e-three", "flight", from_=8, size=8)["hits"]
