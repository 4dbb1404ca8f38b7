"""The health of junctions hour by hour, and beside it how they are now. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import outlook_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.services.traffic import damped_persistence, junction_health
from citybrain.services.traffic.free_speeds import HOUR_US
from citybrain.services.traffic.incident_views import CycleRow
from citybrain.services.traffic.junction_health import PARTS, Approach
from citybrain.services.traffic.street_network import Known

DAYS, LEAST_DAYS = 14, 3
"""What is usual is the mean of this hour over 14 days; three must be known."""
SLOTS = 24 * (DAYS + 1)
TOGETHER = 500
"""So many junctions go into one event."""
UTC_HOURS = 8
SCALE = 1000

Hours = Mapping[int, tuple[float, tuple[float, ...]]]
"""The number of an hour since 1970 → score and parts."""


@dataclass(frozen=True, slots=True)
class Now:
    """What is known of the streets: roads by the newest window, queues that are observed, roads with an open incident."""

    known: Known
    roads: Mapping[str, street.RoadState]
    queues: Mapping[str, int] | None
    incidents: frozenset[str]


def approaches(row: CycleRow, now: Now) -> list[Approach]:
    """The roads that end at a signal and are published."""
    found = []
    for edge_id in row.edge_ids:
        if edge_id not in now.known.roads:
            continue
        state = now.roads.get(edge_id, street.RoadState())
        found.append(
            Approach(
                now.known.roads[edge_id].length_m,
                state.index if state.HasField("index") else None,
                state.vehicles_per_hour if state.HasField("vehicles_per_hour") else None,
                None if now.queues is None else now.queues.get(edge_id, 0),
                len(state.detector_ids) + len(state.missing_detector_ids),
                len(state.missing_detector_ids),
                edge_id in now.incidents,
            )
        )
    return found


def health(row: CycleRow, now: Now, before: Hours, at: int, *, ahead: bool) -> pb.JunctionHealth | None:
    """A junction now, beside what is usual; `ahead`: with what is expected in an hour. None: nothing of it is known.

    `before`: its hours; `at`: now, in microseconds.
    """
    found = approaches(row, now)
    if all(one.index is None for one in found):
        return None
    parts, incomplete = junction_health.parts(found)
    edges = [edge_id for edge_id in row.edge_ids if edge_id in now.known.roads]
    told = pb.JunctionHealth(
        signal_id=row.signal_id, district_id=now.known.roads[edges[0]].district_id,
        score=round(junction_health.score(parts), 1), incomplete=incomplete, at=timestamp(at), approach_edge_ids=edges,
        version=junction_health.VERSION,
    )  # fmt: skip
    hour = at // HOUR_US
    same = [each for number, each in before.items() if (number - hour) % 24 == 0 and hour - 24 * DAYS <= number < hour]
    told.days = len(same)
    usual = None
    if len(same) >= LEAST_DAYS:
        usual = {part: sum(each[index] for _, each in same) / len(same) for index, part in enumerate(PARTS)}
        told.usual = round(sum(score for score, _ in same) / len(same), 1)
        taken = junction_health.takes(parts, usual)
        told.factor = junction_health.factor(taken)
    for part in PARTS:
        one = told.parts.add(part=part, now=round(parts[part], 4))
        if usual is not None:
            one.usual, one.takes = round(usual[part], 4), round(taken[part], 2)
    if ahead:
        _expect(told, before, hour)
    return told


def _expect(told: pb.JunctionHealth, before: Hours, hour: int) -> None:
    """What is expected in an hour, where that beats the naive forecasts."""
    scores = {number + UTC_HOURS: score for number, (score, _) in before.items() if hour - 24 * DAYS <= number < hour}
    learnt = damped_persistence.learn(scores, 1, 24)
    if learnt is not None:
        slot = hour + UTC_HOURS
        value = damped_persistence.forecast(learnt.usual, learnt.share, told.score, slot, 1, 24)
        told.in_an_hour = round(min(100.0, max(0.0, value)), 1)
        told.error, told.naive_error = round(learnt.error, 2), round(learnt.naive_error, 2)


def existing(told: pb.JunctionHealth | None, signal_id: str) -> pb.JunctionHealth:
    """The health, or NotFound."""
    if told is None:
        what = "it is not registered, or nothing was measured on its approaches in the last 15 minutes"
        raise NotFound(f"the health of junction {signal_id!r} is not known: {what}", "NOT_MEASURED")
    return told


def place_in_list(one: pb.JunctionHealth) -> tuple[int | str, ...]:
    """What junctions are ordered by: the worst first."""
    return round(one.score * 10), one.signal_id


# -- hour by hour -------------------------------------------------------------------------------------------------------------


def scored(some: Sequence[pb.JunctionHealth], at: int) -> list[ev.JunctionHealthScored]:
    """What is kept of an hour, some junctions at a time."""
    found = []
    for batch, first in enumerate(range(0, len(some), TOGETHER)):
        told = ev.JunctionHealthScored(at=timestamp(at), version=junction_health.VERSION, batch=batch)
        for one in some[first : first + TOGETHER]:
            told.junctions.add(signal_id=one.signal_id, score=one.score, parts=[part.now for part in one.parts])
        found.append(told)
    return found


@dataclass(frozen=True, slots=True)
class LastScored:
    """The newest hour that was told."""

    hour: int = -1


def evolve(state: LastScored, event: Message) -> LastScored:
    """The newest hour, after an event."""
    return LastScored(microseconds(event.at) // HOUR_US) if isinstance(event, ev.JunctionHealthScored) else state


def tell(state: LastScored, told: ev.JunctionHealthScored) -> list[Message]:
    """Tells an hour once."""
    return [told] if microseconds(told.at) // HOUR_US > state.hour else []


@dataclass(frozen=True, slots=True)
class JunctionHourRow:
    """An hour (its number since 1970): junction → score and parts, each times `SCALE`."""

    hour: int
    junctions: dict[str, tuple[int, ...]]


def hour_key(event: Heard) -> str:
    """The place of the hour, and which junctions."""
    assert isinstance(event.data, ev.JunctionHealthScored)
    return f"{microseconds(event.data.at) // HOUR_US % SLOTS} {event.data.batch}"


def hour_row(row: JunctionHourRow | None, event: Heard) -> JunctionHourRow | None:
    """The hour."""
    assert isinstance(event.data, ev.JunctionHealthScored)
    found = {
        one.signal_id: (round(one.score * SCALE), *(round(part * SCALE) for part in one.parts)) for one in event.data.junctions
    }
    return JunctionHourRow(microseconds(event.data.at) // HOUR_US, found)


def history(rows: Iterable[JunctionHourRow]) -> dict[str, dict[int, tuple[float, tuple[float, ...]]]]:
    """Junction → its hours."""
    found: dict[str, dict[int, tuple[float, tuple[float, ...]]]] = {}
    for row in rows:
        for signal_id, (score, *parts) in row.junctions.items():
            found.setdefault(signal_id, {})[row.hour] = (score / SCALE, tuple(part / SCALE for part in parts))
    return found
