"""A part of the network, five minutes by five minutes: what was measured, which detectors fail, how congested roads are. Pure.

Each window is judged from what was measured in it and from what was found in the one before. When late or corrected readings
come, the window is judged anew, and so are those after it. What was told and does not follow any more is retracted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.traffic import congestion, incident_pairs, queues, road_states, standing, verdicts
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.street_network import Known

KEPT = 24
"""So many windows are kept: two hours. The oldest reading that is taken in falls into one of them."""

Intervals = Mapping[int, pb.MeasuredInterval]
"""The second of the window → what was measured in the interval that began then."""
Observed = Mapping[str, tuple[float, int]]
"""Road → mean speed in m/s, and how often vehicles were seen."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Road → the most vehicles in a queue, and in how many reports it had one; and in how many reports queues were observed."""

    roads: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    reports: int = 0

    def of(self, part_id: str, known: Known) -> Queued:
        """Those of a part."""
        mine = {name: one for name, one in self.roads.items() if name in known.roads and known.roads[name].part_id == part_id}
        return Queued(mine, self.reports)


NOT_OBSERVED = Queued()


@dataclass(frozen=True, slots=True)
class Part:
    """The windows that are kept, by their beginnings (microseconds), and what was told of roads, detectors and their pairs."""

    windows: Mapping[int, ev.StreetMeasured] = field(default_factory=dict)
    levels: Mapping[str, tuple[ev.CongestionChanged, ...]] = field(default_factory=dict)
    verdicts: Mapping[str, tuple[ev.DetectorFailed | ev.DetectorRecovered, ...]] = field(default_factory=dict)
    pairs: Mapping[int, ev.PairsMeasured] = field(default_factory=dict)


def evolve(part: Part, event: Message) -> Part:
    """The part after an event."""
    match event:
        case ev.StreetMeasured():
            windows = {**part.windows, standing.begins(event): event}
            kept = dict(sorted(windows.items())[-KEPT:])
            oldest = min(kept)
            pairs = {begun: one for begun, one in part.pairs.items() if begun >= oldest}
            return Part(kept, standing.newest(part.levels, oldest), standing.newest(part.verdicts, oldest), pairs)
        case ev.PairsMeasured():
            return replace(part, pairs={**part.pairs, standing.begins(event): event})
        case ev.CongestionChanged():
            return replace(part, levels=standing.told(part.levels, event.edge_id, event))
        case ev.CongestionRetracted():
            return replace(part, levels=standing.retracted(part.levels, event.edge_id, standing.begins(event)))
        case ev.DetectorFailed() | ev.DetectorRecovered():
            return replace(part, verdicts=standing.told(part.verdicts, event.detector_id, event))
        case ev.DetectorVerdictRetracted():
            return replace(part, verdicts=standing.retracted(part.verdicts, event.detector_id, standing.begins(event)))
    return part


def measure(
    part: Part,
    part_id: str,
    known: Known,
    start: int,
    reported: Mapping[str, Intervals],
    observed: Observed,
    queued: Queued = NOT_OBSERVED,
) -> list[Message]:
    """Judges a window with what was measured in it, and those after it anew. `start`: its beginning in microseconds.

    What is reported again of the same interval replaces what was reported before. A window that is older than all that are
    kept, while as many are kept as can be, is left out.
    """
    if len(part.windows) == KEPT and start < min(part.windows):
        return []
    events: list[Message] = []
    for at in [start, *(one for one in sorted(part.windows) if one > start)]:
        now = reduce(evolve, events, part)
        before = now.windows.get(at)
        measured = ev.StreetMeasured(part_id=part_id, **{"from": timestamp(at), "to": timestamp(at + WINDOW_US)})  # type: ignore[arg-type]
        if before is not None:
            measured.detectors.extend(before.detectors)
            measured.observed.extend(before.observed)
            measured.queues.extend(before.queues)
            measured.queue_reports = before.queue_reports
        if at == start:
            _merge(measured, reported, observed)
            if queued.reports:
                _merge_queues(measured, queued)
        judged = _judge(now, known, at, measured)
        events += [*judged, *_pairs(reduce(evolve, judged, now), known, at)]
    return events


def _merge(measured: ev.StreetMeasured, reported: Mapping[str, Intervals], observed: Observed) -> None:
    windows = {one.detector_id: {each.second: each for each in one.intervals} for one in measured.detectors}
    for name, intervals in reported.items():
        windows[name] = {**windows.get(name, {}), **intervals}
    begun = getattr(measured, "from")
    del measured.detectors[:]
    for name, found in sorted(windows.items()):
        measured.detectors.add(detector_id=name, intervals=[found[second] for second in sorted(found)], **{"from": begun})
    speeds = {one.edge_id: one for one in measured.observed}
    for edge_id, (speed, vehicles) in observed.items():
        speeds[edge_id] = pb.ObservedSpeed(edge_id=edge_id, speed_mps=speed, vehicles=vehicles)
    del measured.observed[:]
    measured.observed.extend(speeds[edge_id] for edge_id in sorted(speeds))


def _merge_queues(measured: ev.StreetMeasured, queued: Queued) -> None:
    before = {one.edge_id: (one.vehicles, one.reports) for one in measured.queues}
    for edge_id, one in queued.roads.items():
        before[edge_id] = queues.merged(before[edge_id], one) if edge_id in before else one
    del measured.queues[:]
    for edge_id, (vehicles, reports) in sorted(before.items()):
        measured.queues.add(edge_id=edge_id, vehicles=vehicles, reports=reports)
    measured.queue_reports += queued.reports


def _judge(part: Part, known: Known, start: int, measured: ev.StreetMeasured) -> list[Message]:
    """The events that lead from what was told of a window to what holds. `part`: with all windows before it as they are now."""
    before = [window for begun, window in sorted(part.windows.items()) if begun < start]
    told = part.windows.get(start)
    judged = verdicts.judge(part.verdicts, known, before, measured)
    failed = {name for name, (fails, _, _) in judged.items() if fails}
    missing = failed | {name for name, (_, now, _) in judged.items() if now is not None}
    events: list[Message] = []
    for name, (fails, now, was) in judged.items():
        made = verdicts.verdict(known, name, was=was, fails=fails, now=now, before=before, measured=measured)
        events += _retold(standing.at(part.verdicts, name, start), made)
        failing = verdicts.failing(known, name, made or standing.before(part.verdicts, name, start))
        if failing is not None:
            measured.failed.append(failing)
    for road in road_states.of_window(part.levels, known, before, measured, missing):
        measured.roads.append(road)
        held = standing.before(part.levels, road.edge_id, start)
        changed = None
        if road.level != (held.level if held is not None else road_states.unsaid(road)):
            changed = ev.CongestionChanged(
                edge_id=road.edge_id, district_id=road.district_id, level=road.level, road=road,
                old_level=held.level if held is not None else pb.CONGESTION_LEVEL_UNSPECIFIED,
                standard=congestion.STANDARD, **{"from": getattr(measured, "from"), "to": measured.to},
            )  # fmt: skip
        events += _retold(standing.at(part.levels, road.edge_id, start), changed)
    if told is not None:
        measured.revision = told.revision
        if measured == told:
            return events
    measured.revision += 1
    return [measured, *events]


def _pairs(part: Part, known: Known, start: int) -> list[Message]:
    """What pairs of detectors show in a window, unless it is what was told before. They look back over windows before."""
    before = [window for begun, window in sorted(part.windows.items()) if begun < start]
    measured = part.windows[start]
    figures, any_pair = incident_pairs.of_window(known, before, measured)
    told = part.pairs.get(start)
    if not any_pair and told is None:
        return []
    window = {"from": getattr(measured, "from"), "to": measured.to}
    now = ev.PairsMeasured(part_id=measured.part_id, pairs=figures, version=incident_pairs.VERSION, **window)
    return [] if now == told else [now]


def _retold(before: Message | None, now: Message | None) -> list[Message]:
    """What is to be told where something was, and something is to be told of the same window."""
    if before == now:
        return []
    events: list[Message] = []
    if isinstance(before, ev.CongestionChanged):
        begun = {"from": getattr(before, "from")}
        events.append(
            ev.CongestionRetracted(edge_id=before.edge_id, district_id=before.district_id, level=before.level, **begun)
        )
    elif isinstance(before, ev.DetectorFailed | ev.DetectorRecovered):
        begun = {"from": getattr(before, "from")}
        events.append(
            ev.DetectorVerdictRetracted(
                detector_id=before.detector_id, edge_id=before.edge_id, district_id=before.district_id, **begun
            )
        )
    return events if now is None else [*events, now]


def windows_of(parts: Iterable[Part], since: int) -> list[int]:
    """The windows that are known since a moment, in order."""
    return sorted({begun for part in parts for begun in part.windows if begun >= since})


def roads_in(parts: Iterable[Part], start: int) -> list[pb.RoadState]:
    """The states of all roads in a window."""
    return [road for part in parts if start in part.windows for road in part.windows[start].roads]


def moment(one: pb.DetectorReading) -> tuple[int, pb.MeasuredInterval]:
    """The window of a reading (its beginning in microseconds), and the interval as it is kept."""
    began = microseconds(one.began_at)
    start = began - began % WINDOW_US
    kept = pb.MeasuredInterval(second=(began - start) // 1_000_000, vehicles=one.vehicles, occupancy=one.occupancy)
    if one.HasField("speed_mps"):
        kept.speed_mps = one.speed_mps
    return start, kept
