"""Who is let in, by what is unfinished, how fast it goes and how long the caller waits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.admission import Ask, check_time
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.domain import Candidate, Floats, ScoreRequest, Tokens
from rescorer_sidecar.errors import Overloaded
from rescorer_sidecar.ledger import Charge, Ledger
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import FakeClock, fake_model, until
from rescorer_sidecar.throughput import Throughput

OpenService = Callable[..., Service]


@dataclass(eq=False)
class Row:
    """Something that is charged."""

    caller: str = "a"
    deadline_s: float = 10.0
    charge: Charge | None = None


def ledger_of(*charges: tuple[str, float, int]) -> Ledger:
    """A ledger in which these callers have, under these deadlines, so many tokens unfinished."""
    made = Ledger()
    for caller, deadline_s, tokens in charges:
        made.charge(Row(caller, deadline_s), tokens)
    return made


def ask(tokens: int, patience_s: float | None = 1.0, caller: str = "a") -> Ask:
    """A request of one pair whose deadline is at 10 s."""
    return Ask(caller=caller, pairs=1, tokens=tokens, deadline_s=10.0, patience_s=patience_s)


def test_what_stands_before_a_request_is_its_callers_own_urgent_work_and_an_even_share_of_others() -> None:
    """Own rows with a later deadline come after it; of each other caller no more counts than the caller's own part."""
    ledger = ledger_of(("a", 9.0, 30), ("a", 10.0, 20), ("a", 11.0, 500), ("b", 99.0, 1_000), ("c", 9.0, 7))
    assert ledger.before("a", 10.0, 100) == 50 + 150 + 7
    assert ledger.before("new", 10.0, 10) == 10 + 10 + 7


def test_one_who_floods_does_not_keep_out_one_who_asks_little() -> None:
    """A million unfinished tokens of another caller count as many as the request's own."""
    crowded = ledger_of(("flood", 10.0, 1_000_000))
    check_time(ask(100), crowded, tokens_per_s=1_000)
    with pytest.raises(Overloaded):
        check_time(ask(100, caller="flood"), crowded, tokens_per_s=1_000)


def test_a_request_waits_while_there_is_time_and_is_told_when_to_come_back_where_there_is_none() -> None:
    """At 1,000 tokens/s and a second's patience, 800 tokens are promised; the delay is how long the surplus takes."""
    check_time(ask(200), ledger_of(("a", 9.0, 600)), tokens_per_s=1_000)
    with pytest.raises(Overloaded, match="work for 900 ms stands before the request, its own takes 200 ms") as refused:
        check_time(ask(200), ledger_of(("a", 9.0, 900)), tokens_per_s=1_000)
    assert refused.value.retry_after_s == pytest.approx(0.3)


def test_a_request_too_large_for_its_time_asks_for_half_of_it() -> None:
    """Alone, or behind little, it is let in and will be partial; behind much it is refused like others."""
    check_time(ask(50_000), ledger_of(), tokens_per_s=1_000)
    check_time(ask(50_000), ledger_of(("a", 9.0, 399)), tokens_per_s=1_000)
    with pytest.raises(Overloaded):
        check_time(ask(50_000), ledger_of(("a", 9.0, 401)), tokens_per_s=1_000)


@pytest.mark.parametrize(("patience_s", "tokens_per_s"), [(None, 1_000.0), (1.0, None)])
def test_without_a_deadline_or_a_measured_speed_nobody_is_refused(
    patience_s: float | None, tokens_per_s: float | None
) -> None:
    """What can't be foretold is let in."""
    check_time(ask(100, patience_s), ledger_of(("a", 9.0, 1_000_000)), tokens_per_s)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((1.0, 2.0, math.inf)), st.integers(0, 5))))
def test_what_has_ended_leaves_nothing_in_the_ledger(charges: list[tuple[str, float, int]]) -> None:
    """However rows are charged, charged again and discharged, tokens are their sum, and the last one empties it."""
    ledger, rows = Ledger(), [Row(caller, deadline_s) for caller, deadline_s, _ in charges]
    for row, (_, _, tokens) in zip(rows, charges, strict=True):
        ledger.charge(row, 1)
        ledger.charge(row, tokens)
    assert ledger.tokens == sum(tokens for _, _, tokens in charges)
    for row in rows * 2:
        ledger.discharge(row)
    assert (ledger.tokens, ledger.callers) == (0, 0)


def test_throughput_is_what_was_done_while_more_waited() -> None:
    """Two workers that end 100 tokens each every tenth of a second make 2,000 tokens a second."""
    speed = Throughput()
    speed.stands(0.0, is_pressed=True)
    for end in range(1, 21):
        speed.ended(100, end / 10)
        speed.ended(100, end / 10)
    assert speed.tokens_per_s == pytest.approx(2_000)


def test_time_in_which_nothing_waited_does_not_count() -> None:
    """A lone forward, an idle hour, and pressure of a moment say nothing."""
    speed = Throughput()
    speed.ended(100, 1.0)
    speed.stands(1.0, is_pressed=True)
    speed.ended(100, 1.1)
    speed.stands(1.1, is_pressed=False)
    speed.ended(100, 3_600.0)
    assert speed.tokens_per_s is None


def test_throughput_follows_a_machine_that_becomes_slower() -> None:
    """Six seconds after it has halved, the measure has all but halved."""
    speed = Throughput()
    speed.stands(0.0, is_pressed=True)
    for end in range(1, 101):
        speed.ended(100, end / 10)
    for end in range(1, 31):
        speed.ended(100, 10 + end / 5)
    assert speed.tokens_per_s == pytest.approx(500, rel=0.1)


class TimedBackend(FakeBackend):
    """Each row takes a tenth of a second on the clock of the test."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(rows_per_forward=1)
        self._clock = clock

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """As the fake does, and time passes."""
        values = super().forward(batch)
        self._clock.advance(0.1 * len(batch))
        return values


def asking(*texts: str, **more: object) -> ScoreRequest:
    """A request whose candidates are called c0, c1, …"""
    candidates = tuple(Candidate(id=f"c{index}", text=text) for index, text in enumerate(texts))
    return ScoreRequest(query="cat", candidates=candidates, **more)


async def test_who_would_wait_in_vain_is_refused_at_once_and_who_has_time_waits(
    open_service: OpenService, tokeniser_folder: object, clock: FakeClock
) -> None:
    """F6: behind ten rows of a tenth of a second each, a second's patience is too little and a minute's is enough."""
    backend = TimedBackend(clock)
    service = open_service(fake_model(tokeniser_folder, backend=backend), cache_mb=0)
    await service.score(asking("hotel", "train", "late"))  # from which the speed is known
    backend.door.clear()
    begun_s = clock.now_s()
    texts = [f"hotel {number}" for number in range(10)]
    held = asyncio.create_task(service.score(asking(*texts, deadline_s=begun_s + 60, caller="b")))
    await until(lambda: service.waiting == 9)
    with pytest.raises(Overloaded) as refused:
        await service.score(asking(*(f"train {number}" for number in range(5)), deadline_s=begun_s + 1))
    assert 0 < refused.value.retry_after_s < 1
    patient = asyncio.create_task(service.score(asking("refund", deadline_s=begun_s + 60)))
    await until(lambda: service.waiting == 10)
    backend.door.set()
    assert [answer.is_complete for answer in await asyncio.gather(held, patient)] == [True] * 2
    assert service.registry.served[0].batcher.ledger.tokens == 0
