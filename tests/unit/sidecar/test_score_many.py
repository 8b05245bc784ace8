"""Many requests in one call: each as if it had come alone, in their order, and one that fails fails alone."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Candidate, ScoreAnswer, ScoreRequest, Tokens
from rescorer_sidecar.errors import DeadlineExceeded, SidecarError
from rescorer_sidecar.models import Model
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import POISON_WORD, fake_model, until
from rescorer_sidecar.token_cache import TokenCache
from rescorer_sidecar.tokenise import Tokeniser
from unit.sidecar.door import Serve, Served, asking, details_of, refusal

Code = grpc.StatusCode


def many(*requests: wire.ScoreRequest) -> wire.ScoreManyRequest:
    """All of them in one."""
    return wire.ScoreManyRequest(requests=requests)


def told(answer: wire.ScoreAnswer) -> tuple[int, str, list[Any]]:
    """Code, message and details of an answer that is an error."""
    assert answer.WhichOneof("outcome") == "error"
    return answer.error.code, answer.error.message, details_of(answer.error)


def pure(scores: wire.ScoreResponse) -> wire.ScoreResponse:
    """What was scored, without how long it took and whether it was known."""
    bare = wire.ScoreResponse()
    bare.CopyFrom(scores)
    bare.ClearField("timings")
    for entry in bare.results:
        entry.ClearField("cached")
    return bare


async def test_each_request_is_answered_as_if_it_had_come_alone(served: Served) -> None:
    """Query, model, length limit and activation are each request's own, and answers stand in the order of requests."""
    sigmoid = wire.ScoreOptions(activation=wire.ACTIVATION_SIGMOID, max_tokens=20)
    requests = (
        asking("hotel", "late train"),
        asking("hotel " * 100, query="refund", options=sigmoid),
        asking(),
        asking("hotel", query="late", model="fake"),
    )
    answers = (await served.calls.ScoreMany(many(*requests), timeout=20)).answers
    alone = [await served.calls.Score(request, timeout=20) for request in requests]
    assert [pure(answer.scores) for answer in answers] == [pure(scores) for scores in alone]
    assert [len(answer.scores.results) for answer in answers] == [2, 1, 0, 1]
    assert answers[1].scores.results[0].token_count == 20


async def test_a_request_that_fails_fails_alone_and_as_it_would_by_itself(served: Served) -> None:
    """Unknown model, empty query, doubled id, a model that breaks: each has Score's code, message and details."""
    bad = (
        asking("hotel", model="nowhere"),
        asking("hotel", query=" "),
        wire.ScoreRequest(query="cat", candidates=[wire.Candidate(id="a")] * 2),
        asking(POISON_WORD),
    )
    answers = (await served.calls.ScoreMany(many(asking("late"), *bad, asking("train")), timeout=20)).answers
    for answer, request in zip(answers[1:-1], bad, strict=True):
        code, message, details = await refusal(served.calls.Score(request, timeout=20))
        assert told(answer) == (code.value[0], message, details)
    assert [len(answer.scores.results) for answer in (answers[0], answers[-1])] == [1, 1]


async def test_no_requests_are_no_answers(served: Served, backend: FakeBackend) -> None:
    """An empty list has an empty answer and costs nothing."""
    assert len((await served.calls.ScoreMany(many(), timeout=20)).answers) == 0
    assert backend.batches == []


async def test_requests_of_one_call_share_a_batch(served: Served, backend: FakeBackend) -> None:
    """Pairs of all its requests that wait together run in one forward."""
    backend.door.clear()
    held = asyncio.ensure_future(served.calls.Score(asking("hotel"), timeout=30))
    assert await asyncio.to_thread(backend.entered.wait, 20)
    words = ("cat", "late", "refund", "train")
    call = asyncio.ensure_future(served.calls.ScoreMany(many(*[asking("flight", query=word) for word in words])))
    await until(lambda: served.service.waiting == 4)
    backend.door.set()
    assert len((await call).answers) == 4
    await held
    assert [len(batch) for batch in backend.batches] == [1, 4]


async def test_a_text_that_breaks_the_model_costs_no_other_request(served: Served, backend: FakeBackend) -> None:
    """F11: in one batch with a poisoned pair, the pairs of the other requests still have their scores."""
    backend.door.clear()
    held = asyncio.ensure_future(served.calls.Score(asking("hotel"), timeout=30))
    assert await asyncio.to_thread(backend.entered.wait, 20)
    asked = many(asking("cat"), asking(POISON_WORD, "late"), asking("train"))
    call = asyncio.ensure_future(served.calls.ScoreMany(asked, timeout=30))
    await until(lambda: served.service.waiting == 4)
    backend.door.set()
    scores = [answer.scores for answer in (await call).answers]
    await held
    assert [[entry.index for entry in entry.results] for entry in scores] == [[0], [1], [0]]
    assert [entry.status for entry in scores] == [
        wire.SCORE_STATUS_COMPLETE,
        wire.SCORE_STATUS_PARTIAL,
        wire.SCORE_STATUS_COMPLETE,
    ]


async def test_what_is_over_the_queue_is_told_when_to_come_back(serve: Serve, tokeniser_folder: Path) -> None:
    """F6: pairs of one call count together: the requests that find no room are RESOURCE_EXHAUSTED with a RetryInfo."""
    served = await serve(fake_model(tokeniser_folder), max_waiting_pairs=4)
    asked = many(asking("a", "b", "c"), asking("d"), asking("e", "f"), asking())
    answers = (await served.calls.ScoreMany(asked, timeout=20)).answers
    assert [answer.WhichOneof("outcome") for answer in answers] == ["scores", "scores", "error", "scores"]
    code, _, (detail,) = told(answers[2])
    assert code == Code.RESOURCE_EXHAUSTED.value[0]
    assert detail.retry_delay.ToTimedelta().total_seconds() == 0.5


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([asking("a", "b"), asking("c", "d")], "requests[].candidates"),
        ([asking()] * 4, "requests"),
    ],
)
async def test_limits_of_one_request_hold_for_all_together(
    serve: Serve, tokeniser_folder: Path, backend: FakeBackend, requests: list[wire.ScoreRequest], field: str
) -> None:
    """More candidates, or more requests, than one request may hold candidates: INVALID_ARGUMENT, nothing is scored."""
    served = await serve(fake_model(tokeniser_folder, backend=backend), max_candidates=3)
    code, _, (detail, info) = await refusal(served.calls.ScoreMany(many(*requests), timeout=20))
    assert (code, info.metadata["most"]) == (Code.INVALID_ARGUMENT, "3")
    assert [(entry.field, "may hold 3" in entry.description) for entry in detail.field_violations] == [(field, True)]
    assert backend.batches == []
    assert len((await served.calls.ScoreMany(many(*requests[:1]), timeout=20)).answers) == 1


async def test_a_message_over_the_limit_is_refused_as_a_whole(serve: Serve, tokeniser_folder: Path) -> None:
    """Requests that fit one by one and not together are RESOURCE_EXHAUSTED, with both sizes."""
    served = await serve(fake_model(tokeniser_folder), max_message_mb=1)
    half = asking("x " * 300_000)
    code, message, _ = await refusal(served.calls.ScoreMany(many(half, half), timeout=20))
    assert code == Code.RESOURCE_EXHAUSTED
    assert str(1024 * 1024) in message
    assert len((await served.calls.ScoreMany(many(half), timeout=20)).answers) == 1


async def test_ten_thousand_pairs_of_a_hundred_requests_are_scored(served: Served) -> None:
    """P9: the largest call there is comes back whole, each score at its place."""
    texts = [f"hotel {index}" for index in range(100)]
    asked = many(*[asking(*texts, query=f"cat {index}") for index in range(100)])
    answers = (await served.calls.ScoreMany(asked, timeout=60)).answers
    assert [[entry.index for entry in answer.scores.results] for answer in answers] == [list(range(100))] * 100


async def test_just_before_the_deadline_each_request_gets_what_there_is(served: Served, backend: FakeBackend) -> None:
    """A known request is complete, a half known one partial, an unknown one DEADLINE_EXCEEDED, in one answer."""
    await served.calls.Score(asking("hotel"), timeout=20)
    backend.door.clear()
    asked = many(asking("train"), asking("train", "hotel"), asking("hotel"))
    late, some, known = (await served.calls.ScoreMany(asked, timeout=1.0)).answers
    assert told(late)[0] == Code.DEADLINE_EXCEEDED.value[0]
    assert (some.scores.status, [entry.index for entry in some.scores.results]) == (wire.SCORE_STATUS_PARTIAL, [1])
    assert known.scores.status == wire.SCORE_STATUS_COMPLETE
    await until(lambda: served.service.waiting == 0)


async def test_a_cancelled_call_drops_the_pairs_of_all_its_requests(served: Served, backend: FakeBackend) -> None:
    """F4: when the client hangs up, nothing of the call reaches the model."""
    backend.door.clear()
    held = asyncio.ensure_future(served.calls.Score(asking("hotel"), timeout=30))
    assert await asyncio.to_thread(backend.entered.wait, 20)
    call = served.calls.ScoreMany(many(asking("train", "flight"), asking("late")), timeout=30)
    await until(lambda: served.service.waiting == 3)
    call.cancel()
    await until(lambda: served.service.waiting == 0)
    backend.door.set()
    await held
    assert sum(map(len, backend.batches)) == 1


async def test_before_the_models_are_ready_the_call_is_unavailable(serve: Serve) -> None:
    """P3: nothing can be scored yet, so the whole call says so, and a client tries it again or elsewhere."""
    served = await serve()
    code, message, _ = await refusal(served.calls.ScoreMany(many(asking("a")), timeout=20))
    assert code == Code.UNAVAILABLE
    assert "not loaded and warm yet" in message


class OddTokeniser(Tokeniser):
    """Holds the query "slow" until it is let go, and fails on the query "odd"."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.let_go = threading.Event()

    def pairs(self, query: str, texts: Sequence[str], limit: int, known: TokenCache | None = None) -> list[Tokens]:
        """The tokens, sooner or later or not."""
        if query == "slow":
            self.let_go.wait(timeout=30)
        if query == "odd":
            raise LookupError(f"nobody expected {query!r}: {texts}")
        return super().pairs(query, texts, limit, known)


@pytest.fixture
def tokeniser(tokeniser_folder: Path) -> Iterator[OddTokeniser]:
    """A tokeniser with two queries that it does not take well."""
    made = OddTokeniser(tokeniser_folder)
    yield made
    made.let_go.set()


@pytest.fixture
def odd_service(tokeniser: OddTokeniser, tokeniser_folder: Path) -> Iterator[Service]:
    """A service with that tokeniser, on a clock that runs."""
    model: Model = dataclasses.replace(fake_model(tokeniser_folder), tokeniser=tokeniser)
    service = Service(Settings(model="fake"), MonotonicClock())
    service.open([model])
    yield service
    tokeniser.let_go.set()
    service.close()


def wish(query: str, deadline_s: float | None = None) -> ScoreRequest:
    """A request with one candidate."""
    return ScoreRequest(query=query, candidates=(Candidate(id="a", text="hotel"),), deadline_s=deadline_s)


def kinds(outcomes: Sequence[ScoreAnswer | SidecarError]) -> list[str]:
    """What each outcome is."""
    return [type(outcome).__name__ for outcome in outcomes]


async def test_a_request_that_is_slow_to_tokenise_is_not_waited_for(odd_service: Service) -> None:
    """Whatever holds one request up, those beside it are answered at the deadline."""
    deadline_s = MonotonicClock().now_s() + 0.5
    asked = [wish(query, deadline_s) for query in ("cat", "slow", "late")]
    outcomes = await asyncio.wait_for(odd_service.score_many(asked), 5)
    assert kinds(outcomes) == ["ScoreAnswer", "DeadlineExceeded", "ScoreAnswer"]
    assert isinstance(outcomes[1], DeadlineExceeded)


async def test_what_nobody_foresaw_fails_alone_and_leaves_no_text_in_the_log(
    odd_service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that is none of ours is INTERNAL for its request alone; the log names its kind and place, no text."""
    with caplog.at_level(logging.ERROR):
        outcomes = await odd_service.score_many([wish("cat"), wish("odd"), wish("late")])
    assert kinds(outcomes) == ["ScoreAnswer", "BackendFailed", "ScoreAnswer"]
    assert "LookupError" in str(outcomes[1])
    assert "LookupError" in caplog.text
    assert "in pairs" in caplog.text
    assert "hotel" not in caplog.text


async def test_a_cancelled_list_leaves_nothing_behind(odd_service: Service, tokeniser: OddTokeniser) -> None:
    """Whoever cancels gets a cancelled call, and room is made at once for what waited in it."""
    call = asyncio.create_task(odd_service.score_many([wish("slow"), wish("slow"), wish("cat")]))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    tokeniser.let_go.set()
    (outcome,) = await odd_service.score_many([wish("late")])
    assert isinstance(outcome, ScoreAnswer)


async def test_requests_of_their_own_calls_count_while_they_are_tokenised(
    tokeniser: OddTokeniser, tokeniser_folder: Path, open_service: Callable[..., Service]
) -> None:
    """F6: a pair waits from the moment it is let in, not from the moment it is tokenised."""
    model = dataclasses.replace(fake_model(tokeniser_folder), tokeniser=tokeniser)
    service = open_service(model, max_waiting_pairs=1)
    held = asyncio.create_task(service.score(wish("slow")))
    await asyncio.sleep(0)
    (outcome,) = await service.score_many([wish("cat")])
    assert kinds([outcome]) == ["Overloaded"]
    tokeniser.let_go.set()
    assert (await held).is_complete
    assert kinds(await service.score_many([wish("cat")])) == ["ScoreAnswer"]
