"""Plays one day in a city of its own, and keeps what the city said of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from citybrain.district_hub.v1.events_pb2 import DistrictNotified
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.safety.v1 import events_pb2 as safety_events
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import peaks_pb2 as peaks
from citybrain.tourism.v1 import tourism_service_pb2 as tourism
from citybrain.traffic.v1 import events_pb2 as traffic_events
from citybrain.traffic.v1 import transport_pb2 as transport
from citybrain.urban.v1 import events_pb2 as urban_events
from citybrain.urban.v1 import parking_pb2 as parking

from citybrain.simulation import crowd
from citybrain.simulation.crowd import SITES, Hour
from citybrain.simulation.crowd_run import HEALTH, SAFETY, SETTLED_S, TOURISM, TRAFFIC, URBAN, CrowdRun
from citybrain.simulation.gateway_client import Gateway
from citybrain.stories.crowd.check import Day, Minute, Order
from citybrain.stories.crowd.people import LOOKED_FOR, People
from citybrain.stories.crowd.plan import LEARNT, Plan
from citybrain.stories.driven import driven_city, unpacked
from citybrain.stories.sheet import Text

_DAY_S = 86_400
_AHEAD_S = 20 * 3600
"""So long before the city gets the hours before a show: then its hour is one of the next 24."""
_CLOSE = 3.0
"""Persons a square metre: while there are as many nobody says that it is safe."""
_KINDS: dict[Any, tuple[str, str]] = {
    peaks.MEASURE_KIND_SUGGEST_ELSEWHERE: ("others are suggested", "引导分流"),
    peaks.MEASURE_KIND_PAUSE_BOOKING: ("booking pauses", "暂停预约"),
    peaks.MEASURE_KIND_STOP_ENTRY: ("nobody is let in", "停止入园"),
    peaks.MEASURE_KIND_DISPERSE: ("people are led apart", "疏导人群"),
}
_NEEDS: dict[Any, tuple[str, str]] = {
    transport.TRANSPORT_KIND_BUSES: ("buses", "应急公交"),
    transport.TRANSPORT_KIND_FREQUENCY: ("metro and buses more often", "地铁公交加密"),
    transport.TRANSPORT_KIND_SIGNAL_PLAN: ("a signal plan", "信号方案"),
}
_NAMES = {site.site_id: site for site in SITES}


def _site(site_id: str) -> Text:
    """Its name in both languages."""
    site = _NAMES[site_id.removeprefix("lot-")]
    return Text(site.english, site.name)


_STEPS: dict[Any, Callable[[Any], Text]] = {
    safety_events.UnitAssigned: lambda e: Text(f"Posted: {e.unit.unit_id}", f"布警：{e.unit.unit_id}"),
    traffic_events.TransportRequested: lambda e: Text(
        f"Asked for: {_NEEDS[e.request.kind][0]}", f"请求：{_NEEDS[e.request.kind][1]}"
    ),
    urban_events.ParkingEntryClosed: lambda e: Text(
        f"The car park of {_site(e.lot_id).english} lets no car in", f"{_site(e.lot_id).chinese}停车场暂停入场"
    ),
    urban_events.ParkingEntryOpened: lambda e: Text(
        f"The car park of {_site(e.lot_id).english} is open again", f"{_site(e.lot_id).chinese}停车场恢复入场"
    ),
    safety_events.JointCommandCalled: lambda e: Text(f"Joint command is called: {e.why}", f"启动联合指挥：{e.why}"),
    ev.PeakEnded: lambda e: Text(
        f"It is over; at most {e.most_people:,} people were counted", f"高峰结束，最多 {e.most_people:,} 人"
    ),
    safety_events.UnitsReleased: lambda e: Text(f"Back: {', '.join(e.unit_ids)}", f"撤回：{', '.join(e.unit_ids)}"),
}  # fmt: skip
_TYPES = (
    ev.PeakBegan, ev.PeakChanged, ev.PeakRetracted, ev.PeakReviewed, ev.PeakForecast, ev.MeasureOrdered, ev.MeasureLifted,
    DistrictNotified, *_STEPS,
)  # fmt: skip
HEARD = [one.DESCRIPTOR.full_name for one in _TYPES]


def play(plan: Plan, data: Path, tell: Callable[[str], None]) -> Day:
    """Plays the day of a plan. `data`: a folder for the city; `tell`: gets a sentence when something happens."""
    with driven_city(data, plan.seed, tell) as gateway:
        return play_in(gateway, plan, tell)


def play_in(gateway: Gateway, plan: Plan, tell: Callable[[str], None], after: int = 0, *, history: bool = True) -> Day:
    """Plays it in a city that is there, as the first such day of the week that begins at second `after` or later.

    `history`: whether the city gets the weeks before it. It has none of its own to get in the way.
    """
    # The run begins on a Monday. The city may be told on the day before.
    days = -(-after // _DAY_S) + 1
    midnight = _DAY_S * (days + (plan.day.weekday() - days) % 7)
    return _Player(gateway, plan, tell, midnight, history=history).day()


class _Player:
    """Whoever is outside of the city on that day."""

    def __init__(self, gateway: Gateway, plan: Plan, tell: Callable[[str], None], midnight: int, *, history: bool) -> None:
        self._gateway = gateway
        self._tell = tell
        self._day = Day(plan, midnight)
        self._run = CrowdRun(gateway, plan.capacities, HEARD)
        self._people = People(gateway)
        self._dispersed: dict[str, str] = {}
        self._apart = 0
        self._history = history
        self._begun = False

    def day(self) -> Day:
        """Plays it."""
        day, plan = self._day, self._day.plan
        begin = day.midnight + 60 * plan.begin
        today = Hour(plan.day, plan.begin // 60)
        yesterday = Hour(plan.day - timedelta(days=1), plan.begin // 60 + 24 - _AHEAD_S // 3600)
        first = min(plan.history[SITES[0].site_id])
        if plan.shows:
            # A day ahead the city can know of it.
            self._learn(begin - _AHEAD_S, first, yesterday)
            self._people.plan()
            if self._people.planned:
                decided = Text("A person decides that departments prepare", "人工决定：各部门提前准备")
                day.told.append((float(begin - _AHEAD_S - day.midnight), decided))
            self._run.rhythm.settle(begin - _AHEAD_S, self._act)
            first = yesterday
        self._learn(begin, first, today)
        for minute in self._run.play(plan.lake, day.midnight, plan.begin, plan.end, self._act):
            day.minutes.append(self._seen(minute))
            self._look(minute)
            if day.reviewed and minute > day.over_at + 2:
                break
        day.cleared = [second - day.midnight for second in self._people.cleared]
        day.left = self._left()
        return day

    def _learn(self, begin: int, since: Hour, until: Hour) -> None:
        """The city gets hours, and some minutes to learn from them until a second of the run."""
        if not self._begun:
            self._run.begin(begin - 60 * LEARNT)
            self._begun = True
        self._gateway.advance(begin - 60 * LEARNT)
        if self._history:
            self._run.bring_history(self._day.plan.history, since, until, self._day.plan.day, self._day.midnight)
        for minute in range(LEARNT, 0, -1):
            self._gateway.advance(begin - 60 * minute + SETTLED_S)
            self._run.rhythm.settle(begin - 60 * minute + SETTLED_S, self._act)

    def _seen(self, minute: int) -> Minute:
        """What was so in the minute that is over: who was counted at its beginning, who came, and what gates did."""
        there, told = self._run.counted, self._run.told
        return Minute(
            minute,
            {key: sum(counts) for key, counts in there.items()},
            {key: counts[0] for key, counts in there.items()},
            {site.site_id: self._day.plan.lake.there[site.site_id].let_in for site in SITES},
            {site.site_id: self._day.plan.lake.there[site.site_id].turned_away for site in SITES},
            frozenset(key for key, said in told.items() if said.entry_stopped),
        )

    def _look(self, minute: int) -> None:
        """Somebody looks where people stood dangerously close, when they stand apart for some minutes."""
        close = any(self._day.closeness(self._day.minutes[-1], site.site_id) >= _CLOSE for site in SITES)
        self._apart = 0 if close else self._apart + 1
        if self._people.joint and self._apart >= LOOKED_FOR:
            self._people.clear(self._day.midnight + 60 * minute + SETTLED_S)

    def _left(self) -> dict[str, int]:
        """What is not given back when the day is over."""
        call, name = self._gateway.call, f"left/{self._day.midnight}"
        units = call(f"{SAFETY}/ListUnits", safety.ListUnitsRequest(), safety.ListUnitsResponse, f"{name}/units").units
        fleet = call(f"{HEALTH}/ListAmbulances", health.ListAmbulancesRequest(), health.ListAmbulancesResponse, f"{name}/fleet")
        asked = call(
            f"{TRAFFIC}/ListTransport", transport.ListTransportRequest(), transport.ListTransportResponse, f"{name}/asked"
        )
        lots = call(f"{URBAN}/ListParking", parking.ListParkingRequest(), parking.ListParkingResponse, f"{name}/lots").lots
        measures = [
            measure
            for site in SITES
            for measure in call(
                f"{TOURISM}/GetPlace", tourism.GetPlaceRequest(place_id=site.site_id), tourism.GetPlaceResponse,
                f"{name}/{site.site_id}",
            ).measures
        ]  # fmt: skip
        return {
            "police": sum(bool(one.incident_id) for one in units),
            "ambulances": sum(bool(one.incident_id) for one in fleet.ambulances),
            "requests": len(asked.requests),
            "lots": sum(one.entry_closed for one in lots),
            "measures": len(measures),
        }

    def _act(self, now: int, event: Event) -> None:
        day, second = self._day, float(now - self._day.midnight)
        self._people.hear(event)
        if (began := unpacked(event, ev.PeakBegan)) is not None:
            day.began.append((second, began))
            seen = "expected by a forecast" if began.HasField("expected") else "nobody has seen it coming"
            seen_zh = "由预测提前发现" if began.HasField("expected") else "无预测"
            self._tell(f"{began.peak_id}: {began.name}, {began.people:,} of {began.capacity:,} people; {seen}")
            day.told.append(
                (second, Text(f"A peak at {_site(began.place_id).english}: {began.people:,} of {began.capacity:,}; {seen}",
                              f"{began.name} 客流高峰：{began.people:,}/{began.capacity:,} 人；{seen_zh}"))
            )  # fmt: skip
        elif (ordered := unpacked(event, ev.MeasureOrdered)) is not None:
            self._ordered(second, ordered)
        elif (lifted := unpacked(event, ev.MeasureLifted)) is not None:
            self._lifted(second, lifted)
        elif (changed := unpacked(event, ev.PeakChanged)) is not None:
            day.changed.append((second, changed))
        elif (retracted := unpacked(event, ev.PeakRetracted)) is not None:
            day.retracted.append(retracted)
        elif (reviewed := unpacked(event, ev.PeakReviewed)) is not None:
            day.reviewed.append(reviewed.review)
            day.over_at = int(second // 60)
        elif (forecast := unpacked(event, ev.PeakForecast)) is not None and forecast.forecast.level:
            self._forecast(second, forecast)
        elif (called := unpacked(event, safety_events.JointCommandCalled)) is not None:
            day.called.append((second, called))
        if unpacked(event, traffic_events.TransportRequested) is not None:
            day.asked.append(second)
        for kind, words in _STEPS.items():
            if (step := unpacked(event, kind)) is not None:
                day.told.append((second, words(step)))

    def _forecast(self, second: float, event: ev.PeakForecast) -> None:
        made = event.forecast
        ahead = "next hour" if made.horizon == 1 else "next 24 hours"
        zh = "未来一小时" if made.horizon == 1 else "未来二十四小时"
        text = Text(
            f"Forecast for the {ahead} at {_site(made.place_id).english}: {made.people:,} people, {made.share:.0f} %",
            f"{zh}预测 {_site(made.place_id).chinese}：{made.people:,} 人，{made.share:.0f}%",
        )
        self._day.told.append((second, text))

    def _ordered(self, second: float, event: ev.MeasureOrdered) -> None:
        measure = event.measure
        self._day.orders[measure.measure_id] = Order(event.place_id, measure.kind, second)
        if measure.kind == peaks.MEASURE_KIND_DISPERSE:
            self._dispersed[measure.measure_id] = event.place_id
        self._disperse()
        english, chinese = _KINDS[measure.kind]
        others = [_site(one) for one in measure.elsewhere_ids]
        where, where_zh = ", ".join(one.english for one in others), "、".join(one.chinese for one in others)
        here = _site(event.place_id)
        said = Text(
            f"At {here.english} {english}" + f": {where}" * bool(others),
            f"{here.chinese}{chinese}" + f"：{where_zh}" * bool(others),
        )
        self._day.told.append((second, said))

    def _lifted(self, second: float, event: ev.MeasureLifted) -> None:
        order = self._day.orders.get(event.measure_id)
        if order is None:
            return
        order.lifted_s = second
        self._dispersed.pop(event.measure_id, None)
        self._disperse()
        english, chinese = _KINDS[order.kind]
        here = _site(event.place_id)
        self._day.told.append((second, Text(f"Over at {here.english}: {english}", f"{here.chinese}解除{chinese}")))

    def _disperse(self) -> None:
        """Staff lead people apart where that is ordered."""
        for site_id, told in self._run.told.items():
            told.disperses = site_id in self._dispersed.values()


def would_be(plan: Plan) -> list[float]:
    """How many people would be at the site of the surge in each minute, if nobody was told anything."""
    return crowd.without_anybody(plan.lake, plan.site.site_id, plan.begin, plan.end)
