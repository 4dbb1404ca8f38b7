"""Methods of bridges, tunnels and utilities, of dogs, and of cases of enforcement."""

from __future__ import annotations

import hashlib

from citybrain.urban.v1 import field_pb2 as pb

from citybrain.mesh.service import Streams, View, at, new_id, rpc
from citybrain.services.urban import cases, dogs, facilities, orders
from citybrain.services.urban import field_views as views
from citybrain.services.urban.drainage_calls import DrainageCalls
from citybrain.services.urban.views import overdue_prefix


class FieldCalls(DrainageCalls):
    """Facilities, dogs and cases."""

    facilities = Streams("facility", facilities.State, facilities.evolve, district=facilities.district_of)
    dogs = Streams("dog", dogs.State, dogs.evolve, district=dogs.district_of)
    cases = Streams("case", cases.State, cases.evolve, district=cases.district_of)
    facility_list = View(views.FACILITY_EVENTS, views.facility_key, views.facility, row=views.DueRow)
    dog_list = View(views.DOG_EVENTS, views.dog_key, views.dog, row=views.DueRow)
    teams = View(views.CASE_EVENTS, views.team_key, views.team, row=views.TeamRow)

    @rpc
    def RegisterFacility(self, request: pb.RegisterFacilityRequest) -> pb.RegisterFacilityResponse:
        """Makes it known, or changed."""
        now = self._now()
        return self.facilities.handle(
            request.facility_id,
            lambda state: facilities.register(state, request, now),
            lambda after, _: pb.RegisterFacilityResponse(facility=after.facility),
        )

    @rpc
    def ReportCheck(self, request: pb.ReportCheckRequest) -> pb.ReportCheckResponse:
        """It was checked; what is to be mended gets a work order."""
        now, order_id = self._now(), new_id("wo")
        known = self.facilities.load(request.facility_id).facility
        in_work = known is not None and orders.in_work(self.orders.load(known.order_id))
        after, done = self.facilities.handle(
            request.facility_id,
            lambda state: facilities.check(state, request, order_id, now, in_work=in_work),
            lambda after, events: (facilities.existing(after, request.facility_id), facilities.done_orders(events)),
        )
        for ended in done:
            self._finish(ended, f"it was checked: {request.grade}")
        if after.order_id == order_id:
            task = f"mend {after.name}: it has grade {request.grade}: {request.findings}"
            self._open(order_id, after.kind, after.facility_id, after.position, after.district_id, task)
        return pb.ReportCheckResponse(facility=after)

    @rpc
    def GetFacility(self, request: pb.GetFacilityRequest) -> pb.GetFacilityResponse:
        """A facility."""
        found = facilities.existing(self.facilities.load(request.facility_id), request.facility_id)
        return pb.GetFacilityResponse(facility=found)

    @rpc
    def RegisterDog(self, request: pb.RegisterDogRequest) -> pb.RegisterDogResponse:
        """Registers a dog, or renews its vaccination."""
        owner_id, now = self.people.of("phone", request.owner.phone), self.clock.now()
        return self.dogs.handle(
            request.tag_id,
            lambda state: dogs.register(state, request, owner_id, now),
            lambda after, _: pb.RegisterDogResponse(dog=after.dog),
        )

    @rpc
    def GetDog(self, request: pb.GetDogRequest) -> pb.GetDogResponse:
        """A dog."""
        return pb.GetDogResponse(dog=dogs.existing(self.dogs.load(request.tag_id), request.tag_id))

    @at("04:00")
    def look_for_late(self) -> None:
        """Tells which checks were missed and which vaccinations have ended."""
        now = self.clock.now()
        for due, name in self.facility_list.derived(views.late):
            if due >= now:
                break
            order_id = f"wo-{hashlib.sha256(f'{name} {due}'.encode()).hexdigest()[:12]}"
            self.facilities.handle(
                name,
                lambda state, order_id=order_id: facilities.miss(state, order_id, now),  # type: ignore[misc]
                lambda _after, _: None,
            )
        for due, name in self.dog_list.derived(views.late):
            if due > now:
                break
            self.dogs.handle(name, lambda state: dogs.fall_due(state, now), lambda _after, _: None)

    # -- enforcement ------------------------------------------------------------------------------------------------------

    @rpc
    def OpenCase(self, request: pb.OpenCaseRequest) -> pb.OpenCaseResponse:
        """Opens a case."""
        now, name = self._now(), new_id("case")
        party_id = self.people.of("phone", request.party.phone) if request.HasField("party") else ""
        return self.cases.handle(
            name,
            lambda state: cases.open_case(state, name, request, party_id, now),
            lambda after, _: pb.OpenCaseResponse(case=after.case),
        )

    @rpc
    def AddEvidence(self, request: pb.AddEvidenceRequest) -> pb.AddEvidenceResponse:
        """Adds evidence."""
        now = self.clock.now()
        return self.cases.handle(
            request.case_id,
            lambda state: cases.add(state, request, now),
            lambda after, _: pb.AddEvidenceResponse(case=after.case),
        )

    @rpc
    def DecideCase(self, request: pb.DecideCaseRequest) -> pb.DecideCaseResponse:
        """Decides a case, or withdraws it."""
        now = self._now()
        return self.cases.handle(
            request.case_id,
            lambda state: cases.decide(state, request, now),
            lambda after, _: pb.DecideCaseResponse(case=after.case),
        )

    @rpc
    def GetCase(self, request: pb.GetCaseRequest) -> pb.GetCaseResponse:
        """A case, with its evidence."""
        return pb.GetCaseResponse(case=cases.existing(self.cases.load(request.case_id), request.case_id))

    @rpc
    def GetPerformance(self, request: pb.GetPerformanceRequest) -> pb.GetPerformanceResponse:
        """The cases of each team, in pages."""
        page, more = self.paging.scan(request, self.teams, default=50, prefix=overdue_prefix(request.district_id))
        return pb.GetPerformanceResponse(
            teams=[
                pb.TeamPerformance(
                    team=row.team, opened=row.opened, decided=row.decided, in_time=row.in_time, withdrawn=row.withdrawn,
                    mean_days=row.days / row.decided if row.decided else 0.0,
                )
                for _, row in page
            ],
            next_page_token=more,
        )  # fmt: skip
