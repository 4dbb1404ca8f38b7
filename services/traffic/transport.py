"""What is asked of those who run metro, buses and signals: a person answers; what is not needed is withdrawn. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import transport_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, NotFound, Refused
from citybrain.mesh.events import Heard, timestamp
from citybrain.mesh.kept import Kept

MINUTE = 60_000_000
EVENTS = (ev.TransportRequested, ev.TransportAnswered, ev.TransportWithdrawn)


@dataclass(frozen=True, slots=True)
class State:
    """A request. `withdrawn` without a request: it was withdrawn before it came."""

    request: pb.TransportRequest | None = None
    withdrawn: bool = False


def evolve(known: State, event: Message) -> State:
    """The request after an event."""
    match event:
        case ev.TransportRequested():
            return State(event.request)
        case ev.TransportAnswered() if known.request is not None:
            return State(_answered(known.request, event))
        case ev.TransportWithdrawn():
            return State(known.request, withdrawn=True)
    return known


def _answered(request: pb.TransportRequest, event: ev.TransportAnswered) -> pb.TransportRequest:
    after = pb.TransportRequest()
    after.CopyFrom(request)
    after.state = pb.TRANSPORT_STATE_ACCEPTED if event.accepted else pb.TRANSPORT_STATE_DECLINED
    after.note = event.note
    return after


def district_of(known: State) -> str:
    """The district that it is for; empty: it is not known."""
    return known.request.district_id if known.request is not None else ""


def show(known: State) -> pb.TransportRequest:
    """The request as callers see it."""
    shown = pb.TransportRequest()
    assert known.request is not None
    shown.CopyFrom(known.request)
    if known.withdrawn:
        shown.state = pb.TRANSPORT_STATE_WITHDRAWN
    return shown


def ask(known: State, request: pb.RequestTransportRequest, now: int) -> list[Message]:
    """Asks, once. Refused where it was withdrawn before it came. `now`: microseconds since 1970."""
    asked = pb.TransportRequest(
        request_id=request.request_id, kind=request.kind, occasion_id=request.occasion_id, district_id=request.district_id,
        where=request.where, place=request.place if request.HasField("place") else None, reason=request.reason,
        asked_at=timestamp(now), answer_by=timestamp(now + request.answer_minutes * MINUTE), state=pb.TRANSPORT_STATE_ASKED,
    )  # fmt: skip
    if known.request is not None:
        if (known.request.kind, known.request.occasion_id) != (asked.kind, asked.occasion_id):
            problem = f"request {request.request_id} stands already, for something else: choose another id"
            raise AlreadyDifferent(problem, "OTHER_REQUEST")
        return []
    if known.withdrawn:
        raise Refused(f"request {request.request_id} was withdrawn before it came: ask under a new id", "REQUEST_WITHDRAWN")
    return [ev.TransportRequested(request=asked, district_id=asked.district_id)]


def answer(known: State, request: pb.AnswerTransportRequest) -> list[Message]:
    """Accepts or declines. Refused where it is not needed any more."""
    if known.request is None:
        raise NotFound(f"there is no request {request.request_id}: ListTransport has those that stand", "NO_SUCH_REQUEST")
    if known.withdrawn:
        raise Refused(f"request {request.request_id} was withdrawn: nothing is needed any more", "REQUEST_WITHDRAWN")
    answered = ev.TransportAnswered(
        request_id=request.request_id, accepted=request.accepted, note=request.note, district_id=known.request.district_id
    )
    return [] if _answered(known.request, answered) == known.request else [answered]


def withdraw(known: State, request: pb.WithdrawTransportRequest) -> list[Message]:
    """Withdraws it, once; one that has not come yet is refused when it comes."""
    if known.withdrawn:
        return []
    return [ev.TransportWithdrawn(request_id=request.request_id, reason=request.reason, district_id=district_of(known))]


# -- the list -----------------------------------------------------------------------------------------------------------------


def key(event: Heard) -> str:
    """The request."""
    data = event.data
    return data.request.request_id if isinstance(data, ev.TransportRequested) else str(data.request_id)  # type: ignore[attr-defined]


def row(known: Kept | None, event: Heard) -> Kept | None:
    """The request after an event. One that is declined stays: it may be accepted yet."""
    data = event.data
    if isinstance(data, ev.TransportRequested):
        return Kept.of(data.request)
    if known is None or not isinstance(data, ev.TransportAnswered):
        return None
    return Kept.of(_answered(known.read(pb.TransportRequest), data))


def stands(request: pb.TransportRequest) -> bool:
    """Whether it is asked for or accepted."""
    return request.state != pb.TRANSPORT_STATE_DECLINED
