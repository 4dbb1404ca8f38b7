"""The page of the story: where it was, what was measured, what the city made of it, and whether that is right."""

from __future__ import annotations

from pathlib import Path

from citybrain.simulation import air
from citybrain.simulation.air import STEP_S, Place
from citybrain.stories.drawing import Map, Series, chart
from citybrain.stories.pollution.check import Day, checks
from citybrain.stories.pollution.plan import BEGIN_S, STATIONS
from citybrain.stories.sheet import Sheet, Text

_HALF_M = 2000.0
_CELL_M = 100.0
_MOST = 4
_COLOURS = ("var(--blue)", "var(--warm)", "var(--good)", "var(--soft)")
_HOURS = Text(
    "Hours of three stations of Beijing: Beijing Multi-Site Air Quality, UCI Machine Learning Repository, set 501, CC BY 4.0; "
    "played at places of Hangzhou. The source, its firm and the sensors of the park are invented.",
    "三个北京站点的小时数据：Beijing Multi-Site Air Quality，UCI 机器学习库第 501 号，CC BY 4.0；"
    "在杭州的地点回放。污染源、企业与园区传感器均为虚构。",
)


def write(day: Day, path: Path) -> int:
    """Writes the page of a day; returns its size in bytes."""
    sheet = Sheet(Text(f"Industrial park, seed {day.plan.seed}", f"工业园区，随机种子 {day.plan.seed}"), sentence(day), _HOURS)
    sheet.drawing(_map(day), _under_map(day))
    sheet.heading(Text("What the sensors read", "传感器读数"))
    sheet.drawing(
        _chart(day),
        Text("SO2 at the sensors that read most, µg/m³, five-minute means", "读数最高的传感器的 SO2 五分钟均值，µg/m³"),
    )
    sheet.heading(Text("From the first reading to the verdict", "从首次读数到结论"))
    sheet.table([Text("time", "时间"), Text("what", "经过")], [(clock(second), text) for second, text in way(day)])
    if day.trace is not None:
        sheet.heading(Text("Who it may be", "可能的来源"))
        sheet.paragraph(Text(day.trace.statement, day.trace.statement))
        head = (
            Text("source", "污染源"),
            Text("left unexplained if it alone is it", "若仅为此源，未能解释的部分"),
            Text("g/s", "克/秒"),
        )
        sheet.table(head, [(one.name, f"{one.residual:.0%}", f"{one.rate_g_s:.0f}") for one in day.trace.sources])
    sheet.heading(Text("Is it right?", "是否正确？"))
    sheet.checks(checks(day))
    return sheet.write(path)


def sentence(day: Day) -> Text:
    """What came of it, in one sentence."""
    release = day.plan.park.release
    if release is None:
        raised = len(day.suspected)
        if not raised:
            return Text(
                "Nothing was wrong on this day, and the city raised nothing.", "这一天一切正常，城市大脑没有发出任何告警。"
            )
        return Text(
            f"Nothing was wrong on this day, and the city raised {raised} alarms.",
            f"这一天一切正常，城市大脑却误报 {raised} 次。",
        )
    if not day.found:
        return Text("A hidden source was not noticed.", "隐藏的污染源未被发现。")
    minutes = (day.noticed(day.verified[0]) - release.begin_s) / 60
    if day.apart_m is None:
        return Text(f"A hidden source was noticed after {minutes:.0f} minutes.", f"隐藏的污染源在 {minutes:.0f} 分钟后被发现。")
    return Text(
        f"A hidden source was noticed after {minutes:.0f} minutes, and traced to {day.apart_m:.0f} m from where it is.",
        f"隐藏的污染源在 {minutes:.0f} 分钟后被发现，溯源地点与真实地点相距 {day.apart_m:.0f} 米。",
    )


def way(day: Day) -> list[tuple[float, Text]]:
    """What happened, in order: seconds of the day, and what."""
    found: list[tuple[float, Text]] = []
    release, culprit = day.plan.park.release, day.plan.culprit
    if release is not None:
        who, zh = (culprit.firm, culprit.firm) if culprit is not None else ("Somebody who is in no register", "未登记者")
        rate = f"{release.rate_g_s:.0f}"
        begins = Text(
            f"{who} begins to let out {rate} g of SO2 a second; nobody has told the city",
            f"{zh} 开始每秒排放 {rate} 克 SO2，无人告知城市大脑",
        )
        found.append((release.begin_s, begins))
    for one in day.suspected:
        reading = f"{one.reading.station_id}: {one.reading.value:.0f} µg/m³, limit {one.limit:.0f} ({one.standard})"
        found.append((day.second(one.reading.measured_at) + STEP_S, Text(f"Suspected at {reading}", f"疑似超标 {reading}")))
    for verified in day.verified:
        by = ", ".join(verified.station_ids)
        found.append((day.noticed(verified), Text(f"Verified by {by}", f"经 {by} 核实")))
    if day.trace is not None and day.traced_s is not None:
        found.append((day.traced_s, Text(f"Traced: {day.trace.statement}", f"溯源：{day.trace.statement}")))
    return sorted(found + day.told, key=lambda line: line[0])


def clock(second: float) -> str:
    """A second of the day as people say it, or of the next day."""
    day, rest = divmod(int(second), 86_400)
    return f"{rest // 3600:02}:{rest % 3600 // 60:02}{' +1 d' if day else ''}"


def _map(day: Day) -> str:
    drawn = Map((-_HALF_M - 200, -_HALF_M - 100), (_HALF_M + 200, _HALF_M + 100))
    release, park = day.plan.park.release, day.plan.park
    if release is not None:
        wind = park.wind(day.traced_s or release.begin_s)
        steps = [(-_HALF_M + _CELL_M / 2) + _CELL_M * n for n in range(int(2 * _HALF_M / _CELL_M))]
        for east in steps:
            for north in steps:
                added = 1e6 * release.rate_g_s * air.spread(release.place, Place(east, north), release.height_m, wind)
                if added > 20:
                    drawn.cell(east, north, _CELL_M, "var(--warm)", min(0.75, 0.06 + added / 2000))
    wind = park.wind(day.traced_s or BEGIN_S)
    drawn.arrow(-1900, -1500, wind.from_deg + 180, 350, "var(--soft)")
    drawn.label(-1800, -1650, f"wind 风 {wind.speed_m_s:.1f} m/s")
    for name, place in STATIONS.items():
        drawn.spot(place.east_m, place.north_m, "var(--good)", f"{name} station 站", size=6)
    highest = _highest(day)
    for name, place in park.sensors.items():
        drawn.spot(
            place.east_m,
            place.north_m,
            "var(--blue)",
            name if name in highest else "",
            size=4 + min(10.0, highest.get(name, 0) / 300),
        )
    for stack in day.plan.stacks:
        drawn.spot(stack.place.east_m, stack.place.north_m, "var(--ink)", stack.firm, size=4)
    if release is not None:
        drawn.spot(release.place.east_m, release.place.north_m, "var(--bad)", size=13, ring=True)
    if (traced := day.traced) is not None:
        for slope in (70, -70):
            ends = [(traced.east_m + side * 70, traced.north_m + side * slope) for side in (-1, 1)]
            drawn.line(ends, "var(--bad)", wide=4)
    return drawn.svg()


def _under_map(day: Day) -> Text:
    if day.plan.park.release is None:
        return Text("The park, its stations and sensors.", "园区、站点与传感器。")
    return Text(
        "Red ring: where the source is. Red cross: where the city traced it to. Orange: what it adds there in mean wind.",
        "红圈：真实污染源。红叉：城市大脑的溯源结果。橙色：平均风况下地面增加的浓度。",
    )


def _highest(day: Day) -> dict[str, float]:
    """The sensors that read most, with their highest value; the highest first."""
    most: dict[str, float] = {}
    for reading in day.sent:
        if reading.sensor_id == "SO2" and reading.station_id in day.plan.park.sensors:
            most[reading.station_id] = max(most.get(reading.station_id, 0.0), reading.value)
    return dict(sorted(most.items(), key=lambda one: -one[1])[:_MOST])


def _chart(day: Day) -> str:
    series = []
    for colour, name in zip(_COLOURS, _highest(day), strict=False):
        points = [
            ((day.second(reading.measured_at) + STEP_S / 2) / 3600, reading.value)
            for reading in day.sent
            if reading.sensor_id == "SO2" and reading.station_id == name
        ]
        series.append(Series(name, colour, points))
    marks: list[tuple[float, str]] = []
    if day.plan.park.release is not None:
        marks.append((day.plan.park.release.begin_s / 3600, "begins 开始"))
    if day.traced_s is not None:
        marks.append((day.traced_s / 3600, "traced 溯源"))
    limit = (day.suspected[0].limit, f"limit 限值 {day.suspected[0].standard}") if day.suspected else None
    return chart(series, "µg/m³", limit=limit, marks=marks)
