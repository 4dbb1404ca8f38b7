"""The `city` command. It is long because each command is a function here, with its help."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# Asked for when gRPC is loaded: its own notes ("Got goaway …") say nothing to whoever reads what a command says. Processes that
# a command starts inherit it.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from citybrain.cli import (
    api,
    audit,
    backup,
    configuration,
    contracts,
    dashboards,
    dev,
    engines,
    events,
    evidence,
    fault,
    gateway,
    log,
    logs,
    new,
    personal,
    prepare,
    quotas,
    rebuild,
    sagas,
    sandbox,
    token,
)
from citybrain.cli.configuration import Data, File
from citybrain.cli.incident import command as incident
from citybrain.local.problems import Problem
from citybrain.mesh.ids import in_header
from citybrain.mesh.personal.secret_files import OWN_FILES
from citybrain.mesh.settings.version import installed_version
from citybrain.observability.console import Terminal
from citybrain.observability.terminal import escaped

app = typer.Typer(
    name="city",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_out = Terminal(highlight=False)
# Packages that no service needs, and the extra of the wheel that installs each.
EXTRAS = {"libsumo": "demo", "sumolib": "demo", "jgo": "engines", "wntr": "networks", "pyswmm": "networks"}

# Options have no defaults of their own: one that is not given is looked for in the environment and in city.yaml.
Gateway = Annotated[str | None, typer.Option(help="Address of the gateway: host:port.", show_default="the one configured")]


def _tell_version(asked: bool) -> None:
    if asked:
        _out.print(f"city {installed_version()}", markup=False)
        raise typer.Exit


@app.callback()
def _city(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Says which this is.")
    ] = False,
) -> None:
    """The City Brain on this machine: run it, call it, follow an incident through it."""
    # Files that these six make are for everybody to read; files of all other commands are only for the city's account.
    if context.invoked_subcommand not in ("api", "contracts", "dashboards", "demo", "new", "stubs"):
        os.umask(OWN_FILES)


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes any free one.", show_default="8080"),
    ] = None,
    data: Data = None,
    driven: Annotated[
        bool | None,
        typer.Option("--driven", help="City time stands until a caller moves it (Advance).", show_default=False),
    ] = None,
    only: Annotated[str, typer.Option(metavar="SERVICE[,…]", help="Services to run; all when none is named.")] = "",
    without: Annotated[
        str, typer.Option(metavar="SERVICE[,…]", help="Services to leave out, e.g. one that runs under `city dev`.")
    ] = "",
    apart: Annotated[bool, typer.Option("--apart", help="Each service in a process of its own.")] = False,
    copies: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVICE=N", help="N processes of a service, behind one address. May be given again."),
    ] = None,
    engines: Annotated[
        bool, typer.Option("--engines", help="On a Kafka and a Cassandra of its own, below the data folder, instead of a file.")
    ] = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="TLS between its processes too, with certificates of its own, if none are configured.")
    ] = False,
    folder: Annotated[
        list[Path] | None, typer.Option(help="A folder with more services, each with its manifest. May be given again.")
    ] = None,
    config: File = None,
) -> None:
    """Starts the mesh behind its gateway and stays up until Ctrl-C. A process that ends meanwhile is started again.

    Values that are not given here come from the environment (CITY_…), then from city.yaml: `city config explain` shows them.
    """
    from citybrain.local.city import LocalCity
    from citybrain.local.stopping import Stop
    from citybrain.mesh.startup.serve import choose

    names, left_out = ([name.strip() for name in given.split(",") if name.strip()] for given in (only, without))
    choose(left_out, folder or [])
    alone = [(manifest.name,) for manifest in choose(names, folder or []) if manifest.name not in left_out]
    chosen = configuration.load(
        config,
        gateway__port=("--port", port),
        data=("--data", data),
        time=("--driven", "driven" if driven else None),
        processes__groups=("--apart", alone if apart else None),
        processes__copies=("--copies", _numbers(copies) if copies else None),
    )
    asked = configuration.load(config).asked
    tell = lambda what: _out.print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} city: {what}", markup=False)  # noqa: E731
    city = LocalCity(
        chosen, chosen.gateway, only=names, without=left_out, folders=folder or [], engines=engines, tls=tls, say=tell
    )
    with Console(stderr=True).status("Starting the mesh and its gateway"):
        address = city.start()
    try:
        with Stop() as stop:
            _out.print(
                f"The city answers at [bold]{address}[/] (gRPC and JSON). Events are kept in {city.data}/. Ctrl-C stops it."
            )
            _out.print("Try, in another terminal:")
            where = "" if data is None else f" --data {data}"
            gateway = "" if address == asked else f" --gateway {address}"
            _out.print(f"  city call emergency_command/ListIncidents '{{}}'{gateway}{where}", markup=False)
            bearer = f'-H "authorization: Bearer $(city token{where})"'
            _out.print(f"  curl -s {bearer} http://{address}/v1/incidents", markup=False)
            if chosen.gateway.pages:
                _out.print(f"In a browser: http://{address}/docs/ has every method, to read and to try.", markup=False)
            stop.wait()
        _out.print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} Stopping.", markup=False)
    finally:
        city.stop()


def _numbers(given: list[str]) -> dict[str, object]:
    """`health=2` as the configuration has it, which refuses what is no number."""
    return {name: number for name, _, number in (one.partition("=") for one in given)}


@app.command()
def stubs(
    protos: Annotated[Path, typer.Argument(help="The folder below which the .proto files lie as they are imported.")],
    into: Annotated[Path, typer.Option(help="Where the stubs are put.")] = Path("stubs"),
) -> None:
    """Builds the Python stubs of contracts in a folder of your own; they may import those of the city."""
    from citybrain.local.contracts import build_stubs

    for name in build_stubs(protos, into):
        _out.print(f"{name} → {into}", markup=False)


@app.command()
def status(
    data: Data = None,
    address: Annotated[
        str | None, typer.Option(help="Ask what answers there instead: a process of the mesh, or a gateway. host:port.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    config: File = None,
) -> None:
    """Says what runs on the data folder: processes, services, whether they are ready or why not, how far each group is.

    Ends with 0 if all is ready, with 1 if something is not, with 2 if nothing runs. A gateway (--address) tells only what is
    ready; a process also tells why not.
    """
    import json

    from citybrain.cli import status as found

    settings = configuration.load(config, data=("--data", data))
    folder = settings.data
    picture = found.behind(address, settings) if address else found.on_folder(settings)
    if as_json:
        _out.print(json.dumps(found.as_json(picture), ensure_ascii=False, indent=2), markup=False, soft_wrap=True)
    else:
        _out.print(found.shown(picture), soft_wrap=True)
    if not (picture.processes or picture.names or picture.gateways):
        raise Problem(f"nothing runs on {folder}: start it with `city up`, or name another --data")
    raise typer.Exit(0 if found.is_ready(picture) else 1)


@app.command()
def doctor(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object a finding, as JSON.")] = False,
    config: File = None,
) -> None:
    """Says what is wrong on this machine, with this configuration or with the mesh that runs here, and what to do about it.

    ✓ is well, · is worth knowing, ✗ is wrong and says what to do. Ends with 1 if something is wrong. Changes nothing.
    """
    import json
    from dataclasses import asdict

    from citybrain.cli import doctor as looks

    findings = []
    for finding in looks.examine(looks.here(config, data), Console(stderr=True)):
        findings.append(finding)
        if not as_json:
            _out.print(looks.shown(finding), soft_wrap=True)
    if as_json:
        _out.print(json.dumps(list(map(asdict, findings)), ensure_ascii=False, indent=2), markup=False, soft_wrap=True)
    raise typer.Exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


@app.command()
def call(
    method: Annotated[str, typer.Argument(metavar="SERVICE/METHOD", help="e.g. health/ListAmbulances")],
    request: Annotated[str, typer.Argument(metavar="JSON", help="The request, in proto JSON.")] = "{}",
    gateway: Gateway = None,
    data: Data = None,
    request_id: Annotated[str, typer.Option(help="The same id again is the same command again.")] = "",
    exercise: Annotated[
        str, typer.Option(metavar="NAME", help="As part of an exercise: the city is as it is, and nothing of it is changed.")
    ] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer (unary calls).")] = 10.0,
    config: File = None,
) -> None:
    """Calls any method through the gateway, by reflection; prints the answer as JSON.

    A process on the data folder, or a configured peer, can be asked past the gateway; with `tls` it is shown the certificate.
    It calls with the token in CITY_TOKEN, or with the own one of the city in --data, which may do everything.
    """
    from citybrain.local.calling import tls_at, token_here
    from citybrain.local.reflection import Remote, pretty

    settings = configuration.load(config, remote=("--gateway", gateway), data=("--data", data))
    metadata = [("x-request-id", in_header(request_id))] if request_id else []
    metadata += [("x-exercise", in_header(exercise))] if exercise else []
    with Remote(settings.asked, token_here(settings), tls_at(settings.asked, settings)) as remote:
        for answer in remote.call(method, request, timeout_s=timeout, metadata=metadata):
            _out.print(pretty(answer), markup=False, soft_wrap=True)


@app.command()
def trace(
    incident: Annotated[str, typer.Argument(metavar="ID", help="Of an incident, e.g. inc-0123456789ab, or of a trace.")],
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="The trees as JSON.")] = False,
    config: File = None,
) -> None:
    """Shows everything that happened for an incident as a tree: gateway, services, log and saga, with durations.

    For the id of a trace, which log lines and errors have, only that trace is shown.
    """
    import json

    from citybrain.local.traces import span_file
    from citybrain.observability.trace_store import TraceStore
    from citybrain.observability.trace_tree import as_json as tree_json
    from citybrain.observability.trace_tree import build, render

    path = configuration.load(config, data=("--data", data)).data / "traces.db"
    if not path.is_file():
        raise Problem(f"there is no trace store in {path.parent}: start the city with the same --data first")
    with span_file(path), contextlib.closing(TraceStore(path)) as store:
        title, spans = f"incident {incident}", store.by_incident(incident)
        if not spans:
            title, spans = f"trace {incident}", store.by_trace(incident.lower())
        roots = build(spans)
        if not roots:
            known = ", ".join(store.incidents(5)) or "none yet"
            raise Problem(f"no trace of {incident}; the newest incidents are: {known}")
    if as_json:
        _out.print(json.dumps(tree_json(roots), ensure_ascii=False, indent=2), markup=False, soft_wrap=True)
    else:
        _out.print(render(roots, title))


app.command()(api.api)
app.add_typer(configuration.app)
app.add_typer(contracts.app)
app.add_typer(engines.app)
app.command()(personal.erase)
app.add_typer(personal.keys)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(rebuild.rebuild)
app.command()(token.token)
app.command()(quotas.quotas)
app.command()(sandbox.sandbox)
app.add_typer(events.app)
app.add_typer(sagas.app)
app.add_typer(fault.app)
app.add_typer(log.app)
app.add_typer(logs.app)
app.add_typer(audit.app)
app.add_typer(evidence.app)
app.add_typer(new.app)
app.command()(dev.dev)
app.command()(incident.incident)
app.command()(gateway.gateway)
app.command()(dashboards.dashboards)
app.command()(prepare.prepare)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Plays a story in a city of its own: an emergency, unless you name another one (`city demo --help`)."""
    from importlib import import_module

    # Imported by name, because the demo is a room above this one and may not be installed. Imported only now, because SUMO
    # takes longer to load than any other command to run.
    import_module("citybrain.stories.command").play(context.args)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def serve(context: typer.Context) -> None:
    """Runs one service, some or all, in one process without a gateway (`city serve --help`)."""
    from citybrain.mesh.startup.serve import main as run

    raise typer.Exit(run(context.args))


def _mendable(error: Exception) -> bool:
    """Whether people can mend what went wrong by what the message says.

    The errors are loaded only when there is one: with them come gRPC and cryptography, which most commands do not need.
    """
    if isinstance(error, Problem):
        return True
    from citybrain.event_store.store import StoreError
    from citybrain.gateway.errors import GatewayError
    from citybrain.local.child import ChildError
    from citybrain.local.errors import EngineError
    from citybrain.local.reflection import CallError
    from citybrain.mesh.manifest import ManifestError
    from citybrain.mesh.settings.configuration import ConfigurationError

    return isinstance(error, (CallError, EngineError, GatewayError, ChildError, ConfigurationError, ManifestError, StoreError))


def main() -> None:
    """Runs the command. An error that people can mend is one line, without a traceback."""
    try:
        app()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.stderr.write(f"city: {error.name} is not installed: pip install 'hangzhou-city-brain[{extra}]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.close(sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        from citybrain.event_store.sqlite.database import is_refused, refused

        if not (error.filename and is_refused(error)):
            raise
        sys.stderr.write(f"city: {refused(Path(error.filename), error)}\n")
        sys.exit(2)
    except Exception as problem:
        if not _mendable(problem):
            raise
        sys.stderr.write(f"city: {escaped(str(problem), lines=True)}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
