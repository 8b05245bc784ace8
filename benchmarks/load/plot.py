"""A picture of what benchmarks/overload.py wrote: ``python plot.py overload.json overload.png``."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

COLOURS = {"whole": "#0b7285", "partial": "#66d9e8", "refused": "#adb5bd", "late": "#e8590c", "failed": "#c92a2a"}
DUE, SENT, ENDED, OUTCOME, PAIRS = range(5)


def main() -> None:
    """One row a server: what became of the calls of each second, how long they took, what memory was needed."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    servers, options = report["servers"], report["options"]
    figure, axes = pyplot.subplots(
        len(servers), 3, figsize=(15, 3.4 * len(servers)), layout="constrained", squeeze=False
    )
    for row, (name, found) in zip(axes, servers.items(), strict=True):
        _outcomes(row[0], name, found)
        _latencies(row[1], found, options["deadline_ms"])
        _memory(row[2], found)
    figure.savefig(sys.argv[2], dpi=80, metadata={"Software": None})


def _outcomes(axis: Any, name: str, found: dict[str, Any]) -> None:
    """Calls a second by the second in which they were due, and what the server can do."""
    by_second: dict[str, dict[int, int]] = {outcome: defaultdict(int) for outcome in COLOURS}
    for call in found["calls"]:
        by_second[call[OUTCOME]][int(call[DUE])] += 1
    seconds = range(1 + int(max(call[DUE] for call in found["calls"])))
    rows = [[counted[second] for second in seconds] for counted in by_second.values()]
    axis.stackplot(seconds, rows, labels=list(COLOURS), colors=list(COLOURS.values()), step="post")
    pairs = max(call[PAIRS] for call in found["calls"]) or 1
    axis.axhline(found["capacity_pairs_per_s"][0] / pairs, color="black", linestyle="--", linewidth=1, label="capacity")
    axis.set_title(f"{name}: calls of each second of overload", fontsize=10)
    axis.legend(fontsize=7, loc="upper right")


def _latencies(axis: Any, found: dict[str, Any], deadline_ms: float) -> None:
    for outcome, colour in COLOURS.items():
        calls = [call for call in found["calls"] if call[OUTCOME] == outcome]
        ms = [1000 * (call[ENDED] - call[DUE]) for call in calls]
        axis.scatter([call[DUE] for call in calls], ms, s=5, color=colour)
    axis.axhline(deadline_ms, color="black", linestyle="--", linewidth=1)
    axis.set_title("ms until a call had its answer, by when it was due; the deadline", fontsize=10)
    axis.set_ylim(bottom=0)


def _memory(axis: Any, found: dict[str, Any]) -> None:
    axis.plot([at_s for at_s, _ in found["memory"]], [rss / 1e6 for _, rss in found["memory"]], color=COLOURS["whole"])
    axis.set_title("resident memory, MB", fontsize=10)
    axis.set_ylim(bottom=0)


if __name__ == "__main__":
    main()
