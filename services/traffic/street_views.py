"""Read models of the state of the streets: the roads as published, detectors, and what was measured last."""

from __future__ import annotations

from collections.abc import Iterable

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb

from citybrain.mesh.events import Heard, microseconds
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept
from citybrain.services.traffic.detectors import MICROSECONDS
from citybrain.services.traffic.road_states import is_known
from citybrain.services.traffic.standing import begins
from citybrain.services.traffic.street_network import Road

OUTDATED_US = 900 * MICROSECONDS
"""What ended longer ago is not how the streets are now."""
DETECTOR_EVENTS = (ev.DetectorRegistered,)
STREET_EVENTS = (ev.StreetMeasured,)
AREA_EVENTS = (ev.AreaMeasured,)
FREE_EVENTS = (ev.FreeSpeedsLearnt,)
CONGESTED = (pb.CONGESTION_LEVEL_LIGHT, pb.CONGESTION_LEVEL_MODERATE, pb.CONGESTION_LEVEL_SEVERE)


def network(row: Kept | None, event: Heard) -> Kept | None:
    """A part of the network as it was published last."""
    assert isinstance(event.data, ev.RoadsPublished)
    return Kept.of(ev.RoadsPublished(edges=event.data.edges))


def roads(rows: Iterable[Kept]) -> dict[str, Road]:
    """Every road, with its part."""
    found = {}
    for row in rows:
        part = row.read(ev.RoadsPublished)
        for edge in part.edges:
            following = tuple(edge.next_edge_ids)
            found[edge.edge_id] = Road(
                part.edges[0].edge_id, edge.length_m, edge.free_speed_mps, edge.district_id, following
            )  # fmt: skip
    return found


def detector_key(event: Heard) -> str:
    """The detector."""
    assert isinstance(event.data, ev.DetectorRegistered)
    return event.data.detector.detector_id


def detector(row: Kept | None, event: Heard) -> Kept | None:
    """The detector as it was registered last."""
    assert isinstance(event.data, ev.DetectorRegistered)
    return Kept.of(event.data.detector)


def detectors(rows: Iterable[Kept]) -> dict[str, pb.Detector]:
    """By id."""
    return {one.detector_id: one for one in (row.read(pb.Detector) for row in rows)}


def street_key(event: Heard) -> str:
    """The part of the network."""
    assert isinstance(event.data, ev.StreetMeasured)
    return event.data.part_id


def street(row: Kept | None, event: Heard) -> Kept | None:
    """The newest window of a part, as it was measured last."""
    data = event.data
    assert isinstance(data, ev.StreetMeasured)
    if row is not None and begins(row.read(pb.StreetNow)) > begins(data):
        return row
    window = {"from": getattr(data, "from"), "to": data.to}
    return Kept.of(pb.StreetNow(part_id=data.part_id, roads=data.roads, failed=data.failed, **window))


def parts_known(rows: Iterable[Kept]) -> set[str]:
    """The parts with a road of which something is known."""
    return {now.part_id for row in rows if any(map(is_known, (now := row.read(pb.StreetNow)).roads))}


def free_key(event: Heard) -> str:
    """The part of the network."""
    assert isinstance(event.data, ev.FreeSpeedsLearnt)
    return event.data.part_id


def free(row: Kept | None, event: Heard) -> Kept | None:
    """The speeds in free flow as they were learnt last."""
    return Kept.of(event.data)


def free_speeds(rows: Iterable[Kept]) -> dict[str, tuple[float, int]]:
    """Road → speed in free flow in m/s, and the days that it was learnt from."""
    return {one.edge_id: (one.speed_mps, one.days) for row in rows for one in row.read(ev.FreeSpeedsLearnt).roads}


def area_key(event: Heard) -> str:
    """The district; of the city a word that no district has."""
    assert isinstance(event.data, ev.AreaMeasured)
    return area_named(event.data.district_id)


def area_named(district_id: str) -> str:
    """The name of an area among others: that of the city is no district's."""
    return joined("district", district_id) if district_id else "city"


def area(row: Kept | None, event: Heard) -> Kept | None:
    """The newest window of an area, as it was measured last."""
    assert isinstance(event.data, ev.AreaMeasured)
    return row if row is not None and begins(row.read(ev.AreaMeasured)) > begins(event.data) else Kept.of(event.data)


def worst_first(rows: Iterable[Kept]) -> list[tuple[int, pb.RoadState]]:
    """The congested roads, the highest index first, each with the end of its window (microseconds)."""
    found = []
    for row in rows:
        now = row.read(pb.StreetNow)
        found += [(microseconds(now.to), road) for road in now.roads if road.level in CONGESTED]
    return sorted(found, key=place_in_list)


def failed(rows: Iterable[Kept]) -> list[pb.FailedDetector]:
    """The detectors that fail, in the order of their ids."""
    return sorted((one for row in rows for one in row.read(pb.StreetNow).failed), key=place_of_detector)


def place_of_detector(one: pb.FailedDetector) -> tuple[int | str, ...]:
    """What detectors that fail are ordered by."""
    return (one.detector_id,)


def place_in_list(one: tuple[int, pb.RoadState]) -> tuple[int | str, ...]:
    """What congested roads are ordered by."""
    return -round(one[1].index * 10_000), one[1].edge_id
