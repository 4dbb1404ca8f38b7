"""Histories of sagas as a release has recorded them. `python -m tests.helpers.histories` writes those that are missing.

A file is never written anew: it is what sagas may have in the log, whatever the engine would record today.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.credit.v1.events_pb2 import AppealDecided, AppealFiled
from citybrain.district_hub.v1.events_pb2 import NoticeAcknowledged
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.environment.v1 import environment_service_pb2 as environment
from citybrain.environment.v1.events_pb2 import CorrectionAccepted, ExceedanceEnded, ExceedanceVerified, InspectionReported
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.safety.v1.events_pb2 import (
    FalseAlarmFound,
    JointCommandCalled,
    SafetyIncidentClosed,
    SafetyIncidentGraded,
    SafetyIncidentMerged,
)
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.tourism.v1 import peaks_pb2 as peaks
from citybrain.tourism.v1 import tourism_service_pb2 as tourism
from citybrain.tourism.v1.events_pb2 import MeasureAcknowledged, PeakBegan, PeakChanged, PeakEnded, PeakRetracted
from citybrain.traffic.v1.events_pb2 import TransportAnswered
from google.protobuf.message import Message

from citybrain.mesh.events import message_class, timestamp
from citybrain.mesh.runtime.server import find_method
from citybrain.sagas.engine.decider import due_timers, on_failure, react, tries_out
from citybrain.sagas.engine.definition import Step, Workflow
from citybrain.sagas.engine.state import SagaState, pack

FOLDER = Path(__file__).parents[1] / "unit" / "sagas" / "histories"
INCIDENT, SAFETY_INCIDENT, EXCEEDANCE = "inc-0123456789ab", "saf-0123456789ab", "exc-0123456789ab"
PEAK = "peak-0123456789ab"
CASE = f"{EXCEEDANCE}/open_case/1"
_SECOND = 1_000_000
_ANSWERS: dict[str, Message] = {
    "reserve_ambulance": health.ReserveAmbulanceResponse(
        ambulance_id="a1", route=Route(edge_ids=["e1", "e2", "e3"], travel_time_s=100)
    ),
    "reserve_bed": health.ReserveBedResponse(
        hospital_id="h1", entrance=RoadPlace(edge_id="e5", position_m=40), route=Route(edge_ids=["e3", "e5"], travel_time_s=50)
    ),
    "assign_units": safety.AssignUnitsResponse(
        units=[safety.AssignedUnit(unit_id="p1", kind=safety.UNIT_KIND_POLICE_CAR)]
        + [safety.AssignedUnit(unit_id=f"f{n}", kind=safety.UNIT_KIND_FIRE_ENGINE) for n in (1, 2, 3, 4)]
    ),
    "trace": environment.TraceSourceResponse(
        trace=environment.Trace(
            exceedance_id=EXCEEDANCE,
            determination=environment.DETERMINATION_WELL,
            statement="dye-7 explains it",
            sources=[environment.TracedSource(source_id="dye-7", found=True)],
        )
    ),
    "open_case": environment.OpenCaseResponse(case=environment.Case(case_id=CASE, firm_id="per-0123456789abcdef")),
    "look_up_roads": environment.GetSourceResponse(source=environment.Source(source_id="dye-7", road_ids=["e7"])),
    "impose_sanction": credit.ImposeSanctionResponse(sanction=credit.Sanction(record_id="rec-0123456789ab")),
    "report_crowd": safety.ReportSignalResponse(incident=safety.Incident(incident_id=SAFETY_INCIDENT)),
    "plan_cordon": safety.PlanCordonResponse(edge_ids=["e3", "e2"]),
}


class Played:
    """A saga, played on the engine as it is."""

    def __init__(self, workflow: Workflow, state: SagaState | None = None, now: int = 1) -> None:
        self.workflow, self.state, self.now = workflow, state or SagaState(), now
        self.events: list[tuple[str, str, int]] = []
        self._heard = 0

    def put(self, *inputs: Message) -> list[Message]:
        events, self.state = react(self.workflow, self.state, inputs, self.now)
        self.events += [
            (event.DESCRIPTOR.full_name, base64.b64encode(event.SerializeToString()).decode(), self.now) for event in events
        ]
        return events

    def begins_with(self, event: Any, saga_id: str) -> Self:
        started = ev.SagaStarted(saga_id=saga_id, workflow=self.workflow.name, workflow_version=self.workflow.version)
        started.input.CopyFrom(pack(event))
        self.put(started)
        return self

    def answers(self) -> Self:
        """Whatever is out is answered."""
        for one in list(tries_out(self.state)):
            if one.undo:
                self.put(ev.UndoAnswered(step=one.step, key=one.key))
                continue
            step = self.workflow.leaf(one.step)
            assert isinstance(step, Step)
            empty = message_class(find_method(*step.command.method.split("/")).output_type.full_name)()
            self.put(ev.StepAnswered(step=one.step, key=one.key, response=pack(_ANSWERS.get(one.step, empty))))
        return self

    def fails(self, code: str) -> Self:
        for one in [one for one in tries_out(self.state) if not one.undo]:
            self.put(on_failure(self.workflow, self.state, one.step, one.key, code, "no", self.now))
        return self

    def later(self, seconds: float) -> Self:
        self.now += int(seconds * _SECOND)
        for moment, name in sorted(due_timers(self.state)):
            if moment <= self.now:
                self.put(ev.TimerFired(timer=name))
        return self

    def hears(self, event: Message) -> Self:
        self._heard += 1
        name = f"{type(event).__name__}-{self.now}-{self._heard}"
        self.put(ev.EventHeard(event_id=name, event=pack(event), occurred_at=timestamp(self.now)))
        return self

    def puts(self, *inputs: Message) -> Self:
        self.put(*inputs)
        return self


class Emergency(Played):
    """An emergency."""

    def begins(self) -> Self:
        return self.begins_with(
            IncidentOpened(incident_id=INCIDENT, place=RoadPlace(edge_id="e3", position_m=20), district_id="xihu"), INCIDENT
        )

    def reports(self, stage: health.MissionStage) -> Self:
        return self.hears(MissionReported(incident_id=INCIDENT, ambulance_id="a1", stage=stage))

    def comes_to_its_end(self) -> Self:
        return self.reports(health.MISSION_STAGE_AT_HOSPITAL)

    def on_the_way(self) -> Self:
        return self.begins().answers().answers().answers()

    def cancelled(self) -> Self:
        return self.hears(IncidentCancelled(incident_id=INCIDENT, reason="a prank"))


class Joint(Played):
    """A joint command."""

    def begins(self, grade: safety.Grade = safety.GRADE_LARGER) -> Self:
        place = RoadPlace(edge_id="e3", position_m=20)
        return self.begins_with(
            JointCommandCalled(
                incident_id=SAFETY_INCIDENT, kind=safety.EVENT_KIND_FIRE, grade=grade, place=place, district_id="xihu"
            ),
            SAFETY_INCIDENT,
        )

    def under_way(self) -> Self:
        return self.begins().answers().answers()

    def graded(self, grade: safety.Grade) -> Self:
        return self.hears(SafetyIncidentGraded(incident_id=SAFETY_INCIDENT, joint_command=True, new_grade=grade))

    def closed(self) -> Self:
        return self.hears(SafetyIncidentClosed(incident_id=SAFETY_INCIDENT, joint_command=True, outcome="put out"))

    def comes_to_its_end(self) -> Self:
        return self.closed()

    def merged(self) -> Self:
        return self.hears(
            SafetyIncidentMerged(incident_id=SAFETY_INCIDENT, joint_command=True, into_incident_id="saf-00000000000a")
        )

    def false_alarm(self) -> Self:
        return self.hears(FalseAlarmFound(incident_id=SAFETY_INCIDENT, joint_command=True, reason="burnt milk"))

    def decided(self, question: str, option: str) -> Self:
        return self.puts(ev.HumanDecided(step=question, option=option, reason="so it is", by="li"))

    def cleared(self, step: str) -> Self:
        return self.puts(ev.UndoCleared(step=step, key=f"{SAFETY_INCIDENT}/{step}/1", by="li"), ev.SagaResumed(by="li"))


class Polluted(Played):
    """An exceedance that is followed to its sanction."""

    def begins(self) -> Self:
        place = environment.Place(longitude=120.1, latitude=30.2)
        return self.begins_with(
            ExceedanceVerified(
                exceedance_id=EXCEEDANCE, medium=environment.MEDIUM_AIR, quantity=environment.QUANTITY_SO2, value=612,
                limit=500, district_id="xihu", place=place, station_ids=["s1", "s2"],
            ),
            EXCEEDANCE,
        )  # fmt: skip

    def ordered(self) -> Self:
        """It is traced, an inspection is ordered, the district knows."""
        return self.begins().answers().answers().answers()

    def inspected(self, *, found: bool = True, source_id: str = "dye-7") -> Self:
        return self.hears(_found(found, source_id))

    def in_court(self) -> Self:
        """A case is open, what must be done at once is done, the firm is to be heard."""
        return self.ordered().inspected().answers().answers().answers()

    def decided(self, question: str, option: str) -> Self:
        return self.puts(ev.HumanDecided(step=question, option=option, reason="so it is", by="li"))

    def sanctioned(self) -> Self:
        heard = self.in_court().decided("hear_firm", "heard").answers()
        return heard.decided("decide", "sanction").answers().answers().answers()

    def appealed(self, state: credit.AppealState) -> Self:
        appeal = credit.Appeal(appeal_id="app-1", sanction_id=f"{EXCEEDANCE}/impose_sanction/1", state=state)
        self.later(60).hears(AppealFiled(appeal=appeal, case_id=CASE))
        return self.hears(AppealDecided(appeal=appeal, case_id=CASE))

    def comes_to_its_end(self) -> Self:
        awaited: dict[str, Message] = {
            "seen": NoticeAcknowledged(notice_id="n", incident_id=EXCEEDANCE, district_id="xihu"),
            "inspected": _found(True, "dye-7"),
            "over": ExceedanceEnded(exceedance_id=EXCEEDANCE),
            "corrected": CorrectionAccepted(case_id=CASE, correction_id=f"{EXCEEDANCE}/order_correction/1"),
        }
        waiting = {name for name, step in self.state.steps.items() if step.status == "waiting"}
        for name, event in awaited.items():
            if name in waiting:
                return self.hears(event)
        # Nobody appeals.
        return self.later(184 * 86_400)


class Crowded(Played):
    """A peak of a crowd."""

    told = 0

    def begins(self, level: int = 80, ahead: int = 0) -> Self:
        expected = None
        if ahead:
            hour = timestamp(ahead * 3600 * _SECOND)
            expected = peaks.ExpectedPeak(hour=hour, horizon_hours=ahead, people=950, low=900, high=1000, level=90)
        return self.begins_with(
            PeakBegan(
                peak_id=PEAK, place_id="p1", district_id="xihu", name="断桥", capacity=1000, level=0 if ahead else level,
                people=820, entrance=RoadPlace(edge_id="e3", position_m=20), parking_lot_ids=["lot-1"], expected=expected,
                position=tourism.Position(longitude=120.15, latitude=30.25), began_at=timestamp(1),
            ),
            PEAK,
        )  # fmt: skip

    def word(self, level: int, closest: tourism.DensityLevel = tourism.DENSITY_LEVEL_UNSPECIFIED) -> Self:
        self.told += 1
        part_id = "bridge" if closest else ""
        return self.hears(
            PeakChanged(peak_id=PEAK, place_id="p1", number=self.told, level=level, closest=closest, part_id=part_id)
        )

    def ready(self) -> Self:
        """Others are suggested, and all that was asked for is there."""
        self.begins().answers()
        for step in ("request_buses", "request_frequency", "request_signal_plan"):
            self.hears(TransportAnswered(request_id=f"{PEAK}/{step}/1", accepted=True))
        return self

    def full(self) -> Self:
        return self.ready().later(60).word(100).answers().answers().seen("stop_entry")

    def in_danger(self) -> Self:
        self.ready().later(60).word(80, tourism.DENSITY_LEVEL_DANGEROUS).answers().answers()
        return self.seen("stop_entry").seen("disperse")

    def seen(self, step: str) -> Self:
        return self.hears(MeasureAcknowledged(place_id="p1", measure_id=f"{PEAK}/{step}/1"))

    def decided(self, question: str, option: str) -> Self:
        return self.puts(ev.HumanDecided(step=question, option=option, reason="so it is", by="li"))

    def over(self) -> Self:
        return self.later(60).hears(PeakEnded(peak_id=PEAK, place_id="p1", reason="calm"))

    def retracted(self) -> Self:
        return self.later(60).hears(PeakRetracted(peak_id=PEAK, place_id="p1", reason="counter b read double"))

    def cleared(self, step: str) -> Self:
        return self.puts(ev.UndoCleared(step=step, key=f"{PEAK}/{step}/1", by="li"), ev.SagaResumed(by="li"))

    def comes_to_its_end(self) -> Self:
        return self.over()


def _found(found: bool, source_id: str) -> InspectionReported:
    name = f"{EXCEEDANCE}/order_inspection/1"
    return InspectionReported(
        inspection_id=name, exceedance_id=EXCEEDANCE, source_id=source_id, found=found, finding="the filter is torn"
    )


EMERGENCIES: dict[str, Callable[[Emergency], Any]] = {
    "just begun": lambda e: e.begins(),
    "tries again": lambda e: e.begins().fails("UNAVAILABLE").later(6).fails("RESOURCE_EXHAUSTED"),
    "on the way": lambda e: e.on_the_way().later(30),
    "without priority": lambda e: e.begins().answers().answers().fails("FAILED_PRECONDITION").later(5),
    "at the scene": lambda e: e.on_the_way().reports(health.MISSION_STAGE_AT_SCENE),
    "handing over": lambda e: e.on_the_way().reports(health.MISSION_STAGE_AT_HOSPITAL),
    "needs a human": lambda e: e.begins().fails("NOT_FOUND"),
    "late": lambda e: e.on_the_way().later(20_000),
    "being undone": lambda e: e.on_the_way().cancelled(),
    "half undone": lambda e: e.on_the_way().cancelled().answers(),
    "undone": lambda e: e.on_the_way().cancelled().answers().answers().answers().answers(),
    "completed": lambda e: e.on_the_way().reports(health.MISSION_STAGE_AT_HOSPITAL).answers().answers().answers(),
}

JOINT_COMMANDS: dict[str, Callable[[Joint], Any]] = {
    "just begun": lambda j: j.begins(),
    "a grave one": lambda j: j.begins(safety.GRADE_MAJOR).answers().later(400),
    "confirmed": lambda j: j.begins(safety.GRADE_MAJOR).decided("confirm_grade", "raise").answers().answers(),
    "under way": lambda j: j.under_way(),
    "graver": lambda j: j.under_way().graded(safety.GRADE_MAJOR).answers(),
    "a quiet day": lambda j: j.under_way().later(90_000),
    "without anybody": lambda j: j.begins().fails("FAILED_PRECONDITION"),
    "standing down": lambda j: j.under_way().closed(),
    "one with another": lambda j: j.under_way().merged(),
    "let go": lambda j: j.under_way().merged().decided("hand_over", "let_go").answers(),
    "being undone": lambda j: j.under_way().false_alarm(),
    "half undone": lambda j: j.under_way().false_alarm().answers().answers().cleared("close_roads"),
    "completed": lambda j: j.under_way().closed().answers().answers().answers(),
}

POLLUTIONS: dict[str, Callable[[Polluted], Any]] = {
    "just begun": lambda p: p.begins(),
    "inspection ordered": lambda p: p.ordered(),
    "the city team is asked": lambda p: p.ordered().later(26 * 3600),
    "nothing was found": lambda p: p.ordered().inspected(found=False),
    "no source is known": lambda p: p.ordered().inspected(source_id="").answers(),
    "before it is heard": lambda p: p.in_court(),
    "before it is decided": lambda p: p.in_court().decided("hear_firm", "waived").answers(),
    "dismissed": lambda p: p.in_court().decided("hear_firm", "heard").answers().decided("decide", "dismiss"),
    "sanctioned": lambda p: p.sanctioned(),
    "an appeal that was lost": lambda p: p.sanctioned().appealed(credit.APPEAL_STATE_LOST),
    "an appeal that was won, being undone": lambda p: p.sanctioned().appealed(credit.APPEAL_STATE_WON),
    "needs a human": lambda p: p.begins().answers().fails("NOT_FOUND"),
}

CROWDS: dict[str, Callable[[Crowded], Any]] = {
    "a day ahead": lambda c: c.begins(ahead=24),
    "it is planned": lambda c: c.begins(ahead=24).answers().decided("plan", "prepare"),
    "they only watch": lambda c: c.begins(ahead=24).answers().decided("plan", "only_watch"),
    "just begun": lambda c: c.begins(),
    "tries again": lambda c: c.begins().fails("UNAVAILABLE").later(6),
    "ready": lambda c: c.ready(),
    "nobody answers": lambda c: c.begins(100).answers().answers().later(1300),
    "nearly full": lambda c: c.ready().word(90).answers(),
    "full": lambda c: c.full(),
    "full again": lambda c: c.full().word(90).answers().word(100),
    "in danger": lambda c: c.in_danger(),
    "before it is cleared": lambda c: c.in_danger().word(80).answers(),
    "emptying": lambda c: c.full().word(0).answers(),
    "being given back": lambda c: c.ready().word(0).answers().over().answers(),
    "being undone": lambda c: c.full().retracted(),
    "completed": lambda c: (
        c.ready().word(0).answers().over().answers().answers().answers().answers().answers().answers().answers()
    ),
}

STORIES: dict[str, tuple[type[Any], dict[str, Callable[[Any], Any]]]] = {
    "emergency_response": (Emergency, EMERGENCIES),
    "joint_command": (Joint, JOINT_COMMANDS),
    "peak_crowd": (Crowded, CROWDS),
    "pollution_sanction": (Polluted, POLLUTIONS),
}
"""Workflow → who plays it, and what happens."""


def file_of(workflow: Workflow) -> Path:
    return FOLDER / f"{workflow.name}-{workflow.version}.json"


def recorded(workflow: Workflow) -> str:
    """The histories of a workflow, as the engine records them now."""
    found = {}
    player, stories = STORIES[workflow.name]
    for name, tells in stories.items():
        played = player(workflow)
        tells(played)
        found[name] = {"phase": played.state.phase, "events": played.events}
    return json.dumps(found, indent=1) + "\n"


def main() -> None:
    from citybrain.sagas.workflows import published

    FOLDER.mkdir(exist_ok=True)
    for workflow in published():
        if not file_of(workflow).exists():
            file_of(workflow).write_text(recorded(workflow), encoding="utf-8")


if __name__ == "__main__":
    main()
