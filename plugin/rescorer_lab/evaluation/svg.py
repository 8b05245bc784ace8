"""Plots as SVG inside a page: no script, no font and no file beside it, so that a page can be mailed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 900
LABELS = 390
"""Pixels left of a plot, for names."""

ROW = 26
MARGIN = 34
TICKS = 5
HEIGHT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line of a plot of intervals: ``low … high`` around ``mean``, and a mark at ``most`` where there is one."""

    name: str
    mean: float
    low: float
    high: float
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One dot: ``x`` and ``y`` in the units of the axes."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From values to pixels, ``low`` at ``begin`` and ``high`` at ``end``."""

    low: float
    high: float
    begin: float
    end: float

    @classmethod
    def over(cls, values: Iterable[float], begin: float, end: float) -> Axis:
        """An axis with a little room on both sides of these values."""
        found = list(values)
        low, high = min(found), max(found)
        room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        return cls(low=low - room, high=high + room, begin=begin, end=end)

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    @property
    def ticks(self) -> list[float]:
        """Round values, about TICKS of them, a step of 1, 2 or 5 times a power of ten apart."""
        raw = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        return [place * step for place in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def intervals(bars: Sequence[Bar], title: str, *, zero: bool = False) -> Markup:
    """Means with their intervals below each other; ``zero`` draws the line of no difference."""
    ends = [value for bar in bars for value in (bar.low, bar.high, bar.most) if value is not None]
    axis = Axis.over([*ends, *([0.0] if zero else [])], LABELS, WIDTH - 60)
    height = ROW * len(bars) + MARGIN
    parts = [_tick(axis(value), height, f"{value:.3g}") for value in axis.ticks]
    if zero:
        parts.append(f'<line class="zero" x1="{axis(0):.1f}" x2="{axis(0):.1f}" y1="0" y2="{height - MARGIN}"/>')
    for place, bar in enumerate(bars):
        y = ROW * place + ROW / 2
        parts.append(f'<text class="name" x="{LABELS - 12}" y="{y + 4}">{escape(bar.name)}</text>')
        parts.append(f'<line class="bar" x1="{axis(bar.low):.1f}" x2="{axis(bar.high):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle cx="{axis(bar.mean):.1f}" cy="{y}" r="5"><title>{_said(bar)}</title></circle>')
        if bar.most is not None:
            x = axis(bar.most)
            parts.append(f'<line class="most" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{y + 8}"/>')
        parts.append(f'<text class="value" x="{WIDTH - 50}" y="{y + 4}">{bar.mean:.3f}</text>')
    return _whole(parts, height, title)


def scatter(points: Sequence[Point], title: str, x_name: str, y_name: str, *, joined: bool = False) -> Markup:
    """Dots with their names beside them, joined by a line in their order where asked for."""
    across = Axis.over((point.x for point in points), 70, WIDTH - 230)
    up = Axis.over((point.y for point in points), HEIGHT - MARGIN, 16)
    parts = [_tick(across(value), HEIGHT, f"{value:g}") for value in across.ticks]
    for value in up.ticks:
        parts.append(f'<line class="grid" x1="70" x2="{WIDTH - 230}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>')
        parts.append(f'<text class="name" x="62" y="{up(value) + 4:.1f}">{value:.3g}</text>')
    if joined:
        ways = " ".join(f"{across(point.x):.1f},{up(point.y):.1f}" for point in points)
        parts.append(f'<polyline class="bar" fill="none" points="{ways}"/>')
    for point in points:
        x, y = across(point.x), up(point.y)
        said = f"{point.name}: {y_name} {point.y:.3f}, {x_name} {point.x:.0f}"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{escape(said)}</title></circle>')
        parts.append(f'<text x="{x + 9:.1f}" y="{y + 4:.1f}">{escape(point.name)}</text>')
    parts.append(f'<text class="axis" x="{WIDTH - 220}" y="{HEIGHT - 8}">{escape(x_name)}</text>')
    return _whole(parts, HEIGHT, title)


def _tick(x: float, height: float, said: str) -> str:
    line = f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - MARGIN}"/>'
    return line + f'<text class="tick" x="{x:.1f}" y="{height - MARGIN + 18}">{said}</text>'


def _said(bar: Bar) -> str:
    return escape(f"{bar.name}: {bar.mean:.3f} ({bar.low:.3f} … {bar.high:.3f})")


def _whole(parts: Sequence[str], height: float, title: str) -> Markup:
    inner = "".join(parts)
    found = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{inner}</svg>'
    return Markup(found)  # noqa: S704 - every text in it was escaped above
