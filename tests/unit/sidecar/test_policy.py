"""What runs next: held as properties over whatever may wait."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.policy import (
    LEAD_TOKENS,
    LEAST_SHARE_TOKENS,
    LOOK_AHEAD_BUDGETS,
    MOST_REMEMBERED,
    Limits,
    Queue,
    patience_s,
    share_tokens,
)
from rescorer_sidecar.turns import TURN_TOKENS, Waiting

NOW_S = 100.0


def pair(
    tokens: int,
    arrival: int = 0,
    index: int = 0,
    deadline_s: float = math.inf,
    is_abandoned: bool = False,
    caller: str = "",
) -> Waiting:
    """One pair that waits."""
    return Waiting(
        caller=caller,
        index=index,
        tokens=tokens,
        arrival=arrival,
        deadline_s=deadline_s,
        latest_s=deadline_s,
        is_abandoned=is_abandoned,
    )


def named(entry: Waiting) -> tuple[float, int, int]:
    """What tells a pair from all others."""
    return (entry.deadline_s, entry.arrival, entry.index)


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
def requests(draw: st.DrawFn, callers: tuple[str, ...] = ("shop", "desk", "bot")) -> list[Waiting]:
    """Several requests' pairs: lengths around the budget, deadlines before and after now, some abandoned."""
    found = []
    for arrival in range(draw(st.integers(0, 6))):
        gone = draw(st.booleans()) and draw(st.booleans())
        deadline_s = draw(st.sampled_from([math.inf, NOW_S - 1, NOW_S, NOW_S + 1, NOW_S + 5]))
        caller = draw(st.sampled_from(callers))
        lengths = draw(st.lists(st.integers(1, 120), max_size=12))
        found += [pair(tokens, arrival, index, deadline_s, gone, caller) for index, tokens in enumerate(lengths)]
    return draw(st.permutations(found))


LIMITS = st.builds(Limits, budget_tokens=st.integers(1, 400), rows=st.integers(1, 20), is_packed=st.booleans())


@given(waiting=requests(), limits=LIMITS)
def test_nothing_is_lost_and_nothing_runs_twice(waiting: list[Waiting], limits: Limits) -> None:
    """Each pair that waits comes out exactly once, in a batch or among the dropped."""
    ran, dropped = batches(queued(*waiting), limits)
    out = [named(entry) for batch in ran for entry in batch] + [named(entry) for entry in dropped]
    assert sorted(out) == sorted(map(named, waiting))


@given(waiting=requests(), limits=LIMITS)
def test_no_batch_exceeds_its_limits_unless_it_is_one_pair(waiting: list[Waiting], limits: Limits) -> None:
    """P7, P8: what is computed stays within the budget, and rows within theirs; only a lone pair may be longer.

    Padded, a batch computes rows × longest; packed, the sum of its tokens.
    """
    ran, _ = batches(queued(*waiting), limits)
    for batch in ran:
        assert len(batch) <= limits.rows
        lengths = [entry.tokens for entry in batch]
        computed = sum(lengths) if limits.is_packed else len(batch) * max(lengths)
        assert limits.cost(lengths) == computed
        assert len(batch) == 1 or computed <= limits.budget_tokens


@given(waiting=requests(), limits=LIMITS)
def test_late_and_abandoned_pairs_are_dropped_and_no_others(waiting: list[Waiting], limits: Limits) -> None:
    """F4: what is late or abandoned never runs, and what is neither is never dropped."""
    ran, dropped = batches(queued(*waiting), limits)
    assert all(not entry.is_abandoned and entry.deadline_s > NOW_S for batch in ran for entry in batch)
    assert all(entry.is_abandoned or entry.deadline_s <= NOW_S for entry in dropped)


@given(waiting=requests(("shop",)), limits=LIMITS)
def test_a_callers_most_urgent_pair_is_in_the_next_batch(waiting: list[Waiting], limits: Limits) -> None:
    """Deadline, then turn, then first come, then first-stage order: that pair never waits for another batch."""
    queue = queued(*waiting)
    place = {named(entry): entry.urgency for entry in waiting}
    left = {place[named(entry)] for entry in waiting if entry.is_wanted(NOW_S)}
    ran, _ = batches(queue, limits)
    for batch in ran:
        taken = [place[named(entry)] for entry in batch]
        assert taken == sorted(taken)
        assert min(left) == taken[0]
        left -= set(taken)


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
    stays = [entry for entry in waiting if not entry.is_abandoned]
    alone = [[named(entry) for entry in batch] for batch in batches(queued(*map(replace, stays)), limits)[0]]
    purged = queued(*waiting)
    gone = purged.purge()
    assert sorted(map(named, gone)) == sorted(named(entry) for entry in waiting if entry.is_abandoned)
    assert len(purged) == len(stays)
    assert [[named(entry) for entry in batch] for batch in batches(purged, limits)[0]] == alone


@given(waiting=requests())
def test_clearing_gives_everything_back(waiting: list[Waiting]) -> None:
    """A cleared queue is empty, and whoever cleared it holds every pair."""
    queue = queued(*waiting)
    assert sorted(map(named, queue.clear())) == sorted(map(named, waiting))
    assert (len(queue), queue.tokens) == (0, 0)


@given(waiting=requests(), limits=LIMITS, data=st.data())
def test_a_pair_that_becomes_more_urgent_moves_forward_and_stays_one(
    waiting: list[Waiting], limits: Limits, data: st.DataObject
) -> None:
    """Pairs that wait already and get an earlier deadline still come out exactly once, none is lost."""
    queue = queued(*waiting)
    for entry in waiting:
        if data.draw(st.booleans()):
            entry.deadline_s = NOW_S + 0.5
    queue.add(waiting)
    assert (len(queue), queue.tokens) == (len(waiting), sum(entry.tokens for entry in waiting))
    ran, dropped = batches(queue, limits)
    assert len({id(entry) for batch in [*ran, dropped] for entry in batch}) == len(waiting)
    assert (len(queue), queue.tokens) == (0, 0)


def test_a_shared_pair_goes_by_its_most_urgent_deadline() -> None:
    """A pair that somebody in a hurry also waits for overtakes what is more urgent than it was."""
    shared, other = pair(10, arrival=0), pair(10, arrival=1, deadline_s=NOW_S + 5)
    queue = queued(shared, other)
    shared.deadline_s = NOW_S + 1
    queue.add([shared])
    assert batches(queue, Limits(budget_tokens=10))[0] == [[shared], [other]]


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("deadline_s", [math.inf, NOW_S + 9.02])
def test_a_large_request_does_not_hold_up_a_small_one(is_packed: bool, deadline_s: float) -> None:
    """P10: 20 pairs that come behind 1,000 equally urgent ones are done after a few batches, not after all of them."""
    large = [pair(120, arrival=0, index=index, deadline_s=deadline_s) for index in range(1_000)]
    small = [pair(120, arrival=1, index=index, deadline_s=deadline_s + 0.01) for index in range(20)]
    limits = Limits(budget_tokens=2048, is_packed=is_packed)
    queue = queued(*large)
    for _ in range(3):
        queue.take(limits, NOW_S)
    queue.add(small)
    ran, _ = batches(queue, limits)
    last = max(place for place, batch in enumerate(ran) if any(entry.arrival == 1 for entry in batch))
    assert last <= 4
    assert len(ran) > 50


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_stream_of_small_requests_does_not_starve_a_large_one(is_packed: bool) -> None:
    """P10: though new requests that would fill the next batch come after each, the large one goes on."""
    limits = Limits(budget_tokens=1024, is_packed=is_packed)
    queue = queued(*[pair(128, arrival=0, index=index) for index in range(100)])
    left, rounds = 100, 0
    for arrival in range(1, 2_000):
        queue.add([pair(128, arrival=arrival, index=index) for index in range(4)])
        queue.add([pair(128, arrival=10_000 + arrival, index=index) for index in range(4)])
        left -= sum(entry.arrival == 0 for entry in queue.take(limits, NOW_S)[0])
        rounds += 1
        if not left:
            break
    assert (left, rounds < 1_000) == (0, True)


@given(requests=st.lists(st.lists(st.integers(1, 200), min_size=1, max_size=40), min_size=1, max_size=8))
def test_equal_requests_advance_side_by_side(requests: list[list[int]]) -> None:
    """P10: while requests wait together, what they were given differs by a turn and the pair that ends it at most."""
    waiting = [[pair(tokens, n, i) for i, tokens in enumerate(lengths)] for n, lengths in enumerate(requests)]
    queue = queued(*[entry for own in waiting for entry in own])
    given_tokens = dict.fromkeys(range(len(requests)), 0)
    left = {number: len(own) for number, own in enumerate(waiting)}
    while batch := queue.take(Limits(budget_tokens=1, is_packed=True), NOW_S)[0]:
        (entry,) = batch
        given_tokens[entry.arrival] += entry.tokens
        left[entry.arrival] -= 1
        both = [given_tokens[number] for number, pairs in left.items() if pairs]
        assert not both or max(both) - min(both) <= TURN_TOKENS + 200


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_caller_who_floods_does_not_push_out_another(is_packed: bool) -> None:
    """A caller with 200 requests waiting, all due earlier, holds up another's request for a lead at most.

    By deadlines alone the other one would come last of all.
    """
    flood = [
        pair(120, arrival, index, NOW_S + 1 + arrival / 1000, caller="bot")
        for arrival in range(200)
        for index in range(20)
    ]
    queue = queued(*flood)
    limits = Limits(budget_tokens=1200, is_packed=is_packed)
    for _ in range(5):
        queue.take(limits, NOW_S)
    queue.add([pair(120, 1_000, index, NOW_S + 9, caller="shop") for index in range(30)])
    given_tokens, left = 0, 30
    while left:
        batch, _ = queue.take(limits, NOW_S)
        left -= sum(entry.caller == "shop" for entry in batch)
        given_tokens += sum(entry.tokens for entry in batch if entry.caller == "bot")
    assert given_tokens <= 15_000


@given(
    asked=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 200), st.sampled_from([math.inf, NOW_S + 1, NOW_S + 5])),
        min_size=1,
        max_size=300,
    )
)
def test_callers_advance_side_by_side(asked: list[tuple[int, int, float]]) -> None:
    """While callers wait together, what they were given differs by two leads and a pair at most, whatever is urgent."""
    names = ("shop", "desk", "bot", "mill")
    waiting = [pair(tokens, n, 0, due_s, caller=names[who]) for n, (who, tokens, due_s) in enumerate(asked)]
    queue = queued(*waiting)
    left = {name: sum(entry.caller == name for entry in waiting) for name in names}
    given_tokens = dict.fromkeys(names, 0)
    while batch := queue.take(Limits(budget_tokens=1, is_packed=True), NOW_S)[0]:
        (entry,) = batch
        given_tokens[entry.caller] += entry.tokens
        left[entry.caller] -= 1
        both = [given_tokens[name] for name in names if left[name]]
        assert not both or max(both) - min(both) <= 2 * LEAD_TOKENS + 200


def test_moderate_callers_are_served_by_deadline() -> None:
    """Within a lead nobody is held up for another's sake: the urgent pair goes first, whoever's it is."""
    patient = [pair(100, 0, index, NOW_S + 9, caller="desk") for index in range(10)]
    urgent = [pair(100, 1, index, NOW_S + 1, caller="shop") for index in range(10)]
    queue = queued(*patient, *urgent)
    ran, _ = batches(queue, Limits(budget_tokens=1000, is_packed=True))
    assert ran == [urgent, patient]


def test_a_callers_own_urgent_request_overtakes_all_that_he_asked_before() -> None:
    """However much of his own is ahead of it: shares are between callers."""
    queue = queued(*[pair(100, 0, index, caller="shop") for index in range(1_000)])
    queue.take(Limits(budget_tokens=1000, is_packed=True), NOW_S)
    urgent = pair(100, 1, 0, NOW_S + 1, caller="shop")
    queue.add([urgent])
    assert queue.take(Limits(budget_tokens=1000, is_packed=True), NOW_S)[0][0] is urgent


def test_who_asked_nothing_has_saved_up_nothing() -> None:
    """A caller who comes after another was served for long begins beside him, and does not shut him out."""
    limits = Limits(budget_tokens=1000, is_packed=True)
    queue = queued(*[pair(100, 0, index, caller="desk") for index in range(3_000)])
    for _ in range(200):
        queue.take(limits, NOW_S)
    queue.add([pair(100, 1, index, NOW_S + 1, caller="bot") for index in range(3_000)])
    taken = [entry.caller for _ in range(30) for entry in queue.take(limits, NOW_S)[0]]
    assert 100 <= taken.count("desk") <= 200


def test_a_caller_who_empties_his_queue_each_time_is_counted_all_the_same() -> None:
    """A stream of urgent small requests, each gone before the next one comes, takes no more than its half."""
    limits = Limits(budget_tokens=1000, is_packed=True)
    queue = queued(*[pair(100, 0, index, caller="desk") for index in range(1_000)])
    taken = []
    for arrival in range(1, 61):
        queue.add([pair(100, arrival, index, NOW_S + 1, caller="bot") for index in range(10)])
        taken += [entry.caller for entry in queue.take(limits, NOW_S)[0]]
    assert 240 <= taken.count("desk") <= 360


def test_a_pair_that_two_callers_want_goes_by_the_one_who_stands_earlier() -> None:
    """What a caller who floods has asked before is not lost in his queue for another who asks it now."""
    limits = Limits(budget_tokens=1000, is_packed=True)
    flood = [pair(100, 0, index, caller="bot") for index in range(1_000)]
    queue = queued(*flood)
    for _ in range(10):
        queue.take(limits, NOW_S)
    queue.add([pair(100, 1, 0, caller="shop")])
    assert any(entry.caller == "shop" for entry in queue.take(limits, NOW_S)[0])
    for _ in range(10):
        queue.take(limits, NOW_S)
    shared = flood[999]
    queue.hand_over(shared, "shop")
    assert shared.caller == "shop"
    taken = [entry for _ in range(5) for entry in queue.take(limits, NOW_S)[0]]
    assert any(entry is shared for entry in taken)


@pytest.mark.parametrize("is_idle", [False, True])
def test_names_without_number_leave_nothing_behind(is_idle: bool) -> None:
    """20,000 callers of one pair each are not remembered: memory stays bounded whatever they call themselves."""
    limits = Limits(budget_tokens=1000, is_packed=True)
    queue: Queue[Waiting] = Queue()
    if not is_idle:
        queue.add([pair(1_000, 1 << 20, index, caller="desk") for index in range(20_000)])
    for arrival in range(20_000):
        queue.add([pair(1_000, arrival, deadline_s=NOW_S + 1, caller=f"caller {arrival}")])
        queue.take(limits, NOW_S)
    assert queue.remembered_callers <= MOST_REMEMBERED + 2


def test_a_packed_batch_holds_what_padding_would_not_leave_room_for() -> None:
    """One long and many short pairs run in one packed batch whose tokens fit, where padding needs three."""
    lengths = [400, *[20] * 30]
    for is_packed, forwards in ((True, 1), (False, 3)):
        waiting = [pair(tokens, index=index) for index, tokens in enumerate(lengths)]
        ran, _ = batches(queued(*waiting), Limits(budget_tokens=1_000, is_packed=is_packed))
        assert len(ran) <= forwards if is_packed else len(ran) >= 2


@given(tokens=st.integers(0, 100_000), budget=st.integers(1, 40_000), workers=st.integers(1, 16))
def test_shares_keep_the_budget_and_are_as_few_as_it_allows(tokens: int, budget: int, workers: int) -> None:
    """P8: a share is within the budget; one worker takes all that fits; more share it while it is worth a forward."""
    share = share_tokens(tokens, budget, workers)
    assert 1 <= share <= budget
    if workers == 1:
        assert share * math.ceil(tokens / budget) >= tokens
    if workers * LEAST_SHARE_TOKENS <= tokens <= workers * budget:
        assert share == math.ceil(tokens / workers)


@pytest.mark.parametrize(
    ("left_s", "waited_s"), [(-1.0, 0.0), (0.0, 0.0), (0.005, 0.0), (0.05, 0.04), (0.5, 0.45), (1.0, 0.9), (10.0, 9.9)]
)
def test_an_answer_leaves_a_tenth_of_the_time_before_its_deadline(left_s: float, waited_s: float) -> None:
    """F4: 10 ms at least, 100 ms at most, and no waiting at all where the deadline is past."""
    assert patience_s(left_s) == pytest.approx(waited_s)
