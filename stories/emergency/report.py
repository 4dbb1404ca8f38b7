"""The report of a demo run: one HTML file that needs no network, with the street map, both rides and the departments' timeline.

Seconds are seconds of the simulation, coordinates metres of the road network's plane with y upwards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from citybrain.stories.emergency.timeline import DEPARTMENTS, Line

Point = tuple[float, float]
Variant = Literal["ordinary", "bluelight", "city"]
PlaceKind = Literal["station", "scene", "hospital"]

LIMIT_BYTES = 2_000_000
VARIANTS: Mapping[Variant, tuple[str, str]] = {
    "ordinary": ("Without the city", "没有城市大脑"),
    "bluelight": ("Siren alone", "仅鸣笛闪灯"),
    "city": ("With the city", "有城市大脑"),
}
"""The ways in which the same call is driven, in the order in which they are shown, with their names in English and Chinese."""

_TEMPLATE = Path(__file__).with_name("report.html")
_DATA_MARK = "__REPORT_DATA__"
_THINNING = (1, 2, 4)
# A signal belongs to a ride that passes this close (in metres) to one of its stop lines.
_PASSED_M = 12.0
# Attributes of spans that the page shows. Others would only make the file larger.
_SPAN_KEYS = (
    "service",
    "name",
    "traceId",
    "spanId",
    "parentMissing",
    "startedAfterMs",
    "durationMs",
    "status",
    "statusMessage",
)


class ReportError(Exception):
    """The report cannot be written: it would be too large, or a value in it is not a number."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place with its name, in metres."""

    kind: PlaceKind
    label_en: str
    label_zh: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class RideTrack:
    """One drive of the call: where its ambulances were (second, x, y), and what the signals showed (changes only).

    `scene_s` and `hospital_s` are the seconds in which the ambulance reached the patient and the hospital door;
    None where it did not within the run.
    """

    ambulances: Mapping[str, Sequence[tuple[float, float, float]]]
    signal_states: Mapping[str, Sequence[tuple[float, str]]]
    scene_s: float | None = None
    hospital_s: float | None = None


@dataclass(frozen=True, slots=True)
class TimeRow:
    """One measured time of all drives, in seconds, or what was counted, as a text; None where it was not reached."""

    label_en: str
    label_zh: str
    values: Mapping[Variant, float | str | None]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page and the picture show.

    `signals` has the stop-line point for each letter of a signal's state. A timeline's line is at second
    `line.at - city_epoch_s`. `trace` is what `trace_tree.as_json` gives. `kill_en` and `kill_zh` may be empty.
    `source` says where the road network comes from, and its terms. `call_s` is the second of the call (None: `begin_s`),
    `left` the drive that is compared with the city's, `utc_offset_s` what the city's clock is ahead of UTC.
    """

    city_en: str
    city_zh: str
    seed: int
    begin_s: float
    end_s: float
    city_epoch_s: float
    roads: Sequence[Sequence[Point]]
    signals: Mapping[str, Sequence[Point]]
    rides: Mapping[Variant, RideTrack]
    places: Sequence[Place]
    lines: Sequence[Line]
    trace: Sequence[Mapping[str, Any]]
    times: Sequence[TimeRow]
    sentence_en: str
    sentence_zh: str
    kill_en: str
    kill_zh: str
    source: str
    call_s: float | None = None
    left: Variant = "ordinary"
    utc_offset_s: int = 8 * 3600

    @property
    def zero_s(self) -> float:
        """The second from which times are counted for people: that of the call."""
        return self.begin_s if self.call_s is None else self.call_s


def write(report: Report, path: Path) -> int:
    """Writes the page and returns its size in bytes.

    Where it is too large, tracks are thinned to every 2nd, then every 4th second. Raises ReportError where that is not enough,
    or where a value is not a finite number; nothing is written then.
    """
    template = _TEMPLATE.read_text(encoding="utf-8")
    before, mark, after = template.partition(_DATA_MARK)
    if not mark:
        raise ReportError("the template has no place for the data")
    size = 0
    for every_s in _THINNING:
        page = (before + _embedded(_data(report, every_s)) + after).encode("utf-8", "replace")
        size = len(page)
        if size < LIMIT_BYTES:
            path.write_bytes(page)
            return size
    raise ReportError(f"the report would have {size} bytes, and {LIMIT_BYTES} are allowed: give fewer roads, signals or events")


def compared(report: Report) -> Variant | None:
    """The drive to show on the left: the one wanted, or else any other than the city's; None where there is no other."""
    others: list[Variant] = [variant for variant in VARIANTS if variant in report.rides and variant != "city"]
    return report.left if report.left in others else next(iter(others), None)


def signals_passed(report: Report) -> list[str]:
    """The signals by whose stop lines an ambulance of any drive passes, sorted."""
    cells: set[tuple[int, int]] = set()
    for ride in report.rides.values():
        for track in ride.ambulances.values():
            for (_, x0, y0), (_, x1, y1) in pairwise(track):
                steps = max(1, math.ceil(math.dist((x0, y0), (x1, y1)) / _PASSED_M))
                # A vehicle that SUMO put back elsewhere passed nothing in between.
                for step in range(steps + 1) if steps < 10 else ():
                    cells.add(_cell(x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps))
    near = {
        signal_id: any(not cells.isdisjoint(_around(*point)) for point in points)
        for signal_id, points in report.signals.items()
    }
    return sorted(signal_id for signal_id, passed in near.items() if passed)


def _cell(x: float, y: float) -> tuple[int, int]:
    return math.floor(x / _PASSED_M), math.floor(y / _PASSED_M)


def _around(x: float, y: float) -> set[tuple[int, int]]:
    column, row = _cell(x, y)
    return {(column + i, row + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON for the inside of a script element: nothing in it can end the element or begin another."""
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ReportError(f"a value of the report is not a finite number: {error}") from None
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _data(report: Report, every_s: int) -> dict[str, Any]:
    """What the page's script reads. Coordinates are decimetres, and each point but the first says only its difference."""
    if not all(math.isfinite(number) for number in _numbers(report)):
        raise ReportError("a coordinate or a second of the report is not a finite number")
    return {
        "city": [report.city_en, report.city_zh],
        "seed": report.seed,
        "begin": report.begin_s,
        "end": report.end_s,
        "call": report.zero_s,
        "clock": report.city_epoch_s + report.utc_offset_s,
        "left": compared(report),
        "variants": {variant: names for variant, names in VARIANTS.items() if variant in report.rides},
        "departments": DEPARTMENTS,
        "roads": [_differences(road) for road in report.roads],
        "signals": {signal_id: _differences(points) for signal_id, points in report.signals.items()},
        "passed": signals_passed(report),
        "rides": {variant: _ride(ride, every_s) for variant, ride in report.rides.items()},
        "places": [
            {"kind": p.kind, "label": [p.label_en, p.label_zh], "at": _differences([(p.x, p.y)])} for p in report.places
        ],
        "lines": [
            {
                "second": round(line.at - report.city_epoch_s, 2),
                "department": line.department,
                "text": [line.english, line.chinese],
                "event": line.event,
            }
            for line in report.lines
        ],
        "trace": [_span(root) for root in report.trace],
        "times": [{"label": [row.label_en, row.label_zh], "values": row.values} for row in report.times],
        "sentence": [report.sentence_en, report.sentence_zh],
        "kill": [report.kill_en, report.kill_zh],
        "source": report.source,
    }  # fmt: skip


def _numbers(report: Report) -> list[float]:
    found = [report.begin_s, report.end_s, report.city_epoch_s, report.zero_s]
    found += [value for road in report.roads for point in road for value in point]
    found += [value for points in report.signals.values() for point in points for value in point]
    found += [value for place in report.places for value in (place.x, place.y)]
    found += [line.at for line in report.lines]
    for ride in report.rides.values():
        found += [value for track in ride.ambulances.values() for sample in track for value in sample]
        found += [second for states in ride.signal_states.values() for second, _ in states]
    return found


def _differences(points: Sequence[Sequence[float]]) -> list[int]:
    """Rows of numbers as tenths in one flat list: the first row, then each row's difference to the one before."""
    flat: list[int] = []
    last: list[int] = []
    for point in points:
        tenths = [round(value * 10) for value in point]
        flat += [a - b for a, b in zip(tenths, last, strict=True)] if last else tenths
        last = tenths
    return flat


def _ride(ride: RideTrack, every_s: int) -> dict[str, Any]:
    return {
        "ambulances": {name: _differences(_thinned(track, every_s)) for name, track in ride.ambulances.items()},
        "signals": {signal_id: _states(changes) for signal_id, changes in ride.signal_states.items()},
        "scene": ride.scene_s,
        "hospital": ride.hospital_s,
    }


def _thinned(track: Sequence[tuple[float, float, float]], every_s: int) -> list[tuple[float, float, float]]:
    """Samples that are at least `every_s` apart, with the first and the last."""
    kept: list[tuple[float, float, float]] = []
    for sample in track:
        if not kept or sample[0] - kept[-1][0] >= every_s:
            kept.append(sample)
    if track and kept[-1] != track[-1]:
        kept.append(track[-1])
    return kept


def _states(changes: Sequence[tuple[float, str]]) -> dict[str, Any]:
    """The states that occur, and (tenths of seconds since the change before, number of the state) in one flat list."""
    texts = list(dict.fromkeys(state for _, state in changes))
    numbers = {state: number for number, state in enumerate(texts)}
    flat: list[int] = []
    last = 0
    for second, state in changes:
        tenths = round(second * 10)
        flat += [tenths - last, numbers[state]]
        last = tenths
    return {"states": texts, "changes": flat}


def _span(node: Mapping[str, Any]) -> dict[str, Any]:
    span = {key: node.get(key) for key in _SPAN_KEYS}
    return {**span, "links": node.get("links", []), "children": [_span(child) for child in node.get("children", [])]}
