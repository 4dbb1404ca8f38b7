"""Read models: roads and who keeps them, closed roads, registered signals, and who has priority."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1.traffic_service_pb2 import ClosedRoad, ListClosedRoadsRequest, Signal

from citybrain.mesh.events import Heard, timestamp
from citybrain.services.traffic.grants import Grant
from citybrain.services.traffic.network import Network, build

ROAD_EVENTS = (ev.RoadsPublished,)
SIGNAL_EVENTS = (ev.SignalRegistered,)
GRANT_EVENTS = (ev.PriorityGranted, ev.PriorityReleased, ev.VehicleLost, ev.VehicleMissing, ev.WayBlocked)
CLOSURE_EVENTS = (ev.RoadClosed, ev.RoadReopened)
RoadRow = dict[str, float]
"""Road → its length in metres."""
KeeperRow = dict[str, str]
"""Road → the district that keeps it."""


@dataclass(frozen=True, slots=True)
class SignalRow:
    """A signal, as bytes of its message in base 64."""

    signal: str


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant that holds. `given`: its position in the log. `grant`: its event, as bytes of the message in base 64."""

    given: int
    grant: str
    lost: bool = False
    missing: bool = False
    blocked_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClosedRow:
    """A road that a closure keeps closed, as bytes of its message in base 64."""

    road: str


def road_key(event: Heard) -> str:
    """Roads are published in parts; each keeps the name of its first edge."""
    assert isinstance(event.data, ev.RoadsPublished)
    return event.data.edges[0].edge_id


def road(row: RoadRow | None, event: Heard) -> RoadRow | None:
    """Length of each edge of that part."""
    assert isinstance(event.data, ev.RoadsPublished)
    return {edge.edge_id: edge.length_m for edge in event.data.edges}


def lengths(rows: Iterable[RoadRow]) -> dict[str, float]:
    """Edge → metres, over all parts."""
    return {edge: length for row in rows for edge, length in row.items()}


def keeper(row: KeeperRow | None, event: Heard) -> KeeperRow | None:
    """The district of each edge of that part."""
    assert isinstance(event.data, ev.RoadsPublished)
    return {edge.edge_id: edge.district_id for edge in event.data.edges}


def keepers(rows: Iterable[KeeperRow]) -> dict[str, str]:
    """Edge → district, over all parts."""
    return {edge: district for row in rows for edge, district in row.items()}


def closed_key(event: Heard) -> str:
    """The road and the closure."""
    assert isinstance(event.data, ev.RoadClosed | ev.RoadReopened)
    return f"{event.data.edge_id} {event.data.closure_id}"


def closed(row: ClosedRow | None, event: Heard) -> ClosedRow | None:
    """The road until the closure ends."""
    data = event.data
    if not isinstance(data, ev.RoadClosed):
        return None
    shown = ClosedRoad(
        edge_id=data.edge_id, closure_id=data.closure_id, reason=data.reason, closed_at=timestamp(event.stored.occurred_at),
        incident_id=data.incident_id, district_id=data.district_id, emergency_vehicles_pass=data.emergency_vehicles_pass,
        lorries_only=data.lorries_only,
    )  # fmt: skip
    if data.HasField("expected_end"):
        shown.expected_end.CopyFrom(data.expected_end)
    return ClosedRow(b64encode(shown.SerializeToString(deterministic=True)).decode())


def closures(rows: Iterable[ClosedRow]) -> list[ClosedRoad]:
    """The roads that are closed, each as often as closures name it."""
    return [ClosedRoad.FromString(b64decode(row.road)) for row in rows]


def blocking(rows: Iterable[ClosedRow]) -> list[ClosedRoad]:
    """Those of them that emergency vehicles do not drive through either."""
    return [road for road in closures(rows) if not road.emergency_vehicles_pass]


def place_in_list(road: ClosedRoad) -> tuple[int | str, ...]:
    """What closed roads are ordered by."""
    return road.edge_id, road.closure_id


def is_asked_for(road: ClosedRoad, request: ListClosedRoadsRequest) -> bool:
    """Whether a list with this question shows it."""
    return not request.district_id or road.district_id == request.district_id


def signal_key(event: Heard) -> str:
    """The signal."""
    assert isinstance(event.data, ev.SignalRegistered)
    return event.data.signal.signal_id


def signal(row: SignalRow | None, event: Heard) -> SignalRow | None:
    """The signal as it was registered last."""
    assert isinstance(event.data, ev.SignalRegistered)
    return SignalRow(b64encode(event.data.signal.SerializeToString(deterministic=True)).decode())


def network(rows: Iterable[SignalRow]) -> Network:
    """All signals, prepared for looking ahead; without the lengths of roads."""
    return build((), (Signal.FromString(b64decode(row.signal)) for row in rows))


def grant_key(event: Heard) -> str:
    """The grant."""
    return str(event.data.grant_id)  # type: ignore[attr-defined]


def grant(row: GrantRow | None, event: Heard) -> GrantRow | None:
    """The grant until it is released, and whether its vehicle is lost."""
    if isinstance(event.data, ev.PriorityGranted):
        given = b64encode(event.data.SerializeToString(deterministic=True)).decode()
        return GrantRow(event.stored.position, given)
    if row is None or isinstance(event.data, ev.PriorityReleased):
        return None
    if isinstance(event.data, ev.WayBlocked):
        return replace(row, blocked_by=(*row.blocked_by, event.data.closure_id))
    return replace(row, lost=True, missing=isinstance(event.data, ev.VehicleMissing))


def grants(rows: Iterable[GrantRow]) -> list[Grant]:
    """The grants that hold, in the order in which they were given."""
    ordered = sorted(rows, key=lambda row: row.given)
    given = [(row, ev.PriorityGranted.FromString(b64decode(row.grant))) for row in ordered]
    return [Grant(granted, row.lost, row.missing, row.blocked_by) for row, granted in given]
