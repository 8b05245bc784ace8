"""The one score and the one embed: what is refused, what is known, what comes in part, what comes after a failure."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Candidate, EmbedRequest, ScoreAnswer, ScoreRequest
from rescorer_sidecar.errors import (
    BackendFailed,
    DeadlineExceeded,
    InvalidRequest,
    NotReady,
    Overloaded,
    UnknownModel,
)
from rescorer_sidecar.service import MOST_VIOLATIONS, Service
from rescorer_sidecar.testing import POISON_WORD, FakeClock, fake_model, until, vocabulary

OpenService = Callable[..., Service]
KNOWN = vocabulary()


def asking(*texts: str, query: str = "cat", **more: object) -> ScoreRequest:
    """A request whose candidates are called c0, c1, …"""
    candidates = tuple(Candidate(id=f"c{index}", text=text) for index, text in enumerate(texts))
    return ScoreRequest(query=query, candidates=candidates, **more)


def logit(*words: str) -> float:
    """What the fake backend makes of a pair of these words, worked out by hand."""
    return (KNOWN["[CLS]"] + 2 * KNOWN["[SEP]"] + sum(KNOWN[word] for word in words)) % 1000 - 500.0


def logits(answer: ScoreAnswer) -> list[float]:
    """The answer's logits."""
    return [entry.pair.logit for entry in answer.results]


async def entered(backend: FakeBackend) -> None:
    """Until a batch is in the backend."""
    assert await asyncio.to_thread(backend.entered.wait, 20)
    backend.entered.clear()


async def test_every_candidate_gets_its_own_score_in_the_order_of_the_request(open_service: OpenService) -> None:
    """Ids, places, logits and token counts come back as they were asked, whatever order they ran in."""
    answer = await open_service().score(asking("hotel late train", "flight", "refund hotel"))
    assert [(entry.id, entry.index) for entry in answer.results] == [("c0", 0), ("c1", 1), ("c2", 2)]
    assert logits(answer) == [
        logit("cat", "hotel", "late", "train"),
        logit("cat", "flight"),
        logit("cat", "refund", "hotel"),
    ]
    assert [entry.pair.token_count for entry in answer.results] == [7, 5, 6]
    assert answer.is_complete
    assert answer.model.name == "fake"


async def test_no_candidates_is_a_complete_empty_answer(open_service: OpenService, backend: FakeBackend) -> None:
    """Nothing to score is no error and costs no forward."""
    answer = await open_service().score(asking())
    assert (answer.results, answer.is_complete, backend.batches) == ((), True, [])


async def test_an_empty_text_is_scored(open_service: OpenService) -> None:
    """A candidate without text has a score as any other."""
    assert logits(await open_service().score(asking("", "hotel"))) == [logit("cat"), logit("cat", "hotel")]


async def test_truncation_is_told_for_each_candidate(open_service: OpenService) -> None:
    """T1: the one text that was cut says so, and its count is the limit."""
    answer = await open_service().score(asking("hotel", "hotel " * 500))
    assert [entry.pair.truncated for entry in answer.results] == [False, True]
    assert answer.results[1].pair.token_count == 64


@pytest.mark.parametrize(("asked", "used"), [(0, 64), (20, 20), (64, 64), (5_000, 64)])
async def test_a_request_may_lower_the_limit_and_never_raise_it(
    open_service: OpenService, asked: int, used: int
) -> None:
    """T5: max_tokens cuts earlier; 0 and more than the model takes mean the model's own limit."""
    answer = await open_service().score(asking("hotel " * 500, max_tokens=asked))
    assert answer.results[0].pair.token_count == used


@pytest.mark.parametrize("query", ["", " ", "\n\t\u3000"])
async def test_an_empty_query_is_refused(open_service: OpenService, query: str) -> None:
    """A query without a visible character names the field."""
    with pytest.raises(InvalidRequest) as refused:
        await open_service().score(asking("hotel", query=query))
    assert refused.value.violations == (("query", "is empty; give the text that the user searched for"),)


async def test_each_bad_id_is_named_with_its_place(open_service: OpenService) -> None:
    """Empty and repeated ids come back together, each with its path."""
    names = ("a", "", "a", "b", "")
    request = ScoreRequest(query=" ", candidates=tuple(Candidate(id=name, text="hotel") for name in names))
    with pytest.raises(InvalidRequest) as refused:
        await open_service().score(request)
    assert dict(refused.value.violations) == {
        "query": "is empty; give the text that the user searched for",
        "candidates[1].id": "is empty; give each candidate an id of its own",
        "candidates[2].id": "repeats the id of candidates[0]",
        "candidates[4].id": "is empty; give each candidate an id of its own",
    }


async def test_only_the_first_bad_fields_are_named(open_service: OpenService) -> None:
    """A thousand bad ids make an error that still fits into a trailer."""
    request = ScoreRequest(query="cat", candidates=tuple(Candidate(id="", text="") for _ in range(1_000)))
    with pytest.raises(InvalidRequest) as refused:
        await open_service().score(request)
    assert len(refused.value.violations) == MOST_VIOLATIONS


async def test_too_many_candidates_are_refused_with_both_numbers(
    open_service: OpenService, backend: FakeBackend
) -> None:
    """The message says how many came and how many may, and none is scored; the most that may are."""
    service = open_service(max_candidates=3)
    with pytest.raises(InvalidRequest, match="candidates: holds 4 and may hold 3; send them in parts"):
        await service.score(asking("a", "b", "c", "d"))
    assert backend.batches == []
    assert len((await service.score(asking("a", "b", "c"))).results) == 3


async def test_a_query_over_the_limit_is_refused(open_service: OpenService, backend: FakeBackend) -> None:
    """T2: the query is not cut to fit; the request is refused."""
    with pytest.raises(InvalidRequest, match="query: is 100 tokens long and may be 53 under a limit of 64"):
        await open_service().score(asking("hotel", query="cat " * 100))
    assert backend.batches == []


async def test_an_unknown_model_lists_the_known_ones_of_its_kind(
    open_service: OpenService, tokeniser_folder: Path
) -> None:
    """The error names what was asked and what is served; an embedder is no cross-encoder."""
    service = open_service(
        fake_model(tokeniser_folder, name="one"),
        fake_model(tokeniser_folder, name="two"),
        fake_model(tokeniser_folder, name="vectors", kind="embedder"),
    )
    with pytest.raises(UnknownModel) as refused:
        await service.score(asking("hotel", model="vectors"))
    assert (refused.value.name, refused.value.known) == ("vectors", ("one", "two"))
    with pytest.raises(UnknownModel, match="'two' is not served here; served: vectors"):
        await service.embed(EmbedRequest(texts=("cat",), model="two"))


async def test_a_model_is_called_by_its_name_or_by_what_it_was_loaded_from(
    open_service: OpenService, tokeniser_folder: Path
) -> None:
    """Of several, a request gets the one that it names, by last part or whole hub name; the first if it names none."""
    loaded = [fake_model(tokeniser_folder, name=name) for name in ("small", "large")]
    models = [
        dataclasses.replace(model, card=dataclasses.replace(model.card, source=f"owner/{model.card.name}"))
        for model in loaded
    ]
    service = open_service(*models)
    asked = ("", "small", "large", "owner/small", "owner/large")
    answered = [(await service.score(asking("hotel", model=name))).model.name for name in asked]
    assert answered == ["small", "small", "large", "small", "large"]
    with pytest.raises(UnknownModel):
        await service.score(asking("hotel", model="another/large"))


async def test_a_very_long_model_name_is_cut_in_the_error(open_service: OpenService) -> None:
    """A megabyte of model name makes an error of a few hundred bytes."""
    with pytest.raises(UnknownModel) as refused:
        await open_service().score(asking("hotel", model="m" * 1_000_000))
    assert len(str(refused.value)) < 300
    assert "1000000 characters" in str(refused.value)


async def test_a_kind_that_is_not_served_says_so(open_service: OpenService) -> None:
    """Asking for vectors where only a cross-encoder runs is an unknown model, not a crash."""
    with pytest.raises(
        UnknownModel, match=r"'the default embedder' is not served here; .* start the sidecar with --embedder"
    ):
        await open_service().embed(EmbedRequest(texts=("cat",)))


async def test_the_named_model_answers_and_the_first_is_the_default(
    open_service: OpenService, tokeniser_folder: Path
) -> None:
    """Without a name the first of its kind scores, with a name that one."""
    service = open_service(fake_model(tokeniser_folder, name="one"), fake_model(tokeniser_folder, name="two"))
    assert (await service.score(asking("hotel"))).model.name == "one"
    assert (await service.score(asking("hotel", model="two"))).model.name == "two"
    assert [card.name for card in service.models()] == ["one", "two"]


async def test_a_service_that_is_not_open_is_not_ready(clock: FakeClock) -> None:
    """P3: before the models are there each request says so, instead of waiting or failing otherwise."""
    service = Service(Settings(model="fake"), clock)
    for asked in (service.score(asking("hotel")), service.embed(EmbedRequest(texts=("cat",)))):
        with pytest.raises(NotReady, match="not loaded and warm yet"):
            await asked
    assert service.models() == []
    service.close()


async def test_the_second_time_the_score_comes_from_the_cache(open_service: OpenService, backend: FakeBackend) -> None:
    """Known pairs are told as cached and cost no forward; a new one among them is scored."""
    service = open_service()
    first = await service.score(asking("hotel", "flight"))
    second = await service.score(asking("flight", "train", "hotel"))
    assert [entry.cached for entry in first.results] == [False, False]
    assert [entry.cached for entry in second.results] == [True, False, True]
    assert logits(second) == [logit("cat", word) for word in ("flight", "train", "hotel")]
    assert sum(map(len, backend.batches)) == 3
    assert second.results[0].pair == first.results[1].pair


async def test_a_wholly_known_request_waits_for_nobody(open_service: OpenService, backend: FakeBackend) -> None:
    """While the only worker is held, a request of known pairs is answered all the same."""
    service = open_service()
    await service.score(asking("hotel"))
    backend.door.clear()
    backend.entered.clear()
    held = asyncio.create_task(service.score(asking("train")))
    await entered(backend)
    assert (await service.score(asking("hotel"))).results[0].cached
    backend.door.set()
    await held


async def test_without_a_cache_nothing_is_known(open_service: OpenService) -> None:
    """cache_mb 0 scores every time."""
    service = open_service(cache_mb=0)
    await service.score(asking("hotel"))
    assert not (await service.score(asking("hotel"))).results[0].cached


async def test_another_limit_is_not_answered_from_the_cache(open_service: OpenService) -> None:
    """S5: the same pair under another limit is another pair; under the model's own limit, said or not, the same."""
    service = open_service()
    await service.score(asking("hotel " * 50, max_tokens=20))
    assert not (await service.score(asking("hotel " * 50))).results[0].cached
    assert (await service.score(asking("hotel " * 50, max_tokens=64))).results[0].cached


async def test_another_query_is_not_answered_from_the_cache(open_service: OpenService) -> None:
    """S5: the same text under another query is scored."""
    service = open_service()
    await service.score(asking("hotel"))
    assert not (await service.score(asking("hotel", query="cats"))).results[0].cached


async def test_a_model_with_another_digest_is_not_answered_from_the_cache(
    open_service: OpenService, tokeniser_folder: Path
) -> None:
    """S5: two versions of a model share no score."""
    service = open_service(
        fake_model(tokeniser_folder, name="old", digest="d1"), fake_model(tokeniser_folder, name="new", digest="d2")
    )
    await service.score(asking("hotel", model="old"))
    assert not (await service.score(asking("hotel", model="new"))).results[0].cached


async def test_a_passed_deadline_with_nothing_scored_is_deadline_exceeded(
    open_service: OpenService, backend: FakeBackend, clock: FakeClock
) -> None:
    """F4: all late: an error, and the model sees nothing."""
    with pytest.raises(DeadlineExceeded):
        await open_service().score(asking("hotel", deadline_s=clock.now_s() - 1))
    assert backend.batches == []


async def test_a_passed_deadline_with_known_scores_is_a_partial_answer(
    open_service: OpenService, clock: FakeClock
) -> None:
    """What the cache knows is answered even when nothing new can be; the rest is left out, and the answer says so."""
    service = open_service()
    await service.score(asking("hotel"))
    answer = await service.score(asking("train", "hotel", deadline_s=clock.now_s() - 1))
    assert [(entry.id, entry.cached) for entry in answer.results] == [("c1", True)]
    assert not answer.is_complete


async def test_at_the_deadline_the_scored_ones_are_answered(
    open_service: OpenService, backend: FakeBackend, clock: FakeClock
) -> None:
    """The first batch is done and the second is late: the first-stage top comes back, partial."""
    service = open_service(budget_tokens=5)
    backend.door.clear()
    call = asyncio.create_task(service.score(asking("hotel", "train", "flight", deadline_s=clock.now_s() + 5)))
    await entered(backend)
    clock.advance(5)
    backend.door.set()
    answer = await call
    assert [entry.id for entry in answer.results] == ["c0"]
    assert not answer.is_complete
    assert len(backend.batches) == 1


async def test_an_answer_leaves_at_the_deadline_while_the_model_still_runs(
    open_service: OpenService, backend: FakeBackend, clock: FakeClock
) -> None:
    """A forward that outlives the deadline is not waited for: known scores leave, while the door is still shut."""
    service = open_service()
    await service.score(asking("hotel"))
    backend.door.clear()
    answer = await asyncio.wait_for(service.score(asking("hotel", "train", deadline_s=clock.now_s() + 0.05)), 5)
    assert [entry.id for entry in answer.results] == ["c0"]
    assert not backend.door.is_set()


async def test_a_cancelled_request_is_dropped(open_service: OpenService, backend: FakeBackend) -> None:
    """F4: nobody waits any more, so its pairs never reach the model, and the next request is served."""
    service = open_service()
    backend.door.clear()
    held = asyncio.create_task(service.score(asking("hotel")))
    await entered(backend)
    gone = asyncio.create_task(service.score(asking("train")))
    last = asyncio.create_task(service.score(asking("flight")))
    await until(lambda: service.waiting == 2)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    backend.door.set()
    await asyncio.gather(held, last)
    assert KNOWN["train"] not in {number for batch in backend.batches for row in batch for number in row.ids}


async def test_when_the_model_fails_on_everything_the_error_says_so_and_the_next_request_is_answered(
    open_service: OpenService,
) -> None:
    """F11: an exception of the model is an error of this request alone, with its cause kept."""
    service = open_service()
    with pytest.raises(BackendFailed, match="the model failed on 2 of 2 rows") as failed:
        await service.score(asking(POISON_WORD, f"hotel {POISON_WORD}"))
    assert isinstance(failed.value.__cause__, RuntimeError)
    assert logits(await service.score(asking("hotel"))) == [logit("cat", "hotel")]


async def test_a_poisoned_candidate_is_left_out_and_its_neighbours_stay(open_service: OpenService) -> None:
    """F7: one text that breaks the model costs only its own score, and is not remembered as scored."""
    service = open_service()
    for cached in (False, True):
        answer = await service.score(asking("hotel", POISON_WORD, "train"))
        assert [(entry.index, entry.cached) for entry in answer.results] == [(0, cached), (2, cached)]
        assert not answer.is_complete


async def test_more_waiting_pairs_than_allowed_are_refused_for_now(
    open_service: OpenService, backend: FakeBackend
) -> None:
    """F6: with the queue full the request is refused with a time to come back; afterwards it is served."""
    service = open_service(max_waiting_pairs=4, budget_tokens=5)
    backend.door.clear()
    held = asyncio.create_task(service.score(asking("hotel", "train", "flight", "late")))
    await entered(backend)
    with pytest.raises(Overloaded, match="3 pairs are waiting and at most 4 may") as refused:
        await service.score(asking("cat", "refund"))
    assert refused.value.retry_after_s > 0
    backend.door.set()
    await held
    assert (await service.score(asking("cat", "refund"))).is_complete


async def test_an_idle_sidecar_takes_a_request_larger_than_the_queue(open_service: OpenService) -> None:
    """A lone request is never refused for what it would make wait: nobody is in its way."""
    assert (await open_service(max_waiting_pairs=2).score(asking("hotel", "train", "flight"))).is_complete


@pytest.mark.parametrize("count", [33, 100, 1_000])
async def test_requests_of_any_size_work_with_default_settings(
    open_service: OpenService, backend: FakeBackend, count: int
) -> None:
    """P9: no batch size shows through: 33, 100 and 1,000 texts are all scored, within the token budget."""
    answer = await open_service().score(asking(*[f"hotel {'late ' * (index % 40)}{index}" for index in range(count)]))
    assert len(answer.results) == count
    assert all(len(batch) * max(map(len, batch)) <= 8192 for batch in backend.batches)


async def test_timings_are_those_of_the_clock(
    open_service: OpenService, backend: FakeBackend, clock: FakeClock
) -> None:
    """Forward and total time hold what passed while the model ran."""
    service = open_service()
    backend.door.clear()
    call = asyncio.create_task(service.score(asking("hotel")))
    await entered(backend)
    clock.advance(0.2)
    backend.door.set()
    timings = (await call).timings
    assert (timings.forward_ms, timings.total_ms) == (pytest.approx(200), pytest.approx(200))
    assert (timings.tokenise_ms, timings.queue_ms) == (0, 0)


@pytest.fixture
def vectors() -> Iterator[FakeBackend]:
    """An embedder's backend."""
    made = FakeBackend(dimension=8)
    yield made
    made.door.set()


async def test_each_text_gets_a_unit_vector_in_order(
    open_service: OpenService, tokeniser_folder: Path, vectors: FakeBackend
) -> None:
    """float32 of the model's dimension, length one, in the order of the texts; equal texts have equal vectors."""
    service = open_service(fake_model(tokeniser_folder, kind="embedder", backend=vectors))
    answer = await service.embed(EmbedRequest(texts=("hotel", "late train", "hotel", "")))
    found = np.stack([entry.values for entry in answer.embeddings])
    assert (found.dtype, found.shape) == (np.float32, (4, 8))
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    assert (found[0] == found[2]).all()
    assert not (found[0] == found[1]).all()
    assert [entry.token_count for entry in answer.embeddings] == [3, 4, 3, 2]


async def test_only_queries_get_the_query_prefix(
    open_service: OpenService, tokeniser_folder: Path, vectors: FakeBackend
) -> None:
    """The model's prefix stands before a query and not before a document."""
    service = open_service(fake_model(tokeniser_folder, kind="embedder", backend=vectors))
    await service.embed(EmbedRequest(texts=("hotel",), kind="query"))
    await service.embed(EmbedRequest(texts=("hotel",), kind="document"))
    read = [row.ids[1:-1] for batch in vectors.batches for row in batch]
    assert read == [(KNOWN["cat"], KNOWN["hotel"]), (KNOWN["hotel"],)]


async def test_embedding_nothing_is_refused(open_service: OpenService, tokeniser_folder: Path) -> None:
    """An empty list names the field and what to give."""
    service = open_service(fake_model(tokeniser_folder, kind="embedder"), max_candidates=2)
    with pytest.raises(InvalidRequest, match="texts: is empty; give at least one text"):
        await service.embed(EmbedRequest(texts=()))
    with pytest.raises(InvalidRequest, match="texts: holds 3 and may hold 2"):
        await service.embed(EmbedRequest(texts=("a", "b", "c")))


async def test_no_embedding_is_better_than_some(
    open_service: OpenService, tokeniser_folder: Path, clock: FakeClock
) -> None:
    """One text that fails, or a deadline that passed, fails the whole call: a missing vector helps nobody."""
    service = open_service(fake_model(tokeniser_folder, kind="embedder"))
    with pytest.raises(BackendFailed, match="failed on 1 of 2 rows"):
        await service.embed(EmbedRequest(texts=("hotel", POISON_WORD)))
    with pytest.raises(DeadlineExceeded):
        await service.embed(EmbedRequest(texts=("hotel",), deadline_s=clock.now_s() - 1))


async def test_embedding_counts_truncation(open_service: OpenService, tokeniser_folder: Path) -> None:
    """T1: a text over the limit is cut, and its embedding says so."""
    service = open_service(fake_model(tokeniser_folder, kind="embedder", max_tokens=20))
    answer = await service.embed(EmbedRequest(texts=("hotel " * 100, "hotel")))
    assert [(entry.token_count, entry.truncated) for entry in answer.embeddings] == [(20, True), (3, False)]


async def test_closing_ends_what_runs_and_refuses_the_rest(open_service: OpenService, backend: FakeBackend) -> None:
    """The running request is answered, the waiting one and the one that comes later hear that the sidecar stops."""
    service = open_service()
    backend.door.clear()
    running = asyncio.create_task(service.score(asking("hotel")))
    await entered(backend)
    waits = asyncio.create_task(service.score(asking("train")))
    await until(lambda: service.waiting == 1)
    threading.Timer(0.0, backend.door.set).start()
    service.close()
    assert logits(await running) == [logit("cat", "hotel")]
    with pytest.raises(NotReady):
        await waits
    with pytest.raises(NotReady):
        await service.score(asking("flight"))


async def test_closing_refuses_what_has_not_been_tokenised(open_service: OpenService) -> None:
    """Requests that stand before the tokeniser when the sidecar stops end with NotReady, not as cancelled."""
    service = open_service()
    calls = [asyncio.create_task(service.score(asking("hotel " * 5_000, query=f"cat {index}"))) for index in range(40)]
    await asyncio.sleep(0)
    service.close()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(end) for end in ends} <= {NotReady, ScoreAnswer}
    assert NotReady in {type(end) for end in ends}


async def test_a_request_cancelled_before_the_tokeniser_is_cancelled(open_service: OpenService) -> None:
    """Whoever cancels a call gets a cancelled call, not an error that invites to try again."""
    call = asyncio.create_task(open_service().score(asking("hotel " * 5_000)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_closing_twice_is_closing_once(open_service: OpenService) -> None:
    """A second close changes nothing and raises nothing."""
    service = open_service()
    service.close()
    service.close()
    assert service.models() == []
