"""Exceedances of one quantity: suspected by one sensor, verified by a second one, retracted when readings are corrected. Pure.

All of one quantity stand on a board, the state of one stream, so that two sensors at once do not open two. A sensor reads
above a limit: that is suspected. Another sensor, at the same station or near it, reads above it within 15 minutes (before or
after, both bounds included): it is verified. If none does until 15 minutes after it was suspected, it is unverified, and
somebody has to look at the sensor. A suspicion of one sensor alone is not raised again for a day: whoever was asked to look at
it knows.

Readings may come days late. One that would have verified a suspicion verifies it then, and one that is of the time of an
exceedance that has ended belongs to that. Stations may have different limits (the class that their water is to have): a
reading belongs to an exceedance only where it is beyond the limit of that, too.

How near another sensor must be, and after which time without a reading above the limit it has ended, are proposals of this
project. It is long because readings, verdicts and what is retracted of them are decided on one board.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.environment import places, quantities
from citybrain.services.environment.limits import Limit

MINUTE = 60_000_000
SECOND_SENSOR_US = 15 * MINUTE
"""So far apart the readings of two sensors may be, by the workflow from pollution source to sanction."""

ENDS_US = 90 * MINUTE
"""An exceedance has ended when no sensor has read above the limit for so long."""

QUIET_US = 24 * 60 * MINUTE
"""A sensor whose suspicion nobody confirmed raises no other one by itself for so long."""

KEPT_US = 8 * 24 * 60 * MINUTE
"""So long an exceedance stays on its board: readings may be corrected for 7 days."""

REACH_M: Mapping[pb.Medium, float] = {
    pb.MEDIUM_AIR: 5000,
    pb.MEDIUM_WATER: 5000,
    pb.MEDIUM_SOIL: 200,
    # Another sensor of the same stack.
    pb.MEDIUM_STACK: 0,
}
"""How far from the first station another one may be, in metres."""

Key = tuple[str, str]
"""Station and sensor."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One exceedance. `readings`: by sensor the reading that it rests on. `ended_at`: in microseconds; 0: it has not."""

    suspected: ev.ExceedanceSuspected
    state: pb.ExceedanceState
    readings: Mapping[Key, pb.SupportingReading]
    verified: bool = False
    reason: str = ""
    ended_at: int = 0

    @property
    def open(self) -> bool:
        """Whether further readings belong to it."""
        return self.state in (pb.EXCEEDANCE_STATE_SUSPECTED, pb.EXCEEDANCE_STATE_VERIFIED)

    @property
    def first(self) -> int:
        """When it was read first, in microseconds."""
        return microseconds(self.suspected.reading.measured_at)

    @property
    def last(self) -> int:
        """When something was last heard of it, in microseconds."""
        return max(
            microseconds(self.suspected.suspected_at),
            self.ended_at,
            *(microseconds(one.measured_at) for one in self.readings.values()),
        )

    def beyond(self, value: float) -> bool:
        """Whether a value is beyond its limit, on the same side."""
        limit = self.suspected.limit
        return value < limit if self.suspected.reading.value < limit else value > limit


@dataclass(frozen=True, slots=True)
class Board:
    """The exceedances of one quantity of the last days, by id."""

    spots: Mapping[str, Spot] = field(default_factory=dict)


def evolve(board: Board, event: Message) -> Board:
    """The board after an event."""
    if isinstance(event, ev.ExceedanceSuspected):
        since = microseconds(event.suspected_at) - KEPT_US
        kept = {key: spot for key, spot in board.spots.items() if spot.open or spot.last >= since}
        spot = Spot(event, pb.EXCEEDANCE_STATE_SUSPECTED, {_key(event.reading): event.reading})
        return Board({**kept, event.exceedance_id: spot})
    exceedance_id = getattr(event, "exceedance_id", "")
    if exceedance_id not in board.spots:
        return board
    spot = board.spots[exceedance_id]
    match event:
        case ev.ExceedanceSupported():
            spot = replace(spot, readings={**spot.readings, _key(event.reading): event.reading})
        case ev.ExceedanceReadingCorrected():
            others = {key: one for key, one in spot.readings.items() if key != _key(event.reading)}
            spot = replace(spot, readings={**others, _key(event.reading): event.reading} if event.above else others)
        case ev.ExceedanceVerified():
            spot = replace(spot, state=pb.EXCEEDANCE_STATE_VERIFIED, verified=True, reason="")
        case ev.ExceedanceUnverified():
            spot = replace(spot, state=pb.EXCEEDANCE_STATE_UNVERIFIED, reason=event.reason)
        case ev.ExceedanceRetracted():
            spot = replace(spot, state=pb.EXCEEDANCE_STATE_RETRACTED, reason=event.reason)
        case ev.ExceedanceEnded():
            spot = replace(spot, state=pb.EXCEEDANCE_STATE_ENDED, ended_at=microseconds(event.last_at))
    return Board({**board.spots, exceedance_id: spot})


def _key(reading: pb.SupportingReading) -> Key:
    return reading.station_id, reading.sensor_id


# -- readings -----------------------------------------------------------------------------------------------------------------


def take(
    board: Board, station: pb.Station, sensor: pb.Sensor, reading: pb.Reading, limit: Limit, new_id: str, now: Timestamp
) -> list[Message]:
    """What a reading changes: it opens an exceedance (`new_id`), supports one, or corrects a reading that one rests on.

    The events name the district of the station that was read: whoever reports it may belong to that one.
    """
    told = pb.SupportingReading(
        station_id=station.station_id, sensor_id=sensor.sensor_id, value=reading.value, measured_at=reading.measured_at
    )
    at, key = microseconds(reading.measured_at), (station.station_id, sensor.sensor_id)
    corrected = _corrected(board, told, limit, station.district_id)
    if not limit.exceeded(reading.value):
        return list(corrected)
    board = reduce(evolve, corrected, board)
    if fitting := _fitting(board, station, at, reading.value):
        # One that this sensor is part of already is told nothing new.
        spot = next((one for one in fitting if key not in one.readings), None)
        return [*corrected, *([] if spot is None else [_supported(spot, told, station)])]
    if quiet := [one for one in board.spots.values() if _quiet(one, key, at)]:
        # Nobody is told again, but its newest reading stands there: it may confirm that of another sensor.
        newer = at - microseconds(quiet[-1].readings[key].measured_at) > SECOND_SENSOR_US
        return [*corrected, *([_supported(quiet[-1], told, station)] if newer else [])]
    return [
        *corrected,
        ev.ExceedanceSuspected(
            exceedance_id=new_id, medium=station.medium, quantity=sensor.quantity, limit=limit.bound(reading.value),
            standard=limit.standard, unit=quantities.MEASURED[station.medium][sensor.quantity].unit, reading=told,
            place=station.place, district_id=station.district_id, suspected_at=now,
        )
    ]  # fmt: skip


def _supported(spot: Spot, told: pb.SupportingReading, station: pb.Station) -> Message:
    exceedance_id = spot.suspected.exceedance_id
    return ev.ExceedanceSupported(exceedance_id=exceedance_id, reading=told, district_id=station.district_id)


def _corrected(board: Board, told: pb.SupportingReading, limit: Limit, district_id: str) -> list[ev.ExceedanceReadingCorrected]:
    """The reading is of a minute that an exceedance rests on, and says something else. Of a minute the last one counts."""
    found = []
    for exceedance_id, spot in board.spots.items():
        known = spot.readings.get(_key(told))
        if known is None or spot.state == pb.EXCEEDANCE_STATE_RETRACTED:
            continue
        before, now = microseconds(known.measured_at), microseconds(told.measured_at)
        if before // MINUTE == now // MINUTE and before <= now and known.value != told.value:
            above = limit.exceeded(told.value) and spot.beyond(told.value)
            found.append(
                ev.ExceedanceReadingCorrected(exceedance_id=exceedance_id, reading=told, above=above, district_id=district_id)
            )
    return found


def support_anew(
    board: Board, exceedance_id: str, measured: Mapping[Key, Sequence[tuple[int, float]]], district_id: str
) -> list[Message]:
    """What else supports an exceedance of which a reading was corrected: what its sensors have `measured`, in order of time.

    The first two readings beyond the limit that confirm each other; where there are none, the first one of each sensor that
    has no other any more.
    """
    spot = board.spots[exceedance_id]
    if _confirmed(spot):
        return []
    beyond = sorted(
        (at, key, value)
        for key, values in measured.items()
        for at, value in values
        if spot.beyond(value) and _in_time(spot, at)
    )  # fmt: skip
    confirming = next(
        (
            pair
            for pair in itertools.pairwise(beyond)
            if pair[0][1] != pair[1][1] and pair[1][0] - pair[0][0] <= SECOND_SENSOR_US
        ),
        None,
    )
    alone = {one[1]: one for one in reversed(beyond) if one[1] not in spot.readings}
    found: list[Message] = []
    for at, key, value in confirming or sorted(alone.values()):
        known = spot.readings.get(key)
        if known is None or microseconds(known.measured_at) != at:
            told = pb.SupportingReading(station_id=key[0], sensor_id=key[1], value=value, measured_at=timestamp(at))
            found.append(ev.ExceedanceSupported(exceedance_id=exceedance_id, reading=told, district_id=district_id))
    return found


def _fitting(board: Board, station: pb.Station, at: int, value: float) -> list[Spot]:
    """The exceedances that a reading at a station belongs to: open ones first, the nearest first."""
    near = sorted(
        (not spot.open, metres, spot.first, spot.suspected.exceedance_id)
        for spot in board.spots.values()
        if spot.beyond(value) and _in_time(spot, at) and (metres := _metres(spot, station)) <= REACH_M[station.medium]
    )
    return [board.spots[exceedance_id] for *_, exceedance_id in near]


def _in_time(spot: Spot, at: int) -> bool:
    """Whether a reading can confirm a suspicion; one that is verified goes on until it ends."""
    if spot.state == pb.EXCEEDANCE_STATE_RETRACTED:
        return False
    if spot.state == pb.EXCEEDANCE_STATE_ENDED:
        return spot.first - SECOND_SENSOR_US <= at <= spot.ended_at + SECOND_SENSOR_US
    # What comes at once is not judged in between: two sensors are two sensors before anybody has said so.
    if spot.verified or _confirmed(spot):
        return at >= spot.first - SECOND_SENSOR_US
    near = any(abs(at - microseconds(one.measured_at)) <= SECOND_SENSOR_US for one in spot.readings.values())
    return near and abs(at - spot.first) < QUIET_US


def _metres(spot: Spot, station: pb.Station) -> float:
    if spot.suspected.reading.station_id == station.station_id:
        return 0.0
    # Two stations of one place are not one stack.
    return max(places.apart_m(spot.suspected.place, station.place), 0.001)


def _quiet(spot: Spot, key: Key, at: int) -> bool:
    """Whether it is known of a sensor that it alone reads so much: nobody is told again, in whichever order that comes."""
    alone = spot.state in (pb.EXCEEDANCE_STATE_SUSPECTED, pb.EXCEEDANCE_STATE_UNVERIFIED)
    return alone and key in spot.readings and abs(at - spot.first) < QUIET_US


# -- verdicts -----------------------------------------------------------------------------------------------------------------


def waiting(board: Board) -> list[str]:
    """The exceedances of which something may have to be said.

    Open ones; ended ones that nothing supports any more; those that nobody had verified, and that have a second reading now,
    or none any more.
    """
    return [
        key
        for key, spot in board.spots.items()
        if spot.open
        or (spot.state == pb.EXCEEDANCE_STATE_ENDED and not _confirmed(spot))
        or (spot.state == pb.EXCEEDANCE_STATE_UNVERIFIED and (not spot.readings or _confirmed(spot)))
    ]


def judge(board: Board, exceedance_id: str, now: int, last_above: int) -> list[Message]:
    """What is to be said of an exceedance now: verified, unverified, retracted, ended; nothing, where it stays as it is.

    `now`, `last_above` (when a sensor around has read above the limit last): microseconds since 1970.
    """
    spot = board.spots[exceedance_id]
    whose = {"exceedance_id": exceedance_id, "district_id": spot.suspected.district_id}
    if spot.state == pb.EXCEEDANCE_STATE_RETRACTED:
        return []
    if not spot.readings or (spot.verified and not _confirmed(spot)):
        reason = "the readings that it rested on were corrected"
        return [ev.ExceedanceRetracted(reason=reason, verified=spot.verified, **whose)]
    if not spot.verified and _confirmed(spot):
        return [_verified(spot)]
    waited = now - microseconds(spot.suspected.suspected_at) > SECOND_SENSOR_US
    if spot.state == pb.EXCEEDANCE_STATE_SUSPECTED and waited:
        return _unverified(spot, now)
    newest = max((microseconds(one.measured_at) for one in spot.readings.values()), default=0)
    if spot.state == pb.EXCEEDANCE_STATE_VERIFIED and now - max(last_above, newest) >= ENDS_US:
        return [ev.ExceedanceEnded(last_at=timestamp(max(last_above, newest)), **whose)]
    return []


def _confirmed(spot: Spot) -> bool:
    """Whether two sensors have read above the limit within 15 minutes of each other."""
    moments = sorted(microseconds(one.measured_at) for one in spot.readings.values())
    return any(later - earlier <= SECOND_SENSOR_US for earlier, later in itertools.pairwise(moments))


def _verified(spot: Spot) -> ev.ExceedanceVerified:
    suspected, readings = spot.suspected, list(spot.readings.values())
    return ev.ExceedanceVerified(
        exceedance_id=suspected.exceedance_id, medium=suspected.medium, quantity=suspected.quantity, unit=suspected.unit,
        station_ids=sorted({one.station_id for one in readings}), value=worst(spot), limit=suspected.limit,
        standard=suspected.standard, district_id=suspected.district_id, place=suspected.place,
        first_at=min((one.measured_at for one in readings), key=microseconds),
    )  # fmt: skip


def worst(spot: Spot) -> float:
    """Of the readings that it rests on the one that is farthest from the limit."""
    values = [one.value for one in spot.readings.values()] or [spot.suspected.reading.value]
    return min(values) if spot.suspected.reading.value < spot.suspected.limit else max(values)


def _unverified(spot: Spot, now: int) -> list[Message]:
    suspected, (reading,) = spot.suspected, list(spot.readings.values())[:1]
    reason = (
        f"read {quantities.name(suspected.quantity)} of {reading.value:g}, beyond the limit of {suspected.limit:g}, "
        "and no second sensor did within 15 minutes"
    )
    return [
        ev.ExceedanceUnverified(
            exceedance_id=suspected.exceedance_id, reason=reason, district_id=suspected.district_id
        ),
        ev.MaintenanceAsked(
            station_id=reading.station_id, sensor_id=reading.sensor_id, district_id=suspected.district_id,
            place=suspected.place, reason=reason, asked_at=timestamp(now), maintenance_id=suspected.exceedance_id,
        ),
    ]  # fmt: skip


def show(spot: Spot) -> pb.Exceedance:
    """An exceedance as callers see it."""
    suspected = spot.suspected
    return pb.Exceedance(
        exceedance_id=suspected.exceedance_id, state=spot.state, medium=suspected.medium, quantity=suspected.quantity,
        value=worst(spot), unit=suspected.unit, limit=suspected.limit, standard=suspected.standard,
        district_id=suspected.district_id, place=suspected.place, first_at=suspected.reading.measured_at,
        readings=[spot.readings[key] for key in sorted(spot.readings)], reason=spot.reason,
    )  # fmt: skip
