"""The page of the story: the same morning with the plan and with the city, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from citybrain.stories.drawing import Map, Series, chart
from citybrain.stories.rush.check import checks
from citybrain.stories.rush.run import CITY, PLAN, Run
from citybrain.stories.sheet import Sheet, Text

_BORDERS = ((0.6, "var(--bad)", 7.0), (0.4, "var(--warm)", 5.0), (0.0, "var(--good)", 3.0))
"""Share of the time on a road that is lost: its colour, and how wide it is drawn."""
_MARGIN_M = 60.0
_NAMES = {PLAN: Text("with the fixed plan", "固定配时"), CITY: Text("with the city", "城市大脑")}


def write(run: Run, path: Path) -> int:
    """Writes the page of a run; returns its size in bytes."""
    morning, city = run.morning, run.city
    place = Text(
        f"{city.title_en}, seed {morning.seed}, {morning.minutes} minutes",
        f"{city.title_zh}，随机种子 {morning.seed}，{morning.minutes} 分钟",
    )
    source = Text(
        f"Streets, signals, plans and traffic: {city.source} The cameras are simulated.",
        f"道路、信号、配时方案与车流来源：{city.source} 摄像头为仿真。",
    )
    sheet = Sheet(place, sentence(run), source)
    caption = Text(
        "Share of their time that vehicles lose on each road: green below 40 %, orange below 60 %, red from 60 % on.",
        "各道路上车辆损失的时间占比：绿色低于 40%，橙色低于 60%，红色 60% 及以上。",
    )
    sheet.beside([(_map(run.lost[which]), _NAMES[which]) for which in (PLAN, CITY)], caption)
    sheet.heading(Text("How many wait", "排队车辆数"))
    sheet.drawing(_chart(run), Text("Vehicles that stand, over the morning", "早高峰期间停驶的车辆数"))
    sheet.heading(Text("What it means", "意味着什么"))
    head = (Text("", ""), _NAMES[PLAN], _NAMES[CITY])
    sheet.table(head, _rows(run))
    sheet.heading(Text("Is it right?", "是否正确？"))
    sheet.checks(checks(run))
    return sheet.write(path)


def sentence(run: Run) -> Text:
    """What came of it, in one sentence."""
    plan, city = run.mean_s(PLAN), run.mean_s(CITY)
    saved_s = plan - city
    if saved_s <= 0:
        return Text(
            f"The same morning twice: {plan:.0f} seconds a trip with the plan, {city:.0f} with the city: no gain.",
            f"同一个早晨：固定配时 {plan:.0f} 秒，城市大脑 {city:.0f} 秒，没有改善。",
        )
    hours = saved_s * run.vehicles / 3600
    return Text(
        f"The same morning twice: a trip takes {city:.0f} seconds instead of {plan:.0f}: {saved_s:.0f} seconds "
        f"less for each person in {run.vehicles:,} vehicles, together {hours:,.0f} hours.",
        f"同一个早晨：平均出行时间由 {plan:.0f} 秒降至 {city:.0f} 秒，"
        f"{run.vehicles:,} 辆车里每人少花 {saved_s:.0f} 秒，合计 {hours:,.0f} 小时。",
    )


def happened(run: Run) -> list[tuple[str, Text]]:
    """What a person reads in the terminal, line by line."""
    return [("", Text(f"{what.english}: {plan}; {city}", "")) for what, plan, city in _rows(run)]


def _rows(run: Run) -> list[tuple[Text, str, str]]:
    plan, city = run.results[PLAN], run.results[CITY]

    def both(what: Text, of: str, unit: str = "") -> tuple[Text, str, str]:
        before, now = (f"{one['others'][of]:,.1f}{unit}" if unit else str(one["others"][of]) for one in (plan, city))
        return what, before, now

    return [
        both(
            Text("mean time a trip takes, its delay of departure included", "平均出行时间（含发车延误）"), "mean_time_s", " s"
        ),
        both(Text("of it lost by standing and slow driving", "其中因停车与慢行损失"), "mean_time_loss_s", " s"),
        both(Text("vehicles", "车辆数"), "vehicles"),
        both(Text("still under way at the end", "结束时仍在途"), "unfinished"),
        both(Text("never got onto the road", "未能驶入路网"), "undeparted"),
        (
            Text("taken off the road after standing for 5 minutes", "停滞 5 分钟后被移除"),
            str(plan["teleports"]["others"]),
            str(city["teleports"]["others"]),
        ),
        (Text("commands to signals", "信号指令"), "–", str(city["signals"]["commands"])),
    ]


def _map(lost: Mapping[str, Any]) -> str:
    shapes = {edge: road["shape"] for edge, road in lost["roads"].items()}
    xs = [x for shape in shapes.values() for x, _ in shape]
    ys = [y for shape in shapes.values() for _, y in shape]
    drawn = Map((min(xs) - _MARGIN_M, min(ys) - _MARGIN_M), (max(xs) + _MARGIN_M, max(ys) + _MARGIN_M))
    shares = {edge: road["lost_s"] / road["vehicles_s"] for edge, road in lost["roads"].items() if road["vehicles_s"]}
    for edge, shape in shapes.items():
        if edge not in shares:
            drawn.line(shape, "var(--line)", wide=2)
    # The worst on top.
    for edge, share in sorted(shares.items(), key=lambda one: one[1]):
        colour, wide = next((colour, wide) for border, colour, wide in _BORDERS if share >= border)
        drawn.line(shapes[edge], colour, wide=wide)
    return drawn.svg()


def _chart(run: Run) -> str:
    colours = {PLAN: "var(--bad)", CITY: "var(--blue)"}
    series = [
        Series(which, colours[which], [(second / 3600, float(waiting)) for second, _, waiting in run.lost[which]["over_time"]])
        for which in (PLAN, CITY)
    ]
    return chart(series, "vehicles 辆")
