"""S2, joint command 联合指挥 (fire, gas leak, flood, crowd): departments act together until safety ends the incident.

It begins when safety calls joint command, by the kind and the grade of an incident or because a commander asks. Nobody waits
for anybody: units, roads, hospitals and districts are seen to side by side, while a person confirms a grave grade.
Compute in an emergency pool, utility valves, the forecast of a plume and warnings to citizens have no step here: no service
of the city does them yet. Where a crowd calls it, the workflow of the peak crowd has stopped entry before.

What and how many are proposals of this project: docs/public-safety.md says them all. It is long because the workflow and its
numbers are read together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.events_pb2 import NoticeEscalated
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.safety.v1.events_pb2 import (
    FalseAlarmFound,
    JointCommandCalled,
    SafetyIncidentClosed,
    SafetyIncidentGraded,
    SafetyIncidentMerged,
    StandDownOrdered,
)
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.sagas.engine.definition import Choice, Command, Human, Parallel, Repeat, Step, Wait, Workflow
from citybrain.sagas.engine.state import SagaState, StepState

SAFETY = "citybrain.safety.v1.SafetyService"
HEALTH = "citybrain.health.v1.HealthService"
TRAFFIC = "citybrain.traffic.v1.TrafficService"
HUB = "citybrain.district_hub.v1.DistrictHubService"

# Who decides: scopes sagas.decide.incident_command and so on.
INCIDENT_COMMAND, LEADING_GROUP, FIRE_COMMAND = "incident_command", "leading_group", "fire_command"
WHO_DECIDES = (INCIDENT_COMMAND, LEADING_GROUP)
MINUTE_S, DAY_S = 60, 86_400

# How many police cars and fire engines are sent at the lowest grade, by kind; at a graver one so many times as many.
UNITS = {
    safety.EVENT_KIND_FIRE: (1, 2),
    safety.EVENT_KIND_GAS_LEAK: (2, 2),
    safety.EVENT_KIND_FLOOD: (1, 2),
    safety.EVENT_KIND_CROWD: (3, 1),
    safety.EVENT_KIND_TRAFFIC_ACCIDENT: (2, 1),
    safety.EVENT_KIND_CRIME: (3, 0),
}
OTHER_UNITS = (1, 1)
TIMES = {safety.GRADE_LARGER: 2, safety.GRADE_MAJOR: 4, safety.GRADE_EXTRA_MAJOR: 6}
# How many hospitals are warned.
HOSPITALS = {safety.GRADE_LARGER: 2, safety.GRADE_MAJOR: 4, safety.GRADE_EXTRA_MAJOR: 8}

_CATEGORIES = {
    safety.EVENT_KIND_FIRE: hub.ALERT_CATEGORY_FIRE,
    safety.EVENT_KIND_GAS_LEAK: hub.ALERT_CATEGORY_INFRA,
    safety.EVENT_KIND_FLOOD: hub.ALERT_CATEGORY_MET,
    safety.EVENT_KIND_CROWD: hub.ALERT_CATEGORY_SAFETY,
    safety.EVENT_KIND_TRAFFIC_ACCIDENT: hub.ALERT_CATEGORY_TRANSPORT,
    safety.EVENT_KIND_CRIME: hub.ALERT_CATEGORY_SECURITY,
}
_KINDS = {
    safety.EVENT_KIND_FIRE: "Fire 火灾",
    safety.EVENT_KIND_GAS_LEAK: "Gas leak 燃气泄漏",
    safety.EVENT_KIND_FLOOD: "Flood 内涝",
    safety.EVENT_KIND_TRAFFIC_ACCIDENT: "Traffic accident 交通事故",
    safety.EVENT_KIND_CROWD: "Crowd 人群聚集",
    safety.EVENT_KIND_CRIME: "Crime 治安",
}
_GRADES = {
    safety.GRADE_GENERAL: "general 一般",
    safety.GRADE_LARGER: "larger 较大",
    safety.GRADE_MAJOR: "major 重大",
    safety.GRADE_EXTRA_MAJOR: "extra-major 特别重大",
}
_SEVERITIES = {
    safety.GRADE_GENERAL: hub.ALERT_SEVERITY_MINOR,
    safety.GRADE_LARGER: hub.ALERT_SEVERITY_MODERATE,
    safety.GRADE_MAJOR: hub.ALERT_SEVERITY_SEVERE,
    safety.GRADE_EXTRA_MAJOR: hub.ALERT_SEVERITY_EXTREME,
}
# What ends joint command, and all that it acts on.
_ENDS = (SafetyIncidentClosed, SafetyIncidentMerged, StandDownOrdered)
_WORDS = (SafetyIncidentGraded, *_ENDS, NoticeEscalated)
# As the contracts have them.
_LONGEST_BYTES, _MOST_ACTIONS = 500, 200


def _called(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


def _whose(event: Message) -> str:
    """What was said before joint command was called is in the call."""
    return str(event.incident_id) if event.joint_command else ""  # type: ignore[attr-defined]


def _escalated(event: Message) -> str:
    """Of alerts, not of the ways of vehicles."""
    return str(event.incident_id) if event.alert else ""  # type: ignore[attr-defined]


def _place(s: SagaState) -> RoadPlace | None:
    """Where departments go; None: nobody has named a road."""
    return s.input.place if s.input.HasField("place") else None


def _kind(s: SagaState) -> str:
    return _KINDS.get(s.input.kind, "Incident 突发事件")


def _grade_name(grade: safety.Grade) -> str:
    return _GRADES.get(grade, "not graded 未定级")


# -- what is heard ------------------------------------------------------------------------------------------------------------


def _word(s: SagaState) -> Any:
    """What was heard in this round; None: nothing yet."""
    return s.answer("word") if s.answered("word") else None


def _is_over(s: SagaState) -> bool:
    return isinstance(_word(s), _ENDS)


def _is_graded(s: SagaState) -> bool:
    return isinstance(_word(s), SafetyIncidentGraded)


def _is_merged(s: SagaState) -> bool:
    return isinstance(_word(s), SafetyIncidentMerged)


def _words(s: SagaState) -> list[Message]:
    """What was heard in all rounds, that of this one last. Only these rounds use events up, in the order in which they came."""
    return [event for event_id, event in s.heard.items() if event_id in s.used]


def _gravest_before(s: SagaState) -> safety.Grade:
    """The gravest grade that the incident had before the word of this round."""
    called: safety.Grade = s.input.grade
    return max([called, *(event.new_grade for event in _words(s)[:-1] if isinstance(event, SafetyIncidentGraded))])


def _why_over(s: SagaState) -> str:
    word = _word(s)
    if isinstance(word, SafetyIncidentMerged):
        return f"it is one with {word.into_incident_id}, which goes on"
    return _cut(f"over: {word.outcome}") if isinstance(word, SafetyIncidentClosed | StandDownOrdered) else "over"


def _cut(text: str) -> str:
    """As long as contracts take it."""
    return text.encode()[:_LONGEST_BYTES].decode(errors="ignore")


# -- the grade ----------------------------------------------------------------------------------------------------------------


def _is_grave(grade: safety.Grade) -> bool:
    """Whether a person confirms a grade."""
    return grade >= safety.GRADE_MAJOR


def _is_gravest(grade: safety.Grade) -> bool:
    return grade == safety.GRADE_EXTRA_MAJOR


def _to_confirm(s: SagaState) -> safety.Grade:
    """The grade that a person is to confirm: the first grave one."""
    grade: safety.Grade = s.input.grade
    if not _is_grave(grade) and s.answered("grave") and isinstance(s.answer("grave"), SafetyIncidentGraded):
        grade = s.answer("grave").new_grade
    return grade


def _decided_grade(s: SagaState) -> safety.Grade:
    # The question sees to it that nobody raises the gravest.
    return _to_confirm(s) + (s.decision("confirm_grade") == "raise")  # type: ignore[return-value]


def _record_grade(s: SagaState, key: str) -> Message:
    decided = s.answer("confirm_grade")
    return safety.ConfirmGradeRequest(
        incident_id=s.saga_id, grade=_decided_grade(s), decided_by=decided.by, reason=_cut(decided.reason or decided.option)
    )


# Of the words that end this wait none is used up: the next one is for the round of the districts.
GRAVE = Wait(
    "grave",
    (SafetyIncidentGraded, *_ENDS),
    7 * DAY_S,
    lambda s, event: not isinstance(event, SafetyIncidentGraded) or _is_grave(event.new_grade),
    otherwise="go on",
    implied=True,
)
CONFIRM_GRADE = Human(
    "confirm_grade",
    WHO_DECIDES,
    lambda s: f"incident {s.saga_id}, {_kind(s)}: is it {_grade_name(_to_confirm(s))}, or graver?",
    deadline_s=5 * MINUTE_S,
    options=("confirm", "raise"),
    validator=lambda s, option: "no grade is graver" if option == "raise" and _is_gravest(_to_confirm(s)) else "",
    unanswered="confirm",
)
RECORD_GRADE = Step(
    "record_grade",
    Command(f"{SAFETY}/ConfirmGrade", _record_grade),
    deadline_s=5 * MINUTE_S,
    otherwise="go on",
)
_CONFIRMED = (
    Choice("not_grave_yet", ((lambda s: not _is_grave(s.input.grade), (GRAVE,)),)),
    Choice("is_grave", ((lambda s: _is_grave(_to_confirm(s)), (CONFIRM_GRADE, RECORD_GRADE)),)),
)


# -- police cars and fire engines ---------------------------------------------------------------------------------------------


def _units(s: SagaState, grade: safety.Grade) -> tuple[int, int]:
    """How many police cars and fire engines a grade asks for."""
    cars, engines = UNITS.get(s.input.kind, OTHER_UNITS)
    times = TIMES.get(grade, 1)
    return cars * times, engines * times


def _missing(s: SagaState) -> tuple[int, int]:
    """How many police cars and fire engines were not there when the first ones were sent."""
    kinds = [unit.kind for unit in s.answer("assign_units").units]
    cars, engines = _units(s, s.input.grade)
    short = cars - kinds.count(safety.UNIT_KIND_POLICE_CAR), engines - kinds.count(safety.UNIT_KIND_FIRE_ENGINE)
    return max(0, short[0]), max(0, short[1])


def _more(s: SagaState) -> tuple[int, int]:
    """How many more the new grade asks for than the gravest one before."""
    now, before = _units(s, _word(s).new_grade), _units(s, _gravest_before(s))
    return max(0, now[0] - before[0]), max(0, now[1] - before[1])


def _assign(s: SagaState, key: str, units: tuple[int, int], *, or_fewer: bool) -> Message:
    return safety.AssignUnitsRequest(
        incident_id=s.saga_id, assignment_id=key, police_cars=units[0], fire_engines=units[1], place=_place(s),
        or_fewer=or_fewer,
    )  # fmt: skip


_RELEASE = Command(
    f"{SAFETY}/ReleaseUnits",
    lambda s, k: safety.ReleaseUnitsRequest(incident_id=s.saga_id, assignment_id=k, reason=s.reason),
)
# Those that are free go at once, also where there are too few.
ASSIGN_UNITS = Step(
    "assign_units",
    Command(f"{SAFETY}/AssignUnits", lambda s, k: _assign(s, k, _units(s, s.input.grade), or_fewer=True)),
    undo=_RELEASE,
    deadline_s=15 * MINUTE_S,
    pause_s=5,
    otherwise="go on",
    clearance=FIRE_COMMAND,
)
SEND_BY_HAND = Human(
    "send_by_hand",
    WHO_DECIDES,
    lambda s: f"no unit could be sent to incident {s.saga_id}, {_kind(s)}: {s.steps['assign_units'].reason}. See to it by hand",
    deadline_s=5 * MINUTE_S,
    options=("units_were_sent", "none_is_needed"),
    otherwise="go on",
)
ASSIGN_MISSING = Step(
    "assign_missing",
    Command(f"{SAFETY}/AssignUnits", lambda s, k: _assign(s, k, _missing(s), or_fewer=False)),
    undo=_RELEASE,
    deadline_s=15 * MINUTE_S,
    pause_s=5,
    otherwise="go on",
    clearance=FIRE_COMMAND,
)
_SENT = (
    ASSIGN_UNITS,
    Choice(
        "who_went",
        (
            (lambda s: not s.answered("assign_units"), (SEND_BY_HAND,)),
            (lambda s: any(_missing(s)), (ASSIGN_MISSING,)),
        ),
    ),
)
# A round is short: what is said meanwhile waits for its end.
REINFORCE = Step(
    "reinforce",
    Command(f"{SAFETY}/AssignUnits", lambda s, k: _assign(s, k, _more(s), or_fewer=True)),
    undo=_RELEASE,
    deadline_s=MINUTE_S,
    pause_s=5,
    otherwise="go on",
    clearance=FIRE_COMMAND,
)

# -- roads --------------------------------------------------------------------------------------------------------------------

PLAN_CORDON = Step(
    "plan_cordon",
    Command(f"{SAFETY}/PlanCordon", lambda s, k: safety.PlanCordonRequest(incident_id=s.saga_id, place=_place(s))),
    deadline_s=MINUTE_S,
    otherwise="go on",
)
CLOSE_ROADS = Step(
    "close_roads",
    Command(
        f"{TRAFFIC}/CloseRoads",
        lambda s, k: traffic.CloseRoadsRequest(
            closure_id=k, edge_ids=dict.fromkeys(s.answer("plan_cordon").edge_ids), incident_id=s.saga_id,
            reason=f"{_kind(s)}, {_grade_name(s.input.grade)}", emergency_vehicles_pass=True,
        ),
    ),
    undo=Command(
        f"{TRAFFIC}/ReopenRoads", lambda s, k: traffic.ReopenRoadsRequest(closure_id=k, reason=s.reason)
    ),
    deadline_s=5 * MINUTE_S,
    otherwise="go on",  # the public is kept out by hand
    clearance=INCIDENT_COMMAND,
)  # fmt: skip
_CORDON = (PLAN_CORDON, Choice("cordon_is_planned", ((lambda s: s.answered("plan_cordon"), (CLOSE_ROADS,)),)))

# -- ambulance and hospitals --------------------------------------------------------------------------------------------------

RESERVE_AMBULANCE = Step(
    "reserve_ambulance",
    Command(
        f"{HEALTH}/ReserveAmbulance",
        lambda s, k: health.ReserveAmbulanceRequest(incident_id=s.saga_id, reservation_id=k, place=_place(s)),
    ),
    undo=Command(
        f"{HEALTH}/ReleaseAmbulance",
        lambda s, k: health.ReleaseAmbulanceRequest(incident_id=s.saga_id, reservation_id=k, reason=s.reason),
    ),
    deadline_s=10 * MINUTE_S,
    pause_s=5,
    otherwise="go on",
)
WARN_HOSPITALS = Step(
    "warn_hospitals",
    Command(
        f"{HEALTH}/WarnHospitals",
        lambda s, k: health.WarnHospitalsRequest(
            incident_id=s.saga_id, warning_id=k, place=_place(s), hospitals=HOSPITALS.get(s.input.grade, 1),
            reason=f"{_kind(s)}, {_grade_name(s.input.grade)}",
        ),
    ),
    undo=Command(
        f"{HEALTH}/StandDownHospitals",
        lambda s, k: health.StandDownHospitalsRequest(incident_id=s.saga_id, warning_id=k, reason=s.reason),
    ),
    deadline_s=2 * MINUTE_S,
    otherwise="go on",
)  # fmt: skip

# -- districts ----------------------------------------------------------------------------------------------------------------


def _alert(s: SagaState, key: str, grade: safety.Grade) -> Message:
    place = _place(s)
    where = f", on road {place.edge_id}" if place is not None else ""
    return hub.AlertDistrictsRequest(
        incident_id=s.saga_id,
        round_id=key,
        content=hub.AlertContent(
            status=hub.ALERT_STATUS_EXERCISE if s.exercise else hub.ALERT_STATUS_ACTUAL,
            category=_CATEGORIES.get(s.input.kind, hub.ALERT_CATEGORY_OTHER),
            event=_kind(s),
            urgency=hub.ALERT_URGENCY_IMMEDIATE,
            severity=_SEVERITIES.get(grade, hub.ALERT_SEVERITY_UNKNOWN),
            certainty=hub.ALERT_CERTAINTY_OBSERVED,
            headline=f"{_kind(s)}, {_grade_name(grade)}",
            description=f"Joint command 联合指挥 of incident {s.saga_id}{where}",
        ),
        edge_ids=[] if place is None else [place.edge_id],
        district_ids=[s.input.district_id] if s.input.district_id else [],
    )


_WITHDRAW = Command(
    f"{HUB}/WithdrawNotices",
    lambda s, k: hub.WithdrawNoticesRequest(incident_id=s.saga_id, round_id=k, reason=s.reason),
)
ALERT_DISTRICTS = Step(
    "alert_districts",
    Command(f"{HUB}/AlertDistricts", lambda s, k: _alert(s, k, s.input.grade)),
    undo=_WITHDRAW,
    deadline_s=2 * MINUTE_S,
    otherwise="go on",
)
UPDATE_DISTRICTS = Step(
    "update_districts",
    Command(f"{HUB}/AlertDistricts", lambda s, k: _alert(s, k, _word(s).new_grade)),
    undo=_WITHDRAW,
    deadline_s=MINUTE_S,
    otherwise="go on",
)

# -- what goes on until safety ends it ----------------------------------------------------------------------------------------

WATCH = Repeat(
    "watch",
    (
        # After a day without a word a person is asked whether it goes on. A word that comes then goes its way all the same.
        Wait("word", _WORDS, DAY_S),
        Choice(
            "news",
            (
                (
                    _is_graded,
                    (
                        Parallel(
                            (
                                (Choice("graver", ((lambda s: any(_more(s)), (REINFORCE,)),)),),
                                (UPDATE_DISTRICTS,),
                            )
                        ),
                    ),
                ),
            ),
        ),
    ),
    until=_is_over,
    at_most=300,
)

# -- standing down ------------------------------------------------------------------------------------------------------------

# Units work on and roads stay closed until somebody says so: the question waits in the list of what people have to do.
HAND_OVER = Human(
    "hand_over",
    (FIRE_COMMAND, INCIDENT_COMMAND),
    lambda s: f"incident {s.saga_id} is one with {_word(s).into_incident_id}: may its units leave now, and its roads open?",
    deadline_s=DAY_S / 2,
    options=("let_go", "keep"),
)


def _are_kept(s: SagaState) -> bool:
    """Whether units and cordon are left to the incident that goes on, and to people."""
    return _is_merged(s) and not (s.answered("hand_over") and s.decision("hand_over") == "let_go")


CANCEL_ALERT = Step(
    "cancel_alert",
    # Of all rounds.
    Command(f"{HUB}/WithdrawNotices", lambda s, k: hub.WithdrawNoticesRequest(incident_id=s.saga_id, reason=_why_over(s))),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)
STAND_DOWN_HOSPITALS = Step(
    "stand_down_hospitals",
    Command(
        f"{HEALTH}/StandDownHospitals",
        lambda s, k: health.StandDownHospitalsRequest(
            incident_id=s.saga_id, warning_id=s.key("warn_hospitals"), reason=_why_over(s)
        ),
    ),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)
RELEASE_AMBULANCE = Step(
    "release_ambulance",
    Command(
        f"{HEALTH}/ReleaseAmbulance",
        lambda s, k: health.ReleaseAmbulanceRequest(
            incident_id=s.saga_id, reservation_id=s.key("reserve_ambulance"), reason=_why_over(s)
        ),
    ),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)
REOPEN_ROADS = Step(
    "reopen_roads",
    Command(
        f"{TRAFFIC}/ReopenRoads",
        lambda s, k: traffic.ReopenRoadsRequest(closure_id=s.key("close_roads"), reason=_why_over(s)),
    ),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)
RELEASE_UNITS = Step(
    "release_units",
    # Of all assignments.
    Command(f"{SAFETY}/ReleaseUnits", lambda s, k: safety.ReleaseUnitsRequest(incident_id=s.saga_id, reason=_why_over(s))),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)
CLOSE = Step(
    "close_incident",
    Command(
        f"{SAFETY}/CloseIncident",
        lambda s, k: safety.CloseIncidentRequest(incident_id=s.saga_id, outcome=_word(s).outcome),
    ),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)

# -- what was done ------------------------------------------------------------------------------------------------------------


def _ended(s: SagaState) -> list[StepState]:
    """The steps and questions that were done or left out, in that order."""
    ended = [one for one in s.attempts() if one.kind != "wait" and one.status in ("done", "skipped")]
    return sorted(ended, key=lambda one: (one.changed_at, one.name))


def _action(one: StepState) -> safety.ActionTaken:
    at, left_out = Timestamp(), one.status == "skipped"
    at.FromMicroseconds(one.changed_at)
    return safety.ActionTaken(
        step=one.name, attempt=one.attempt, ended_at=at, left_out=left_out, reason=_cut(one.reason) if left_out else ""
    )


def _flags(s: SagaState) -> Iterator[str]:
    """What did not go as it should, a sentence each."""
    yield from (f"{one.name} was left out: {one.reason}" for one in _ended(s) if one.status == "skipped")
    if s.answered("assign_units") and any(_missing(s)):
        cars, engines = _missing(s)
        came = "they came later" if s.answered("assign_missing") else "they did not come"
        yield f"{cars} police cars and {engines} fire engines too few were free at the beginning; {came}"
    if s.answered("confirm_grade") and not s.answer("confirm_grade").by:
        yield f"nobody confirmed in time that it is {_grade_name(_to_confirm(s))}"
    for event in _words(s):
        if isinstance(event, NoticeEscalated):
            yield f"district {event.district_id} had not acknowledged in time what it was told (notice {event.notice_id})"
    if _are_kept(s):
        yield f"units and closed roads were left to incident {_word(s).into_incident_id}: whoever ends that opens the roads"


def _report(s: SagaState, key: str) -> Message:
    return safety.RecordAfterActionRequest(
        incident_id=s.saga_id,
        actions=[_action(one) for one in _ended(s)[:_MOST_ACTIONS]],
        flags=list(dict.fromkeys(map(_cut, _flags(s))))[:_MOST_ACTIONS],
    )


RECORD_AFTER_ACTION = Step(
    "record_after_action",
    Command(f"{SAFETY}/RecordAfterAction", _report),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)

JOINT_COMMAND = Workflow(
    name="joint_command",
    version=1,
    starts_on=JointCommandCalled,
    hears={
        JointCommandCalled: _called,
        StandDownOrdered: _called,
        **dict.fromkeys((FalseAlarmFound, SafetyIncidentGraded, SafetyIncidentClosed, SafetyIncidentMerged), _whose),
        NoticeEscalated: _escalated,
    },
    undo_on={FalseAlarmFound: lambda event: f"false alarm: {event.reason}"},  # type: ignore[attr-defined]
    nodes=(
        Parallel(
            (
                # Before the round of the districts: it sees a word first, and leaves it there.
                _CONFIRMED,
                _SENT,
                (
                    Choice(
                        "place_is_known",
                        ((lambda s: _place(s) is not None, (Parallel((_CORDON, (RESERVE_AMBULANCE,), (WARN_HOSPITALS,))),)),),
                    ),
                ),
                (ALERT_DISTRICTS, WATCH),
            )
        ),
        Parallel(
            (
                (CANCEL_ALERT,),
                (Choice("hospitals_warned", ((lambda s: "warn_hospitals" in s.steps, (STAND_DOWN_HOSPITALS,)),)),),
                (Choice("ambulance_sent", ((lambda s: "reserve_ambulance" in s.steps, (RELEASE_AMBULANCE,)),)),),
                (
                    Choice("merged", ((_is_merged, (HAND_OVER,)),)),
                    # The units leave when the roads are open: they guard the cordon.
                    Choice(
                        "roads_closed",
                        ((lambda s: "close_roads" in s.steps and not _are_kept(s), (REOPEN_ROADS,)),),
                    ),
                    Choice("units_leave", ((lambda s: not _are_kept(s), (RELEASE_UNITS,)),)),
                ),
            )
        ),
        Choice("stand_down_ordered", ((lambda s: isinstance(_word(s), StandDownOrdered), (CLOSE,)),)),
        RECORD_AFTER_ACTION,
    ),
)
