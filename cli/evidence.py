"""`city evidence`: whether the evidence of a case is as it was sealed. It needs the file alone, and asks no city."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

app = typer.Typer(name="evidence", no_args_is_help=True, help="The evidence of a case: whether somebody changed it.")
_out = Terminal(highlight=False, markup=False, soft_wrap=True)


@app.callback()
def _evidence() -> None:
    """The evidence of a case: whether somebody changed it."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What was exported: a record a line (GetCaseEvidence).")],
    head: Annotated[str, typer.Option(metavar="SEAL", help="The seal of a record, known from elsewhere.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Names every record that was changed, removed, moved, repeated or replaced. It asks no city.

    Ends with 1 if there is any. That the end was cut off shows only with --head: the seal that was told when the newest record
    was sealed.
    """
    from citybrain.client import evidence

    try:
        with file.open("rb") as lines:
            report = evidence.verify(lines, head)
    except OSError as error:
        raise Problem(f"{file} cannot be read: {error.strerror}") from None
    if as_json:
        _out.print(json.dumps({"sound": report.sound, **asdict(report)}, ensure_ascii=False, indent=2))
    else:
        _out.print(evidence.told(report))
    raise typer.Exit(0 if report.sound else 1)
