"""What one fault has at hand: the stack, loads to run beside the harm, and a place for what proves that it bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any

from chaos import stack, verdict
from chaos.crowd import Crowd
from chaos.stack import Stack
from chaos.verdict import Promise, Row, Seen
from rescorer_lab.sidecar import Sidecar

BUDGET_MS = 500.0
ENDLESS = 1_000_000
"""Searches of a load that is ended with ``enough``."""

TIMEOUT_S = 5.0
"""Of the engine's client; far above the budget, so that it is the budget that ends a wait for a sidecar."""


class Scene:
    """The faults' view of one run; what it opens is closed after the fault."""

    def __init__(self, of: Stack) -> None:
        self.stack = of
        self.seen: list[Seen] = []
        self.evidence: list[str] = []
        self.complaints: list[str] = []
        self._open = ExitStack()

    def hold(self, opened: AbstractContextManager[Any]) -> Any:
        """Open this for as long as the fault runs."""
        return self._open.enter_context(opened)

    def sidecar(self, *options: str, **more: Any) -> Sidecar:
        """One more real sidecar, to be harmed."""
        log = self.stack.folder / f"sidecar-{next(self.stack.numbers)}.log"
        started: Sidecar = self.hold(stack.served(log, *options, **more))
        return started

    def begin(self, sidecars: Sequence[str], searches: int = 50, **more: Any) -> Crowd:
        """Begin so many searches in each load process through these sidecars.

        engine, index, timeout_s, at_a_time, pause_s: where, and how fast. first: the number of the first search, which
        says what it asks. is_official: by the official client, without us. budget_ms: of rescoring. cross_encoder,
        body: merged into what each search asks for. processes: who searches, if not the stack's own.
        """
        budget_ms, processes = more.pop("budget_ms", BUDGET_MS), more.pop("processes", self.stack.processes)
        fields = {"document_fields": ["title"], "window_size": stack.WINDOW, "budget_ms": budget_ms}
        wanted = {
            "engine": self.stack.engine,
            "kind": self.stack.kind,
            "index": self.stack.index,
            "sidecars": list(sidecars),
            "queries": list(self.stack.expected),
            "first": next(self.stack.numbers),
            "searches": searches,
            "at_a_time": stack.AT_A_TIME,
            "timeout_s": TIMEOUT_S,
            "pause_s": 0.0,
            "is_official": False,
            **more,
            "cross_encoder": {**fields, **more.get("cross_encoder", {})},
            "body": {"size": stack.SIZE, **more.get("body", {})},
        }

        def of_search(told: dict[str, Any]) -> Seen:
            left_ms = max(0.0, 1000 * wanted["timeout_s"] - told["engine_ms"])
            allowed_ms = min(budget_ms, left_ms)  # what the engine has used is taken off the search's own time
            return Seen(allowed_ms=allowed_ms, expected=self.stack.expected[told.pop("query")], **told)

        begun = Crowd(processes, wanted, of_search)
        self._open.callback(begun.join)  # whatever happens: the processes must be free for the next fault
        self._open.callback(begun.enough)
        return begun

    def searches(self, sidecars: Sequence[str], searches: int = 50, **more: Any) -> list[Seen]:
        """The same from begin to end, counted for the table."""
        crowd = self.begin(sidecars, searches, **more)
        return self.counted(crowd)

    def counted(self, crowd: Crowd) -> list[Seen]:
        """Wait for a load's end and count its searches for the table; one without an end is ended with ``enough``."""
        crowd.join()
        self.seen += [self._with_noise(one) for one in crowd.seen]
        return crowd.seen

    def _with_noise(self, one: Seen) -> Seen:
        if one.ended_s <= one.due_s:
            return one
        return replace(one, noise_ms=1000 * self.stack.noise.between_s(one.due_s, one.ended_s))

    def proves(self, holds: bool, evidence: str) -> None:
        """This is how one sees that the fault bit; the suite fails where it does not hold."""
        if holds:
            self.evidence.append(evidence)
        else:
            self.complaints.append(f"the fault did not take hold: not so that {evidence}")

    def demand(self, holds: bool, wanted: str) -> None:
        """What must hold under this fault alone."""
        if not holds:
            self.complaints.append(f"not so that {wanted}")

    def close(self) -> None:
        """Close what was opened, last first."""
        self._open.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of the written list.

    about: what is done, in one sentence. bite: does it, searches beside it, and proves that it bit.
    is_short: part of the short form, which runs inside ``make test``.
    """

    name: str
    about: str
    bite: Callable[[Scene], None]
    promise: Promise = field(default_factory=Promise)
    is_short: bool = False


FAULTS: dict[str, Fault] = {}
"""By name, in the order of the written list."""


def fault(
    name: str,
    about: str,
    *,
    may: Sequence[str] = verdict.STATUSES,
    must: Sequence[str] = (),
    errors: Sequence[str] = (),
    is_short: bool = False,
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Write a fault into the list; its function does the harm."""
    promise = Promise(may=frozenset(may), must=frozenset(must), errors=frozenset(errors))

    def written(bite: Callable[[Scene], None]) -> Callable[[Scene], None]:
        if name in FAULTS:
            raise ValueError(f"two faults are called {name}")
        FAULTS[name] = Fault(name=name, about=about, bite=bite, promise=promise, is_short=is_short)
        return bite

    return written


def happened(one: Fault, of: Stack, grace_ms: float = verdict.GRACE_MS) -> Row:
    """Let one fault happen, and say what became of its searches; afterwards everything must be well again."""
    scene, begun_s = Scene(of), time.monotonic()
    try:
        with closing(scene):
            one.bite(scene)
        _is_well(scene)
    except Exception as error:  # noqa: BLE001 - a fault that breaks the suite is one line of it, and the rest goes on
        scene.complaints.append(f"{type(error).__name__}: {error}")
        of.renew()
    if not scene.evidence:
        scene.complaints.append("the fault did not take hold: nothing proves it")
    complaints = [*scene.complaints, *verdict.complaints(scene.seen, one.promise, grace_ms)]
    return verdict.row(one.name, scene.seen, time.monotonic() - begun_s, scene.evidence, complaints)


def _is_well(scene: Scene) -> None:
    """The engine and both steady sidecars serve searches again."""
    with closing(Scene(scene.stack)) as later:
        after = later.begin(scene.stack.steady_addresses, searches=4, budget_ms=10_000.0)
        after.join()
    well = [one for one in after.seen if one.status == "reranked" and one.lost == 0]
    scene.demand(len(well) == len(after.seen) == 8, "8 searches after it are reranked as if nothing had been")
