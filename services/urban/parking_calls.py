"""Methods of parking."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import parking_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.mesh.long_streams import done
from citybrain.mesh.service import Streams, View, at, new_id, rpc
from citybrain.services.urban import outlook_views as views
from citybrain.services.urban import parking
from citybrain.services.urban.hotline_calls import HotlineCalls

PAGE = 500
DAYS = 7


class ParkingCalls(HotlineCalls):
    """Parking lots and what is paid later."""

    lots = Streams("lot", parking.Lot, parking.evolve, snapshot_every=500, district=parking.district_of)
    bills = Streams("bill", parking.Bill, parking.evolve_bill, district=parking.bill_district)
    lot_list = View(views.LOT_EVENTS, views.lot_key, views.lot, row=views.LotRow)
    lot_days = View(views.LOT_DAY_EVENTS, views.lot_day_key, views.lot_day, row=views.LotDayRow)
    open_bills = View(views.BILL_EVENTS, views.bill_key, views.bill, row=views.BillRow)

    @rpc
    def RegisterParking(self, request: pb.RegisterParkingRequest) -> pb.RegisterParkingResponse:
        """Makes a lot known, or changed."""
        after = done(self.lots, request.lot_id, lambda state: parking.register(state, request))
        return pb.RegisterParkingResponse(lot=parking.show(after, self.clock.now()))

    @rpc
    def ReportArrival(self, request: pb.ReportArrivalRequest) -> pb.ReportArrivalResponse:
        """A car comes."""
        now = self._now()
        after = done(self.lots, request.lot_id, lambda state: parking.arrive(state, request, now))
        return pb.ReportArrivalResponse(lot=parking.show(after, self.clock.now()))

    @rpc
    def ReportDeparture(self, request: pb.ReportDepartureRequest) -> pb.ReportDepartureResponse:
        """A car leaves, and pays later where its number plate is known."""
        now, name = self._now(), new_id("bill")
        after = done(self.lots, request.lot_id, lambda state: parking.leave(state, request, name, now))
        lot, left = parking.show(after, self.clock.now()), after.left[request.visit_id]
        if left.bill_id:
            opened = ev.ParkingBillOpened(
                bill_id=left.bill_id, lot_id=request.lot_id, payer_id=self.people.of("plate", request.plate),
                plate=request.plate, fen=left.fen, opened_at=timestamp(left.at), district_id=lot.district_id,
            )  # fmt: skip
            self.bills.handle(left.bill_id, lambda state: [] if state.opened is not None else [opened], lambda _after, _: None)
        return pb.ReportDepartureResponse(lot=lot, fen=left.fen, bill_id=left.bill_id)

    @rpc
    def CountParked(self, request: pb.CountParkedRequest) -> pb.CountParkedResponse:
        """Somebody has counted."""
        now = self._now()
        after = done(self.lots, request.lot_id, lambda state: parking.count(state, request, now))
        return pb.CountParkedResponse(lot=parking.show(after, self.clock.now()))

    @rpc
    def GetParking(self, request: pb.GetParkingRequest) -> pb.GetParkingResponse:
        """A lot."""
        state = self.lots.load(request.lot_id)
        parking.existing(state, request.lot_id)
        return pb.GetParkingResponse(lot=parking.show(state, self.clock.now()))

    @rpc
    def ListParking(self, request: pb.ListParkingRequest) -> pb.ListParkingResponse:
        """Lots by id, in pages."""
        now = self.clock.now()
        asked = [
            row
            for row in self.lot_list.derived(views.all_lots)
            if request.district_id in ("", row.district_id) and (not request.free or views.has_room(row, now))
        ]
        page, more = self.paging.page(request, asked, lambda row: (row.id,))
        return pb.ListParkingResponse(lots=[parking.show(self.lots.load(row.id), now) for row in page], next_page_token=more)

    @rpc
    def CloseParkingEntry(self, request: pb.CloseParkingEntryRequest) -> pb.CloseParkingEntryResponse:
        """Lets no car into lots. A call that was cut off goes on where it stopped."""
        now = self.clock.now()
        self._require_lots(request.lot_ids)
        shown = []
        for key in request.lot_ids:
            decide = partial(parking.close_entry, lot_id=key, closure_id=request.closure_id, reason=request.reason)
            shown.append(parking.show(done(self.lots, key, decide), now))
        return pb.CloseParkingEntryResponse(lots=shown)

    @rpc
    def OpenParkingEntry(self, request: pb.OpenParkingEntryRequest) -> pb.OpenParkingEntryResponse:
        """Ends a closure, or bars the one that may still come."""
        now = self.clock.now()
        self._require_lots(request.lot_ids)
        shown = []
        for key in request.lot_ids:
            decide = partial(parking.open_entry, lot_id=key, closure_id=request.closure_id, reason=request.reason)
            shown.append(parking.show(done(self.lots, key, decide), now))
        return pb.OpenParkingEntryResponse(lots=shown)

    def _require_lots(self, lot_ids: Iterable[str]) -> None:
        """All are known, or nothing is done."""
        for key in lot_ids:
            parking.existing(self.lots.load(key), key)

    @rpc
    def GetTurnover(self, request: pb.GetTurnoverRequest) -> pb.GetTurnoverResponse:
        """The newest days of a lot. Reads only their rows."""
        lot = parking.existing(self.lots.load(request.lot_id), request.lot_id)
        days = request.days or DAYS
        today = views.day_of(self.clock.now())
        begin, end = views.day_id(lot.lot_id, today - days), views.day_id(lot.lot_id, today)
        rows = [(key, row) for key, row in self.lot_days.scan(begin, days) if key <= end]
        return pb.GetTurnoverResponse(days=[views.shown_day(key, row, lot.bays) for key, row in rows], bays=lot.bays)

    @rpc
    def GetParkingBill(self, request: pb.GetParkingBillRequest) -> pb.GetParkingBillResponse:
        """A bill."""
        return pb.GetParkingBillResponse(bill=parking.show_bill(self.bills.load(request.bill_id), request.bill_id))

    @rpc
    def PayParking(self, request: pb.PayParkingRequest) -> pb.PayParkingResponse:
        """A bill is paid."""
        now = self._now()
        return self.bills.handle(
            request.bill_id,
            lambda state: parking.pay(state, request, now),
            lambda after, _: pb.PayParkingResponse(paid=after.paid),
        )

    @at("02:00")
    def remind_of_bills(self) -> None:
        """Tells which bills are not paid after ten days. Reads only those that are old enough."""
        now = self.clock.now()
        key, end = "", views.bill_id(now - parking.DUE_DAYS * parking.DAY, "")
        while page := self.open_bills.scan(key, PAGE):
            for key, row in page:
                if key >= end:
                    return
                self.bills.handle(row.id, lambda state: parking.remind(state, now), lambda _after, _: None)
