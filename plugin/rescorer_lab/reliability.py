"""A reliability plot as an SVG file: what scores say, and what is found, with intervals; on the diagonal both agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from rescorer_lab.calibrate import Figures
from rescorer_lab.evaluation.svg import Axis

SIDE = 320
LEFT, TOP, RIGHT, BELOW = 60, 40, 190, 50
COLOURS = ("#1f6feb", "#9a6700")
TENTHS = 10
STYLE = "text{font:12px sans-serif;fill:#444}.grid{stroke:#ddd}.even{stroke:#888;stroke-dasharray:4}"


def write(path: Path, drawn: Mapping[str, Figures], title: str) -> Path:
    """Draw each set of figures under its name, in one square; the area of a dot is how full its bin is."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plot(drawn, title), encoding="utf-8")
    return path


def plot(drawn: Mapping[str, Figures], title: str) -> str:
    """The SVG."""
    across = Axis(low=0, high=1, begin=LEFT, end=LEFT + SIDE)
    up = Axis(low=0, high=1, begin=TOP + SIDE, end=TOP)
    width, height = LEFT + SIDE + RIGHT, TOP + SIDE + BELOW
    parts = [f'<rect width="{width}" height="{height}" fill="#fff"/>', _text(LEFT, 22, title)]
    parts += _frame(across, up)
    for place, (name, figures) in enumerate(drawn.items()):
        colour = COLOURS[place % len(COLOURS)]
        parts += _dots(figures, colour, across, up)
        y = TOP + 20 + 58 * place
        parts.append(f'<circle cx="{LEFT + SIDE + 22}" cy="{y - 4}" r="6" fill="{colour}"/>')
        parts.append(_text(LEFT + SIDE + 34, y, name))
        parts.append(_text(LEFT + SIDE + 34, y + 16, f"calibration error {figures.error:.3f}"))
        parts.append(_text(LEFT + SIDE + 34, y + 32, f"Brier {figures.brier:.4f}"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title><style>{STYLE}</style>", *parts, "</svg>"]) + "\n"


def _frame(across: Axis, up: Axis) -> list[str]:
    found = []
    for tenth in range(0, TENTHS + 1, 2):
        value = tenth / TENTHS
        found.append(_line(across(value), up(0), across(value), up(1), "grid"))
        found.append(_line(across(0), up(value), across(1), up(value), "grid"))
        found.append(_text(across(value) - 8, up(0) + 18, f"{value:.1f}"))
        found.append(_text(across(0) - 28, up(value) + 4, f"{value:.1f}"))
    found.append(_line(across(0), up(0), across(1), up(1), "even"))
    found.append(_text(across(0), up(0) + 38, "score (mean of the bin)"))
    found.append(f'<g transform="translate(16 {up(0.2):.0f}) rotate(-90)">{_text(0, 0, "share that is relevant")}</g>')
    return found


def _dots(figures: Figures, colour: str, across: Axis, up: Axis) -> list[str]:
    found = []
    for entry in figures.bins:
        if entry is not None:
            x, radius = across(entry.said), 3 + 9 * (entry.pairs / figures.pairs) ** 0.5
            said = f"{entry.pairs} pairs: score {entry.said:.3f}, relevant {entry.found:.3f}"
            ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{up(entry.low):.1f}" y2="{up(entry.high):.1f}"'
            found.append(f'<line {ends} stroke="{colour}"/>')
            found.append(
                f'<circle cx="{x:.1f}" cy="{up(entry.found):.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity="0.7">'
                f"<title>{said}</title></circle>"
            )
    return found


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, said: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'
