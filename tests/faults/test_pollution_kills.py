"""The mesh is killed at every step from a source of pollution to its sanction."""

from __future__ import annotations

from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.credit.v1 import events_pb2 as credited
from citybrain.environment.v1 import environment_service_pb2 as environment
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.local.child import MeshChild
from citybrain.sagas.workflows.pollution_sanction import POLLUTION_SANCTION
from tests.helpers.killer import KillAtEachStep
from tests.helpers.paper_bureau import ROADS, PaperBureau

# What is on no way of these stories: nobody is asked twice, the case is not dismissed, no appeal is lost.
ELSEWHERE = {"send_city_team", "case_by_hand", "lift_dismissed", "appeal_decided"}
STEPS = {leaf.name for leaf in POLLUTION_SANCTION.leaves()} - ELSEWHERE
AFTERWARDS = {"end_advice", "let_lorries_in", "lift_measures", "repair_record", "close_case"}
ONCE = (
    ev.InspectionOrdered, ev.CaseOpened, ev.MeasuresOrdered, ev.DecisionRecorded, ev.CorrectionOrdered,
    credited.SanctionImposed,
)  # fmt: skip


def test_killed_at_every_step_a_source_comes_to_its_sanction_as_if_nothing_had_been(
    mesh: MeshChild, bureau: PaperBureau
) -> None:
    saga_id = bureau.pollute()
    killer = KillAtEachStep(mesh, bureau, saga_id)
    to_the_sanction(bureau, saga_id)
    bureau.stands_at(saga_id, "appealed")
    assert killer.killed_at(STEPS - AFTERWARDS) == STEPS - AFTERWARDS
    assert bureau.decision() == credit.CREDIT_DECISION_RESTRICTED
    assert bureau.without_lorries() == ROADS
    assert bureau.source_state() == environment.SOURCE_STATE_STOPPED
    assert bureau.happened(*ONCE) == {kind.DESCRIPTOR.name: 1 for kind in ONCE}


def to_the_sanction(bureau: PaperBureau, saga_id: str) -> None:
    """It is traced, inspected, the firm is heard, and a person decides."""
    bureau.stands_at(saga_id, "seen")
    bureau.inspect(saga_id)
    bureau.answer(saga_id, "hear_firm", "heard")
    bureau.answer(saga_id, "decide", "sanction")
    bureau.stands_at(saga_id, "corrected")
