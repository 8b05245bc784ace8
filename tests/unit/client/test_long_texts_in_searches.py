"""Long documents in searches: what a request or a profile asks of the scorer, and what the answer tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from rescorer.config import LongTexts
from rescorer.domain import Candidate, ScoreRequest
from rescorer.errors import InvalidSetting
from rescorer.scorers import answers, wire
from rescorer.testing import FakeScorer, assert_contract
from rescorer_proto.v1 import rescorer_pb2
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, settled
from unit.client.fake_engine import FakeEngine, hit

QUERY = {"match": {"body": "cancel a flight"}}
FIELDS = [{"field": "title", "max_tokens": 3}, "body"]


def documents() -> list[dict[str, Any]]:
    """Three hits with 400 words each; the last one says at word 350 what was asked, and the second one half of it."""
    found = [hit(place) for place in range(3)]
    for place, said in enumerate(("", "a flight", "cancel a flight")):
        body = ["hotel"] * 400
        body[350 : 350 + len(said.split())] = said.split()
        found[place]["_source"] = {"title": f"title {place} of four words", "body": " ".join(body)}
    return found


def body(**said: Any) -> dict[str, Any]:
    """A search for it with these settings."""
    settings = {"document_fields": FIELDS, "max_tokens": 70, **said}
    return {"query": QUERY, "size": 10, "rescore": {"window_size": 10, "cross_encoder": settings}}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_long_document_is_found_by_its_best_chunk(kind: str) -> None:
    """T1: read to its end it comes first; cut off it does not; the answer tells both, for all and for each hit."""
    client = fake_clients.made(kind, FakeEngine(hits=documents()), FakeScorer())
    before = await settled(fake_clients.official(kind, FakeEngine(hits=documents())).search(index="a", body=body_of()))
    cut = await settled(client.search(index="a", body=body()))
    read = await settled(client.search(index="a", body=body(long_texts={"overlap_tokens": 0})))
    for answer in (cut, read):
        assert_contract(before, answer)
    assert [found["_id"] for found in cut["hits"]["hits"]] == ["d0", "d1", "d2"]
    assert [found["_id"] for found in read["hits"]["hits"]] == ["d2", "d1", "d0"]
    assert (cut["rescore"]["truncated"], cut["rescore"]["chunks"]) == (3, None)
    assert (read["rescore"]["truncated"], read["rescore"]["chunks"]) == (3, 3 * 7)
    assert [(told["chunks"], told["best_chunk"]) for told in read["rescore"]["hits"]] == [(7, 5), (7, 5), (7, 6)]
    assert "chunks" not in cut["rescore"]["hits"][0]


def body_of() -> dict[str, Any]:
    """The search without rescoring."""
    return {"query": QUERY, "size": 10}


def asked(profile: dict[str, Any] | None, **said: Any) -> ScoreRequest:
    """What the scorer is asked under a profile and a request's own words."""
    scorer = FakeScorer()
    client = fake_clients.made("opensearch", FakeEngine(hits=documents(), profile=profile), scorer)
    client.search(index="articles", body={"query": QUERY, "rescore": {"cross_encoder": said or True}})
    return scorer.requests[0]


def test_a_profile_asks_for_chunks_and_a_request_for_something_else() -> None:
    """The profile's word holds where the request says nothing; the request's replaces it as a whole."""
    profile = {"document_fields": FIELDS, "long_texts": {"most_chunks": 4, "top": 2}}
    assert asked(profile).long_texts == LongTexts(most_chunks=4, top=2)
    assert asked(profile, long_texts="chunks").long_texts == LongTexts()
    assert asked(profile, long_texts="truncate").long_texts is None
    assert asked({"document_fields": FIELDS}).long_texts is None


def test_bounds_of_fields_travel_with_their_texts() -> None:
    """Each candidate holds a bound for each of its texts, or none at all where no field has one."""
    assert {candidate.max_tokens for candidate in asked({"document_fields": FIELDS}).candidates} == {(3, 0)}
    missing = [{"field": "nothing", "max_tokens": 9}, *FIELDS]
    assert {candidate.max_tokens for candidate in asked({"document_fields": missing}).candidates} == {(3, 0)}
    assert {candidate.max_tokens for candidate in asked({"document_fields": ["title"]}).candidates} == {()}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"long_texts": "chunk"}, "long_texts: 'chunk' must be one of truncate, chunks"),
        ({"long_texts": {"chunk": 9}}, "long_texts.chunk: 9 stands under an unknown key; did you mean most_chunks?"),
        ({"long_texts": {"most_chunks": 65}}, "long_texts.most_chunks: 65 must be a whole number in 1..64"),
        (
            {"long_texts": {"chunk_tokens": 4}},
            "long_texts.chunk_tokens: 4 must be 8 or more, or 0 for as many as there is room for",
        ),
        (
            {"document_fields": [{"field": "a", "max_tokens": -1}]},
            "document_fields[0].max_tokens: -1 must be a whole number in 0..1000000",
        ),
    ],
)
def test_what_is_wrong_is_named_with_path_value_and_fix(said: dict[str, Any], message: str) -> None:
    """Raised before anything is sent."""
    engine = FakeEngine(hits=documents())
    with pytest.raises(InvalidSetting) as refused:
        fake_clients.made("opensearch", engine, FakeScorer()).search(index="a", body=body(**said))
    assert str(refused.value) == f"rescore.cross_encoder.{message}"
    assert engine.searches() == []


def test_each_search_of_many_reads_in_its_own_way() -> None:
    """In one msearch one search asks for chunks and the other does not."""
    client = fake_clients.made("opensearch", FakeEngine(hits=documents()), FakeScorer())
    lines = [{"index": "a"}, body(long_texts="chunks"), {"index": "a"}, body()]
    first, second = client.msearch(body=lines)["responses"]
    assert first["rescore"]["chunks"] > first["rescore"]["scored"] == 3
    assert second["rescore"]["chunks"] is None


def message(how: LongTexts | None, *bounds: int) -> rescorer_pb2.ScoreRequest:
    """The request as it travels."""
    candidate = Candidate("0:a", tuple(("", "text") for _ in bounds), bounds if any(bounds) else ())
    (part,) = wire.score_parts(ScoreRequest(query="q", candidates=[candidate], long_texts=how))
    return part.message


def test_the_wire_tells_no_overlap_from_none_said() -> None:
    """An overlap of 0 is said; unset it is the sidecar's to choose; without chunks nothing is said at all."""
    none, unset = message(LongTexts(overlap_tokens=0), 0), message(LongTexts(chunk_tokens=99, most_chunks=3, top=2), 0)
    assert none.options.long_texts.HasField("overlap_tokens")
    assert not unset.options.long_texts.HasField("overlap_tokens")
    told = unset.options.long_texts
    assert (told.mode, told.chunk_tokens, told.most_chunks, told.top) == (rescorer_pb2.LONG_TEXT_MODE_CHUNKS, 99, 3, 2)
    assert not message(None, 0).options.HasField("long_texts")


def test_a_single_text_travels_as_fields_only_where_it_has_a_bound() -> None:
    """The plain form stays the plain form."""
    assert message(None, 0).candidates[0].WhichOneof("content") == "text"
    (field,) = message(None, 7).candidates[0].fields.fields
    assert (field.text, field.max_tokens) == ("text", 7)


def test_an_older_sidecar_counts_a_chunk_for_each_text() -> None:
    """What it does not say is one."""
    answer = rescorer_pb2.ScoreResponse(results=[rescorer_pb2.ScoredCandidate(id="0:a")])
    part = wire.Part(0, 1, message(None, 0))
    assert answers.score_answer(answer, part, "host:1").results[0].chunk_count == 1
