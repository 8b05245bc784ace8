"""What runs next: held as properties over whatever may wait."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.policy import LOOK_AHEAD_BUDGETS, Limits, Queue, Waiting, patience_s

NOW_S = 100.0


@dataclass
class Request:
    is_abandoned: bool = False


def pair(
    tokens: int, arrival: int = 0, index: int = 0, deadline_s: float = math.inf, owner: Request | None = None
) -> Waiting:
    """One pair that waits."""
    return Waiting(owner=owner or Request(), index=index, tokens=tokens, arrival=arrival, deadline_s=deadline_s)


def queued(*pairs: Waiting) -> Queue[Waiting]:
    """A queue that holds them."""
    queue: Queue[Waiting] = Queue()
    queue.add(pairs)
    return queue


def batches(queue: Queue[Waiting], limits: Limits, now_s: float = NOW_S) -> tuple[list[list[Waiting]], list[Waiting]]:
    """Everything that the queue gives until it has nothing left to run, and all that it dropped on the way."""
    found, dropped = [], []
    while True:
        batch, gone = queue.take(limits, now_s)
        dropped += gone
        if not batch:
            return found, dropped
        found.append(batch)


@st.composite
def requests(draw: st.DrawFn) -> list[Waiting]:
    """Several requests' pairs: lengths around the budget, deadlines before and after now, some abandoned."""
    found = []
    for arrival in range(draw(st.integers(0, 6))):
        owner = Request(is_abandoned=draw(st.booleans()) and draw(st.booleans()))
        deadline_s = draw(st.sampled_from([math.inf, NOW_S - 1, NOW_S, NOW_S + 1, NOW_S + 5]))
        lengths = draw(st.lists(st.integers(1, 120), max_size=12))
        found += [pair(tokens, arrival, index, deadline_s, owner) for index, tokens in enumerate(lengths)]
    return draw(st.permutations(found))


LIMITS = st.builds(Limits, budget_tokens=st.integers(1, 400), rows=st.integers(1, 20))


@given(waiting=requests(), limits=LIMITS)
def test_nothing_is_lost_and_nothing_runs_twice(waiting: list[Waiting], limits: Limits) -> None:
    """Each pair that waits comes out exactly once, in a batch or among the dropped."""
    ran, dropped = batches(queued(*waiting), limits)
    out = [entry.urgency for batch in ran for entry in batch] + [entry.urgency for entry in dropped]
    assert sorted(out) == sorted(entry.urgency for entry in waiting)


@given(waiting=requests(), limits=LIMITS)
def test_no_batch_exceeds_its_limits_unless_it_is_one_pair(waiting: list[Waiting], limits: Limits) -> None:
    """P7, P8: rows × longest stays within the budget, and rows within theirs; only a lone pair may be longer."""
    ran, _ = batches(queued(*waiting), limits)
    for batch in ran:
        assert len(batch) <= limits.rows
        assert len(batch) == 1 or len(batch) * max(entry.tokens for entry in batch) <= limits.budget_tokens


@given(waiting=requests(), limits=LIMITS)
def test_late_and_abandoned_pairs_are_dropped_and_no_others(waiting: list[Waiting], limits: Limits) -> None:
    """F4: what is late or abandoned never runs, and what is neither is never dropped."""
    ran, dropped = batches(queued(*waiting), limits)
    assert all(not entry.owner.is_abandoned and entry.deadline_s > NOW_S for batch in ran for entry in batch)
    assert all(entry.owner.is_abandoned or entry.deadline_s <= NOW_S for entry in dropped)


@given(waiting=requests(), limits=LIMITS)
def test_the_most_urgent_pair_is_in_the_next_batch(waiting: list[Waiting], limits: Limits) -> None:
    """Earliest deadline, then first come, then first-stage order: that pair never waits for another batch."""
    left = {entry.urgency for entry in waiting if entry.is_wanted(NOW_S)}
    ran, _ = batches(queued(*waiting), limits)
    for batch in ran:
        taken = {entry.urgency for entry in batch}
        assert min(left) in taken
        left -= taken


@given(waiting=requests(), limits=LIMITS)
def test_a_batch_lists_its_pairs_by_urgency(waiting: list[Waiting], limits: Limits) -> None:
    """The order inside a batch is that of urgency, so the leader stands first."""
    ran, _ = batches(queued(*waiting), limits)
    assert all(batch == sorted(batch, key=lambda entry: entry.urgency) for batch in ran)


@given(lengths=st.lists(st.integers(1, 50), min_size=2, max_size=30), budget=st.integers(50, 300))
def test_a_batch_is_a_run_of_neighbours_in_length(lengths: list[int], budget: int) -> None:
    """Nothing that was left behind lies strictly between a batch's shortest and longest pair."""
    waiting = [pair(tokens, index=index) for index, tokens in enumerate(lengths)]
    limits = Limits(budget_tokens=budget, rows=8)
    horizon, seen_tokens = [], 0
    for entry in waiting:
        if seen_tokens < LOOK_AHEAD_BUDGETS * budget:
            horizon.append(entry)
            seen_tokens += entry.tokens
    batch, _ = queued(*waiting).take(limits, NOW_S)
    shortest, longest = min(entry.tokens for entry in batch), max(entry.tokens for entry in batch)
    left = [entry.tokens for entry in horizon if entry not in batch]
    assert [tokens for tokens in left if shortest < tokens < longest] == []


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30), budget=st.integers(50, 300))
def test_a_batch_is_as_full_as_its_neighbours_allow(lengths: list[int], budget: int) -> None:
    """Neither the next shorter nor the next longer pair would still have fitted."""
    waiting = [pair(tokens, index=index) for index, tokens in enumerate(lengths)]
    batch, _ = queued(*waiting).take(Limits(budget_tokens=budget, rows=1000), NOW_S)
    if sum(lengths) > LOOK_AHEAD_BUDGETS * budget:
        return
    longest = max(entry.tokens for entry in batch)
    left = [entry.tokens for entry in waiting if entry not in batch]
    shorter = [tokens for tokens in left if tokens <= longest]
    assert not shorter or (len(batch) + 1) * longest > budget
    longer = [tokens for tokens in left if tokens >= longest]
    assert not longer or (len(batch) + 1) * min(longer) > budget


def test_a_pair_over_the_whole_budget_runs_alone() -> None:
    """A pair longer than the budget still runs, and nobody has to pad up to it."""
    big, small = pair(900, index=0), pair(10, index=1)
    ran, dropped = batches(queued(big, small), Limits(budget_tokens=512, rows=8))
    assert ran == [[big], [small]]
    assert dropped == []


def test_earlier_deadlines_go_first() -> None:
    """Of two requests the one whose deadline comes first is served first, even if it came later."""
    patient = pair(10, arrival=0, deadline_s=NOW_S + 9)
    urgent = pair(10, arrival=1, deadline_s=NOW_S + 1)
    ran, _ = batches(queued(patient, urgent), Limits(budget_tokens=10, rows=1))
    assert ran == [[urgent], [patient]]


def test_requests_without_deadlines_go_as_they_came() -> None:
    """Among equals the request that came first goes first, and inside it the first-stage order holds."""
    first = [pair(10, arrival=0, index=index) for index in range(2)]
    second = [pair(10, arrival=1, index=index) for index in range(2)]
    ran, _ = batches(queued(*second, *first), Limits(budget_tokens=10, rows=1))
    assert [entry for (entry,) in ran] == [*first, *second]


def test_a_batch_prefers_the_length_nearest_to_the_leader() -> None:
    """With room for two, the leader of 20 tokens takes the one of 21 and not the one of 5."""
    leader, far, near = pair(20, index=0), pair(5, index=1), pair(21, index=2)
    batch, _ = queued(leader, far, near).take(Limits(budget_tokens=42, rows=8), NOW_S)
    assert batch == [leader, near]
    longer, shorter = pair(28, index=1), pair(19, index=2)
    batch, _ = queued(leader, longer, shorter).take(Limits(budget_tokens=56, rows=2), NOW_S)
    assert batch == [leader, shorter]


def test_a_batch_shares_requests() -> None:
    """Pairs of several requests ride together where their lengths fit."""
    one, other = pair(10, arrival=0), pair(10, arrival=1)
    batch, _ = queued(one, other).take(Limits(budget_tokens=20, rows=8), NOW_S)
    assert batch == [one, other]


def test_urgency_is_not_traded_for_length_beyond_the_look_ahead() -> None:
    """A perfectly fitting pair behind four budgets of more urgent ones waits its turn."""
    leader = pair(10, index=0)
    between = [pair(40, index=index) for index in range(1, 9)]
    twin = pair(10, index=9)
    batch, _ = queued(leader, *between, twin).take(Limits(budget_tokens=20, rows=8), NOW_S)
    assert twin not in batch


@pytest.mark.parametrize("moment_s", [NOW_S, NOW_S + 1])
def test_a_pair_is_late_from_its_deadline_on(moment_s: float) -> None:
    """At its deadline a pair is late already: no answer could reach anyone."""
    assert not pair(1, deadline_s=NOW_S).is_wanted(moment_s)
    assert pair(1, deadline_s=NOW_S).is_wanted(NOW_S - 0.001)


def test_an_empty_queue_gives_nothing() -> None:
    """Nothing waits, nothing runs, nothing is dropped."""
    assert queued().take(Limits(budget_tokens=10, rows=1), NOW_S) == ([], [])


@given(waiting=requests(), limits=LIMITS)
def test_a_purge_takes_the_abandoned_and_leaves_the_order(waiting: list[Waiting], limits: Limits) -> None:
    """What is left after a purge runs in the same batches as if the abandoned had never come."""
    purged, clean = queued(*waiting), queued(*[entry for entry in waiting if not entry.owner.is_abandoned])
    gone = purged.purge()
    assert sorted(entry.urgency for entry in gone) == sorted(e.urgency for e in waiting if e.owner.is_abandoned)
    assert len(purged) == len(clean)
    assert batches(purged, limits) == batches(clean, limits)


@given(waiting=requests())
def test_clearing_gives_everything_back(waiting: list[Waiting]) -> None:
    """A cleared queue is empty, and whoever cleared it holds every pair."""
    queue = queued(*waiting)
    assert sorted(entry.urgency for entry in queue.clear()) == sorted(entry.urgency for entry in waiting)
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("left_s", "waited_s"), [(-1.0, 0.0), (0.0, 0.0), (0.005, 0.0), (0.05, 0.04), (0.5, 0.45), (1.0, 0.9), (10.0, 9.9)]
)
def test_an_answer_leaves_a_tenth_of_the_time_before_its_deadline(left_s: float, waited_s: float) -> None:
    """F4: 10 ms at least, 100 ms at most, and no waiting at all where the deadline is past."""
    assert patience_s(left_s) == pytest.approx(waited_s)
