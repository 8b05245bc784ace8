"""The ways to ask, one over the other, through all four classes: which setting wins, and what is sent on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer import config, request
from rescorer.domain import Call
from rescorer.errors import InvalidSetting
from rescorer.testing import FakeScorer
from unit.client.fake_clients import plain, settled
from unit.client.fake_engine import NOT_FOUND, PROFILE, SOURCELESS, TOO_LARGE, FakeEngine

Made = Callable[..., Any]
ASKED = {"match": {"body": "of the query"}}


def _ext(**context: Any) -> dict[str, Any]:
    return {"rerank": {"query_context": context or {"query_text": "of ext"}}}


def _retriever(**said: Any) -> dict[str, Any]:
    inner = {"standard": {"query": ASKED}}
    body = {"retriever": inner, "field": "title", "inference_id": "rescorer", "inference_text": "of the retriever"}
    return {"text_similarity_reranker": {**body, **said}}


def _ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


LAYERS = [
    ({}, {"query": ASKED}, "of the query"),
    ({"query_text": "of the profile"}, {"query": ASKED}, "of the profile"),
    ({"query_text": "of the profile"}, {"query": ASKED, "ext": _ext()}, "of ext"),
    ({"query_text": "of the profile"}, {"retriever": _retriever(), "ext": _ext()}, "of the retriever"),
    (
        {"query_text": "of the profile"},
        {"retriever": _retriever(), "rescore": {"cross_encoder": {"query_text": "of rescore"}}, "ext": _ext()},
        "of rescore",
    ),
]


@pytest.mark.parametrize(("profile", "body", "text"), LAYERS)
async def test_the_strongest_word_for_the_query_text_wins(
    made: Made, scorer: FakeScorer, profile: Any, body: Any, text: str
) -> None:
    """profile < ext.rerank < retriever < cross_encoder, and the query itself where nobody says it."""
    engine = FakeEngine(profile={**PROFILE, **profile})
    answer = await settled(made(engine).search(index="articles", body=body))
    assert plain(answer)["rescore"]["status"] == "reranked"
    assert scorer.requests[0].query == text
    sent = engine.searches()[0].body
    assert "ext" not in sent
    assert "rescore" not in sent


def test_every_setting_knows_where_it_stands() -> None:
    """The JSON path of each key that the request says, the stronger grammar's where both say it."""
    entry = {"cross_encoder": {"query_text": "of rescore"}}
    asked = request.read(Call({"retriever": _retriever(rank_window_size=7), "rescore": [entry], "ext": _ext()}, {}))
    asked = request.with_rerank(asked)
    assert asked.said is not None
    assert (asked.said["query_text"], asked.said["window_size"]) == ("of rescore", 7)
    assert asked.said_at == {
        "query_text": "rescore[0].cross_encoder.query_text",
        "document_fields": "retriever.text_similarity_reranker.field",
        "window_size": "retriever.text_similarity_reranker.rank_window_size",
    }


@pytest.mark.parametrize(
    ("body", "places"),
    [
        (
            {"rescore": {"window_size": 9, "cross_encoder": {"budget_ms": 50}}},
            {"window_size": "rescore.window_size", "budget_ms": "rescore.cross_encoder.budget_ms"},
        ),
        (
            {"rescore": [{"window_size": 9, "cross_encoder": {"window_size": 8}}]},
            {"window_size": "rescore[0].cross_encoder.window_size"},
        ),
        (
            {"rescore": {"window_size": 9, "cross_encoder": False}},
            {"window_size": "rescore.window_size", "enabled": "rescore.cross_encoder"},
        ),
        (
            {"ext": {"rerank": {"query_context": {"query_text_path": "query.match.body.query"}}}},
            {"query_text": "ext.rerank.query_context.query_text_path"},
        ),
    ],
)
def test_the_place_of_a_setting_is_the_callers_own(body: dict[str, Any], places: dict[str, str]) -> None:
    """The path leads to the key as the body spells it, beside, under or instead of our own."""
    asked = request.with_rerank(request.read(Call({"query": {"match": {"body": "x"}}, **body}, {})))
    assert asked.said_at == places


def _layer(draw: Any, keys: tuple[str, ...], number: int) -> dict[str, Any]:
    """Some of these settings, each with a value that no other layer says."""
    values = {"query_text": f"text {number}", "document_fields": [f"field{number}"], "window_size": 10 + number}
    values |= {"min_score": float(number), "model": f"model {number}", "budget_ms": 100.0 + number}
    return {key: values[key] for key in draw(st.sets(st.sampled_from(keys)))}


@given(data=st.data())
def test_each_key_is_the_strongest_layers(data: st.DataObject) -> None:
    """defaults < profile < ext.rerank < retriever < cross_encoder, key by key, each with the path where it stands."""
    every = ("query_text", "document_fields", "window_size", "min_score", "model", "budget_ms")
    profile, entry = _layer(data.draw, every, 1), _layer(data.draw, every, 4)
    names = {"window_size": "rank_window_size", "min_score": "min_score"}
    of_retriever = _layer(data.draw, ("window_size", "min_score"), 3)
    tree = _retriever(
        field="field3", inference_text="text 3", **{names[key]: of_retriever[key] for key in of_retriever}
    )
    of_retriever |= {"query_text": "text 3", "document_fields": ["field3"]}
    of_ext = {"query_text": "text 2"} if data.draw(st.booleans()) else {}
    has_tree = data.draw(st.booleans())
    body = {"query": ASKED, "rescore": {"cross_encoder": entry}} | ({"retriever": tree} if has_tree else {})
    body |= {"ext": _ext(**of_ext)} if of_ext else {}
    asked = request.with_rerank(request.read(Call(body, {})))
    merged = config.merged(config.parse(profile, "profile"), asked.said or {})
    layers = [("", profile), ("ext.rerank.query_context", of_ext), ("retriever", of_retriever if has_tree else {})]
    layers.append(("rescore.cross_encoder", entry))
    for key in every:
        said = [(place, layer[key]) for place, layer in layers if key in layer]
        place, value = said[-1] if said else ("", getattr(config.RescoreSettings(), key))
        value = config.CHECKS[key](value, key) if said else value
        assert getattr(merged, key) == value
        assert (key in asked.said_at) is bool(place)
        assert asked.said_at.get(key, place).startswith(place)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("query.match.body", "of the query"),
        ("query.match.body.query", "of the query"),
        ("query.bool.must.1.match.body.query", "deep"),
    ],
)
async def test_a_path_leads_to_the_query_text(made: Made, scorer: FakeScorer, path: str, text: str) -> None:
    """As the body is written, and as OpenSearch writes it out."""
    query: Any = ASKED
    if text == "deep":
        query = {"bool": {"must": [{"term": {"x": 1}}, {"match": {"body": {"query": "deep"}}}]}}
    engine = FakeEngine(profile=PROFILE)
    body = {"query": query, "ext": _ext(query_text_path=path)}
    await settled(made(engine).search(index="articles", body=body))
    assert scorer.requests[0].query == text


@pytest.mark.parametrize(
    ("context", "path"),
    [
        ({"query_text": ""}, r"query_text: '' "),
        ({"query_text": "a", "query_text_path": "query"}, r": .*either query_text or query_text_path"),
        ({"query_text_path": "query.match.nowhere"}, r"query_text_path: 'query\.match\.nowhere' must lead to a string"),
        ({"query_txt": "a"}, r"query_txt: .*did you mean query_text"),
    ],
)
async def test_a_wrong_query_context_is_refused(made: Made, context: Any, path: str) -> None:
    """Where it is ours to read, its mistakes are named with their path, and no search is sent."""
    engine = FakeEngine(profile=PROFILE)
    with pytest.raises(InvalidSetting, match=r"^ext\.rerank\.query_context\.?" + path):
        await settled(made(engine).search(index="articles", body={"query": ASKED, "ext": _ext(**context)}))
    assert engine.searches() == []


async def test_ext_rerank_goes_on_where_it_is_not_ours(made: Made) -> None:
    """Without a sidecar, or without fields to read, an engine with a rerank processor gets it as it is."""
    body = {"query": ASKED, "ext": _ext()}
    without_sidecar, without_fields = FakeEngine(profile=PROFILE), FakeEngine()
    await settled(made(without_sidecar, scorer=None).search(index="articles", body=body))
    await settled(made(without_fields).search(index="articles", body=body))
    assert without_sidecar.searches()[0].body == without_fields.searches()[0].body == body


async def test_ext_keeps_what_is_not_ours(made: Made) -> None:
    """Other extensions of the engine stand beside it and stay."""
    engine = FakeEngine(profile=PROFILE)
    body = {"query": ASKED, "ext": {**_ext(), "mmr": {"diversity": 0.5}}}
    await settled(made(engine).search(index="articles", body=body))
    assert engine.searches()[0].body["ext"] == {"mmr": {"diversity": 0.5}}


async def test_min_score_leaves_out_what_scores_lower_and_the_tail(made: Made) -> None:
    """On the cross-encoder's score; the outcome counts what was left out, and the total is the engine's."""
    engine = FakeEngine()
    entry = {"document_fields": ["title"], "window_size": 5, "min_score": -998.0}
    body = {"query": ASKED, "rescore": {"cross_encoder": entry}}
    answer = plain(await settled(made(engine).search(index="articles", body=body)))
    assert _ids(answer) == ["d4", "d3", "d2"]
    assert answer["rescore"]["totals"] == {
        "first_stage": {"value": 12, "relation": "eq"},
        "window": 5,
        "left_out": 7,
    }
    later = plain(await settled(made(engine).search(index="articles", body={**body, "from": 2, "size": 5})))
    assert _ids(later) == ["d2"]
    past = plain(await settled(made(engine).search(index="articles", body={**body, "from": 7, "size": 2})))
    assert (_ids(past), past["rescore"]["status"]) == ([], "reranked")


async def test_min_score_above_every_score_leaves_an_empty_page(made: Made) -> None:
    """No hit, no max_score, and no error."""
    entry = {"document_fields": ["title"], "min_score": 5}
    body = {"query": ASKED, "rescore": {"cross_encoder": entry}}
    answer = plain(await settled(made(FakeEngine()).search(index="articles", body=body)))
    assert (answer["hits"]["hits"], answer["hits"]["max_score"]) == ([], None)


@pytest.mark.parametrize("page", [{}, {"size": 0}, {"from": 7}, {"sort": "year"}])
async def test_an_outcome_obeys_filter_path_whether_rescored_or_not(made: Made, page: Any) -> None:
    """A filter that begins with ``rescore`` leaves that part of it, and any other leaves all of it."""
    engine = FakeEngine(profile=PROFILE)
    body = {"query": ASKED, **page}
    for shown, keys in (("took,rescore.status", {"status"}), ("-rescore", None), ("took", ...)):
        answer = plain(await settled(made(engine).search(index="articles", body=body, filter_path=shown)))
        if keys is ...:
            assert {"status", "reason", "window"} <= answer["rescore"].keys()
        else:
            assert answer.get("rescore", {}).keys() == (keys or set())


async def test_a_window_that_the_index_does_not_allow_is_a_visible_fallback(made: Made) -> None:
    """``index.max_result_window`` below the window: the caller's own page after all, and the reason."""
    engine = FakeEngine(most_hits=6)
    entry = {"document_fields": ["title"], "window_size": 7}
    body = {"query": ASKED, "size": 3, "rescore": {"cross_encoder": entry}}
    answer = plain(await settled(made(engine).search(index="articles", body=body)))
    assert _ids(answer) == ["d0", "d1", "d2"]
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "window_too_large")
    assert answer["rescore"]["detail"] == TOO_LARGE.format(6, 7)


@pytest.mark.parametrize("view", [{"_source": False}, {"stored_fields": ["title"]}, {"_source": False, "fields": []}])
async def test_texts_that_an_index_does_not_keep_are_a_visible_fallback(made: Made, scorer: Any, view: Any) -> None:
    """A mapping that disables ``_source``: the caller's own search after all, as he wrote it, and the reason."""
    engine = FakeEngine(keeps_source=False, profile=PROFILE)
    body = {"query": ASKED, "size": 3, **view}
    answer = plain(await settled(made(engine).search(index="articles", body=body)))
    assert _ids(answer) == ["d0", "d1", "d2"]
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "source_disabled")
    assert answer["rescore"]["detail"] == SOURCELESS
    assert [sent.body for sent in engine.searches()][1:] == [body]
    assert scorer.requests == []


async def test_a_part_of_a_source_that_is_not_kept_is_the_callers_error(made: Made) -> None:
    """He meets with it without us too: the engine's own error, of his own search."""
    engine = FakeEngine(keeps_source=False, profile=PROFILE)
    with pytest.raises(Exception, match="_source is disabled"):
        await settled(made(engine).search(index="articles", body={"query": ASKED, "_source": ["title"]}))
    own = FakeEngine(keeps_source=False, profile=PROFILE)
    with pytest.raises(Exception, match="_source is disabled"):
        await settled(made(own).search(index="articles", body={"query": ASKED, "fields": ["year"]}))
    assert len(own.searches()) == 1


async def test_a_template_is_filled_in_and_then_searched(made: Made, kind: str, scorer: FakeScorer) -> None:
    """Where the profile asks for rescoring: two round trips, and the answer of a rescored search."""
    engine = FakeEngine(profile=PROFILE, templates={"t": '{"query": {"match": {"body": "{{q}}"}}, "size": 2}'})
    template = {"id": "t", "params": {"q": "cancel"}}
    said = template if kind.endswith("elasticsearch") else {"body": template}
    answer = plain(await settled(made(engine).search_template(index="articles", **said)))
    assert (_ids(answer), scorer.requests[0].query) == (["d4", "d3"], "cancel")
    rendered = "/_render/template/t" if kind.endswith("elasticsearch") else "/_render/template"
    assert engine.paths()[1:] == [rendered, "/articles/_search"]


async def test_a_template_that_asks_for_nothing_passes_through(made: Made, kind: str) -> None:
    """No profile and nothing of ours in its source: the engine's own search template."""
    engine = FakeEngine(templates={"t": '{"query": {"match": {"body": "{{q}}"}}}'})
    template = {"id": "t", "params": {"q": "cancel"}}
    said = template if kind.endswith("elasticsearch") else {"body": template}
    answer = plain(await settled(made(engine).search_template(index="articles", **said)))
    assert engine.paths()[-1] == "/articles/_search/template"
    assert "rescore" not in answer


async def test_a_template_that_cannot_be_filled_in_runs_as_it_is(made: Made, kind: str) -> None:
    """Rights to render are missing: the engine's answer, and a visible fallback."""
    engine = FakeEngine(profile=PROFILE, templates={"t": '{"query": {"match_all": {}}}'})
    engine.refusals["_render"] = NOT_FOUND
    said = {"id": "t"} if kind.endswith("elasticsearch") else {"body": {"id": "t"}}
    answer = plain(await settled(made(engine).search_template(index="articles", **said)))
    assert (answer["rescore"]["status"], answer["rescore"]["reason"]) == ("fallback", "template_unreadable")
    assert len(answer["hits"]["hits"]) == 10


async def test_a_point_in_time_has_the_profile_of_its_indices(made: Made, kind: str) -> None:
    """Opened through this client, its searches are rescored page after page, under every id that it goes on with."""
    engine = FakeEngine(profile=PROFILE)
    client = made(engine)
    if kind.endswith("elasticsearch"):
        opened = plain(await settled(client.open_point_in_time(index="articles", keep_alive="1m")))["id"]
    else:
        opened = (await settled(client.create_pit(index="articles", params={"keep_alive": "1m"})))["pit_id"]
    for page, names in ((0, ["d4", "d3"]), (2, ["d2", "d1"])):
        body = {"query": ASKED, "pit": {"id": opened}, "from": page, "size": 2}
        answer = plain(await settled(client.search(body=body)))
        assert _ids(answer) == names
        opened = answer["pit_id"]


async def test_a_point_in_time_of_somebody_else_has_no_profile(made: Made) -> None:
    """Nobody knows which indices it is of; the request can still ask."""
    engine = FakeEngine(profile=PROFILE)
    answer = plain(await settled(made(engine).search(body={"query": ASKED, "pit": {"id": "foreign"}})))
    assert "rescore" not in answer
    assert engine.paths() == ["/_search"]
