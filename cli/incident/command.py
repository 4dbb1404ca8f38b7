"""`city incident`: everything that happened for one incident, in every department, for whoever is on duty."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.cli.saga_calls import Gateway, Json, tree
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

_out = Terminal(highlight=False, markup=False, soft_wrap=True)


Id = Annotated[str, typer.Argument(metavar="ID", help="Of an incident, e.g. inc-0123456789ab, or of a saga without one.")]
Whole = Annotated[bool, typer.Option("--all", help="Every call in the timeline, not only those that are odd.")]
Page = Annotated[Path | None, typer.Option(metavar="FILE", help="Writes a page of it: one file, which needs no network.")]
Zipkin = Annotated[str, typer.Option(metavar="URL", help="Takes the spans from Zipkin, e.g. http://127.0.0.1:9411.")]
Logs = Annotated[
    list[Path] | None,
    typer.Option("--log-lines", metavar="FILE", help="Reads log lines there, not in the data folder; - is standard input."),
]


def incident(
    incident_id: Id,
    whole: Whole = False,
    html: Page = None,
    zipkin: Zipkin = "",
    logs: Logs = None,
    as_json: Json = False,
    gateway: Gateway = None,
    data: Data = None,
    config: File = None,
) -> None:
    """Shows an incident: what failed, what waits and for whom, what to do next; what happened in every department.

    The events are asked of the city; spans and log lines are read from its data folder, unless --zipkin and --log-lines say
    where else. What does not answer is named, and the rest is shown all the same. Ends with 1 if something failed or waits.
    """
    import json

    from citybrain.cli.incident import asking, page, plain, terminal
    from citybrain.cli.incident.story import findings
    from citybrain.cli.saga_calls import asking as sagas_asked

    asking.checked(incident_id)
    settings = configuration.load(config, remote=("--gateway", gateway), data=("--data", data))
    found = asking.gathered(incident_id, settings, lambda: sagas_asked(config, data, gateway), zipkin, logs or ())
    if not found.found:
        known = asking.known(settings.data)
        told = f"the newest incidents are: {known}" if known else "name the --data or the --gateway of its city"
        raise Problem("; ".join([f"nothing is known of {incident_id}", told, *found.missing]))
    if html is not None:
        try:
            html.write_text(page.page(found), encoding="utf-8")
        except OSError as error:
            raise Problem(f"{html} cannot be written: {error.strerror}: name another file") from None
    if as_json:
        _out.print(json.dumps(plain.plain(found), ensure_ascii=False, indent=2))
    else:
        for part in terminal.shown(found, whole=whole):
            # A tree is cut where lines are not broken.
            (_out if isinstance(part, Text) else tree).print(part)
        if html is not None:
            _out.print(f"\n{html} has all of it as a page")
    raise typer.Exit(1 if any(one.kind in ("failed", "waits") for one in findings(found)) else 0)
