"""A picture of what benchmarks/sidecar.py wrote: ``python plot.py sidecar-benchmark.json speed.svg``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OURS, PEER = "#0b7285", "#adb5bd"


def main() -> None:
    """One row of bars a workload: milliseconds, median, with p10 to p90."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "speed"  # the same figures give the same file
    from matplotlib import pyplot

    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    names = [name for name in ("W1", "W2", "W3") if name in report]
    figure, axes = pyplot.subplots(1, len(names), figsize=(6 * len(names), 4.5), layout="constrained", squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        _bars(axis, report[name], name)
    figure.savefig(sys.argv[2], metadata={"Date": None})


def _bars(axis: Any, workload: dict[str, Any], name: str) -> None:
    rows = sorted(workload["rows"].items(), key=lambda entry: -entry[1]["ms"])
    labels = [label for label, _ in rows]
    medians = [row["ms"] for _, row in rows]
    spread = [[row["ms"] - row["p10"] for _, row in rows], [row["p90"] - row["ms"] for _, row in rows]]
    colours = [OURS if label.startswith("rescorer") else PEER for label in labels]
    axis.barh(labels, medians, xerr=spread, color=colours, ecolor="#495057", capsize=2)
    for place, median in enumerate(medians):
        axis.text(median, place, f" {median:,.0f}", va="bottom", fontsize=8)
    axis.set_title(f"{name}: ms a request, median, p10–p90 (less is better)", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
