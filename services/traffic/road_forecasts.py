"""Forecasts of flow and speed of roads 15 and 60 minutes ahead: learnt each night, where they beat the naive ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import outlook_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from google.protobuf.message import Message

from citybrain.mesh.events import Heard
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept
from citybrain.services.traffic import damped_persistence, road_days
from citybrain.services.traffic.detectors import MICROSECONDS
from citybrain.services.traffic.road_days import RoadHoursRow

VERSION = "road-forecast-1"
QUARTER_US = 900 * MICROSECONDS
PER_DAY, PER_QUARTER = 96, 3
AHEAD = {15: 1, 60: 4}
"""Minutes → quarters of an hour."""
UTC_QUARTERS = 32
"""The day begins in Hangzhou."""
TOGETHER = 100
"""The roads that go into one event."""
FORECAST_EVENTS = (ev.RoadForecastsLearnt,)

Values = dict[int, float]
"""The number of the quarter of an hour, of days in Hangzhou → its mean."""


def quarters(rows: Iterable[RoadHoursRow]) -> dict[str, tuple[Values, Values]]:
    """Road → flows and speeds by the quarter, of those quarters that were wholly measured."""
    found: dict[str, tuple[Values, Values]] = {}
    for row in rows:
        for edge_id, windows in row.roads.items():
            flows, speeds = found.setdefault(edge_id, ({}, {}))
            for part in range(0, len(windows), PER_QUARTER):
                known = [one for one in windows[part : part + PER_QUARTER] if one is not None]
                if len(known) < PER_QUARTER:
                    continue
                slot = row.hour * 4 + part // PER_QUARTER + UTC_QUARTERS
                flows[slot] = sum(one[0] for one in known) / PER_QUARTER
                if all(one[1] >= 0 for one in known):
                    speeds[slot] = sum(one[1] for one in known) / PER_QUARTER / 100
    return found


def learn(part_id: str, rows: Iterable[RoadHoursRow], now: int) -> list[ev.RoadForecastsLearnt]:
    """The forecasts of a part that beat the naive ones. `now`: in microseconds."""
    day, known = road_days.day_of(now).isoformat(), sorted(quarters(rows).items())
    found = []
    for batch, first in enumerate(range(0, len(known), TOGETHER)):
        told = ev.RoadForecastsLearnt(part_id=part_id, day=day, version=VERSION, batch=batch)
        for edge_id, both in known[first : first + TOGETHER]:
            for measure, values in zip((pb.ROAD_MEASURE_FLOW, pb.ROAD_MEASURE_SPEED), both, strict=True):
                for minutes, ahead in AHEAD.items():
                    told.tried += 1
                    learnt = damped_persistence.learn(values, ahead, PER_DAY)
                    if learnt is not None:
                        told.models.add(
                            edge_id=edge_id, measure=measure, ahead_min=minutes, share=round(learnt.share, 4),
                            error=round(learnt.error, 4), naive_error=round(learnt.naive_error, 4),
                            usual=[round(one, 3) for one in learnt.usual], days=learnt.days,
                        )  # fmt: skip
        found.append(told)
    return found


@dataclass(frozen=True, slots=True)
class LastLearnt:
    """The newest day that was told."""

    day: str = ""


def evolve(state: LastLearnt, event: Message) -> LastLearnt:
    """The newest day, after an event."""
    return LastLearnt(event.day) if isinstance(event, ev.RoadForecastsLearnt) else state


def tell(state: LastLearnt, told: ev.RoadForecastsLearnt) -> list[Message]:
    """Tells a day once."""
    return [told] if told.day > state.day else []


def row_key(event: Heard) -> str:
    """The part, and which of its roads."""
    assert isinstance(event.data, ev.RoadForecastsLearnt)
    return f"{joined(event.data.part_id)} {event.data.batch}"


def row(_before: Kept | None, event: Heard) -> Kept | None:
    """The forecasts as they were learnt last."""
    return Kept.of(event.data)


def by_road(rows: Iterable[Kept]) -> dict[str, tuple[str, list[pb.RoadForecastModel]]]:
    """Road → the day of learning, and its forecasts."""
    found: dict[str, tuple[str, list[pb.RoadForecastModel]]] = {}
    for each in rows:
        told = each.read(ev.RoadForecastsLearnt)
        for one in told.models:
            day, models = found.get(one.edge_id, ("", []))
            # A road may have come into another batch since: the newest day counts.
            if told.day >= day:
                found[one.edge_id] = (told.day, [*(models if told.day == day else []), one])
    return found


def forecasts(models: Iterable[pb.RoadForecastModel], road: street.RoadState, ended: int) -> list[pb.RoadForecast]:
    """What is forecast of a road, from its newest window, which ended at a moment (microseconds)."""
    now: Mapping[int, float | None] = {
        pb.ROAD_MEASURE_FLOW: road.vehicles_per_hour if road.HasField("vehicles_per_hour") else None,
        pb.ROAD_MEASURE_SPEED: road.speed_mps if road.HasField("speed_mps") else None,
    }
    slot, found = (ended - 1) // QUARTER_US + UTC_QUARTERS, []
    for one in models:
        value = now[one.measure]
        if value is None or road.incomplete:
            continue
        ahead = AHEAD[one.ahead_min]
        told = damped_persistence.forecast(list(one.usual), one.share, value, slot, ahead, PER_DAY)
        found.append(
            pb.RoadForecast(
                measure=one.measure, ahead_min=one.ahead_min, value=round(max(0.0, told), 2), error=one.error,
                naive_error=one.naive_error, days=one.days,
            )
        )  # fmt: skip
    return found
