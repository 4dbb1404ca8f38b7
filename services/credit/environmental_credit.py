"""A firm's environmental credit (企业环境信用) as a record of its credit. Pure.

The four grades are those of 企业环境信用评价办法（试行）(环发〔2013〕150 号). A grade holds until the next one, for a
year at most. What each weighs is a proposal of this project.
"""

from __future__ import annotations

from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from citybrain.environment.v1 import environment_service_pb2 as environment
from citybrain.environment.v1.events_pb2 import EnvironmentalCreditChanged
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.credit.domain import DAY_S, Subject, district_of, ended_as

SOURCE = "environmental credit 企业环境信用"
LAW = "企业环境信用评价办法（试行）, 环发〔2013〕150 号"
HOLDS_S = 365 * DAY_S

RECORDED = {
    environment.ENVIRONMENTAL_CREDIT_TRUSTED: (pb.RECORD_KIND_GOOD, pb.RECORD_WEIGHT_COMMON),
    environment.ENVIRONMENTAL_CREDIT_WARNED: (pb.RECORD_KIND_BAD, pb.RECORD_WEIGHT_COMMON),
    environment.ENVIRONMENTAL_CREDIT_BAD: (pb.RECORD_KIND_BAD, pb.RECORD_WEIGHT_SERIOUS),
}
"""What is recorded of each grade. One that is good, and no more, is no record."""


def is_new(event: Message) -> bool:
    """Whether the grade has changed, and not the risk alone."""
    return isinstance(event, EnvironmentalCreditChanged) and event.old_credit != event.new_credit


def graded(
    subject: Subject, record_id: str, changed: EnvironmentalCreditChanged, case_id: str, now: Timestamp
) -> list[Message]:
    """Records a grade, once, in place of the one before. `case_id`: of the change."""
    if (SOURCE, case_id) in subject.cases:
        return []
    events: list[Message] = []
    district_id = district_of(subject)
    for one in subject.records.values():
        if one.source == SOURCE and one.state == pb.RECORD_STATE_STANDING:
            over = ended_as(one, pb.RECORD_STATE_REPLACED, f"changed by {changed.because}", now)
            events.append(ev.RecordReplaced(subject_id=changed.firm_id, record=over, district_id=district_id))
    if changed.new_credit in RECORDED:
        kind, weight = RECORDED[changed.new_credit]
        record = pb.Record(
            record_id=record_id, kind=kind, dimension=pb.CREDIT_DIMENSION_LAW_ABIDING, weight=weight, source=SOURCE, law=LAW,
            case_id=case_id, since=now, until=timestamp(microseconds(now) + HOLDS_S * 1_000_000), recorded_at=now,
            state=pb.RECORD_STATE_STANDING,
        )  # fmt: skip
        added = ev.RecordAdded(
            subject_id=changed.firm_id, kind=pb.SUBJECT_KIND_FIRM, record=record, district_id=district_id
        )  # fmt: skip
        events.append(added)
    return events
