"""What is known of how far a station reads beside its neighbours, and who is asked to look at it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.environment import column_ratio, places, quantities, station_bias

COLUMN_OF: Mapping[str, pb.Quantity] = {
    "NO2": pb.QUANTITY_NO2_COLUMN,
    "PM2_5": pb.QUANTITY_AEROSOL_OPTICAL_DEPTH,
}
"""What satellites see of a pollutant."""

DAYS = 7
"""So many days are compared."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The bias of one quantity of a station as it was estimated last."""

    bias: pb.Bias | None = None


def evolve(compared: Compared, event: Message) -> Compared:
    """What is known after an event."""
    match event:
        case ev.BiasEstimated():
            return Compared(event.bias)
        case ev.BiasRetracted():
            return Compared()
    return compared


def estimated(
    quantity: str, stations: Mapping[str, pb.Station], hours: Mapping[str, station_bias.Hours],
    satellites: Mapping[str, pb.Station], columns: Mapping[str, station_bias.Hours],
) -> list[pb.Bias]:  # fmt: skip
    """The bias of each station that measures a quantity, by id. `columns`: what satellites see of it, by their ids."""
    known = {key: one for key, one in hours.items() if one}
    if not known:
        return []
    over = {key: _over(stations[key], satellites, columns) for key in known}
    beside = column_ratio.compared(known, {key: _mean(columns[one] for one in ids) for key, ids in over.items()})
    origin = stations[min(known)].place
    where = {key: places.metres_from(origin, stations[key].place) for key in known}
    found = station_bias.biases(quantity, known, where)
    biases = []
    for key in sorted(found.keys() | beside.keys()):
        bias = pb.Bias(
            station_id=key, quantity=quantities.numbered(quantity), owner=stations[key].owner,
            district_id=stations[key].district_id,
        )  # fmt: skip
        if key in found:
            one = found[key]
            by_neighbours = pb.Bias(
                bias=one.bias, hours=one.hours, level=one.level, neighbour_ids=one.neighbours[:20], flagged=one.flagged,
                clock_off_h=one.clock_off_h,
            )  # fmt: skip
            bias.MergeFrom(by_neighbours)
        if key in beside:
            # Neighbours on the ground say more than a satellite.
            off = beside[key].off and key not in found
            seen = pb.Bias(column_factor=beside[key].factor, column_hours=beside[key].hours, column_ids=over[key], flagged=off)
            bias.MergeFrom(seen)
        biases.append(bias)
    return biases


def _over(station: pb.Station, satellites: Mapping[str, pb.Station], columns: Mapping[str, station_bias.Hours]) -> list[str]:
    """The satellites that see the air above a station: it stands in their cell, or at its edge."""
    found = []
    for key, one in sorted(satellites.items()):
        east, north = places.metres_from(one.place, station.place)
        # A centimetre, so that a station at the edge is not lost by rounding.
        if columns.get(key) and max(abs(east), abs(north)) <= one.cell_m / 2 + 0.01:
            found.append(key)
    return found[:20]


def _mean(columns: Iterable[station_bias.Hours]) -> dict[int, float]:
    """What several satellites see, in the mean of each hour."""
    by_hour: dict[int, list[float]] = {}
    for one in columns:
        for hour, value in one.items():
            by_hour.setdefault(hour, []).append(value)
    return {hour: statistics.fmean(values) for hour, values in by_hour.items()}


def compare(compared: Compared, bias: pb.Bias, place: pb.Place, now: int) -> list[Message]:
    """Keeps an estimate that is news.

    A station that is believed no more is to be looked at, once until it is believed again.
    """
    if compared.bias == bias:
        return []
    events: list[Message] = [ev.BiasEstimated(bias=bias, at=timestamp(now), district_id=bias.district_id)]
    if bias.flagged and not (compared.bias is not None and compared.bias.flagged):
        name = quantities.name(bias.quantity)
        events.append(
            ev.MaintenanceAsked(
                station_id=bias.station_id, district_id=bias.district_id, place=place, reason=_why(bias, name),
                asked_at=timestamp(now),
                maintenance_id=f"bias.{bias.station_id}.{name.lower()}.{microseconds(timestamp(now)) // 1_000_000}",
            )
        )  # fmt: skip
    return events


def _why(bias: pb.Bias, name: str) -> str:
    if bias.clock_off_h:
        return f"its clock seems to be off by {bias.clock_off_h} hours: {name} follows its neighbours only then"
    if bias.hours:
        return f"reads {name} {bias.bias:+g} beside its neighbours, which read {bias.level:g}, over {bias.hours} hours"
    return (
        f"reads {bias.column_factor:g} times as much {name} as other stations, in proportion to what satellites see above "
        f"each, over {bias.column_hours} hours"
    )


def key(bias: pb.Bias) -> str:
    """The key of the estimate of a quantity at a station."""
    return f"{bias.station_id}.{quantities.name(bias.quantity).lower()}"


def retract(compared: Compared, now: int) -> list[Message]:
    """Takes an estimate back that rests on nothing any more."""
    bias = compared.bias
    if bias is None:
        return []
    reason = f"in the last {DAYS} days it had too few hours or neighbours to be compared"
    return [
        ev.BiasRetracted(
            station_id=bias.station_id, quantity=bias.quantity, reason=reason, at=timestamp(now), district_id=bias.district_id
        )
    ]  # fmt: skip


def hours_of(
    rows: list[pb.StationHour], quantity: pb.Quantity, since: int, covered: float = station_bias.COVERED
) -> dict[int, float]:
    """The means of a quantity since a moment (microseconds), by the number of their hour, as far as they are covered."""
    found = {}
    for row in rows:
        begins = microseconds(getattr(row, "from"))
        for one in row.means:
            if one.quantity == quantity and begins >= since and one.covered >= covered:
                found[begins // 3_600_000_000] = one.value
    return found
