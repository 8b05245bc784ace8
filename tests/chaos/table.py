"""What a run prints: one fault after the other, and then one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaos.verdict import STATUSES, Row

HEADS = ("fault", "searches", "answered in budget", "reranked/partial/fallback", "hits lost", "errors")


def lines(rows: Sequence[Row]) -> list[str]:
    """A Markdown table with aligned columns."""
    cells = [HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(HEADS))]
    drawn = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    drawn.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return drawn


def told(row: Row) -> str:
    """One fault on a few lines: well or not, when it was late, what proves that it bit, what is wrong."""
    mark = "✗" if row.complaints else "✓"
    head = f"{mark} {row.fault}: {row.searches} searches, {row.seconds:.1f} s, p99 {row.late_p99_ms:+.0f} ms of budget"
    return "\n".join(
        [head, *(f"    {line}" for line in row.evidence), *(f"    WRONG: {line}" for line in row.complaints)]
    )


def _cells(row: Row) -> tuple[str, ...]:
    statuses = "/".join(str(row.statuses[status]) for status in STATUSES)
    return row.fault, str(row.searches), str(row.in_budget), statuses, str(row.lost), _errors(row.errors)


def _errors(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(errors.items())) or "0"
