"""`city engines`: Kafka and Cassandra on this machine. They stay up until `city engines down`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from citybrain.cli import configuration
from citybrain.cli.configuration import File
from citybrain.local.engine_processes import EngineProcesses
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

app = typer.Typer(name="engines", no_args_is_help=True, help="Kafka and Cassandra as processes of this machine.")
_out = Terminal(highlight=False)
_FOLDER = "engines"
_Port = typer.Option(min=0, max=65535, help="Port for clients; 0 takes the one it had on this folder, or a free one.")
Data = Annotated[Path | None, typer.Option(help="They keep what is theirs in its folder `engines`.", show_default="data")]


def _say(line: str) -> None:
    _out.print(line, markup=False, soft_wrap=True)


def _folder(data: Path | None, config: Path | None) -> Path:
    return configuration.load(config, data=("--data", data)).data / _FOLDER


@app.command()
def up(
    data: Data = None,
    kafka_port: Annotated[int, _Port] = 9092,
    cassandra_port: Annotated[int, _Port] = 9042,
    config: File = None,
) -> None:
    """Starts both, and returns when they answer. They stay up until `city engines down`."""
    folder = _folder(data, config)
    engines = EngineProcesses.start(folder, kafka_port=kafka_port, cassandra_port=cassandra_port, stays=True, say=_say)
    for engine in engines.all:
        _say(f"{engine.name} answers at {engine.address} (process {engine.pid})")


@app.command()
def down(data: Data = None, config: File = None) -> None:
    """Asks both to end, and returns when they have. Their data stays."""
    engines = EngineProcesses(_folder(data, config))
    running = [engine.name for engine in engines.all if engine.running]
    engines.stop()
    _say(f"stopped: {', '.join(running)}" if running else "none was running")


@app.command()
def status(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object an engine, as JSON.")] = False,
    config: File = None,
) -> None:
    """Says for each whether it answers. Ends with 0 if both do, with 1 if one does not, with 2 if none runs."""
    folder = _folder(data, config)
    found = [
        {
            "name": engine.name,
            "state": "ready" if engine.healthy else "not answering" if engine.running else "not running",
            "address": engine.address if engine.running else "",
            "pid": engine.pid,
            "memory_mb": engine.memory_bytes >> 20,
        }
        for engine in EngineProcesses(folder).all
    ]
    if as_json:
        _say(json.dumps(found, indent=2))
    else:
        for one in found:
            where = f" at {one['address']}, process {one['pid']}, {one['memory_mb']} MB" if one["pid"] else ""
            _say(f"{one['name']}: {one['state']}{where}")
    if not any(one["pid"] for one in found):
        raise Problem(f"no engine runs on {folder}: start them with `city engines up`, or name another --data")
    raise typer.Exit(0 if all(one["state"] == "ready" for one in found) else 1)


@app.command()
def logs(
    engine: Annotated[
        Literal["kafka", "cassandra"] | None, typer.Argument(help="Of this one only.", show_default="both")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many of the last lines.")] = 20,
    data: Data = None,
    config: File = None,
) -> None:
    """Shows the last lines of their logs."""
    for one in EngineProcesses(_folder(data, config)).all:
        if engine in (None, one.name):
            for line in one.tail(lines):
                _say(f"{one.name}: {line}")
