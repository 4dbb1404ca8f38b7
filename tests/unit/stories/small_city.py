"""A made-up city of straight streets, with two drives of one call, for the tests of what is drawn."""

from __future__ import annotations

import random
from typing import Any

from citybrain.stories.emergency.report import Place, Point, Report, RideTrack, TimeRow
from citybrain.stories.emergency.timeline import Line

EPOCH_S = 1_767_542_400.0
BEGIN_S = 300.0
_BLOCK_M = 120.0
_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_DEPARTMENTS = ("emergency_command", "health", "traffic", "district_hub", "sagas")


def city(*, blocks: int = 6, drive_s: tuple[int, int] = (420, 300), events: int = 12, **changed: Any) -> Report:
    """A report on `blocks` × `blocks` blocks; `drive_s` are the seconds of the drive without and with the city."""
    generator = random.Random(7)
    without, helped = (_track(blocks, seconds) for seconds in drive_s)
    signals = _signals(blocks)
    far = (blocks - 1) * _BLOCK_M
    values: dict[str, Any] = {
        "city_en": "Checkerboard",
        "city_zh": "棋盘城",
        "seed": 7,
        "begin_s": BEGIN_S,
        "end_s": BEGIN_S + max(drive_s) + 20,
        "city_epoch_s": EPOCH_S,
        "roads": _roads(blocks, generator),
        "signals": signals,
        "rides": {
            "ordinary": _ride(without, drive_s[0], signals, generator),
            "city": _ride(helped, drive_s[1], signals, generator),
        },
        "places": [
            Place("station", "Station 1", "一号急救站", 0.0, 0.0),
            Place("scene", "The patient", "患者", far, 0.0),
            Place("hospital", "First Hospital", "第一医院", far, far),
        ],
        "lines": [_line(number, events, drive_s[1], generator) for number in range(events)],
        "trace": _trace(events),
        "times": [
            TimeRow("Call to patient", "报警到患者", {"ordinary": drive_s[0] / 2, "city": drive_s[1] / 2}),
            TimeRow("Call to hospital", "报警到医院", {"ordinary": float(drive_s[0]), "city": float(drive_s[1])}),
            TimeRow("Handed over", "移交", {"ordinary": None, "city": 5.5}),
            TimeRow("Red lights run", "闯红灯", {"ordinary": "0 / 23", "city": "1 / 23"}),
        ],
        "sentence_en": "With the city's help the patient was at the hospital door 2 min 00 s sooner.",
        "sentence_zh": "有了城市大脑，患者提前 2 分 00 秒到达医院。",
        "kill_en": "",
        "kill_zh": "",
        "source": "Made up for a test; free to use.",
    }
    return Report(**{**values, **changed})


def _roads(blocks: int, generator: random.Random) -> list[list[Point]]:
    """Every street between two crossings, with a point in its middle that is a little off."""
    roads: list[list[Point]] = []
    for row in range(blocks):
        for column in range(blocks):
            x, y = column * _BLOCK_M, row * _BLOCK_M
            off = generator.uniform(-4, 4)
            roads.append([(x, y), (x + 61.234, y + off), (x + _BLOCK_M, y)])
            roads.append([(x, y), (x + off, y + 61.234), (x, y + _BLOCK_M)])
    return roads


def _signals(blocks: int) -> dict[str, list[Point]]:
    return {
        f"crossing-{column}-{row}": [
            (column * _BLOCK_M + dx, row * _BLOCK_M + dy) for dx, dy in ((-9, -3), (-9, -3), (3, -9), (3, -9), (9, 3), (-3, 9))
        ]
        for row in range(0, blocks, 2)
        for column in range(0, blocks, 2)
    }


def _track(blocks: int, seconds: int) -> list[tuple[float, float, float]]:
    """Along the southern street to the patient, then north to the hospital."""
    far = (blocks - 1) * _BLOCK_M
    track = []
    for second in range(seconds + 1):
        driven = 2 * far * second / seconds
        track.append((BEGIN_S + second, round(min(driven, far), 2), round(max(0.0, driven - far), 2)))
    return track


def _ride(
    track: list[tuple[float, float, float]], seconds: int, signals: dict[str, list[Point]], generator: random.Random
) -> RideTrack:
    states = {}
    for signal_id in signals:
        second, changes = BEGIN_S - generator.randrange(30), []
        while second < BEGIN_S + seconds:
            changes += [(second, "GGrrGr"), (second + 25, "yyrryr"), (second + 29, "rrGGrG"), (second + 50, "rryyry")]
            second += 54
        states[signal_id] = changes
    return RideTrack({"ambulance-1a": track}, states, scene_s=BEGIN_S + seconds / 2, hospital_s=BEGIN_S + seconds)


def _line(number: int, of: int, seconds: int, generator: random.Random) -> Line:
    department = _DEPARTMENTS[number % len(_DEPARTMENTS)]
    signal = department == "traffic" and number > len(_DEPARTMENTS)
    return Line(
        at=EPOCH_S + BEGIN_S + seconds * number / of,
        department=department,
        english=f"Signal crossing-{number} turns green for ambulance-1a" if signal else f"Step {number} is done",
        chinese=f"信号灯 crossing-{number} 放行" if signal else f"第 {number} 步完成",
        event={
            "id": f"event-{number}",
            "type": "citybrain.traffic.v1.SignalCommanded" if signal else "citybrain.health.v1.AmbulanceReserved",
            "stream": f"{department}/{generator.randrange(16**8):08x}",
            "version": number + 1,
            "cause": f"event-{number // 2}" if number else "",
            "actor": "operator-1" if number % 3 == 0 else "",
            "trace": f"00-{_TRACE}-{number:016x}-01",
            "content": {
                "incidentId": "incident-1",
                "ambulanceId": "ambulance-1a",
                "route": {"edgeIds": [f"{n}#{number}" for n in range(20)], "lengthM": 2345.5, "travelTimeS": 210.25},
            },
        },
    )


def _trace(count: int) -> list[dict[str, Any]]:
    """One tree: a request, and a span below it for each line (none for the last); attributes as real spans have them."""
    children = [_span(number, 5.0 + number, 2.5 + number / 4, []) for number in range(1, max(1, count - 1))]
    return [_span(0, 0.0, 60.0 + count, children)]


def _span(number: int, start_ms: float, duration_ms: float, children: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "service": ("emergency-command", "health", "traffic", "district-hub", "sagas")[number % 5],
        "name": f"citybrain.health.v1.HealthService/Step{number}",
        "kind": "server",
        "traceId": _TRACE,
        "spanId": f"{number:016x}",
        "parentSpanId": "" if number == 0 else f"{0:016x}",
        "parentMissing": False,
        "startedAfterMs": start_ms,
        "durationMs": duration_ms,
        "status": "error" if number == 4 else "ok",
        "statusMessage": "no bed is free" if number == 4 else "",
        "attributes": {"citybrain.incident_id": "incident-1", "rpc.system": "grpc", "rpc.method": f"Step{number}"},
        "events": [],
        "links": [],
        "children": children,
    }
