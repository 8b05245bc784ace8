"""Several sidecars as one: whose turn it is, who is left alone for a moment, and who may be asked beside a late one.

Each sidecar is a *lane* with a channel and a breaker of its own. Turns go round; a lane whose breaker is open is passed
over, and so is one that said when it wants to be asked again, as long as there is another.

## Decisions
2026-11: one channel for each address of a list, and our own turns, because a breaker with a state to look at needs to
know whom it is about. Behind a name (``dns:///…``) gRPC goes round by itself and knows who is healthy; the breaker is
then about the name.
2026-11: a call that finds out about a sidecar is never alone where another one is at hand: its twin answers the search,
and its own end, whenever it comes, says whether the sidecar is back. So no search is spent on finding out.
2026-11: whoever loses to its twin has failed, for the breaker's account: a frozen sidecar would otherwise never be
left, its calls being cancelled before they can time out. Five such losses in a row, no answer between, are no chance.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from rescorer import hedge
from rescorer.breaker import DEFAULT_RULE, Breaker, Rule, SidecarState, Verdict
from rescorer.errors import BreakerOpen, InvalidSetting
from rescorer.hedge import Hedge, Hedging
from rescorer.scorers.channels import Target

Clock = Callable[[], float]
EXTRA_TRIES = 2
"""Beyond one for each sidecar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerState:
    """What a client knows about its sidecars now.

    sidecars: one for each address. hedging: what became of calls that were late; all zero where it is off.
    """

    sidecars: tuple[SidecarState, ...] = ()
    hedging: Hedging = field(default_factory=lambda: Hedging(calls=0, hedged=0, won=0, after_ms=None))


class _Lane:
    def __init__(self, target: Target, breaker: Breaker) -> None:
        self.target = target
        self.breaker = breaker
        self.resting_until_s = float("-inf")

    def state(self) -> SidecarState:
        breaker = self.breaker
        return SidecarState(
            address=self.target.address,
            state=breaker.state,
            failures=breaker.failures,
            retry_in_s=breaker.retry_in_s,
            calls=breaker.calls,
            opened=breaker.opened,
        )


@dataclass(eq=False, slots=True)
class Sent:
    """One call that a sidecar was sent, until :meth:`Fleet.end` is told how it ended."""

    target: Target
    is_probe: bool
    is_twin: bool
    begun_s: float
    given_s: float
    is_open: bool = True
    """Nobody has told yet how it ended."""


class Fleet:
    """The sidecars of one scorer. Every method is short, does no I/O, and may be called from any thread."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        hedging: hedge.Rule | None = None,
        rule: Rule = DEFAULT_RULE,
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        addresses = [target.address for target in targets]
        if not addresses or len(set(addresses)) < len(addresses):
            raise InvalidSetting("rescorer", ",".join(addresses), "must name one sidecar or several, each once")
        self._lock = threading.Lock()  # around all that follows; nothing else is called or taken while it is held
        self._clock = clock
        self._lanes = {target.address: _Lane(target, Breaker(clock, draw, rule)) for target in targets}
        self._hedge = Hedge(hedge.checked(hedging))
        self._turn = 0

    @property
    def most_tries(self) -> int:
        """How many calls a question may take in all."""
        return len(self._lanes) + EXTRA_TRIES

    def begin(self, given_s: float, *, avoid: Collection[str] = (), prefer: str | None = None) -> Sent:
        """Count a call to the sidecar whose turn it is; raises BreakerOpen where none may be asked.

        avoid: addresses that are asked only where no other may be. prefer: the address that is asked if it may be.
        """
        with self._lock:
            willing = [lane for lane in self._in_turn() if lane.breaker.may_begin()]
            if not willing:
                raise self._all_open()
            self._hedge.begin()
            now_s = self._clock()
            lane = min(willing, key=lambda lane: _reluctance(lane, avoid, prefer, now_s))
            return self._sent(lane, given_s, is_twin=False)

    def twin(self, first: Sent, given_s: float, *, avoid: Collection[str] = ()) -> Sent | None:
        """Count a call beside a late one, at a sidecar that is known to answer; None where there may be none."""
        with self._lock:
            others = [lane for lane in self._in_turn() if self._may_twin(lane, first)]
            if not others or not (first.is_probe or self._hedge.may_twin()):
                return None
            if not first.is_probe:
                self._hedge.twin()
            now_s = self._clock()
            lane = min(others, key=lambda lane: _reluctance(lane, avoid, None, now_s))
            return self._sent(lane, given_s, is_twin=True)

    def twin_after_s(self, first: Sent) -> float | None:
        """Seconds after which this call may get a twin; None where it may not."""
        with self._lock:
            if not any(self._may_twin(lane, first) for lane in self._lanes.values()):
                return None
            return 0.0 if first.is_probe else self._hedge.after_s()

    def end(self, sent: Sent, verdict: Verdict, *, rest_s: float | None = None) -> None:
        """A call ended; what is told after the first time is not heard. rest_s: when it asks to be asked again."""
        with self._lock:
            if not sent.is_open:
                return
            sent.is_open = False
            lane, now_s = self._lanes[sent.target.address], self._clock()
            lane.breaker.end(verdict, is_probe=sent.is_probe)
            if rest_s is not None:
                lane.resting_until_s = now_s + rest_s

    def answered(self, sent: Sent, *, beside: Sent | None = None) -> None:
        """A call ended with an answer, before the other one where there was a race."""
        self.end(sent, "answered")
        with self._lock:
            self._hedge.note(self._clock() - sent.begun_s)
            self._hedge.won += sent.is_twin and beside is not None and not beside.is_probe

    def is_willing(self, avoid: Collection[str] = ()) -> bool:
        """Whether there is a sidecar outside of ``avoid`` that may be asked now."""
        with self._lock:
            return any(lane.breaker.may_begin() for name, lane in self._lanes.items() if name not in avoid)

    def state(self) -> ScorerState:
        """What is known now."""
        with self._lock:
            return ScorerState(
                sidecars=tuple(lane.state() for lane in self._lanes.values()), hedging=self._hedge.told()
            )

    def _in_turn(self) -> list[_Lane]:
        lanes = list(self._lanes.values())
        return lanes[self._turn :] + lanes[: self._turn]

    def _sent(self, lane: _Lane, given_s: float, *, is_twin: bool) -> Sent:
        lanes = list(self._lanes.values())
        self._turn = (lanes.index(lane) + 1) % len(lanes)
        is_probe = lane.breaker.begin()
        return Sent(lane.target, is_probe, is_twin, begun_s=self._clock(), given_s=given_s)

    def _may_twin(self, lane: _Lane, first: Sent) -> bool:
        is_other = lane.target.address != first.target.address or (lane.target.is_name and not first.is_probe)
        return is_other and lane.breaker.state == "closed"

    def _all_open(self) -> BreakerOpen:
        lanes = list(self._lanes.values())
        names = ", ".join(lane.target.address for lane in lanes)
        soonest_s = min(lane.breaker.retry_in_s or 0.0 for lane in lanes)
        which = f"the circuit breaker of {names} is" if len(lanes) == 1 else f"the circuit breakers of {names} are"
        when = f"the next try is in {soonest_s:.1f} s" if soonest_s else "one search is finding out just now"
        return BreakerOpen(f"{which} open after failures in a row; {when}; is a sidecar running there?")


def _reluctance(lane: _Lane, avoid: Collection[str], prefer: str | None, now_s: float) -> tuple[bool, bool, bool]:
    """Lanes are asked in this order, their turn deciding between equals."""
    name = lane.target.address
    return name in avoid, now_s < lane.resting_until_s, name != prefer
