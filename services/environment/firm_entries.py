"""Which events are about a firm, and what its record says of them. Pure."""

from __future__ import annotations

from typing import Any

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

EVENTS = (
    ev.SourceAdmitted,
    ev.SourceClosed,
    ev.InspectionReported,
    ev.DecisionRecorded,
    ev.DecisionRevoked,
    ev.CorrectionAccepted,
)
"""Those that name their firm. An exceedance names its stations; whose stack that is the register knows."""


def entry_of(event: Message, at: Timestamp) -> pb.FirmEntry:
    """What the record of the firm says of an event."""
    data: Any = event
    match event:
        case ev.SourceAdmitted():
            kg = sum(one.kg_a_year for one in event.source.permit.pollutants)
            text = f"{event.source.name}, permit {event.source.permit.number}"
            kind, about = pb.FIRM_ENTRY_KIND_SOURCE_ADMITTED, event.source.source_id
            return pb.FirmEntry(at=at, kind=kind, about=about, text=text, kg_a_year=kg)
        case ev.SourceClosed():
            return pb.FirmEntry(at=at, kind=pb.FIRM_ENTRY_KIND_SOURCE_CLOSED, about=event.source_id, text=event.reason)
        case ev.InspectionReported():
            kind = pb.FIRM_ENTRY_KIND_FOUND if event.found else pb.FIRM_ENTRY_KIND_CLEAN
            return pb.FirmEntry(at=event.reported_at, kind=kind, about=event.inspection_id, text=event.finding)
        case ev.DecisionRecorded():
            text = f"{event.decision.law}: {event.decision.text}"
            return pb.FirmEntry(at=at, kind=pb.FIRM_ENTRY_KIND_DECIDED, about=event.case_id, text=text)
        case ev.DecisionRevoked():
            return pb.FirmEntry(at=at, kind=pb.FIRM_ENTRY_KIND_REVOKED, about=event.case_id, text=event.reason)
    kind = pb.FIRM_ENTRY_KIND_NOT_CORRECTED if data.rejected else pb.FIRM_ENTRY_KIND_CORRECTED
    return pb.FirmEntry(at=at, kind=kind, about=data.case_id, text=data.finding)


def exceeded(exceedance: pb.Exceedance, at: Timestamp, *, retracted: bool) -> pb.FirmEntry:
    """What the record says of an exceedance of the permit."""
    kind = pb.FIRM_ENTRY_KIND_EXCEEDANCE_RETRACTED if retracted else pb.FIRM_ENTRY_KIND_EXCEEDED
    text = f"{exceedance.value:g} over a limit of {exceedance.limit:g} ({exceedance.standard})"
    return pb.FirmEntry(at=at, kind=kind, about=exceedance.exceedance_id, text=text)
