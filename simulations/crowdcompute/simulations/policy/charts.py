"""Line charts with error bars as inline SVG: nothing to install, nothing to load."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .intervals import Interval

_WIDTH, _HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 30


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    color: str
    points: Sequence[tuple[float, Interval]]


@dataclass(frozen=True, slots=True)
class Axis:
    low: float
    high: float
    ticks: Sequence[float]
    text: Callable[[float], str]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """From 0 at the low end to 1 at the high one; what is beyond an end stays at it."""
        value = min(self.high, max(self.low, value))
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def chart(title: str, across: Axis, up: Axis, lines: Sequence[Line], *, limit: float | None = None) -> str:
    """One SVG. `limit` is drawn as a dashed line across."""

    def x(value: float) -> float:
        return _LEFT + across.place(value) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - up.place(value) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text class="title" x="{_LEFT}" y="15">{escape(title)}</text>']
    for tick in up.ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="up" x="{_LEFT - 5}" y="{y(tick) + 3:.1f}">{escape(up.text(tick))}</text>')
    for tick in across.ticks:
        label = escape(across.text(tick))
        parts.append(f'<text class="across" x="{x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 16}">{label}</text>')
    if limit is not None:
        parts.append(
            f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>'
        )
    for line in lines:
        path = " ".join(f"{x(at):.1f},{y(interval.mean):.1f}" for at, interval in line.points)
        parts.append(f'<polyline points="{path}" stroke="{line.color}"><title>{escape(line.name)}</title></polyline>')
        for at, interval in line.points:
            parts.append(
                f'<line class="bar" stroke="{line.color}" x1="{x(at):.1f}" x2="{x(at):.1f}" '
                f'y1="{y(interval.low):.1f}" y2="{y(interval.high):.1f}"/>'
                f'<circle cx="{x(at):.1f}" cy="{y(interval.mean):.1f}" r="2.5" fill="{line.color}"/>'
            )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">{"".join(parts)}</svg>'
