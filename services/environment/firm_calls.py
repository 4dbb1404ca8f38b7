"""Methods of firms: their record, credit and risk, and who is inspected next."""

from __future__ import annotations

from functools import partial
from typing import Any

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import BadRequest, NotFound
from citybrain.mesh.events import timestamp
from citybrain.mesh.identifiers import uscc, uscc_problem
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Heard, View, rpc, subscribe
from citybrain.services.environment import exceedance, firm_views, sources
from citybrain.services.environment import firm_entries as firm_entries_
from citybrain.services.environment import firms as firm
from citybrain.services.environment.account_calls import AccountCalls

MOST_SOURCES = 100
"""So many sources of a firm are shown with its record."""


class FirmCalls(AccountCalls):
    """Firms."""

    firm_entries = View(firm_views.NOTED_EVENTS, firm_views.entry_key, firm_views.entry, row=Kept)
    firm_sources = View(firm_views.ADMITTED_EVENTS, firm_views.own_key, firm_views.own, row=firm_views.OwnRow)
    due_list = View(firm_views.DUE_EVENTS, firm_views.due_key, firm_views.due, row=Kept)
    due_in_district = View(firm_views.DUE_EVENTS, firm_views.due_in_district_key, firm_views.due, row=Kept)

    @rpc
    def FindFirm(self, request: pb.FindFirmRequest) -> pb.FindFirmResponse:
        """The id of a firm by its number. One that nobody has brought before gets none by this."""
        if problem := uscc_problem(request.uscc):
            raise BadRequest([("uscc", problem)])
        firm_id = self.people.known("uscc", uscc(request.uscc))
        if not firm_id:
            raise NotFound("no firm with this number is known here: AdmitSource makes one known", "NO_SUCH_FIRM")
        return pb.FindFirmResponse(firm_id=firm_id)

    @rpc
    def GetFirmRecord(self, request: pb.GetFirmRecordRequest) -> pb.GetFirmRecordResponse:
        """Everything of a firm, newest first, in pages; its sources on the first page."""
        known = firm.existing(self.firms.load(request.firm_id), request.firm_id)
        prefix = firm_views.prefix(request.firm_id)
        page, more = self.paging.scan(request, self.firm_entries, prefix=prefix)
        answer = pb.GetFirmRecordResponse(
            standing=firm.show(known), next_page_token=more, entries=[row.read(pb.FirmEntry) for _, row in page],
            firm=pb.Firm(firm_id=request.firm_id, name=known.name),
        )  # fmt: skip
        if not request.page_token:
            ids = [row.source_id for key, row in self.firm_sources.scan(prefix, MOST_SOURCES) if key.startswith(prefix)]
            found = [sources.show(self.lives.load(source_id)) for source_id in ids]
            answer.sources.extend(found)
            for one in found[:1]:
                answer.firm.CopyFrom(one.firm)
        return answer

    @rpc
    def ListInspectionsDue(self, request: pb.ListInspectionsDueRequest) -> pb.ListInspectionsDueResponse:
        """Which firms to inspect next, those that are due first, in pages."""
        district = request.district_id or self.caller.district
        if district:
            page, more = self.paging.scan(request, self.due_in_district, default=50, prefix=firm_views.prefix(district))
        else:
            page, more = self.paging.scan(request, self.due_list, default=50)
        return pb.ListInspectionsDueResponse(firms=[row.read(pb.InspectionDue) for _, row in page], next_page_token=more)

    @subscribe(*firm_entries_.EVENTS)
    def note_of_firm(self, event: Heard) -> None:
        """Writes into the record of a firm what happened to it."""
        data: Any = event.data
        barred = isinstance(data, ev.DecisionRevoked) and not data.recorded
        if data.firm_id and not barred:
            name = data.source.firm.name if isinstance(data, ev.SourceAdmitted) else ""
            self._note(data.firm_id, firm_entries_.entry_of(data, timestamp(event.stored.occurred_at)), data.district_id, name)

    @subscribe(ev.ExceedanceVerified, ev.ExceedanceRetracted)
    def note_of_stack(self, event: Heard) -> None:
        """Writes into the record of a firm that a stack of it was beyond its permit; or that it was not, after all."""
        data: Any = event.data
        spot = self._spot(data.exceedance_id)
        if spot is None or spot.suspected.medium != pb.MEDIUM_STACK:
            return
        station = self.stations.load(spot.suspected.reading.station_id).station
        life = self.lives.load(station.source_id) if station is not None and station.source_id else sources.Life()
        if life.source is not None:
            retracted = isinstance(data, ev.ExceedanceRetracted)
            entry = firm_entries_.exceeded(exceedance.show(spot), timestamp(event.stored.occurred_at), retracted=retracted)
            self._note(sources.firm_of(life), entry, life.source.district_id, life.source.firm.name)

    def _note(self, firm_id: str, entry: pb.FirmEntry, district_id: str, name: str) -> None:
        note = partial(firm.note, firm_id=firm_id, entry=entry, district_id=district_id, name=name)
        self.firms.handle(firm_id, note, lambda after, _: after)
