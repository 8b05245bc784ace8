"""Lists that the client fuses: ``hybrid_search`` by its profile and trees of retrievers, through all four classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import elasticsearch
import opensearchpy
import pytest

from rescorer.domain import ScoreRequest, Scores
from rescorer.errors import InvalidSetting, Reason, ScorerUnavailable
from rescorer.testing import FakeScorer
from unit.client.fake_clients import plain, settled
from unit.client.fake_engine import PROFILE, TOO_LARGE, FakeEngine, Refusal, hit

Made = Callable[..., Any]
FORM = {"text_fields": ["title", "body"], "vector_field": "v", "k": 4}


def _engine(fusion: str, **kwargs: Any) -> FakeEngine:
    """BM25 finds d0 to d5, kNN finds d3 to d8."""
    lists = {"words": [hit(place) for place in range(6)], "near": [hit(place) for place in range(3, 9)]}

    def found(body: Mapping[str, Any]) -> list[dict[str, Any]]:
        asked = body.get("query") or body.get("retriever") or {}
        return lists["near" if "knn" in asked or ("knn" in body and "query" not in body) else "words"]

    return FakeEngine(profile={**PROFILE, "hybrid": {**FORM, "fusion": fusion}}, lists=found, **kwargs)


def _ids(answer: Any) -> list[str]:
    return [entry["_id"] for entry in answer["hits"]["hits"]]


@pytest.mark.parametrize("fusion", ["min_max", "rrf"])
async def test_both_halves_are_asked_in_one_round_trip(made: Made, fusion: str) -> None:
    """One msearch: BM25, kNN, and the rest of the answer over the union of both; then one list, rescored."""
    engine = _engine(fusion)
    answer = plain(await settled(made(engine).hybrid_search("articles", "cancel", size=3, body={"aggs": {"a": {}}})))
    assert engine.paths()[1:] == ["/_msearch"]
    _, words, _, near, _, rest = engine.sent[-1].lines
    assert ("aggs" in words, "aggs" in near, "aggs" in rest) == (False, False, True)
    assert (words["size"], near["size"], rest["size"]) == (5, 5, 0)
    assert answer["rescore"]["status"] == "reranked"
    assert len(_ids(answer)) == 3


async def test_the_fused_list_alone_is_what_the_halves_make(made: Made) -> None:
    """``rescored=False``: the hits of both halves by their fused scores, and the outcome says that it was wished."""
    answer = plain(await settled(made(_engine("rrf")).hybrid_search("articles", "cancel", size=20, rescored=False)))
    ranks = {f"d{place}": 1 / (61 + place) for place in range(5)}
    for place in range(3, 8):
        ranks[f"d{place}"] = ranks.get(f"d{place}", 0.0) + 1 / (61 + place - 3)
    assert {entry["_id"]: entry["_score"] for entry in answer["hits"]["hits"]} == pytest.approx(ranks)
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("skipped", "disabled")


async def test_pages_of_a_fused_list_laid_end_to_end_are_the_whole(made: Made, kind: str) -> None:
    """Whatever the page, both halves are read to the same depth, so the list stays the same."""
    client = made(_engine("min_max"))
    whole = _ids(plain(await settled(client.hybrid_search("articles", "cancel", size=20))))
    walked: list[str] = []
    for begin in range(0, 20, 3):
        walked += _ids(plain(await settled(client.hybrid_search("articles", "cancel", size=3, from_=begin))))
    assert walked == whole
    assert len(set(walked)) == len(walked) == 8


@pytest.mark.parametrize("body", [{"_source": False}, {"sort": ["_score"]}, {"suggest": {"s": {}}}, {"explain": True}])
async def test_what_stands_beside_the_text_changes_nothing_in_the_order(made: Made, body: Any) -> None:
    """Hidden documents, a sort by score, suggestions and explanations are no reason to leave the search alone."""
    client = made(_engine("rrf"))
    plainly = plain(await settled(client.hybrid_search("articles", "cancel", size=4)))
    answer = plain(await settled(client.hybrid_search("articles", "cancel", size=4, body=body)))
    assert (answer["rescore"]["status"], _ids(answer)) == ("reranked", _ids(plainly))


async def test_a_group_comes_once_although_both_halves_hold_it(made: Made) -> None:
    """collapse holds for the fused list as a whole."""
    engine = _engine("rrf")
    body = {"collapse": {"field": "group"}, "fields": ["group"]}
    inner = engine.lists
    assert inner is not None
    engine.lists = lambda asked: [
        {**entry, "_source": {**entry["_source"], "group": int(entry["_id"][1:]) % 2}} for entry in inner(asked)
    ]
    answer = plain(await settled(made(engine).hybrid_search("articles", "cancel", size=9, body=body)))
    assert [entry["fields"]["group"] for entry in answer["hits"]["hits"]] in ([[0], [1]], [[1], [0]])


async def test_a_half_that_fails_is_the_engines_own_error(made: Made, kind: str) -> None:
    """The class that a single search would have raised."""
    engine = _engine("rrf")

    def refused(body: Mapping[str, Any]) -> list[dict[str, Any]]:
        raise Refusal(400, "query_shard_exception", "no such field [v]")

    engine.lists = refused
    own = elasticsearch.BadRequestError if kind.endswith("elasticsearch") else opensearchpy.RequestError
    with pytest.raises(own, match="query_shard_exception"):
        await settled(made(engine).hybrid_search("articles", "cancel"))


async def test_a_sort_by_a_field_is_refused_before_anything_is_sent(made: Made) -> None:
    """A fused list has one order."""
    engine = _engine("rrf")
    with pytest.raises(InvalidSetting, match=r"^sort: "):
        await settled(made(engine).hybrid_search("articles", "cancel", body={"sort": ["year"]}))
    assert engine.paths() == ["/articles/_mapping"]


WORDS = {"standard": {"query": {"match": {"body": "cancel"}}}}
NEAR = {"knn": {"field": "v", "query_vector": [1.0], "k": 3, "num_candidates": 9}}


def _ours(inner: Any, **said: Any) -> dict[str, Any]:
    body = {"retriever": inner, "field": "title", "inference_id": "rescorer", "inference_text": "cancel", **said}
    return {"text_similarity_reranker": body}


async def test_inside_a_fusion_one_list_is_rescored(made: Made, scorer: FakeScorer) -> None:
    """Its own window is scored, the other list is not, and the outcome counts what was."""
    tree = {"rrf": {"retrievers": [_ours(WORDS, rank_window_size=4), NEAR]}}
    answer = plain(await settled(made(_engine("rrf")).search(index="articles", body={"retriever": tree, "size": 20})))
    assert [len(request.candidates) for request in scorer.requests] == [4]
    assert (answer["rescore"]["status"], answer["rescore"]["scored"]) == ("reranked", 4)
    assert sorted(_ids(answer)) == [f"d{place}" for place in range(9)]


async def test_a_scorer_that_is_gone_leaves_the_fused_first_stage(made: Made, scorer: FakeScorer) -> None:
    """Inside a tree as anywhere: no hit is lost, and the fallback is visible, or an error where one was wished."""
    tree = {"rrf": {"retrievers": [_ours(WORDS), NEAR]}}
    scorer.failure = ScorerUnavailable("gone")
    engine = _engine("rrf")
    answer = plain(await settled(made(engine).search(index="articles", body={"retriever": tree, "size": 20})))
    assert sorted(_ids(answer)) == [f"d{place}" for place in range(9)]
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "scorer_unavailable")
    engine.profile = {**engine.profile, "on_failure": "error"}
    with pytest.raises(ScorerUnavailable):
        await settled(made(engine).search(index="articles", body={"retriever": tree}))


async def test_several_cross_encoders_of_a_tree_are_told_as_one(made: Made, scorer: FakeScorer) -> None:
    """Their counts are added up."""
    tree = {"linear": {"retrievers": [{"retriever": _ours(WORDS)}, {"retriever": _ours(NEAR), "weight": 2.0}]}}
    answer = plain(await settled(made(_engine("rrf")).search(index="articles", body={"retriever": tree})))
    assert [len(request.candidates) for request in scorer.requests] == [5, 5]
    assert answer["rescore"]["scored"] == 10


async def test_a_tree_in_an_msearch_is_refused_by_its_line(made: Made) -> None:
    """It needs an msearch of its own."""
    body = [{"index": "articles"}, {"retriever": {"rrf": {"retrievers": [_ours(WORDS), NEAR]}}}]
    with pytest.raises(InvalidSetting, match=r"^body\[1\]\.retriever: .*send this one with search"):
        await settled(made(_engine("rrf")).msearch(body=body))


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"responses": None},
        {"responses": []},
        {"responses": [1, 2, 3]},
        {"responses": [{"hits": {"hits": []}}] * 2},
        {"responses": [{"hits": {"hits": [{"_id": ["x"]}]}}] * 3},
        {"responses": [{"hits": {"hits": []}}, {"hits": {"hits": []}}, {}]},
        {"error": "not now", "status": 503},
    ],
)
async def test_what_is_no_answer_to_an_msearch_is_handed_on(made: Made, odd: Any) -> None:
    """A proxy's words, ``ignore=404`` and the like come back as the engine sent them, for each way to fuse."""
    for asked in (
        {"retriever": {"rrf": {"retrievers": [_ours(WORDS), NEAR]}}},
        {"retriever": _ours({"rrf": {"retrievers": [WORDS, NEAR]}})},
    ):
        for more in ({}, {"rescore": {"cross_encoder": False}}):
            engine = _engine("rrf", raw_many=odd)
            assert plain(await settled(made(engine).search(index="articles", body={**asked, **more}))) == odd
    engine = _engine("rrf", raw_many=odd)
    assert plain(await settled(made(engine).hybrid_search("articles", "cancel"))) == odd


class Late(FakeScorer):
    """Scores the first two of each request in time."""

    def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
        """Two of them."""
        return replace(
            super().score(request, timeout_s), results=self._whole(request)[:2], reason=Reason.DEADLINE_EXCEEDED
        )

    def _whole(self, request: ScoreRequest) -> Any:
        return super().score(request, 1.0).results


async def test_a_partial_list_inside_a_tree_is_told(made: Made) -> None:
    """The worst of the tree's outcomes is its word: partial beside reranked, and no hit is lost."""
    tree = {"rrf": {"retrievers": [_ours(WORDS, rank_window_size=2), _ours(NEAR)]}}
    client = made(_engine("rrf"), scorer=Late())
    answer = plain(await settled(client.search(index="articles", body={"retriever": tree, "size": 20})))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("partial", "deadline_exceeded")
    assert answer["rescore"]["scored"] == 4
    assert sorted(_ids(answer)) == [f"d{place}" for place in range(9)]


async def test_one_cross_encoder_of_two_that_fails_is_a_visible_fallback(made: Made, scorer: FakeScorer) -> None:
    """Its list stays in first-stage order, the other is rescored, and the outcome is the fallback."""
    scorer.failure = {"bad": ScorerUnavailable("gone")}
    tree = {"rrf": {"retrievers": [_ours(WORDS, inference_text="bad"), _ours(NEAR)]}}
    answer = plain(await settled(made(_engine("rrf")).search(index="articles", body={"retriever": tree, "size": 20})))
    assert (answer["rescore"]["status"], answer["rescore"]["scored"]) == ("fallback", 5)
    assert sorted(_ids(answer)) == [f"d{place}" for place in range(9)]


async def test_min_score_inside_a_tree_cuts_its_own_list(made: Made) -> None:
    """Hits of the inner list that score lower, and its tail, are left out of it; the other list keeps its own."""
    tree = {"rrf": {"retrievers": [_ours(WORDS, min_score=-998.0, rank_window_size=4), NEAR]}}
    answer = plain(await settled(made(_engine("rrf")).search(index="articles", body={"retriever": tree, "size": 20})))
    assert sorted(_ids(answer)) == [f"d{place}" for place in range(2, 9)]


async def test_min_score_of_the_search_holds_for_the_fused_list(made: Made) -> None:
    """It compares with the fused score, as both engines do for fusions of their own."""
    body = {"retriever": {"rrf": {"retrievers": [WORDS, _ours(NEAR)]}}, "size": 20, "min_score": 1 / 63}
    answer = plain(await settled(made(_engine("rrf")).search(index="articles", body=body)))
    assert answer["hits"]["hits"]
    assert all(entry["_score"] >= 1 / 63 for entry in answer["hits"]["hits"])


async def test_a_fusion_reads_its_lists_to_its_own_depth(made: Made) -> None:
    """A list that was read deeper for its cross-encoder counts to ``rank_window_size`` of the fusion alone."""
    tree = {"rrf": {"retrievers": [_ours(WORDS, rank_window_size=6), NEAR], "rank_window_size": 2}}
    answer = plain(await settled(made(_engine("rrf")).search(index="articles", body={"retriever": tree, "size": 20})))
    assert sorted(_ids(answer)) == ["d3", "d4", "d5"]


@pytest.mark.parametrize("fusion", ["min_max", "rrf"])
async def test_lists_are_read_as_deep_as_the_index_allows(made: Made, fusion: str) -> None:
    """A limit of 4 below a depth of 5: both halves to 4, on every page, fused and not rescored, with the reason."""
    engine = _engine(fusion, most_hits=4)
    client = made(engine)
    whole = plain(await settled(client.hybrid_search("articles", "cancel", size=9)))
    assert (whole["rescore"]["status"], whole["rescore"]["reason"]) == ("fallback", "window_too_large")
    assert whole["rescore"]["detail"] == TOO_LARGE.format(4, 5)
    assert [[line["size"] for line in sent.lines[1::2]] for sent in engine.of_path("/_msearch")] == [
        [5, 5, 0],
        [4, 4, 0],
    ]
    assert sorted(_ids(whole)) == [f"d{place}" for place in range(7)]
    pages = [
        plain(await settled(client.hybrid_search("articles", "cancel", size=2, from_=at))) for at in range(0, 8, 2)
    ]
    assert [name for page in pages for name in _ids(page)] == _ids(whole)


async def test_lists_that_are_not_to_be_rescored_are_read_no_deeper(made: Made) -> None:
    """``rescored=False`` meets with the same limit, and answers as far as it goes."""
    answer = plain(
        await settled(made(_engine("rrf", most_hits=4)).hybrid_search("articles", "cancel", size=9, rescored=False))
    )
    assert (answer["rescore"]["reason"], len(_ids(answer))) == ("window_too_large", 7)


async def test_lists_whose_texts_no_index_keeps_are_fused_all_the_same(made: Made, scorer: FakeScorer) -> None:
    """To their whole depth, without what was asked for on our behalf."""
    engine = _engine("rrf")
    engine.keeps_source = False
    answer = plain(await settled(made(engine).hybrid_search("articles", "cancel", size=9, body={"_source": False})))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "source_disabled")
    assert [line["size"] for line in engine.of_path("/_msearch")[1].lines[1::2]] == [5, 5, 0]
    assert (len(_ids(answer)), scorer.requests) == (8, [])
