"""`city fault`: faults are switched on in a city that runs, to see how they are found; each ends by itself."""

from __future__ import annotations

import getpass
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.mesh.fault_kinds import Kind
from citybrain.observability.console import Terminal

app = typer.Typer(
    name="fault",
    no_args_is_help=True,
    help="Switches faults on in a city that runs, to see how they are found. Each ends by itself; production refuses them.",
)
_out = Terminal(highlight=False, markup=False)
_ASK_S = 10.0

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("set")
def switch_on(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="As in its manifest, e.g. health.")],
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=", ".join(Kind))],
    lasts_s: Annotated[float, typer.Option("--for", metavar="SECONDS", help="When it ends by itself.", min=1)] = 300,
    target: Annotated[str, typer.Option(help="A method (GetSignal) or subscription (health.hear). Not given: all.")] = "",
    share: Annotated[float, typer.Option(help="Of the calls or events that it meets.", min=0.001, max=1)] = 1.0,
    seconds: Annotated[float, typer.Option(help="Of latency; or by which the clock is ahead.")] = 1.0,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log.")] = "",
    as_json: Json = False,
    data: Data = None,
    config: File = None,
) -> None:
    """Switches a fault on, in every process of a service.

    latency and errors meet calls and events; poison (an event that cannot be handled) and stall (nothing is done) meet
    subscriptions; lost-lead and clock-skew are of whole processes.
    """
    from citybrain.mesh.v1 import mesh_service_pb2 as pb

    from citybrain.mesh.events import timestamp

    fault = pb.Fault(
        fault_id=f"flt-{uuid.uuid4().hex[:6]}", kind=kind.in_contract, service=service,
        target=target, share=share, seconds=seconds if kind in (Kind.LATENCY, Kind.CLOCK_SKEW) else 0.0,
        until=timestamp(round((time.time() + lasts_s) * 1e6)), who=getpass.getuser(), reason=reason,
    )  # fmt: skip
    request = pb.SetFaultRequest(fault=fault)
    on = _everywhere(config, data, lambda stub: stub.SetFault(request, timeout=_ASK_S))
    if as_json:
        _out.print(json.dumps({"fault_id": fault.fault_id, "processes": len(on)}), soft_wrap=True)
    else:
        where = "one process" if len(on) == 1 else f"{len(on)} processes"
        _out.print(f"{fault.fault_id} is on in {where} for {lasts_s:g} s: `city fault clear {fault.fault_id}` ends it before")


@app.command("list")
def show(as_json: Json = False, data: Data = None, config: File = None) -> None:
    """Lists the faults that are on, each once: how many calls or events they have met, and when they end."""
    from citybrain.mesh.v1 import mesh_service_pb2 as pb

    from citybrain.cli.faults_on import together

    answers = _everywhere(config, data, lambda stub: stub.ListFaults(pb.ListFaultsRequest(), timeout=_ASK_S))
    rows = [_plain(one) for one in together(fault for answer in answers for fault in answer.faults)]
    if as_json:
        _out.print(json.dumps(rows, ensure_ascii=False, indent=2), soft_wrap=True)
    elif rows:
        _out.print(_table(rows))
    else:
        _out.print("no fault is on")


@app.command()
def clear(
    fault: Annotated[str, typer.Argument(metavar="[ID]", help="One, as `city fault list` shows it; else all.")] = "",
    data: Data = None,
    config: File = None,
) -> None:
    """Switches a fault off, or all of them. What it has led to stays: parked events wait for `city events replay`."""
    from citybrain.mesh.v1 import mesh_service_pb2 as pb

    request = pb.ClearFaultsRequest(fault_id=fault)
    cleared = sum(one.cleared for one in _everywhere(config, data, lambda stub: stub.ClearFaults(request, timeout=_ASK_S)))
    if not cleared and fault:
        raise Problem(f"no fault {fault} is on: `city fault list` shows those that are")
    _out.print("nothing was on" if not cleared else f"switched off in {cleared} processes" if cleared > 1 else "switched off")


def _everywhere(config: Path | None, data: Path | None, method: Callable[[Any], Any]) -> list[Any]:
    """The answers of the processes that have what is asked for. Problem: none has it, or one refuses."""
    from citybrain.cli.asking import NotHere, ask_all, processes

    settings = configuration.load(config, data=("--data", data))
    answers = [answer for _, answer in ask_all(processes(settings), method, settings)]
    given = [answer for answer in answers if not isinstance(answer, Problem)]
    for answer in answers:
        if isinstance(answer, Problem) and not (isinstance(answer, NotHere) and given):
            raise answer
    return given


def _plain(fault: Any) -> dict[str, Any]:
    from citybrain.cli.faults_on import kind_of, until

    return {
        "fault_id": fault.fault_id, "kind": str(kind_of(fault)), "service": fault.service, "target": fault.target,
        "share": fault.share, "seconds": fault.seconds, "hits": fault.hits,
        "until": until(fault).isoformat(timespec="seconds"), "who": fault.who, "reason": fault.reason,
    }  # fmt: skip


def _table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for title in ("fault", "kind", "of", "share", "seconds", "met", "until", "who", "why"):
        shown.add_column(title, justify="right" if title in ("share", "seconds", "met") else "left", overflow="fold")
    for row in rows:
        of = f"{row['service']} {row['target']}".strip()
        told = (f"{row['share']:g}", f"{row['seconds']:g}", str(row["hits"]), row["until"], row["who"], row["reason"])
        shown.add_row(row["fault_id"], row["kind"], of, *told)
    return shown
