"""Who goes where: a method by itself on rows that the test gives, and the service while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.traffic.v1 import events_pb2 as traffic

from citybrain.mesh import closed_roads
from citybrain.mesh.errors import NoneFree, NotFound, Refused
from citybrain.mesh.testing import Running, running, service_factory
from citybrain.services.health.service import HealthService
from citybrain.services.health.views import AmbulanceRow, HospitalRow, RoadRow

# A ring: e1 → e2 → e3 → e1; and an island.
RING = {"e1": ["e2"], "e2": ["e3"], "e3": ["e1"], "island": []}
ROADS = {"e1": RoadRow([(edge, 100.0, 10.0, following) for edge, following in RING.items()])}


def stands(edge: str, incident: str = "", reservation: str = "") -> AmbulanceRow:
    return AmbulanceRow(edge, 0.0, incident, reservation)


def reserve(incident: str = "i1", edge: str = "e3") -> pb.ReserveAmbulanceRequest:
    return pb.ReserveAmbulanceRequest(incident_id=incident, reservation_id=f"r-{incident}", place=RoadPlace(edge_id=edge))


# -- a method by itself -----------------------------------------------------------------------------------------------------


def test_ambulances_and_hospitals_are_listed_by_their_ids_in_pages() -> None:
    fleet = {f"a{number}": stands("e1") for number in (2, 3, 1)}
    house = HospitalRow("", "e1", 0.0, 3)
    houses = {f"h{number}": house for number in (2, 3, 1)}
    with service_factory(HealthService, ambulance_list=fleet, hospital_list=houses) as health:
        lists: tuple[tuple[Any, Any, str, str], ...] = (
            (health.ListAmbulances, pb.ListAmbulancesRequest, "ambulances", "ambulance_id"),
            (health.ListHospitals, pb.ListHospitalsRequest, "hospitals", "hospital_id"),
        )
        for method, kind, field, key in lists:
            first = method(kind(page_size=2))
            second = method(kind(page_size=2, page_token=first.next_page_token))
            listed = [[getattr(one, key) for one in getattr(page, field)] for page in (first, second)]
            assert listed == [[f"{field[0]}1", f"{field[0]}2"], [f"{field[0]}3"]]
            assert second.next_page_token == ""


def test_the_ambulance_that_is_there_first_is_held_and_not_one_that_drives_already() -> None:
    fleet = {"a1": stands("e1"), "a2": stands("e2"), "a3": stands("e3", "i0", "r0")}
    with service_factory(HealthService, roads=ROADS, ambulance_list=fleet) as health:
        answer = health.ReserveAmbulance(reserve())
        assert (answer.ambulance_id, list(answer.route.edge_ids), answer.route.travel_time_s) == ("a2", ["e2", "e3"], 16.3)
        assert health.ambulances.load("a2").incident_id == "i1"


def test_an_ambulance_that_was_taken_meanwhile_is_passed_over_and_it_is_written_down() -> None:
    taken = ev.AmbulanceReserved(ambulance_id="a2", incident_id="i0", reservation_id="r0")
    fleet = {"a1": stands("e1"), "a2": stands("e2")}
    with service_factory(HealthService, roads=ROADS, ambulance_list=fleet, ambulances={"a2": [taken]}) as health:
        assert health.ReserveAmbulance(reserve()).ambulance_id == "a1"
        assert health.dispatches.load("i1").refused == ("a2",)


def test_where_none_is_free_or_none_can_come_the_caller_is_told_which() -> None:
    busy = {"a1": stands("e1", "i0", "r0")}
    with (
        service_factory(HealthService, roads=ROADS, ambulance_list=busy) as health,
        pytest.raises(NoneFree, match="when it is released"),
    ):
        health.ReserveAmbulance(reserve())
    with service_factory(HealthService, roads=ROADS, ambulance_list={"a1": stands("island")}) as health:
        with pytest.raises(Refused, match="no road leads between 'e3' and any of: a1"):
            health.ReserveAmbulance(reserve())
        with pytest.raises(Refused, match="the place of the emergency lies on road 'e9'"):
            health.ReserveAmbulance(reserve(edge="e9"))


def test_a_way_leads_through_no_closed_road_and_the_caller_is_told_when_none_is_left() -> None:
    fleet = {"a1": stands("e1"), "a2": stands("e3")}
    shut = {"e2": closed_roads.Row("e2", ("c1",))}
    with service_factory(HealthService, roads=ROADS, ambulance_list=fleet, closed_roads=shut) as health:
        # From a1 the way to e3 leads through e2.
        assert health.ReserveAmbulance(reserve("i1", "e3")).ambulance_id == "a2"
        # Who needs help may be on the closed road.
        assert list(health.ReserveAmbulance(reserve("i2", "e2")).route.edge_ids) == ["e1", "e2"]
    with (
        service_factory(HealthService, roads=ROADS, ambulance_list={"a1": stands("e1")}, closed_roads=shut) as health,
        pytest.raises(Refused, match=r"any of: a1 \(1 roads are closed: reopen one if it can be driven through\)"),
    ):
        health.ReserveAmbulance(reserve())


def test_a_station_or_an_entrance_on_no_road_is_refused_once_roads_are_known() -> None:
    far, nowhere = RoadPlace(edge_id="e1", position_m=99_999), RoadPlace(edge_id="e9")
    with service_factory(HealthService, roads=ROADS) as health:
        for place, reason in ((far, "OFF_THE_ROAD"), (nowhere, "UNKNOWN_ROAD")):
            with pytest.raises(Refused) as station:
                health.RegisterAmbulance(pb.RegisterAmbulanceRequest(ambulance_id="a1", station=place))
            with pytest.raises(Refused) as entrance:
                health.RegisterHospital(pb.RegisterHospitalRequest(hospital_id="h1", entrance=place, places=1))
            assert (station.value.reason, entrance.value.reason) == (reason, reason)
            assert "ambulance a1" in str(station.value) and "hospital h1" in str(entrance.value)
    with service_factory(HealthService) as health:
        health.RegisterAmbulance(pb.RegisterAmbulanceRequest(ambulance_id="a1", station=nowhere))


# -- the service while it runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def health() -> Iterator[Running]:
    with running(HealthService) as service:
        edges = [
            RoadEdge(edge_id=edge, length_m=100, free_speed_mps=10, next_edge_ids=following) for edge, following in RING.items()
        ]
        service.tell(traffic.RoadsPublished(edges=edges))
        for name, edge in (("a1", "e1"), ("a2", "e2")):
            service.fire("RegisterAmbulance", pb.RegisterAmbulanceRequest(ambulance_id=name, station=RoadPlace(edge_id=edge)))
        place = RoadPlace(edge_id="e1")
        service.fire("RegisterHospital", pb.RegisterHospitalRequest(hospital_id="h1", entrance=place, places=1))
        service.rest()
        yield service


def test_a_retry_is_answered_with_the_same_ambulance_and_holds_no_second_one(health: Running) -> None:
    first, again = (health.fire("ReserveAmbulance", reserve(), request_id="r1") for _ in range(2))
    assert first == again
    assert len(health.events(ev.AmbulanceReserved)) == 1


def test_two_emergencies_at_once_get_two_ambulances_and_the_third_none(health: Running) -> None:
    answers: dict[str, str] = {}

    def call(incident: str) -> None:
        try:
            answers[incident] = health.fire("ReserveAmbulance", reserve(incident)).ambulance_id
        except NoneFree:
            answers[incident] = "none"

    calls = [threading.Thread(target=call, args=(f"i{n}",)) for n in range(3)]
    for one in calls:
        one.start()
    for one in calls:
        one.join()
    assert sorted(answers.values()) == ["a1", "a2", "none"]
    assert len(health.events(ev.AmbulanceReserved)) == 2


def test_a_release_that_came_for_another_reservation_frees_no_ambulance_in_the_list(health: Running) -> None:
    health.fire("ReserveAmbulance", reserve())
    late = ev.AmbulanceReleased(ambulance_id="a2", incident_id="i0", reservation_id="r-i0")
    health.tell(late, stream="health/late")
    health.rest()
    listed = health.fire("ListAmbulances", pb.ListAmbulancesRequest()).ambulances
    assert [(one.ambulance_id, one.incident_id) for one in listed] == [("a1", ""), ("a2", "i1")]


def test_terminals_hear_their_orders_from_the_token_on(health: Running) -> None:
    with health.fire("FollowMissions", pb.FollowMissionsRequest()) as orders:
        health.fire("ReserveAmbulance", reserve())
        held = next(orders)
        assert [event.type.rpartition(".")[2] for event in held.events] == ["AmbulanceReserved"]
    health.fire("ReleaseAmbulance", pb.ReleaseAmbulanceRequest(incident_id="i1", reservation_id="r-i1"))
    with health.fire("FollowMissions", pb.FollowMissionsRequest(resume_token=held.resume_token)) as orders:
        assert [event.type.rpartition(".")[2] for event in next(orders).events] == ["AmbulanceReleased"]
    health.wait_for_row("ambulance_list", "a2", lambda row: row.reservation == "")


def test_the_last_place_of_a_hospital_is_given_once_and_back_when_it_is_cancelled(health: Running) -> None:
    def bed(incident: str) -> pb.ReserveBedRequest:
        return pb.ReserveBedRequest(incident_id=incident, reservation_id=f"b-{incident}", place=RoadPlace(edge_id="e2"))

    assert health.fire("ReserveBed", bed("i1")).hospital_id == "h1"
    health.wait_for_row("hospital_list", "h1", lambda row: row.expected == {"i1": "b-i1"})
    with pytest.raises(NoneFree, match="no hospital has a free place"):
        health.fire("ReserveBed", bed("i2"))
    health.fire("CancelBed", pb.CancelBedRequest(incident_id="i1", reservation_id="b-i1"))
    health.wait_for_row("hospital_list", "h1", lambda row: row.expected == {})
    assert health.fire("ReserveBed", bed("i2")).hospital_id == "h1"


# -- places that become free again ---------------------------------------------------------------------------------------------


def bed_of(incident: str, reservation: str = "") -> pb.ReserveBedRequest:
    name = reservation or f"b-{incident}"
    return pb.ReserveBedRequest(incident_id=incident, reservation_id=name, place=RoadPlace(edge_id="e2"))


def take_in(health: Running, incident: str) -> str:
    """A patient is brought in; the hospital."""
    hospital: str = health.fire("ReserveBed", bed_of(incident)).hospital_id
    health.fire("HandOver", pb.HandOverRequest(hospital_id=hospital, incident_id=incident, ambulance_id="a1"))
    health.rest()
    return hospital


def free_places(health: Running) -> dict[str, int]:
    listed = health.fire("ListHospitals", pb.ListHospitalsRequest()).hospitals
    return {one.hospital_id: one.free_places for one in listed}


@pytest.fixture
def two_places(health: Running) -> Running:
    """Two hospitals of one place each."""
    place = RoadPlace(edge_id="e3")
    health.fire("RegisterHospital", pb.RegisterHospitalRequest(hospital_id="h2", entrance=place, places=1))
    health.rest()
    return health


def test_the_third_patient_at_two_places_gets_the_one_that_somebody_has_left(two_places: Running) -> None:
    health = two_places
    first, second = take_in(health, "i1"), take_in(health, "i2")
    assert {first, second} == {"h1", "h2"}
    with pytest.raises(NoneFree):
        health.fire("ReserveBed", bed_of("i3"))
    health.fire("DischargePatient", pb.DischargePatientRequest(hospital_id=second, incident_id="i2", reason="well again"))
    health.rest()
    assert free_places(health) == {first: 0, second: 1}
    assert take_in(health, "i3") == second
    assert free_places(health) == {"h1": 0, "h2": 0}


def test_who_is_transferred_has_a_place_there_before_the_one_here_is_free(two_places: Running) -> None:
    health = two_places
    here = take_in(health, "i1")
    there = "h1" if here == "h2" else "h2"

    def transfer(to: str, reservation: str) -> None:
        health.fire(
            "TransferPatient",
            pb.TransferPatientRequest(hospital_id=here, incident_id="i1", to_hospital_id=to, reservation_id=reservation),
        )

    assert health.fire("ReserveBed", bed_of("i2")).hospital_id == there
    with pytest.raises(Refused, match="no free place"):
        transfer(there, "t1")
    health.fire("CancelBed", pb.CancelBedRequest(incident_id="i2", reservation_id="b-i2"))
    # What was refused may be asked for again when there is a place.
    for _ in range(2):
        transfer(there, "t1")
    health.rest()
    assert free_places(health) == {here: 1, there: 0}
    health.fire("HandOver", pb.HandOverRequest(hospital_id=there, incident_id="i1", ambulance_id="a1"))
    health.rest()
    assert free_places(health) == {here: 1, there: 0}
    with pytest.raises(Refused) as left:
        transfer(here, "t2")
    assert left.value.reason == "HAS_LEFT"


def test_a_transfer_that_is_refused_because_another_was_quicker_leaves_no_place_held(two_places: Running) -> None:
    health = two_places
    here = take_in(health, "i1")
    there = "h1" if here == "h2" else "h2"
    # Its first try was cut off behind the place that it held.
    held = ev.BedReserved(hospital_id=there, incident_id="i1", reservation_id="t1")
    health.tell(held, stream=f"health/hospital-{there}")
    health.fire("DischargePatient", pb.DischargePatientRequest(hospital_id=here, incident_id="i1"))
    request = pb.TransferPatientRequest(hospital_id=here, incident_id="i1", to_hospital_id=there, reservation_id="t1")
    with pytest.raises(Refused):
        health.fire("TransferPatient", request)
    health.rest()
    assert free_places(health) == {here: 1, there: 1}


def test_a_list_gives_the_place_of_an_old_reservation_back_and_not_that_of_a_newer_one(health: Running) -> None:
    newer = ev.BedReserved(hospital_id="h1", incident_id="i1", reservation_id="newer")
    health.tell(newer, ev.BedCancelled(hospital_id="h1", incident_id="i1", reservation_id="older"))
    health.rest()
    assert free_places(health) == {"h1": 0}
    health.tell(ev.BedCancelled(hospital_id="h1", incident_id="i1", reservation_id="newer"), stream="health/later")
    health.rest()
    assert free_places(health) == {"h1": 1}


def test_an_ambulance_that_broke_down_is_chosen_for_nothing_until_it_is_back(health: Running) -> None:
    for _ in range(2):
        health.fire("ReportBreakdown", pb.ReportBreakdownRequest(ambulance_id="a2", reason="engine"))
    health.rest()
    listed = {
        one.ambulance_id: one.out_of_service for one in health.fire("ListAmbulances", pb.ListAmbulancesRequest()).ambulances
    }
    assert listed == {"a1": False, "a2": True}
    # a2 is nearer.
    assert health.fire("ReserveAmbulance", reserve("i1")).ambulance_id == "a1"
    with pytest.raises(NoneFree):
        health.fire("ReserveAmbulance", reserve("i2"))
    for _ in range(2):
        health.fire("ReturnToService", pb.ReturnToServiceRequest(ambulance_id="a2"))
    health.rest()
    assert health.fire("ReserveAmbulance", reserve("i3")).ambulance_id == "a2"
    broken, back = health.events(ev.AmbulanceBrokenDown), health.events(ev.AmbulanceReturnedToService)
    assert (len(broken), len(back)) == (1, 1)


def test_an_ambulance_that_broke_down_a_moment_ago_is_passed_over_though_the_list_says_it_is_free() -> None:
    broken = ev.AmbulanceBrokenDown(ambulance_id="a2", reason="engine")
    fleet = {"a1": stands("e1"), "a2": stands("e2")}
    with service_factory(HealthService, roads=ROADS, ambulance_list=fleet, ambulances={"a2": [broken]}) as health:
        assert health.ReserveAmbulance(reserve()).ambulance_id == "a1"


def test_a_breakdown_on_a_mission_names_the_mission_and_where_it_stands(health: Running) -> None:
    unit = health.fire("ReserveAmbulance", reserve("i1")).ambulance_id
    at = RoadPlace(edge_id="e2", position_m=5)
    health.fire("ReportBreakdown", pb.ReportBreakdownRequest(ambulance_id=unit, place=at, reason="tyre"))
    told: ev.AmbulanceBrokenDown = health.events(ev.AmbulanceBrokenDown)[0].data  # type: ignore[assignment]
    assert (told.incident_id, told.place, told.reason) == ("i1", at, "tyre")


def test_a_hospital_that_diverts_a_patient_has_the_place_free_and_is_not_chosen_for_them_again(health: Running) -> None:
    health.fire("RegisterHospital", pb.RegisterHospitalRequest(hospital_id="h2", entrance=RoadPlace(edge_id="e3"), places=1))
    health.rest()
    bed = pb.ReserveBedRequest(incident_id="i1", reservation_id="b1", place=RoadPlace(edge_id="e3"))
    assert health.fire("ReserveBed", bed).hospital_id == "h2"
    for _ in range(2):
        health.fire("DivertPatient", pb.DivertPatientRequest(hospital_id="h2", incident_id="i1", reason="no surgeon"))
    health.fire("CancelBed", pb.CancelBedRequest(incident_id="i1", reservation_id="b1", reason="diverted"))
    health.rest()
    again = pb.ReserveBedRequest(incident_id="i1", reservation_id="b2", place=RoadPlace(edge_id="e3"))
    assert health.fire("ReserveBed", again).hospital_id == "h1"
    other = pb.ReserveBedRequest(incident_id="i2", reservation_id="b3", place=RoadPlace(edge_id="e3"))
    assert health.fire("ReserveBed", other).hospital_id == "h2"
    assert len(health.events(ev.PatientDiverted)) == 1


def test_a_hospital_that_diverted_a_moment_ago_is_passed_over_though_the_list_says_it_has_a_place() -> None:
    expects = ev.BedReserved(hospital_id="h2", incident_id="i1", reservation_id="b0")
    diverted = ev.PatientDiverted(hospital_id="h2", incident_id="i1", reservation_id="b0", reason="no surgeon")
    houses = {"h1": HospitalRow("", "e1", 0.0, 3), "h2": HospitalRow("", "e3", 0.0, 3)}
    registered = ev.HospitalRegistered(hospital_id="h2", entrance=RoadPlace(edge_id="e3"), places=3)
    first = ev.HospitalRegistered(hospital_id="h1", entrance=RoadPlace(edge_id="e1"), places=3)
    streams = {"h1": [first], "h2": [registered, expects, diverted]}
    with service_factory(HealthService, roads=ROADS, hospital_list=houses, hospitals=streams) as health:
        bed = pb.ReserveBedRequest(incident_id="i1", reservation_id="b1", place=RoadPlace(edge_id="e3"))
        assert health.ReserveBed(bed).hospital_id == "h1"


def test_only_the_ambulance_on_a_mission_says_that_the_patient_stays_and_once(health: Running) -> None:
    unit = health.fire("ReserveAmbulance", reserve("i1")).ambulance_id
    stays = pb.ReportRefusalRequest(ambulance_id=unit, incident_id="i1", reason="feels better")
    for number in range(2):
        health.fire("ReportRefusal", stays, request_id=f"refusal-{number}")
    assert len(health.events(ev.PatientRefused)) == 1
    with pytest.raises(Refused, match="has no mission for i9"):
        health.fire("ReportRefusal", pb.ReportRefusalRequest(ambulance_id=unit, incident_id="i9", reason="x"))


def test_nobody_diverts_a_patient_who_is_not_expected(health: Running) -> None:
    with pytest.raises(Refused, match="hospital h1 expects nobody for i9"):
        health.fire("DivertPatient", pb.DivertPatientRequest(hospital_id="h1", incident_id="i9", reason="full"))


def test_a_road_is_closed_until_the_last_of_its_closures_has_ended(health: Running) -> None:
    health.tell(traffic.RoadClosed(edge_id="e3", closure_id="c1"), traffic.RoadClosed(edge_id="e3", closure_id="c2"))
    health.tell(traffic.RoadReopened(edge_id="e3", closure_id="c1"))
    health.rest()
    # a2 would come through e3.
    health.fire("ReportBreakdown", pb.ReportBreakdownRequest(ambulance_id="a1", reason="engine"))
    health.rest()
    with pytest.raises(Refused, match="no road leads"):
        health.fire("ReserveAmbulance", reserve("i1", "e1"))
    health.tell(traffic.RoadReopened(edge_id="e3", closure_id="c2"))
    # A cordon lets ambulances through.
    health.tell(traffic.RoadClosed(edge_id="e3", closure_id="c3", emergency_vehicles_pass=True))
    health.rest()
    assert health.fire("ReserveAmbulance", reserve("i1", "e1")).ambulance_id == "a2"


# -- another way --------------------------------------------------------------------------------------------------------------

# From e1 to e3 by e2 or by e9; from e3 to e4 directly or by e5.
TWO_WAYS = {"e1": ["e2", "e9"], "e2": ["e3"], "e9": ["e3"], "e3": ["e4", "e5"], "e5": ["e4"], "e4": []}
LENGTHS = {"e9": 150.0, "e5": 50.0}


@pytest.fixture
def mission() -> Iterator[Running]:
    """An ambulance from e1 is on its way to a patient on e3, with a place in a hospital on e4."""
    with running(HealthService) as service:
        edges = [
            RoadEdge(edge_id=edge, length_m=LENGTHS.get(edge, 100), free_speed_mps=10, next_edge_ids=following)
            for edge, following in TWO_WAYS.items()
        ]
        service.tell(traffic.RoadsPublished(edges=edges))
        station, entrance = RoadPlace(edge_id="e1"), RoadPlace(edge_id="e4", position_m=60)
        service.fire("RegisterAmbulance", pb.RegisterAmbulanceRequest(ambulance_id="a1", station=station))
        service.fire("RegisterHospital", pb.RegisterHospitalRequest(hospital_id="h1", entrance=entrance, places=1))
        service.rest()
        place = RoadPlace(edge_id="e3", position_m=60)
        service.fire("ReserveAmbulance", pb.ReserveAmbulanceRequest(incident_id="i1", reservation_id="r1", place=place))
        service.fire("ReserveBed", pb.ReserveBedRequest(incident_id="i1", reservation_id="b1", place=place, ambulance_id="a1"))
        service.rest()
        yield service


def close(service: Running, *edges: str) -> None:
    service.tell(*(traffic.RoadClosed(edge_id=edge, closure_id="c1") for edge in edges))
    service.rest()


def another_way(service: Running, at: RoadPlace | None = None, **how: Any) -> tuple[list[str], list[str]]:
    asked = pb.RerouteAmbulanceRequest(ambulance_id="a1", incident_id="i1", vehicle_at=at)
    answer = service.fire("RerouteAmbulance", asked, **how)
    return list(answer.to_patient.edge_ids), list(answer.to_hospital.edge_ids)


def report_stage(service: Running, stage: pb.MissionStage) -> None:
    service.fire("ReportMission", pb.ReportMissionRequest(ambulance_id="a1", incident_id="i1", stage=stage))


def test_another_way_leads_from_where_the_ambulance_is_around_the_closed_road_to_the_patient_and_on(mission: Running) -> None:
    close(mission, "e2")
    assert another_way(mission, RoadPlace(edge_id="e1", position_m=70)) == (["e1", "e9", "e3"], ["e3", "e4"])
    (told,) = mission.events(ev.AmbulanceRerouted)
    assert isinstance(told.data, ev.AmbulanceRerouted)
    # 30 m are left of e1, then 150 m and 60 m: 8 s, and 240 m at 12 m/s.
    assert (told.data.reservation_id, told.data.to_patient.travel_time_s) == ("r1", 28)
    # Where nobody knows it: from its station.
    assert another_way(mission) == (["e1", "e9", "e3"], ["e3", "e4"])


def test_once_the_ambulance_has_been_with_the_patient_another_way_leads_to_the_hospital_only(mission: Running) -> None:
    close(mission, "e4")
    report_stage(mission, pb.MISSION_STAGE_AT_SCENE)
    assert another_way(mission) == ([], ["e3", "e4"])
    report_stage(mission, pb.MISSION_STAGE_PATIENT_ON_BOARD)
    assert another_way(mission, RoadPlace(edge_id="e5", position_m=10)) == ([], ["e5", "e4"])


def test_where_no_open_road_leads_on_or_the_mission_is_another_there_is_no_other_way(mission: Running) -> None:
    close(mission, "e2", "e9")
    with pytest.raises(Refused, match=r"no road leads from 'e1' to 'e3' \(2 roads are closed: reopen one"):
        another_way(mission)
    with pytest.raises(Refused, match="the place of the ambulance lies on road 'nowhere'"):
        another_way(mission, RoadPlace(edge_id="nowhere"))
    for ambulance, incident, problem in (("a1", "i9", "has no mission for i9"), ("a9", "i1", "there is no ambulance a9")):
        asked = pb.RerouteAmbulanceRequest(ambulance_id=ambulance, incident_id=incident)
        with pytest.raises((Refused, NotFound), match=problem):
            mission.fire("RerouteAmbulance", asked)
    assert not mission.events(ev.AmbulanceRerouted)


def test_another_way_that_was_found_is_answered_again_although_there_is_none_any_more(mission: Running) -> None:
    close(mission, "e2")
    first = another_way(mission, request_id="k1")
    close(mission, "e9")
    assert another_way(mission, request_id="k1") == first
    assert len(mission.events(ev.AmbulanceRerouted)) == 1


def test_the_terminal_on_board_hears_of_another_way(mission: Running) -> None:
    close(mission, "e2")
    another_way(mission)
    orders = mission.fire("FollowMissions", pb.FollowMissionsRequest())
    types: list[str] = []
    while "citybrain.health.v1.AmbulanceRerouted" not in types:
        types += [event.type for event in next(orders).events]
