"""An inspection: ordered, withdrawn, reported. Pure. An undo that overtakes its order bars it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.services.environment import places


@dataclass(frozen=True, slots=True)
class Work:
    """An inspection as it was ordered, and what was found."""

    ordered: pb.Inspection | None = None
    firm_id: str = ""
    withdrawn: bool = False
    reported: ev.InspectionReported | None = None


def evolve(work: Work, event: Message) -> Work:
    """The inspection after an event."""
    match event:
        case ev.InspectionOrdered():
            return replace(work, ordered=event.inspection, firm_id=event.firm_id)
        case ev.InspectionWithdrawn():
            return replace(work, withdrawn=True)
        case ev.InspectionReported():
            return replace(work, reported=event)
    return work


def district_of(work: Work) -> str:
    """The district that inspects; empty: it is not known."""
    return work.ordered.district_id if work.ordered is not None else ""


def existing(work: Work, inspection_id: str) -> pb.Inspection:
    """The inspection as it was ordered, or NotFound."""
    if work.ordered is None:
        raise NotFound(f"there is no inspection {inspection_id}: OrderInspection orders one", "NO_SUCH_INSPECTION")
    return work.ordered


def show(work: Work) -> pb.Inspection:
    """An inspection as callers see it."""
    shown = pb.Inspection(state=pb.INSPECTION_STATE_ORDERED)
    if work.ordered is not None:
        shown.MergeFrom(work.ordered)
    if work.reported is not None:
        one = work.reported
        told = pb.Inspection(
            state=pb.INSPECTION_STATE_REPORTED, found=one.found, finding=one.finding, reported_by=one.reported_by,
            reported_at=one.reported_at,
        )  # fmt: skip
        shown.MergeFrom(told)
    elif work.withdrawn:
        shown.MergeFrom(pb.Inspection(state=pb.INSPECTION_STATE_WITHDRAWN))
    return shown


def asked(request: pb.OrderInspectionRequest, source: pb.Source | None) -> pb.Inspection:
    """What is ordered. BadRequest: nobody says where."""
    wrong = []
    place = request.place if request.HasField("place") else source.place if source is not None else None
    district_id = request.district_id or (source.district_id if source is not None else "")
    if place is None:
        wrong.append(("place", "is missing, and so is source_id: say what is inspected"))
    elif problem := places.problem(place):
        wrong.append(("place", problem))
    if not district_id:
        wrong.append(("district_id", "is missing, and so is source_id: say which district inspects"))
    if wrong:
        raise BadRequest(wrong)
    return pb.Inspection(
        inspection_id=request.inspection_id, exceedance_id=request.exceedance_id, source_id=request.source_id, place=place,
        district_id=district_id, reason=request.reason, due_at=request.due_at,
    )  # fmt: skip


def order(work: Work, inspection: pb.Inspection, firm_id: str) -> list[Message]:
    """Orders an inspection, once. Refused: it was withdrawn, perhaps before it came."""
    key = inspection.inspection_id
    if work.withdrawn:
        raise Refused(f"inspection {key} was withdrawn: another one has another id", "INSPECTION_WITHDRAWN")
    if work.ordered is not None:
        if work.ordered != inspection:
            raise AlreadyDifferent(f"inspection {key} was ordered already, with other content", "OTHER_INSPECTION")
        return []
    return [ev.InspectionOrdered(inspection=inspection, district_id=inspection.district_id, firm_id=firm_id)]


def withdraw(work: Work, request: pb.WithdrawInspectionRequest) -> list[Message]:
    """Undoes the order, or bars the one that may still come. One that was reported stays."""
    if work.withdrawn or work.reported is not None:
        return []
    return [
        ev.InspectionWithdrawn(
            inspection_id=request.inspection_id, reason=request.reason, district_id=district_of(work), firm_id=work.firm_id
        )
    ]  # fmt: skip


def report(work: Work, request: pb.ReportInspectionRequest, by: str, now: Timestamp) -> list[Message]:
    """Keeps what was found, once."""
    ordered = existing(work, request.inspection_id)
    if work.withdrawn:
        raise Refused(f"inspection {request.inspection_id} was withdrawn: nobody asks for it", "INSPECTION_WITHDRAWN")
    if work.reported is not None:
        if (work.reported.found, work.reported.finding) != (request.found, request.finding):
            raise AlreadyDifferent(f"inspection {request.inspection_id} was reported already, otherwise", "OTHER_REPORT")
        return []
    return [
        ev.InspectionReported(
            inspection_id=request.inspection_id, found=request.found, finding=request.finding, reported_by=by, reported_at=now,
            source_id=ordered.source_id, exceedance_id=ordered.exceedance_id, district_id=ordered.district_id,
            firm_id=work.firm_id,
        )
    ]  # fmt: skip
