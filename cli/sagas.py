"""`city sagas`: the workflows across departments: which there are, where one stands, and what a person decides about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from citybrain.cli.configuration import Data, File
from citybrain.cli.saga_calls import Gateway, Json, Saga, asking, listed, out, print_json, print_saga, tree
from citybrain.cli.saga_decisions import DECISIONS
from citybrain.local.problems import Problem

if TYPE_CHECKING:
    from citybrain.sagas.v1 import saga_service_pb2 as pb

app = typer.Typer(
    name="sagas",
    no_args_is_help=True,
    help="The workflows across departments: which there are, where one stands, and what a person decides about it.\n\n"
    "What waits for people: `tasks`. One that needs a human: `show` says why. Mend the cause, then `resume` or `retry`. "
    "What cannot be mended: `skip` goes on without a step, `fail` and `cancel` undo everything, `terminate` just ends it.",
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STATES = ("running", "undoing", "needs-human", "completed", "undone", "terminated")
Exercise = Annotated[str, typer.Option(metavar="NAME", help="Those of an exercise, instead of the city's own.")]
_KINDS = ("question", "clearance", "trouble")


@app.command("list")
def list_them(
    state: Annotated[list[str] | None, typer.Option(metavar="|".join(_STATES), help="May be given again.")] = None,
    district: Annotated[str, typer.Option(help="Those that began in a district.")] = "",
    workflow: Annotated[str, typer.Option(help="Those of a workflow, e.g. emergency_response.")] = "",
    incident: Annotated[str, typer.Option(metavar="ID", help="Those of an incident.")] = "",
    open_for: Annotated[
        str, typer.Option(metavar="TIME", help="Those that have not ended, and began at least so long ago: 90s, 15m, 2h, 3d.")
    ] = "",
    exercise: Exercise = "",
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

    request = pb.ListSagasRequest(
        district_id=district, workflow=workflow, correlation_id=incident, exercise=exercise, page_token=page
    )
    request.states.extend(map(_state, state or ()))
    if open_for:
        request.open_for.FromSeconds(_seconds(open_for))
    with asking(config, data, gateway) as ask:
        found: list[pb.Saga] = listed(ask, "ListSagas", request, "sagas", limit)
    if as_json:
        print_json(pb.ListSagasResponse(sagas=found, next_page_token=request.page_token))
    elif found:
        for line in saga_view.lines(found):
            out.print(line)
        if request.page_token:
            out.print(f"there are more: --limit {limit * 2}, or the same question with --page {request.page_token}")
    else:
        out.print("there are no such sagas")


@app.command()
def show(saga: Saga, as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None) -> None:
    """Shows one saga, step by step: what was done, what is under way, what failed and why, when it is tried again."""
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    with asking(config, data, gateway) as ask:
        print_saga(ask("GetSaga", pb.GetSagaRequest(saga_id=saga)).saga, as_json)


@app.command()
def watch(saga: Saga, as_json: Json = False, gateway: Gateway = None, data: Data = None, config: File = None) -> None:
    """Shows one saga, then each change of it as it happens, until it ends or you press Ctrl-C.

    Ends with 0 if the saga completed, with 1 if it ended otherwise. With --json each line is the whole saga.
    """
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    from citybrain.cli import saga_view

    before: pb.Saga | None = None
    with asking(config, data, gateway) as ask:
        for answer in ask("WatchSaga", pb.WatchSagaRequest(saga_id=saga)):
            now: pb.Saga = answer.saga
            if now == before:
                continue
            if as_json:
                print_json(now, indent=None)
            elif before is None:
                tree.print(saga_view.drawn(now))
            else:
                for line in saga_view.changes(before, now):
                    out.print(line)
            before = now
    raise typer.Exit(0 if before is not None and before.state == pb.SAGA_STATE_COMPLETED else 1)


@app.command()
def tasks(
    authority: Annotated[str, typer.Option(metavar="NAME", help="Those that an authority was asked to do: fire_command.")] = "",
    kind: Annotated[list[str] | None, typer.Option(metavar="|".join(_KINDS), help="May be given again.")] = None,
    district: Annotated[str, typer.Option(help="Those of sagas that began in a district.")] = "",
    exercise: Exercise = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The oldest, at most so many.")] = 50,
    as_json: Json = False,
    gateway: Gateway = None,
    data: Data = None,
    config: File = None,
) -> None:
    """Lists what waits for people, the oldest first: questions, undos to be cleared, sagas that cannot go on by themselves.

    `answer` answers a question, `clear` clears an undo. Trouble: mend what it says, then `resume` or `retry`, or `skip`.
    """
    from citybrain.sagas.v1 import saga_service_pb2 as pb

    from citybrain.cli import saga_view

    request = pb.ListTasksRequest(authority=authority, district_id=district, exercise=exercise)
    for one in kind or ():
        if one not in _KINDS:
            raise Problem(f"there is no kind {one}; there are: {', '.join(_KINDS)}")
        request.kinds.append(getattr(pb, f"TASK_KIND_{one.upper()}"))
    with asking(config, data, gateway) as ask:
        found: list[pb.Task] = listed(ask, "ListTasks", request, "tasks", limit)
    if as_json:
        print_json(pb.ListTasksResponse(tasks=found))
        return
    for line in saga_view.tasks(found):
        out.print(line)
    if not found:
        out.print("nothing waits for people")
    elif request.page_token:
        out.print(f"there are more: --limit {limit * 2}")


for _decision in DECISIONS:
    app.command()(_decision)


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
