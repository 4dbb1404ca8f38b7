"""Accidents: recorded, corrected, withdrawn. They name nobody. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import road_safety_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.mesh.events import Heard, microseconds
from citybrain.mesh.kept import packed, unpacked
from citybrain.mesh.roads import beyond_the_end
from citybrain.services.traffic.detectors import MICROSECONDS

ACCIDENT_EVENTS = (ev.AccidentRecorded, ev.AccidentCorrected, ev.AccidentWithdrawn)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An accident as it is known now."""

    accident: pb.Accident | None = None
    district_id: str = ""
    withdrawn: bool = False


def evolve(state: Recorded, event: Message) -> Recorded:
    """The accident after an event."""
    match event:
        case ev.AccidentRecorded() | ev.AccidentCorrected():
            return Recorded(event.accident, event.district_id)
        case ev.AccidentWithdrawn():
            return replace(state, withdrawn=True)
    return state


def district_of(state: Recorded) -> str:
    """The district of its road."""
    return state.district_id


def check(accident: pb.Accident, lengths_m: Mapping[str, float], now: int) -> None:
    """BadRequest where an accident cannot be as it is said to be. `now`: in microseconds."""
    problems = []
    if accident.edge_id not in lengths_m:
        what = f"{accident.edge_id!r} is not in the published network: name a road that is, or publish it"
        problems.append(("accident.edge_id", what))
    elif accident.HasField("position_m") and (wrong := beyond_the_end(lengths_m, accident.edge_id, accident.position_m)):
        problems.append(("accident.position_m", wrong))
    if microseconds(accident.happened_at) > now + 60 * MICROSECONDS:
        problems.append(("accident.happened_at", "is in the future: give the moment at which it happened"))
    if accident.dead and accident.severity != pb.ACCIDENT_SEVERITY_FATAL:
        problems.append(("accident.severity", "must be fatal, because somebody died: correct it, or the number"))
    elif accident.injured and accident.severity == pb.ACCIDENT_SEVERITY_DAMAGE:
        problems.append(("accident.severity", "must be injury, because somebody was injured: correct it, or the number"))
    if problems:
        raise BadRequest(problems)


def record(state: Recorded, accident: pb.Accident, district_id: str) -> list[Message]:
    """Records an accident; a second time with the same content changes nothing."""
    if state.accident is None:
        return [ev.AccidentRecorded(accident=accident, district_id=district_id)]
    if state.accident == accident and not state.withdrawn:
        return []
    what = f"accident {accident.accident_id} is recorded otherwise: correct it (CorrectAccident), or use a new id"
    raise AlreadyDifferent(what, "OTHER_ACCIDENT")


def correct(state: Recorded, request: pb.CorrectAccidentRequest, district_id: str) -> list[Message]:
    """Says how it is right."""
    before = _existing(state, request.accident.accident_id)
    if before == request.accident:
        return []
    return [
        ev.AccidentCorrected(
            accident=request.accident, district_id=district_id, reason=request.reason, old_edge_id=before.edge_id
        )
    ]  # fmt: skip


def withdraw(state: Recorded, request: pb.WithdrawAccidentRequest) -> list[Message]:
    """It should not have been recorded."""
    if state.withdrawn:
        return []
    before = _existing(state, request.accident_id)
    return [
        ev.AccidentWithdrawn(
            accident_id=request.accident_id, edge_id=before.edge_id, district_id=state.district_id, reason=request.reason
        )
    ]  # fmt: skip


def _existing(state: Recorded, accident_id: str) -> pb.Accident:
    if state.accident is None:
        raise NotFound(f"there is no accident {accident_id}: record it first (RecordAccident)", "NO_SUCH_ACCIDENT")
    if state.withdrawn:
        raise Refused(f"accident {accident_id} was withdrawn: record it under a new id", "ACCIDENT_WITHDRAWN")
    return state.accident


@dataclass(frozen=True, slots=True)
class AccidentRow:
    """An accident as bytes of its message in base 64."""

    accident: str


def row_key(event: Heard) -> str:
    """The accident."""
    data = event.data
    assert isinstance(data, ev.AccidentRecorded | ev.AccidentCorrected | ev.AccidentWithdrawn)
    return data.accident_id if isinstance(data, ev.AccidentWithdrawn) else data.accident.accident_id


def row(_before: AccidentRow | None, event: Heard) -> AccidentRow | None:
    """The accident as it is known now; none where it was withdrawn."""
    data = event.data
    return None if isinstance(data, ev.AccidentWithdrawn) else AccidentRow(packed(data.accident))  # type: ignore[attr-defined]


def by_road(rows: Iterable[AccidentRow]) -> dict[str, list[pb.Accident]]:
    """The accidents of each road, the newest first."""
    found: dict[str, list[pb.Accident]] = {}
    for each in sorted((unpacked(one.accident, pb.Accident) for one in rows), key=place_in_list):
        found.setdefault(each.edge_id, []).append(each)
    return found


def place_in_list(one: pb.Accident) -> tuple[int | str, ...]:
    """What accidents are ordered by."""
    return -microseconds(one.happened_at), one.accident_id


def first(known: Mapping[str, list[pb.Accident]], now: int) -> int:
    """When the first one happened, in microseconds: from then on it is known that they are recorded."""
    return min((microseconds(each[-1].happened_at) for each in known.values()), default=now)


def between(known: Iterable[pb.Accident], since: int, until: int) -> int:
    """How many happened from one moment on and before another."""
    return sum(since <= microseconds(one.happened_at) < until for one in known)


def applied(known: Mapping[str, list[pb.Accident]], event: Message) -> dict[str, list[pb.Accident]]:
    """The accidents with a correction, or without one that was withdrawn: the read model may not have heard of it yet."""
    accident = event.accident if isinstance(event, ev.AccidentCorrected) else None
    gone = accident.accident_id if accident is not None else getattr(event, "accident_id", "")
    found = {edge_id: [one for one in each if one.accident_id != gone] for edge_id, each in known.items()}
    if accident is not None:
        found[accident.edge_id] = sorted([*found.get(accident.edge_id, []), accident], key=place_in_list)
    return {edge_id: each for edge_id, each in found.items() if each}
