"""``client.rescorer.explain``: what a search would do is what it then does, and where each setting comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rescorer import explain
from rescorer.errors import InvalidSetting, Reason
from rescorer.testing import FakeScorer
from unit.client.fake_clients import KINDS, made, plain, settled
from unit.client.fake_engine import NOT_FOUND, FakeEngine

PROFILE = {"document_fields": ["title", {"field": "body", "label": "Body"}], "window_size": 5}
QUERY = {"match": {"title": "cancel a flight"}}
OURS = {"cross_encoder": {"document_fields": ["title"]}}
KEYS = {
    *("would", "reason", "detail", "mend", "query_text", "query_texts_found"),
    *("page", "settings", "indices_with_profile", "round_trips", "sent"),
}
Explained = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def engine() -> FakeEngine:
    """An engine whose index has a profile."""
    return FakeEngine(profile=PROFILE)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """One of the four classes."""
    return str(request.param)


@pytest.fixture
def explained(kind: str, engine: FakeEngine) -> Explained:
    """What a client with a sidecar says about a search of ``articles``."""

    async def said(body: Any = None, index: Any = "articles", **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = await settled(made(kind, engine, FakeScorer()).rescorer.explain(index, body, **options))
        return found

    return said


async def test_nothing_is_searched_and_nothing_scored(kind: str, engine: FakeEngine) -> None:
    """Only the mapping is read, and the sidecar is not asked."""
    scorer = FakeScorer()
    await settled(made(kind, engine, scorer).rescorer.explain("articles", {"query": QUERY}))
    assert engine.paths() == ["/articles/_mapping"]
    assert scorer.calls == 0


async def test_a_profiles_models_that_a_request_sets_aside_are_not_told_as_said(
    explained: Explained, engine: FakeEngine
) -> None:
    """A request that names a model leaves nothing of the profile's cascade, and explain says so."""
    engine.profile = {**PROFILE, "cascade": [{"model": "small", "keep": 20}, {"model": "large"}]}
    told = (await explained({"query": QUERY}))["settings"]
    assert told["cascade"] == {
        "value": [{"model": "small", "keep": 20}, {"model": "large"}],
        "from": "mappings._meta.rescorer.cascade",
    }
    body = {"query": QUERY, "rescore": {"cross_encoder": {"model": "x"}}}
    told = (await explained(body))["settings"]
    assert told["cascade"] == {"value": [], "from": "default"}
    assert told["model"] == {"value": "x", "from": "rescore.cross_encoder.model"}


async def test_each_setting_is_told_with_where_it_stands(explained: Explained) -> None:
    """Default, profile and request are told apart, key by key, by their JSON paths."""
    body = {"query": QUERY, "rescore": {"window_size": 50, "cross_encoder": {"budget_ms": 120}}}
    told = await explained(body)
    assert (told["would"], told["reason"], told["detail"], told["mend"]) == ("rescore", None, None, None)
    settings = told["settings"]
    assert settings["window_size"] == {"value": 50, "from": "rescore.window_size"}
    assert settings["budget_ms"] == {"value": 120.0, "from": "rescore.cross_encoder.budget_ms"}
    assert settings["score_mode"] == {"value": "replace", "from": "default"}
    assert settings["document_fields"] == {
        "value": ["title", {"field": "body", "label": "Body"}],
        "from": "mappings._meta.rescorer.document_fields",
    }
    assert told["indices_with_profile"] == ["articles"]


@pytest.mark.parametrize(
    ("body", "options", "query_text"),
    [
        ({"query": QUERY}, {}, {"value": "cancel a flight", "from": "the query"}),
        (None, {"q": "title:flight"}, {"value": "title:flight", "from": "q="}),
        (
            {"query": QUERY, "rescore": {"cross_encoder": {"query_text": "flights"}}},
            {},
            {"value": "flights", "from": "rescore.cross_encoder.query_text"},
        ),
    ],
)
async def test_the_query_text_is_told_with_its_source(
    explained: Explained, body: Any, options: dict[str, Any], query_text: dict[str, str]
) -> None:
    """The text that the model would read, and whether query, URL or request says it."""
    assert (await explained(body, **options))["query_text"] == query_text


SAID: list[tuple[Any, dict[str, Any], str, Reason | None]] = [
    ({"query": QUERY}, {}, "rescore", None),
    ({"query": QUERY, "from": 3, "size": 4}, {}, "rescore", None),
    ({"query": QUERY, "size": 0}, {}, "skip", Reason.SIZE_ZERO),
    ({"query": QUERY, "from": 5}, {}, "skip", Reason.PAGE_BEYOND_WINDOW),
    ({"query": QUERY, "sort": ["year"]}, {}, "skip", Reason.EXPLICIT_SORT),
    ({"query": QUERY}, {"scroll": "1m"}, "skip", Reason.SCROLL),
    ({"query": {"match_all": {}}}, {}, "skip", Reason.NO_QUERY_TEXT),
    ({"query": {"bool": {"must": [QUERY, {"match": {"body": "other"}}]}}}, {}, "skip", Reason.AMBIGUOUS_QUERY_TEXT),
    ({"query": QUERY, "rescore": {"cross_encoder": False}}, {}, "skip", Reason.DISABLED),
]


@pytest.mark.parametrize(("body", "options", "would", "reason"), SAID)
async def test_what_is_told_is_what_the_search_does(
    explained: Explained, kind: str, engine: FakeEngine, body: Any, options: dict[str, Any], would: str, reason: Any
) -> None:
    """Verdict, reason and request are those of the search itself, and each reason has a mend."""
    told = await explained(body, **options)
    assert (told["would"], told["reason"]) == (would, reason)
    assert told["mend"] == (None if reason is None else explain.MENDS[reason])
    answer = plain(await settled(made(kind, engine, FakeScorer()).search(index="articles", body=body, **options)))
    assert answer["rescore"]["status"] == {"rescore": "reranked", "skip": "skipped"}[would]
    assert answer["rescore"]["reason"] == reason
    assert engine.searches()[-1].body == told["sent"]["body"]
    assert told["sent"]["method"] == "search"


async def test_two_texts_are_shown_where_the_query_is_ambiguous(explained: Explained) -> None:
    """Whoever has to say which text is meant reads which there are."""
    told = await explained({"query": {"bool": {"should": [QUERY, {"match": {"body": "other"}}]}}})
    assert told["query_texts_found"] == ["cancel a flight", "other"]


async def test_a_search_that_nobody_asks_to_rescore_says_so(explained: Explained, engine: FakeEngine) -> None:
    """Neither request nor profile: passed through, with how to ask."""
    engine.profile = None
    told = await explained({"query": QUERY})
    assert told["would"] == "pass_through"
    assert told["detail"] == "neither the request nor a profile of articles asks for rescoring"
    assert told["mend"] == explain.ASK
    assert told["settings"] == {}


async def test_a_search_of_the_whole_cluster_has_no_profile(explained: Explained) -> None:
    """Without an index nothing is read, and that is told."""
    told = await explained({"query": QUERY}, index=None)
    assert told["would"] == "pass_through"
    assert "names no index" in told["detail"]


async def test_a_profile_that_cannot_be_read_is_told(explained: Explained, engine: FakeEngine) -> None:
    """A missing index, or missing rights, are named; the search itself would go on without a word."""
    engine.refusals = {"_mapping": NOT_FOUND}
    told = await explained({"query": QUERY})
    assert told["would"] == "pass_through"
    assert "the profile of articles can't be read" in told["detail"]
    assert "correct the index's name" in told["mend"]


async def test_a_wrong_profile_would_fall_back_and_says_where(explained: Explained, engine: FakeEngine) -> None:
    """The path of the wrong key is in the detail."""
    engine.profile = {"window": 5}
    told = await explained({"query": QUERY})
    assert (told["would"], told["reason"]) == ("fall_back", Reason.INVALID_PROFILE)
    assert "mappings._meta.rescorer.window" in told["detail"]


async def test_indices_with_different_profiles_are_named(explained: Explained, engine: FakeEngine) -> None:
    """Which indices have a profile stands beside the reason."""
    engine.mappings = {
        name: {"mappings": {"_meta": {"rescorer": {**PROFILE, "window_size": size}}}}
        for name, size in (("a", 5), ("b", 6))
    }
    told = await explained({"query": QUERY}, index="a,b")
    assert (told["would"], told["reason"]) == ("skip", Reason.PROFILES_DIFFER)
    assert told["indices_with_profile"] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "would", "reason"),
    [({"query": QUERY}, "pass_through", None), ({"query": QUERY, "rescore": OURS}, "fall_back", Reason.NO_SCORER)],
)
async def test_a_client_without_a_sidecar_says_so(
    kind: str, engine: FakeEngine, body: Any, would: str, reason: Any
) -> None:
    """A profile is not read then, and a request that asks would fall back; both name the argument that is missing."""
    told = await settled(made(kind, engine).rescorer.explain("articles", body))
    assert (told["would"], told["reason"]) == (would, reason)
    assert "rescorer='localhost:50051'" in told["mend"]


async def test_a_wrong_request_raises_as_the_search_does(explained: Explained) -> None:
    """The path of what is wrong, before anything is sent."""
    with pytest.raises(InvalidSetting, match=r"^rescore\.cross_encoder\.window_size: 0 must be"):
        await explained({"query": QUERY, "rescore": {"cross_encoder": {"window_size": 0}}})


async def test_a_size_that_the_engine_refuses_is_left_to_it(explained: Explained) -> None:
    """What is not ours to judge is said to be the engine's."""
    told = await explained({"query": QUERY, "size": -1})
    assert (told["would"], told["reason"], told["page"]) == ("pass_through", None, None)
    assert "engine" in told["detail"]


async def test_lists_that_the_client_fuses_are_shown_as_one_msearch(explained: Explained) -> None:
    """A retriever that the client runs is one round trip of several searches, also where nothing is rescored."""
    fused = {"rrf": {"retrievers": [{"standard": {"query": QUERY}}, {"standard": {"query": {"match": {"body": "x"}}}}]}}
    ours = {"retriever": fused, "inference_id": "rescorer", "inference_text": "cancel", "field": "title"}
    for extra, would in (({}, "rescore"), ({"size": 0}, "skip")):
        told = await explained({"retriever": {"text_similarity_reranker": ours}, **extra})
        assert (told["would"], told["sent"]["method"], told["round_trips"]) == (would, "msearch", 1)
        assert len(told["sent"]["body"]) == 6


@pytest.mark.filterwarnings("ignore:Passing transport options:DeprecationWarning")
async def test_credentials_of_the_call_are_not_shown(explained: Explained) -> None:
    """What proves who is asking stays out of what is told."""
    told = await explained({"query": QUERY}, headers={"x-token": "hidden"}, api_key="hidden")
    assert "hidden" not in str(told)


async def test_the_same_keys_are_always_there(explained: Explained, engine: FakeEngine) -> None:
    """Whatever the verdict, a program finds each key."""
    for profile in (PROFILE, None, {"wrong": 1}):
        engine.profile = profile
        told = await explained({"query": QUERY})
        assert (type(told), told.keys()) == (dict, KEYS)


def test_each_reason_has_a_mend() -> None:
    """No reason that an answer may hold leaves its reader alone."""
    assert [reason for reason in Reason if not explain.MENDS.get(reason)] == []
