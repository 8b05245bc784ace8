"""Many requests over gRPC: one call where they fit, further ones where they must, one deadline over all of them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from contract.scorers.conftest import Driven, Timed
from contract.scorers.fake_sidecar import (
    REFUSED,
    FakeService,
    answers,
    bad_field,
    error,
    fails,
    partial,
    retry_after,
    scored,
    scored_many,
)
from rescorer.domain import Candidate, ScoreRequest, Scores
from rescorer.errors import (
    BadScores,
    Reason,
    ScorerError,
    ScorerOverloaded,
    ScorerRefused,
    ScorerTimeout,
    ScorerUnavailable,
)
from rescorer.fuse import aligned
from rescorer.scorers.channels import Target
from rescorer.scorers.grpc import AsyncGrpcScorer
from rescorer.testing import FakeScorer
from rescorer_proto.v1 import rescorer_pb2

Code = grpc.StatusCode


def wish(count: int = 2, query: str = "cancel a flight", size: int = 10, **other: Any) -> ScoreRequest:
    """A request with so many candidates of so many letters."""
    candidates = [Candidate(f"{place}:d", (("", "flight " + "x" * size),)) for place in range(count)]
    return ScoreRequest(query=query, candidates=candidates, **other)


def kinds(entries: list[Scores | ScorerError]) -> list[str]:
    """What each entry is."""
    return [type(entry).__name__ for entry in entries]


def names(service: FakeService) -> list[str]:
    """Which messages arrived."""
    return [type(seen).__name__.removesuffix("Request") for seen in service.seen]


async def test_what_fits_goes_in_one_call(timed: Timed, service: FakeService) -> None:
    """M-search: a hundred searches with windows of twenty cost one call, which holds each as it was asked."""
    wishes = [wish(20, query=f"flight {place}", model="m", max_tokens=64) for place in range(100)]
    entries = await timed.driven.score_many(wishes, timeout_s=7.0)
    assert names(service) == ["ScoreMany"]
    assert 5.0 < service.left_s[0] < 7.1  # gRPC rounds
    assert [one.query for one in service.seen[0].requests] == [one.query for one in wishes]
    assert {(one.model, one.options.max_tokens) for one in service.seen[0].requests} == {("m", 64)}
    assert all(isinstance(entry, Scores) and all(aligned(entry, wishes[0].candidates)) for entry in entries)


async def test_nothing_to_score_is_no_call(timed: Timed, service: FakeService) -> None:
    """No requests, or none with a candidate: nobody is asked."""
    assert await timed.driven.score_many([]) == []
    assert kinds(await timed.driven.score_many([wish(0), wish(0)])) == ["Scores", "Scores"]
    assert service.seen == []


async def test_a_partial_entry_says_why(timed: Timed, service: FakeService) -> None:
    """The deadline inside one request is that request's reason alone."""
    service.next_answers = [
        lambda request, context: answers(partial(request.requests[0], context), scored(request.requests[1]))
    ]
    first, second = await timed.driven.score_many([wish(3), wish(3)])
    assert isinstance(first, Scores)
    assert isinstance(second, Scores)
    assert (len(first.results), first.reason) == (1, Reason.DEADLINE_EXCEEDED)
    assert (len(second.results), second.reason) == (3, None)


async def test_more_than_one_message_holds_goes_on_in_further_calls(timed: Timed, service: FakeService) -> None:
    """M4: by texts and by bytes, every message stays below any server's limit, and entries keep their order."""
    wishes = [wish(300, query=f"flight {place}") for place in range(20)]
    wishes += [wish(10, query=f"flight {place}", size=100_000) for place in range(20, 30)]
    entries = await timed.driven.score_many(wishes, timeout_s=60.0)
    assert set(names(service)) == {"ScoreMany"}
    assert 6 <= len(service.seen) <= 9
    assert all(seen.ByteSize() <= 4 * 1024 * 1024 - 1024 for seen in service.seen)
    assert all(sum(len(one.candidates) for one in seen.requests) <= 2048 for seen in service.seen)
    assert [one.query for seen in service.seen for one in seen.requests] == [one.query for one in wishes]
    for entry, asked in zip(entries, wishes, strict=True):
        assert isinstance(entry, Scores)
        assert all(aligned(entry, asked.candidates))


async def test_a_request_too_large_for_a_message_is_cut_and_comes_last(timed: Timed, service: FakeService) -> None:
    """M4: the small ones do not wait behind it, and its parts are one entry at its place."""
    wishes = [wish(2), wish(5000), wish(3)]
    entries = await timed.driven.score_many(wishes, timeout_s=60.0)
    assert names(service) == ["ScoreMany", "Score", "Score", "Score"]
    assert [len(entry.results) for entry in entries if isinstance(entry, Scores)] == [2, 5000, 3]
    assert isinstance(entries[1], Scores)
    assert all(aligned(entries[1], wishes[1].candidates))


async def test_a_large_request_that_is_refused_fails_alone(timed: Timed) -> None:
    """In parts too, what is wrong with one request is no other's trouble."""
    entries = await timed.driven.score_many([wish(5000, query=REFUSED), wish(5000), wish(2)], timeout_s=60.0)
    assert kinds(entries) == ["ScorerRefused", "Scores", "Scores"]


@pytest.mark.parametrize(
    ("code", "details", "kind", "said"),
    [
        (Code.INVALID_ARGUMENT, [bad_field("query", "is empty")], ScorerRefused, "query: is empty"),
        (Code.NOT_FOUND, [], ScorerRefused, "what was wrong"),
        (Code.DEADLINE_EXCEEDED, [], ScorerTimeout, "in time"),
        (Code.INTERNAL, [], ScorerError, "what was wrong"),
        (Code.UNKNOWN, [], ScorerError, "what was wrong"),
    ],
)
async def test_an_entrys_error_is_that_of_a_call(
    timed: Timed, service: FakeService, code: grpc.StatusCode, details: list[Any], kind: type[ScorerError], said: str
) -> None:
    """Each code is its own error, in one line with the address, and is final."""
    bad = error(code, "what was\n wrong", *details)
    service.next_answers = [lambda request, context: answers(bad, scored(request.requests[1]))]
    entry, other = await timed.driven.score_many([wish(), wish()])
    assert type(entry) is kind
    assert said in str(entry)
    assert "127.0.0.1:" in str(entry)
    assert "\n" not in str(entry)
    assert isinstance(other, Scores)
    assert len(service.seen) == 1


async def test_a_code_that_nobody_knows_is_a_failure(timed: Timed, service: FakeService) -> None:
    """A number that is no gRPC code still becomes an entry."""
    odd = error(Code.UNKNOWN, "odd")
    odd.code = 99
    service.next_answers = [lambda request, context: answers(odd)]
    assert kinds(await timed.driven.score_many([wish()])) == ["ScorerError"]


async def test_only_what_may_pass_is_asked_again(timed: Timed, service: FakeService) -> None:
    """F6: the overloaded request alone goes again, when the sidecar asks for it; the scores that came are kept."""
    full = error(Code.RESOURCE_EXHAUSTED, "full", retry_after(1.5))
    service.next_answers = [lambda request, context: answers(scored(request.requests[0]), full)]
    entries = await timed.driven.score_many([wish(), wish(3, query="flight")])
    assert kinds(entries) == ["Scores", "Scores"]
    assert timed.clock.waits_s == [1.5]
    assert [one.query for one in service.seen[1].requests] == ["flight"]


async def test_asking_again_ends_soon(timed: Timed, service: FakeService) -> None:
    """F1: three tries, then the entry is the error, and the others are answered."""
    gone = error(Code.UNAVAILABLE, "stopping")
    service.next_answers = [lambda request, context: answers(scored(request.requests[0]), gone)]
    service.next_answers += [lambda request, context: answers(gone)] * 9
    entries = await timed.driven.score_many([wish(), wish()], timeout_s=60.0)
    assert kinds(entries) == ["Scores", "ScorerUnavailable"]
    assert len(service.seen) == 3
    assert sum(timed.clock.waits_s) < 0.1


async def test_asking_again_past_the_deadline_is_not_begun(timed: Timed, service: FakeService) -> None:
    """F5: an entry that may come only after the deadline stays an error, and the call returns now."""
    full = error(Code.RESOURCE_EXHAUSTED, "full", retry_after(20))
    service.next_answers = [lambda request, context: answers(scored(request.requests[0]), full)]
    first, second = await timed.driven.score_many([wish(), wish()], timeout_s=10.0)
    assert isinstance(first, Scores)
    assert isinstance(second, ScorerOverloaded)
    assert second.retry_after_s == 20
    assert timed.clock.waits_s == []
    assert len(service.seen) == 1


async def test_a_second_try_that_fails_costs_nothing_that_came(timed: Timed, service: FakeService) -> None:
    """The scores of the first call are kept whatever the next one ends with."""
    full = error(Code.RESOURCE_EXHAUSTED, "full")
    service.next_answers = [
        lambda request, context: answers(full, scored(request.requests[1])),
        fails(Code.INTERNAL, "broken"),
    ]
    assert kinds(await timed.driven.score_many([wish(), wish()])) == ["ScorerOverloaded", "Scores"]


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED])
async def test_a_call_with_a_passing_trouble_is_tried_again(
    timed: Timed, service: FakeService, code: grpc.StatusCode
) -> None:
    """As for a single request: the second try answers."""
    service.next_answers = [fails(code, "later")]
    assert kinds(await timed.driven.score_many([wish(), wish()])) == ["Scores", "Scores"]
    assert timed.clock.waits_s == [0.02]


async def test_a_call_that_fails_as_a_whole_raises(timed: Timed, service: FakeService) -> None:
    """Not ready, broken, no credentials: with nothing answered there are no entries."""
    for code, kind in ((Code.UNAVAILABLE, ScorerUnavailable), (Code.INTERNAL, ScorerError)):
        service.next_answers = [fails(code, "no")] * 3
        with pytest.raises(kind):
            await timed.driven.score_many([wish(), wish()])
        service.next_answers = []
    service.next_answers = [fails(Code.UNAUTHENTICATED, "who are you?")]
    with pytest.raises(ScorerRefused, match="who are you"):
        await timed.driven.score_many([wish(), wish()])


async def test_nobody_at_the_address_raises(lonely: Timed) -> None:
    """F1: a stopped sidecar is one error for all of it, at once."""
    with pytest.raises(ScorerUnavailable, match="nobody serves scores"):
        await lonely.driven.score_many([wish(), wish()], timeout_s=60.0)
    assert sum(lonely.clock.waits_s) < 0.1


async def test_a_slow_sidecar_costs_one_deadline(timed: Timed, service: FakeService) -> None:
    """F5: however many requests there are, they share one deadline."""
    service.next_answers = [service.held] * 3
    with pytest.raises(ScorerTimeout):
        await timed.driven.score_many([wish()] * 10, timeout_s=0.2)
    assert len(service.seen) == 1


@pytest.mark.parametrize(
    ("code", "kind"), [(Code.DEADLINE_EXCEEDED, "ScorerTimeout"), (Code.UNAVAILABLE, "ScorerUnavailable")]
)
async def test_calls_that_were_answered_are_kept(
    timed: Timed, service: FakeService, code: grpc.StatusCode, kind: str
) -> None:
    """The trouble of a later call stands at what was left, and nothing is asked after it."""
    service.next_answers = [scored_many, *[fails(code, "late")] * 9]
    entries = await timed.driven.score_many([wish(1500), wish(1500), wish(1500), wish(0)], timeout_s=60.0)
    assert kinds(entries) == ["Scores", kind, kind, "Scores"]
    assert len(service.seen) == (2 if code is Code.DEADLINE_EXCEEDED else 4)


async def test_a_sidecar_that_is_older_is_asked_one_by_one(timed: Timed, service: FakeService) -> None:
    """Without ScoreMany each request is a call of its own, under the same deadline; it is tried once."""
    service.next_answers = [fails(Code.UNIMPLEMENTED, "Method not found!")]
    wishes = [wish(1500), wish(1500, query=REFUSED), wish(0), wish(1500)]
    entries = await timed.driven.score_many(wishes, timeout_s=7.0)
    assert kinds(entries) == ["Scores", "ScorerRefused", "Scores", "Scores"]
    assert names(service) == ["ScoreMany", "Score", "Score", "Score"]
    assert all(left_s < 7.1 for left_s in service.left_s)


async def test_a_sidecar_that_takes_less_at_once_is_asked_one_by_one(timed: Timed, service: FakeService) -> None:
    """A limit on all of them together is no reason to refuse each."""
    service.next_answers = [fails(Code.INVALID_ARGUMENT, "requests: hold too much")]
    assert kinds(await timed.driven.score_many([wish(), wish()])) == ["Scores", "Scores"]
    assert names(service) == ["ScoreMany", "Score", "Score"]


async def test_one_by_one_ends_with_the_deadline(timed: Timed, service: FakeService) -> None:
    """What an older sidecar answered in time is kept, the rest is late; with nothing answered it raises."""
    old = fails(Code.UNIMPLEMENTED, "Method not found!")
    service.next_answers = [old, scored, fails(Code.DEADLINE_EXCEEDED, "late")]
    assert kinds(await timed.driven.score_many([wish()] * 4)) == ["Scores", *["ScorerTimeout"] * 3]
    assert len(service.seen) == 3
    service.next_answers = [old, fails(Code.DEADLINE_EXCEEDED, "late")]
    with pytest.raises(ScorerTimeout):
        await timed.driven.score_many([wish()] * 4)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_another_number_of_answers_is_refused(timed: Timed, service: FakeService, count: int) -> None:
    """Scores are never given to a request that they may not belong to."""
    service.next_answers = [lambda request, context: answers(*[scored(request.requests[0])] * count)]
    with pytest.raises(BadScores, match=f"answered {count} of 2"):
        await timed.driven.score_many([wish(), wish()])


async def test_an_answer_that_says_nothing_is_an_error(timed: Timed, service: FakeService) -> None:
    """Neither scores nor an error: that entry alone is BadScores."""
    empty = rescorer_pb2.ScoreAnswer()
    service.next_answers = [
        lambda request, context: rescorer_pb2.ScoreManyResponse(
            answers=[empty, rescorer_pb2.ScoreAnswer(scores=scored(request.requests[1]))]
        )
    ]
    assert kinds(await timed.driven.score_many([wish(), wish()])) == ["BadScores", "Scores"]


async def test_a_cancelled_call_is_cancelled(address: str, service: FakeService) -> None:
    """Who stops waiting gets his cancellation, not an error to fall back on, and the scorer goes on serving."""
    service.next_answers = [service.held]
    scorer = Driven(AsyncGrpcScorer(Target(address=address)))
    call = asyncio.create_task(scorer.score_many([wish(), wish()]))
    assert await asyncio.to_thread(service.entered.wait, 20)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    service.release.set()
    assert kinds(await scorer.score_many([wish()])) == ["Scores"]
    await scorer.close()


def test_the_fake_counts_calls_and_keeps_every_request() -> None:
    """Many requests are one call; failures can be told for all, or by query."""
    scorer = FakeScorer()
    scorer.score_many([wish(), wish(3)], 1.0)
    scorer.score(wish(4), 2.0)
    assert (scorer.calls, [len(one.candidates) for one in scorer.requests]) == (2, [2, 3, 4])
    assert scorer.timeouts_s == [1.0, 2.0]
    scorer.failure = {"bad": ScorerRefused("no")}
    assert kinds(scorer.score_many([wish(query="bad"), wish()], 1.0)) == ["ScorerRefused", "Scores"]
    with pytest.raises(ScorerRefused):
        scorer.score(wish(query="bad"), 1.0)
    scorer.failure = ScorerUnavailable("gone")
    with pytest.raises(ScorerUnavailable):
        scorer.score_many([wish()], 1.0)
