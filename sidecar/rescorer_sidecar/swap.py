"""One swap as a value: which step it is at, what was found on the way, and what may come next; pure.

    LOADING → CHECKING → SHADOWING → SWITCHED
       └──────────┴──────────┴─────→ REFUSED

SWITCHED is reached from CHECKING as well, where nothing is to be compared. Nothing has changed for any caller before
SWITCHED, and nothing ever has after REFUSED.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from rescorer_sidecar.comparison import Bounds, Comparison
from rescorer_sidecar.domain import ModelCard

TELLING_REQUESTS = 5
"""What was compared on fewer says too little, unless fewer were asked for."""


class Step(StrEnum):
    """Where a swap is."""

    LOADING = "loading"
    CHECKING = "checking"
    SHADOWING = "shadowing"
    SWITCHED = "switched"
    REFUSED = "refused"


NEXT = {
    Step.LOADING: {Step.CHECKING, Step.REFUSED},
    Step.CHECKING: {Step.SHADOWING, Step.SWITCHED, Step.REFUSED},
    Step.SHADOWING: {Step.SHADOWING, Step.SWITCHED, Step.REFUSED},
    Step.SWITCHED: set[Step](),
    Step.REFUSED: set[Step](),
}


@dataclass(slots=True, kw_only=True)
class SwapCounts:
    """How swaps have ended since the start; one that was stopped counts as refused."""

    switched: int = 0
    refused: int = 0
    rolled_back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be put in place of what.

    source: as ``--model`` names one. model: the served one, the default where empty.
    shadow_requests: how many live requests are compared; 0 for none. shadow_share: of the pairs scored meanwhile.
    within_s: how long is waited for them. is_forced: switch whatever the golden queries and the comparison say.
    """

    source: str
    model: str = ""
    shadow_requests: int = 50
    shadow_share: float = 0.1
    within_s: float = 120.0
    bounds: Bounds = field(default_factory=Bounds)
    is_forced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """How many golden queries each version orders rightly."""

    queries: int
    old: int
    new: int

    @property
    def objections(self) -> tuple[str, ...]:
        """What speaks against the new version."""
        if self.new >= self.old:
            return ()
        lost = f"the new version orders {self.new} of {self.queries} golden queries rightly, the old one {self.old}"
        return (lost,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """A swap at one moment; ``objections`` is what speaks against it, also where it was forced."""

    order: Order
    old: ModelCard
    step: Step = Step.LOADING
    new: ModelCard | None = None
    golden: Golden | None = None
    compared: int = 0
    comparison: Comparison | None = None
    objections: tuple[str, ...] = ()
    reason: str = ""

    def loaded(self, new: ModelCard) -> Swap:
        """It is in memory, warm, and its first results are numbers."""
        return replace(self._at(Step.CHECKING), new=new)

    def checked(self, golden: Golden) -> Swap:
        """The golden queries were asked: REFUSED where they speak against it and it is not forced."""
        found = replace(self, golden=golden, objections=golden.objections)
        if found.objections and not self.order.is_forced:
            return found.refused("; ".join(found.objections))
        return found._at(Step.SHADOWING) if self.order.shadow_requests else found

    def watched(self, requests: int) -> Swap:
        """So many live requests were compared by now."""
        return replace(self._at(Step.SHADOWING), compared=requests)

    def compared_as(self, comparison: Comparison | None, *, seen: int = 0, failed_texts: int = 0) -> Swap:
        """Some of the ``seen`` live requests were compared: REFUSED where that is too little, or speaks against it."""
        least = min(self.order.shadow_requests, TELLING_REQUESTS)
        if failed_texts:
            return self.refused(f"the new version failed on {failed_texts} texts that the old one has scored")
        if comparison is None or comparison.requests < least:
            count = 0 if comparison is None else comparison.requests
            return self.refused(
                f"{count} of {seen} live requests could be compared within {self.order.within_s:g} s, and {least} are "
                "needed; give it longer, or a time with idle moments, or compare nothing (shadow_requests 0)"
            )
        objections = (*self.objections, *comparison.objections(self.order.bounds))
        found = replace(self, comparison=comparison, objections=objections)
        return found if self.order.is_forced or not objections else found.refused("; ".join(objections))

    def switched(self) -> Swap:
        """Whoever asks from now on gets the new version."""
        return self._at(Step.SWITCHED)

    def refused(self, reason: str) -> Swap:
        """It ends without a change."""
        return replace(self._at(Step.REFUSED), reason=reason)

    @property
    def is_over(self) -> bool:
        """Whether nothing comes after this step."""
        return not NEXT[self.step]

    def _at(self, step: Step) -> Swap:
        if step not in NEXT[self.step]:
            raise ValueError(f"a swap does not go from {self.step} to {step}")
        return replace(self, step=step)
