"""`city logs`: which log lines the processes of a city write, while they run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

app = typer.Typer(name="logs", no_args_is_help=True, help="Which log lines the processes of a city write, while they run.")
_out = Terminal(highlight=False, markup=False)
_ASK_S = 10.0


Level = StrEnum("Level", ["debug", "info", "warning", "error"])
"""The lowest level that is written."""


@app.command()
def level(
    least: Annotated[Level, typer.Argument(metavar="LEVEL", help=", ".join(Level))],
    service: Annotated[str, typer.Option(metavar="SERVICE", help="Only processes with this service. Not given: all.")] = "",
    lasts_s: Annotated[float, typer.Option("--for", metavar="SECONDS", help="Then it is what it was. 0: it stays.", min=0)] = 0,
    data: Data = None,
    config: File = None,
) -> None:
    """Writes log lines of a level and above from now on; a process that starts anew has the configured level again."""
    from citybrain.mesh.v1 import mesh_service_pb2 as pb

    from citybrain.cli.asking import ask_all, processes

    settings = configuration.load(config, data=("--data", data))
    asked = [one for one in processes(settings) if service in ("", *one.services)]
    if not asked:
        raise Problem(f"no process here has {service}: `city status` shows which there are")
    request = pb.SetLogLevelRequest(level=least)
    if lasts_s:
        request.lasts.FromMilliseconds(round(lasts_s * 1000))
    for process, answer in ask_all(asked, lambda stub: stub.SetLogLevel(request, timeout=_ASK_S), settings):
        if isinstance(answer, Problem):
            raise answer
        until = f"for {lasts_s:g} s" if lasts_s else "until it ends"
        _out.print(f"{process.named}: {least} and above {until}; before: {answer.before}", soft_wrap=True)
