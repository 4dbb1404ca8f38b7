"""Whether the city saw the surge, acted on each level and gave all back.

Judged from what was played, by code that no service uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from citybrain.safety.v1.events_pb2 import JointCommandCalled
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import peaks_pb2 as peaks

from citybrain.simulation import crowd
from citybrain.simulation.crowd_run import COUNTED_S
from citybrain.simulation.moments import MIDNIGHT
from citybrain.stories.crowd.plan import Plan
from citybrain.stories.sheet import Check, Text

SOON_S = 150.0
"""So soon after a count a level is acted on: the minute has to be over, and the city has 15 s for it."""
BOUNDS = {80: (0.8, 0.7), 90: (0.9, 0.8), 100: (1.0, 0.9)}
"""Level → the shares of what a site holds at which it is reached, and below which it is left."""
AHEAD_H = 18
"""So many hours ahead at least the city knows of a show of every week."""
TOUCH, DANGER = 3.57, 5.55
"""Persons a square metre."""
_KINDS = {
    80: peaks.MEASURE_KIND_SUGGEST_ELSEWHERE, 90: peaks.MEASURE_KIND_PAUSE_BOOKING, 100: peaks.MEASURE_KIND_STOP_ENTRY,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute. By site: who was counted at its beginning, in all and in the narrow part; who was let in and turned away in it;
    and where nobody was let in.
    """

    number: int
    people: dict[str, int]
    narrow: dict[str, int]
    let_in: dict[str, float]
    turned_away: dict[str, float]
    stopped: frozenset[str]


@dataclass(slots=True)
class Order:
    """A measure, with seconds of the day."""

    site_id: str
    kind: peaks.MeasureKind
    at_s: float
    lifted_s: float | None = None


@dataclass(slots=True)
class Day:
    """What the city said on one day, which begins at second `midnight` of the run. Times are seconds of the day."""

    plan: Plan
    midnight: int
    minutes: list[Minute] = field(default_factory=list)
    began: list[tuple[float, ev.PeakBegan]] = field(default_factory=list)
    changed: list[tuple[float, ev.PeakChanged]] = field(default_factory=list)
    retracted: list[ev.PeakRetracted] = field(default_factory=list)
    reviewed: list[peaks.PeakReview] = field(default_factory=list)
    over_at: int = 0
    orders: dict[str, Order] = field(default_factory=dict)
    called: list[tuple[float, JointCommandCalled]] = field(default_factory=list)
    cleared: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    """When metro, buses and signals were asked for something."""
    left: dict[str, int] = field(default_factory=dict)
    """What is not given back at the end, by what it is."""
    told: list[tuple[float, Text]] = field(default_factory=list)
    """What happened: seconds of the day, and what."""

    def closeness(self, minute: Minute, site_id: str) -> float:
        """Persons a square metre in the narrow part of a site."""
        return minute.narrow[site_id] / (crowd.NARROW_M2 * self.plan.capacities[site_id])

    @property
    def site_id(self) -> str:
        """Where the surge is."""
        return self.plan.site.site_id

    @property
    def holds(self) -> int:
        """How many people the site of the surge holds."""
        return self.plan.capacities[self.site_id]

    @property
    def most(self) -> int:
        """The most people who were counted there."""
        return max(one.people[self.site_id] for one in self.minutes)

    @property
    def seen(self) -> bool:
        """Whether the surge was seen."""
        return any(began.place_id == self.site_id for _, began in self.began)

    def ordered(self, kind: peaks.MeasureKind) -> list[Order]:
        """The measures of a kind at the site of the surge."""
        return [one for one in self.orders.values() if (one.site_id, one.kind) == (self.site_id, kind)]


def reached(day: Day) -> Iterator[tuple[int, int, int | None]]:
    """Levels that were reached by what was counted, the minute, and the one in which each was left; None: it was not."""
    for level, (enters, leaves) in BOUNDS.items():
        since: int | None = None
        for minute in day.minutes:
            share = minute.people[day.site_id] / day.holds
            if since is None and share >= enters:
                since = minute.number
            elif since is not None and share < leaves:
                yield level, since, minute.number
                since = None
        if since is not None:
            yield level, since, None


def checks(day: Day) -> list[Check]:
    """All that must hold of a day."""
    if day.plan.lake.surge is None:
        return [
            Check(
                Text("Nothing is wrong, and nothing is raised", "一切正常，不应有任何管控"),
                f"{len(day.began)} peaks 高峰, {len(day.orders)} measures 措施",
                not day.began and not day.orders,
            ),
            Check(Text("Counts are taken all the same", "计数照常进行"), str(len(day.minutes)), len(day.minutes) > 0),
        ]
    levels = list(reached(day))
    ahead = [_foreseen(day, levels)] if day.plan.shows else []
    return [
        *ahead,
        _noticed(day, levels),
        _acted(day, levels),
        _kept_out(day, levels),
        *_apart(day),
        _restored(day),
        _reviewed(day),
    ]


def _foreseen(day: Day, levels: Sequence[tuple[int, int, int | None]]) -> Check:
    """A show of every week is in the history: the city knows of it a day ahead, and is ready before people come."""
    first = 60.0 * min((minute for _, minute, _ in levels), default=0)
    told = [second for second, began in day.began if began.place_id == day.site_id and began.expected.horizon_hours == 24]
    ready = min(day.asked, default=1e9)
    ahead = (first - min(told)) / 3600 if told else 0.0
    return Check(
        Text(
            "A show of every week is expected 18 hours ahead or more, and departments are asked before people come",
            "每周演出提前 18 小时以上预测到，并在游客到来前请求各部门",
        ),
        f"{ahead:.0f} h; asked {(first - ready) / 60:.0f} min before 提前请求" if told else "–",
        ahead >= AHEAD_H and ready < first,
    )


def _noticed(day: Day, levels: Sequence[tuple[int, int, int | None]]) -> Check:
    shows = [minute for _, minute, _ in levels]
    shows += [one.number for one in day.minutes if day.closeness(one, day.site_id) >= TOUCH]
    first = min(shows, default=None)
    at = min((second for second, began in day.began if began.place_id == day.site_id), default=None)
    elsewhere = [began.place_id for _, began in day.began if began.place_id != day.site_id]
    after = None if at is None or first is None else at - 60 * first - COUNTED_S
    return Check(
        Text(
            "The surge is seen within 150 s of the count that shows it, and nowhere else",
            "在计数显示后 150 秒内发现，其他景点无误报",
        ),
        "–" if after is None else f"{after:.0f} s" if after > 0 else f"{-after / 3600:.0f} h ahead 提前",
        after is not None and after <= SOON_S and not elsewhere,
    )


def _acted(day: Day, levels: Sequence[tuple[int, int, int | None]]) -> Check:
    late = []
    for level, since, until in levels:
        orders = [one for one in day.ordered(_KINDS[level]) if one.at_s <= 60 * since + COUNTED_S + SOON_S]
        standing = [one for one in orders if one.lifted_s is None or one.lifted_s > 60 * since]
        # It is not lifted before its level is left.
        early = [one for one in standing if until is None or (one.lifted_s is not None and one.lifted_s < 60 * until)]
        if not standing or early:
            late.append(f"{level} %")
    return Check(
        Text(
            "Each level is acted on within 150 s, and nothing is lifted before it is left",
            "各等级 150 秒内处置，未离开等级不解除",
        ),
        ", ".join(f"{level} %" for level, _, _ in levels) + (f"; not: {', '.join(late)}" if late else ""),
        bool(levels) and not late,
    )


def _kept_out(day: Day, levels: Sequence[tuple[int, int, int | None]]) -> Check:
    """Nobody is let in while that is stopped; and so few are above what the site holds as came until it was."""
    through = sum(one.let_in[day.site_id] for one in day.minutes if day.site_id in one.stopped)
    full = [(since, until) for level, since, until in levels if level == 100]
    open_yet = [
        one.let_in[day.site_id]
        for since, until in full
        for one in day.minutes
        if since - 1 <= one.number < (until or day.plan.end) and day.site_id not in one.stopped
    ]
    late = [since for since, _ in full if any(
        day.site_id not in one.stopped for one in day.minutes if since + 3 <= one.number < since + 6
    )]  # fmt: skip
    most_over = max(0, day.most - day.holds)
    return Check(
        Text(
            "Nobody is let in above 100 %: only those are too many who came before the count was known",
            "超过 100% 后无人入园：超出的仅是计数得知之前进入的游客",
        ),
        f"{through:.0f} let in 放行; {most_over:,} too many 超出, {sum(open_yet):,.0f} came before 此前进入",
        through == 0 and not late and most_over <= sum(open_yet) + 1,
    )


def _apart(day: Day) -> Iterator[Check]:
    close = [(60 * one.number, day.closeness(one, day.site_id)) for one in day.minutes]
    touched = next((at for at, value in close if value >= TOUCH), None)
    danger = next((at for at, value in close if value >= DANGER), None)
    if touched is not None:
        orders = day.ordered(peaks.MEASURE_KIND_DISPERSE)
        after = min((one.at_s for one in orders), default=1e9) - touched - COUNTED_S
        yield Check(
            Text("Where people touch they are led apart within 150 s", "人群接触后 150 秒内疏导"),
            f"{after:.0f} s" if orders else "–",
            after <= SOON_S,
        )
    if danger is not None:
        called = min((second for second, _ in day.called), default=1e9) - danger - COUNTED_S
        opened = max((one.lifted_s or 0 for one in day.ordered(peaks.MEASURE_KIND_STOP_ENTRY)), default=0)
        yield Check(
            Text(
                "Where it is dangerous joint command is called, and entry opens only when a person has cleared it",
                "出现危险时启动联合指挥，须经人工确认后才恢复入园",
            ),
            f"{called:.0f} s; cleared {len(day.cleared)} 次确认" if day.called else "–",
            called <= SOON_S and bool(day.cleared) and opened >= max(day.cleared, default=1e9),
        )
    elif day.called:
        yield Check(Text("Joint command is called for nothing", "误启动联合指挥"), str(len(day.called)), False)


def _restored(day: Day) -> Check:
    lifted = [
        max((one.lifted_s or 0 for one in day.ordered(kind)), default=0.0)
        for kind in (
            peaks.MEASURE_KIND_STOP_ENTRY, peaks.MEASURE_KIND_PAUSE_BOOKING, peaks.MEASURE_KIND_SUGGEST_ELSEWHERE,
        )
    ]  # fmt: skip
    standing = [one for one in day.orders.values() if one.lifted_s is None]
    left = {name: number for name, number in day.left.items() if number}
    return Check(
        Text("All is given back, the last measure first", "全部恢复，后采取的先解除"),
        ", ".join(f"{number} {name}" for name, number in left.items()) or "nothing is left 无遗留",
        not left and not standing and bool(day.left) and lifted == sorted(lifted),
    )


def _reviewed(day: Day) -> Check:
    """The most people since the peak began, and the error of each forecast, computed anew."""
    if not day.reviewed or not day.began:
        return Check(Text("The forecast is reviewed", "预测误差已复盘"), "–", False)
    review = day.reviewed[-1]
    since = min(began.began_at.ToMicroseconds() for _, began in day.began if began.place_id == day.site_id)
    first = (since / 1e6 - _second_of(day, 0)) / 60
    most = max(one.people[day.site_id] for one in day.minutes if one.number >= int(first))
    errors = [one.people - most for one in review.forecasts]
    named = ", ".join(f"{one.horizon_hours} h: {one.people:,.0f}" for one in review.forecasts) or "no forecast 无预测"
    return Check(
        Text("The forecast is reviewed beside what was counted", "预测与实际计数对照复盘"),
        f"{review.most_people:,} counted 计数; {named}",
        review.most_people == most and [round(one, 3) for one in review.errors] == [round(one, 3) for one in errors],
    )


def _second_of(day: Day, second: float) -> float:
    """A second of the day as seconds since 1970."""
    return MIDNIGHT.timestamp() + day.midnight + second
