"""The page of the story: the network, the pressures, what the city made of them, and whether that is right."""

from __future__ import annotations

from pathlib import Path

from citybrain.observability.words import counted
from citybrain.simulation.pipes import STEP_S
from citybrain.stories.burst.check import Run, checks
from citybrain.stories.burst.plan import BEGIN_H
from citybrain.stories.drawing import Map, Series, chart
from citybrain.stories.sheet import Sheet, Text

_SOURCE = Text(
    "The network is Net3, an example of EPANET (US EPA), as WNTR ships it. Its place, its sensors and its burst are invented.",
    "管网为 EPANET（美国环保署）的示例 Net3，由 WNTR 附带。其位置、传感器与爆管均为虚构。",
)
_EACH_M = 150.0
_MARGIN = 2.0
_MOST = 4
_COLOURS = ("var(--blue)", "var(--warm)", "var(--good)", "var(--soft)")


def write(run: Run, path: Path) -> int:
    """Writes the page of a run; returns its size in bytes."""
    sheet = Sheet(Text(f"Water network, seed {run.plan.seed}", f"供水管网，随机种子 {run.plan.seed}"), sentence(run), _SOURCE)
    sheet.drawing(_map(run), _under_map(run))
    sheet.heading(Text("What the sensors show", "传感器压力"))
    shown = Text("Pressure against what it would be without a leak, in metres of water", "压力与无漏损时之差，米水柱")
    sheet.drawing(_chart(run), shown)
    sheet.heading(Text("From the pressures to the customers", "从压力到用户"))
    sheet.table([Text("time", "时间"), Text("what", "经过")], [(clock(second), text) for second, text in way(run)])
    if run.leaks:
        head = (Text("pipe", "管段"), Text("misfit", "失配"), Text("litres a second", "升/秒"))
        rows = [(one.pipe_id, f"{one.misfit:.1f}", f"{one.litres_per_second:.0f}") for one in run.leaks[0].candidates[:10]]
        sheet.table(head, rows)
    sheet.heading(Text("Is it right?", "是否正确？"))
    sheet.checks(checks(run))
    return sheet.write(path)


def sentence(run: Run) -> Text:
    """What came of it, in one sentence."""
    if run.plan.leak is None:
        hours, raised = run.plan.hours - BEGIN_H, len(run.noticed_s)
        if not raised:
            return Text(
                f"{hours} quiet hours, and the city raised nothing.", f"{hours} 小时一切正常，城市大脑没有发出任何告警。"
            )
        return Text(
            f"{hours} quiet hours, and the city raised {raised} alarms.", f"{hours} 小时一切正常，城市大脑却误报 {raised} 次。"
        )
    if run.steps_to_find is None:
        return Text("A pipe burst, and nobody noticed it.", "一条管段爆裂，但未被发现。")
    if not run.leaks:
        return Text("A pipe burst. It was suspected, and not confirmed.", "一条管段爆裂，有疑似告警，但未被确认。")
    minutes, isolation = run.steps_to_find * STEP_S // 60, run.leaks[0].isolation
    valves, cut = len(isolation.valves), len(isolation.customer_node_ids)
    return Text(
        f"A pipe burst. It was noticed within {minutes} minutes; {counted(valves, 'valve')} to shut it off, and customers told "
        f"at {counted(cut, 'place')}.",
        f"一条管段爆裂，{minutes} 分钟内被发现；关闭 {valves} 个阀门即可隔离，{cut} 处用户已获通知。",
    )


def way(run: Run) -> list[tuple[float, Text]]:
    """What happened, in order: seconds of the model, and what."""
    found: list[tuple[float, Text]] = []
    if (leak := run.plan.leak) is not None:
        text = Text(
            f"Pipe {leak.pipe} bursts: about {leak.flow_l_s:.0f} litres a second; nobody has told the city",
            f"管段 {leak.pipe} 爆裂：每秒约 {leak.flow_l_s:.0f} 升，无人告知城市大脑",
        )
        found.append((leak.begin_s, text))
    return sorted(found + run.happened, key=lambda line: line[0])


def clock(second: float) -> str:
    """A second of the model as people say it, with the day it is in where that is not the first."""
    day, rest = divmod(int(second), 86_400)
    return f"{f'{day}d ' if day else ''}{rest // 3600:02}:{rest % 3600 // 60:02}"


def _map(run: Run) -> str:
    pipes = run.plan.pipes
    places = {node: (x * _EACH_M, y * _EACH_M) for node, (x, y) in pipes.coordinates.items()}
    xs, ys = [x for x, _ in places.values()], [y for _, y in places.values()]
    edge = _MARGIN * _EACH_M
    drawn = Map((min(xs) - edge, min(ys) - edge), (max(xs) + edge, max(ys) + edge))
    isolation = run.leaks[0].isolation if run.leaks else None
    cut = set(isolation.pipe_ids) if isolation is not None else set()
    for link, (one, other) in pipes.links.items():
        drawn.line([places[one], places[other]], "var(--bad)" if link in cut else "var(--soft)", wide=5 if link in cut else 2)
    for node in run.plan.sensors:
        drawn.spot(*places[node], "var(--blue)", size=5)
    for node in pipes.supplies:
        drawn.spot(*places[node], "var(--good)", node, size=8)
    if isolation is not None:
        for node in isolation.customer_node_ids:
            drawn.spot(*places[node], "var(--warm)", size=6)
        for valve in isolation.valves:
            ends = pipes.links[valve.pipe_id]
            near, far = (places[end] for end in (ends if valve.node_id == ends[0] else ends[::-1]))
            drawn.spot(near[0] + (far[0] - near[0]) * 0.2, near[1] + (far[1] - near[1]) * 0.2, "var(--ink)", size=5)
    if run.plan.leak is not None:
        begin, end = (places[node] for node in pipes.links[run.plan.leak.pipe])
        drawn.spot((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2, "var(--bad)", size=13, ring=True)
    return drawn.svg()


def _under_map(run: Run) -> Text:
    if run.plan.leak is None:
        return Text(
            "The network. Blue: pressure sensors. Green: tanks and sources.", "管网。蓝色：压力传感器。绿色：水箱与水源。"
        )
    return Text(
        "Red ring: the burst. Red: pipes cut off. Black: valves to shut. Orange: customers without water. Blue: sensors.",
        "红圈：爆裂处。红色：被隔离的管段。黑点：应关闭的阀门。橙色：停水用户。蓝色：压力传感器。",
    )


def _chart(run: Run) -> str:
    begin = run.plan.leak.begin_s if run.plan.leak is not None else run.plan.hours * 3600
    usual = {node: run.expected[node] for node in run.pressures}
    apart = {
        node: [(second, value - usual[node][second]) for second, value in points] for node, points in run.pressures.items()
    }
    most = sorted(apart, key=lambda node: -max(abs(value) for _, value in apart[node]))[:_MOST]
    series = [
        Series(node, colour, [(second / 3600, value) for second, value in apart[node]])
        for colour, node in zip(_COLOURS, most, strict=False)
    ]
    marks = [(begin / 3600, "burst 爆管")] if run.plan.leak is not None else []
    marks += [(second / 3600, "found 发现") for second in run.noticed_s[:1]]
    return chart(series, "m", marks=marks)
