"""The workflow of a medical emergency: which commands it makes, in which order, about what; without anything around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import AmbulanceBrokenDown, MissionReported, PatientDiverted, PatientRefused
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from citybrain.traffic.v1.events_pb2 import VehicleMissing, WayBlocked
from google.protobuf.message import Message

from citybrain.sagas.engine.definition import Workflow
from citybrain.sagas.testing import Story, StoryError
from citybrain.sagas.workflows.emergency_response import EMERGENCY_RESPONSE, EMERGENCY_RESPONSE_1, EMERGENCY_RESPONSE_2

INCIDENT = "inc-0123456789ab"
PLACE = RoadPlace(edge_id="e3", position_m=20)
DOOR = RoadPlace(edge_id="e5", position_m=40)
AMBULANCE = health.ReserveAmbulanceResponse(ambulance_id="a1", route=Route(edge_ids=["e1", "e2", "e3"], travel_time_s=100))
BED = health.ReserveBedResponse(hospital_id="h1", entrance=DOOR, route=Route(edge_ids=["e3", "e4", "e5"], travel_time_s=50))
ANSWERS: dict[str, Message] = {"reserve_ambulance": AMBULANCE, "reserve_bed": BED}
ARRIVED = ["hand_over", "release_priority"]
AT_SCENE, ON_BOARD = health.MISSION_STAGE_AT_SCENE, health.MISSION_STAGE_PATIENT_ON_BOARD
AT_HOSPITAL = health.MISSION_STAGE_AT_HOSPITAL


class Emergency(Story):
    """The story of one emergency, in its own words."""

    def __init__(self, workflow: Workflow = EMERGENCY_RESPONSE) -> None:
        super().__init__(workflow)
        self.starts_with(IncidentOpened(incident_id=INCIDENT, place=PLACE))

    def reports(self, stage: health.MissionStage) -> Self:
        """The terminal of the ambulance says where it is."""
        return self.hears(MissionReported(ambulance_id="a1", incident_id=INCIDENT, stage=stage))

    def is_silent(self, vehicle_id: str = "a1", edge_id: str = "e2") -> Self:
        """Traffic has not heard of a vehicle for a minute."""
        missing = VehicleMissing(incident_id=INCIDENT, vehicle_id=vehicle_id, silent_s=61, edge_id=edge_id, position_m=12)
        return self.hears(missing)

    def waits_for(self) -> list[str]:
        return [name for name, step in self.state.steps.items() if step.status == "waiting"]


def on_the_way(
    *without: str, answers: Mapping[str, Message] = ANSWERS, workflow: Workflow = EMERGENCY_RESPONSE
) -> Emergency:  # fmt: skip
    """Up to where the ambulance is awaited at the patient."""
    story = Emergency(workflow)
    for name in ("reserve_ambulance", "reserve_bed", "grant_priority", "notify_districts", "announce_patient"):
        story.fails(name) if name in without else story.answers(name, answers.get(name))
    assert story.waits_for() == ["at_scene"]
    return story


def test_who_is_at_the_hospital_was_with_the_patient_whether_that_was_reported_or_not() -> None:
    silent = on_the_way()
    assert silent.reports(health.MISSION_STAGE_UNDER_WAY).sent() == []
    assert silent.reports(AT_HOSPITAL).sent() == ARRIVED
    on_board = on_the_way()
    assert on_board.reports(ON_BOARD).sent() == []
    assert on_board.waits_for() == ["at_hospital"]
    assert on_board.reports(AT_HOSPITAL).sent() == ARRIVED


def test_a_report_before_its_time_ends_no_wait_of_a_later_stage() -> None:
    story = on_the_way().reports(AT_SCENE)
    assert story.reports(ON_BOARD).sent() == []
    assert story.waits_for() == ["at_hospital"]


def test_what_was_granted_and_told_is_what_is_taken_back_on_arrival_and_after_a_false_call() -> None:
    arrived = on_the_way()
    made = arrived.requests
    granted, told = made["grant_priority"].grant_id, made["notify_districts"].round_id
    arrived.reports(AT_HOSPITAL)
    assert (made["release_priority"].grant_id, made["release_priority"].reason) == (granted, "arrived")
    arrived.answers("release_priority").answers("hand_over").must_send("release_ambulance")
    assert made["release_ambulance"].reservation_id == made["reserve_ambulance"].reservation_id
    arrived.answers("release_ambulance").must_send("close_incident")
    assert made["close_incident"].outcome == "handed over at h1"

    false = on_the_way()
    made = false.requests
    false.hears(IncidentCancelled(incident_id=INCIDENT, reason="a prank")).must_send("undo notify_districts")
    assert (made["undo notify_districts"].round_id, made["undo notify_districts"].incident_id) == (told, INCIDENT)
    false.undone("notify_districts").must_send("undo grant_priority")
    assert (made["undo grant_priority"].grant_id, made["undo grant_priority"].incident_id) == (granted, INCIDENT)
    false.undone("grant_priority").must_send("undo reserve_bed")
    assert made["undo reserve_bed"].reservation_id == made["reserve_bed"].reservation_id
    false.undone("reserve_bed").must_send("undo reserve_ambulance")
    assert made["undo reserve_ambulance"].reservation_id == made["reserve_ambulance"].reservation_id
    undos = [request for name, request in made.items() if name.startswith("undo ")]
    assert [request.reason for request in undos] == ["false call: a prank"] * 4
    false.undone("reserve_ambulance").must_be("undone")


def test_the_way_leads_from_the_station_to_the_patient_and_on_to_the_door() -> None:
    story = on_the_way("grant_priority")
    made = story.requests
    assert list(made["grant_priority"].edge_ids) == ["e1", "e2", "e3", "e4", "e5"] == list(made["notify_districts"].edge_ids)
    assert [(stop.route_index, stop.position_m) for stop in made["grant_priority"].stops] == [(2, 20), (4, 40)]
    assert (made["reserve_bed"].ambulance_id, made["reserve_bed"].place) == ("a1", PLACE)
    assert (made["grant_priority"].vehicle_id, made["notify_districts"].vehicle_id) == ("a1", "a1")
    announced = made["announce_patient"]
    assert (announced.hospital_id, announced.ambulance_id, announced.expected_in_s) == ("h1", "a1", 150)
    story.reports(AT_HOSPITAL)
    assert (made["hand_over"].hospital_id, made["hand_over"].ambulance_id) == ("h1", "a1")
    story.answers("release_priority").answers("hand_over").answers("release_ambulance")
    assert made["close_incident"].outcome == "handed over at h1, without priority at the signals"


def test_a_ride_is_late_after_three_times_what_was_expected_and_never_within_five_minutes() -> None:
    # 100 s were expected to the patient.
    on_the_way().time_passes(300).must_be("needs human", "at_scene: not heard of in time")
    story = on_the_way().time_passes(299).reports(AT_SCENE).time_passes(3000).reports(ON_BOARD)
    # Expected were 50 s to the hospital.
    story.time_passes(299).must_be("running")
    story.time_passes(1).must_be("needs human")
    far = health.ReserveBedResponse(hospital_id="h1", route=Route(edge_ids=["e3"], travel_time_s=200))
    story = on_the_way(answers={**ANSWERS, "reserve_bed": far}).reports(ON_BOARD)
    story.time_passes(599).must_be("running")
    story.time_passes(1).must_be("needs human")


def test_a_human_is_told_of_an_ambulance_that_is_missing_and_where_it_was_last() -> None:
    for stage in (None, AT_SCENE, ON_BOARD):
        story = on_the_way().time_passes(10)
        if stage is not None:
            story.reports(stage)
        story.time_passes(10).is_silent("another").must_be("running")
        story.is_silent()
        where = "ambulance a1 has been silent for 61 s, last on road e2 at 12 m: find it, or send another"
        story.must_be("needs human", f": VehicleMissing: {where}")
    on_the_way().time_passes(10).is_silent(edge_id="").must_be("needs human", "last at no known place")


def test_a_silence_before_a_stage_says_nothing_of_the_stage_and_a_human_who_goes_on_is_asked_no_more_about_it() -> None:
    story = on_the_way().time_passes(10).is_silent().time_passes(1000)
    story.human_resumes().must_be("running")
    assert story.waits_for() == ["at_scene"]
    story.reports(AT_SCENE).time_passes(10).reports(ON_BOARD).must_be("running")
    assert story.waits_for() == ["at_hospital"]
    story.time_passes(10).is_silent().must_be("needs human")


def test_an_ambulance_that_comes_after_all_goes_on_without_a_human() -> None:
    late = on_the_way().time_passes(400)
    late.must_be("needs human")
    assert late.reports(health.MISSION_STAGE_UNDER_WAY).sent() == []
    late.must_be("needs human")
    late.time_passes(1000).reports(AT_SCENE).must_be("running")
    assert late.waits_for() == ["on_board"]
    late.time_passes(10).is_silent().must_be("needs human")
    late.time_passes(5000).reports(AT_HOSPITAL).must_send(*ARRIVED)


def test_what_a_department_refused_waits_for_a_human_though_the_ambulance_comes() -> None:
    story = on_the_way().reports(AT_HOSPITAL)
    story.fails("hand_over").must_be("needs human")
    story.time_passes(10).reports(AT_HOSPITAL).must_send().must_be("needs human")


def test_an_emergency_that_began_under_the_first_release_goes_on_to_its_end_as_it_began() -> None:
    story = on_the_way(workflow=EMERGENCY_RESPONSE_1)
    story.time_passes(3599).must_be("running")
    story.reports(AT_SCENE)
    assert "on_board" not in story.state.steps
    story.time_passes(7000).must_be("running")
    story.reports(AT_HOSPITAL).must_send(*ARRIVED)
    for name in ("release_priority", "hand_over", "release_ambulance", "close_incident"):
        story.answers(name)
    story.must_be("completed")


# -- what may happen on the way -----------------------------------------------------------------------------------------------

TAKEN_BACK = ("notify_districts", "grant_priority", "reserve_bed", "reserve_ambulance")
ANOTHER = health.ReserveAmbulanceResponse(ambulance_id="a2", route=Route(edge_ids=["e2", "e3"], travel_time_s=60))


def goes_on(story: Emergency, ambulance: Message = ANOTHER, bed: Message = BED) -> Emergency:
    """All is done anew, with another ambulance."""
    story.answers("reserve_ambulance", ambulance).answers("reserve_bed", bed)
    for name in ("grant_priority", "notify_districts", "announce_patient"):
        story.answers(name)
    return story


def test_an_ambulance_that_breaks_down_is_replaced_after_all_that_was_done_with_it_is_taken_back() -> None:
    story = on_the_way().time_passes(10)
    first = dict(story.requests)
    story.hears(AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, reason="engine"))
    for name in TAKEN_BACK:
        story.must_send(f"undo {name}").undone(name)
    story.must_send("reserve_ambulance")
    made = story.requests
    assert made["undo reserve_ambulance"].reservation_id == first["reserve_ambulance"].reservation_id
    assert made["undo reserve_ambulance"].reason == "ambulance a1 broke down: engine"
    assert made["reserve_ambulance"].reservation_id != first["reserve_ambulance"].reservation_id
    goes_on(story)
    assert made["grant_priority"].vehicle_id == "a2"
    # The first one may still report, and nobody waits for it.
    story.reports(AT_HOSPITAL).must_send()
    story.hears(MissionReported(ambulance_id="a2", incident_id=INCIDENT, stage=AT_HOSPITAL)).must_send(*ARRIVED)
    assert made["release_priority"].grant_id == made["grant_priority"].grant_id
    story.answers("release_priority").answers("hand_over").must_send("release_ambulance")
    assert made["release_ambulance"].reservation_id == made["reserve_ambulance"].reservation_id
    story.answers("release_ambulance").answers("close_incident").must_be("completed")


def test_a_patient_in_an_ambulance_that_breaks_down_is_fetched_where_it_stands() -> None:
    at = RoadPlace(edge_id="e4", position_m=7)
    story = on_the_way().reports(ON_BOARD).time_passes(10)
    story.hears(AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, place=at, reason="tyre"))
    for name in TAKEN_BACK:
        story.undone(name)
    assert story.requests["reserve_ambulance"].place == at
    goes_on(story)
    assert story.requests["reserve_bed"].place == at
    assert story.requests["grant_priority"].stops[0].position_m == 7


def test_another_ambulance_that_breaks_down_means_nothing() -> None:
    story = on_the_way().time_passes(10)
    story.hears(AmbulanceBrokenDown(ambulance_id="a9", incident_id=INCIDENT, reason="engine")).must_send()


def test_a_hospital_that_cannot_take_the_patient_is_replaced_and_the_ambulance_stays() -> None:
    story = on_the_way().reports(AT_SCENE).time_passes(10)
    story.hears(PatientDiverted(hospital_id="h1", incident_id=INCIDENT, reason="no surgeon: confidential"))
    for name in TAKEN_BACK[:3]:
        story.must_send(f"undo {name}").undone(name)
    story.must_send("reserve_bed")
    assert "confidential" not in story.requests["undo reserve_bed"].reason, "why is between the hospital and the patient"
    second = health.ReserveBedResponse(hospital_id="h2", route=Route(edge_ids=["e3", "e4"], travel_time_s=40))
    story.answers("reserve_bed", second)
    assert story.requests["announce_patient"].hospital_id == "h2"
    assert story.requests["grant_priority"].vehicle_id == "a1"
    for name in ("grant_priority", "notify_districts", "announce_patient"):
        story.answers(name)
    # The stages that were reported before still count.
    assert story.waits_for() == ["on_board"]
    story.reports(AT_HOSPITAL).must_send(*ARRIVED)
    assert story.requests["hand_over"].hospital_id == "h2"


def test_a_patient_who_stays_ends_the_emergency_and_nothing_stays_reserved() -> None:
    story = on_the_way().reports(AT_SCENE).time_passes(10)
    story.hears(PatientRefused(ambulance_id="a1", incident_id=INCIDENT, reason="feels better"))
    assert set(story.sent()) == {"undo notify_districts", "close_incident"}
    assert story.requests["close_incident"].outcome == "the patient stays"
    for name in TAKEN_BACK:
        story.undone(name)
    story.must_be("running").answers("close_incident").must_be("completed")


def test_an_ambulance_that_is_missing_and_then_says_that_it_broke_down_needs_no_human_any_more() -> None:
    story = on_the_way().time_passes(10).is_silent().must_be("needs human")
    story.hears(AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, reason="accident"))
    story.must_send("undo notify_districts").must_be("running")


def test_an_emergency_that_began_under_the_second_release_knows_no_breakdown_and_goes_on_as_it_began() -> None:
    story = on_the_way(workflow=EMERGENCY_RESPONSE_2).time_passes(10)
    story.reports(AT_HOSPITAL).must_send(*ARRIVED)
    with pytest.raises(StoryError, match="does not hear"):
        story.hears(AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, reason="engine"))


def test_what_a_human_was_asked_about_is_over_when_the_saga_goes_on_and_why_it_is_undone_is_not() -> None:
    late = on_the_way().time_passes(400).must_be("needs human", "not heard of in time").reports(AT_HOSPITAL)
    assert late.reason == ""
    late.answers("hand_over").answers("release_priority")
    assert late.requests["release_ambulance"].reason == "handed over"
    false = on_the_way().hears(IncidentCancelled(incident_id=INCIDENT, reason="a prank"))
    false.fails("notify_districts").must_be("needs human", "could not be undone").human_resumes()
    for name in TAKEN_BACK:
        assert false.requests[f"undo {name}"].reason == "false call: a prank"
        false.undone(name)


# -- a road on the way is closed ----------------------------------------------------------------------------------------------

NEW_WAY = health.RerouteAmbulanceResponse(
    to_patient=Route(edge_ids=["e2", "e9", "e3"], travel_time_s=80),
    to_hospital=Route(edge_ids=["e3", "e8", "e5"], travel_time_s=90),
)
FROM_SCENE = health.RerouteAmbulanceResponse(to_hospital=Route(edge_ids=["e4", "e8", "e5"], travel_time_s=120))


def road_closed(story: Emergency, at: RoadPlace | None = None, vehicle_id: str = "a1", grant_id: str = "") -> Emergency:
    """Traffic tells that a road on the way that was granted was closed."""
    grant = grant_id or story.requests["grant_priority"].grant_id
    return story.time_passes(10).hears(
        WayBlocked(incident_id=INCIDENT, grant_id=grant, vehicle_id=vehicle_id, edge_id="e3", vehicle_at=at)
    )


def on_another_way(story: Emergency, answer: Message = NEW_WAY) -> Emergency:
    """What went with the old way is taken back, and all is done anew on the new one."""
    story.undone("notify_districts").undone("grant_priority").answers("reroute", answer)
    for name in ("grant_priority", "notify_districts", "announce_patient"):
        story.answers(name)
    return story


def test_a_road_that_is_closed_on_the_way_gives_a_new_way_from_where_the_ambulance_is_and_nothing_else_changes() -> None:
    story = on_the_way()
    assert "reroute" not in story.requests, "the first way is that of the reservations"
    before = dict(story.requests)
    road_closed(story, RoadPlace(edge_id="e2", position_m=30))
    # The new way is looked for at once.
    story.must_send("reroute", "undo notify_districts").undone("notify_districts")
    story.must_send("undo grant_priority").undone("grant_priority")
    made = story.requests
    assert made["undo grant_priority"].grant_id == before["grant_priority"].grant_id
    assert made["undo notify_districts"].reason == "road e3 on the way of ambulance a1 was closed"
    assert (made["reroute"].ambulance_id, made["reroute"].vehicle_at) == ("a1", RoadPlace(edge_id="e2", position_m=30))
    story.answers("reroute", NEW_WAY)
    assert list(made["grant_priority"].edge_ids) == ["e2", "e9", "e3", "e8", "e5"] == list(made["notify_districts"].edge_ids)
    assert [(stop.route_index, stop.position_m) for stop in made["grant_priority"].stops] == [(2, 20), (4, 40)]
    assert made["grant_priority"].grant_id != before["grant_priority"].grant_id
    assert (made["announce_patient"].hospital_id, made["announce_patient"].expected_in_s) == ("h1", 170)
    assert (made["reserve_ambulance"], made["reserve_bed"]) == (before["reserve_ambulance"], before["reserve_bed"])
    for name in ("grant_priority", "notify_districts", "announce_patient"):
        story.answers(name)
    story.reports(AT_HOSPITAL).must_send(*ARRIVED)
    assert made["release_priority"].grant_id == made["grant_priority"].grant_id
    story.answers("release_priority").answers("hand_over").answers("release_ambulance").answers("close_incident")
    story.must_be("completed")


def test_with_the_patient_on_board_the_new_way_leads_to_the_hospital_alone() -> None:
    story = on_another_way(road_closed(on_the_way().reports(ON_BOARD), RoadPlace(edge_id="e4", position_m=5)), FROM_SCENE)
    made = story.requests
    assert list(made["grant_priority"].edge_ids) == ["e4", "e8", "e5"]
    assert [(stop.route_index, stop.position_m) for stop in made["grant_priority"].stops] == [(2, 40)]
    assert (made["announce_patient"].expected_in_s, story.waits_for()) == (120, ["at_hospital"])
    # It is late after three times 120 s.
    story.time_passes(359).must_be("running")
    story.time_passes(1).must_be("needs human", "at_hospital")


def test_a_vehicle_whose_place_nobody_knows_gets_a_way_from_where_health_knows_it() -> None:
    story = road_closed(on_the_way()).must_send("reroute", "undo notify_districts")
    assert not story.requests["reroute"].HasField("vehicle_at")


def test_a_closed_road_on_a_way_that_is_not_driven_any_more_means_nothing() -> None:
    story = on_the_way()
    old = story.requests["grant_priority"].grant_id
    road_closed(story, grant_id="another").must_send()
    on_another_way(road_closed(story))
    road_closed(story, grant_id=old).must_send()
    # On the new way it counts, each time.
    on_another_way(road_closed(story)).reports(AT_HOSPITAL).must_send(*ARRIVED)


def test_the_same_way_is_asked_for_at_each_try_though_another_closure_on_the_old_way_is_told_meanwhile() -> None:
    story, at = on_the_way(), RoadPlace(edge_id="e2", position_m=30)
    old = story.requests["grant_priority"].grant_id
    road_closed(story, at)
    road_closed(story, RoadPlace(edge_id="e2", position_m=60), grant_id=old)
    story.fails("reroute", "UNAVAILABLE").time_passes(2)
    assert story.requests["reroute"].vehicle_at == at


def test_where_no_open_road_leads_a_person_is_asked_and_the_way_is_found_when_one_was_opened() -> None:
    story = road_closed(on_the_way())
    story.undone("notify_districts").undone("grant_priority").fails("reroute", "FAILED_PRECONDITION")
    story.must_be("needs human", "reroute")
    story.human_resumes().must_send("reroute").answers("reroute", NEW_WAY).must_send(
        "grant_priority", "notify_districts", "announce_patient"
    )


def test_an_ambulance_that_breaks_down_after_another_way_was_found_is_replaced_by_one_with_a_way_of_its_own() -> None:
    story = on_another_way(road_closed(on_the_way())).time_passes(10)
    story.hears(AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, reason="engine"))
    for name in TAKEN_BACK:
        story.undone(name)
    goes_on(story)
    assert list(story.requests["grant_priority"].edge_ids) == ["e2", "e3", "e4", "e5"]
    story.hears(MissionReported(ambulance_id="a2", incident_id=INCIDENT, stage=AT_HOSPITAL)).must_send(*ARRIVED)


def test_an_ambulance_on_another_way_whose_hospital_cannot_take_the_patient_gets_a_way_to_the_next() -> None:
    story = on_another_way(road_closed(on_the_way(), RoadPlace(edge_id="e2", position_m=30))).time_passes(10)
    story.hears(PatientDiverted(hospital_id="h1", incident_id=INCIDENT, reason="full"))
    for name in TAKEN_BACK[:3]:
        story.undone(name)
    story.answers("reserve_bed", health.ReserveBedResponse(hospital_id="h2", route=Route(edge_ids=["e3", "e7"])))
    # From its station it would not go.
    story.must_send("reroute")
    assert story.requests["reroute"].vehicle_at == RoadPlace(edge_id="e2", position_m=30)


def test_roads_may_be_closed_on_its_way_five_times_then_a_person_is_asked() -> None:
    story = on_the_way()
    for _ in range(5):
        on_another_way(road_closed(story))
    road_closed(story).must_be("needs human", "this was so 5 times before")


def test_only_a_critical_patient_gets_the_first_ambulance_whatever_cover_the_city_loses() -> None:
    for severity, first in (
        (command.SEVERITY_CRITICAL, True),
        (command.SEVERITY_SERIOUS, False),
        (command.SEVERITY_MINOR, False),
    ):
        story = Story(EMERGENCY_RESPONSE).starts_with(IncidentOpened(incident_id=INCIDENT, place=PLACE, severity=severity))
        assert story.requests["reserve_ambulance"].first_only == first
