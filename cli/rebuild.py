"""`city rebuild`: folds a read model again from the beginning of the log, while the city uses the live one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from google.protobuf import json_format
from rich.console import Console
from rich.progress import Progress

from citybrain.cli import configuration
from citybrain.cli.asking import ask, ask_all, processes
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal
from citybrain.observability.words import counted

_out = Terminal(highlight=False, markup=False, soft_wrap=True)
_ASK_S = 10.0
_PAUSE_S = 0.1
# A rebuild that does not move for so long is reported.
_QUIET_S = 30.0


def rebuild(
    service: Annotated[str, typer.Argument(help="As in its manifest.")],
    view: Annotated[str, typer.Argument(help="The read model, as the service's class calls it.")],
    address: Annotated[str, typer.Option(help="A process of the service: host:port.", show_default="one on --data")] = "",
    give_up: Annotated[bool, typer.Option("--give-up", help="Gives up what is being built.")] = False,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was done, as JSON.")] = False,
    config: File = None,
) -> None:
    """Folds a read model again from the beginning of the log, beside the live one, and waits until the new one is live.

    Meanwhile the city reads the present one. If this command is ended, the rebuild goes on, after a crash too.
    """
    from citybrain.local.calling import tls_at, token_here

    settings = configuration.load(config, data=("--data", data))
    where = address or _process_of(service, settings)
    tls = tls_at(where, settings, otherwise=settings.tls)
    asking = partial(ask, where, token=token_here(settings), tls=tls)
    request = pb.RebuildViewRequest(service=service, view=view, give_up=give_up)
    begun = asking(lambda mesh: mesh.RebuildView(request, timeout=_ASK_S)).rebuild
    done = begun if give_up else _wait(asking, service, view, begun)
    if as_json:
        _out.print(
            json.dumps(
                json_format.MessageToDict(done, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
            )
        )
    elif give_up:
        _out.print(f"{service} {view}: nothing is built; generation {done.live} stays live")
    else:
        _out.print(
            f"{service} {view}: generation {done.live} is live, folded from {counted(begun.head, 'position')} of the log"
        )


def _wait(asking: Callable[[Callable[[Any], Any]], Any], service: str, view: str, begun: pb.Rebuild) -> pb.Rebuild:
    """Waits until the new generation is live. Problem: it cannot become live, was given up, or another one was begun."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(f"{service} {view}", total=begun.head)
        place, moved_at = (-1, -1), time.monotonic()
        while True:
            request = pb.GetRebuildRequest(service=service, view=view)
            now: pb.Rebuild = asking(lambda mesh: mesh.GetRebuild(request, timeout=_ASK_S)).rebuild  # noqa: B023
            if now.live == begun.building:
                return now
            if now.building != begun.building:
                raise Problem(f"{view} of {service} is rebuilt by somebody else now, or it was given up: city status")
            if now.problem:
                raise Problem(f"{view} of {service} stays as it was: {now.problem}")
            shown.update(task, completed=now.position, total=now.head)
            if place != (now.building, now.position):
                place, moved_at = (now.building, now.position), time.monotonic()
            elif time.monotonic() - moved_at >= _QUIET_S:
                still = f"stands at position {now.position} of {now.head} and has not moved for {_QUIET_S:g} s"
                console.print(
                    f"city: {view} of {service} {still}: `city events lag` says what fails", markup=False, soft_wrap=True
                )
                moved_at = time.monotonic()
            time.sleep(_PAUSE_S)


def _status_of(mesh: Any) -> Any:
    return mesh.GetStatus(pb.GetStatusRequest(), timeout=_ASK_S)


def _process_of(service: str, settings: configuration.City) -> str:
    """The address of a process of a service. Problem: none runs."""
    # A process that does not answer is skipped: another one may have the service.
    for process, status in ask_all(processes(settings), _status_of, settings):
        if not isinstance(status, Problem) and any(found.name == service for found in status.services):
            return process.address
    raise Problem(f"no process of {service} runs on {settings.data}: start it, or give its --address")
