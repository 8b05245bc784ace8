"""What is sampled of live requests, when it runs, and that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescorer_sidecar.chunks import LongTexts
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Candidate, PairScore, ScoreAnswer, ScoredCandidate, ScoreRequest, Timings
from rescorer_sidecar.registry import Served
from rescorer_sidecar.shadow import FORWARD_TOKENS, MOST_CANDIDATES, Shadow, Share, choose
from rescorer_sidecar.testing import POISON_WORD, FakeClock, until
from unit.sidecar.swaps import Shop, Version


@pytest.fixture
def shop(tokeniser_folder: Path, clock: FakeClock) -> Iterator[Shop]:
    """It serves ``v1``; ``v2`` can be put beside."""
    settings = Settings(model="v1", workers=1)
    made = Shop(tokeniser_folder, clock, settings, {"v1": Version(), "v2": Version(factor=2.0)})
    yield made
    made.close()


def beside(shop: Shop) -> Served:
    """The version ``v2``, which nobody is sent to."""
    return shop.service.registry.beside(shop.model("v2"))


def watched(shop: Shop, share: Share) -> Shadow:
    """A shadow of ``v2`` that sees what ``v1`` answers."""
    registry = shop.service.registry
    shadow = Shadow(beside(shop), share, lambda: registry.is_idle)
    registry.find("", "cross-encoder").watch, registry.left = shadow.offer, shadow.go_on
    return shadow


def request(count: int, **more: object) -> ScoreRequest:
    """A request of so many candidates."""
    candidates = tuple(Candidate(id=str(place), text=f"text {place}") for place in range(count))
    return ScoreRequest(query="cat", candidates=candidates, **more)


def results(count: int, tokens: int = 10) -> list[ScoredCandidate]:
    """Their scores; each logit is the place."""
    pairs = [PairScore(logit=float(place), token_count=tokens, truncated=False) for place in range(count)]
    return [ScoredCandidate(id=str(place), index=place, pair=pair, cached=False) for place, pair in enumerate(pairs)]


def test_a_large_request_is_sampled_over_its_whole_window() -> None:
    """Of 100 candidates at most 32 are taken, from the first to the end, each with its own text and logit."""
    chosen = choose(request(100), 64, results(100), MOST_CANDIDATES)
    assert chosen is not None
    places = [int(logit) for logit in chosen.logits]
    assert (places[0], len(places) <= MOST_CANDIDATES, places[-1] > 90) == (0, True, True)
    assert list(chosen.texts) == [f"text {place}" for place in places]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (request(2), results(2)),
        (request(6, long_texts=LongTexts()), results(6)),
        (request(6), results(6, tokens=FORWARD_TOKENS + 1)),
    ],
    ids=["two candidates", "chunks", "texts that are too long for a small forward"],
)
def test_what_says_nothing_is_left_out(asked: ScoreRequest, found: list[ScoredCandidate]) -> None:
    """Orders of two, scores made of chunks, and texts that would hold the device for long are not compared."""
    assert choose(asked, 64, found, MOST_CANDIDATES) is None


async def test_both_versions_logits_stand_side_by_side(shop: Shop) -> None:
    """Each sample holds the served version's logits and the new one's of the same texts."""
    shadow = watched(shop, Share(requests=2))
    while not shadow.is_over:
        await shop.ask()
    assert len(shadow.samples) == 2
    for sample in shadow.samples:
        assert len(sample.old) == 6
        assert sample.new == tuple(2 * logit for logit in sample.old)


async def test_a_live_request_does_not_wait_for_the_shadow(shop: Shop) -> None:
    """While the shadow's forward hangs, live requests are answered one after the other."""
    shop.versions["v2"].door.clear()
    shadow = watched(shop, Share(requests=2))
    await shop.ask()
    await until(shop.versions["v2"].entered.is_set)
    for _ in range(5):
        assert (await shop.ask()).is_complete
    assert (shadow.samples, len(shop.versions["v2"].batches)) == ([], 1)


async def test_the_shadow_begins_nothing_while_live_work_is_under_way(shop: Shop) -> None:
    """With a live forward in the model no forward of the shadow begins; once idle again, it goes on."""
    old, new = shop.versions["v1"], shop.versions["v2"]
    shadow = watched(shop, Share(requests=1))
    old.door.clear()
    old.entered.clear()
    held = asyncio.create_task(shop.ask())
    await until(old.entered.is_set)
    asked = request(6)
    shadow.offer(asked, _answer(shop, asked))
    shadow.go_on()
    await asyncio.sleep(0)
    assert new.batches == []
    old.door.set()
    await held
    await until(lambda: shadow.is_over)
    assert len(shadow.samples) == 1


def _answer(shop: Shop, asked: ScoreRequest) -> ScoreAnswer:
    card = shop.service.models()[0]
    found = tuple(results(len(asked.candidates)))
    return ScoreAnswer(model=card, results=found, is_complete=True, timings=Timings())


async def test_the_shadow_takes_no_more_than_its_share(shop: Shop) -> None:
    """Of 60 requests with 6 candidates at a tenth, at most a tenth of the pairs and one sample beyond is taken."""
    watched(shop, Share(requests=1000, pairs=0.1))
    new = shop.versions["v2"]
    for _ in range(60):
        await shop.ask()
        await until(lambda: shop.service.registry.is_idle)
    scored = sum(len(batch) for batch in new.batches)
    assert 0 < scored <= 0.1 * 60 * 6 + MOST_CANDIDATES


async def test_a_long_sample_is_scored_in_small_forwards(shop: Shop) -> None:
    """No forward of the shadow holds more than its bound of tokens, so that a live request waits for little."""
    shadow = watched(shop, Share(requests=1))
    candidates = tuple(Candidate(id=str(place), text="cat " * 40 + str(place)) for place in range(30))
    await shop.service.score(ScoreRequest(query="cat", candidates=candidates))
    await until(lambda: shadow.is_over)
    batches = shop.versions["v2"].batches
    assert len(batches) > 1
    assert max(sum(len(row) for row in batch) for batch in batches) <= FORWARD_TOKENS


async def test_a_text_that_the_new_version_fails_on_ends_the_sampling(shop: Shop) -> None:
    """The failure is counted, nothing more is taken, and the live answer was not touched by it."""
    shadow = watched(shop, Share(requests=9))
    asked = ScoreRequest(
        query="cat", candidates=tuple(Candidate(id=str(place), text=POISON_WORD) for place in range(3))
    )
    shadow.offer(asked, _answer(shop, asked))
    shadow.go_on()
    await until(lambda: shadow.is_over)
    assert (shadow.failed_texts > 0, shadow.samples) == (True, [])
    assert (await shop.ask()).is_complete


async def test_a_closed_shadow_does_nothing_more(shop: Shop) -> None:
    """After its end it takes no request, and the forward that hung is given up."""
    shop.versions["v2"].door.clear()
    shadow = watched(shop, Share(requests=2))
    await shop.ask()
    await until(shop.versions["v2"].entered.is_set)
    shadow.close()
    shop.versions["v2"].door.set()
    await shop.ask()
    await until(lambda: shop.service.registry.is_idle)
    assert (len(shop.versions["v2"].batches), shadow.samples) == (1, [])
