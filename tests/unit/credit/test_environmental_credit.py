"""A firm's environmental credit as part of its credit: each grade replaces the one before, and is recorded once."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from citybrain.environment.v1 import environment_service_pb2 as environment
from citybrain.environment.v1.events_pb2 import EnvironmentalCreditChanged

from citybrain.mesh.errors import Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running
from citybrain.services.credit import environmental_credit
from citybrain.services.credit.domain import Subject, evolve
from tests.unit.credit.conftest import DAY_S, added, get, register, repaired, withdrawn

TRUSTED, GOOD = environment.ENVIRONMENTAL_CREDIT_TRUSTED, environment.ENVIRONMENTAL_CREDIT_GOOD
WARNED, BAD = environment.ENVIRONMENTAL_CREDIT_WARNED, environment.ENVIRONMENTAL_CREDIT_BAD


def graded(credit: Running, firm_id: str, *grades: Any) -> Any:
    """All of the firm after its grade has changed so."""
    for before, after in zip((GOOD, *grades), grades, strict=False):
        event = EnvironmentalCreditChanged(firm_id=firm_id, old_credit=before, new_credit=after, because="finding i1")
        credit.tell(event)
        credit.rest()
        credit.advance(60)
    return get(credit)


def told(shown: Any) -> list[tuple[Any, Any, Any]]:
    return [(one.kind, one.weight, one.state) for one in shown.records]


@pytest.mark.parametrize(
    ("grade", "recorded"),
    [
        (TRUSTED, [(pb.RECORD_KIND_GOOD, pb.RECORD_WEIGHT_COMMON, pb.RECORD_STATE_STANDING)]),
        (WARNED, [(pb.RECORD_KIND_BAD, pb.RECORD_WEIGHT_COMMON, pb.RECORD_STATE_STANDING)]),
        (BAD, [(pb.RECORD_KIND_BAD, pb.RECORD_WEIGHT_SERIOUS, pb.RECORD_STATE_STANDING)]),
    ],
)
def test_a_grade_is_a_record_for_a_year(credit: Running, grade: Any, recorded: Any) -> None:
    firm_id = register(credit)
    shown = graded(credit, firm_id, grade)
    assert told(shown) == recorded and shown.score.score != shown.score.base
    (record,) = shown.records
    assert record.until.seconds - record.since.seconds == 365 * DAY_S


def test_each_grade_replaces_the_one_before_and_only_that(credit: Running) -> None:
    firm_id = register(credit)
    added(credit, dimension=pb.CREDIT_DIMENSION_SOCIAL)
    credit.advance(60)
    shown = graded(credit, firm_id, WARNED, BAD, GOOD)
    replaced, standing = pb.RECORD_STATE_REPLACED, pb.RECORD_STATE_STANDING
    assert [state for _, _, state in told(shown)] == [standing, replaced, replaced]
    assert len(shown.score.factors) == 1 and shown.records[1].end_reason == "changed by finding i1"
    _, factor = graded(credit, firm_id, WARNED).score.factors
    assert factor.bad_records == 1


def test_where_only_the_risk_has_changed_nothing_is_recorded_and_one_event_is_recorded_once(credit: Running) -> None:
    firm_id = register(credit)
    credit.tell(EnvironmentalCreditChanged(firm_id=firm_id, old_credit=WARNED, new_credit=WARNED))
    credit.rest()
    assert not get(credit).records
    event = EnvironmentalCreditChanged(firm_id=firm_id, old_credit=GOOD, new_credit=WARNED)
    for _ in range(2):
        credit.fire("note_environmental_credit", event, request_id="e-1")
    assert len(credit.events(ev.RecordAdded)) == 1
    now = timestamp(1)
    first = environmental_credit.graded(Subject(), "rec-1", event, "c-1", now)
    known = reduce(evolve, first, Subject())
    assert environmental_credit.graded(known, "rec-2", event, "c-1", now) == []


def test_of_a_firm_that_credit_has_not_met_it_is_recorded_too(credit: Running) -> None:
    credit.tell(EnvironmentalCreditChanged(firm_id="per-0123456789abcdef", old_credit=GOOD, new_credit=BAD))
    credit.rest()
    assert len(get(credit, pb.SubjectRef(subject_id="per-0123456789abcdef")).records) == 1


def test_what_was_replaced_is_not_repaired_and_may_be_withdrawn_without_counting_twice(credit: Running) -> None:
    firm_id = register(credit)
    first = graded(credit, firm_id, WARNED, BAD).records[0].record_id
    with pytest.raises(Refused, match="was replaced by a later one"):
        repaired(credit, first)
    withdrawn(credit, first)
    (factor,) = get(credit).score.factors
    assert factor.bad_records == 1
