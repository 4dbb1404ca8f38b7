"""Mean speeds of the last five minutes: for each edge one sum a minute, five of them kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from citybrain.traffic.v1.events_pb2 import SpeedsMeasured
from citybrain.traffic.v1.street_pb2 import ObservedSpeed
from citybrain.traffic.v1.traffic_service_pb2 import EdgeSpeed
from google.protobuf.timestamp_pb2 import Timestamp

MINUTES = 5
"""Minutes that a mean covers."""

Sums = Mapping[str, tuple[float, int]]
"""By edge: the sum of speeds in metres a second over vehicles, and how many."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """Sums of the last minutes, by the number of the minute since the epoch; and the first minute not published yet."""

    minutes: Mapping[int, Sums] = field(default_factory=dict)
    untold: int | None = None


def fold(speeds: Speeds, at: float, seen: Iterable[EdgeSpeed]) -> tuple[Speeds, SpeedsMeasured | None]:
    """Takes in what was seen at a moment (seconds since the epoch); with the first of a new minute, tells the last five.

    What comes later than its own minute's end is dropped: that minute has been told of.
    """
    minute = int(at // 60)
    untold = minute if speeds.untold is None else speeds.untold
    if minute < untold:
        return speeds, None
    minutes = {m: sums for m, sums in speeds.minutes.items() if m >= minute - MINUTES}
    told = _measured(minutes, minute) if minute > untold else None
    sums = dict(minutes.get(minute, {}))
    for edge in seen:
        if edge.vehicles:
            total, vehicles = sums.get(edge.edge_id, (0.0, 0))
            sums[edge.edge_id] = (total + edge.speed_mps * edge.vehicles, vehicles + edge.vehicles)
    return Speeds({**minutes, minute: sums}, minute), told


def finished(before: Speeds, after: Speeds) -> tuple[int, list[ObservedSpeed]]:
    """The minute that is over since, by its number, and what was seen in it."""
    if before.untold is None or before.untold == after.untold:
        return 0, []
    sums = before.minutes.get(before.untold, {})
    return before.untold, [
        ObservedSpeed(edge_id=edge, speed_mps=total / vehicles, vehicles=vehicles)
        for edge, (total, vehicles) in sorted(sums.items())
    ]


def _measured(minutes: Mapping[int, Sums], end: int) -> SpeedsMeasured:
    totals: dict[str, tuple[float, int]] = {}
    for minute in range(end - MINUTES, end):
        for edge, (total, vehicles) in minutes.get(minute, {}).items():
            before = totals.get(edge, (0.0, 0))
            totals[edge] = (before[0] + total, before[1] + vehicles)
    return SpeedsMeasured(
        from_time=Timestamp(seconds=(end - MINUTES) * 60),
        to_time=Timestamp(seconds=end * 60),
        speeds=[
            EdgeSpeed(edge_id=edge, speed_mps=round(total / vehicles, 3), vehicles=vehicles)
            for edge, (total, vehicles) in sorted(totals.items())
        ],
    )
