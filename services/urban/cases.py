"""A case of enforcement (执法案件): its evidence, and how it is decided. Pure.

A case is decided within 90 days of its opening: Law on Administrative Penalties (行政处罚法, 2021), article 60. The 90th day is
in time. It is decided on evidence only (article 40). Where a decision is sent back, the 90 days are counted anew: that is a
proposal of this project.
"""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.urban import nearby

DAYS = 90
DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class State:
    """A case as its events tell it."""

    case: pb.Case | None = None


def evolve(state: State, event: Message) -> State:
    """The case after an event."""
    if isinstance(event, ev.CaseOpened):
        made = pb.Case(
            case_id=event.case_id, matter=event.matter, team=event.team, position=event.position,
            district_id=event.district_id, state=pb.CASE_STATE_OPEN, opened_at=event.opened_at, deadline=event.deadline,
            party_id=event.party_id,
        )  # fmt: skip
        if event.HasField("party"):
            made.party.CopyFrom(event.party)
        return State(made)
    if state.case is None:
        return state
    after = pb.Case()
    after.CopyFrom(state.case)
    match event:
        case ev.EvidenceAdded():
            after.evidence.append(event.evidence)
        case ev.CaseDecided():
            after.state, after.decision, after.fine_fen = pb.CASE_STATE_DECIDED, event.decision, event.fine_fen
            after.ended_at.CopyFrom(event.decided_at)
        case ev.CaseReopened():
            after.state, after.decision, after.fine_fen = pb.CASE_STATE_OPEN, "", 0
            after.reopened += 1
            after.ClearField("ended_at")
            after.deadline.CopyFrom(event.new_deadline)
        case ev.CaseWithdrawn():
            after.state, after.decision = pb.CASE_STATE_WITHDRAWN, event.reason
            after.fine_fen = 0
            after.ended_at.CopyFrom(event.withdrawn_at)
    return State(after)


def district_of(state: State) -> str:
    """Where it is."""
    return state.case.district_id if state.case is not None else ""


def existing(state: State, case_id: str) -> pb.Case:
    """The case, or NotFound."""
    if state.case is None:
        raise NotFound(f"there is no case {case_id}: OpenCase answers with its id", "NO_SUCH_CASE")
    return state.case


def open_case(state: State, case_id: str, request: pb.OpenCaseRequest, party_id: str, now: Timestamp) -> list[Message]:
    """Opens it, once."""
    if state.case is not None:
        return []
    nearby.check(request.position, "position")
    made = ev.CaseOpened(
        case_id=case_id, matter=request.matter, team=request.team, position=request.position,
        district_id=request.district_id, opened_at=now, deadline=timestamp(microseconds(now) + DAYS * DAY), party_id=party_id,
    )  # fmt: skip
    if request.HasField("party"):
        made.party.CopyFrom(request.party)
    return [made]


def add(state: State, request: pb.AddEvidenceRequest, now: int) -> list[Message]:
    """Adds evidence, while the case is open."""
    case = existing(state, request.case_id)
    if request.evidence.digest in (one.digest for one in case.evidence):
        return []
    if case.state != pb.CASE_STATE_OPEN:
        raise Refused(f"case {case.case_id} has ended: evidence after that belongs to an appeal", "CASE_ENDED")
    if microseconds(request.evidence.taken_at) > now:
        raise BadRequest([("evidence.taken_at", "is in the future: set the clock of the camera")])
    return [ev.EvidenceAdded(case_id=case.case_id, evidence=request.evidence, district_id=case.district_id)]


def decide(state: State, request: pb.DecideCaseRequest, now: Timestamp) -> list[Message]:
    """Decides it on its evidence, or withdraws it, also after the decision."""
    case = existing(state, request.case_id)
    if case.state == pb.CASE_STATE_WITHDRAWN:
        raise Refused(f"case {case.case_id} is withdrawn: open another one", "CASE_ENDED")
    if request.withdrawn:
        decided = case.state == pb.CASE_STATE_DECIDED
        withdrawn = ev.CaseWithdrawn(
            case_id=case.case_id, team=case.team, reason=request.decision, district_id=case.district_id, was_decided=decided,
            withdrawn_at=now, opened_at=case.opened_at, deadline=case.deadline,
        )  # fmt: skip
        if decided:
            withdrawn.decided_at.CopyFrom(case.ended_at)
        return [withdrawn]
    if case.state == pb.CASE_STATE_DECIDED:
        raise Refused(f"case {case.case_id} is decided: withdraw it where the decision was overturned", "CASE_ENDED")
    if not case.evidence:
        raise Refused(f"case {case.case_id} has no evidence: add it first, or withdraw the case", "NO_EVIDENCE")
    return [
        ev.CaseDecided(
            case_id=case.case_id, team=case.team, decision=request.decision, fine_fen=request.fine_fen,
            district_id=case.district_id, opened_at=case.opened_at, decided_at=now, deadline=case.deadline,
        )
    ]  # fmt: skip


def reopen(state: State, request: pb.ReopenCaseRequest, now: Timestamp) -> list[Message]:
    """A decision was set aside and sent back: it is to be decided anew."""
    case = existing(state, request.case_id)
    if case.state != pb.CASE_STATE_DECIDED:
        raise Refused(f"case {case.case_id} is not decided: only a decision can be sent back", "NOT_DECIDED")
    return [
        ev.CaseReopened(
            case_id=case.case_id, team=case.team, reason=request.reason, district_id=case.district_id,
            opened_at=case.opened_at, decided_at=case.ended_at, deadline=case.deadline, reopened_at=now,
            new_deadline=timestamp(microseconds(now) + DAYS * DAY),
        )
    ]  # fmt: skip
