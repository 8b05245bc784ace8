"""A tuning in a terminal: the front, the choice on the other half, the curve over the window, what gates save."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rescorer_lab.evaluation.tables import spaced
from rescorer_lab.tuning.front import WITHIN
from rescorer_lab.tuning.story import Told


def tables(told: Told) -> Iterator[RenderableType]:
    """Everything, in the order in which it is read."""
    yield front(told)
    yield reports(told)
    if len(told.curve) > 1:
        yield curve(told)
        yield Text(verdict(told))
    if told.savings:
        yield gates(told)
    for warning in told.warnings:
        yield Text(f"! {warning}", style="yellow")


def front(told: Told) -> Table:
    """The settings that nothing beats in quality without taking longer, and the chosen ones."""
    found = _table("front of quality and time, on the tuning half", "nDCG@10", "ms")
    for one in told.front:
        mark = "bold" if one.settings == told.chosen.settings else ""
        found.add_row(Text(spaced(str(one.settings)), style=mark), f"{one.quality:.3f}", f"{one.ms:.0f}")
    if all(one.settings != told.chosen.settings for one in told.front):
        found.add_row(
            Text(f"chosen: {told.chosen.settings}", style="bold"), f"{told.chosen.quality:.3f}", f"{told.chosen.ms:.0f}"
        )
    found.caption = (
        f"{told.derived:,} settings derived from {told.scored:,} scored pairs in {told.derived_s:.1f} s. ms: medians "
        f"of both lists and the window's forward pass, measured here. Chosen: the fastest within {WITHIN} of the best."
    )
    return found


def reports(told: Told) -> Table:
    """The choice beside others, on the topics that nothing was chosen on."""
    found = _table(f"on the other {told.halves[1]} topics", "nDCG@10", "chosen gains", "95 % interval", "p")
    found.add_row(Text(f"chosen: {told.chosen.settings}", style="bold"), f"{told.other:.3f}", "", "", "")
    for one in told.reports:
        of = one.difference
        interval = f"{of.low:+.3f} … {of.high:+.3f}"
        found.add_row(f"{one.name}: {one.settings}", f"{one.other:.3f}", f"{of.mean:+.3f}", interval, f"{one.p:.3f}")
    return found


def curve(told: Told) -> Table:
    """nDCG@10 by window, all else as chosen."""
    found = _table("window", *(str(window) if window else "none" for window in told.curve))
    for place, name in enumerate(("tuning half", "other half")):
        found.add_row(name, *(f"{means[place]:.3f}" for means in told.curve.values()))
    return found


def verdict(told: Told) -> str:
    """Where more candidates stop helping or start to hurt, in a sentence, on the half that nothing was chosen on."""
    means = {window: pair[1] for window, pair in told.curve.items()}
    best, most = max(means, key=lambda window: means[window]), max(means)
    if best == 0:
        return "Rescoring does not help on the other half, whatever the window."
    if best == most:
        return f"More candidates help up to the deepest window looked at, {most}."
    lost = means[best] - means[most]
    hurts = f"; {most} candidates are worse by {lost:.3f}" if lost > WITHIN else "; beyond it nothing changes much"
    return f"More candidates help up to {best}{hurts}."


def gates(told: Told) -> Table:
    """What each gate would save and cost on the other half."""
    found = _table("gate", "searches left alone", "nDCG@10 lost")
    for one in told.savings:
        found.add_row(one.gate, f"{one.skipped:.0%}", f"{one.loss:+.4f}")
    found.caption = "lost: of the mean over all topics; below 0 the gate gains"
    return found


def _table(*headings: str) -> Table:
    found = Table(box=SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    for place, heading in enumerate(headings):
        found.add_column(heading, justify="right" if place else "left")
    return found
