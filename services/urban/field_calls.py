"""Methods of bridges, tunnels and utilities, of dogs, and of cases of enforcement."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from citybrain.urban.v1 import field_pb2 as pb

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import timestamp
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Streams, View, at, new_id, rpc
from citybrain.services.urban import cases, dogs, facilities, orders
from citybrain.services.urban import field_views as views
from citybrain.services.urban.drainage_calls import DrainageCalls
from citybrain.services.urban.views import moment_key, overdue_prefix

R = TypeVar("R")
PAGE = 100
MONTHS = 12
MOST_MONTHS, MOST_SHOWN = 999_999, 61
"""No month is later; and so many a call asks for at most, with the one that goes on."""


class FieldCalls(DrainageCalls):
    """Facilities, dogs and cases."""

    facilities = Streams("facility", facilities.State, facilities.evolve, district=facilities.district_of)
    dogs = Streams("dog", dogs.State, dogs.evolve, district=dogs.district_of)
    cases = Streams("case", cases.State, cases.evolve, district=cases.district_of)
    facility_list = View(views.CHECK_EVENTS, views.check_key, views.check, row=Kept)
    checks_due = View(views.MISSED_EVENTS, views.missed_key, views.missed, row=views.DueRow)
    dog_list = View(views.DOG_EVENTS, views.dog_key, views.dog, row=views.DogRow)
    vaccinations_due = View(views.DOG_EVENTS, views.vaccination_key, views.vaccination, row=views.DueRow)
    case_list = View(views.CASE_EVENTS, views.case_key, views.case, row=views.CaseRow)
    open_cases = View(views.CASE_EVENTS, views.open_key, views.open_case, row=views.OpenRow)
    decided_cases = View(views.ENDED_EVENTS, views.ended_key, views.decided, row=views.OpenRow)
    withdrawn_cases = View(views.WITHDRAWN_EVENTS, views.ended_key, views.withdrawn, row=views.OpenRow)
    teams = View(views.CASE_EVENTS, views.team_key, views.team, row=views.TeamRow)
    team_months = View(views.CASE_EVENTS, views.month_key, views.month, row=views.MonthRow)

    @rpc
    def RegisterFacility(self, request: pb.RegisterFacilityRequest) -> pb.RegisterFacilityResponse:
        """Makes it known, or changed."""
        now = self._now()
        return self.facilities.handle(
            request.facility_id,
            lambda state: facilities.register(state, request, now),
            lambda after, _: pb.RegisterFacilityResponse(facility=facilities.show(after)),
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
            lambda after, events: (facilities.show(after), facilities.done_orders(events)),
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
        state = self.facilities.load(request.facility_id)
        facilities.existing(state, request.facility_id)
        return pb.GetFacilityResponse(facility=facilities.show(state))

    @rpc
    def ListFacilities(self, request: pb.ListFacilitiesRequest) -> pb.ListFacilitiesResponse:
        """Those of a district by when they are to be checked, in pages."""

        def wanted(row: Kept) -> bool:
            one = views.facility_of(row)
            return request.kind in ("", one.kind) and (one.closed or not request.closed)

        page, more = self._due(request, self.facility_list, overdue=request.overdue, wanted=wanted)
        return pb.ListFacilitiesResponse(facilities=[views.facility_of(row) for _, row in page], next_page_token=more)

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

    @rpc
    def ListDogs(self, request: pb.ListDogsRequest) -> pb.ListDogsResponse:
        """Those of a district by the end of their vaccination, in pages. Reads only the rows of its page."""
        page, more = self._due(request, self.dog_list, overdue=request.overdue, at_the_moment=True)
        return pb.ListDogsResponse(dogs=[views.listed_dog(row) for _, row in page], next_page_token=more)

    @at("04:00")
    def look_for_late(self) -> None:
        """Tells which checks were missed and which vaccinations have ended. Reads only these."""
        now = self.clock.now()
        for _, row in _between(self.checks_due, "", moment_key(now)):
            order_id = f"wo-{hashlib.sha256(f'{row.id} {row.due}'.encode()).hexdigest()[:12]}"
            self.facilities.handle(
                row.id,
                lambda state, order_id=order_id: facilities.miss(state, order_id, now),  # type: ignore[misc]
                lambda _after, _: None,
            )
        for _, row in _between(self.vaccinations_due, "", moment_key(now + 1)):
            self.dogs.handle(row.id, lambda state: dogs.fall_due(state, now), lambda _after, _: None)

    def _due(
        self, request: Any, view: View[R], *, overdue: bool, at_the_moment: bool = False, wanted: Callable[[R], bool] = bool
    ) -> tuple[list[tuple[str, R]], str]:
        """A page of the rows of a district by when they are due; `overdue`: only those that were due before now.

        `at_the_moment`: what is due now counts too.
        """
        prefix = overdue_prefix(request.district_id)
        end = prefix + (moment_key(self.clock.now() + at_the_moment) if overdue else "~")

        def rows(after: tuple[int | str, ...] | None) -> Iterable[tuple[str, R]]:
            return (one for one in _between(view, str(after[0]) if after else prefix, end) if wanted(one[1]))

        return self.paging.ordered(request, rows, lambda found: (found[0],))

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
    def ReopenCase(self, request: pb.ReopenCaseRequest) -> pb.ReopenCaseResponse:
        """A decision was sent back."""
        now = self._now()
        return self.cases.handle(
            request.case_id,
            lambda state: cases.reopen(state, request, now),
            lambda after, _: pb.ReopenCaseResponse(case=after.case),
        )

    @rpc
    def ListCases(self, request: pb.ListCasesRequest) -> pb.ListCasesResponse:
        """Those of a district in one state, in pages. Reads only the rows of its page."""
        ended = {pb.CASE_STATE_DECIDED: self.decided_cases, pb.CASE_STATE_WITHDRAWN: self.withdrawn_cases}
        view = ended.get(request.state, self.open_cases)
        if request.overdue and view is not self.open_cases:
            raise BadRequest([("overdue", "is for cases that are open: leave state empty")])
        page, more = self._due(request, view, overdue=request.overdue)
        rows = [self.case_list.get(row.id) for _, row in page]
        return pb.ListCasesResponse(cases=[views.listed_case(row) for row in rows if row is not None], next_page_token=more)

    @rpc
    def GetPerformance(self, request: pb.GetPerformanceRequest) -> pb.GetPerformanceResponse:
        """The cases of each team, in pages. Reads the months of the teams of its page, and what is overdue in the district."""
        now = self.clock.now()
        last = views.month_of(now)
        first = last + 1 - (request.months or MONTHS)
        prefix = overdue_prefix(request.district_id)
        page, more = self.paging.scan(request, self.teams, default=50, prefix=prefix)
        late = Counter(row.team for _, row in _between(self.open_cases, prefix, prefix + moment_key(now)))
        shown = [
            views.performance(row.team, self._months(request.district_id, row.team, first), late[row.team]) for _, row in page
        ]
        since = timestamp(views.begin_of_month(first))
        return pb.GetPerformanceResponse(teams=shown, next_page_token=more, to=timestamp(now), **{"from": since})

    def _months(self, district_id: str, team: str, first: int) -> list[views.MonthRow]:
        begin, end = views.month_id(district_id, team, first - 1), views.month_id(district_id, team, MOST_MONTHS)
        return [row for key, row in self.team_months.scan(begin, MOST_SHOWN) if key <= end]


def _between(view: View[R], after: str, end: str) -> Iterator[tuple[str, R]]:
    """The rows of a view after a key and before another one."""
    while page := view.scan(after, PAGE):
        for after, row in page:
            if after >= end:
                return
            yield after, row
