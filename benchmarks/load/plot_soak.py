"""A picture of what benchmarks/soak.py wrote: ``python plot_soak.py soak.json soak.png``."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

COLOURS = ("#0b7285", "#e8590c", "#868e96", "#5f3dc4")


def main() -> None:
    """Memory and counts of each process, and how long new searches took, minute by minute."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 3.4), layout="constrained")
    for colour, (name, samples) in zip(COLOURS, report["samples"].items(), strict=False):
        minutes = [sample[0] / 60 for sample in samples]
        axes[0].plot(minutes, [sample[1] / 1e6 for sample in samples], color=colour, label=name)
        axes[1].plot(minutes, [sample[2] for sample in samples], color=colour, label=f"{name}: descriptors")
        axes[1].plot(minutes, [sample[3] for sample in samples], color=colour, linestyle=":", label=f"{name}: threads")
    _latencies(axes[2], report["searches"])
    titles = ("resident memory, MB", "descriptors and threads", "new searches: ms, by minute")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(f"{title} (minutes)", fontsize=10)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
    figure.savefig(sys.argv[2], dpi=80, metadata={"Software": None})


def _latencies(axis: Any, searches: list[Any]) -> None:
    by_minute: dict[int, list[float]] = defaultdict(list)
    for at_s, kind, ms, _ in searches:
        if kind == "search":
            by_minute[int(at_s // 60)].append(ms)
    for colour, (name, share) in zip(COLOURS, {"p99": 0.99, "p50": 0.5}.items(), strict=False):
        points = [(minute, sorted(ms)[round(share * (len(ms) - 1))]) for minute, ms in sorted(by_minute.items())]
        axis.plot(*zip(*points, strict=True), color=colour, label=name)


if __name__ == "__main__":
    main()
