"""Two detectors on the same lanes of a road, and what they show together: the figures that incidents are found by. Pure.

**Blocks.** Readings of 30 or 60 s are put together until they cover at least one cycle of the signal at the end of the road. In
a shorter time a detector sees mostly red or mostly green, and swings without any incident.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb

from citybrain.services.traffic import california_7, detector_health, standard_normal_deviate, standing
from citybrain.services.traffic.detector_health import WINDOW_S
from citybrain.services.traffic.detectors import MICROSECONDS
from citybrain.services.traffic.street_network import Known
from citybrain.services.traffic.verdicts import interval

VERSION = "incident-detection-1"
"""The version of the rules of both algorithms and of their thresholds."""
LEAST_APART_M = 30.0
"""Two detectors that are nearer see the same vehicle: nothing stands between them. 30 m is enough."""
NO_CYCLE_S = 120.0
"""Of a signal whose plan is not fixed, or of a road without one."""
LOOKED_AT = standard_normal_deviate.REFERENCE + standard_normal_deviate.PERSISTENCE

Said = Mapping[int, detector_health.Interval]
"""What can be believed of a detector: the second since 1970 at which an interval begins → the interval."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two detectors of a road that report as often, the first before the second, and the length of a block."""

    edge_id: str
    upstream: str
    downstream: str
    interval_s: int
    block_s: int


@dataclass(frozen=True, slots=True)
class Block:
    """What both have measured in a block: vehicles and occupancy."""

    came_in: int
    went_out: int
    upstream: float
    downstream: float


def slot(second: int, interval_s: int) -> int:
    """The interval that something measured counts for, by its first second: detectors need not begin at whole intervals."""
    return second - second % interval_s


def block_length(cycle_s: float, interval_s: int) -> int:
    """The shortest time of whole intervals that holds a cycle. A cycle of 90 s: 90 of intervals of 30 s, 120 of 60 s."""
    return interval_s * max(1, math.ceil(cycle_s / interval_s - 1e-9))


def on_road(known: Known, edge_id: str) -> list[Pair]:
    """The pairs of a road: for the same lanes the first and the last detector that report as often."""
    together: dict[tuple[tuple[int, ...], int], list[str]] = {}
    for name in known.on.get(edge_id, ()):
        one = known.detectors[name]
        together.setdefault((tuple(sorted(one.lanes)), one.interval_s), []).append(name)
    found = []
    for (_, interval_s), names in sorted(together.items()):
        ordered = sorted(names, key=lambda name: (known.detectors[name].position_m, name))
        first, last = known.detectors[ordered[0]], known.detectors[ordered[-1]]
        if last.position_m - first.position_m >= LEAST_APART_M:
            block = block_length(known.cycles.get(edge_id, NO_CYCLE_S), interval_s)
            found.append(Pair(edge_id, ordered[0], ordered[-1], interval_s, block))
    return found


def of_part(known: Known, part_id: str) -> list[Pair]:
    """The pairs of a part of the network, by road."""
    edges = sorted({known.detectors[name].edge_id for name in known.of_part(part_id)})
    return [pair for edge_id in edges for pair in on_road(known, edge_id)]


def of_window(
    known: Known, before: Sequence[ev.StreetMeasured], measured: ev.StreetMeasured
) -> tuple[list[pb.PairFigures], bool]:
    """The figures of the pairs of a part of which enough was measured, and whether the part has any pair."""
    pairs = of_part(known, measured.part_id)
    if not pairs:
        return [], False
    start = standing.begins(measured) // MICROSECONDS
    since = start - LOOKED_AT * max(pair.block_s for pair in pairs) - WINDOW_S
    windows = [*(one for one in before if standing.begins(one) // MICROSECONDS >= since), measured]
    said = _said(known, {name for pair in pairs for name in (pair.upstream, pair.downstream)}, windows)
    found = [figures(pair, said[pair.upstream], said[pair.downstream], start, WINDOW_S) for pair in pairs]
    return [one for one in found if one is not None], True


def _said(
    known: Known, names: set[str], windows: Sequence[ev.StreetMeasured]
) -> dict[str, dict[int, detector_health.Interval]]:
    """What can be believed of detectors. Nothing of a window in which a detector failed, or was left out."""
    found: dict[str, dict[int, detector_health.Interval]] = {name: {} for name in names}
    for window in windows:
        start = standing.begins(window) // MICROSECONDS
        missing = {name for road in window.roads for name in road.missing_detector_ids}
        for one in window.detectors:
            if one.detector_id not in names or one.detector_id in missing:
                continue
            detector = known.detectors[one.detector_id]
            for each in one.intervals:
                read = interval(each)
                if detector_health.possible(read, len(detector.lanes), detector.interval_s):
                    found[one.detector_id][slot(start + each.second, detector.interval_s)] = read
    return found


def blocks(pair: Pair, upstream: Said, downstream: Said, last: int) -> list[Block | None]:
    """The last 11 blocks up to the one with the number `last`, the oldest first; None: too little was measured of one."""
    found: list[Block | None] = []
    for number in range(last - LOOKED_AT + 1, last + 1):
        seconds = range(number * pair.block_s, (number + 1) * pair.block_s, pair.interval_s)
        ups, downs = [upstream.get(at) for at in seconds], [downstream.get(at) for at in seconds]
        both = [(up, down) for up, down in zip(ups, downs, strict=True) if up is not None and down is not None]
        if len(both) < len(seconds):
            found.append(None)
            continue
        found.append(
            Block(
                sum(up.vehicles for up, _ in both),
                sum(down.vehicles for _, down in both),
                sum(up.occupancy for up, _ in both) / len(both),
                sum(down.occupancy for _, down in both) / len(both),
            )
        )
    return found


def figures(pair: Pair, upstream: Said, downstream: Said, start: int, seconds: int) -> pb.PairFigures | None:
    """The figures of a pair in the seconds from `start` on; None: no block ended in them, or nothing is known."""
    occupancies: list[california_7.Found] = []
    deviates: list[float] = []
    newest: Sequence[Block] = ()
    # The end of a window belongs to it.
    for last in range(start // pair.block_s, (start + seconds) // pair.block_s):
        known = blocks(pair, upstream, downstream, last)
        three = [one for one in known[-california_7.PERSISTENCE :] if one is not None]
        if len(three) < california_7.PERSISTENCE:
            continue
        newest = three
        occupancies.append(california_7.held([one.upstream for one in three], [one.downstream for one in three]))
        if all(known):
            counted = [one for one in known if one is not None]
            deviates.append(standard_normal_deviate.held([one.came_in for one in counted], [one.went_out for one in counted]))
    if not occupancies:
        return None
    greatest = max(occupancies, key=lambda one: one.difference)
    told = pb.PairFigures(
        edge_id=pair.edge_id, upstream_detector_id=pair.upstream, downstream_detector_id=pair.downstream, block_s=pair.block_s,
        occupancy_difference=round(greatest.difference, 4), occupancy_ratio=round(greatest.ratio, 4),
        downstream_occupancy=round(greatest.downstream, 4), vehicles_in=sum(one.came_in for one in newest),
        vehicles_out=sum(one.went_out for one in newest),
    )  # fmt: skip
    if deviates:
        told.deviate = round(max(deviates), 3)
    return told
