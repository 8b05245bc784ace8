"""One contract for every scorer: over gRPC and fake, sync and asyncio."""

from __future__ import annotations

import math

import pytest

from contract.scorers.conftest import Driven
from contract.scorers.fake_sidecar import REFUSED
from rescorer.domain import Candidate, EmbedRequest, ScoreRequest, Scores
from rescorer.errors import ScorerRefused
from rescorer.fuse import aligned

TEXTS = ["a flight to Oslo", "bread", "cancel a flight"]
CANDIDATES = [Candidate(f"{place}:d{place}", (("", text),)) for place, text in enumerate(TEXTS)]


async def test_every_candidate_gets_its_own_score(scorer: Driven) -> None:
    """Ids and places return with the scores, the better text scores higher, and a model is named."""
    scores = await scorer.score(ScoreRequest(query="cancel a flight", candidates=CANDIDATES, model="m"))
    window = aligned(scores, CANDIDATES)
    logits = [scored.logit for scored in window if scored]
    assert sorted(range(3), key=lambda place: -logits[place]) == [2, 0, 1]
    assert scores.reason is None
    assert scores.model == "m"


async def test_equal_questions_have_equal_answers(scorer: Driven) -> None:
    """The same pair scores the same, alone or beside others."""
    alone = await scorer.score(ScoreRequest(query="flight", candidates=CANDIDATES[2:]))
    beside = await scorer.score(ScoreRequest(query="flight", candidates=CANDIDATES))
    assert alone.results[0].logit == beside.results[2].logit


async def test_no_candidates_are_no_work(scorer: Driven) -> None:
    """An empty request has an empty answer."""
    assert (await scorer.score(ScoreRequest(query="q", candidates=[]))).results == []


@pytest.mark.parametrize("fields", [(), (("", ""),), (("Title", ""), ("", ""))])
async def test_a_document_without_text_is_scored(scorer: Driven, fields: tuple[tuple[str, str], ...]) -> None:
    """Nothing to read is a low score, not an error."""
    scores = await scorer.score(ScoreRequest(query="q", candidates=[Candidate("0:x", fields)]))
    assert [(scored.id, scored.index) for scored in scores.results] == [("0:x", 0)]


@pytest.mark.parametrize("text", ["\ud800 alone", "nul \x00", "emoji 🙂", "x" * 1_000_000])
async def test_no_text_is_an_error(scorer: Driven, text: str) -> None:
    """Lone surrogates, control characters and a text of a million letters are scored like the rest."""
    candidates = [Candidate("0:a", (("", text),)), Candidate("1:\ud800", (("label", text), ("", text)))]
    scores = await scorer.score(ScoreRequest(query=f"q {text[:9]}", candidates=candidates))
    assert [scored.index for scored in scores.results] == [0, 1]


async def test_many_requests_are_answered_in_their_order(scorer: Driven) -> None:
    """Each entry is what its request alone would have had: query, model, candidates and activation are its own."""
    wishes = [
        ScoreRequest(query="flight", candidates=CANDIDATES, model="m"),
        ScoreRequest(query="bread", candidates=CANDIDATES[1:]),
        ScoreRequest(query="flight", candidates=CANDIDATES[:1], model="n"),
    ]
    many = await scorer.score_many(wishes)
    assert many == [await scorer.score(wish) for wish in wishes]
    assert [scores.model for scores in many if isinstance(scores, Scores)] == ["m", "fake", "n"]


async def test_a_request_that_fails_among_many_fails_alone(scorer: Driven) -> None:
    """Its entry is the error that it alone would have raised; the others have their scores."""
    good, bad = (ScoreRequest(query=query, candidates=CANDIDATES) for query in ("flight", REFUSED))
    first, error, last = await scorer.score_many([good, bad, good])
    assert first == last == await scorer.score(good)
    assert type(error) is ScorerRefused
    with pytest.raises(ScorerRefused) as alone:
        await scorer.score(bad)
    assert str(error) == str(alone.value)


async def test_errors_of_every_request_are_entries_too(scorer: Driven) -> None:
    """Where each one is refused for itself, the call still answers."""
    bad = ScoreRequest(query=REFUSED, candidates=CANDIDATES)
    assert [type(entry) for entry in await scorer.score_many([bad, bad])] == [ScorerRefused, ScorerRefused]


async def test_no_requests_have_no_answers(scorer: Driven) -> None:
    """An empty list has an empty answer."""
    assert await scorer.score_many([]) == []


async def test_a_request_without_candidates_has_an_entry(scorer: Driven) -> None:
    """Nothing to score is an empty answer at its place."""
    empty = ScoreRequest(query="flight", candidates=[])
    full = ScoreRequest(query="flight", candidates=CANDIDATES)
    entries = await scorer.score_many([empty, full, empty])
    assert [len(entry.results) for entry in entries if isinstance(entry, Scores)] == [0, 3, 0]


async def test_texts_become_unit_vectors_in_their_order(scorer: Driven) -> None:
    """One vector per text, of length 1, the same for the same text."""
    vectors = await scorer.embed(EmbedRequest(texts=["one", "two", "one"], kind="document"))
    assert vectors[0] == vectors[2] != vectors[1]
    assert [math.hypot(*vector) for vector in vectors] == [pytest.approx(1.0, abs=1e-6)] * 3


async def test_no_texts_are_no_vectors(scorer: Driven) -> None:
    """An empty list has an empty answer."""
    assert await scorer.embed(EmbedRequest(texts=[], kind="query")) == []


async def test_closing_twice_is_harmless(scorer: Driven) -> None:
    """``close`` may be called by whoever is not sure."""
    await scorer.close()
    await scorer.close()
