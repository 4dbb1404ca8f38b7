"""How the signals of an area are controlled: what a person with authority has decided last."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from citybrain.traffic.v1 import area_control_pb2 as pb
from citybrain.traffic.v1.events_pb2 import ControlStrategyApplied
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.events import Heard
from citybrain.mesh.kept import Kept

STRATEGY_EVENTS = (ControlStrategyApplied,)


@dataclass(frozen=True, slots=True)
class Area:
    """An area; without signals where nothing was decided yet."""

    strategy: pb.ControlStrategy = pb.CONTROL_STRATEGY_UNSPECIFIED
    signal_ids: tuple[str, ...] = ()


def evolve(area: Area, event: Message) -> Area:
    """The area after an event."""
    assert isinstance(event, ControlStrategyApplied)
    return Area(event.strategy, tuple(event.signal_ids))


def apply(
    area: Area, request: pb.ApplyControlStrategyRequest, signals: Container[str], adaptive: Mapping[str, str]
) -> list[Message]:
    """Decides for an area; the same again changes nothing.

    `signals`: those that are registered; `adaptive`: of each signal that follows the traffic, its area.
    """
    signal_ids = tuple(sorted(request.signal_ids)) or area.signal_ids
    if not signal_ids:
        raise BadRequest([("signal_ids", f"area {request.area_id!r} has no signals yet: name them")])
    for signal_id in signal_ids:
        if signal_id not in signals:
            raise Refused(f"signal {signal_id!r} is not registered: name one that is, or register it", "UNKNOWN_SIGNAL")
        other = adaptive.get(signal_id, request.area_id)
        if other != request.area_id:
            what = f"signal {signal_id!r} belongs to area {other!r}: apply the fixed plan there first"
            raise Refused(what, "OTHER_AREA")
    if Area(request.strategy, signal_ids) == area:
        return []
    return [
        ControlStrategyApplied(
            area_id=request.area_id, strategy=request.strategy, signal_ids=signal_ids, reason=request.reason
        )
    ]  # fmt: skip


def area_key(event: Heard) -> str:
    """The area."""
    assert isinstance(event.data, ControlStrategyApplied)
    return event.data.area_id


def row(_: Kept | None, event: Heard) -> Kept | None:
    """An area as it was decided last."""
    assert isinstance(event.data, ControlStrategyApplied)
    return Kept.of(event.data)


def adaptive(rows: Iterable[Kept]) -> dict[str, str]:
    """Of each signal that follows the traffic, its area."""
    areas = [kept.read(ControlStrategyApplied) for kept in rows]
    return {
        signal_id: area.area_id
        for area in areas
        if area.strategy == pb.CONTROL_STRATEGY_ADAPTIVE
        for signal_id in area.signal_ids
    }


def by_area(request: pb.ReportSignalTrafficRequest, adaptive: Mapping[str, str]) -> list[pb.AreaTraffic]:
    """What is reported, area by area; without a name those signals that run their plan."""
    areas: dict[str, pb.AreaTraffic] = {}
    for seen in request.signals:
        area_id = adaptive.get(seen.signal_id, "")
        made = areas.setdefault(area_id, pb.AreaTraffic(area_id=area_id, observed_at=request.observed_at))
        made.signals.append(seen)
    return list(areas.values())
