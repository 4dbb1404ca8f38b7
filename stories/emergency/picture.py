"""One still picture of a demo run as SVG: both rides side by side at the second in which the city's ambulance arrives.

Everything in it comes from the report's data. Lengths in the picture are pixels at a width of 900. It is long
because each thing in the picture is drawn by a function of its own.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Literal

from citybrain.stories.emergency.report import (
    VARIANTS,
    Place,
    Point,
    Report,
    ReportError,
    RideTrack,
    Variant,
    compared,
    signals_passed,
)
from citybrain.stories.emergency.words import minutes, minutes_zh

Language = Literal["en", "zh"]

LIMIT_BYTES = 300_000
_WIDTH = 900
_RIM = 20
_GAP = 20
_PANEL = (_WIDTH - 2 * _RIM - _GAP) / 2
# Pixels: shorter bends and roads are left out. Where the picture is too large, the next number is tried.
_DETAILS = (0.4, 1.0, 2.5, 6.0)
_TONES: dict[Variant, str] = {"ordinary": "#b4541a", "bluelight": "#8a4fb0", "city": "#0a66c2"}
_PLACES = {"station": ("#51606f", "S"), "scene": ("#c0392b", "!"), "hospital": ("#0f8f6f", "H")}
_RED, _AMBER, _GREEN, _OFF = "#d63031", "#e8a200", "#12944a", "#9aa0a6"
_LIGHTS = {**dict.fromkeys("rRs", _RED), **dict.fromkeys("uyY", _AMBER), **dict.fromkeys("gG", _GREEN)}
_FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','PingFang SC','Microsoft YaHei','Noto Sans CJK SC',sans-serif"
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class View:
    """From metres to the pixels of a panel."""

    scale: float
    left: float
    top: float
    height: float

    def to(self, point: Point) -> Point:
        """Where a point is in the panel."""
        return self.left + point[0] * self.scale, self.top - point[1] * self.scale


def draw(report: Report, path: Path, language: Language = "en") -> None:
    """Writes the picture. Raises ReportError where there is no drive with the city, or it is too large even without detail."""
    if "city" not in report.rides:
        raise ReportError("there is no drive with the city to make a picture of")
    size = 0
    for detail in _DETAILS:
        picture = _picture(report, language, detail).encode()
        size = len(picture)
        if size < LIMIT_BYTES:
            path.write_bytes(picture)
            return
    raise ReportError(f"the picture would have {size} bytes, and {LIMIT_BYTES} are allowed")


def _picture(report: Report, language: Language, detail: float) -> str:
    other = compared(report)
    sides: list[Variant] = ["city"] if other is None else [other, "city"]
    zh = language == "zh"
    moment = _arrival(report.rides["city"], report.end_s)
    view = _view(report, sides)
    sentence = _wrapped(report.sentence_zh if zh else report.sentence_en, 21, _WIDTH - 2 * _RIM)
    top = 22 + 29 * len(sentence) + 34
    body = [f'<rect width="{_WIDTH}" height="100%" fill="#fbfaf7"/>', _defs(report, view, detail)]
    body += [_text(line, _RIM, 22 + 29 * n + 16, 21, weight=650) for n, line in enumerate(sentence)]
    for number, variant in enumerate(sides):
        x = _RIM + number * (_PANEL + _GAP)
        name = VARIANTS[variant][zh]
        body.append(_text(name, x, top - 9, 15, weight=650, tone=_TONES[variant]))
        body.append(f'<g transform="translate({x:g} {top})">{_panel(report, variant, view, moment, zh)}</g>')
    below = top + view.height + 30
    # All drives, also the one that is not drawn: the siren alone belongs beside what the city adds.
    table, height = _table(report, [variant for variant in VARIANTS if variant in report.rides], below, zh)
    body.append(table)
    bottom = below + height + 8
    said = [(line, 13) for line in _wrapped(_caption(report, sides[0], moment, zh), 13, _WIDTH - 2 * _RIM)]
    said += [(line, 11) for line in _wrapped(report.source, 11, _WIDTH - 2 * _RIM)]
    body += [_text(line, _RIM, bottom + 18 * n, size, tone="#626a74") for n, (line, size) in enumerate(said)]
    total = round(bottom + 18 * len(said))
    title = f"<title>{_safe(report.sentence_zh if zh else report.sentence_en)}</title>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{total}" viewBox="0 0 {_WIDTH} {total}" '
        f'role="img" font-family="{_FONTS}" font-size="13" fill="#1c2127">{title}{"".join(body)}</svg>\n'
    )


def _arrival(ride: RideTrack, otherwise_s: float) -> float:
    """The second to show: the arrival at the hospital, or the end of the run where it was not reached."""
    last = max((track[-1][0] for track in ride.ambulances.values() if track), default=otherwise_s)
    return last if ride.hospital_s is None else ride.hospital_s


def _view(report: Report, sides: Sequence[Variant]) -> View:
    """The view that holds everything that moves, with a margin. Panels are as high as it needs, within bounds."""
    points = [(x, y) for side in sides for track in report.rides[side].ambulances.values() for _, x, y in track]
    points += [(p.x, p.y) for p in report.places if p.kind == "scene"]
    points = points or [point for road in report.roads for point in road] or [(0.0, 0.0)]
    x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
    y0, y1 = min(y for _, y in points), max(y for _, y in points)
    rim = max(30.0, 0.1 * (x1 - x0), 0.1 * (y1 - y0))
    wide, high = x1 - x0 + 2 * rim, y1 - y0 + 2 * rim
    height = round(min(_PANEL, max(0.55 * _PANEL, _PANEL * high / wide)))
    scale = min(_PANEL / wide, height / high)
    return View(scale, _PANEL / 2 - (x0 + x1) / 2 * scale, height / 2 + (y0 + y1) / 2 * scale, height)


def _defs(report: Report, view: View, detail: float) -> str:
    """The streets, once for both panels."""
    drawn = []
    for road in report.roads:
        points = [view.to(point) for point in road]
        if any(-20 < x < _PANEL + 20 and -20 < y < view.height + 20 for x, y in points) and _length(points) > detail:
            drawn.append(_way(points, detail))
    width = min(6.0, max(0.9, view.scale * 9))
    streets = f'<path id="way" d="{"".join(drawn)}" fill="none" stroke-linecap="round" stroke-linejoin="round"/>'
    both = (
        f'<use href="#way" stroke="#d3cfc5" stroke-width="{width + min(1.6, width * 0.6):.2g}"/>'
        f'<use href="#way" stroke="#fff" stroke-width="{width:.2g}"/>'
    )
    clip = f'<clipPath id="clip"><rect width="{_PANEL:g}" height="{view.height:g}" rx="8"/></clipPath>'
    return f'<defs>{streets}<g id="streets">{both}</g>{clip}</defs>'


def _panel(report: Report, variant: Variant, view: View, moment: float, zh: bool) -> str:
    ride, tone = report.rides[variant], _TONES[variant]
    parts = [f'<rect width="{_PANEL:g}" height="{view.height:g}" fill="#eeece6"/><use href="#streets"/>']
    ahead: list[str] = []
    heads: list[Point] = []
    for track in ride.ambulances.values():
        now = _position(track, moment)
        if now is None:
            continue
        before = [(x, y) for second, x, y in track if second <= moment]
        after = [(x, y) for second, x, y in track if second > moment]
        if after:
            ahead.append(_line([now, *after], view, tone, ' stroke-width="2.5" stroke-dasharray="1 6" opacity=".8"'))
        parts.append(_line([*before, now], view, tone, ' stroke-width="4.5" opacity=".8"'))
        heads.append(view.to(now))
    parts += [*ahead, _signals(report, ride, view, moment), *_marks(report.places, heads, view, zh)]
    parts += [_head(at, tone) for at in heads]
    frame = f'<rect width="{_PANEL:g}" height="{view.height:g}" rx="8" fill="none" stroke="#d9d5cb"/>'
    return f'<g clip-path="url(#clip)">{"".join(parts)}</g>{frame}'


def _signals(report: Report, ride: RideTrack, view: View, moment: float) -> str:
    """The signals of the ride as they are at that second; green is drawn last, where lanes share a point."""
    dots: dict[str, dict[str, None]] = {tone: {} for tone in (_OFF, _RED, _AMBER, _GREEN)}
    for signal_id in signals_passed(report):
        shown = next((text for second, text in reversed(ride.signal_states.get(signal_id, ())) if second <= moment), "")
        for letter, point in enumerate(report.signals[signal_id]):
            x, y = view.to(point)
            tone = _LIGHTS.get(shown[letter], _OFF) if letter < len(shown) else _OFF
            dots[tone][f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{min(3.4, max(2.0, view.scale * 3)):.1f}"/>'] = None
    return "".join(f'<g fill="{tone}">{"".join(found)}</g>' for tone, found in dots.items() if found)


def _marks(places: Iterable[Place], heads: Iterable[Point], view: View, zh: bool) -> list[str]:
    """Places with their names, where they cover no other name and no ambulance. A name without room is left out."""
    shown = [(place, *view.to((place.x, place.y))) for place in places]
    shown = [(place, x, y) for place, x, y in shown if 0 < x < _PANEL and 0 < y < view.height]
    taken = [(x - 9, y - 9, x + 9, y + 9) for x, y in [*heads, *((x, y) for _, x, y in shown)]]
    signs, names = [], []
    for place, x, y in shown:
        tone, letter = _PLACES[place.kind]
        signs.append(
            f'<rect x="{x - 8:.1f}" y="{y - 8:.1f}" width="16" height="16" rx="{8 if place.kind == "scene" else 4}" '
            f'fill="{tone}" stroke="#fff" stroke-width="2"/>'
            + _text(letter, x, y + 4, 11, weight=700, tone="#fff", anchor="middle")
        )
        name = place.label_zh if zh else place.label_en
        wide = _wide(name, 12.5) + 4
        for left, middle in ((x + 17, y), (x - 17 - wide, y), (x - wide / 2, y - 24), (x - wide / 2, y + 24)):
            box = (left, middle - 8, left + wide, middle + 8)
            inside = box[0] > 0 and box[1] > 0 and box[2] < _PANEL and box[3] < view.height
            if inside and not any(box[0] < t[2] and box[2] > t[0] and box[1] < t[3] and box[3] > t[1] for t in taken):
                taken.append(box)
                names.append(_text(name, left + wide / 2, middle + 4.5, 12.5, weight=600, anchor="middle", halo=True))
                break
    return signs + names


def _head(at: Point, tone: str) -> str:
    x, y = at
    return (
        f'<g transform="translate({x:.1f} {y:.1f})"><circle r="15" fill="{tone}" opacity=".22"/>'
        f'<circle r="9.5" fill="{tone}" stroke="#fff" stroke-width="2"/>'
        '<path d="M-5 0H5M0-5V5" stroke="#fff" stroke-width="3"/></g>'
    )


def _table(report: Report, sides: Sequence[Variant], top: float, zh: bool) -> tuple[str, float]:
    """The times of some drives, and the height of it."""
    columns = [_WIDTH - _RIM - 210 * (len(sides) - 1 - n) for n in range(len(sides))]
    told = minutes_zh if zh else minutes
    parts = [
        _text(VARIANTS[side][zh], x, top, 12.5, weight=600, tone=_TONES[side], anchor="end")
        for side, x in zip(sides, columns, strict=True)
    ]
    for n, row in enumerate(report.times, 1):
        y = top + 25 * n
        parts.append(f'<path d="M{_RIM} {y - 17:g}H{_WIDTH - _RIM}" stroke="#e0ddd5"/>')
        parts.append(_text(row.label_zh if zh else row.label_en, _RIM, y, 14))
        for side, x in zip(sides, columns, strict=True):
            value = row.values.get(side)
            text = value if isinstance(value, str) else "—" if value is None else told(value)
            parts.append(_text(text, x, y, 14, weight=600, anchor="end"))
    return "".join(parts), 25.0 * len(report.times) + 24


def _caption(report: Report, other: Variant, moment: float, zh: bool) -> str:
    """One line: the moment, and how far the other ambulance still has to drive."""
    after = minutes_zh(moment - report.zero_s) if zh else minutes(moment - report.zero_s)
    tracks = [] if other == "city" else list(report.rides[other].ambulances.values())
    left_m = max((_left_m(track, moment) for track in tracks), default=0.0)
    if zh:
        rest = f"，另一辆还有 {left_m / 1000:.1f} 公里" if left_m > 50 else ""
        return f"{report.city_zh}，种子 {report.seed}，报警后 {after}{rest}。"
    rest = f"; the other one has {left_m / 1000:.1f} km left" if left_m > 50 else ""
    return f"{report.city_en}, seed {report.seed}, {after} after the call{rest}."


def _left_m(track: Sequence[tuple[float, float, float]], moment: float) -> float:
    return _length([(x, y) for second, x, y in track if second >= moment])


def _position(track: Sequence[tuple[float, float, float]], moment: float) -> Point | None:
    if not track:
        return None
    return next(((x, y) for second, x, y in reversed(track) if second <= moment), (track[0][1], track[0][2]))


def _length(points: Sequence[Point]) -> float:
    return sum(math.dist(a, b) for a, b in pairwise(points))


def _line(points: Sequence[Point], view: View, tone: str, style: str) -> str:
    way = _way([view.to(point) for point in points], 0.8)
    return f'<path d="{way}" fill="none" stroke="{tone}" stroke-linecap="round" stroke-linejoin="round"{style}/>'


def _way(points: Sequence[Point], detail: float) -> str:
    """Path data in tenths of a pixel; points nearer than `detail` to the one before are left out, but never the ends."""
    kept = [points[0]]
    for point in points[1:-1]:
        if math.dist(point, kept[-1]) >= detail:
            kept.append(point)
    x, y = round(kept[0][0] * 10), round(kept[0][1] * 10)
    text = f"M{x / 10:g} {y / 10:g}l"
    for point in [*kept[1:], points[-1]]:
        to_x, to_y = round(point[0] * 10), round(point[1] * 10)
        text += f"{(to_x - x) / 10:g} {(to_y - y) / 10:g} "
        x, y = to_x, to_y
    return text.rstrip()


def _text(
    text: str, x: float, y: float, size: float, *, weight: int = 400, tone: str = "", anchor: str = "start", halo: bool = False
) -> str:
    look = (
        f' font-size="{size:g}"' + (f' font-weight="{weight}"' if weight != 400 else "") + (f' fill="{tone}"' if tone else "")
    )
    look += f' text-anchor="{anchor}"' if anchor != "start" else ""
    look += ' stroke="#fbfaf7" stroke-width="3.5" stroke-linejoin="round" paint-order="stroke"' if halo else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{look}>{_safe(text)}</text>'


def _safe(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _wide(text: str, size: float) -> float:
    """The approximate width of a text. There is no font to measure it with."""
    return sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.57 for c in text) * size


def _wrapped(text: str, size: float, width: float) -> list[str]:
    """Lines of a text; between Chinese characters a line may end anywhere, but not before a full stop or a comma."""
    lines = [""]
    for piece in re.findall(r"[\u2e80-\uffef][，。、：；！？]*|[^\s\u2e80-\uffef]+\s*|\s+", text):
        if lines[-1] and _wide((lines[-1] + piece).rstrip(), size) > width:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines]
