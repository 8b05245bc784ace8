"""What only elasticsearch-py does: keywords that become a body, answers of its own class, options of a client."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import elastic_transport
import pytest

from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import official, plain, settled
from unit.client.fake_engine import NOT_FOUND, PROFILE, FakeEngine, reversing

ASKED = {"match": {"body": "cancel a flight"}}
RESCORE = {"cross_encoder": {"document_fields": ["title"], "window_size": 5}}
DEPRECATED = [{"params": {"size": 2, "routing": "r"}}, {"request_timeout": 3}, {"headers": {"x-one": "1"}}]
Made = Callable[..., Any]


@pytest.fixture
def scorer() -> FakeScorer:
    """Turns the first stage round."""
    return FakeScorer(reversing)


@pytest.fixture(params=["elasticsearch", "async_elasticsearch"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both classes in turn."""
    return str(request.param)


@pytest.fixture
def made(kind: str, scorer: FakeScorer) -> Made:
    """Makes a client of a kind."""
    return lambda engine, **kwargs: fake_clients.made(kind, engine, **{"scorer": scorer, **kwargs})


def _ids(answer: Any) -> list[str]:
    return [entry["_id"] for entry in answer["hits"]["hits"]]


async def test_keywords_ask_as_a_body_does(made: Made) -> None:
    """``query=``, ``size=``, ``from_=``, ``source=`` and ``rescore=`` are one body, and the page is theirs."""
    engine = FakeEngine()
    asked = {"query": ASKED, "size": 2, "from_": 1, "rescore": RESCORE, "source": ["year"], "routing": "r"}
    answer = await settled(made(engine).search(index="articles", **asked))
    assert _ids(answer) == ["d3", "d2"]
    sent = engine.searches()[0]
    assert sent.body == {"query": ASKED, "from": 0, "size": 5, "_source": ["year"], "fields": ["title", "title.*"]}
    assert sent.params == {"routing": "r"}


async def test_keywords_beside_a_body_are_merged_into_it(made: Made) -> None:
    """``size=`` beside ``body=`` counts, and neither the body nor a keyword is changed by a rescored search."""
    engine = FakeEngine()
    body, query = {"rescore": RESCORE, "track_total_hits": True}, {"match": {"body": "x"}}
    before = copy.deepcopy((body, query))
    answer = await settled(made(engine).search(index="articles", body=body, query=query, size=2))
    assert _ids(answer) == ["d4", "d3"]
    assert engine.searches()[0].body == {"query": query, "track_total_hits": True, "from": 0, "size": 5}
    assert (body, query) == before


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"query": ASKED, "rescore": RESCORE}, {"query": ASKED}),
        ({"query": ASKED, "rescore": RESCORE, "size": 3}, {"size": 2}),
        ({"query": ASKED, "rescore": RESCORE, "source": False}, {"source": True}),
        ('{"rescore": {"cross_encoder": {}}}', {"query": ASKED}),
        (None, {"query": ASKED, "rescore": RESCORE, "size": 3, "params": {"size": 2}}),
    ],
)
async def test_what_is_said_twice_is_the_official_error(made: Made, kind: str, body: Any, options: Any) -> None:
    """A key in the body and among the keywords, or among those and ``params``, is refused as elasticsearch-py does."""
    engine = FakeEngine(profile=PROFILE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(ValueError) as theirs:  # noqa: PT011 - compared below
            await settled(official(kind, FakeEngine()).search(index="articles", body=copy.copy(body), **options))
        with pytest.raises(ValueError) as ours:  # noqa: PT011
            await settled(made(engine).search(index="articles", body=body, **options))
    assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))
    assert engine.searches() == []


async def test_an_answer_is_an_object_api_response_with_the_engines_meta(made: Made) -> None:
    """``.body``, ``.meta``, ``[]`` and iteration are there, on a rescored answer too."""
    answer = await settled(made(FakeEngine()).search(index="articles", query=ASKED, rescore=RESCORE))
    assert type(answer) is elastic_transport.ObjectApiResponse
    assert answer.meta.status == 200
    assert answer.meta.headers["x-elastic-product"] == "Elasticsearch"
    assert answer.body["rescore"]["status"] == "reranked"
    assert set(answer) == set(answer.body)


async def test_a_pass_through_answer_is_the_very_same_object(made: Made, kind: str) -> None:
    """Nothing is wrapped a second time: what the official method returned is what the caller gets."""
    kept: list[Any] = []

    class Watched(fake_clients.OURS[kind]):  # type: ignore[misc]
        def perform_request(self, *args: Any, **kwargs: Any) -> Any:
            found = super().perform_request(*args, **kwargs)
            kept.append(found)
            return found

    engine = FakeEngine()
    answer = await settled(Watched(**fake_clients.connected(kind, engine)).search(index="articles", query=ASKED))
    if kind == "elasticsearch":
        assert answer is kept[-1]
    assert plain(answer)["hits"]["hits"]
    assert "rescore" not in answer


async def test_a_changed_option_keeps_sidecar_and_profiles(made: Made, scorer: FakeScorer) -> None:
    """``client.options(…)`` rescores like the client it came from, with its headers on every request."""
    engine = FakeEngine(profile=PROFILE)
    first = made(engine)
    second = first.options(headers={"x-one": "1"}, request_timeout=3)
    assert type(second) is type(first)
    answer = await settled(second.search(index="articles", query=ASKED))
    assert answer["rescore"]["status"] == "reranked"
    assert [sent.headers["x-one"] for sent in engine.sent] == ["1", "1"]
    assert scorer.timeouts_s[0] <= 3
    await settled(first.search(index="articles", query=ASKED))
    assert engine.paths() == ["/articles/_mapping", "/articles/_search", "/articles/_search"]
    assert first.rescore_counts() == second.rescore_counts() == {"reranked": 2}


async def test_an_ignored_status_gives_the_engines_answer(made: Made) -> None:
    """``options(ignore_status=404)`` hands on the engine's error as an answer, for a search that asks us too."""
    engine = FakeEngine(missing=frozenset({"gone"}))
    answer = await settled(made(engine).options(ignore_status=404).search(index="gone", query=ASKED, rescore=RESCORE))
    assert (answer.meta.status, answer["status"]) == (404, 404)
    assert answer["error"]["type"] == NOT_FOUND.type


@pytest.mark.parametrize("said", DEPRECATED)
async def test_deprecated_ways_still_work_and_still_warn(made: Made, said: dict[str, Any]) -> None:
    """``params=`` and transport options in a call mean what they do in the official client, which warns of them."""
    engine = FakeEngine()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = await settled(made(engine).search(index="articles", query=ASKED, rescore=RESCORE, **said))
    assert answer["rescore"]["status"] == "reranked"
    assert len(answer["hits"]["hits"]) == said.get("params", {}).get("size", 10)
    assert engine.searches()[0].headers.get("x-one") == said.get("headers", {}).get("x-one")
    assert engine.searches()[0].params == ({"routing": "r"} if "params" in said else {})


async def test_a_sort_in_the_url_stays_there(made: Made, scorer: FakeScorer) -> None:
    """``sort="year:desc"`` is the engine's order: sent in the URL as the official client does, and not rescored."""
    engine = FakeEngine(profile=PROFILE)
    answer = await settled(made(engine).search(index="articles", query=ASKED, sort="year:desc"))
    assert engine.searches()[0].params == {"sort": "year:desc"}
    assert answer["rescore"]["reason"] == "explicit_sort"
    assert scorer.requests == []


async def test_a_sort_by_score_is_rescored_whichever_way_it_is_written(made: Made) -> None:
    """``sort="_score:desc"`` can't stand in a body as it is, so it is sent there as the engine reads it."""
    for sort in ("_score:desc", "_score", ["_score"]):
        engine = FakeEngine(profile=PROFILE)
        answer = await settled(made(engine).search(index="articles", query=ASKED, sort=sort))
        assert answer["rescore"]["status"] == "reranked"
        assert engine.searches()[0].body["sort"] in ("_score", ["_score"])
        assert engine.searches()[0].params == {}


async def test_aliases_in_a_body_are_read_as_the_official_client_does(made: Made) -> None:
    """``from_`` in a body is ``from``: the page begins there, after a window that begins at the first hit."""
    engine = FakeEngine()
    body = {"query": ASKED, "rescore": RESCORE, "from_": 2, "size": 2}
    answer = await settled(made(engine).search(index="articles", body=body))
    assert _ids(answer) == ["d2", "d1"]
    assert body == {"query": ASKED, "rescore": RESCORE, "from_": 2, "size": 2}


async def test_positional_arguments_are_the_official_error(made: Made, kind: str) -> None:
    """What the official method takes by keyword alone, ours does too, in its words."""
    with pytest.raises(TypeError) as theirs:
        await settled(official(kind, FakeEngine()).search("articles", {}))
    with pytest.raises(TypeError) as ours:
        await settled(made(FakeEngine()).search("articles", {}))
    assert str(ours.value) == str(theirs.value)


async def test_msearch_takes_searches_as_a_keyword(made: Made) -> None:
    """``searches=`` is the body of an ``msearch``, as in the official client."""
    engine = FakeEngine()
    lines = [{"index": "articles"}, {"query": ASKED, "rescore": RESCORE, "size": 2}]
    answer = await settled(made(engine).msearch(searches=lines))
    assert _ids(answer["responses"][0]) == ["d4", "d3"]
    assert engine.of_path("_msearch")[0].lines[1] == {"query": ASKED, "from": 0, "size": 5}
