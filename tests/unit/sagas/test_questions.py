"""Questions to people and clearances of undos, as callers answer and give them: who may, and what the saga does then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.sagas.v1 import saga_service_pb2 as pb
from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.event_store.store import NewEvent
from citybrain.mesh.runtime.clock import DrivenClock
from citybrain.mesh.runtime.greenlets import off_loop, wait
from citybrain.mesh.service import Service, WaitsForPeople, rpc
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.sagas.engine.definition import Command, Human, Step, Workflow
from citybrain.sagas.engine.moving import Moving
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.service import SagaService

EVACUATE = Human("evacuate", ("duty_officer", "fire_command"), lambda state: "evacuate the houses?", deadline_s=300)
VALVE = Command(
    "citybrain.traffic.v1.TrafficService/GetSignal", lambda state, key: traffic.GetSignalRequest(signal_id=key)
)  # fmt: skip


def whose(event: Any) -> str:
    return str(event.incident_id)


ASKING = Workflow(
    name="asking",
    version=1,
    starts_on=IncidentOpened,
    hears=dict.fromkeys((IncidentOpened, IncidentCancelled), whose),
    undo_on={IncidentCancelled: lambda event: "false call"},
    nodes=(Step("close_valve", VALVE, 60, undo=VALVE, clearance="gas_command"), EVACUATE),
)


class Valves(Service):
    """Opens and closes them."""

    name = "valves"

    @rpc
    def GetSignal(self, request: traffic.GetSignalRequest) -> traffic.GetSignalResponse:
        return traffic.GetSignalResponse()


class AskingSagas(SagaService):
    """The same service, with a workflow that asks."""

    runner = SagaRunner([ASKING])
    moving = Moving([ASKING])


def asking(tmp_path: Path, test: Callable[[Parts, Callable[..., Any]], None]) -> None:
    """A saga i1 that asks. `call(method, request, *scopes)` is made by a caller who has these scopes."""

    def run(parts: Parts) -> None:
        parts.add(Valves, "citybrain.traffic.v1.TrafficService")
        parts.add(AskingSagas, "citybrain.sagas.v1.SagaService")
        parts.start()

        def call(method: str, request: Message, *scopes: str) -> Any:
            def ask() -> Any:
                with grpc.insecure_channel(parts.address) as channel:
                    token = parts.bearer("wang", scopes=("sagas.read", *scopes))
                    try:
                        return getattr(SagaServiceStub(channel), method)(request, metadata=[token], timeout=30)
                    except grpc.RpcError as error:
                        return error

            return off_loop(ask)

        happens(parts, IncidentOpened(incident_id="i1"), "opened")
        parts.until(lambda: getattr(asked(call), "asks", "") == "duty_officer")
        test(parts, call)

    on_parts(tmp_path, run)


def happens(parts: Parts, event: Message, name: str) -> None:
    new = NewEvent(name, event.DESCRIPTOR.full_name, event.SerializeToString(), occurred_at=1)
    wait(parts.store.append("elsewhere", [new], -1))


def asked(call: Callable[..., Any]) -> pb.SagaStep | None:
    answer = call("GetSaga", pb.GetSagaRequest(saga_id="i1"))
    return None if isinstance(answer, grpc.RpcError) else next(one for one in answer.saga.steps if one.name == "evacuate")


def test_only_a_caller_of_an_authority_that_was_asked_answers_and_the_saga_goes_on(tmp_path: Path) -> None:
    def test(parts: Parts, call: Callable[..., Any]) -> None:
        step = asked(call)
        assert step is not None
        assert (step.status, step.question, list(step.options)) == ("asked", "evacuate the houses?", ["approve", "reject"])
        answer = pb.AnswerQuestionRequest(saga_id="i1", question="evacuate", option="approve", reason="smoke")
        # Not without the scope of the method, nor without that of the authority, nor with that of another.
        for scopes in ((), ("sagas.decide",), ("sagas.decide", "sagas.decide.fire_command")):
            assert call("AnswerQuestion", answer, *scopes).code() is grpc.StatusCode.PERMISSION_DENIED
        mine = ("sagas.decide", "sagas.decide.duty_officer")
        saga = call("AnswerQuestion", answer, *mine).saga
        assert saga.state == pb.SAGA_STATE_COMPLETED
        assert call("AnswerQuestion", answer, *mine).saga == saga
        answer.option = "reject"
        assert call("AnswerQuestion", answer, *mine).code() is grpc.StatusCode.FAILED_PRECONDITION

    asking(tmp_path, test)


def test_what_protects_life_is_undone_only_after_a_caller_of_its_authority_has_cleared_it(tmp_path: Path) -> None:
    def test(parts: Parts, call: Callable[..., Any]) -> None:
        happens(parts, IncidentCancelled(incident_id="i1"), "cancelled")
        shown = lambda: call("GetSaga", pb.GetSagaRequest(saga_id="i1")).saga  # noqa: E731
        parts.until(lambda: bool(shown().state == pb.SAGA_STATE_NEEDS_HUMAN))
        assert "is undone only when gas_command clears it" in shown().reason
        clear = pb.ClearUndoRequest(saga_id="i1", step="close_valve", reason="no gas is left")
        assert call("ClearUndo", clear, "sagas.decide").code() is grpc.StatusCode.PERMISSION_DENIED
        assert not isinstance(call("ClearUndo", clear, "sagas.decide", "sagas.decide.gas_command"), grpc.RpcError)
        parts.until(lambda: bool(shown().state == pb.SAGA_STATE_UNDONE))

    asking(tmp_path, test)


def tasks(call: Callable[..., Any], **question: Any) -> list[tuple[int, str, list[str]]]:
    answer = call("ListTasks", pb.ListTasksRequest(**question))
    return [(one.kind, one.step, list(one.authorities)) for one in answer.tasks]


def test_what_waits_for_people_is_listed_by_authority_until_somebody_has_seen_to_it(tmp_path: Path) -> None:
    def test(parts: Parts, call: Callable[..., Any]) -> None:
        (view,) = [one for box in parts.containers for one in box.dependencies if isinstance(one, WaitsForPeople)]
        question = (pb.TASK_KIND_QUESTION, "evacuate", ["duty_officer"])
        parts.until(lambda: tasks(call) == [question])
        (task,) = call("ListTasks", pb.ListTasksRequest()).tasks
        assert (task.saga_id, task.workflow, task.text, list(task.options)) == (
            "i1", "asking", "evacuate the houses?", ["approve", "reject"],
        )  # fmt: skip
        assert task.until.seconds - task.since.seconds == 300
        assert tasks(call, authority="duty_officer", kinds=[pb.TASK_KIND_QUESTION]) == [question]
        assert tasks(call, authority="gas_command") == tasks(call, kinds=[pb.TASK_KIND_TROUBLE]) == []
        # Nobody has answered: the next one is asked too, and either may answer.
        clock = parts.process.clock
        assert isinstance(clock, DrivenClock)
        wait(clock.advance(301 * 1_000_000))
        parts.until(lambda: tasks(call, authority="fire_command") != [])
        assert tasks(call) == [(pb.TASK_KIND_QUESTION, "evacuate", ["duty_officer", "fire_command"])]
        told = lambda: [(one.authority, one.count, round(one.oldest_s)) for one in view.numbers()]  # noqa: E731
        parts.until(lambda: told() == [("", 0, 0), ("fire_command", 1, 301)])
        happens(parts, IncidentCancelled(incident_id="i1"), "cancelled")
        clearance = (pb.TASK_KIND_CLEARANCE, "close_valve", ["gas_command"])
        parts.until(lambda: tasks(call) == [clearance, (pb.TASK_KIND_TROUBLE, "close_valve", [])])
        first = call("ListTasks", pb.ListTasksRequest(page_size=1))
        assert [one.kind for one in first.tasks] == [pb.TASK_KIND_CLEARANCE]
        assert tasks(call, page_token=first.next_page_token) == [(pb.TASK_KIND_TROUBLE, "close_valve", [])]
        clear = pb.ClearUndoRequest(saga_id="i1", step="close_valve", reason="no gas is left")
        call("ClearUndo", clear, "sagas.decide", "sagas.decide.gas_command")
        parts.until(lambda: tasks(call) == [])
        parts.until(lambda: told() == [("", 0, 0)])

    asking(tmp_path, test)
