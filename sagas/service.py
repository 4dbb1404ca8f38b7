"""The cross-department workflows as a service: it hears what starts and moves them, and shows where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf import json_format
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import message_class, microseconds
from citybrain.mesh.personal.fields import holds_personal
from citybrain.mesh.service import Caller, Clock, Correlated, Heard, Paging, Service, WaitsForPeople, every, rpc, subscribe
from citybrain.sagas import listing
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.definition import Workflow
from citybrain.sagas.engine.exercises import in_exercise, parted
from citybrain.sagas.engine.moving import Moving
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.engine.state import ENDED, SagaState
from citybrain.sagas.happened import place as place_in_log
from citybrain.sagas.happened import told as told_of
from citybrain.sagas.kept import Sagas
from citybrain.sagas.listing import Age, SagaRow, age
from citybrain.sagas.ordered import Wanted
from citybrain.sagas.showing import STATES, in_a_list, shown
from citybrain.sagas.tasks import KINDS_OF_TASKS, Told, place, task_of
from citybrain.sagas.workflows import published, retired

WORKFLOWS = published()
HEARD: tuple[type[Message], ...] = tuple({event: None for workflow in WORKFLOWS for event in workflow.hears})
_NAMES = {number: name for name, number in STATES.items()}
_OPEN = frozenset(STATES) - {*ENDED, "unknown"}
# After so long without a change a saga that is watched is told again.
_HEARTBEAT_S = 15.0
# In one run of the timer; what is more waits for the next one.
_UNLISTED_AT_ONCE = 1000
# Stands for a district that cannot be read: nobody who is bound to a district is bound to this one.
_UNREADABLE = "?"


class SagaService(Service):
    """Runs and shows sagas."""

    name = "sagas"
    runner = SagaRunner(WORKFLOWS, retired())
    moving = Moving(WORKFLOWS)
    sagas = Sagas()
    tasks = WaitsForPeople(listing.WAITING_EVENTS, listing.key, listing.waits, exercises=True)
    happened = Correlated()
    paging = Paging()
    caller = Caller()
    clock = Clock()

    @subscribe(*HEARD, exercises=True)
    def hear(self, event: Heard) -> None:
        """Starts a saga, or moves one on."""
        self.runner.hear(event)

    @every(600)
    def unlist(self) -> None:
        """Takes sagas out of the lists that have ended and stood there long enough."""
        left = 0
        for one in list(self.sagas.over(self.clock.now())):
            left += self.runner.unlist(*one)
            if left == _UNLISTED_AT_ONCE:
                return

    @rpc
    def GetSaga(self, request: pb.GetSagaRequest) -> pb.GetSagaResponse:
        """One saga, step by step."""
        self._require_exercise(request.saga_id)
        return pb.GetSagaResponse(saga=self._show(self.runner.load(request.saga_id)))

    @rpc
    def ListSagas(self, request: pb.ListSagasRequest) -> pb.ListSagasResponse:
        """Newest first, in pages; those that are asked for."""
        wanted = self._wanted(request)
        page, more = self.paging.ordered(request, lambda after: self.sagas.find(wanted, cast("Age | None", after)), age)
        return pb.ListSagasResponse(sagas=map(self._listed, page), next_page_token=more)

    @rpc
    def WatchSaga(self, request: pb.WatchSagaRequest) -> Iterator[pb.WatchSagaResponse]:
        """One saga, again at each change, until it has ended."""
        self._require_exercise(request.saga_id)
        before: pb.Saga | None = None
        with self.sagas.watched(request.saga_id) as news:
            changed = True
            while True:
                news.seen()
                state = self.runner.load(request.saga_id)
                saga = self._show(state)
                if saga != before or not changed:
                    yield pb.WatchSagaResponse(saga=saga)
                if state.phase in ENDED:
                    return
                before, changed = saga, news.wait(_HEARTBEAT_S)

    @rpc
    def ListTasks(self, request: pb.ListTasksRequest) -> pb.ListTasksResponse:
        """What waits for people, the oldest first."""
        kinds = {KINDS_OF_TASKS[kind] for kind in request.kinds}
        districts = self._districts(request.district_id)

        def wanted(after: tuple[int | str, ...] | None) -> Iterator[Told]:
            told = (
                Told(saga_id, task)
                for saga_id, row in self.tasks.scan()
                if row.exercise == request.exercise
                for task in row.tasks
            )
            for one in sorted(told, key=place):
                known = (not kinds or one.task.kind in kinds) and (not request.authority or request.authority in one.task.who)
                saga = self.sagas.one(one.saga_id)
                here = districts is None or (saga is not None and saga.district in districts)
                if known and here and (after is None or place(one) > after):
                    yield one

        page, more = self.paging.ordered(request, wanted, place)
        return pb.ListTasksResponse(tasks=map(self._task, page), next_page_token=more)

    @rpc
    def ListIncidentEvents(self, request: pb.ListIncidentEventsRequest) -> pb.ListIncidentEventsResponse:
        """All that happened for an incident, in order, in pages."""
        events, cut = self.happened.of(request.incident_id)
        page, more = self.paging.page(request, events, place_in_log, default=500)
        return pb.ListIncidentEventsResponse(events=map(told_of, page), next_page_token=more, cut=cut)

    @rpc
    def StartSaga(self, request: pb.StartSagaRequest) -> pb.StartSagaResponse:
        """A person, or another program, starts one."""
        began_with = _given(request)
        self._require_own(began_with)
        return pb.StartSagaResponse(saga=self._show(self.runner.begin(request.workflow, began_with, self.caller.name)))

    @rpc
    def SignalSaga(self, request: pb.SignalSagaRequest) -> pb.SignalSagaResponse:
        """A person tells one what has happened."""
        event, by, now = _given(request), self.caller.name, self.clock.now()
        if listing.district_of(event):
            self._require_own(event)

        def tells(workflow: Workflow, state: SagaState) -> Sequence[Message]:
            return persons.signal(workflow, state, request.signal_id, event, request.reason, by, now)

        return pb.SignalSagaResponse(saga=self._decided_by_definition(request.saga_id, tells))

    @rpc
    def ResumeSaga(self, request: pb.ResumeSagaRequest) -> pb.ResumeSagaResponse:
        """Goes on with one that needs a human."""
        by = self.caller.name
        decided = self._decided(request.saga_id, lambda state: persons.resume(state, request.reason, by))
        return pb.ResumeSagaResponse(saga=self._show(decided))

    @rpc
    def SkipStep(self, request: pb.SkipStepRequest) -> pb.SkipStepResponse:
        """A person has it go on without a step."""
        return pb.SkipStepResponse(saga=self._decided_of_step(request, persons.skip))

    @rpc
    def FailStep(self, request: pb.FailStepRequest) -> pb.FailStepResponse:
        """A person gives a step up; all is undone."""
        return pb.FailStepResponse(saga=self._decided_of_step(request, persons.fail))

    @rpc
    def RetryStep(self, request: pb.RetryStepRequest) -> pb.RetryStepResponse:
        """A person has a step, or its undo, tried again at once."""
        return pb.RetryStepResponse(saga=self._decided_of_step(request, persons.retry))

    @rpc
    def AnswerQuestion(self, request: pb.AnswerQuestionRequest) -> pb.AnswerQuestionResponse:
        """A person of an authority that was asked decides."""
        by = self.caller.name

        def answers(workflow: Workflow, state: SagaState) -> Sequence[Message]:
            return persons.decide(workflow, state, request.question, request.option, request.reason, by, self._acts_for)

        return pb.AnswerQuestionResponse(saga=self._decided_by_definition(request.saga_id, answers))

    @rpc
    def ClearUndo(self, request: pb.ClearUndoRequest) -> pb.ClearUndoResponse:
        """A person of the authority lets a step be undone that protects life."""
        by = self.caller.name

        def clears(workflow: Workflow, state: SagaState) -> Sequence[Message]:
            return persons.clear(workflow, state, request.step, request.reason, by, self._acts_for)

        return pb.ClearUndoResponse(saga=self._decided_by_definition(request.saga_id, clears))

    @rpc
    def CancelSaga(self, request: pb.CancelSagaRequest) -> pb.CancelSagaResponse:
        """A person has everything undone."""
        by = self.caller.name
        decided = self._decided(request.saga_id, lambda state: persons.cancel(state, request.reason, by))
        return pb.CancelSagaResponse(saga=self._show(decided))

    @rpc
    def TerminateSaga(self, request: pb.TerminateSagaRequest) -> pb.TerminateSagaResponse:
        """A person ends it where it stands."""
        by = self.caller.name
        decided = self._decided(request.saga_id, lambda state: persons.terminate(state, request.reason, by), of_any=True)
        left, children = persons.not_undone(self.runner.workflow(decided), decided), persons.children_left(decided)
        return pb.TerminateSagaResponse(saga=self._show(decided), not_undone=left, children=children)

    def _decided(
        self, saga_id: str, decision: Callable[[SagaState], Sequence[Message]], *, of_any: bool = False
    ) -> SagaState:  # fmt: skip
        """Every decision of a person is about a saga of their district, and of the exercise that they name."""
        self._require_exercise(saga_id)
        self._require_district(saga_id)
        return self.runner.decide(saga_id, decision, of_any=of_any)

    def _decided_by_definition(self, saga_id: str, decision: Callable[[Workflow, SagaState], Sequence[Message]]) -> pb.Saga:
        def decided(state: SagaState) -> Sequence[Message]:
            workflow = self.runner.workflow(state)
            # Of a saga that has ended and whose definition is gone nothing is asked.
            return [] if workflow is None else decision(workflow, state)

        return self._show(self._decided(saga_id, decided))

    def _acts_for(self, authority: str) -> bool:
        return self.caller.holds(persons.authority_scope(authority))

    def _decided_of_step(
        self,
        request: pb.SkipStepRequest | pb.FailStepRequest | pb.RetryStepRequest,
        decision: Callable[[SagaState, str, str, str], Sequence[Message]],
    ) -> pb.Saga:
        by = self.caller.name
        return self._show(self._decided(request.saga_id, lambda state: decision(state, request.step, request.reason, by)))

    def _wanted(self, request: pb.ListSagasRequest) -> Wanted:
        began_before = microseconds(request.started_before) if request.HasField("started_before") else None
        states = frozenset(_NAMES[state] for state in request.states) or None
        if request.HasField("open_for"):
            long_ago = self.clock.now() - request.open_for.ToMicroseconds() + 1
            began_before = long_ago if began_before is None else min(began_before, long_ago)
            states = _OPEN if states is None else states & _OPEN
        districts, began_from = self._districts(request.district_id), microseconds(request.started_from)
        return Wanted(states, districts, request.workflow, request.correlation_id, began_from, began_before, request.exercise)

    def _districts(self, asked: str) -> list[str] | None:
        """Which districts a list is about; None: all."""
        own = self.caller.district
        return [asked] if asked else [own, ""] if own else None

    def _task(self, one: Told) -> pb.Task:
        row = self.sagas.one(one.saga_id)
        return task_of(one, row, None if row is None else self.runner.definition(row.workflow, row.version))

    def _listed(self, row: SagaRow) -> pb.Saga:
        state, reason = row.state, row.reason
        # Rows of an earlier release do not say their workflow before the view is rebuilt.
        if row.workflow and state not in ENDED and (missing := self.runner.not_here(row.workflow, row.version)):
            state, reason = missing
        return in_a_list(row, state, reason)

    def _show(self, state: SagaState) -> pb.Saga:
        return shown(state, self.runner.workflow(state))

    def _require_own(self, event: Message) -> None:
        """Forbidden: the caller is bound to a district, and the event is of another one, or does not say of which."""
        self.caller.require_district(listing.district_of(event) or (_UNREADABLE if self.caller.district else ""))

    def _require_exercise(self, saga_id: str) -> None:
        """BadRequest: the call names an exercise, and the saga is of another one, or of the city."""
        exercise, own = parted(saga_id)
        if self.caller.exercise not in ("", exercise):
            meant = in_exercise(self.caller.exercise, own)
            raise BadRequest([("saga_id", f"is not of the exercise {self.caller.exercise}: its saga would be {meant}")])

    def _require_district(self, saga_id: str) -> None:
        """Forbidden: the caller is bound to another district than that of the saga, or that cannot be read."""
        state = self.runner.load(saga_id)
        is_known = state.input is not None or state.parent
        self.caller.require_district(listing.district_of_saga(state) if is_known else _UNREADABLE)


def _given(request: pb.StartSagaRequest | pb.SignalSagaRequest) -> Message:
    """The event that a caller gives. BadRequest: there is no such type, it does not have such fields, or it is about a person.

    What the caller has written is in no message: it may be personal.
    """
    try:
        event = json_format.Parse(request.event_json, message_class(request.event_type)())
    except KeyError:
        raise BadRequest([("event_type", f"is {request.event_type}, which no contract here has")]) from None
    except json_format.ParseError:
        told = f"`city events describe {request.event_type}` shows one"
        raise BadRequest([("event_json", f"is not the JSON of a {request.event_type}: {told}")]) from None
    if holds_personal(event):
        raise BadRequest([("event_json", "holds personal data: leave it out, or report to the service that publishes it")])
    return event
