"""Several sidecars on a given clock: whose turn it is, who is passed over, who may be a twin."""

from __future__ import annotations

import pytest

from rescorer.breaker import Rule
from rescorer.errors import BreakerOpen, InvalidSetting
from rescorer.scorers.channels import Target, targets
from rescorer.scorers.fleet import Fleet, Sent
from rescorer.testing import FakeClock

A, B, C = "a:1", "b:1", "c:1"
RULE = Rule(failures=2, first_open_s=1.0, most_open_s=4.0)


@pytest.fixture
def clock() -> FakeClock:
    """Begins at a time that is not 0, as real clocks do."""
    return FakeClock(1000.0)


def fleet_of(clock: FakeClock, *addresses: str, hedging: float | None = None) -> Fleet:
    """Without jitter; two failures open a breaker."""
    return Fleet(
        [Target(address=address) for address in addresses], hedging=hedging, rule=RULE, clock=clock, draw=lambda: 0.0
    )


def asked(fleet: Fleet, times: int) -> list[str]:
    """Whom so many calls go to, each answered at once."""
    found = []
    for _ in range(times):
        sent = fleet.begin(1.0)
        fleet.answered(sent)
        found.append(sent.target.address)
    return found


def opened(fleet: Fleet, address: str) -> None:
    """Two calls to this address fail."""
    for _ in range(RULE.failures):
        fleet.end(fleet.begin(1.0, prefer=address), "failed")


def states(fleet: Fleet) -> dict[str, str]:
    """The state of each breaker."""
    return {entry.address: entry.state for entry in fleet.state().sidecars}


def test_turns_go_round(clock: FakeClock) -> None:
    """Each sidecar gets as many calls as the others."""
    assert asked(fleet_of(clock, A, B, C), 6) == [A, B, C] * 2


def test_the_next_try_goes_to_another_one(clock: FakeClock) -> None:
    """F1: who was tried is avoided as long as there is somebody else, and asked again where there is not."""
    fleet = fleet_of(clock, A, B)
    assert fleet.begin(1.0, avoid={A}).target.address == B
    assert fleet.begin(1.0, avoid={B}).target.address == A
    assert fleet.begin(1.0, avoid={A, B}).target.address == B


def test_the_parts_of_one_window_stay_with_one_sidecar(clock: FakeClock) -> None:
    """S5: whoever answered the first part is preferred for the next, unless it failed meanwhile."""
    fleet = fleet_of(clock, A, B)
    assert [fleet.begin(1.0, prefer=A).target.address for _ in range(3)] == [A, A, A]
    assert fleet.begin(1.0, prefer=A, avoid={A}).target.address == B


def test_an_open_breaker_is_passed_over(clock: FakeClock) -> None:
    """A sidecar that failed is asked nothing, and the other one everything, until its time is over."""
    fleet = fleet_of(clock, A, B)
    opened(fleet, A)
    assert asked(fleet, 4) == [B] * 4
    assert states(fleet) == {A: "open", B: "closed"}
    clock.advance(1.0)
    assert states(fleet)[A] == "half_open"
    assert set(asked(fleet, 2)) == {A, B}
    assert states(fleet)[A] == "closed"


def test_where_every_breaker_is_open_nobody_is_asked(clock: FakeClock) -> None:
    """F2: the error names the breakers and says when the next try is."""
    fleet = fleet_of(clock, A, B)
    opened(fleet, A)
    clock.advance(0.4)
    opened(fleet, B)
    assert not fleet.is_willing()
    with pytest.raises(BreakerOpen, match=r"the circuit breakers of a:1, b:1 are open .* next try is in 0\.6 s"):
        fleet.begin(1.0)
    clock.advance(0.6)
    assert fleet.begin(1.0).is_probe
    with pytest.raises(BreakerOpen, match="one search is finding out just now"):
        fleet.begin(1.0)


def test_who_asked_for_rest_rests_while_there_is_another(clock: FakeClock) -> None:
    """F6: an overloaded sidecar gets no call before it wants one, unless all others are tried or gone."""
    fleet = fleet_of(clock, A, B)
    fleet.end(fleet.begin(1.0, prefer=A), "answered", rest_s=2.0)
    assert asked(fleet, 3) == [B] * 3
    assert fleet.begin(1.0, avoid={B}).target.address == A
    clock.advance(2.0)
    assert set(asked(fleet, 2)) == {A, B}


def test_a_call_that_finds_out_has_a_twin_at_once(clock: FakeClock) -> None:
    """F3: no search is spent on finding out where another sidecar is at hand, hedging or not."""
    fleet = fleet_of(clock, A, B)
    opened(fleet, A)
    clock.advance(1.0)
    probe = fleet.begin(1.0, prefer=A)
    assert (probe.is_probe, fleet.twin_after_s(probe)) == (True, 0.0)
    twin = fleet.twin(probe, 1.0)
    assert twin is not None
    assert (twin.target.address, twin.is_probe) == (B, False)
    assert fleet.state().hedging.hedged == 0


def test_a_lone_sidecar_has_no_twin(clock: FakeClock) -> None:
    """With one sidecar, or one that is left, the search itself finds out."""
    fleet = fleet_of(clock, A, hedging=5.0)
    assert fleet.twin_after_s(fleet.begin(1.0)) is None
    opened(fleet, A)
    clock.advance(1.0)
    probe = fleet.begin(1.0)
    assert (probe.is_probe, fleet.twin_after_s(probe), fleet.twin(probe, 1.0)) == (True, None, None)


def test_a_late_call_gets_a_twin_where_hedging_is_on(clock: FakeClock) -> None:
    """After the milliseconds that were said, at another sidecar; behind a name gRPC finds another one."""
    for addresses, expected in (((A, B), B), (("dns:///many:1",), "dns:///many:1")):
        fleet = fleet_of(clock, *addresses, hedging=30.0)
        first = fleet.begin(1.0)
        assert fleet.twin_after_s(first) == 0.03
        twin = fleet.twin(first, 1.0, avoid={first.target.address})
        assert twin is not None
        assert twin.target.address == expected
        fleet.answered(twin, beside=first)
        told = fleet.state().hedging
        assert (told.calls, told.hedged, told.won, told.after_ms) == (1, 1, 1, 30.0)


def test_a_call_is_booked_once(clock: FakeClock) -> None:
    """What is told about it after its end is not heard."""
    fleet = fleet_of(clock, A)
    sent = fleet.begin(1.0)
    fleet.answered(sent)
    for _ in range(5):
        fleet.end(sent, "failed")
    assert fleet.state().sidecars[0].failures == 0


def test_the_state_tells_each_sidecar(clock: FakeClock) -> None:
    """Address, breaker, failures in a row, when it is asked again, how often it was asked and left."""
    fleet = fleet_of(clock, A, B)
    opened(fleet, A)
    (first, second) = fleet.state().sidecars
    assert (first.address, first.state, first.failures, first.retry_in_s) == (A, "open", 2, 1.0)
    assert (first.calls, first.opened) == (2, 1)
    assert (second.address, second.state, second.calls, second.retry_in_s) == (B, "closed", 0, None)


@pytest.mark.parametrize("addresses", [(), (A, A)])
def test_a_fleet_has_sidecars_each_once(clock: FakeClock, addresses: tuple[str, ...]) -> None:
    """No address, or one twice, is found when the client is made."""
    with pytest.raises(InvalidSetting, match="each once"):
        fleet_of(clock, *addresses)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("a:1", [A]),
        ("a:1, b:1,c:1", [A, B, C]),
        (["a:1", "unix:/run/b.sock"], [A, "unix:/run/b.sock"]),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", ["ipv4:10.0.0.1:1,10.0.0.2:1"]),
        ("dns:///many:1", ["dns:///many:1"]),
    ],
)
def test_addresses_are_read_from_a_string_or_a_list(named: str | list[str], expected: list[str]) -> None:
    """Commas part addresses of one string; gRPC's own lists stay whole."""
    assert [target.address for target in targets(named)] == expected


@pytest.mark.parametrize("named", ["a:1,", "a:1;b:1", [], ["a:1", 5], "a", "a:0", "a:65536", "a:٣", "a:" + "9" * 5000])
def test_what_is_no_list_of_addresses_is_refused(named: object) -> None:
    """The message says what to write."""
    with pytest.raises(InvalidSetting, match="must be host:port"):
        targets(named)  # type: ignore[arg-type]  # which is the point


def test_sent_calls_are_told_apart() -> None:
    """Two calls alike are two calls: a race tells them by themselves."""
    target = Target(address=A)
    one, other = (Sent(target, False, False, begun_s=0.0, given_s=1.0) for _ in range(2))
    assert len({one, other}) == 2
