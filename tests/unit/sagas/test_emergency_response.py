"""The workflow of a medical emergency: which commands it makes, in which order, about what; without anything around it."""

from __future__ import annotations

from typing import Any

from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import AmbulanceBrokenDown, MissionReported, PatientDiverted, PatientRefused
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.traffic.v1.events_pb2 import VehicleMissing
from google.protobuf.message import Message

from citybrain.mesh.events import message_class, timestamp
from citybrain.mesh.runtime.server import find_method
from citybrain.mesh.runtime.validation import check
from citybrain.sagas.engine.decider import due_timers, on_failure, react, seen_by, tries_out
from citybrain.sagas.engine.definition import Step, Workflow
from citybrain.sagas.engine.state import UNDO, SagaState, pack
from citybrain.sagas.workflows.emergency_response import EMERGENCY_RESPONSE, EMERGENCY_RESPONSE_1, EMERGENCY_RESPONSE_2

INCIDENT = "inc-0123456789ab"
PLACE = RoadPlace(edge_id="e3", position_m=20)
DOOR = RoadPlace(edge_id="e5", position_m=40)
ANSWERS: dict[str, Message] = {
    "reserve_ambulance": health.ReserveAmbulanceResponse(
        ambulance_id="a1", route=Route(edge_ids=["e1", "e2", "e3"], travel_time_s=100)
    ),
    "reserve_bed": health.ReserveBedResponse(
        hospital_id="h1", entrance=DOOR, route=Route(edge_ids=["e3", "e4", "e5"], travel_time_s=50)
    ),
}


class Emergency:
    """An emergency that is played by hand; every command is made, checked by its contract, and kept."""

    def __init__(self, workflow: Workflow = EMERGENCY_RESPONSE) -> None:
        self.state = SagaState()
        self.workflow = workflow
        self.made: dict[str, Any] = {}
        self.answers = dict(ANSWERS)
        # City time in microseconds.
        self.now = 1
        started = ev.SagaStarted(saga_id=INCIDENT, workflow=workflow.name, workflow_version=workflow.version)
        started.input.CopyFrom(pack(IncidentOpened(incident_id=INCIDENT, place=PLACE)))
        self.put(started)

    @property
    def phase(self) -> str:
        """Where it stands."""
        return self.state.phase

    def put(self, *inputs: Message) -> list[str]:
        """The commands that go out then."""
        before = set(tries_out(self.state))
        _, self.state = react(self.workflow, self.state, inputs, self.now)
        sent = []
        for one in tries_out(self.state):
            if one not in before:
                step = self.workflow.leaf(one.step)
                assert isinstance(step, Step)
                command = step.undo if one.undo else step.command
                assert command is not None
                name = command.method.rpartition("/")[2]
                request = command.request(seen_by(self.state, one), one.key.removesuffix(UNDO))
                check(request)
                self.made[name] = request
                sent.append(name)
        return sent

    def answer(self, name: str) -> list[str]:
        """A department has done what a step asked for."""
        step = self.workflow.leaf(name)
        assert isinstance(step, Step)
        answers = message_class(find_method(*step.command.method.split("/")).output_type.full_name)
        return self.put(ev.StepAnswered(step=name, key=self.state.key(name), response=pack(self.answers.get(name, answers()))))

    def refuse(self, name: str) -> list[str]:
        """A department refuses for good."""
        key = self.state.steps[name].key
        return self.put(on_failure(self.workflow, self.state, name, key, "FAILED_PRECONDITION", "no", self.now))

    def undone(self, name: str) -> list[str]:
        """What a step did is undone."""
        (key,) = [one.key for one in tries_out(self.state) if one.undo and one.step == name]
        return self.put(ev.UndoAnswered(step=name, key=key))

    def hear(self, message: Message) -> list[str]:
        """Something happens."""
        event_id = f"e{len(self.state.heard)}"
        return self.put(ev.EventHeard(event_id=event_id, event=pack(message), occurred_at=timestamp(self.now)))

    def report(self, stage: health.MissionStage) -> list[str]:
        """The terminal of the ambulance says where it is."""
        return self.hear(MissionReported(ambulance_id="a1", incident_id=INCIDENT, stage=stage))

    def later(self, seconds: float) -> Emergency:
        """Time passes; the timers that come due fire."""
        self.now += int(seconds * 1_000_000)
        for moment, name in sorted(due_timers(self.state)):
            if moment <= self.now:
                self.put(ev.TimerFired(timer=name))
        return self

    def silent_for_a_minute(self, vehicle_id: str = "a1", edge_id: str = "e2") -> list[str]:
        """Traffic has not heard of a vehicle."""
        missing = VehicleMissing(incident_id=INCIDENT, vehicle_id=vehicle_id, silent_s=61, edge_id=edge_id, position_m=12)
        return self.hear(missing)

    def on_the_way(self, *without: str) -> Emergency:
        """Up to where the ambulance is awaited at the patient."""
        for name in ("reserve_ambulance", "reserve_bed"):
            self.answer(name)
        for name in ("grant_priority", "notify_districts", "announce_patient"):
            self.refuse(name) if name in without else self.answer(name)
        assert self.state.steps["at_scene"].status == "waiting"
        return self


def test_who_is_at_the_hospital_was_with_the_patient_whether_that_was_reported_or_not() -> None:
    silent = Emergency().on_the_way()
    assert silent.report(health.MISSION_STAGE_UNDER_WAY) == []
    assert silent.report(health.MISSION_STAGE_AT_HOSPITAL) == ["HandOver", "ReleasePriority"]
    on_board = Emergency().on_the_way()
    assert on_board.report(health.MISSION_STAGE_PATIENT_ON_BOARD) == []
    assert on_board.state.steps["at_hospital"].status == "waiting"
    assert on_board.report(health.MISSION_STAGE_AT_HOSPITAL) == ["HandOver", "ReleasePriority"]


def test_a_report_before_its_time_ends_no_wait_of_a_later_stage() -> None:
    run = Emergency().on_the_way()
    run.report(health.MISSION_STAGE_AT_SCENE)
    assert run.report(health.MISSION_STAGE_PATIENT_ON_BOARD) == []
    assert run.state.steps["at_hospital"].status == "waiting"


def test_what_was_granted_and_told_is_what_is_taken_back_on_arrival_and_after_a_false_call() -> None:
    arrived = Emergency().on_the_way()
    granted, told = arrived.made["GrantPriority"].grant_id, arrived.made["NotifyDistricts"].round_id
    arrived.report(health.MISSION_STAGE_AT_HOSPITAL)
    assert (arrived.made["ReleasePriority"].grant_id, arrived.made["ReleasePriority"].reason) == (granted, "arrived")
    arrived.answer("release_priority")
    assert arrived.answer("hand_over") == ["ReleaseAmbulance"]
    assert arrived.made["ReleaseAmbulance"].reservation_id == arrived.made["ReserveAmbulance"].reservation_id
    assert arrived.answer("release_ambulance") == ["CloseIncident"]
    assert arrived.made["CloseIncident"].outcome == "handed over at h1"

    false = Emergency().on_the_way()
    assert false.hear(IncidentCancelled(incident_id=INCIDENT, reason="a prank")) == ["WithdrawNotices"]
    assert (false.made["WithdrawNotices"].round_id, false.made["WithdrawNotices"].incident_id) == (told, INCIDENT)
    assert false.undone("notify_districts") == ["ReleasePriority"]
    assert (false.made["ReleasePriority"].grant_id, false.made["ReleasePriority"].incident_id) == (granted, INCIDENT)
    assert false.undone("grant_priority") == ["CancelBed"]
    assert false.made["CancelBed"].reservation_id == false.made["ReserveBed"].reservation_id
    assert false.undone("reserve_bed") == ["ReleaseAmbulance"]
    assert false.made["ReleaseAmbulance"].reservation_id == false.made["ReserveAmbulance"].reservation_id
    for name in ("WithdrawNotices", "ReleasePriority", "CancelBed", "ReleaseAmbulance"):
        assert false.made[name].reason == "false call: a prank"
    false.undone("reserve_ambulance")
    assert false.state.phase == "undone"


def test_the_way_leads_from_the_station_to_the_patient_and_on_to_the_door() -> None:
    run = Emergency().on_the_way("grant_priority")
    made = run.made
    assert list(made["GrantPriority"].edge_ids) == ["e1", "e2", "e3", "e4", "e5"] == list(made["NotifyDistricts"].edge_ids)
    assert [(stop.route_index, stop.position_m) for stop in made["GrantPriority"].stops] == [(2, 20), (4, 40)]
    assert (made["ReserveBed"].ambulance_id, made["ReserveBed"].place) == ("a1", PLACE)
    assert (made["GrantPriority"].vehicle_id, made["NotifyDistricts"].vehicle_id) == ("a1", "a1")
    announced = made["AnnouncePatient"]
    assert (announced.hospital_id, announced.ambulance_id, announced.expected_in_s) == ("h1", "a1", 150)
    run.report(health.MISSION_STAGE_AT_HOSPITAL)
    assert (run.made["HandOver"].hospital_id, run.made["HandOver"].ambulance_id) == ("h1", "a1")
    run.answer("release_priority")
    run.answer("hand_over")
    run.answer("release_ambulance")
    assert run.made["CloseIncident"].outcome == "handed over at h1, without priority at the signals"


AT_SCENE, ON_BOARD = health.MISSION_STAGE_AT_SCENE, health.MISSION_STAGE_PATIENT_ON_BOARD
AT_HOSPITAL = health.MISSION_STAGE_AT_HOSPITAL


def test_a_ride_is_late_after_three_times_what_was_expected_and_never_within_five_minutes() -> None:
    run = Emergency().on_the_way().later(300)
    # 100 s were expected to the patient.
    assert run.phase == "needs human"
    assert run.state.reason == "at_scene: not heard of in time"
    run = Emergency().on_the_way().later(299)
    run.report(AT_SCENE)
    run.later(3000)
    run.report(ON_BOARD)
    # Expected were 50 s to the hospital.
    assert run.later(299).phase == "running"
    assert run.later(1).phase == "needs human"
    far = Emergency()
    far.answers["reserve_bed"] = health.ReserveBedResponse(hospital_id="h1", route=Route(edge_ids=["e3"], travel_time_s=200))
    far.on_the_way().report(ON_BOARD)
    assert far.later(599).phase == "running"
    assert far.later(1).phase == "needs human"


def test_a_human_is_told_of_an_ambulance_that_is_missing_and_where_it_was_last() -> None:
    for stage in (None, AT_SCENE, ON_BOARD):
        run = Emergency().on_the_way().later(10)
        if stage is not None:
            run.report(stage)
        run.later(10).silent_for_a_minute("another")
        assert run.phase == "running"
        run.silent_for_a_minute()
        assert run.phase == "needs human"
        where = "ambulance a1 has been silent for 61 s, last on road e2 at 12 m: find it, or send another"
        assert run.state.reason.endswith(f": VehicleMissing: {where}")
    nowhere = Emergency().on_the_way().later(10)
    nowhere.silent_for_a_minute(edge_id="")
    assert "last at no known place" in nowhere.state.reason


def test_a_silence_before_a_stage_says_nothing_of_the_stage_and_a_human_who_goes_on_is_asked_no_more_about_it() -> None:
    run = Emergency().on_the_way().later(10)
    run.silent_for_a_minute()
    run.later(1000).put(ev.SagaResumed())
    assert (run.phase, run.state.steps["at_scene"].status) == ("running", "waiting")
    run.report(AT_SCENE)
    run.later(10).report(ON_BOARD)
    assert (run.phase, run.state.steps["at_hospital"].status) == ("running", "waiting")
    run.later(10).silent_for_a_minute()
    assert run.phase == "needs human"


def test_an_ambulance_that_comes_after_all_goes_on_without_a_human() -> None:
    late = Emergency().on_the_way().later(400)
    assert late.phase == "needs human"
    assert late.report(health.MISSION_STAGE_UNDER_WAY) == []
    assert late.phase == "needs human"
    late.later(1000).report(AT_SCENE)
    assert (late.phase, late.state.steps["on_board"].status) == ("running", "waiting")
    late.later(10).silent_for_a_minute()
    assert late.phase == "needs human"
    assert late.later(5000).report(AT_HOSPITAL) == ["HandOver", "ReleasePriority"]


def test_what_a_department_refused_waits_for_a_human_though_the_ambulance_comes() -> None:
    run = Emergency().on_the_way()
    run.report(AT_HOSPITAL)
    run.refuse("hand_over")
    assert run.phase == "needs human"
    assert run.later(10).report(AT_HOSPITAL) == []
    assert run.phase == "needs human"


def test_an_emergency_that_began_under_the_first_release_goes_on_to_its_end_as_it_began() -> None:
    run = Emergency(EMERGENCY_RESPONSE_1).on_the_way()
    assert run.later(3599).phase == "running"
    run.report(AT_SCENE)
    assert "on_board" not in run.state.steps
    assert run.later(7000).phase == "running"
    assert run.report(AT_HOSPITAL) == ["HandOver", "ReleasePriority"]
    for name in ("release_priority", "hand_over", "release_ambulance", "close_incident"):
        run.answer(name)
    assert run.phase == "completed"


# -- what may happen on the way -----------------------------------------------------------------------------------------------

TAKEN_BACK = ("notify_districts", "grant_priority", "reserve_bed", "reserve_ambulance")


def test_an_ambulance_that_breaks_down_is_replaced_after_all_that_was_done_with_it_is_taken_back() -> None:
    run = Emergency().on_the_way().later(10)
    first = {name: run.made[name] for name in ("ReserveAmbulance", "ReserveBed", "GrantPriority")}
    broken = AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, reason="engine")
    assert run.hear(broken) == ["WithdrawNotices"]
    sent = [run.undone(name) for name in TAKEN_BACK]
    assert sent == [["ReleasePriority"], ["CancelBed"], ["ReleaseAmbulance"], ["ReserveAmbulance"]]
    assert run.made["ReleaseAmbulance"].reservation_id == first["ReserveAmbulance"].reservation_id
    assert run.made["ReleaseAmbulance"].reason == "ambulance a1 broke down: engine"
    assert run.made["ReserveAmbulance"].reservation_id != first["ReserveAmbulance"].reservation_id
    run.answers["reserve_ambulance"] = health.ReserveAmbulanceResponse(ambulance_id="a2", route=Route(edge_ids=["e2", "e3"]))
    run.on_the_way()
    assert run.made["GrantPriority"].vehicle_id == "a2"
    # The first one may still report, and nobody waits for it.
    assert run.report(AT_HOSPITAL) == []
    arrived = MissionReported(ambulance_id="a2", incident_id=INCIDENT, stage=AT_HOSPITAL)
    assert run.hear(arrived) == ["HandOver", "ReleasePriority"]
    assert run.made["ReleasePriority"].grant_id == run.made["GrantPriority"].grant_id
    run.answer("release_priority")
    run.answer("hand_over")
    assert run.made["ReleaseAmbulance"].reservation_id == run.made["ReserveAmbulance"].reservation_id


def test_a_patient_in_an_ambulance_that_breaks_down_is_fetched_where_it_stands() -> None:
    run = Emergency().on_the_way()
    run.report(ON_BOARD)
    at = RoadPlace(edge_id="e4", position_m=7)
    run.later(10).hear(AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, place=at, reason="tyre"))
    for name in TAKEN_BACK:
        run.undone(name)
    assert run.made["ReserveAmbulance"].place == at
    run.answers["reserve_ambulance"] = health.ReserveAmbulanceResponse(ambulance_id="a2", route=Route(edge_ids=["e2", "e4"]))
    run.on_the_way()
    assert run.made["ReserveBed"].place == at
    assert run.made["GrantPriority"].stops[0].position_m == 7


def test_another_ambulance_that_breaks_down_means_nothing() -> None:
    run = Emergency().on_the_way().later(10)
    assert run.hear(AmbulanceBrokenDown(ambulance_id="a9", incident_id=INCIDENT, reason="engine")) == []


def test_a_hospital_that_cannot_take_the_patient_is_replaced_and_the_ambulance_stays() -> None:
    run = Emergency().on_the_way()
    run.report(AT_SCENE)
    diverted = PatientDiverted(hospital_id="h1", incident_id=INCIDENT, reason="no surgeon: confidential")
    assert run.later(10).hear(diverted) == ["WithdrawNotices"]
    assert [run.undone(name) for name in TAKEN_BACK[:3]] == [["ReleasePriority"], ["CancelBed"], ["ReserveBed"]]
    assert "confidential" not in run.made["CancelBed"].reason, "why is between the hospital and the patient"
    run.answers["reserve_bed"] = health.ReserveBedResponse(hospital_id="h2", route=Route(edge_ids=["e3", "e4"]))
    run.answer("reserve_bed")
    assert (run.made["AnnouncePatient"].hospital_id, run.made["GrantPriority"].vehicle_id) == ("h2", "a1")
    for name in ("grant_priority", "notify_districts", "announce_patient"):
        run.answer(name)
    # The stages that were reported before still count.
    assert run.state.steps["on_board"].status == "waiting"
    assert run.report(AT_HOSPITAL) == ["HandOver", "ReleasePriority"]
    assert run.made["HandOver"].hospital_id == "h2"


def test_a_patient_who_stays_ends_the_emergency_and_nothing_stays_reserved() -> None:
    run = Emergency().on_the_way()
    run.report(AT_SCENE)
    refuses = PatientRefused(ambulance_id="a1", incident_id=INCIDENT, reason="feels better")
    assert set(run.later(10).hear(refuses)) == {"WithdrawNotices", "CloseIncident"}
    assert run.made["CloseIncident"].outcome == "the patient stays"
    for name in TAKEN_BACK:
        run.undone(name)
    assert run.phase == "running"
    run.answer("close_incident")
    assert run.phase == "completed"


def test_an_ambulance_that_is_missing_and_then_says_that_it_broke_down_needs_no_human_any_more() -> None:
    run = Emergency().on_the_way().later(10)
    run.silent_for_a_minute()
    assert run.phase == "needs human"
    assert run.hear(AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, reason="accident")) == ["WithdrawNotices"]
    assert run.phase == "running"


def test_an_emergency_that_began_under_the_second_release_knows_no_breakdown_and_goes_on_as_it_began() -> None:
    run = Emergency(EMERGENCY_RESPONSE_2).on_the_way().later(10)
    assert run.hear(AmbulanceBrokenDown(ambulance_id="a1", incident_id=INCIDENT, reason="engine")) == []
    assert run.report(AT_HOSPITAL) == ["HandOver", "ReleasePriority"]
