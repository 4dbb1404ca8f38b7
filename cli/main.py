"""The `city` command."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from citybrain.cli.problems import Problem

app = typer.Typer(
    name="city",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The City Brain on this machine: run it, call it, follow an incident through it.",
)
_out = Console(highlight=False)
_DATA = Path("data")

Gateway = Annotated[str, typer.Option(envvar="CITY_GATEWAY", help="Address of the gateway: host:port.")]
Data = Annotated[Path, typer.Option(envvar="CITY_DATA", help="Where events, views and traces are kept.")]


@app.command()
def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes any free one.")] = 8080,
    data: Data = _DATA,
    driven: Annotated[bool, typer.Option(help="City time stands until a caller moves it (Advance).")] = False,
) -> None:
    """Starts the mesh behind its gateway and stays up until Ctrl-C."""
    from citybrain.cli.local import LocalCity

    city = LocalCity(data, port=port, driven=driven)
    address = city.start()
    _out.print(f"The city answers at [bold]{address}[/] (gRPC and JSON). Events are kept in {data}/. Ctrl-C stops it.")
    _out.print("Try, in another terminal:")
    gateway = "" if port == 8080 else f" --gateway {address}"
    _out.print(f"  city call emergency_command/ListIncidents '{{}}'{gateway}", markup=False)
    _out.print(f"  curl -s http://{address}/v1/incidents", markup=False)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pause()
    except KeyboardInterrupt:
        _out.print("Stopping.")
    finally:
        city.stop()


@app.command()
def call(
    method: Annotated[str, typer.Argument(metavar="SERVICE/METHOD", help="e.g. health/ListAmbulances")],
    request: Annotated[str, typer.Argument(metavar="JSON", help="The request, in proto JSON.")] = "{}",
    gateway: Gateway = "127.0.0.1:8080",
    request_id: Annotated[str, typer.Option(help="The same id again is the same command again.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer (unary calls).")] = 10.0,
) -> None:
    """Calls any method through the gateway, by reflection; prints the answer as JSON."""
    from citybrain.cli.reflection import Remote, pretty

    metadata = [("x-caller", "city-cli"), *([("x-request-id", request_id)] if request_id else [])]
    with Remote(gateway) as remote:
        for answer in remote.call(method, request, timeout_s=timeout, metadata=metadata):
            _out.print(pretty(answer), markup=False, soft_wrap=True)


@app.command()
def trace(
    incident: Annotated[str, typer.Argument(help="Incident id, e.g. inc-0123456789ab.")],
    data: Data = _DATA,
    as_json: Annotated[bool, typer.Option("--json", help="The trees as JSON.")] = False,
) -> None:
    """Shows everything that happened for an incident as a tree: gateway, services, log and saga, with durations."""
    import json

    from citybrain.observability.trace_store import TraceStore
    from citybrain.observability.trace_tree import as_json as tree_json
    from citybrain.observability.trace_tree import build, render

    path = data / "traces.db"
    if not path.is_file():
        raise Problem(f"there is no trace store in {data}: start the city with the same --data first")
    store = TraceStore(path)
    try:
        roots = build(store.by_incident(incident))
        if not roots:
            known = ", ".join(store.incidents(5)) or "none yet"
            raise Problem(f"no trace of {incident}; the newest incidents are: {known}")
    finally:
        store.close()
    if as_json:
        _out.print(json.dumps(tree_json(roots), ensure_ascii=False, indent=2), markup=False, soft_wrap=True)
    else:
        _out.print(render(roots, f"incident {incident}"))


def _add_demo() -> None:
    from importlib import import_module

    # By name: the demo stands above the command line, and a mesh that is installed without it still has its commands.
    app.command()(import_module("citybrain.demo.command").demo)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def serve(context: typer.Context) -> None:
    """Runs one service, some or all, in one process without a gateway (`city serve --help`)."""
    from citybrain.mesh.serve import main as run

    raise typer.Exit(run(context.args))


def main() -> None:
    """Runs the command; what people can mend is one line without a traceback."""
    from citybrain.cli.reflection import CallError
    from citybrain.gateway.errors import GatewayError
    from citybrain.mesh.child import ChildError
    from citybrain.mesh.manifest import ManifestError

    try:
        _add_demo()
        app()
    except (Problem, CallError, GatewayError, ChildError, ManifestError) as problem:
        sys.stderr.write(f"city: {problem}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.close(sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
