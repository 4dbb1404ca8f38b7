"""What stations around an exceedance measure while it goes on, in steps of five minutes, and the trace that is made of it.
Pure.

Readings are telemetry. Around an exceedance they become events, with the wind: so a trace can be made again from them, and
they are evidence. How far around is a proposal of this project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.environment import hours, places
from citybrain.services.environment.exceedance import REACH_M, Spot
from citybrain.services.environment.telemetry import SURROUNDINGS_S, Values

AROUND_M = 15_000
"""Stations so near are kept, in metres."""

MOST_STATIONS = 100
"""Of more, the nearest are kept."""

BEFORE = 12
"""So many steps before the first one of an exceedance are kept too: an hour."""

MOST_REMEMBERED = 60
"""So many steps of an exceedance are remembered, from the first one on: what is traced and what is evidence is of these."""

WIND = (pb.QUANTITY_WIND_SPEED, pb.QUANTITY_WIND_DIRECTION)

Step = tuple[int, Sequence[ev.StationMean]]
"""When five minutes begin (microseconds since 1970), and what all stations measured in them."""


@dataclass(frozen=True, slots=True)
class Followed:
    """An exceedance as it was followed.

    `steps`: the first ones of those that were kept. `until`: when the newest began, in microseconds; below 0: none was kept
    yet. `last_above`: until when a sensor read above the limit; 0: none has in what was kept.
    """

    steps: tuple[ev.SurroundingsMeasured, ...] = ()
    until: int = -1
    last_above: int = 0
    trace: pb.Trace | None = None


def evolve(followed: Followed, event: Message) -> Followed:
    """What is known after an event."""
    if isinstance(event, ev.SurroundingsMeasured):
        begun = microseconds(getattr(event, "from"))
        last = begun + SURROUNDINGS_S * 1_000_000 if event.above else followed.last_above
        steps = followed.steps if len(followed.steps) >= MOST_REMEMBERED else (*followed.steps, event)
        return replace(followed, steps=steps, until=begun, last_above=last)
    if isinstance(event, ev.SourceTraced):
        return replace(followed, trace=event.trace)
    return followed


def means(states: Mapping[str, Values], stations: Mapping[str, pb.Station]) -> list[ev.StationMean]:
    """The mean of each quantity at each station over five minutes."""
    found = []
    for station_id in sorted(states.keys() & stations.keys()):
        station = stations[station_id]
        sensors = {sensor.sensor_id: sensor for sensor in station.sensors}
        by_quantity: dict[pb.Quantity, list[float]] = {}
        slowest: dict[pb.Quantity, int] = {}
        for sensor_id, minutes in states[station_id].items():
            if sensor_id in sensors:
                sensor = sensors[sensor_id]
                by_quantity.setdefault(sensor.quantity, []).extend(value for _, value in minutes.values())
                slowest[sensor.quantity] = max(slowest.get(sensor.quantity, 0), sensor.interval_s)
        found += [
            ev.StationMean(
                station_id=station_id, quantity=quantity, value=hours.mean(quantity, values), readings=len(values),
                place=station.place, interval_s=slowest[quantity], medium=station.medium,
            )
            for quantity, values in sorted(by_quantity.items())
        ]  # fmt: skip
    return found


def follow(followed: Followed, spot: Spot, steps: Iterable[Step]) -> list[Message]:
    """Keeps steps around an exceedance, each once. `steps`: in the order of time."""
    suspected = spot.suspected
    kept: list[Message] = []
    for start, measured in steps:
        near = sorted(
            (metres, number)
            for number, one in enumerate(measured)
            if (one.quantity in WIND or (one.quantity == suspected.quantity and one.medium == suspected.medium))
            and (metres := places.apart_m(suspected.place, one.place)) <= AROUND_M
        )
        if not near or start <= followed.until:
            continue
        stations = list(dict.fromkeys(measured[number].station_id for _, number in near))[:MOST_STATIONS]
        around = [measured[number] for _, number in near if measured[number].station_id in stations]
        above = any(
            one.quantity == suspected.quantity and places.apart_m(suspected.place, one.place) <= REACH_M[suspected.medium] + 1
            and spot.beyond(one.value)
            for one in around
        )  # fmt: skip
        kept.append(
            ev.SurroundingsMeasured(
                exceedance_id=suspected.exceedance_id, means=around, district_id=suspected.district_id, above=above,
                **{"from": timestamp(start)},
            )
        )  # fmt: skip
    return kept


def traced(followed: Followed, spot_district: str, trace: pb.Trace) -> list[Message]:
    """Keeps a trace. The same one again is no news."""
    if followed.trace == trace:
        return []
    return [ev.SourceTraced(exceedance_id=trace.exceedance_id, trace=trace, district_id=spot_district)]
