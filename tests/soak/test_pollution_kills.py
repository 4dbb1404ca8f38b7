"""The mesh is killed at every step after a sanction for pollution, and at every undo of an appeal that was won."""

from __future__ import annotations

from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.credit.v1 import events_pb2 as credited
from citybrain.environment.v1 import environment_service_pb2 as environment
from citybrain.environment.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as sagas

from citybrain.local.child import MeshChild
from citybrain.sagas.engine.definition import Step
from citybrain.sagas.workflows.pollution_sanction import POLLUTION_SANCTION
from tests.faults.test_pollution_kills import AFTERWARDS, to_the_sanction
from tests.helpers.killer import KillAtEachStep
from tests.helpers.paper_bureau import PaperBureau

UNDONE = {f"undo {leaf.name}" for leaf in POLLUTION_SANCTION.leaves() if isinstance(leaf, Step) and leaf.undo is not None}


def test_killed_at_every_step_after_the_sanction_what_was_corrected_is_repaired_and_the_case_closed(
    mesh: MeshChild, bureau: PaperBureau
) -> None:
    saga_id = bureau.pollute()
    to_the_sanction(bureau, saga_id)
    bureau.stands_at(saga_id, "appealed")
    killer = KillAtEachStep(mesh, bureau, saga_id)
    bureau.correct(saga_id)
    bureau.clear_up()
    bureau.stands_at(saga_id, "let_lorries_in", "done")
    bureau.stands_at(saga_id, "repair_record", "done")
    bureau.nearly_late(saga_id, "appealed")
    bureau.until(lambda: bureau.ended(saga_id))
    assert bureau.saga(saga_id).state == sagas.SAGA_STATE_COMPLETED
    assert killer.killed_at(AFTERWARDS) >= AFTERWARDS
    assert bureau.decision() == credit.CREDIT_DECISION_CLEAR
    assert bureau.without_lorries() == []
    assert bureau.source_state() == environment.SOURCE_STATE_CORRECTED
    put_right = (ev.CorrectionAccepted, ev.MeasuresLifted, credited.RecordRepaired, ev.CaseClosed)
    assert bureau.happened(*put_right) == {kind.DESCRIPTOR.name: 1 for kind in put_right}


def test_killed_at_every_undo_an_appeal_that_is_won_takes_everything_back_once(mesh: MeshChild, bureau: PaperBureau) -> None:
    saga_id = bureau.pollute()
    to_the_sanction(bureau, saga_id)
    bureau.stands_at(saga_id, "appealed")
    bureau.advance(60)
    killer = KillAtEachStep(mesh, bureau, saga_id)
    bureau.win_appeal(saga_id)
    bureau.until(lambda: bureau.ended(saga_id))
    assert bureau.saga(saga_id).state == sagas.SAGA_STATE_UNDONE
    assert killer.killed_at(UNDONE) >= UNDONE
    assert bureau.decision() == credit.CREDIT_DECISION_CLEAR
    assert bureau.without_lorries() == []
    assert bureau.source_state() == environment.SOURCE_STATE_OPERATING
    taken_back = (credited.SanctionRevoked, ev.DecisionRevoked, ev.MeasuresLifted, ev.CaseWithdrawn)
    assert bureau.happened(*taken_back) == {kind.DESCRIPTOR.name: 1 for kind in taken_back}
