"""Methods of the hotline 12345."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import hotline_pb2 as pb
from citybrain.urban.v1.places_pb2 import Position
from citybrain.urban.v1.urban_service_pb2 import WorkOrder
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.long_streams import done
from citybrain.mesh.merging import Board, straight_m
from citybrain.mesh.service import People, Streams, View, new_id, rpc
from citybrain.services.urban import nearby, staffing, tickets, views
from citybrain.services.urban.classify import classify
from citybrain.services.urban.hotline_table import KINDS
from citybrain.services.urban.water_calls import WaterCalls

FEW, CHUNK = 12, 200
"""So many rows are read at once: at first, and at most."""
MILLIMETRES = 1000


class Near(NamedTuple):
    """An open ticket, and how far it is."""

    millimetres: int
    row: views.NearRow


class HotlineCalls(WaterCalls):
    """Tickets, and the seats of the hotline."""

    ticket_boards = Streams("calls", Board, tickets.evolve_board, snapshot_every=500)
    tickets = Streams("ticket", tickets.TicketState, tickets.evolve, district=tickets.district_of)
    call_counts = Streams("count", staffing.uncounted, staffing.evolve)
    open_tickets = View(views.TICKET_EVENTS, views.near_key, views.near, row=views.NearRow)
    counts = View(views.COUNT_EVENTS, views.count_key, views.count, row=views.CountRow)
    people = People()

    @rpc
    def TakeCall(self, request: pb.TakeCallRequest) -> pb.TakeCallResponse:
        """Takes a call in: it joins the open ticket that it fits, or opens one."""
        if request.HasField("position"):
            nearby.check(request.position, "position")
        kind, words = (request.kind, []) if request.kind else classify(request.text)
        tickets.check_kind(kind)
        call, new = self._call(request), new_id("tic")
        if not request.HasField("position"):
            return self._take(request, new, call, kind, words)
        near = self._nearest(request.position, kind, microseconds(call.received_at))
        decided = ev.CallSorted(
            call_id=call.call_id, ticket_id=new, kind=kind, position=request.position, received_at=call.received_at
        )
        board = f"{kind}.{nearby.cell(request.position.latitude, request.position.longitude)}"
        attempt = 0
        while True:
            state = done(self.ticket_boards, board, partial(tickets.sort, call=decided, near=near), f"sort-{attempt}")
            ticket_id = state.sorted_to[call.call_id]
            try:
                return self._take(request, ticket_id, call, kind, words)
            except Refused:
                # It was answered, and board or read model did not know yet.
                done(self.ticket_boards, board, partial(tickets.end_sorting, ticket_id=ticket_id), f"end-{attempt}")
            near, attempt = "", attempt + 1

    def _take(
        self, request: pb.TakeCallRequest, ticket_id: str, call: pb.TicketCall, kind: str, words: list[str]
    ) -> pb.TakeCallResponse:
        order_id = f"wo-{ticket_id.removeprefix('tic-')}"
        after = self.tickets.handle(
            ticket_id,
            lambda state: tickets.take(state, ticket_id, call, request, kind, words, order_id),
            lambda after, _: tickets.existing(after, ticket_id),
        )
        if ticket_id == new_id("tic"):
            self._open_for(after, after.order_id)
        return pb.TakeCallResponse(call_id=call.call_id, ticket=after, merged=ticket_id != new_id("tic"))

    @rpc
    def GetTicket(self, request: pb.GetTicketRequest) -> pb.GetTicketResponse:
        """A ticket, with its newest calls."""
        state = self.tickets.load(request.ticket_id)
        return pb.GetTicketResponse(ticket=tickets.existing(state, request.ticket_id), calls=state.calls.values())

    @rpc
    def RerouteTicket(self, request: pb.RerouteTicketRequest) -> pb.RerouteTicketResponse:
        """Another department is in charge."""
        tickets.check_kind(request.kind)
        order_id = new_id("wo")
        state = self.tickets.handle(
            request.ticket_id, lambda state: tickets.reroute(state, request, order_id), lambda after, _: after
        )
        after = tickets.existing(state, request.ticket_id)
        if after.order_id == order_id:
            # Who called waits since it was opened, whoever is in charge.
            before = state.orders[state.orders.index(order_id) - 1]
            known = self.orders.load(before).order
            self._open_for(after, order_id, known.opened_at if known is not None else after.opened_at)
            self._void(before, f"{after.department} is in charge now: {request.reason}")
        return pb.RerouteTicketResponse(ticket=after)

    @rpc
    def AnswerTicket(self, request: pb.AnswerTicketRequest) -> pb.AnswerTicketResponse:
        """The department answers. Its work order is done."""
        now, ticket = self._now(), tickets.existing(self.tickets.load(request.ticket_id), request.ticket_id)
        # Whoever took the call may have stopped before it was opened.
        order = self.orders.load(ticket.order_id).order or self._open_for(ticket, ticket.order_id, ticket.opened_at)
        in_time = microseconds(now) <= microseconds(order.deadline)
        after = self.tickets.handle(
            request.ticket_id,
            lambda state: tickets.answer(state, request, now, in_time=in_time),
            lambda after, _: tickets.existing(after, request.ticket_id),
        )
        self._finish(after.order_id, "the ticket is answered")
        return pb.AnswerTicketResponse(ticket=after)

    @rpc
    def RateTicket(self, request: pb.RateTicketRequest) -> pb.RateTicketResponse:
        """A caller rates the answer."""
        now = self._now()
        return self.tickets.handle(
            request.ticket_id,
            lambda state: tickets.rate(state, request, now),
            lambda after, _: pb.RateTicketResponse(ticket=after.ticket),
        )

    @rpc
    def ReopenTicket(self, request: pb.ReopenTicketRequest) -> pb.ReopenTicketResponse:
        """A caller is not content with the answer."""
        now, order_id = self.clock.now(), new_id("wo")
        after = self.tickets.handle(
            request.ticket_id,
            lambda state: tickets.reopen(state, request, order_id, now),
            lambda after, _: tickets.existing(after, request.ticket_id),
        )
        self._open_for(after, order_id)
        return pb.ReopenTicketResponse(ticket=after)

    @rpc
    def ListTicketsNear(self, request: pb.ListTicketsNearRequest) -> pb.ListTicketsNearResponse:
        """The nearest first, in pages. Reads only cells of the grid that are near."""
        nearby.check(request.position, "position")
        at, size = request.position, request.page_size or 50

        def rows(after: tuple[int | str, ...] | None) -> Iterable[Near]:
            last = (-1, "") if after is None else (int(after[0]), str(after[1]))
            reach = max(min(nearby.FIRST_RING_M, request.metres), min(last[0] * 2 / MILLIMETRES, request.metres))
            while True:
                found = [one for one in self._within(at, reach) if (one.millimetres, one.row.id) > last]
                if len(found) > size or reach >= request.metres:
                    return sorted(found, key=_distance)
                reach = min(nearby.wider(reach, len(found), size + 1), request.metres)

        page, more = self.paging.ordered(request, rows, _distance)
        return pb.ListTicketsNearResponse(tickets=[_shown(one) for one in page], next_page_token=more)

    @rpc
    def ReportCallCount(self, request: pb.ReportCallCountRequest) -> pb.ReportCallCountResponse:
        """The calls of half an hour."""
        if request.start.seconds % staffing.HALF_HOUR_S or request.start.nanos:
            raise BadRequest([("start", "is not the beginning of half an hour: 08:00, 08:30 …")])
        counted = ev.CallsCounted(start=request.start, calls=request.calls)
        return self.call_counts.handle(
            str(request.start.seconds),
            lambda calls: [] if calls == request.calls else [counted],
            lambda _after, _: pb.ReportCallCountResponse(),
        )

    @rpc
    def PlanSeats(self, request: pb.PlanSeatsRequest) -> pb.PlanSeatsResponse:
        """The seats of a day. Reads only the rows of the four days that it is planned by."""
        counts: dict[int, int] = {}
        for start in staffing.half_hours(microseconds(request.day))[:1]:
            for week in range(1, staffing.WEEKS + 1):
                begin = start - week * 7 * 86_400 * staffing.MICROSECONDS
                for _, row in self.counts.scan(views.count_id(begin - 1), 48):
                    counts[row.start] = row.calls
        return staffing.plan(request, counts)

    # -- what they share --------------------------------------------------------------------------------------------------

    def _call(self, request: pb.TakeCallRequest) -> pb.TicketCall:
        """The call as it is kept."""
        has_caller = request.HasField("caller")
        call = pb.TicketCall(
            call_id=new_id("call"), channel=request.channel, text=request.text, received_at=self._now(),
            caller_id=self.people.of("phone", request.caller.phone) if has_caller else "",
        )  # fmt: skip
        if has_caller:
            call.caller.CopyFrom(request.caller)
        return call

    def _open_for(self, ticket: pb.Ticket, order_id: str, since: Timestamp | None = None) -> WorkOrder:
        """The work order of a ticket, which has its deadline. `since`: when somebody began to wait; not given: now."""
        position = ticket.position if ticket.HasField("position") else None
        task = f"answer ticket {ticket.ticket_id} ({ticket.kind}), for {ticket.department}"
        return self._open(order_id, KINDS[ticket.kind].order, ticket.ticket_id, position, ticket.district_id, task, since=since)

    def _nearest(self, at: Position, kind: str, now: int) -> str:
        """The open ticket that a call fits, as the read model knows it; empty: none."""
        reach = KINDS[kind].reach
        oldest = now - reach.minutes * 60 * 1_000_000
        fitting = [one for one in self._within(at, reach.metres) if one.row.kind == kind and one.row.opened >= oldest]
        return min(fitting, key=_distance).row.id if fitting else ""

    def _within(self, at: Position, metres: float) -> Iterator[Near]:
        """The open tickets within so many metres."""
        here = at.latitude, at.longitude
        expected = FEW
        for first, last in nearby.ranges(at.latitude, at.longitude, metres):
            # Most rows of cells have few tickets, and beside one with many is another: as much is read as the row before had.
            key, end, chunk, found = first, f"{last}/", expected, 0
            while page := self.open_tickets.scan(key, chunk):
                for key, row in page:
                    if key >= end:
                        break
                    found += 1
                    away = straight_m(here, (row.latitude, row.longitude))
                    if away <= metres:
                        yield Near(round(away * MILLIMETRES), row)
                if key >= end or len(page) < chunk:
                    break
                chunk = min(4 * chunk, CHUNK)
            # One more shows that the row of cells is over.
            expected = min(max(FEW, found + found // 4 + 1), CHUNK)


def _distance(one: Near) -> tuple[int | str, ...]:
    return one.millimetres, one.row.id


def _shown(one: Near) -> pb.NearTicket:
    row = one.row
    return pb.NearTicket(
        ticket_id=row.id, kind=row.kind, position=Position(latitude=row.latitude, longitude=row.longitude),
        district_id=row.district_id, opened_at=timestamp(row.opened), metres=one.millimetres / MILLIMETRES,
    )  # fmt: skip
