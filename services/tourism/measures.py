"""Measures that are in force at a place: others are suggested, booking pauses, nobody is let in, people are led apart. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import peaks_pb2 as pk
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused, listed
from citybrain.mesh.events import Heard, timestamp
from citybrain.mesh.long_streams import newest

MOST = 100
"""So many measures at most are in force at a place."""
REMEMBERED = 1000
"""So many of the newest measures at least are remembered that are over."""
EVENTS = (ev.MeasureOrdered, ev.MeasureLifted)


@dataclass(frozen=True, slots=True)
class State:
    """A place. `force`: id → the measure that is in force, in the order in which they were ordered. `over`: ids of others."""

    district_id: str = ""
    force: Mapping[str, pk.Measure] = field(default_factory=dict)
    over: Mapping[str, str] = field(default_factory=dict)


def evolve(state: State, event: Message) -> State:
    """The place after an event."""
    match event:
        case ev.MeasureOrdered():
            force = {**state.force, event.measure.measure_id: event.measure}
            return replace(state, district_id=event.district_id, force=force)
        case ev.MeasureAcknowledged():
            measure = pk.Measure()
            measure.CopyFrom(state.force[event.measure_id])
            measure.acknowledged_at.CopyFrom(event.acknowledged_at)
            return replace(state, force={**state.force, event.measure_id: measure})
        case ev.MeasureLifted():
            force = {key: one for key, one in state.force.items() if key != event.measure_id}
            over = newest({**state.over, event.measure_id: event.reason}, REMEMBERED)
            return replace(state, district_id=event.district_id, force=force, over=over)
    return state


def district_of(state: State) -> str:
    """The district of the place; empty: it is not known."""
    return state.district_id


def order(state: State, place: pb.Place, request: pk.OrderMeasureRequest, has_room: Iterable[str], now: int) -> list[Message]:
    """Puts a measure into force, once. Refused where it was lifted before it came.

    `has_room`: the places beside it that do. `now`: microseconds since 1970.
    """
    key = request.measure_id
    if (known := state.force.get(key)) is not None:
        if (known.kind, known.part_id) != (request.kind, request.part_id):
            raise AlreadyDifferent(f"measure {key} is in force already, as another one: choose another id", "OTHER_MEASURE")
        return []
    if key in state.over:
        raise Refused(f"measure {key} was lifted before it came: order it under a new id", "MEASURE_LIFTED")
    if len(state.force) >= MOST:
        problem = f"{MOST} measures are in force at {place.place_id}: lift some, GetPlace has them"
        raise Refused(problem, "TOO_MANY_MEASURES")
    parts = {one.part_id for one in place.parts}
    if (request.kind == pk.MEASURE_KIND_DISPERSE) != bool(request.part_id):
        raise BadRequest([("part_id", "names where people are led apart: for that it is needed, and for nothing else")])
    if request.part_id and request.part_id not in parts:
        raise BadRequest([("part_id", f"is no part of {place.place_id}: it has {listed(sorted(parts))}")])
    elsewhere = has_room if request.kind == pk.MEASURE_KIND_SUGGEST_ELSEWHERE else ()
    measure = pk.Measure(
        measure_id=key, kind=request.kind, part_id=request.part_id, reason=request.reason, elsewhere_ids=elsewhere,
        ordered_at=timestamp(now),
    )  # fmt: skip
    return [ev.MeasureOrdered(place_id=place.place_id, district_id=place.district_id, measure=measure)]


def acknowledge(state: State, request: pk.AcknowledgeMeasureRequest, now: int) -> list[Message]:
    """Somebody at the place says that it is carried out, once."""
    known = state.force.get(request.measure_id)
    if known is None:
        if request.measure_id in state.over:
            raise Refused(f"measure {request.measure_id} is over: nothing is to be carried out any more", "MEASURE_LIFTED")
        raise NotFound(f"there is no measure {request.measure_id} at {request.place_id}: GetPlace has them", "NO_SUCH_MEASURE")
    if known.HasField("acknowledged_at"):
        return []
    return [
        ev.MeasureAcknowledged(
            place_id=request.place_id, district_id=state.district_id, measure_id=request.measure_id, kind=known.kind,
            acknowledged_at=timestamp(now),
        )
    ]  # fmt: skip


def lift(state: State, place: pb.Place, request: pk.LiftMeasureRequest) -> list[Message]:
    """Ends it, once; one that has not come yet is refused when it comes."""
    if request.measure_id in state.over:
        return []
    kind = state.force[request.measure_id].kind if request.measure_id in state.force else pk.MEASURE_KIND_UNSPECIFIED
    return [
        ev.MeasureLifted(
            place_id=place.place_id, district_id=place.district_id, measure_id=request.measure_id, kind=kind,
            reason=request.reason,
        )
    ]  # fmt: skip


# -- what everybody may know --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ForceRow:
    """What is in force at a place. `kinds`: measure → its kind. `elsewhere`: measure → where visitors are sent."""

    kinds: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[str, list[str]] = field(default_factory=dict)


def key(event: Heard) -> str:
    """The place."""
    return str(event.data.place_id)  # type: ignore[attr-defined]


def row(known: ForceRow | None, event: Heard) -> ForceRow | None:
    """What is in force after an event."""
    one, data = known or ForceRow(), event.data
    if isinstance(data, ev.MeasureOrdered):
        measure = data.measure
        elsewhere = (
            {**one.elsewhere, measure.measure_id: list(measure.elsewhere_ids)} if measure.elsewhere_ids else one.elsewhere
        )
        return ForceRow({**one.kinds, measure.measure_id: measure.kind}, elsewhere)
    assert isinstance(data, ev.MeasureLifted)
    gone = data.measure_id
    return ForceRow(
        {name: kind for name, kind in one.kinds.items() if name != gone},
        {name: places for name, places in one.elsewhere.items() if name != gone},
    )


def put_into(shown: pb.PlaceComfort, known: ForceRow | None, has_room: Callable[[str], bool]) -> pb.PlaceComfort:
    """What everybody is told of a place, with what is in force there. Nobody is sent where there is no room any more."""
    if known is not None:
        kinds = set(known.kinds.values())
        shown.booking_paused = pk.MEASURE_KIND_PAUSE_BOOKING in kinds
        shown.entry_stopped = pk.MEASURE_KIND_STOP_ENTRY in kinds
        elsewhere = dict.fromkeys(place for places in known.elsewhere.values() for place in places)
        shown.elsewhere_ids.extend(filter(has_room, elsewhere))
    return shown
