"""An evaluation in a terminal: figures, differences, failures and slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rescorer_lab.answers import VERDICTS
from rescorer_lab.evaluation import significance
from rescorer_lab.evaluation.compared import Comparison
from rescorer_lab.evaluation.figures import GOOD, MEANINGS, Measured
from rescorer_lab.evaluation.measures import JUDGED
from rescorer_lab.evaluation.story import Told
from rescorer_lab.evaluation.supported import Support

SURE = 0.05
NAME_WIDTH = 14


def tables(told: Told, price: float | None) -> Iterator[RenderableType]:
    """Everything, in the order in which it is read."""
    yield quality(told.measured)
    others = further(told.measured)
    if others is not None:
        yield others
    if told.comparisons:
        yield differences(told)
    yield failures(told.measured)
    timed = costs(told.measured, price)
    if timed is not None:
        yield timed
    for kind, values in told.slices.items():
        yield sliced(kind, values)
    if told.support is not None:
        yield supported(told.support)
        if told.support.gains:
            yield support_gained(told.support)
    for warning in told.warnings:
        yield Text(f"! {warning}", style="yellow")


def quality(found: Mapping[str, Measured]) -> Table:
    """The measure that decides, the window's recall, and the ceiling that it sets."""
    means = {name: measured.means for name, measured in found.items()}
    first = _measures(found)[0]
    table = _table("", first, "95 % interval", "recall", "at best", "judged")
    table.caption = f"recall: of the window; at best: {first} of its best order; judged: of the first ten hits"
    best = max(of[first] for of in means.values())
    for name, measured in found.items():
        low, high = significance.interval(list(measured.of(first).values()))
        ends = (f"{measured.recall:.3f}", f"{measured.ceiling:.3f}", f"{means[name][JUDGED]:.0%}")
        table.add_row(spaced(name), _figure(means[name][first], best), f"{low:.3f} … {high:.3f}", *ends)
    return table


def further(found: Mapping[str, Measured]) -> Table | None:
    """All other measures; None where there are none."""
    means = {name: measured.means for name, measured in found.items()}
    shown = _measures(found)[1:]
    if not shown:
        return None
    best = {measure: max(of[measure] for of in means.values()) for measure in shown}
    table = _table("", *shown)
    for name, of in means.items():
        table.add_row(spaced(name), *(_figure(of[measure], best[measure]) for measure in shown))
    return table


def differences(told: Told) -> Table:
    """Each comparison with its interval, its topics and its p-value."""
    measure = told.comparisons[0].measure
    table = _table(measure, "gain", "95 % interval", "+ − =", "p", "")
    table.caption = "+ − =: topics better, worse, the same; p: of chance alone, corrected for all these comparisons"
    for entry in told.comparisons:
        of = entry.difference
        table.add_row(
            spaced(f"{entry.before} → {entry.after}"),
            f"{of.mean:+.3f}",
            f"{of.low:+.3f} … {of.high:+.3f}",
            f"{of.better} {of.worse} {of.same}",
            f"{entry.corrected:.3f}",
            verdict(entry),
        )
    return table


def spaced(name: str) -> str:
    """A system's name with places where a line may end."""
    return name.replace("+rescore", " + rescore").replace(":", ": ").replace(",", ", ")


def verdict(entry: Comparison) -> Text:
    """Whether it helps, in a word; only what holds after the correction counts."""
    if entry.corrected >= SURE:
        return Text("–", style="dim")
    return Text("better", style="green") if entry.difference.mean > 0 else Text("worse", style="red")


def failures(found: Mapping[str, Measured]) -> Table:
    """Where each system fails, counted in topics; the caption says what the kinds mean."""
    kinds = [kind for kind in MEANINGS if kind != GOOD and any(kind in measured.kinds for measured in found.values())]
    table = _table("where it fails (topics)", GOOD, *kinds)
    table.caption = "\n".join(f"{kind}: {MEANINGS[kind]}" for kind in kinds)
    for name, measured in found.items():
        table.add_row(spaced(name), *(str(measured.kinds.get(kind, 0)) for kind in (GOOD, *kinds)))
    return table


def costs(found: Mapping[str, Measured], price: float | None) -> Table | None:
    """Latency by stage and what 1,000 searches cost; None where nothing was timed, as in runs."""
    if not any(measured.ms for measured in found.values()):
        return None
    table = _table("ms", "p50", "p95", "p99", "first", "scoring", "pairs", "per 1,000")
    for name, measured in found.items():
        if not measured.ms:
            continue
        of = measured.latency_ms
        stages = [f"{of[part]['p50']:.0f}" if part in of else "–" for part in ("first_stage_ms", "scoring_ms")]
        total = [f"{value:.0f}" for value in of["total_ms"].values()]
        cached = f" ({measured.counts['cached']:,} cached)" if measured.counts["cached"] else ""
        table.add_row(spaced(name), *total, *stages, f"{measured.counts['scored']:,}{cached}", cost(measured, price))
    priced = "their price" if price is not None else "a price with --price-per-hour"
    table.caption = f"first stage and scoring: p50; per 1,000 searches: seconds of forward pass, and {priced}"
    return table


def cost(measured: Measured, price: float | None) -> str:
    """What 1,000 searches take of the sidecar."""
    seconds = forward_s(measured)
    if not seconds:
        return "–"
    return f"{seconds:.0f} s" if price is None else f"{seconds:.0f} s, {seconds / 3600 * price:.3f}"


def forward_s(measured: Measured) -> float:
    """Seconds of forward pass per 1,000 searches, as they were: pairs from the cache cost none."""
    spent = measured.ms.get("sidecar_forward_ms", ())
    return sum(spent) / len(measured.rows) if measured.rows else 0.0


def sliced(kind: str, values: Mapping[str, Mapping[str, float]]) -> Table:
    """One kind of slices: a column each, the first measure of each system."""
    systems = [name for name in next(iter(values.values())) if name != "topics"]
    table = _table(f"by {kind}", *(f"{value} ({of['topics']:.0f})" for value, of in values.items()))
    best = {value: max(of[name] for name in systems) for value, of in values.items()}
    for name in systems:
        table.add_row(spaced(name), *(_figure(of[name], best[value]) for value, of in values.items()))
    return table


def supported(found: Support) -> Table:
    """Whether the first hits hold the answer, and how much there is to read."""
    unit = found.wish.unit
    table = _table(f"of the first {found.wish.hits} hits", *VERDICTS, unit)
    by = "words" if found.wish.judge is None else "a language model"
    table.caption = f"questions whose context holds the right answer, by {by}; {unit}: of a context, mean"
    best = max(of.counts["supported"] for of in found.systems.values())
    for name, of in found.systems.items():
        first = _counted(of.counts["supported"], len(of.verdicts), "bold" if of.counts["supported"] == best else "")
        others = (_counted(of.counts[verdict], len(of.verdicts), "") for verdict in VERDICTS[1:])
        table.add_row(spaced(name), first, *others, f"{of.size:,.0f}")
    return table


def support_gained(found: Support) -> Table:
    """What changes in the share that is supported."""
    table = _table("supported", "gain", "95 % interval", "+ − =")
    for (before, after), of in found.gains.items():
        ends = (f"{of.low:+.3f} … {of.high:+.3f}", f"{of.better} {of.worse} {of.same}")
        table.add_row(spaced(f"{before} → {after}"), f"{of.mean:+.3f}", *ends)
    return table


def _counted(count: int, of: int, style: str) -> Text:
    return Text(f"{count:,} ({count / max(of, 1):.0%})", style=style)


def _measures(found: Mapping[str, Measured]) -> list[str]:
    """The names of what was measured, the one that decides first."""
    return [name for name in next(iter(found.values())).means if name != JUDGED]


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", min_width=None if place else NAME_WIDTH)
    return table


def _figure(value: float, best: float) -> Text:
    return Text(f"{value:.3f}", style="bold" if round(value, 3) == round(best, 3) else "")
