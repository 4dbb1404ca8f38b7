"""The state of each road of a part of the network in a window, with its level and what it rests on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb

from citybrain.services.traffic import congestion, detector_health, queues, road_speed, standing
from citybrain.services.traffic.congestion import Level
from citybrain.services.traffic.street_network import Known
from citybrain.services.traffic.verdicts import interval

Levels = Mapping[str, tuple[ev.CongestionChanged, ...]]


def of_window(
    levels: Levels,
    known: Known,
    before: Sequence[ev.StreetMeasured],
    measured: ev.StreetMeasured,
    missing: set[str],
) -> list[pb.RoadState]:
    """The state of each road that is measured, or was in the window before. `missing`: detectors that do not count in it."""
    by_name = {one.detector_id: one for one in measured.detectors}
    observed = {one.edge_id: (one.speed_mps, one.vehicles) for one in measured.observed if one.vehicles}
    queued = {one.edge_id: one for one in measured.queues}
    earlier = [{road.edge_id: road for road in window.roads} for window in before[-congestion.TREND :]]
    last = earlier[-1] if earlier else {}
    here = {known.detectors[name].edge_id for name in known.of_part(measured.part_id)} | set(observed)
    here |= {edge_id for edge_id, road in last.items() if is_known(road)}
    found = []
    for edge_id in sorted(edge_id for edge_id in here if edge_id in known.roads):
        counting = [name for name in known.on.get(edge_id, ()) if name not in missing]
        passed = [_passed(known.detectors[name], by_name[name]) for name in counting]
        state, fresh = _state(known, edge_id, passed, observed.get(edge_id), last.get(edge_id))
        _add_queue(state, known, counting, passed, queued, measured.queue_reports)
        state.detector_ids.extend(counting)
        state.missing_detector_ids.extend(name for name in known.on.get(edge_id, ()) if name in missing)
        history = [one[edge_id].index if edge_id in one and one[edge_id].HasField("index") else None for one in earlier]
        trend = congestion.trend(history, state.index if state.HasField("index") else None)
        held = standing.before(levels, edge_id, standing.begins(measured))
        told = Level(held.level) if held is not None else Level.NEVER
        was = last[edge_id].ratio if edge_id in last and last[edge_id].HasField("ratio") else None
        if fresh or not state.HasField("ratio"):
            told = congestion.step(told, was, state.ratio if state.HasField("ratio") else None)
        level = unsaid(state) if told is Level.NEVER else pb.CongestionLevel.Name(told)
        state.MergeFrom(pb.RoadState(level=level, trend=pb.Trend.Name(trend)))
        found.append(state)
    return found


def _add_queue(
    state: pb.RoadState, known: Known, counting: Sequence[str], passed: Sequence[tuple[road_speed.Passed, float]],
    queued: Mapping[str, pb.ObservedQueue], reports: int,
) -> None:  # fmt: skip
    """The queue of a road, by what was observed and by detectors at which vehicles stand."""
    occupied = [(known.detectors[name].position_m, each) for name, (_, each) in zip(counting, passed, strict=True)]
    least = queues.by_detectors(known.roads[state.edge_id].length_m, occupied)
    if reports:
        seen = queued.get(state.edge_id, pb.ObservedQueue())
        state.queue_observed, state.queue_reports, state.queue_seen = seen.vehicles, reports, seen.reports
    if least is not None:
        state.queue_by_detectors = least
    known_of = [one for one in (state.queue_observed if reports else None, least) if one is not None]
    if known_of:
        state.queue_vehicles = max(known_of)


def is_known(road: pb.RoadState) -> bool:
    """Whether something is known of a road, that holds until it is told to be unknown."""
    return road.HasField("ratio") or road.level > pb.CONGESTION_LEVEL_UNKNOWN


def unsaid(road: pb.RoadState) -> pb.CongestionLevel:
    """The level of a road of which none was ever told."""
    return pb.CONGESTION_LEVEL_SMOOTH if road.HasField("ratio") else pb.CONGESTION_LEVEL_UNKNOWN


def _passed(detector: pb.Detector, window: pb.DetectorWindow) -> tuple[road_speed.Passed, float]:
    """What a detector has counted in what can be believed of a window, and its occupancy."""
    said = [interval(one) for one in window.intervals]
    good = detector_health.believed(said, len(detector.lanes), detector.interval_s)
    speeds = [(one.speed_mps, float(one.vehicles)) for one in good if one.speed_mps is not None]
    passed = road_speed.Passed(
        tuple(detector.lanes),
        detector.interval_s * len(good),
        sum(one.vehicles for one in good),
        road_speed.merged_speed(speeds),
    )
    return passed, sum(one.occupancy for one in good) / len(good)


LEAST_OBSERVED = 5
"""Where vehicles were seen less often, and no detector counts, the state is incomplete."""
EMPTY = 0.02
"""A road on which nothing was counted is empty where the detectors were occupied for no more than this share of the time."""
STANDING = 0.5
"""Where they were occupied for this share at least, its vehicles stand."""


def _state(
    known: Known, edge_id: str, passed: Sequence[tuple[road_speed.Passed, float]], observed: tuple[float, int] | None,
    last: pb.RoadState | None,
) -> tuple[pb.RoadState, bool]:  # fmt: skip
    """The state without its level, and whether anything was measured that it can rest on."""
    road = known.roads[edge_id]
    counted = [one for one, _ in passed]
    lanes = {lane for name in known.on.get(edge_id, ()) for lane in known.detectors[name].lanes}
    state = pb.RoadState(
        edge_id=edge_id, district_id=road.district_id, length_m=road.length_m, free_speed_mps=road.free_speed_mps,
        free_speed_days=road.free_speed_days,
        lanes_known=len(lanes), counted=sum(one.vehicles for one in counted), observed=observed[1] if observed else 0,
    )  # fmt: skip
    flowing = road_speed.flow(counted)
    if flowing is not None:
        state.vehicles_per_hour, state.lanes_counted = round(flowing[0], 1), flowing[1]
    speed = road_speed.merged(counted, observed)
    ratio = None
    if passed and not state.counted and observed is None:
        # Nobody passed: the road is empty, or all stand.
        if all(occupied <= EMPTY for _, occupied in passed):
            ratio = 1.0
        elif all(occupied >= STANDING for _, occupied in passed):
            speed = 0.0
    if speed is not None:
        state.speed_mps = round(speed, 3)
        ratio = min(1.0, speed / road.free_speed_mps)
    enough = bool(passed) or state.observed >= LEAST_OBSERVED
    complete = ratio is not None and enough and len(passed) == len(known.on.get(edge_id, ()))
    was = last.ratio if last is not None and last.HasField("ratio") else None
    counts, incomplete = congestion.assessed(ratio, complete, was, last.incomplete_windows if last is not None else 0)
    state.incomplete, state.incomplete_windows = incomplete > 0, incomplete
    if counts is not None:
        state.ratio, state.index = round(counts, 4), round(1 - counts, 4)
    return state, ratio is not None
