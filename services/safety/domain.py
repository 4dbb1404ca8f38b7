"""An incident of public safety: its reports, its grade, and how it ends. Pure.

It is long because all that is decided about an incident is decided on one state. What joint command adds is in `joint.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.roads import beyond_the_end
from citybrain.services.safety import grading


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident as its events tell it."""

    opened: ev.SafetyIncidentOpened | None = None
    state: pb.IncidentState = pb.INCIDENT_STATE_UNSPECIFIED
    # The first that a report named.
    place: RoadPlace | None = None
    position: pb.Position | None = None
    signals: Mapping[str, pb.Signal] = field(default_factory=dict)
    # Report that was split off → its own incident.
    split: Mapping[str, str] = field(default_factory=dict)
    # What each source counted last.
    assessments: Mapping[int, pb.Assessment] = field(default_factory=dict)
    # Person → the grade that they have confirmed.
    confirmed: Mapping[str, pb.Grade] = field(default_factory=dict)
    grade: pb.Grade = pb.GRADE_UNSPECIFIED
    merged_into: str = ""
    absorbed: tuple[str, ...] = ()
    ended_at: Timestamp | None = None
    outcome: str = ""
    false_alarm: bool = False
    # That departments act together on it; None: they do not.
    called: ev.JointCommandCalled | None = None
    stood_down: bool = False
    after_action: pb.AfterAction | None = None


def evolve(incident: Incident, event: Message) -> Incident:
    """The incident after an event."""
    match event:
        case ev.SafetyIncidentOpened():
            return replace(incident, opened=event, state=pb.INCIDENT_STATE_OPEN)
        case ev.SignalReceived():
            signal = event.signal
            return replace(
                incident,
                signals={**incident.signals, signal.signal_id: signal},
                place=incident.place or (signal.place if signal.HasField("place") else None),
                position=incident.position or (signal.position if signal.HasField("position") else None),
            )
        case ev.SignalSplitOff():
            return replace(incident, split={**incident.split, event.signal_id: event.to_incident_id})
        case ev.SafetyIncidentAssessed():
            counted = event.assessment
            return replace(incident, assessments={**incident.assessments, counted.source: counted})
        case ev.SafetyGradeConfirmed():
            one = event.confirmation
            # What nobody had decided counts no more as soon as somebody has.
            before = {who: grade for who, grade in incident.confirmed.items() if who or not one.confirmed_by}
            return replace(incident, confirmed={**before, one.confirmed_by: one.grade})
        case ev.SafetyIncidentGraded():
            return replace(incident, grade=event.new_grade)
        case ev.SafetyIncidentMerged():
            return replace(
                incident, state=pb.INCIDENT_STATE_MERGED, merged_into=event.into_incident_id, ended_at=event.ended_at,
                outcome=event.reason,
            )  # fmt: skip
        case ev.SafetyIncidentAbsorbed():
            counts, said = dict(incident.assessments), dict(incident.confirmed)
            for counted in event.assessments:
                counts[counted.source] = graver(counts.get(counted.source), counted)
            for one in event.confirmations:
                said[one.confirmed_by] = max(said.get(one.confirmed_by, one.grade), one.grade)
            absorbed = (*incident.absorbed, event.from_incident_id)
            return replace(incident, absorbed=absorbed, assessments=counts, confirmed=said)
        case ev.SafetyIncidentClosed():
            return replace(incident, state=pb.INCIDENT_STATE_CLOSED, ended_at=event.ended_at, outcome=event.outcome)
        case ev.FalseAlarmFound():
            return replace(incident, false_alarm=True)
        case ev.JointCommandCalled():
            return replace(incident, called=event)
        case ev.StandDownOrdered():
            return replace(incident, stood_down=True)
        case ev.AfterActionRecorded():
            return replace(incident, after_action=event.report)
    return incident


def graver(one: pb.Assessment | None, other: pb.Assessment) -> pb.Assessment:
    """Of two counts of one source for what turned out to be one incident, the higher of each number."""
    if one is None:
        return other
    return pb.Assessment(
        source=other.source, dead=max(one.dead, other.dead), badly_hurt=max(one.badly_hurt, other.badly_hurt),
        loss_yuan=max(one.loss_yuan, other.loss_yuan),
    )  # fmt: skip


def district_of(incident: Incident) -> str:
    """The district that it belongs to; empty: it is not known."""
    return incident.opened.district_id if incident.opened is not None else ""


def own_signals(incident: Incident) -> list[pb.Signal]:
    """Its reports, without those that were split off, in the order in which they came."""
    return [signal for signal_id, signal in incident.signals.items() if signal_id not in incident.split]


def floor(incident: Incident) -> pb.Grade:
    """The gravest grade that a person has confirmed; unspecified: nobody has."""
    return max(incident.confirmed.values(), default=pb.GRADE_UNSPECIFIED)


def existing(incident: Incident, incident_id: str) -> Incident:
    """The incident, or NotFound."""
    if incident.opened is None:
        raise NotFound(f"there is no incident {incident_id}: its id is in the answer to a report", "NO_SUCH_INCIDENT")
    return incident


def unmerged(incident: Incident, incident_id: str) -> Incident:
    """The incident, or NotFound; Refused where it is one with another."""
    if existing(incident, incident_id).state == pb.INCIDENT_STATE_MERGED:
        raise Refused(f"incident {incident_id} is one with {incident.merged_into}: name that", "INCIDENT_MERGED")
    return incident


def still_open(incident: Incident, incident_id: str) -> Incident:
    """The incident, or NotFound; Refused where it is closed or one with another."""
    if unmerged(incident, incident_id).state == pb.INCIDENT_STATE_CLOSED:
        raise Refused(f"incident {incident_id} is closed: {incident.outcome}", "INCIDENT_CLOSED")
    return incident


# -- reports ----------------------------------------------------------------------------------------------------------------


def check_somewhere(request: pb.ReportSignalRequest, lengths_m: Mapping[str, float]) -> None:
    """BadRequest where a report says nowhere where it is, or names a place beyond the end of its road."""
    if not request.HasField("place") and not request.HasField("position"):
        raise BadRequest([("place", "is missing, and so is position: say where it is, by a road or in WGS 84")])
    if problem := beyond_the_end(lengths_m, request.place.edge_id, request.place.position_m):
        raise BadRequest([("place.position_m", problem)])


def receive(
    incident: Incident, incident_id: str, signal: pb.Signal, district_id: str, now: Timestamp, split_from: str = ""
) -> list[Message]:
    """Takes a report in, once; the first one opens the incident. Refused where it is closed or one with another."""
    if signal.signal_id in incident.signals:
        return []
    opened: list[Message] = []
    if incident.opened is None:
        opened = [
            ev.SafetyIncidentOpened(
                incident_id=incident_id, kind=signal.kind, opened_at=now, district_id=district_id, split_from_id=split_from
            )
        ]
        incident = reduce(evolve, opened, incident)
    still_open(incident, incident_id)
    return [*opened, ev.SignalReceived(incident_id=incident_id, signal=signal, district_id=district_of(incident))]


def split_off(incident: Incident, signal_id: str, to_incident_id: str, request: pb.SplitSignalRequest) -> list[Message]:
    """Takes a report out, once. Refused where nothing would be left."""
    if signal_id in incident.split:
        return []
    if incident.opened is None or signal_id not in incident.signals:
        raise NotFound(f"no report {signal_id} is in incident {request.incident_id}: GetIncident has them", "NO_SUCH_SIGNAL")
    # What was merged has its other reports in the other incident.
    if len(own_signals(incident)) == 1 and not incident.merged_into and not incident.absorbed:
        raise Refused(f"{signal_id} is the only report of {request.incident_id}: there is nothing to split", "ONLY_SIGNAL")
    return [
        ev.SignalSplitOff(
            incident_id=incident.opened.incident_id, signal_id=signal_id, to_incident_id=to_incident_id, reason=request.reason,
            district_id=district_of(incident),
        )
    ]  # fmt: skip


# -- how grave it is --------------------------------------------------------------------------------------------------------


def assess(incident: Incident, request: pb.AssessIncidentRequest) -> list[Message]:
    """Records what a source counts, also after the end: who is badly hurt may die later. Refused where it was merged."""
    unmerged(incident, request.incident_id)
    counted = pb.Assessment(
        source=request.source, dead=request.dead, badly_hurt=request.badly_hurt, loss_yuan=request.loss_yuan
    )
    if incident.assessments.get(request.source) == counted:
        return []
    assessed = ev.SafetyIncidentAssessed(incident_id=request.incident_id, assessment=counted, district_id=district_of(incident))
    who = pb.SignalSource.Name(request.source).removeprefix("SIGNAL_SOURCE_") if request.source else "a person"
    why = f"{who} counts {request.dead} dead, {request.badly_hurt} badly hurt, {request.loss_yuan} yuan"
    return _graded(incident, assessed, why)


def confirm(incident: Incident, request: pb.ConfirmGradeRequest, by: str) -> list[Message]:
    """Records the grade that a person confirms. Refused below the numbers, and below what another person has confirmed.

    `by`: empty where nobody decided in time. That binds nobody.
    """
    unmerged(incident, request.incident_id)
    if incident.confirmed.get(by) == request.grade == incident.grade:
        return []
    numbers = grading.gravest(incident.assessments.values())
    if request.grade < numbers:
        problem = (
            f"the numbers give {grading.NAMES[numbers]}: correct them with AssessIncident, or confirm that or a graver one"
        )
        raise Refused(problem, "BELOW_NUMBERS")
    for other, grade in incident.confirmed.items():
        if other and other != by and grade > request.grade:
            problem = f"{other} has confirmed {grading.NAMES[grade]}: only they can confirm less"
            raise Refused(problem, "BELOW_CONFIRMED")
    confirmed = ev.SafetyGradeConfirmed(
        incident_id=request.incident_id, confirmation=pb.Confirmation(confirmed_by=by, grade=request.grade),
        reason=request.reason, district_id=district_of(incident),
    )  # fmt: skip
    return _graded(incident, confirmed, request.reason)


def _graded(incident: Incident, event: Message, why: str) -> list[Message]:
    """The event, and the change of grade that it brings: the gravest of numbers and confirmations.

    Where the new grade asks for it, joint command is called.
    """
    after = evolve(incident, event)
    assert after.opened is not None
    grade = max(grading.gravest(after.assessments.values()), floor(after))
    if grade == incident.grade:
        return [event]
    graded = ev.SafetyIncidentGraded(
        incident_id=after.opened.incident_id, old_grade=incident.grade, new_grade=grade, colour=grading.COLOURS[grade], why=why,
        district_id=district_of(after), joint_command=after.called is not None,
    )  # fmt: skip
    if after.state != pb.INCIDENT_STATE_OPEN or after.called or not grading.needs_joint_command(after.opened.kind, grade):
        return [event, graded]
    return [event, graded, call(evolve(after, graded), f"{grading.NAMES[grade]}: {why}")]


def call(incident: Incident, why: str, place: RoadPlace | None = None, by: str = "") -> ev.JointCommandCalled:
    """Calls joint command. `place`: where departments go, if not where the incident is. `by`: who calls; empty: the rule."""
    assert incident.opened is not None
    return ev.JointCommandCalled(
        incident_id=incident.opened.incident_id, kind=incident.opened.kind, grade=incident.grade,
        place=incident.place if place is None else place, why=why, called_by=by, district_id=district_of(incident),
    )  # fmt: skip


# -- its end ----------------------------------------------------------------------------------------------------------------


def merge(incident: Incident, into: Incident, request: pb.MergeIncidentsRequest, now: Timestamp) -> list[Message]:
    """Ends the younger of two incidents that are one, once. Refused where it has ended otherwise."""
    assert incident.opened is not None and into.opened is not None
    incident_id, into_id = incident.opened.incident_id, into.opened.incident_id
    if incident.merged_into == into_id:
        return []
    still_open(incident, incident_id)
    return [
        ev.SafetyIncidentMerged(
            incident_id=incident_id, into_incident_id=into_id, reason=request.reason, district_id=district_of(incident),
            ended_at=now, joint_command=incident.called is not None,
        )
    ]  # fmt: skip


def absorb(incident: Incident, younger: Incident) -> list[Message]:
    """Takes over what was counted and confirmed for a younger incident that is one with this one, once.

    Never refused: the younger one has ended for it. Where departments act together on the younger one, they do so on this one.
    """
    assert incident.opened is not None and younger.opened is not None
    younger_id = younger.opened.incident_id
    if younger_id in incident.absorbed:
        return []
    absorbed = ev.SafetyIncidentAbsorbed(
        incident_id=incident.opened.incident_id, from_incident_id=younger_id, assessments=younger.assessments.values(),
        confirmations=[pb.Confirmation(confirmed_by=who, grade=grade) for who, grade in younger.confirmed.items()],
        district_id=district_of(incident),
    )  # fmt: skip
    why = f"it is one with {younger_id}"
    decided = _graded(incident, absorbed, why)
    after = reduce(evolve, decided, incident)
    if younger.called is None or after.called is not None or after.state != pb.INCIDENT_STATE_OPEN:
        return decided
    return [*decided, call(after, f"{why}, on which departments act together", None if after.place else younger.called.place)]


def is_older(one: Incident, other: Incident) -> bool:
    """Whether an incident was opened before another; of two at one moment, the lower id is the older."""
    assert one.opened is not None and other.opened is not None
    ages = [(each.opened_at.ToMicroseconds(), each.incident_id) for each in (one.opened, other.opened)]
    return ages[0] < ages[1]


def close(incident: Incident, request: pb.CloseIncidentRequest, now: Timestamp) -> list[Message]:
    """Closes the incident, once. Refused where it is one with another."""
    if unmerged(incident, request.incident_id).state == pb.INCIDENT_STATE_CLOSED:
        return []
    district_id, called = district_of(incident), incident.called is not None
    closed = ev.SafetyIncidentClosed(
        incident_id=request.incident_id, outcome=request.outcome, district_id=district_id, ended_at=now, joint_command=called
    )
    if not request.false_alarm:
        return [closed]
    found = ev.FalseAlarmFound(
        incident_id=request.incident_id, reason=request.outcome, district_id=district_id, joint_command=called
    )
    return [found, closed]


def show(incident: Incident) -> pb.Incident:
    """The incident as callers see it."""
    opened = incident.opened
    assert opened is not None
    return pb.Incident(
        incident_id=opened.incident_id, state=incident.state, kind=opened.kind, place=incident.place,
        position=incident.position, district_id=opened.district_id, opened_at=opened.opened_at, ended_at=incident.ended_at,
        grade=incident.grade, colour=grading.COLOURS[incident.grade], confirmed_grade=floor(incident),
        signals=len(own_signals(incident)), outcome=incident.outcome, merged_into_id=incident.merged_into,
        split_from_id=opened.split_from_id, joint_command=incident.called is not None, false_alarm=incident.false_alarm,
    )  # fmt: skip
