"""Who is let in, by what is unfinished, how fast it goes and how long the caller waits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.admission import Admission, Ask, check_size
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.costs import Costs
from rescorer_sidecar.domain import Candidate, Floats, ScoreRequest, Tokens
from rescorer_sidecar.errors import Overloaded, TooMany
from rescorer_sidecar.ledger import Charge, Ledger
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import FakeClock, fake_model, until
from rescorer_sidecar.throughput import Throughput
from unit.sidecar.batches import MakeBatcher, row

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
    """A request whose deadline is at 10 s."""
    return Ask(caller=caller, tokens=tokens, deadline_s=10.0, patience_s=patience_s)


def over(*charges: tuple[str, float, int]) -> Admission:
    """Admission to a model with this much unfinished."""
    return Admission(ledger_of(*charges))


def test_what_stands_before_a_request_is_its_callers_own_urgent_work_and_an_even_share_of_others() -> None:
    """Own rows with a later deadline come after it; of each other caller no more counts than the caller's own part."""
    ledger = ledger_of(("a", 9.0, 30), ("a", 10.0, 20), ("a", 11.0, 500), ("b", 99.0, 1_000), ("c", 9.0, 7))
    assert ledger.before("a", 10.0, 100) == 50 + 150 + 7
    assert ledger.before("new", 10.0, 10) == 10 + 10 + 7


def test_one_who_floods_does_not_keep_out_one_who_asks_little() -> None:
    """A million unfinished tokens of another caller count as many as the request's own."""
    crowded = over(("flood", 10.0, 1_000_000))
    assert crowded.let_in(ask(250), tokens_per_s=1_000) == pytest.approx(0.5)
    with pytest.raises(Overloaded):
        crowded.let_in(ask(100, caller="flood"), tokens_per_s=1_000)


def test_a_request_waits_while_there_is_time_and_is_told_when_to_come_back_where_there_is_none() -> None:
    """At 1,000 tokens/s and a second's patience, 850 tokens are promised; the delay is how long the surplus takes."""
    assert over(("a", 9.0, 600)).let_in(ask(200), tokens_per_s=1_000) == pytest.approx(0.8)
    with pytest.raises(Overloaded, match="work for 900 ms stands before the request, its own takes 200 ms") as refused:
        over(("a", 9.0, 900)).let_in(ask(200), tokens_per_s=1_000)
    assert refused.value.retry_after_s == pytest.approx(0.25)


def test_a_request_too_large_for_its_time_asks_for_half_of_it() -> None:
    """Alone, or behind little, it is let in and will be partial; behind much it is refused like others."""
    assert over().let_in(ask(50_000), tokens_per_s=1_000) == pytest.approx(50)
    assert over(("a", 9.0, 424)).let_in(ask(50_000), tokens_per_s=1_000)
    with pytest.raises(Overloaded):
        over(("a", 9.0, 426)).let_in(ask(50_000), tokens_per_s=1_000)


@pytest.mark.parametrize(("patience_s", "tokens_per_s"), [(None, 1_000.0), (1.0, None)])
def test_without_a_deadline_or_a_measured_speed_nobody_is_refused(
    patience_s: float | None, tokens_per_s: float | None
) -> None:
    """What can't be foretold is let in."""
    assert over(("a", 9.0, 1_000_000)).let_in(ask(100, patience_s), tokens_per_s) == 0


def test_a_caller_whose_requests_take_longer_than_foretold_is_let_in_less_and_nobody_else_is() -> None:
    """After requests that took twice the time, half as much is let in of this caller's; it is forgiven slowly."""
    admission = over(("a", 9.0, 500), ("b", 9.0, 500))
    for _ in range(200):
        admission.took("a", 0.5, 1.0)
    with pytest.raises(Overloaded, match="work for 2000 ms stands before the request, its own takes 200 ms"):
        admission.let_in(ask(100), tokens_per_s=1_000)
    assert admission.let_in(ask(200, caller="c"), tokens_per_s=1_000)
    admission.took("a", 0.5, 0.5)
    assert 1.9 < admission.factor("a") < 2


def test_what_little_hangs_on_and_wild_figures_teach_little() -> None:
    """A forecast of less than half of what was promised is not told, and no correction leaves its bounds."""
    admission = over(("a", 9.0, 300))
    assert [bool(admission.let_in(ask(tokens), tokens_per_s=1_000)) for tokens in (124, 126)] == [False, True]
    admission.took("a", 0.0, 10.0)
    assert admission.factor("a") == 1
    for seconds, bound in ((1_000.0, 2.0), (0.0, 0.7)):
        for _ in range(200):
            admission.took("a", 1.0, seconds)
        assert admission.factor("a") == pytest.approx(bound, rel=1e-3)


def test_corrections_of_a_thousand_callers_are_kept_and_no_more() -> None:
    """Of those beyond, the one who was heard of longest ago begins anew."""
    admission = over()
    for number in range(1_001):
        admission.took(str(number), 1.0, 2.0)
    assert [admission.factor(name) for name in ("0", "1", "1000")] == [1.0, 1.25, 1.25]


def test_a_request_of_too_many_tokens_is_told_how_many_of_its_texts_fit() -> None:
    """The most is in texts, so that the caller can send them in parts; one text alone is let through at any length."""
    check_size("candidates", [10, 10, 10], 30)
    check_size("candidates", [1_000], 30)
    with pytest.raises(
        TooMany, match="candidates: hold about 40 tokens together and may hold 30; send them in"
    ) as many:
        check_size("candidates", [10, 10, 10, 10], 30)
    assert many.value.most == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((1.0, 2.0, math.inf)), st.integers(0, 5))))
def test_what_has_ended_leaves_nothing_in_the_ledger(charges: list[tuple[str, float, int]]) -> None:
    """However rows are charged, charged again and discharged, tokens are their sum, and the last one empties it."""
    ledger, rows = Ledger(), [Row(caller, deadline_s) for caller, deadline_s, _ in charges]
    for charged, (_, _, tokens) in zip(rows, charges, strict=True):
        ledger.charge(charged, 1)
        ledger.charge(charged, tokens)
    assert ledger.tokens == sum(tokens for _, _, tokens in charges)
    for charged in rows * 2:
        ledger.discharge(charged)
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
    open_service: OpenService, tokeniser_folder: Path, clock: FakeClock
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


async def test_too_many_tokens_for_one_request_are_refused(open_service: OpenService, backend: FakeBackend) -> None:
    """Told from bytes, before anything is read; as many texts as the refusal names are scored."""
    service = open_service(max_request_tokens=60)
    with pytest.raises(TooMany, match="candidates: hold about 70 tokens together and may hold 60") as refused:
        await service.score(asking(*["hotel " * 6] * 5))
    assert (refused.value.most, backend.batches) == (4, [])
    assert (await service.score(asking(*["hotel " * 6] * 4))).is_complete


async def test_more_unfinished_tokens_than_allowed_are_refused_for_now(
    open_service: OpenService, backend: FakeBackend
) -> None:
    """F6: whatever their deadlines; rows that everybody has left no longer count."""
    service = open_service(max_waiting_tokens=100)
    backend.door.clear()
    held = asyncio.create_task(service.score(asking("hotel")))
    await until(backend.entered.is_set)
    left = asyncio.create_task(service.score(asking(*(f"hotel {number}" for number in range(10)))))
    await until(lambda: service.waiting == 10)
    with pytest.raises(Overloaded, match="tokens are unfinished and at most 100 may"):
        await service.score(asking(*(f"train {number}" for number in range(10))))
    left.cancel()
    await until(lambda: service.waiting == 0)
    backend.door.set()
    assert (await service.score(asking(*(f"train {number}" for number in range(10))))).is_complete
    await held


async def test_a_row_that_everybody_has_left_takes_no_memory_for_its_tokens(
    make_batcher: MakeBatcher, backend: FakeBackend
) -> None:
    """Its place in the queue may stay for a while; its ids go at once, those of a row that is wanted or runs do not."""
    batcher = make_batcher(backend, budget_tokens=5)
    backend.door.clear()
    kept, left = (batcher.submit([row(1, 2, 3, 4, 5)] * 2, None) for _ in range(2))
    batcher.abandon(left)
    assert [len(work.row) for work in (*kept.works, *left.works)] == [5, 5, 0, 0]
    assert batcher.ledger.tokens == 10


async def test_a_model_that_was_measured_on_this_machine_needs_no_load_to_know_its_speed(
    open_service: OpenService, tokeniser_folder: Path, backend: FakeBackend, clock: FakeClock
) -> None:
    """From the first burst after a start on, who would wait in vain is refused."""
    about = {"digest": "d1", "machine": "m", "backend": "fake", "device": "cpu", "precision": "fp32"}
    costs = Costs(**about, fixed_ms=0.0, us_per_token=10_000.0, load_ms=0.0)
    service = open_service(fake_model(tokeniser_folder, backend=backend, costs=costs))
    backend.door.clear()
    held = asyncio.create_task(service.score(asking("hotel", "late", "train", deadline_s=clock.now_s() + 60)))
    await until(backend.entered.is_set)
    with pytest.raises(Overloaded, match="work for 140 ms stands before the request"):
        await service.score(asking("refund", "flight", deadline_s=clock.now_s() + 0.2, caller="b"))
    backend.door.set()
    await held
