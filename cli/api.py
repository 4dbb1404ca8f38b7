"""`city api`: the document of the API, as the gateway shows it at /docs/openapi.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from citybrain.local.problems import Problem


def api(
    only: Annotated[str, typer.Option(metavar="SERVICE[,…]", help="Services to describe; all when none is named.")] = "",
    out: Annotated[Path | None, typer.Option(help="The file to write; standard output when none is named.")] = None,
) -> None:
    """Prints what callers can call in JSON, as a document (OpenAPI 3.1): paths, fields, limits, scopes. Nothing has to run."""
    from citybrain.gateway.openapi import openapi
    from citybrain.local.contracts import descriptors
    from citybrain.mesh.startup.serve import choose

    names = [name.strip() for name in only.split(",") if name.strip()]
    document = openapi(choose(names, []), descriptors().read_bytes())
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Problem(f"{out} cannot be written: {error.strerror}: name another --out") from None
