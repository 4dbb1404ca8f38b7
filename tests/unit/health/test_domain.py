"""Ambulances, hospitals, and the choice among them."""

from __future__ import annotations

import pytest
from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.errors import AlreadyDifferent, NotFound, Refused
from citybrain.services.health import domain, travel

STATION = RoadPlace(edge_id="e1", position_m=1)
CHOICE = domain.Choice("r1", "a1", STATION, Route(edge_ids=["e1"]))


def unit(*events: Message) -> domain.Ambulance:
    state = domain.evolve_ambulance(domain.Ambulance(), ev.AmbulanceRegistered(ambulance_id="a1", station=STATION))
    for event in events:
        state = domain.evolve_ambulance(state, event)
    return state


def reserve(state: domain.Ambulance, reservation: str, incident: str = "i1") -> list[Message]:
    request = pb.ReserveAmbulanceRequest(incident_id=incident, reservation_id=reservation, place=STATION)
    return domain.reserve_ambulance(state, CHOICE, request)


def release(state: domain.Ambulance, reservation: str) -> list[Message]:
    return domain.release_ambulance(state, "a1", pb.ReleaseAmbulanceRequest(incident_id="i1", reservation_id=reservation))


def test_an_assigned_ambulance_is_refused_to_others_and_given_again_to_the_same() -> None:
    held = unit(*reserve(unit(), "r1"))
    assert held.incident_id == "i1"
    assert reserve(held, "r1") == []
    with pytest.raises(Refused) as caught:
        reserve(held, "r2", "i2")
    assert caught.value.reason == "AMBULANCE_TAKEN"


def test_a_release_that_overtakes_its_reservation_bars_it_and_harms_no_other() -> None:
    held = unit(*reserve(unit(), "r1"))
    after = domain.evolve_ambulance(held, release(held, "r2")[0])
    assert after.reservation_id == "r1"
    with pytest.raises(Refused) as caught:
        reserve(domain.evolve_ambulance(after, release(after, "r1")[0]), "r2")
    assert caught.value.reason == "RESERVATION_ENDED"


def test_missions_only_go_forward_and_only_for_their_own_incident() -> None:
    held = unit(*reserve(unit(), "r1"))
    at_scene = pb.ReportMissionRequest(ambulance_id="a1", incident_id="i1", stage=pb.MISSION_STAGE_AT_SCENE)
    under_way = pb.ReportMissionRequest(ambulance_id="a1", incident_id="i1", stage=pb.MISSION_STAGE_UNDER_WAY)
    arrived = domain.evolve_ambulance(held, domain.report_mission(held, at_scene)[0])
    assert domain.report_mission(arrived, under_way) == []
    with pytest.raises(Refused):
        domain.report_mission(
            arrived, pb.ReportMissionRequest(ambulance_id="a1", incident_id="i2", stage=pb.MISSION_STAGE_AT_SCENE)
        )
    with pytest.raises(NotFound):
        domain.report_mission(domain.Ambulance(), at_scene)


def test_the_same_registration_again_changes_nothing_and_another_one_is_refused() -> None:
    request = pb.RegisterAmbulanceRequest(ambulance_id="a1", station=STATION)
    assert domain.register_ambulance(unit(), request) == []
    with pytest.raises(AlreadyDifferent):
        domain.register_ambulance(unit(), pb.RegisterAmbulanceRequest(ambulance_id="a1", station=RoadPlace(edge_id="e9")))


Action = st.tuples(st.sampled_from(["reserve", "release"]), st.integers(0, 5))


@given(st.lists(Action, max_size=40))
def test_whatever_order_commands_come_in_no_ended_reservation_ever_holds_the_ambulance(actions: list[tuple[str, int]]) -> None:
    state, ended = unit(), set()
    for action, number in actions:
        name = f"r{number}"
        try:
            events = reserve(state, name, f"i{number}") if action == "reserve" else release(state, name)
        except Refused:
            continue
        if action == "release":
            ended.add(name)
        for event in events:
            state = domain.evolve_ambulance(state, event)
        assert state.reservation_id not in ended


def hospital(places: int, *events: Message) -> domain.Hospital:
    registered = ev.HospitalRegistered(hospital_id="h1", name="第一医院", entrance=STATION, places=places)
    state = domain.evolve_hospital(domain.Hospital(), registered)
    for event in events:
        state = domain.evolve_hospital(state, event)
    return state


def bed(state: domain.Hospital, incident: str) -> list[Message]:
    choice = domain.Choice(f"b-{incident}", "h1", STATION, Route())
    return domain.reserve_bed(state, choice, pb.ReserveBedRequest(incident_id=incident, reservation_id=f"b-{incident}"))


def test_a_full_hospital_is_refused_and_a_cancelled_place_is_free_again() -> None:
    full = hospital(1, *bed(hospital(1), "i1"))
    with pytest.raises(Refused) as caught:
        bed(full, "i2")
    assert caught.value.reason == "HOSPITAL_FULL"
    cancelled = domain.cancel_bed(full, "h1", pb.CancelBedRequest(incident_id="i1", reservation_id="b-i1"))
    assert domain.evolve_hospital(full, cancelled[0]).free_places == 1


def test_a_patient_handed_over_keeps_the_place_though_the_reservation_is_cancelled() -> None:
    request = pb.HandOverRequest(hospital_id="h1", incident_id="i1", ambulance_id="a1")
    expected = hospital(1, *bed(hospital(1), "i1"))
    present = domain.evolve_hospital(expected, domain.hand_over(expected, request)[0])
    assert domain.hand_over(present, request) == []
    assert domain.cancel_bed(present, "h1", pb.CancelBedRequest(incident_id="i1", reservation_id="b-i1")) == []
    assert present.free_places == 0
    with pytest.raises(Refused):
        domain.hand_over(hospital(1), request)


def roads() -> travel.Roads:
    return travel.build(
        [{"edges": [["e1", 100, 10, ["e2", "e3"]], ["e2", 100, 10, ["e4"]], ["e3", 300, 10, ["e4"]], ["e4", 100, 10, []]]}]
    )


def test_the_way_is_the_shortest_in_free_flow_and_its_time_comes_from_what_was_measured() -> None:
    end, origins = RoadPlace(edge_id="e4", position_m=50), {"a": RoadPlace(edge_id="e1", position_m=20)}
    free = travel.routes_to(roads(), end, origins, {})["a"]
    assert (list(free.edge_ids), free.length_m, free.travel_time_s) == (["e1", "e2", "e4"], 230, 23)
    slow = travel.routes_to(roads(), end, origins, {"e2": 2.0})["a"]
    assert (list(slow.edge_ids), slow.travel_time_s) == (["e1", "e2", "e4"], 63)


def test_ways_there_and_back_agree_and_what_cannot_be_reached_is_left_out() -> None:
    start, end = RoadPlace(edge_id="e1", position_m=20), RoadPlace(edge_id="e4", position_m=50)
    assert travel.routes_from(roads(), start, {"h": end}, {})["h"] == travel.routes_to(roads(), end, {"a": start}, {})["a"]
    assert travel.routes_from(roads(), end, {"h": start}, {}) == {}
    with pytest.raises(Refused, match="not in the published network"):
        roads().require("e9", "the place")
