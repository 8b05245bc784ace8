"""``hybrid_search``: what it asks the engine, and what happens where it can't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rescorer.errors import InvalidProfile, InvalidSetting, ProfileUnreadable, ScorerRefused, ScorerUnavailable
from rescorer.testing import AsyncFakeScorer, FakeScorer
from unit.client.fake_clients import async_client, client, settled
from unit.client.fake_engine import NOT_FOUND, PROFILE, FakeEngine, reversing

FORM = {"text_fields": ["title^2", "body"], "vector_field": "embedding", "search_pipeline": "fused", "k": 7}
WHOLE = {**PROFILE, "hybrid": FORM}
TEXT = "cancel a flight"
Made = Callable[..., Any]


class NoEmbedder(FakeScorer):
    """Scores, and knows no embedder."""

    def embed(self, request: Any, timeout_s: float) -> list[list[float]]:
        """Refuse."""
        raise ScorerRefused("no embedder is served")


@pytest.fixture
def scorer() -> FakeScorer:
    """Turns the first stage round."""
    return FakeScorer(reversing)


@pytest.fixture(params=["sync", "async"])
def made(request: pytest.FixtureRequest, scorer: FakeScorer) -> Made:
    """Makes a client of one of the two kinds."""

    def make(engine: FakeEngine, inner: FakeScorer | None = scorer) -> Any:
        if request.param == "sync":
            return client(engine, rescorer=inner)
        return async_client(engine, rescorer=None if inner is None else AsyncFakeScorer(inner))

    return make


async def test_both_halves_are_asked_and_rescored(made: Made, scorer: FakeScorer) -> None:
    """BM25 and kNN in one hybrid query through the index's pipeline, then the window by the cross-encoder."""
    engine = FakeEngine(profile=WHOLE)
    answer = await settled(made(engine).hybrid_search("articles", TEXT, size=3))
    (sent,) = engine.searches()
    (vector,) = FakeScorer().embed(scorer.embed_requests[0], 1.0)
    words = {"multi_match": {"query": TEXT, "fields": ["title^2", "body"]}}
    near = {"knn": {"embedding": {"vector": vector, "k": 7}}}
    assert sent.body == {
        "query": {"hybrid": {"queries": [words, near], "pagination_depth": 7}},
        "from": 0,
        "size": 5,
    }
    assert sent.params["search_pipeline"] == "fused"
    assert [entry["_id"] for entry in answer["hits"]["hits"]] == ["d4", "d3", "d2"]
    assert answer["rescore"]["status"] == "reranked"
    assert "embedding_ms" in answer["rescore"]["timings"]
    assert (scorer.embed_requests[0].kind, scorer.requests[0].query) == ("query", TEXT)


@pytest.mark.parametrize("given", [{"term": {"tag": "a"}}, [{"term": {"tag": "a"}}]])
async def test_a_filter_stands_in_both_halves(made: Made, given: Any) -> None:
    """A filter bounds BM25 and kNN alike, on every version of the engine."""
    engine = FakeEngine(profile=WHOLE)
    await settled(made(engine).hybrid_search("articles", TEXT, filter=given))
    words, near = engine.searches()[0].body["query"]["hybrid"]["queries"]
    assert words["bool"]["filter"] == [{"term": {"tag": "a"}}]
    assert near["knn"]["embedding"]["filter"] == {"bool": {"filter": [{"term": {"tag": "a"}}]}}


async def test_the_depth_is_the_same_on_every_page(made: Made) -> None:
    """M14: window or k, whichever is larger, and never the page decides how deep the halves are read."""
    engine = FakeEngine(profile=WHOLE)
    made_client = made(engine)
    for begin in (0, 4, 20):
        await settled(made_client.hybrid_search("articles", TEXT, from_=begin))
    depths = [sent.body["query"]["hybrid"]["pagination_depth"] for sent in engine.searches()]
    assert depths == [7, 7, 7]


async def test_hybrid_pages_laid_end_to_end_are_the_first_stage_set(made: Made) -> None:
    """M9: pages across the seam and past it give each hit once, and past the window in first-stage order."""
    made_client = made(FakeEngine(profile=WHOLE))
    walked, reasons = [], []
    for begin in range(0, 12, 3):
        answer = await settled(made_client.hybrid_search("articles", TEXT, from_=begin, size=3))
        walked += [entry["_id"] for entry in answer["hits"]["hits"]]
        reasons.append(answer["rescore"]["reason"])
    assert walked == [f"d{place}" for place in (4, 3, 2, 1, 0, 5, 6, 7, 8, 9, 10, 11)]
    assert reasons == [None, None, "page_beyond_window", "page_beyond_window"]


async def test_the_call_wins_over_body_and_profile(made: Made, scorer: FakeScorer) -> None:
    """Call over request over profile, key by key, and our key never reaches the engine."""
    engine = FakeEngine(profile={**WHOLE, "model": "of-profile", "max_tokens": 9})
    body = {"aggs": {"a": {}}, "rescore": {"cross_encoder": {"model": "of-body", "window_size": 4}}}
    await settled(made(engine).hybrid_search("articles", TEXT, rescore={"window_size": 3}, body=body))
    (sent,) = scorer.requests
    assert (sent.model, sent.max_tokens, len(sent.candidates)) == ("of-body", 9, 3)
    assert engine.searches()[0].body["aggs"] == {"a": {}}
    assert "rescore" not in engine.searches()[0].body


@pytest.mark.parametrize(
    ("options", "named"),
    [({}, "fused"), ({"search_pipeline": "mine"}, "mine"), ({"body": {"search_pipeline": {}}}, None)],
)
async def test_a_named_pipeline_wins(made: Made, options: Any, named: bytes | None) -> None:
    """The index's pipeline is used unless the call names one, in the URL or in the body."""
    engine = FakeEngine(profile=WHOLE)
    await settled(made(engine).hybrid_search("articles", TEXT, **options))
    assert engine.searches()[0].params.get("search_pipeline") == named


async def test_without_a_pipeline_in_the_profile_the_indexs_default_is_used(made: Made) -> None:
    """An empty ``search_pipeline`` sends none."""
    form = {key: value for key, value in FORM.items() if key != "search_pipeline"}
    engine = FakeEngine(profile={**PROFILE, "hybrid": form})
    await settled(made(engine).hybrid_search("articles", TEXT))
    assert "search_pipeline" not in engine.searches()[0].params


async def test_rescored_false_is_the_engines_hybrid_alone(made: Made, scorer: FakeScorer) -> None:
    """The hybrid list as the engine fuses it, with an outcome that says so."""
    engine = FakeEngine(profile=WHOLE)
    answer = await settled(made(engine).hybrid_search("articles", TEXT, rescored=False, size=4))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("skipped", "disabled")
    assert [entry["_id"] for entry in answer["hits"]["hits"]] == ["d0", "d1", "d2", "d3"]
    assert scorer.requests == []


@pytest.mark.parametrize(
    ("inner", "reason"), [(NoEmbedder(reversing), "scorer_refused"), (None, "no_scorer")], ids=["refused", "none"]
)
async def test_without_a_query_vector_the_bm25_half_answers(made: Made, inner: Any, reason: str) -> None:
    """F2: no embedder gives BM25 in first-stage order and a visible fallback."""
    engine = FakeEngine(profile=WHOLE)
    answer = await settled(made(engine, inner).hybrid_search("articles", TEXT, size=3, filter={"term": {"t": 1}}))
    (sent,) = engine.searches()
    assert sent.body["query"]["bool"]["must"] == [{"multi_match": {"query": TEXT, "fields": ["title^2", "body"]}}]
    assert "search_pipeline" not in sent.params
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", reason)
    assert [entry["_id"] for entry in answer["hits"]["hits"]] == ["d0", "d1", "d2"]


async def test_on_failure_error_raises_where_the_query_cannot_be_embedded(made: Made, scorer: FakeScorer) -> None:
    """F1: who wants an error gets the typed one, and the engine is not asked in vain."""
    scorer.failure = ScorerUnavailable("gone")
    engine = FakeEngine(profile=WHOLE)
    with pytest.raises(ScorerUnavailable):
        await settled(made(engine).hybrid_search("articles", TEXT, rescore={"on_failure": "error"}))
    assert engine.searches() == []


@pytest.mark.parametrize("profile", [None, PROFILE])
async def test_an_index_without_hybrid_profile_says_what_to_add(made: Made, profile: Any) -> None:
    """One line: the path, and an example of what belongs there."""
    engine = FakeEngine(profile=profile)
    with pytest.raises(InvalidProfile, match=r"^mappings\._meta\.rescorer\.hybrid: .*text_fields") as caught:
        await settled(made(engine).hybrid_search("articles", TEXT))
    assert "\n" not in str(caught.value)


async def test_an_invalid_profile_is_named_by_its_path(made: Made) -> None:
    """What is wrong in the template is said where it stands."""
    engine = FakeEngine(profile={**PROFILE, "hybrid": {**FORM, "k": 0}})
    with pytest.raises(InvalidProfile, match=r"^mappings\._meta\.rescorer\.hybrid\.k: 0 "):
        await settled(made(engine).hybrid_search("articles", TEXT))


async def test_indices_with_different_profiles_are_refused(made: Made) -> None:
    """No hybrid form is guessed between two."""
    engine = FakeEngine()
    engine.mappings = {name: {"mappings": {"_meta": {"rescorer": {**WHOLE, "model": name}}}} for name in ("a", "b")}
    with pytest.raises(InvalidProfile, match="different profiles"):
        await settled(made(engine).hybrid_search("a,b", TEXT))


async def test_an_unreadable_mapping_is_said_in_one_line(made: Made) -> None:
    """A missing index or missing rights: the index and the engine's reason."""
    engine = FakeEngine(refusals={"_mapping": NOT_FOUND})
    with pytest.raises(ProfileUnreadable, match=r"articles.*index_not_found_exception"):
        await settled(made(engine).hybrid_search("articles", TEXT))


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"text": " "}, "text"),
        ({"text": 7}, "text"),
        ({"size": -1}, "size"),
        ({"size": "10"}, "size"),
        ({"from_": 10_001}, "from_"),
        ({"filter": "tag:a"}, "filter"),
        ({"body": {"query": {}}}, "body"),
        ({"rescore": {"window": 5}}, "rescore.window"),
        ({"index": "_all"}, "index"),
        ({"index": ""}, "index"),
        ({"body": {"size": 3}}, "body.size"),
        ({"body": {"from": 3}}, "body.from"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(made: Made, arguments: Any, path: str) -> None:
    """Each is one line that begins with the argument's name."""
    engine = FakeEngine(profile=WHOLE)
    given = {"index": "articles", "text": TEXT, **arguments}
    with pytest.raises(InvalidSetting) as caught:
        await settled(made(engine).hybrid_search(**given))
    assert caught.value.path == path
    assert engine.sent == []


class Mute(FakeScorer):
    """Embeds into what is no vector."""

    def __init__(self, answer: Any) -> None:
        super().__init__(reversing)
        self.answer = answer

    def embed(self, request: Any, timeout_s: float) -> Any:
        """Nonsense."""
        return self.answer


@pytest.mark.parametrize("answer", [None, [], [[]], [[1.0], [2.0]], [["x"]], [[float("nan")]], "xy", [None], 5, {}])
async def test_a_vector_that_is_none_is_a_visible_fallback(made: Made, answer: Any) -> None:
    """M1: nonsense from an embedder never reaches the engine; BM25 answers in first-stage order."""
    engine = FakeEngine(profile=WHOLE)
    found = await settled(made(engine, Mute(answer)).hybrid_search("articles", TEXT, size=3))
    assert (found["rescore"]["status"], found["rescore"]["reason"]) == ("fallback", "bad_scores")
    assert [entry["_id"] for entry in found["hits"]["hits"]] == ["d0", "d1", "d2"]
    assert "knn" not in str(engine.searches()[0].body)
