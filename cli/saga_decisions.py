"""`city sagas resume | retry | skip | answer | …`: what a person decides about a saga, or tells it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from citybrain.cli.configuration import Data, File
from citybrain.cli.saga_calls import Gateway, Json, Saga, asking, out, print_json, print_saga
from citybrain.local.problems import Problem
from citybrain.observability.terminal import escaped

_REASON_BYTES = 500

StepName = Annotated[str, typer.Argument(metavar="STEP", help="The name of the step, as `city sagas show` has it.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why: needed, and kept for ever with your name.", show_default=False)]
EventType = Annotated[
    str, typer.Argument(metavar="TYPE", help="The full name of its type, e.g. citybrain.health.v1.MissionReported.")
]
Fields = Annotated[str, typer.Argument(metavar="JSON", help='Its fields: {"incidentId": "inc-1", …}.')]


def resume(
    saga: Saga, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None
) -> None:
    """Lets a saga go on that needs a human: all that has failed is tried again. Mend the cause first."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.ResumeSagaRequest(saga_id=saga), reason, as_json, config, data, gateway)


def retry(
    saga: Saga, step: StepName, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None,
    config: File = None,
) -> None:  # fmt: skip
    """Has one step that failed, or its undo, tried again at once, with all of its tries. A saga that needs a human goes on."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.RetryStepRequest(saga_id=saga, step=step), reason, as_json, config, data, gateway)


def skip(
    saga: Saga, step: StepName, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None,
    config: File = None,
) -> None:  # fmt: skip
    """Lets a saga go on without a step, or without undoing it: you have done by hand what it should do, or it need not be."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.SkipStepRequest(saga_id=saga, step=step), reason, as_json, config, data, gateway)


def answer(
    saga: Saga,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="Its name, as `city sagas show` has it.")],
    option: Annotated[str, typer.Argument(metavar="OPTION", help="One of those that `city sagas show` names behind it.")],
    reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None,
) -> None:  # fmt: skip
    """Answers a question that a saga asks an authority. Your token needs the scope sagas.decide.AUTHORITY."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    request = pb.AnswerQuestionRequest(saga_id=saga, question=question, option=option)
    _decide(request, reason, as_json, config, data, gateway)


def clear(
    saga: Saga, step: StepName, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None,
    config: File = None,
) -> None:  # fmt: skip
    """Lets a step be undone that protects life: nobody is in danger any more. Your token needs sagas.decide.AUTHORITY."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.ClearUndoRequest(saga_id=saga, step=step), reason, as_json, config, data, gateway)


def start(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its name; the newest version is taken.")],
    kind: EventType,
    fields: Fields,
    as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None,
) -> None:  # fmt: skip
    """Starts a saga by hand, with what else an event would bring. Its id follows from that; a second time changes nothing."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    with asking(config, data, gateway) as ask:
        print_saga(ask("StartSaga", pb.StartSagaRequest(workflow=workflow, event_type=kind, event_json=fields)).saga, as_json)


def signal(
    saga: Saga,
    kind: EventType,
    fields: Fields,
    reason: Reason = "",
    signal_id: Annotated[str, typer.Option("--id", help="Names it, so that it counts once; else it gets a new name.")] = "",
    as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None,
) -> None:  # fmt: skip
    """Tells a saga what has happened, in place of an event that did not come: the radio is silent, and somebody has phoned."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    request = pb.SignalSagaRequest(saga_id=saga, signal_id=signal_id or uuid.uuid4().hex, event_type=kind, event_json=fields)
    _decide(request, reason, as_json, config, data, gateway)


def fail(
    saga: Saga, step: StepName, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None,
    config: File = None,
) -> None:  # fmt: skip
    """Gives a step up that will never be done: everything is undone, in reverse."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.FailStepRequest(saga_id=saga, step=step), reason, as_json, config, data, gateway)


def cancel(
    saga: Saga, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None
) -> None:
    """Has everything undone that a saga has done, in reverse. It ends as undone."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.CancelSagaRequest(saga_id=saga), reason, as_json, config, data, gateway)


def terminate(
    saga: Saga, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None
) -> None:
    """Ends a saga where it stands, also one that cannot be read or undone. Nothing is undone: it says what is left to you.

    The last resort: `cancel` undoes, `skip` goes on.
    """
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.TerminateSagaRequest(saga_id=saga), reason, as_json, config, data, gateway)


DECISIONS = (resume, retry, skip, answer, clear, start, signal, fail, cancel, terminate)
"""The commands, in the order in which the help lists them."""


def _decide(request: Any, reason: str, as_json: bool, config: File, data: Data, gateway: str | None) -> None:
    """Makes a decision of a person, and shows where the saga stands then."""
    if not reason.strip():
        raise Problem("say why with --reason: it is kept for ever, with your name")
    if len(reason.encode()) > _REASON_BYTES:
        raise Problem(f"--reason is longer than {_REASON_BYTES} bytes: say it in fewer words")
    request.reason = reason
    with asking(config, data, gateway) as ask:
        answer = ask(request.DESCRIPTOR.name.removesuffix("Request"), request)
    left, children = list(getattr(answer, "not_undone", ())), list(getattr(answer, "children", ()))
    if as_json:
        print_json(answer)
        return
    print_saga(answer.saga, as_json=False)
    if left:
        out.print(escaped(f"not undone, and left to people: {', '.join(left)}"))
    if children:
        out.print(escaped(f"its children are sagas of their own, to be cancelled or terminated too: {', '.join(children)}"))
