"""What is known of how far a station reads beside its neighbours, and who is asked to look at it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.environment import places, quantities, station_bias

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


def estimated(quantity: str, stations: Mapping[str, pb.Station], hours: Mapping[str, station_bias.Hours]) -> list[pb.Bias]:
    """The bias of each station that measures a quantity, by id."""
    known = {key: one for key, one in hours.items() if one}
    if not known:
        return []
    origin = stations[min(known)].place
    where = {key: places.metres_from(origin, stations[key].place) for key in known}
    found = station_bias.biases(quantity, known, where)
    return [
        pb.Bias(
            station_id=key, quantity=quantities.numbered(quantity), bias=one.bias, hours=one.hours, level=one.level,
            neighbour_ids=one.neighbours[:20], flagged=one.flagged, clock_off_h=one.clock_off_h, owner=stations[key].owner,
            district_id=stations[key].district_id,
        )
        for key, one in sorted(found.items())
    ]  # fmt: skip


def compare(compared: Compared, bias: pb.Bias, place: pb.Place, now: int) -> list[Message]:
    """Keeps an estimate that is news.

    A station that is believed no more is to be looked at, once until it is believed again.
    """
    if compared.bias == bias:
        return []
    events: list[Message] = [ev.BiasEstimated(bias=bias, at=timestamp(now), district_id=bias.district_id)]
    if bias.flagged and not (compared.bias is not None and compared.bias.flagged):
        name = quantities.name(bias.quantity)
        told = (
            f"its clock seems to be off by {bias.clock_off_h} hours: {name} follows its neighbours only then"
            if bias.clock_off_h
            else f"reads {name} {bias.bias:+g} beside its neighbours, which read {bias.level:g}, over {bias.hours} hours"
        )
        events.append(
            ev.MaintenanceAsked(
                station_id=bias.station_id, district_id=bias.district_id, place=place, reason=told, asked_at=timestamp(now),
                maintenance_id=f"bias.{bias.station_id}.{name.lower()}.{microseconds(timestamp(now)) // 1_000_000}",
            )
        )  # fmt: skip
    return events


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


def hours_of(rows: list[pb.StationHour], quantity: pb.Quantity, since: int) -> dict[int, float]:
    """The means of a quantity since a moment (microseconds), by the number of their hour, as far as they are covered."""
    found = {}
    for row in rows:
        begins = microseconds(getattr(row, "from"))
        for one in row.means:
            if one.quantity == quantity and begins >= since and one.covered >= station_bias.COVERED:
                found[begins // 3_600_000_000] = one.value
    return found
