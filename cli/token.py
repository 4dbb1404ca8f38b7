"""`city token`: a token for calls to the city, made from the keys of the installation on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

_out = Terminal(highlight=False, markup=False, soft_wrap=True)


def token(
    subject: Annotated[str, typer.Option(help="Whom it is for.", show_default="the operator of this installation")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="What it allows, e.g. health.read. May be given again.", show_default="everything")
    ] = None,
    team: Annotated[str, typer.Option(help="The team it belongs to.")] = "",
    district: Annotated[str, typer.Option(help="The district it is bound to.", show_default="none")] = "",
    clearance: Annotated[
        str,
        typer.Option(
            help="What it may see: PUBLIC, INTERNAL, RESTRICTED or SECRET.", show_default="PUBLIC; for the operator SECRET"
        ),
    ] = "",
    hours: Annotated[
        float | None,
        typer.Option(help="How long it lasts; at most identity.longest_h.", show_default="12, or what it may"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With what it allows, as JSON.")] = False,
    data: Data = None,
    config: File = None,
) -> None:
    """Prints a token for calls to the city: `curl -H "authorization: Bearer $(city token)" …`.

    Without options it is the installation's own, which may do everything. With a --subject it allows only what is named here.
    Who can read the folder of the keys can make any token.
    """
    # Imported only now, so that `--help` is quick.
    from citybrain.mesh.access.installation import OPERATOR, NoSuchToken, caller_token, keys_folder, open_ring, usual_s
    from citybrain.mesh.access.principal import EVERYTHING

    settings = configuration.load(config, data=("--data", data))
    folder: Path = keys_folder(settings)
    if not folder.is_dir():
        raise Problem(f"there are no keys at {folder}: start the city once with `city up`, or name another --data")
    if not subject and (scope or team or district or clearance):
        raise Problem("say whom a token with less than everything is for: give a --subject")
    scopes = scope or ([] if subject else [EVERYTHING])
    if not scopes:
        raise Problem("say what the token allows: give a --scope, e.g. --scope health.read")
    asked: dict[str, Any] = {
        "subject": subject or OPERATOR, "scopes": scopes, "team": team, "district": district,
        "clearance": clearance or ("PUBLIC" if subject else "SECRET"),
    }  # fmt: skip
    ring = open_ring(settings)
    hours = usual_s(ring) / 3600 if hours is None else hours
    try:
        made = caller_token(settings, ring, lasts_s=hours * 3600, **asked)
    except NoSuchToken as error:
        raise Problem(str(error)) from None
    _out.print(json.dumps({"token": made, **asked, "hours": hours}, ensure_ascii=False) if as_json else made)
