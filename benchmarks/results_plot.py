"""docs/results.svg out of docs/results.measured.json: ``.venv-plot/bin/python benchmarks/results_plot.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
FIRST, RESCORED, OTHER = "#adb5bd", "#0b7285", "#e8590c"


def main() -> None:
    """A column for each collection: its systems with their intervals, and what the size of the window does."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "results"  # the same figures give the same file
    from matplotlib import pyplot

    kept = json.loads((DOCS / "results.measured.json").read_text(encoding="utf-8"))
    figure, axes = pyplot.subplots(2, len(kept), figsize=(4.2 * len(kept), 6.4), layout="constrained", squeeze=False)
    for column, (name, found) in enumerate(kept.items()):
        _systems(axes[0][column], found["systems"], is_first=column == 0)
        axes[0][column].set_title(f"{name}: nDCG@10, 95 % interval", fontsize=10)
        _curve(axes[1][column], found["tune"])
    figure.savefig(DOCS / "results.svg", metadata={"Date": None})


def _systems(axis: Any, systems: dict[str, Any], *, is_first: bool) -> None:
    names = list(systems)[::-1]
    for place, name in enumerate(names):
        mean, of = systems[name]["measures"]["nDCG@10"], systems[name]["interval"]
        ends = [[mean - of["low"]], [of["high"] - mean]]
        colour = RESCORED if "+" in name else FIRST
        axis.errorbar(mean, place, xerr=ends, fmt="o", color=colour, ecolor=colour, capsize=2)
        axis.text(mean, place + 0.15, f"{mean:.3f}", ha="center", fontsize=7)
    shown = [name.replace("+rescore:window_size=", ", rescored ") for name in names] if is_first else [""] * len(names)
    axis.set_yticks(range(len(names)), shown, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _curve(axis: Any, tuned: dict[str, Any]) -> None:
    for half, colour, label in (("tuning", FIRST, "half tuned on"), ("other", OTHER, "other half")):
        windows = [int(size) for size in tuned["curve"]]
        axis.plot(windows, [of[half] for of in tuned["curve"].values()], marker="o", color=colour, label=label)
    axis.set_title(f"by window: {tuned['chosen']['settings']}", fontsize=8)
    axis.legend(fontsize=7)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
