"""`city sagas`: the workflows across departments: which there are, where one stands, and what a person decides about it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal
from citybrain.observability.terminal import escaped

if TYPE_CHECKING:
    from citybrain.sagas.v1 import saga_service_pb2 as pb

app = typer.Typer(
    name="sagas",
    no_args_is_help=True,
    help="The workflows across departments: which there are, where one stands, and what a person decides about it.\n\n"
    "One that needs a human: `list --state needs-human` finds it, `show` says why. Mend the cause, then `resume` or `retry`. "
    "What cannot be mended: `skip` goes on without a step, `fail` and `cancel` undo everything, `terminate` just ends it.",
)
_out = Terminal(highlight=False, markup=False, soft_wrap=True)
_tree = Terminal(highlight=False, markup=False)
_ASK_S = 10.0
_PAGE = 500
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STATES = ("running", "undoing", "needs-human", "completed", "undone", "terminated")
_REASON_BYTES = 500

Ask = Callable[..., Any]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Gateway = Annotated[str | None, typer.Option(help="The gateway of the city: host:port.", show_default="configured")]
Saga = Annotated[str, typer.Argument(metavar="SAGA", help="Its id. That of an emergency is the id of the incident.")]
StepName = Annotated[str, typer.Argument(metavar="STEP", help="The name of the step, as `city sagas show` has it.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why: needed, and kept for ever with your name.", show_default=False)]


@app.command("list")
def list_them(
    state: Annotated[list[str] | None, typer.Option(metavar="|".join(_STATES), help="May be given again.")] = None,
    district: Annotated[str, typer.Option(help="Those that began in a district.")] = "",
    workflow: Annotated[str, typer.Option(help="Those of a workflow, e.g. emergency_response.")] = "",
    incident: Annotated[str, typer.Option(metavar="ID", help="Those of an incident.")] = "",
    open_for: Annotated[
        str, typer.Option(metavar="TIME", help="Those that have not ended, and began at least so long ago: 90s, 15m, 2h, 3d.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest, at most so many.")] = 50,
    page: Annotated[str, typer.Option(metavar="TOKEN", help="Goes on where an earlier list ended; that list says it.")] = "",
    as_json: Json = False,
    gateway: Gateway = None,
    data: Data = None,
    config: File = None,
) -> None:
    """Lists sagas, the newest first: where each stands, since when, and why.

    Those that wait for a person: --state needs-human. Those that may hang: --open-for 2h.
    """
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    from citybrain.cli import saga_view

    request = pb.ListSagasRequest(district_id=district, workflow=workflow, correlation_id=incident, page_token=page)
    request.states.extend(map(_state, state or ()))
    if open_for:
        request.open_for.FromSeconds(_seconds(open_for))
    found: list[pb.Saga] = []
    with _asking(config, data, gateway) as ask:
        while True:
            request.page_size = min(_PAGE, limit - len(found))
            answer = ask("ListSagas", request)
            found += answer.sagas
            request.page_token = answer.next_page_token
            if not request.page_token or len(found) >= limit:
                break
    if as_json:
        _print_json(pb.ListSagasResponse(sagas=found, next_page_token=request.page_token))
    elif found:
        for line in saga_view.lines(found):
            _out.print(line)
        if request.page_token:
            _out.print(f"there are more: --limit {limit * 2}, or the same question with --page {request.page_token}")
    else:
        _out.print("there are no such sagas")


@app.command()
def show(saga: Saga, as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None) -> None:
    """Shows one saga, step by step: what was done, what is under way, what failed and why, when it is tried again."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    with _asking(config, data, gateway) as ask:
        _print(ask("GetSaga", pb.GetSagaRequest(saga_id=saga)).saga, as_json)


@app.command()
def watch(saga: Saga, as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None) -> None:
    """Shows one saga, then each change of it as it happens, until it ends or you press Ctrl-C.

    Ends with 0 if the saga completed, with 1 if it ended otherwise. With --json each line is the whole saga.
    """
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    from citybrain.cli import saga_view

    before: pb.Saga | None = None
    with _asking(config, data, gateway) as ask:
        for answer in ask("WatchSaga", pb.WatchSagaRequest(saga_id=saga)):
            now: pb.Saga = answer.saga
            if now == before:
                continue
            if as_json:
                _print_json(now, indent=None)
            elif before is None:
                _tree.print(saga_view.drawn(now))
            else:
                for line in saga_view.changes(before, now):
                    _out.print(line)
            before = now
    raise typer.Exit(0 if before is not None and before.state == pb.SAGA_STATE_COMPLETED else 1)


@app.command()
def resume(
    saga: Saga, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None
) -> None:
    """Lets a saga go on that needs a human: all that has failed is tried again. Mend the cause first."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.ResumeSagaRequest(saga_id=saga), reason, as_json, config, data, gateway)


@app.command()
def retry(
    saga: Saga, step: StepName, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None,
    config: File = None,
) -> None:  # fmt: skip
    """Has one step that failed, or its undo, tried again at once, with all of its tries. A saga that needs a human goes on."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.RetryStepRequest(saga_id=saga, step=step), reason, as_json, config, data, gateway)


@app.command()
def skip(
    saga: Saga, step: StepName, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None,
    config: File = None,
) -> None:  # fmt: skip
    """Lets a saga go on without a step, or without undoing it: you have done by hand what it should do, or it need not be."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.SkipStepRequest(saga_id=saga, step=step), reason, as_json, config, data, gateway)


@app.command()
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


@app.command()
def clear(
    saga: Saga, step: StepName, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None,
    config: File = None,
) -> None:  # fmt: skip
    """Lets a step be undone that protects life: nobody is in danger any more. Your token needs sagas.decide.AUTHORITY."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.ClearUndoRequest(saga_id=saga, step=step), reason, as_json, config, data, gateway)


@app.command()
def fail(
    saga: Saga, step: StepName, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None,
    config: File = None,
) -> None:  # fmt: skip
    """Gives a step up that will never be done: everything is undone, in reverse."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.FailStepRequest(saga_id=saga, step=step), reason, as_json, config, data, gateway)


@app.command()
def cancel(
    saga: Saga, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None
) -> None:
    """Has everything undone that a saga has done, in reverse. It ends as undone."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.CancelSagaRequest(saga_id=saga), reason, as_json, config, data, gateway)


@app.command()
def terminate(
    saga: Saga, reason: Reason = "", as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None
) -> None:
    """Ends a saga where it stands, also one that cannot be read or undone. Nothing is undone: it says what is left to you.

    The last resort: `cancel` undoes, `skip` goes on.
    """
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    _decide(pb.TerminateSagaRequest(saga_id=saga), reason, as_json, config, data, gateway)


def _decide(request: Any, reason: str, as_json: bool, config: File, data: Data, gateway: str | None) -> None:
    """Makes a decision of a person, and shows where the saga stands then."""
    if not reason.strip():
        raise Problem("say why with --reason: it is kept for ever, with your name")
    if len(reason.encode()) > _REASON_BYTES:
        raise Problem(f"--reason is longer than {_REASON_BYTES} bytes: say it in fewer words")
    request.reason = reason
    with _asking(config, data, gateway) as ask:
        answer = ask(request.DESCRIPTOR.name.removesuffix("Request"), request)
    left = list(getattr(answer, "not_undone", ()))
    if as_json:
        _print_json(answer)
        return
    _print(answer.saga, as_json=False)
    if left:
        _out.print(escaped(f"not undone, and left to people: {', '.join(left)}"))


def _print(saga: pb.Saga, as_json: bool) -> None:
    from citybrain.cli import saga_view

    if as_json:
        _print_json(saga)
    else:
        _tree.print(saga_view.drawn(saga))


def _print_json(message: Any, indent: int | None = 2) -> None:
    from citybrain.cli.groups import plain

    _out.print(json.dumps(plain(message), ensure_ascii=False, indent=indent))


@contextlib.contextmanager
def _asking(config: File, data: Data, gateway: str | None) -> Iterator[Ask]:
    """Asks the sagas of a city: `ask(method, request)`. Problem: it says no, or does not answer."""
    import grpc
    from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub

    from citybrain.local.calling import channel, tls_at, token_here
    from citybrain.local.reflection import explain

    settings = configuration.load(config, remote=("--gateway", gateway), data=("--data", data))
    address = settings.asked
    with channel(address, token_here(settings), tls=tls_at(address, settings)) as opened:
        stub = SagaServiceStub(opened)  # type: ignore[no-untyped-call]

        def ask(method: str, request: Any) -> Any:
            # A stream has no end that could be waited for.
            return getattr(stub, method)(request, timeout=None if method == "WatchSaga" else _ASK_S)

        try:
            yield ask
        except grpc.RpcError as error:
            raise Problem(_told(" ".join(explain(address, error).split()))) from None


def _told(error: str) -> str:
    """An error in one line that says what to do next."""
    code, _, text = error.partition(": ")
    if code == "NOT_FOUND" and "there is no saga" in text:
        return "there is no such saga: `city sagas list` names them"
    if code in ("NOT_FOUND", "FAILED_PRECONDITION"):
        return f"{text}: `city sagas show` says where it stands"
    return error


def _state(name: str) -> Any:
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    if name not in _STATES:
        raise Problem(f"there is no state {name}; there are: {', '.join(_STATES)}")
    return pb.SagaState.Value(f"SAGA_STATE_{name.replace('-', '_').upper()}")


def _seconds(text: str) -> int:
    """A time as people write it. Problem: it is none."""
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if found is None:
        raise Problem(f"{text} is no time: write 90s, 15m, 2h or 3d")
    return int(found[1]) * _SECONDS[found[2]]
