"""Ambulances, hospitals, and the choice among them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from google.protobuf.message import Message
from hypothesis import given as for_all
from hypothesis import strategies as st

from citybrain.mesh.errors import AlreadyDifferent, NotFound, Refused
from citybrain.mesh.roads import Roads
from citybrain.mesh.testing import given
from citybrain.services.health import domain, places, travel
from citybrain.services.health.views import RoadRow

STATION = RoadPlace(edge_id="e1", position_m=1)
CHOICE = domain.Choice("r1", "a1", STATION, Route(edge_ids=["e1"]))
AMBULANCE = ev.AmbulanceRegistered(ambulance_id="a1", station=STATION)


def hold(reservation: str, incident: str = "i1") -> pb.ReserveAmbulanceRequest:
    return pb.ReserveAmbulanceRequest(incident_id=incident, reservation_id=reservation, place=STATION)


def held(reservation: str, incident: str = "i1") -> ev.AmbulanceReserved:
    return ev.AmbulanceReserved(
        ambulance_id="a1", incident_id=incident, reservation_id=reservation, station=STATION, place=STATION, route=CHOICE.route
    )


def let_go(reservation: str) -> pb.ReleaseAmbulanceRequest:
    return pb.ReleaseAmbulanceRequest(incident_id="i1", reservation_id=reservation)


def released(reservation: str) -> ev.AmbulanceReleased:
    return ev.AmbulanceReleased(ambulance_id="a1", incident_id="i1", reservation_id=reservation)


def report(stage: pb.MissionStage, incident: str = "i1") -> pb.ReportMissionRequest:
    return pb.ReportMissionRequest(ambulance_id="a1", incident_id=incident, stage=stage)


def test_an_assigned_ambulance_is_refused_to_others_and_given_again_to_the_same() -> None:
    assigned = (
        given(domain.evolve_ambulance, domain.Ambulance(), AMBULANCE)
        .when(domain.reserve_ambulance, CHOICE, hold("r1"))
        .then(held("r1"))
    )
    assigned.when(domain.reserve_ambulance, CHOICE, hold("r1")).then_nothing()
    assigned.when(domain.reserve_ambulance, CHOICE, hold("r2", "i2")).then_refused(Refused, "AMBULANCE_TAKEN")


def test_a_release_that_overtakes_its_reservation_bars_it_and_harms_no_other() -> None:
    overtaken = (
        given(domain.evolve_ambulance, domain.Ambulance(), AMBULANCE, held("r1"))
        .when(domain.release_ambulance, "a1", let_go("r2"))
        .then(released("r2"))
    )
    assert overtaken.state.reservation_id == "r1"
    free = overtaken.when(domain.release_ambulance, "a1", let_go("r1")).then(released("r1"))
    free.when(domain.reserve_ambulance, CHOICE, hold("r2")).then_refused(Refused, "RESERVATION_ENDED")
    free.when(domain.release_ambulance, "a1", let_go("r2")).then_nothing()


def test_missions_only_go_forward_and_only_for_their_own_incident() -> None:
    at_scene = pb.MISSION_STAGE_AT_SCENE
    arrived = (
        given(domain.evolve_ambulance, domain.Ambulance(), AMBULANCE, held("r1"))
        .when(domain.report_mission, report(at_scene))
        .then(ev.MissionReported(ambulance_id="a1", incident_id="i1", stage=at_scene))
    )
    late = ev.MissionReportedLate(ambulance_id="a1", incident_id="i1", stage=pb.MISSION_STAGE_UNDER_WAY)
    kept = arrived.when(domain.report_mission, report(pb.MISSION_STAGE_UNDER_WAY)).then(late)
    assert kept.state.stage == at_scene
    for again in (pb.MISSION_STAGE_UNDER_WAY, at_scene):
        kept.when(domain.report_mission, report(again)).then_nothing()
    arrived.when(domain.report_mission, report(at_scene, "i2")).then_refused(Refused, "NOT_ON_THIS_MISSION")
    unknown = given(domain.evolve_ambulance, domain.Ambulance())
    unknown.when(domain.report_mission, report(at_scene)).then_refused(NotFound, "NO_SUCH_AMBULANCE")


def test_the_same_registration_again_changes_nothing_and_another_one_is_refused() -> None:
    known = given(domain.evolve_ambulance, domain.Ambulance(), AMBULANCE)
    known.when(domain.register_ambulance, pb.RegisterAmbulanceRequest(ambulance_id="a1", station=STATION)).then_nothing()
    known.when(
        domain.register_ambulance, pb.RegisterAmbulanceRequest(ambulance_id="a1", station=RoadPlace(edge_id="e9"))
    ).then_refused(AlreadyDifferent)


@for_all(st.lists(st.tuples(st.sampled_from(["reserve", "release"]), st.integers(0, 5)), max_size=40))
def test_whatever_order_commands_come_in_no_ended_reservation_ever_holds_the_ambulance(actions: list[tuple[str, int]]) -> None:
    state, ended = given(domain.evolve_ambulance, domain.Ambulance(), AMBULANCE).state, set()
    for action, number in actions:
        name = f"r{number}"
        try:
            if action == "reserve":
                events = domain.reserve_ambulance(state, CHOICE, hold(name, f"i{number}"))
            else:
                events = domain.release_ambulance(state, "a1", let_go(name))
        except Refused:
            continue
        if action == "release":
            ended.add(name)
        state = given(domain.evolve_ambulance, state, *events).state
        assert state.reservation_id not in ended


HOSPITAL = ev.HospitalRegistered(hospital_id="h1", name="第一医院", entrance=STATION, places=1)
HAND_OVER = pb.HandOverRequest(hospital_id="h1", incident_id="i1", ambulance_id="a1")
ONE_PLACE = given(places.evolve_hospital, places.Hospital(), HOSPITAL)


def bed(incident: str) -> tuple[domain.Choice, pb.ReserveBedRequest]:
    choice = domain.Choice(f"b-{incident}", "h1", STATION, Route())
    return choice, pb.ReserveBedRequest(incident_id=incident, reservation_id=f"b-{incident}")


def expected(incident: str) -> Message:
    return ev.BedReserved(
        hospital_id="h1", incident_id=incident, reservation_id=f"b-{incident}", entrance=STATION, route=Route()
    )


CANCEL = pb.CancelBedRequest(incident_id="i1", reservation_id="b-i1")


def test_a_full_hospital_is_refused_and_a_cancelled_place_is_free_again() -> None:
    full = ONE_PLACE.when(places.reserve_bed, *bed("i1")).then(expected("i1"))
    full.when(places.reserve_bed, *bed("i2")).then_refused(Refused, "HOSPITAL_FULL")
    free = full.when(places.cancel_bed, "h1", CANCEL).then(
        ev.BedCancelled(hospital_id="h1", incident_id="i1", reservation_id="b-i1")
    )
    assert free.state.free_places == 1


def test_a_patient_handed_over_keeps_the_place_though_the_reservation_is_cancelled() -> None:
    present = (
        given(places.evolve_hospital, places.Hospital(), HOSPITAL, expected("i1"))
        .when(places.hand_over, HAND_OVER)
        .then(ev.PatientHandedOver(hospital_id="h1", incident_id="i1", ambulance_id="a1"))
    )
    present.when(places.hand_over, HAND_OVER).then_nothing()
    present.when(places.cancel_bed, "h1", CANCEL).then_nothing()
    assert present.state.free_places == 0
    ONE_PLACE.when(places.hand_over, HAND_OVER).then_refused(Refused, "NOT_EXPECTED")


def test_the_end_of_an_old_reservation_takes_no_place_from_a_newer_one_of_the_same_incident() -> None:
    newer = ev.BedReserved(hospital_id="h1", incident_id="i1", reservation_id="b-newer")
    held = given(places.evolve_hospital, places.Hospital(), HOSPITAL, newer)
    cancelled = ev.BedCancelled(hospital_id="h1", incident_id="i1", reservation_id="b-i1")
    still = held.when(places.cancel_bed, "h1", CANCEL).then(cancelled)
    assert still.state.expected == {"i1": "b-newer"}
    # Also where the patient came in by the newer one: the older is barred, and the patient stays.
    came = given(places.evolve_hospital, places.Hospital(), HOSPITAL, newer, ev.PatientHandedOver(incident_id="i1"))
    assert came.when(places.cancel_bed, "h1", CANCEL).then(cancelled).state.present == {"i1": "b-newer"}
    came.when(places.cancel_bed, "h1", pb.CancelBedRequest(incident_id="i1", reservation_id="b-newer")).then_nothing()


def test_whoever_is_expected_anew_is_announced_anew() -> None:
    announce = pb.AnnouncePatientRequest(hospital_id="h1", incident_id="i1", ambulance_id="a1")
    announced = ev.PatientAnnounced(hospital_id="h1", incident_id="i1", ambulance_id="a1")
    cancelled = ev.BedCancelled(hospital_id="h1", incident_id="i1", reservation_id="b-i1")
    newer = ev.BedReserved(hospital_id="h1", incident_id="i1", reservation_id="b-newer")
    given(places.evolve_hospital, places.Hospital(), HOSPITAL, expected("i1"), announced, cancelled, newer).when(
        places.announce, announce
    ).then(announced)


IN = (HOSPITAL, expected("i1"), ev.PatientHandedOver(hospital_id="h1", incident_id="i1", ambulance_id="a1"))
DISCHARGE = pb.DischargePatientRequest(hospital_id="h1", incident_id="i1", reason="well again")
TRANSFER = pb.TransferPatientRequest(hospital_id="h1", incident_id="i1", to_hospital_id="h2", reservation_id="t1")


def test_who_is_discharged_leaves_the_place_to_others_once_and_only_who_was_in() -> None:
    gone = (
        given(places.evolve_hospital, places.Hospital(), *IN)
        .when(places.discharge, DISCHARGE)
        .then(ev.PatientDischarged(hospital_id="h1", incident_id="i1", reason="well again"))
    )
    assert gone.state.free_places == 1
    gone.when(places.discharge, DISCHARGE).then_nothing()
    # A hand-over that is asked for again is still done.
    gone.when(places.hand_over, HAND_OVER).then_nothing()
    gone.when(places.transfer, TRANSFER).then_refused(Refused, "HAS_LEFT")
    ONE_PLACE.when(places.discharge, DISCHARGE).then_refused(Refused, "NOT_PRESENT")
    given(places.evolve_hospital, places.Hospital()).when(places.discharge, DISCHARGE).then_refused(NotFound)


def test_who_goes_on_to_another_hospital_leaves_once_and_for_one_only() -> None:
    gone = (
        given(places.evolve_hospital, places.Hospital(), *IN)
        .when(places.transfer, TRANSFER)
        .then(ev.PatientTransferred(hospital_id="h1", incident_id="i1", reservation_id="t1", to_hospital_id="h2"))
    )
    assert gone.state.free_places == 1
    gone.when(places.transfer, TRANSFER).then_nothing()
    other = pb.TransferPatientRequest(hospital_id="h1", incident_id="i1", to_hospital_id="h3", reservation_id="t2")
    gone.when(places.transfer, other).then_refused(Refused, "HAS_LEFT")
    # Back again, the patient is in as anybody else is.
    back = given(places.evolve_hospital, gone.state, expected("i1")).when(places.hand_over, HAND_OVER).then(IN[2])
    back.when(places.discharge, DISCHARGE).then(ev.PatientDischarged(hospital_id="h1", incident_id="i1", reason="well again"))
    here = pb.TransferPatientRequest(hospital_id="h1", incident_id="i1", to_hospital_id="h1", reservation_id="t3")
    back.when(places.transfer, here).then_refused(Refused, "SAME_HOSPITAL")


def test_a_place_for_a_transfer_is_held_as_any_other_and_given_back_where_it_does_not_come_about() -> None:
    held = ev.BedReserved(hospital_id="h2", incident_id="i1", reservation_id="t1", entrance=STATION, route=Route())
    there = ONE_PLACE.when(places.expect_transfer, TRANSFER).then(held)
    there.when(places.expect_transfer, TRANSFER).then_nothing()
    back = ev.BedCancelled(hospital_id="h2", incident_id="i1", reservation_id="t1", reason="not transferred")
    there.when(places.expect_no_transfer, TRANSFER).then(back)
    ONE_PLACE.when(places.expect_no_transfer, TRANSFER).then_nothing()
    full = given(places.evolve_hospital, places.Hospital(), HOSPITAL, expected("i2"))
    full.when(places.expect_transfer, TRANSFER).then_refused(Refused, "HOSPITAL_FULL")
    unknown = given(places.evolve_hospital, places.Hospital())
    unknown.when(places.expect_transfer, TRANSFER).then_refused(NotFound, "NO_SUCH_HOSPITAL")


def roads() -> Roads:
    return travel.build(
        [RoadRow([("e1", 100, 10, ["e2", "e3"]), ("e2", 100, 10, ["e4"]), ("e3", 300, 10, ["e4"]), ("e4", 100, 10, [])])]
    )


def test_the_way_is_the_shortest_in_free_flow_and_its_time_is_that_of_an_ambulance() -> None:
    end, origins = RoadPlace(edge_id="e4", position_m=50), {"a": RoadPlace(edge_id="e1", position_m=20)}
    free = travel.routes_to(roads(), end, origins)["a"]
    # 230 m at 12 m/s, and 8 s.
    assert (list(free.edge_ids), free.length_m, free.travel_time_s) == (["e1", "e2", "e4"], 230, 27.2)


def test_ways_there_and_back_agree_and_what_cannot_be_reached_is_left_out() -> None:
    start, end = RoadPlace(edge_id="e1", position_m=20), RoadPlace(edge_id="e4", position_m=50)
    assert travel.routes_from(roads(), start, {"h": end})["h"] == travel.routes_to(roads(), end, {"a": start})["a"]
    assert travel.routes_from(roads(), end, {"h": start}) == {}


def test_a_place_that_is_on_no_road_is_refused_with_what_is_wrong() -> None:
    roads().require(RoadPlace(edge_id="e1", position_m=100), "the place")
    with pytest.raises(Refused, match="not in the published network") as unknown:
        roads().require(RoadPlace(edge_id="e9"), "the place")
    with pytest.raises(Refused, match="99999 m from the start of road 'e1', which is 100 m long") as beyond:
        roads().require(RoadPlace(edge_id="e1", position_m=99_999), "the place")
    assert (unknown.value.reason, beyond.value.reason) == ("UNKNOWN_ROAD", "OFF_THE_ROAD")


def test_to_a_place_that_was_passed_on_the_same_road_one_drives_around() -> None:
    ring = travel.build([RoadRow([("e1", 100, 10, ["e2"]), ("e2", 100, 10, ["e3"]), ("e3", 100, 10, ["e1"])])])
    behind, here = RoadPlace(edge_id="e1", position_m=20), RoadPlace(edge_id="e1", position_m=70)
    for found in (travel.routes_to(ring, behind, {"a": here}), travel.routes_from(ring, here, {"a": behind})):
        assert (list(found["a"].edge_ids), found["a"].length_m) == (["e1", "e2", "e3", "e1"], 250)
    assert travel.routes_to(ring, here, {"a": behind})["a"].length_m == 50


@st.composite
def towns(draw: st.DrawFn) -> tuple[Roads, RoadPlace, RoadPlace]:
    """Some roads that lead into each other anyhow, and two places on them."""
    names = [f"e{n}" for n in range(draw(st.integers(1, 6)))]
    follow = {name: draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) for name in names}
    lengths = {name: draw(st.integers(10, 200)) for name in names}
    places = [
        RoadPlace(edge_id=(name := draw(st.sampled_from(names))), position_m=draw(st.integers(0, lengths[name])))
        for _ in range(2)
    ]
    return travel.build([RoadRow([(name, lengths[name], 10, follow[name]) for name in names])]), places[0], places[1]


@for_all(towns())
def test_every_way_is_one_that_can_be_driven_and_the_shortest_there_is(town: tuple[Roads, RoadPlace, RoadPlace]) -> None:
    roads, start, end = town
    there = travel.routes_to(roads, end, {"a": start})
    assert there.keys() == travel.routes_from(roads, start, {"a": end}).keys()
    shortest = metres(roads, start, end)
    assert ("a" in there) == (shortest is not None)
    if "a" in there:
        edges = list(there["a"].edge_ids)
        assert (edges[0], edges[-1]) == (start.edge_id, end.edge_id)
        assert all(roads.graph.has_edge(*pair) for pair in pairwise(edges))
        assert there["a"].length_m == shortest == travel.routes_from(roads, start, {"a": end})["a"].length_m


def metres(roads: Roads, start: RoadPlace, end: RoadPlace) -> float | None:
    """How far it is, looked for metre by road: every road once more than it can be needed."""
    if start.edge_id == end.edge_id and end.position_m >= start.position_m:
        return end.position_m - start.position_m
    reached = {start.edge_id: roads.length_m[start.edge_id] - start.position_m}
    arrivals: list[float] = []
    for _ in range(len(roads.length_m) + 1):
        for edge, so_far in list(reached.items()):
            for after in roads.graph.successors(edge):
                if after == end.edge_id:
                    arrivals.append(so_far + end.position_m)
                through = so_far + roads.length_m[after]
                reached[after] = min(through, reached.get(after, through))
    return min(arrivals, default=None)
