"""Drawings of a story as SVG: a map in metres, and values over time. Colours are those of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

_WIDE = 1000.0
_EDGE = 56.0


@dataclass(slots=True)
class Map:
    """A map of the plane in metres (east, north), from its south-west corner `low` to its north-east corner `high`."""

    low: tuple[float, float]
    high: tuple[float, float]
    parts: list[str] = field(default_factory=list)

    @property
    def _scale(self) -> float:
        return _WIDE / (self.high[0] - self.low[0])

    def _at(self, east: float, north: float) -> tuple[float, float]:
        return (east - self.low[0]) * self._scale, (self.high[1] - north) * self._scale

    def spot(self, east: float, north: float, colour: str, label: str = "", *, size: float = 7.0, ring: bool = False) -> None:
        """A round mark with a label beside it."""
        x, y = self._at(east, north)
        look = f'fill="none" stroke="{colour}" stroke-width="3"' if ring else f'fill="{colour}"'
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {look}/>')
        if label:
            self.label(east, north, label, shift=size + 4)

    def label(self, east: float, north: float, text: str, *, shift: float = 0.0) -> None:
        """A text beside a place."""
        x, y = self._at(east, north)
        anchor, step = ("end", -shift) if x > _WIDE * 0.8 else ("start", shift)
        place = f'x="{x + step:.1f}" y="{y + 5:.1f}" text-anchor="{anchor}"'
        self.parts.append(f'<text {place} font-size="15" fill="var(--ink)">{escape(text)}</text>')

    def cell(self, east: float, north: float, side: float, colour: str, share: float) -> None:
        """A square of the ground, filled as strongly as `share` (0 to 1) says."""
        x, y = self._at(east - side / 2, north + side / 2)
        wide = side * self._scale
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{wide:.1f}" fill="{colour}" fill-opacity="{share:.2f}"/>'
        )

    def line(self, places: Sequence[tuple[float, float]], colour: str, *, wide: float = 1.5, dashed: bool = False) -> None:
        """A line through places."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self._at(*place) for place in places))
        dash = ' stroke-dasharray="6 5"' if dashed else ""
        self.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{wide:g}"{dash}/>')

    def arrow(self, east: float, north: float, towards_deg: float, length: float, colour: str) -> None:
        """An arrow from a place; `towards_deg` clockwise from north."""
        turn = math.radians(towards_deg)
        tip = east + length * math.sin(turn), north + length * math.cos(turn)
        self.line([(east, north), tip], colour, wide=3)
        for side in (150, 210):
            back = turn + math.radians(side)
            self.line([tip, (tip[0] + length / 4 * math.sin(back), tip[1] + length / 4 * math.cos(back))], colour, wide=3)

    def svg(self) -> str:
        """The drawing."""
        high = (self.high[1] - self.low[1]) * self._scale
        ground = f'<rect width="{_WIDE:g}" height="{high:.0f}" fill="var(--map)"/>'
        return f'<svg viewBox="0 0 {_WIDE:g} {high:.0f}" role="img">{ground}{"".join(self.parts)}</svg>'


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time: (hour, value). Hours above 24 are of the next day."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    wide: float = 2.0


def chart(
    series: Sequence[Series], unit: str, *, limit: tuple[float, str] | None = None, marks: Sequence[tuple[float, str]] = ()
) -> str:
    """Values over the hours of a day. `limit`: a value that must not be passed, with its name; `marks`: named moments."""
    high_px, points = 320.0, [point for one in series for point in one.points]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    bottom = min(0.0, min(y for _, y in points))
    top = max([*(y for _, y in points), *([limit[0]] if limit else [])]) * 1.08 or 1.0

    def at(hour: float, value: float) -> tuple[float, float]:
        x = _EDGE + (hour - first) / ((last - first) or 1) * (_WIDE - 2 * _EDGE)
        return x, high_px - 34 - (value - bottom) / (top - bottom) * (high_px - 60)

    parts: list[str] = []
    for hour in range(math.ceil(first), math.floor(last) + 1):
        x, y = at(hour, bottom)
        parts += [_line((x, y), (x, 26.0), "var(--line)"), _text(x, y + 18, f"{hour % 24}:00", "var(--soft)", "middle")]
    for part in range(5):
        value = bottom + (top - bottom) * part / 4
        parts.append(
            _text(
                _EDGE - 6,
                at(first, value)[1] + 4,
                f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}",
                "var(--soft)",
                "end",
            )
        )
    parts.append(_text(_EDGE, 18, unit, "var(--soft)"))
    if limit is not None:
        height = at(first, limit[0])[1]
        parts += [
            _line((_EDGE, height), (_WIDE - _EDGE, height), "var(--bad)", "6 5"),
            _text(_EDGE + 4, height - 5, limit[1], "var(--bad)"),
        ]
    for row, (moment, name) in enumerate(marks):
        x = at(moment, bottom)[0]
        parts += [_line((x, 26.0), (x, high_px - 34), "var(--ink)", "2 4"), _text(x + 4, 38.0 + 16 * row, name, "var(--ink)")]
    for one in series:
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in one.points))
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{one.colour}" stroke-width="{one.wide:g}"/>')
        if one.name:
            x, y = at(*one.points[-1])
            parts.append(_text(x + 4, y + 4, one.name, one.colour))
    return f'<svg viewBox="0 0 {_WIDE:g} {high_px:g}" role="img">{"".join(parts)}</svg>'


def _line(begin: tuple[float, float], end: tuple[float, float], colour: str, dashes: str = "") -> str:
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{begin[0]:.1f}" y1="{begin[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" stroke="{colour}"{dash}/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="13" fill="{colour}">{escape(text)}</text>'
