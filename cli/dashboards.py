"""`city dashboards`: dashboards of Grafana for each service and for the city, and rules of Prometheus; made from manifests."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

_out = Terminal(highlight=False, markup=False, soft_wrap=True)


def dashboards(
    services: Annotated[list[str] | None, typer.Argument(help="Services; all when none is named.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for the files, one a service.")] = Path("dashboards"),
    folder: Annotated[
        list[Path] | None, typer.Option(help="A folder with more services, each with its manifest. May be given again.")
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(help="A folder for rules of Prometheus too, one file a service that states objectives."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Prints them as one JSON object, and writes no file.")] = False,
) -> None:
    """Makes a dashboard of Grafana for each service, and, if none is named, those of the whole city and of the gateway.

    Import a file in Grafana, or have its provisioning read the folder. The numbers come from Prometheus, where the metrics of
    the mesh go (`metrics.endpoint`). The rules are recording rules and alerts that follow from the objectives in the manifest.
    """
    made = texts(services or [], folder or [])
    if as_json:
        _out.print(json.dumps({name: json.loads(text) for name, text in made.items()}, ensure_ascii=False, indent=2))
        return
    files = {out / f"{name}.json": text for name, text in made.items()}
    if rules is not None:
        files |= {rules / f"{name}.yaml": text for name, text in rule_texts(services or [], folder or []).items()}
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            _out.print(f"  {path}")
    except OSError as error:
        raise Problem(f"{error.filename} cannot be written: {error.strerror}") from None


def texts(services: list[str], folders: list[Path]) -> dict[str, str]:
    """The dashboards, by the names of their services; if none is named, those of the city too.

    Problem: there is no such service, or it cannot be loaded.
    """
    # Imported only now, so that `--help` is quick.
    from citybrain.mesh.entrypoints.reactions import Subscribe
    from citybrain.mesh.manifest import Manifest, ManifestError
    from citybrain.mesh.providers.views import View
    from citybrain.mesh.providers.waiting import WaitsForPeople
    from citybrain.mesh.startup.entry import entrypoints, load_entry
    from citybrain.mesh.startup.serve import choose, importable
    from citybrain.observability.city_dashboards import all_dashboards
    from citybrain.observability.dashboards import Told, of_service

    def told(manifest: Manifest) -> Told:
        service = load_entry(manifest)
        hears = bool(entrypoints(service, Subscribe))
        follows = hears or bool(inspect.getmembers(service, lambda member: isinstance(member, View)))
        asks = bool(inspect.getmembers(service, lambda member: isinstance(member, WaitsForPeople)))
        return Told(
            manifest.name, manifest.title, manifest.team, bool(manifest.publishes), hears, follows, asks,
            promises=manifest.objectives is not None, calls=bool(manifest.calls),
        )  # fmt: skip

    importable(folders)
    try:
        chosen = choose(services, folders)
        made = {one.name: of_service(told(one)) for one in chosen}
    except ManifestError as error:
        raise Problem(str(error)) from None
    made |= {} if services else all_dashboards()
    return {name: json.dumps(one, ensure_ascii=False, indent=2) + "\n" for name, one in made.items()}


def rule_texts(services: list[str], folders: list[Path]) -> dict[str, str]:
    """The rules of those services that state objectives, by their names. Problem: there is no such service."""
    from citybrain.mesh.manifest import Calls, ManifestError, Objectives
    from citybrain.mesh.startup.serve import choose, importable
    from citybrain.observability.objectives import Promise, rules

    def promises(stated: Objectives) -> Iterator[Promise]:
        for kind, objective in (("read", stated.read), ("command", stated.command), ("stream", stated.stream)):
            if objective is not None:
                yield Promise(kind, objective.answered / 100)
            if isinstance(objective, Calls):
                yield Promise(kind, objective.part / 100, objective.within_s)
        if stated.events is not None:
            yield Promise("events", stated.events.part / 100, stated.events.within_s)

    importable(folders)
    try:
        chosen = choose(services, folders)
    except ManifestError as error:
        raise Problem(str(error)) from None
    return {one.name: rules(one.name, tuple(promises(one.objectives))) for one in chosen if one.objectives is not None}
