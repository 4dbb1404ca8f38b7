"""Health (卫生健康): ambulances, hospitals, and who goes where.

It is long because the sector answers many calls, each in a few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route

from citybrain.mesh import closed_roads
from citybrain.mesh.errors import NoneFree, Refused, ServiceError, listed
from citybrain.mesh.service import Follow, Paging, Service, Streams, View, correlate, off_loop, rpc
from citybrain.services.health import cover, domain, places, surge, travel, views
from citybrain.services.health.choosing import Candidate, reserve

TAKEN = frozenset({"AMBULANCE_TAKEN", "AMBULANCE_OUT_OF_SERVICE", "HOSPITAL_FULL", "HOSPITAL_DIVERTS"})


class HealthService(Service):
    """Ambulances and hospitals."""

    name = "health"
    ambulances = Streams("ambulance", domain.Ambulance, domain.evolve_ambulance, snapshot_every=500)
    hospitals = Streams("hospital", places.Hospital, places.evolve_hospital, snapshot_every=500)
    dispatches = Streams("dispatch", domain.Search, domain.evolve_search)
    bed_searches = Streams("bed-search", domain.Search, domain.evolve_search)
    surges = Streams("surge", surge.Surge, surge.evolve)
    ambulance_list = View(views.AMBULANCE_EVENTS, views.ambulance_key, views.ambulance, row=views.AmbulanceRow)
    past = View(views.PAST_EVENTS, views.past_key, views.past, row=views.PastRow)
    hospital_list = View(views.HOSPITAL_EVENTS, views.hospital_key, views.hospital, row=views.HospitalRow)
    warnings = View(views.WARNING_EVENTS, views.warning_key, views.warning, row=views.WarningRow)
    roads = View(views.ROAD_EVENTS, views.road_key, views.road, row=views.RoadRow)
    closed_roads = View(closed_roads.EVENTS, closed_roads.key, closed_roads.apply, row=closed_roads.Row)
    paging = Paging()

    @rpc
    def RegisterAmbulance(self, request: pb.RegisterAmbulanceRequest) -> pb.RegisterAmbulanceResponse:
        """Registers an ambulance."""
        self._on_a_road(request.station, f"the station of ambulance {request.ambulance_id}")
        unit = self.ambulances.handle(
            request.ambulance_id, lambda state: domain.register_ambulance(state, request), lambda after, _: after
        )
        return pb.RegisterAmbulanceResponse(
            ambulance=pb.Ambulance(ambulance_id=unit.ambulance_id, station=unit.station, incident_id=unit.incident_id)
        )

    @rpc
    def RegisterHospital(self, request: pb.RegisterHospitalRequest) -> pb.RegisterHospitalResponse:
        """Registers a hospital."""
        self._on_a_road(request.entrance, f"the entrance of hospital {request.hospital_id}")
        h = self.hospitals.handle(
            request.hospital_id, lambda state: places.register_hospital(state, request), lambda after, _: after
        )
        return pb.RegisterHospitalResponse(
            hospital=pb.Hospital(
                hospital_id=h.hospital_id, name=h.name, entrance=h.entrance, places=h.places, free_places=h.free_places
            )
        )

    @rpc
    def ListAmbulances(self, request: pb.ListAmbulancesRequest) -> pb.ListAmbulancesResponse:
        """By id, in pages."""
        rows, more = self.paging.scan(request, self.ambulance_list)
        shown = [
            pb.Ambulance(ambulance_id=key, station=_place(row), incident_id=row.incident, out_of_service=row.out)
            for key, row in rows
        ]
        return pb.ListAmbulancesResponse(ambulances=shown, next_page_token=more)

    @rpc
    def ListHospitals(self, request: pb.ListHospitalsRequest) -> pb.ListHospitalsResponse:
        """By id, in pages."""
        rows, more = self.paging.scan(request, self.hospital_list)
        warned = views.warned_of(self.warnings.scan())
        shown = [
            pb.Hospital(
                hospital_id=key, name=row.name, entrance=_place(row), places=row.places, free_places=_free(row),
                warned_of_incident_ids=warned.get(key, ()),
            )
            for key, row in rows
        ]  # fmt: skip
        return pb.ListHospitalsResponse(hospitals=shown, next_page_token=more)

    @rpc
    def ReserveAmbulance(self, request: pb.ReserveAmbulanceRequest) -> pb.ReserveAmbulanceResponse:
        """Reserves the free ambulance that will arrive first, or one that is hardly later and is missed less elsewhere."""
        choice = reserve(
            self.dispatches,
            request.incident_id,
            request.reservation_id,
            candidates=lambda without: self._ambulances(request.place, without, first_only=request.first_only),
            chosen=lambda c: ev.AmbulanceChosen(
                incident_id=request.incident_id, reservation_id=request.reservation_id, ambulance_id=c.name, station=c.place,
                route=c.route, cover=c.cover,
            ),
            refused=lambda name: ev.AmbulanceChoiceRefused(
                incident_id=request.incident_id, reservation_id=request.reservation_id, ambulance_id=name
            ),
            hold=lambda c: self.ambulances.handle(
                c.chosen_id, lambda unit: domain.reserve_ambulance(unit, c, request), lambda _after, _: None
            ),
            taken=TAKEN,
        )  # fmt: skip
        return pb.ReserveAmbulanceResponse(
            ambulance_id=choice.chosen_id, station=choice.place, route=choice.route, cover=choice.cover
        )

    @rpc
    def ReleaseAmbulance(self, request: pb.ReleaseAmbulanceRequest) -> pb.ReleaseAmbulanceResponse:
        """Lets it go, or bars the reservation that may still come."""
        ended = ev.AmbulanceDispatchEnded(
            incident_id=request.incident_id, reservation_id=request.reservation_id, reason=request.reason
        )
        unit_id = self._end(self.dispatches, request.incident_id, request.reservation_id, ended)
        if unit_id:
            self.ambulances.handle(
                unit_id, lambda unit: domain.release_ambulance(unit, unit_id, request), lambda _after, _: None
            )
        return pb.ReleaseAmbulanceResponse(ambulance_id=unit_id)

    @rpc
    def ReserveBed(self, request: pb.ReserveBedRequest) -> pb.ReserveBedResponse:
        """Reserves a place in the hospital with a free one that is reached first."""
        choice = reserve(
            self.bed_searches,
            request.incident_id,
            request.reservation_id,
            candidates=lambda without: self._hospitals_by_time(request.place, request.incident_id, without),
            chosen=lambda c: ev.HospitalChosen(
                incident_id=request.incident_id, reservation_id=request.reservation_id, hospital_id=c.name, entrance=c.place,
                route=c.route,
            ),
            refused=lambda name: ev.HospitalChoiceRefused(
                incident_id=request.incident_id, reservation_id=request.reservation_id, hospital_id=name
            ),
            hold=lambda c: self.hospitals.handle(
                c.chosen_id, lambda hospital: places.reserve_bed(hospital, c, request), lambda _after, _: None
            ),
            taken=TAKEN,
        )  # fmt: skip
        return pb.ReserveBedResponse(hospital_id=choice.chosen_id, entrance=choice.place, route=choice.route)

    @rpc
    def CancelBed(self, request: pb.CancelBedRequest) -> pb.CancelBedResponse:
        """Gives the place back, or bars the reservation that may still come."""
        ended = ev.BedSearchEnded(incident_id=request.incident_id, reservation_id=request.reservation_id, reason=request.reason)
        hospital_id = self._end(self.bed_searches, request.incident_id, request.reservation_id, ended)
        if hospital_id:
            self.hospitals.handle(
                hospital_id, lambda hospital: places.cancel_bed(hospital, hospital_id, request), lambda _after, _: None
            )
        return pb.CancelBedResponse(hospital_id=hospital_id)

    @rpc
    def AnnouncePatient(self, request: pb.AnnouncePatientRequest) -> pb.AnnouncePatientResponse:
        """Tells the receiving hospital who comes."""
        return self.hospitals.handle(
            request.hospital_id, lambda state: places.announce(state, request), lambda _after, _: pb.AnnouncePatientResponse()
        )

    @rpc
    def ReportMission(self, request: pb.ReportMissionRequest) -> pb.ReportMissionResponse:
        """Takes in what the terminal of an ambulance reports."""
        return self.ambulances.handle(
            request.ambulance_id,
            lambda state: domain.report_mission(state, request),
            lambda _after, _: pb.ReportMissionResponse(),
            continues=True,
        )

    @rpc
    def ReportBreakdown(self, request: pb.ReportBreakdownRequest) -> pb.ReportBreakdownResponse:
        """Takes an ambulance out of service."""
        return self.ambulances.handle(
            request.ambulance_id,
            lambda state: domain.report_breakdown(state, request),
            lambda _after, _: pb.ReportBreakdownResponse(),
            continues=True,
        )

    @rpc
    def ReturnToService(self, request: pb.ReturnToServiceRequest) -> pb.ReturnToServiceResponse:
        """Takes it back into service."""
        return self.ambulances.handle(
            request.ambulance_id,
            lambda state: domain.return_to_service(state, request),
            lambda _after, _: pb.ReturnToServiceResponse(),
        )

    @rpc
    def RerouteAmbulance(self, request: pb.RerouteAmbulanceRequest) -> pb.RerouteAmbulanceResponse:
        """Finds another way for an ambulance under way."""
        try:
            ways: domain.Ways | ServiceError = self._ways(request)
        except ServiceError as problem:
            # The same call may have found one before: then it is answered as it was.
            ways = problem
        return self.ambulances.handle(
            request.ambulance_id,
            lambda unit: domain.reroute(unit, request, ways),
            lambda _after, events: pb.RerouteAmbulanceResponse(
                to_patient=events[0].to_patient if events[0].HasField("to_patient") else None,
                to_hospital=events[0].to_hospital if events[0].HasField("to_hospital") else None,
            ),
        )

    @rpc
    def ReportRefusal(self, request: pb.ReportRefusalRequest) -> pb.ReportRefusalResponse:
        """Takes in that the patient stays."""
        return self.ambulances.handle(
            request.ambulance_id,
            lambda state: domain.report_refusal(state, request),
            lambda _after, _: pb.ReportRefusalResponse(),
            continues=True,
        )

    @rpc
    def DivertPatient(self, request: pb.DivertPatientRequest) -> pb.DivertPatientResponse:
        """A hospital cannot take the patient it expects."""
        correlate(request.incident_id)
        return self.hospitals.handle(
            request.hospital_id, lambda state: places.divert(state, request), lambda _after, _: pb.DivertPatientResponse()
        )

    @rpc
    def HandOver(self, request: pb.HandOverRequest) -> pb.HandOverResponse:
        """Hands the patient over to the hospital."""
        return self.hospitals.handle(
            request.hospital_id, lambda state: places.hand_over(state, request), lambda _after, _: pb.HandOverResponse()
        )

    @rpc
    def DischargePatient(self, request: pb.DischargePatientRequest) -> pb.DischargePatientResponse:
        """Discharges a patient."""
        return self.hospitals.handle(
            request.hospital_id, lambda state: places.discharge(state, request), lambda _after, _: pb.DischargePatientResponse()
        )

    @rpc
    def TransferPatient(self, request: pb.TransferPatientRequest) -> pb.TransferPatientResponse:
        """Moves a patient to another hospital: first a place there is reserved, then the place here is free."""
        here, there = request.hospital_id, request.to_hospital_id
        try:
            if places.transfer(self.hospitals.load(here), request):
                self.hospitals.handle(there, lambda state: places.expect_transfer(state, request), lambda _after, _: None)
                self.hospitals.handle(here, lambda state: places.transfer(state, request), lambda _after, _: None)
        except Refused:
            # Another transfer of the same patient was quicker.
            self.hospitals.handle(
                there, lambda state: places.expect_no_transfer(state, request), lambda _after, _: None, label="not transferred"
            )
            raise
        return pb.TransferPatientResponse()

    @rpc
    def WarnHospitals(self, request: pb.WarnHospitalsRequest) -> pb.WarnHospitalsResponse:
        """Warns the hospitals that are reached first, full or not: they know best what they can free."""
        correlate(request.incident_id)
        nearest: list[pb.WarnedHospital] = []
        if not surge.is_known(self.surges.load(request.incident_id), request.warning_id):
            known = {key: _place(row) for key, row in self.hospital_list.scan()}
            found = self._by_time(
                request.place, known, travel.routes_from, "no hospital is registered: RegisterHospital does that"
            )
            nearest = [
                pb.WarnedHospital(hospital_id=one.name, travel_time_s=one.route.travel_time_s)
                for one in found[: request.hospitals]
            ]
        after = self.surges.handle(
            request.incident_id, lambda state: surge.warn(state, request, nearest), lambda after, _: after
        )
        return pb.WarnHospitalsResponse(hospitals=after.warned[request.warning_id])

    @rpc
    def StandDownHospitals(self, request: pb.StandDownHospitalsRequest) -> pb.StandDownHospitalsResponse:
        """Ends a warning, or bars the one that may still come."""
        correlate(request.incident_id)
        after = self.surges.handle(request.incident_id, lambda state: surge.stand_down(state, request), lambda after, _: after)
        return pb.StandDownHospitalsResponse(hospital_ids=after.ended[request.warning_id])

    @rpc
    def FollowMissions(self, request: pb.FollowMissionsRequest) -> Follow:
        """Streams orders to the terminals of ambulances."""
        types = (ev.AmbulanceReserved, ev.BedReserved, ev.AmbulanceRerouted, ev.AmbulanceReleased, ev.PatientHandedOver)
        return Follow(purpose="missions", types=types)

    def _on_a_road(self, place: RoadPlace, what: str) -> None:
        """Refuses a place that is on no road, once a network is published."""
        roads = self.roads.derived(travel.build)
        if roads.length_m:
            roads.require(place, what)

    # -- who is nearest -----------------------------------------------------------------------------------------------

    def _ambulances(self, place: RoadPlace, without: Iterable[str], *, first_only: bool) -> list[Candidate]:
        """Those that can come, the one to be sent first."""
        free = {k: _place(row) for k, row in self.ambulance_list.scan() if _is_free(row) and k not in without}
        none = "no ambulance is free: the next one will be when it is released"
        ranked = self._by_time(place, free, travel.routes_to, none)
        if first_only or len(ranked) == 1:
            return ranked
        seconds = {one.name: one.route.travel_time_s for one in ranked}
        roads, past = self.roads.derived(travel.build), self.past.derived(views.emergencies)
        chosen, kept = off_loop(cover.choose, roads, free, seconds, past, self.closed_roads.derived(closed_roads.roads))
        # By whether it is another one: the rest stays in the order of time.
        return sorted(
            (replace(one, cover=kept) if one.name == chosen else one for one in ranked), key=lambda c: c.name != chosen
        )

    def _hospitals_by_time(self, place: RoadPlace, incident_id: str, without: Iterable[str]) -> list[Candidate]:
        open_ = {
            k: _place(row)
            for k, row in self.hospital_list.scan()
            if _free(row) > 0 and k not in without and incident_id not in row.diverted
        }
        return self._by_time(place, open_, travel.routes_from, "no hospital has a free place: try again when one has")

    def _by_time(
        self, place: RoadPlace, ends: dict[str, RoadPlace], search: Callable[..., dict[str, Route]], none: str
    ) -> list[Candidate]:
        if not ends:
            raise NoneFree(none, "NONE_FREE")
        roads = self.roads.derived(travel.build)
        roads.require(place, "the place of the emergency")
        routes = off_loop(search, roads, place, ends, self.closed_roads.derived(closed_roads.roads))
        if not routes:
            raise self._unreachable(f"no road leads between {place.edge_id!r} and any of: {listed(ends)}")
        ranked = sorted(routes.items(), key=lambda item: (item[1].travel_time_s, item[0]))
        return [Candidate(name, ends[name], route) for name, route in ranked]

    def _ways(self, request: pb.RerouteAmbulanceRequest) -> domain.Ways:
        start, patient = domain.legs(self.ambulances.load(request.ambulance_id), request)
        bed = self.bed_searches.load(request.incident_id).choice
        to_patient = None if patient is None else self._way(start, patient)
        return to_patient, None if bed is None else self._way(patient or start, bed.place)

    def _way(self, start: RoadPlace, end: RoadPlace) -> Route:
        roads = self.roads.derived(travel.build)
        roads.require(start, "the place of the ambulance")
        found = off_loop(travel.routes_from, roads, start, {"there": end}, self.closed_roads.derived(closed_roads.roads))
        if not found:
            raise self._unreachable(f"no road leads from {start.edge_id!r} to {end.edge_id!r}")
        return found["there"]

    def _unreachable(self, problem: str) -> Refused:
        closed = len(self.closed_roads.derived(closed_roads.roads))
        reopen = f" ({closed} roads are closed: reopen one if it can be driven through)" if closed else ""
        return Refused(problem + reopen, "UNREACHABLE")

    def _end(self, searches: Streams[domain.Search], incident_id: str, reservation_id: str, ended: Any) -> str:
        """Ends a search, so that nothing more is chosen for it. Returns what had been chosen, for the caller to release."""
        return searches.handle(
            incident_id, lambda state: domain.end(state, ended, reservation_id), lambda after, _: after.ended[reservation_id]
        )


def _place(row: views.AmbulanceRow | views.HospitalRow) -> RoadPlace:
    return RoadPlace(edge_id=row.edge_id, position_m=row.position_m)


def _is_free(row: views.AmbulanceRow) -> bool:
    return not row.reservation and not row.out


def _free(row: views.HospitalRow) -> int:
    return row.places - len(row.expected) - len(row.present)
