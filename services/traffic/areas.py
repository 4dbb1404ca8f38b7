"""A district, or the city: how congested it was in the last two hours, five minutes by five minutes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.services.traffic import congestion, standing
from citybrain.services.traffic.congestion import Level
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.streets import KEPT

LEVELS = "area"
"""Under this name the levels of an area stand: it is one place."""


@dataclass(frozen=True, slots=True)
class Area:
    """The windows that are kept, by their beginnings (microseconds), and the levels that were told."""

    windows: Mapping[int, ev.AreaMeasured] = field(default_factory=dict)
    levels: Mapping[str, tuple[ev.CongestionChanged, ...]] = field(default_factory=dict)


def evolve(area: Area, event: Message) -> Area:
    """The area after an event."""
    match event:
        case ev.AreaMeasured():
            kept = dict(sorted({**area.windows, standing.begins(event): event}.items())[-KEPT:])
            return Area(kept, standing.newest(area.levels, min(kept)))
        case ev.CongestionChanged():
            return replace(area, levels=standing.told(area.levels, LEVELS, event))
        case ev.CongestionRetracted():
            return replace(area, levels=standing.retracted(area.levels, LEVELS, standing.begins(event)))
    return area


def measure(area: Area, district_id: str, start: int, roads: Sequence[pb.RoadState], *, anew: bool = False) -> list[Message]:
    """Judges a window, from the states of the roads of the area in it. `start`: its beginning in microseconds.

    `anew`: only if it was judged before. One of which only some roads are known, late, says nothing of the area.
    """
    if start not in area.windows and (anew or (len(area.windows) == KEPT and start < min(area.windows))):
        return []
    before = [window.area for begun, window in sorted(area.windows.items()) if begun < start]
    told, held = area.windows.get(start), standing.before(area.levels, LEVELS, start)
    old = Level(held.level) if held is not None else Level.NEVER
    state = _state(district_id, roads)
    now = state.ratio if state.HasField("ratio") else None
    was = before[-1].ratio if before and before[-1].HasField("ratio") else None
    level = congestion.step(old, was, now)
    history = [one.index if one.HasField("index") else None for one in before[-congestion.TREND :]]
    trend = congestion.trend(history, None if now is None else state.index)
    unsaid = Level.UNKNOWN if now is None else Level.SMOOTH
    shown = unsaid if level is Level.NEVER else level
    state.MergeFrom(pb.AreaState(level=pb.CongestionLevel.Name(shown), trend=pb.Trend.Name(trend)))
    window = {"from": timestamp(start), "to": timestamp(start + WINDOW_US)}
    measured = ev.AreaMeasured(district_id=district_id, area=state, standard=congestion.STANDARD, **window)  # type: ignore[arg-type]
    events: list[Message] = []
    if told is not None:
        measured.revision = told.revision
    if measured != told:
        measured.revision += 1
        events.append(measured)
    changed = None
    if level is not old:
        changed = ev.CongestionChanged(
            district_id=district_id, level=state.level, area=state, standard=congestion.STANDARD,
            old_level=held.level if held is not None else pb.CONGESTION_LEVEL_UNSPECIFIED, **window,  # type: ignore[arg-type]
        )  # fmt: skip
    said = standing.at(area.levels, LEVELS, start)
    if said != changed:
        if said is not None:
            begun = {"from": getattr(said, "from")}
            events.append(ev.CongestionRetracted(district_id=district_id, level=said.level, **begun))
        if changed is not None:
            events.append(changed)
    return events


def _state(district_id: str, roads: Sequence[pb.RoadState]) -> pb.AreaState:
    """The state without level and trend."""
    lengths = [(road.length_m, road.ratio if road.HasField("ratio") else None) for road in roads]
    ratio, known, expected = congestion.of_area(lengths)
    at = [road.level for road in roads]
    state = pb.AreaState(
        district_id=district_id, length_m=round(known, 1), expected_length_m=round(expected, 1), roads=len(roads),
        incomplete_roads=sum(road.incomplete for road in roads), light=at.count(pb.CONGESTION_LEVEL_LIGHT),
        moderate=at.count(pb.CONGESTION_LEVEL_MODERATE), severe=at.count(pb.CONGESTION_LEVEL_SEVERE),
    )  # fmt: skip
    if ratio is not None:
        state.ratio, state.index = round(ratio, 4), round(1 - ratio, 4)
    return state
