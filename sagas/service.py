"""The cross-department workflows as a service: it hears what starts and moves them, and shows where they stand."""

from __future__ import annotations

from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import is_between, timestamp
from citybrain.mesh.service import Caller, Heard, Paging, Service, View, WaitsForPeople, rpc, subscribe
from citybrain.sagas import listing
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.moving import Moving
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.engine.state import SagaState
from citybrain.sagas.workflows import published, retired

WORKFLOWS = published()
HEARD: tuple[type[Message], ...] = tuple({event: None for workflow in WORKFLOWS for event in workflow.hears})
_STATES = {
    "running": pb.SAGA_STATE_RUNNING,
    "undoing": pb.SAGA_STATE_UNDOING,
    "needs human": pb.SAGA_STATE_NEEDS_HUMAN,
    "completed": pb.SAGA_STATE_COMPLETED,
    "undone": pb.SAGA_STATE_UNDONE,
    "unknown": pb.SAGA_STATE_UNKNOWN,
}
_UNDO_STATUS = {"sent": "undoing", "pausing": "undoing", "done": "undone", "failed": "undo failed", "skipped": "undo skipped"}


class SagaService(Service):
    """Runs and shows sagas."""

    name = "sagas"
    runner = SagaRunner(WORKFLOWS, retired())
    moving = Moving(WORKFLOWS)
    sagas = View(listing.EVENTS, listing.key, listing.apply, row=listing.SagaRow)
    waiting = WaitsForPeople(listing.EVENTS, listing.key, listing.waits)
    paging = Paging()
    caller = Caller()

    @subscribe(*HEARD)
    def hear(self, event: Heard) -> None:
        """Starts a saga, or moves one on."""
        self.runner.hear(event)

    @rpc
    def GetSaga(self, request: pb.GetSagaRequest) -> pb.GetSagaResponse:
        """One saga, step by step."""
        return pb.GetSagaResponse(saga=self._show(self.runner.load(request.saga_id)))

    @rpc
    def ListSagas(self, request: pb.ListSagasRequest) -> pb.ListSagasResponse:
        """Newest first, in pages; those that are asked for."""
        rows = [row for _, row in self.sagas.scan() if _is_asked_for(row, request)]
        page, more = self.paging.page(request, rows, listing.age, newest_first=True)
        return pb.ListSagasResponse(sagas=[self._show(self.runner.load(row.saga_id)) for row in page], next_page_token=more)

    @rpc
    def ResumeSaga(self, request: pb.ResumeSagaRequest) -> pb.ResumeSagaResponse:
        """Goes on with one that needs a human."""
        self._require_district(request.saga_id)
        return pb.ResumeSagaResponse(saga=self._show(self.runner.resume(request.saga_id)))

    @rpc
    def SkipStep(self, request: pb.SkipStepRequest) -> pb.SkipStepResponse:
        """A person has it go on without a step."""
        self._require_district(request.saga_id)
        by = self.caller.name
        decided = self.runner.decide(request.saga_id, lambda state: persons.skip(state, request.step, request.reason, by))
        return pb.SkipStepResponse(saga=self._show(decided))

    @rpc
    def FailStep(self, request: pb.FailStepRequest) -> pb.FailStepResponse:
        """A person gives a step up; all is undone."""
        self._require_district(request.saga_id)
        by = self.caller.name
        decided = self.runner.decide(request.saga_id, lambda state: persons.fail(state, request.step, request.reason, by))
        return pb.FailStepResponse(saga=self._show(decided))

    def _show(self, state: SagaState) -> pb.Saga:
        workflow = self.runner.workflow(state)
        # Of a workflow that this release has not, what was begun is known.
        leaves = list(state.steps) if workflow is None else [leaf.name for leaf in workflow.leaves()]
        steps = []
        for name in leaves:
            step = state.steps.get(name)
            if step is None:
                steps.append(pb.SagaStep(name=name, status="not begun"))
                continue
            status = _UNDO_STATUS.get(step.undo, step.status)
            steps.append(pb.SagaStep(name=name, status=status, reason=step.reason, changed_at=timestamp(step.changed_at)))
        return pb.Saga(
            saga_id=state.saga_id,
            workflow=state.workflow,
            workflow_version=state.workflow_version,
            state=_STATES[state.phase],
            correlation_id=state.saga_id,
            steps=steps,
            started_at=timestamp(state.started_at),
            reason=state.reason,
            district_id=listing.district_of(state.input),
        )

    def _require_district(self, saga_id: str) -> None:
        """Forbidden: the caller is bound to another district than that of the saga."""
        self.caller.require_district(listing.district_of(self.runner.load(saga_id).input))


def _is_asked_for(row: listing.SagaRow, request: pb.ListSagasRequest) -> bool:
    return (
        (not request.states or _STATES[row.state] in request.states)
        and (not request.district_id or row.district == request.district_id)
        and is_between(row.started_at, request.started_from, request.started_before)
    )
