"""`city quotas`: what consumers have used today of what they may use on a day."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

_out = Terminal(highlight=False, markup=False)
_err = Terminal(stderr=True, highlight=False, markup=False, soft_wrap=True)
_ASK_S = 10.0
_CLASSES = ("read", "command", "stream")


def quotas(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, data: Data = None, config: File = None
) -> None:
    """Lists what each consumer has used today, of all processes together, and what they may use on a day.

    A consumer that no running process has seen since it started is shown by its digest. Ends with 1 if a process does not
    answer.
    """
    from citybrain.cli.asking import ask_all, processes

    settings = configuration.load(config, data=("--data", data))
    found: dict[str, dict[str, Any]] = {}
    begins, silent = "", []
    for _, answer in ask_all(processes(settings), _asked, settings):
        if isinstance(answer, Problem):
            silent.append(str(answer))
            continue
        uses, begins = answer
        for one in uses:
            _add(found.setdefault(one.consumer, {"consumer": one.consumer, "subject": "", "team": ""}), one)
    if silent and not begins:
        raise Problem(silent[0])
    # Those who have used the largest part first; without a limit, the largest number.
    rows = sorted(found.values(), key=lambda one: (-_part(one), -sum(one[name]["used"] for name in _CLASSES), one["consumer"]))
    if as_json:
        _out.print(json.dumps({"begins_anew_at": begins, "consumers": rows}, ensure_ascii=False, indent=2), soft_wrap=True)
    elif rows:
        _out.print(_table(rows))
        _out.print(f"it begins anew at {begins}", soft_wrap=True)
    else:
        _out.print("nobody has used anything today", soft_wrap=True)
    for one in silent:
        _err.print(f"city: {one}")
    raise typer.Exit(1 if silent else 0)


def _asked(stub: Any) -> tuple[list[Any], str]:
    """What one process knows, page by page, and when the next day begins."""
    from citybrain.mesh.v1 import mesh_service_pb2 as pb

    from citybrain.mesh.access.limits import HANGZHOU

    uses: list[Any] = []
    request = pb.ListQuotasRequest()
    while True:
        answer = stub.ListQuotas(request, timeout=_ASK_S)
        uses += answer.uses
        if not answer.next_page_token:
            anew: datetime = answer.begins_anew_at.ToDatetime(HANGZHOU)
            return uses, anew.isoformat()
        request.page_token = answer.next_page_token


def _add(known: dict[str, Any], one: Any) -> None:
    """Each process knows the names of those who called it, and the sums of all as they were a moment ago."""
    known["subject"], known["team"] = known["subject"] or one.subject, known["team"] or one.team
    for name in _CLASSES:
        use, before = getattr(one, name), known.get(name, {"used": 0, "limit": 0})
        known[name] = {"used": max(use.used, before["used"]), "limit": use.limit or before["limit"]}


def _part(one: dict[str, Any]) -> float:
    return max(one[name]["used"] / one[name]["limit"] if one[name]["limit"] else 0.0 for name in _CLASSES)


def _table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for title in ("consumer", "team", *_CLASSES):
        text = title in ("consumer", "team")
        shown.add_column(title, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for one in rows:
        shown.add_row(one["subject"] or f"{one['consumer']} (not seen)", one["team"], *(_of(one[name]) for name in _CLASSES))
    return shown


def _of(use: dict[str, int]) -> str:
    return f"{use['used']} of {use['limit']}" if use["limit"] else str(use["used"])
