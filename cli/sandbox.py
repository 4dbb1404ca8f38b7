"""`city sandbox`: a city of one's own with synthetic data, and a token for a district of it, in a minute."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from citybrain.cli import configuration
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

_out = Terminal(highlight=False, markup=False, soft_wrap=True)
_SCOPES = ("district.read", "district.acknowledge", "district.report", "usage.read", "catalogue.read")


def sandbox(
    district: Annotated[str, typer.Option(help="The district that you play: xihu, gongshu, shangcheng or binjiang.")] = "xihu",
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two emergencies.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Another seed is another day.")] = 1,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes any free one.", show_default="8080"),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder of the city; remove it to begin anew.")] = Path("sandbox"),
    as_json: Annotated[bool, typer.Option("--json", help="Where it answers and where the token is, as JSON.")] = False,
) -> None:
    """Starts a city with synthetic data and stays up until Ctrl-C: districts, roads, ambulances, emergencies.

    It writes a token for one district, which may hear the events of every sector, acknowledge notices and send reports.
    Nothing in it is measured or about anybody. The notices of the district that you play are yours to acknowledge.
    """
    # Imported only now, so that `--help` is quick.
    from citybrain.client import City
    from citybrain.local.city import LocalCity
    from citybrain.local.stopping import Stop
    from citybrain.mesh.access.installation import caller_token, open_ring
    from citybrain.mesh.access.rules import events_scope
    from citybrain.mesh.startup.serve import choose
    from citybrain.simulation.synthetic import DISTRICTS, SyntheticCity

    if district not in DISTRICTS:
        raise Problem(f"there is no district {district} in the sandbox: take one of {', '.join(DISTRICTS)}")
    settings = configuration.load(None, data=("--data", data), gateway__port=("--port", port))
    local = LocalCity(settings, settings.gateway)
    with Console(stderr=True).status("Starting a city with synthetic data"):
        address = local.start()
        try:
            packages = {name.rpartition(".")[0] for manifest in choose([], []) for name in manifest.publishes}
            scopes = [*_SCOPES, *sorted(map(events_scope, packages))]
            made = caller_token(
                settings, open_ring(settings), subject=f"district:{district}", scopes=scopes, district=district,
                clearance="INTERNAL",
            )  # fmt: skip
            token = (settings.data / f"{district}.token").absolute()
            token.touch(mode=0o600)
            token.write_text(made + "\n", encoding="ascii")
            city = City(address, local.token)
            life = SyntheticCity(city, seed=seed, every_s=every, played=[district])
            life.begin()
        except BaseException:
            local.stop()
            raise
    try:
        with Stop() as stop:
            for line in told(address, district, DISTRICTS[district], token, as_json=as_json):
                _out.print(line)
            stop.wait()
        _out.print("Stopping.")
    finally:
        life.stop()
        city.close()
        local.stop()


def told(address: str, district: str, name: str, token: Path, *, as_json: bool) -> list[str]:
    """What is said when the city is there."""
    if as_json:
        return [json.dumps({"address": address, "district": district, "token": str(token), "pid": os.getpid()})]
    return [
        f"The sandbox answers at {address}. The token of {name} ({district}) is in {token}.",
        f"In a browser: http://{address}/docs/events has every event, to find what to subscribe to.",
        "docs/tutorials/district-developer.md goes on from here. Ctrl-C stops it.",
    ]
