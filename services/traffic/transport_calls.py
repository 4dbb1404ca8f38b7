"""Methods of what is asked of metro, buses and signals."""

from __future__ import annotations

from citybrain.traffic.v1 import transport_pb2 as pb

from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Caller, Streams, View, correlate, rpc
from citybrain.services.traffic import transport
from citybrain.services.traffic.street_calls import StreetCalls


class TransportCalls(StreetCalls):
    """Requests to those who run metro, buses and signals."""

    caller = Caller()
    transport_list = View(transport.EVENTS, transport.key, transport.row, row=Kept)
    transport = Streams("transport", transport.State, transport.evolve, district=transport.district_of)

    @rpc
    def RequestTransport(self, request: pb.RequestTransportRequest) -> pb.RequestTransportResponse:
        """Asks for something."""
        correlate(request.occasion_id)
        now = self.clock.now()
        return self.transport.handle(
            request.request_id,
            lambda known: transport.ask(known, request, now),
            lambda after, _: pb.RequestTransportResponse(request=transport.show(after)),
        )

    @rpc
    def AnswerTransport(self, request: pb.AnswerTransportRequest) -> pb.AnswerTransportResponse:
        """The operator answers."""
        return self.transport.handle(
            request.request_id,
            lambda known: transport.answer(known, request),
            lambda after, _: pb.AnswerTransportResponse(request=transport.show(after)),
            continues=True,
        )

    @rpc
    def WithdrawTransport(self, request: pb.WithdrawTransportRequest) -> pb.WithdrawTransportResponse:
        """It is not needed any more."""
        return self.transport.handle(
            request.request_id,
            lambda known: transport.withdraw(known, request),
            lambda _after, _: pb.WithdrawTransportResponse(),
            continues=True,
        )

    @rpc
    def ListTransport(self, request: pb.ListTransportRequest) -> pb.ListTransportResponse:
        """By id, in pages. What was withdrawn has no row any more."""
        district = request.district_id or self.caller.district
        known = [row.read(pb.TransportRequest) for _, row in self.transport_list.scan()]
        asked = [one for one in known if transport.stands(one) and district in ("", one.district_id)]
        page, more = self.paging.page(request, asked, lambda one: (one.request_id,))
        return pb.ListTransportResponse(requests=page, next_page_token=more)
