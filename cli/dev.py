"""`city dev`: one service while it is written, taken up at each save."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

_out = Terminal(highlight=False, markup=False, soft_wrap=True)


def dev(
    service: Annotated[str, typer.Argument(help="The service that is being written.")],
    folder: Annotated[
        list[Path] | None, typer.Option(help="A folder with more services, e.g. the one this lies in. May be given again.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the gateway, if no city runs yet.", show_default="8080")
    ] = None,
    data: Data = None,
    config: File = None,
) -> None:
    """Runs one service and starts it anew whenever one of its files is saved; stubs are built anew when its contract is.

    Beside a city that runs on the data folder, it joins it: callers reach it through the gateway, and it calls the others. If
    none runs, it gets a gateway of its own, and stand-ins for its neighbours, made from their contracts: they answer with empty
    messages, or with what `fakes.yaml` beside its manifest says, and each call to them is shown.
    """
    # Imported only now, so that `--help` is quick.
    from citybrain.local.city import LocalCity
    from citybrain.local.contracts import descriptors
    from citybrain.local.development import Development
    from citybrain.local.fake_neighbours import ANSWERS, FakeNeighbours
    from citybrain.mesh.manifest import find_manifests
    from citybrain.mesh.operations.neighbours import served
    from citybrain.mesh.startup.serve import choose, importable, rooms

    folders = [path.absolute() for path in folder or []]
    importable(folders)
    settings = configuration.load(config, data=("--data", data), gateway__port=("--port", port))
    (manifest,) = choose([service], folders)

    def tell(what: str) -> None:
        _out.print(f"{time.strftime('%H:%M:%S')} {what}")

    running = {there.name: one.said["pid"] for one, there in served(settings.data)}
    if service in running:
        raise Problem(
            f"{service} runs on {settings.data} already (process {running[service]}): start the city with "
            f"`city up --without {service}`, and then this"
        )
    with contextlib.ExitStack() as stack:
        peers = {}
        if not running:
            others = [one for one in find_manifests(rooms()) if one.name != service]
            answers = manifest.path.resolve().parent / ANSWERS
            fakes = FakeNeighbours(descriptors().read_bytes(), [one.grpc for one in others], answers, tell)
            peers = stack.enter_context(fakes).peers
            # A gateway needs a service that is there from the start: one that calls nobody.
            host = next(name for name in ("audit", "identity") if name != service)
            with Console(stderr=True).status("Starting a gateway"):
                city = stack.enter_context(LocalCity(settings, settings.gateway, only=[host], say=tell))
            assert city.gateway is not None
            tell(f"no city runs on {settings.data}: {service} has a gateway at {city.gateway.address}, and stand-ins to call")
        development = Development(manifest, settings, folders, peers, tell)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        tell(f"log lines of {service} go to {development.child.log_path}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            development.run()
