"""A ticket of the hotline: its calls, who is in charge, and how it is answered; and the boards on which calls are sorted.
Pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import hotline_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh import merging
from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds
from citybrain.mesh.merging import MINUTE, Board, Seen
from citybrain.mesh.roads import Roads, build
from citybrain.services.urban.hotline_table import KINDS, VERSION

SHOWN = 100
REOPEN_DAYS = 30
DAY = 86_400_000_000


@functools.cache
def _no_roads() -> Roads:
    return build([])


@dataclass(frozen=True, slots=True)
class TicketState:
    """A ticket. `calls`: the newest ones; `orders`: of each time that it was open."""

    ticket: pb.Ticket | None = None
    calls: Mapping[str, pb.TicketCall] = field(default_factory=dict)
    orders: tuple[str, ...] = ()


def evolve(state: TicketState, event: Message) -> TicketState:
    """The ticket after an event."""
    if isinstance(event, ev.TicketOpened):
        made = pb.Ticket(
            ticket_id=event.ticket_id, kind=event.kind, department=event.department, district_id=event.district_id,
            state=pb.TICKET_STATE_OPEN, opened_at=event.opened_at, order_id=event.order_id, words=event.words,
            version=event.version,
        )  # fmt: skip
        if event.HasField("position"):
            made.position.CopyFrom(event.position)
        return TicketState(made, orders=(event.order_id,))
    if state.ticket is None:
        return state
    after = pb.Ticket()
    after.CopyFrom(state.ticket)
    match event:
        case ev.CallTaken():
            after.calls += 1
            calls = dict(list({**state.calls, event.call.call_id: event.call}.items())[-SHOWN:])
            return replace(state, ticket=after, calls=calls)
        case ev.TicketRerouted():
            after.kind, after.department = event.kind, event.department
            del after.words[:]
            if event.order_id:
                after.order_id = event.order_id
                return replace(state, ticket=after, orders=(*state.orders, event.order_id))
        case ev.TicketAnswered():
            after.state, after.answer, after.stars = pb.TICKET_STATE_ANSWERED, event.answer, 0
            after.answered_at.CopyFrom(event.answered_at)
        case ev.TicketRated():
            after.stars = event.stars
        case ev.TicketReopened():
            after.state, after.order_id = pb.TICKET_STATE_OPEN, event.order_id
            after.reopened += 1
            after.ClearField("answered_at")
            return replace(state, ticket=after, orders=(*state.orders, event.order_id))
    return replace(state, ticket=after)


def district_of(state: TicketState) -> str:
    """The district in charge."""
    return state.ticket.district_id if state.ticket is not None else ""


def existing(state: TicketState, ticket_id: str) -> pb.Ticket:
    """The ticket, or NotFound."""
    if state.ticket is None:
        raise NotFound(f"there is no ticket {ticket_id}: TakeCall answers with its id", "NO_SUCH_TICKET")
    return state.ticket


def check_kind(kind: str) -> None:
    """BadRequest: there is no such kind of ticket."""
    if kind not in KINDS:
        raise BadRequest([("kind", f"{kind} is no kind of ticket: there are {', '.join(sorted(KINDS))}")])


def take(
    state: TicketState, ticket_id: str, call: pb.TicketCall, request: pb.TakeCallRequest, kind: str, words: list[str],
    order_id: str,
) -> list[Message]:  # fmt: skip
    """Takes a call in, once; the first one opens the ticket. Refused where it is answered."""
    if call.call_id in state.calls:
        return []
    opened: list[Message] = []
    district_id = district_of(state) or request.district_id
    if state.ticket is None:
        event = ev.TicketOpened(
            ticket_id=ticket_id, kind=kind, department=KINDS[kind].department, district_id=district_id,
            opened_at=call.received_at, words=words, version=VERSION, order_id=order_id,
        )  # fmt: skip
        if request.HasField("position"):
            event.position.CopyFrom(request.position)
        opened = [event]
    elif state.ticket.state != pb.TICKET_STATE_OPEN:
        raise Refused(f"ticket {ticket_id} is answered: reopen it", "TICKET_ANSWERED")
    return [*opened, ev.CallTaken(ticket_id=ticket_id, call=call, district_id=district_id)]


def reroute(state: TicketState, request: pb.RerouteTicketRequest, order_id: str) -> list[Message]:
    """Another department is in charge, and has a work order of its own while there is no answer."""
    ticket = existing(state, request.ticket_id)
    if ticket.kind == request.kind:
        return []
    made = ev.TicketRerouted(
        ticket_id=ticket.ticket_id, kind=request.kind, department=KINDS[request.kind].department, reason=request.reason,
        district_id=ticket.district_id, opened_at=ticket.opened_at,
        order_id=order_id if ticket.state == pb.TICKET_STATE_OPEN else "",
    )  # fmt: skip
    return [_placed(made, ticket)]


def answer(state: TicketState, request: pb.AnswerTicketRequest, now: Timestamp, *, in_time: bool) -> list[Message]:
    """The department answers."""
    ticket = existing(state, request.ticket_id)
    if ticket.state != pb.TICKET_STATE_OPEN:
        raise Refused(f"ticket {ticket.ticket_id} is answered already: whoever is not content reopens it", "TICKET_ANSWERED")
    made = ev.TicketAnswered(
        ticket_id=ticket.ticket_id, kind=ticket.kind, answer=request.answer, answered_at=now, district_id=ticket.district_id,
        opened_at=ticket.opened_at, in_time=in_time,
    )  # fmt: skip
    return [_placed(made, ticket)]


def rate(state: TicketState, request: pb.RateTicketRequest, now: Timestamp) -> list[Message]:
    """A caller rates the answer, once."""
    ticket = _answered(state, request.ticket_id)
    if ticket.stars:
        raise Refused(f"the answer to {ticket.ticket_id} is rated already: with {ticket.stars}", "RATED")
    return [
        ev.TicketRated(
            ticket_id=ticket.ticket_id, kind=ticket.kind, stars=request.stars, district_id=ticket.district_id, rated_at=now
        )
    ]


def reopen(state: TicketState, request: pb.ReopenTicketRequest, order_id: str, now: int) -> list[Message]:
    """A caller is not content. Refused when the answer is more than 30 days old."""
    ticket = _answered(state, request.ticket_id)
    if now - microseconds(ticket.answered_at) > REOPEN_DAYS * DAY:
        problem = f"ticket {ticket.ticket_id} was answered more than {REOPEN_DAYS} days ago: call again (TakeCall)"
        raise Refused(problem, "TOO_LATE")
    made = ev.TicketReopened(
        ticket_id=ticket.ticket_id, kind=ticket.kind, reason=request.reason, district_id=ticket.district_id,
        opened_at=ticket.opened_at, order_id=order_id,
    )  # fmt: skip
    return [_placed(made, ticket)]


def _answered(state: TicketState, ticket_id: str) -> pb.Ticket:
    ticket = existing(state, ticket_id)
    if ticket.state != pb.TICKET_STATE_ANSWERED:
        raise Refused(f"ticket {ticket_id} is not answered yet", "NOT_ANSWERED")
    return ticket


def _placed(event: ev.TicketRerouted | ev.TicketAnswered | ev.TicketReopened, ticket: pb.Ticket) -> Message:
    if ticket.HasField("position"):
        event.position.CopyFrom(ticket.position)
    return event


# -- boards -----------------------------------------------------------------------------------------------------------------


def evolve_board(board: Board, event: Message) -> Board:
    """The board of one kind in one part of the city. What is too old for any call to join leaves it."""
    match event:
        case ev.CallSorted():
            at = microseconds(event.received_at)
            board = board.since(at - int(KINDS[event.kind].reach.minutes * MINUTE))
            return board.remembering(event.call_id, event.ticket_id).having(event.ticket_id, _seen(event))
        case ev.CallSortingEnded():
            known = {call: ticket for call, ticket in board.sorted_to.items() if ticket != event.ticket_id}
            return replace(board.without(event.ticket_id), sorted_to=known)
    return board


def sort(board: Board, call: ev.CallSorted, near: str) -> list[Message]:
    """Decides which ticket a call is about, once: the one that is near; else one of this board; else the one in it, which is
    new.

    `near`: what the read model knows, in other cells too. The board knows what came just now.
    """
    if call.call_id in board.sorted_to:
        return []
    found = merging.fitting(board, _seen(call), KINDS[call.kind].reach, _no_roads())
    made = ev.CallSorted()
    made.CopyFrom(call)
    made.ticket_id = near or found or call.ticket_id
    return [made]


def end_sorting(board: Board, ticket_id: str) -> list[Message]:
    """No call goes to a ticket any more."""
    known = board.knows(ticket_id) or ticket_id in board.sorted_to.values()
    return [ev.CallSortingEnded(ticket_id=ticket_id)] if known else []


def _seen(event: ev.CallSorted) -> Seen:
    return Seen(None, (event.position.latitude, event.position.longitude), microseconds(event.received_at))
