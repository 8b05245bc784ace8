"""A swap as a value: which way it may go, and what makes it end without a change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.comparison import Sample, compare
from rescorer_sidecar.domain import ModelCard
from rescorer_sidecar.swap import NEXT, Golden, Order, Step, Swap

FOUND = {
    "name": "shop",
    "kind": "cross-encoder",
    "max_tokens": 64,
    "dimension": 0,
    "backend": "fake",
    "device": "cpu",
    "precision": "fp32",
}
OLD = ModelCard(**FOUND, digest="d1", source="v1")
NEW = ModelCard(**FOUND, digest="d2", source="v2")
SAME = compare([Sample(old=(1.0, 2.0, 3.0), new=(1.0, 2.0, 3.0))] * 5)
TURNED = compare([Sample(old=(1.0, 2.0, 3.0), new=(3.0, 2.0, 1.0))] * 5)
ALL_RIGHT = Golden(queries=4, old=4, new=4)


def shadowing(**order: object) -> Swap:
    """A swap that is loaded and checked, and waits for live requests."""
    begun = Swap(order=Order(source="v2", **order), old=OLD)
    return begun.loaded(NEW).checked(ALL_RIGHT)


def test_a_swap_goes_through_its_steps() -> None:
    """Loaded, checked, compared, switched; each step knows the version and what was found."""
    found = shadowing().watched(3).compared_as(SAME).switched()
    assert (found.step, found.new, found.comparison, found.compared) == (Step.SWITCHED, NEW, SAME, 3)


def test_without_live_requests_to_compare_it_goes_on_after_the_check() -> None:
    """Asked for no comparison, a checked swap switches next."""
    begun = Swap(order=Order(source="v2", shadow_requests=0), old=OLD)
    assert begun.loaded(NEW).checked(ALL_RIGHT).switched().step == Step.SWITCHED


def test_a_version_that_forgets_golden_orders_is_refused() -> None:
    """Fewer golden queries right than the old version: refused with both numbers; as many or more: not."""
    begun = Swap(order=Order(source="v2"), old=OLD).loaded(NEW)
    reason = begun.checked(Golden(queries=4, old=3, new=1)).reason
    assert "orders 1 of 4 golden queries rightly, the old one 3" in reason
    assert begun.checked(Golden(queries=4, old=1, new=1)).step == Step.SHADOWING


def test_a_version_that_orders_otherwise_is_refused_with_the_figure() -> None:
    """What the comparison objects to ends the swap, and its reason holds figure and bound."""
    found = shadowing().compared_as(TURNED)
    assert found.step == Step.REFUSED
    assert found.reason == "rank correlation -1.00 is below 0.80"


def test_a_forced_swap_goes_on_and_keeps_the_objections() -> None:
    """Forced, neither golden queries nor comparison end it, and both objections are told."""
    begun = Swap(order=Order(source="v2", is_forced=True), old=OLD).loaded(NEW)
    found = begun.checked(Golden(queries=4, old=3, new=1)).compared_as(TURNED).switched()
    assert (found.step, len(found.objections)) == (Step.SWITCHED, 2)


def test_no_traffic_is_no_proof() -> None:
    """Too few live requests end a swap, forced or not, and the reason says what to do."""
    for found in (shadowing().compared_as(None, seen=2), shadowing(is_forced=True).compared_as(None, seen=2)):
        assert found.step == Step.REFUSED
        assert "0 of 2 live requests could be compared within 120 s, and 5 are needed" in found.reason


def test_as_few_requests_as_were_asked_for_are_enough() -> None:
    """Who asks for one request gets a verdict over one."""
    one = compare([Sample(old=(1.0, 2.0, 3.0), new=(1.0, 2.0, 3.0))])
    assert not shadowing(shadow_requests=1).compared_as(one).is_over


def test_a_version_that_fails_on_a_live_text_is_refused() -> None:
    """A text that the old version has scored and the new one fails on ends the swap, forced or not."""
    assert "failed on 1 texts" in shadowing(is_forced=True).compared_as(SAME, failed_texts=1).reason


@given(st.lists(st.sampled_from(list(Step)), max_size=6))
def test_no_way_leads_out_of_an_end_or_past_the_check(steps: list[Step]) -> None:
    """Whatever is tried in whatever order, a swap is switched only after its check, and an end is the end."""
    moves = {
        Step.LOADING: lambda swap: swap,
        Step.CHECKING: lambda swap: swap.loaded(NEW),
        Step.SHADOWING: lambda swap: swap.watched(1),
        Step.SWITCHED: lambda swap: swap.switched(),
        Step.REFUSED: lambda swap: swap.refused("no"),
    }
    swap, passed = Swap(order=Order(source="v2"), old=OLD), [Step.LOADING]
    for step in steps:
        if step == Step.LOADING:
            continue
        if step not in NEXT[swap.step]:
            with pytest.raises(ValueError, match="does not go from"):
                moves[step](swap)
            continue
        swap = moves[step](swap)
        passed.append(swap.step)
    assert Step.SWITCHED not in passed or passed.index(Step.CHECKING) < passed.index(Step.SWITCHED)
    assert not any(step in (Step.SWITCHED, Step.REFUSED) for step in passed[:-1])
