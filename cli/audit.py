"""`city audit`: whether the audit trail is as it was written, and what callers did."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal
from citybrain.observability.words import counted

if TYPE_CHECKING:
    from citybrain.audit.v1.records_pb2 import Record

    from citybrain.mesh.audit.reading import Found, Query
    from citybrain.mesh.audit.verifying import Ends, Finding, Report
    from citybrain.mesh.settings.values import Settings

app = typer.Typer(name="audit", no_args_is_help=True, help="The audit trail: who did what, and whether somebody changed that.")
_out = Terminal(highlight=False, markup=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def verify(
    since: Annotated[str, typer.Option(metavar="DAY", help="Only chains of this day and later, e.g. 2026-01-05.")] = "",
    against: Annotated[
        Path | None, typer.Option(help="An earlier report (--json): what it knew must still be there, unchanged.")
    ] = None,
    as_json: Json = False,
    data: Data = None,
    config: File = None,
) -> None:
    """Reads the whole audit trail, also while the city runs, and names what was removed, changed, reordered or inserted.

    Ends with 1 if there is anything. Records of the last minute may be cut off unnoticed, and a trail that was written anew as
    a whole fits: keep reports elsewhere, and give the last one with --against.
    """
    from citybrain.event_store.store import StoreError

    settings = configuration.load(config, data=("--data", data))
    day = _moment(since).strftime("%Y%m%d") if since else ""
    earlier = _ends(against) if against else {}
    try:
        report = asyncio.run(_verified(settings, day, earlier))
    except (StoreError, OSError) as error:
        raise Problem(str(error)) from None
    if as_json:
        _out.print(json.dumps({"sound": report.sound, **asdict(report)}, ensure_ascii=False, indent=2))
    else:
        _out.print("\n".join([*map(_told, report.findings), _summary(report)]))
    raise typer.Exit(0 if report.sound else 1)


@app.command(name="list")
def list_records(
    subject: Annotated[str, typer.Option(help="Who called, or for whom: the whole name.")] = "",
    method: Annotated[str, typer.Option(help="The method, or the end of its name: ReserveBed.")] = "",
    person: Annotated[str, typer.Option(help="Whose data it was: the id, e.g. per-0123456789abcdef.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Kept at or after this time (UTC unless it says another).")] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Only calls that were refused.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The newest, at most so many.")] = 1000,
    as_json: Json = False,
    data: Data = None,
    config: File = None,
) -> None:
    """Lists what callers did, the newest last. Nothing here is checked: `city audit verify` does that."""
    from citybrain.event_store.store import StoreError
    from citybrain.mesh.audit.reading import Query

    settings = configuration.load(config, data=("--data", data))
    moment = int(_moment(since).timestamp() * 1e6) if since else 0
    try:
        found = asyncio.run(_listed(settings, Query(subject, method, person, moment, refused), limit))
    except (StoreError, OSError) as error:
        raise Problem(str(error)) from None
    if as_json:
        _out.print(json.dumps([_plain(one) for one in found], ensure_ascii=False, indent=2))
    else:
        _out.print("\n".join(_line(one.record) for one in found) or "there are no such records")


async def _verified(settings: Settings, since: str, earlier: Ends) -> Report:
    from citybrain.cli.personal import opened
    from citybrain.mesh.audit.verifying import verify as verified

    engine = await opened(settings)
    try:
        await engine.up_to_now()
        with _shown() as show:
            return await verified(engine.store, since=since, earlier=earlier, progress=show)
    finally:
        await engine.close()


async def _listed(settings: Settings, query: Query, limit: int) -> list[Found]:
    """The newest records, oldest first. Partitions come one after the other, so all are looked at."""
    from citybrain.cli.personal import opened
    from citybrain.cli.recording import recorded
    from citybrain.mesh.audit.reading import Found, records

    engine = await opened(settings)
    newest: list[tuple[int, int, Found]] = []
    order = itertools.count()
    try:
        await engine.up_to_now()
        with _shown() as show:
            async for one in records(engine.store, query):
                if isinstance(one, Found):
                    heapq.heappush(newest, (one.record.at.ToMicroseconds(), next(order), one))
                    if len(newest) > limit:
                        heapq.heappop(newest)
                else:
                    show("the log", one.position)
        # Who looked is recorded before it is shown.
        async with recorded(engine, "city audit list"):
            pass
    finally:
        await engine.close()
    return [one for _, _, one in sorted(newest, key=lambda item: item[:2])]


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[str, int], None]]:
    """Shows people what is being read, and how far it is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what, done: None
        return
    with console.status("Reading the audit trail", refresh_per_second=2) as status:
        yield lambda what, done: status.update(f"Reading {what}: {done}")


def _ends(report: Path) -> Ends:
    """The ends of the chains in an earlier report. Problem: it is none."""
    try:
        chains: dict[str, dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["chains"]
        known = {name: (int(one["batches"]), bytes.fromhex(one["hash"])) for name, one in chains.items()}
    except OSError as error:
        raise Problem(f"{report} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Problem(f"{report} is no report: give one that `city audit verify --json` has printed") from None
    return {name: end for name, end in known.items() if end[0]}


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(f"{text} is no time: write 2026-01-05 or 2026-01-05T08:00:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _told(one: Finding) -> str:
    which = f"batch {one.first}" if one.first == one.last else f"batches {one.first} to {one.last}"
    return f"✗ {one.chain}: {which} {'was' if one.first == one.last else 'were'} {one.what}: {one.why}"


def _summary(report: Report) -> str:
    from citybrain.mesh.audit.chain import ANCHORS

    own = [one for name, one in report.chains.items() if name != ANCHORS]
    batches, records = sum(one.batches for one in own), sum(one.records for one in own)
    verdict = "sound" if report.sound else counted(len(report.findings), "finding")
    said = f"{counted(len(own), 'chain')}, {counted(batches, 'batch')}, {counted(records, 'record')}: {verdict}"
    waits = sum(one.batches > one.anchored for one in own)
    return f"{said}; not anchored to their end: {counted(waits, 'chain')}" if waits else said


def _line(record: Record) -> str:
    from citybrain.audit.v1 import records_pb2 as pb

    who = record.subject + (f" ({record.team})" if record.team else "")
    who += f" for {record.on_behalf_of}" if record.on_behalf_of else ""
    about = f" about {', '.join(record.person_ids[:3])}" if record.person_ids else ""
    about += f" and {len(record.person_ids) - 3} more" if len(record.person_ids) > 3 else ""
    decision = "allowed" if record.decision == pb.DECISION_ALLOWED else "refused"
    ended = f"{record.code} {record.reason}".strip()
    method = re.sub(r"^citybrain\.|\.v\d+\.\w+", "", record.method)
    at = record.at.ToDatetime(UTC).isoformat(timespec="milliseconds")
    return f"{at}  {decision} {ended}  {who}  {method}{about}  request {record.request_id or '-'}"


def _plain(one: Found) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    plain: dict[str, Any] = MessageToDict(one.record, preserving_proto_field_name=True)
    return plain | {"chain": one.chain, "batch": one.number}
