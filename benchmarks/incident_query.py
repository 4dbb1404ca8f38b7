"""incident-query: `city incident` of one of many, in a store of very many spans, with a process of the mesh that answers.

An emergency is played once, through all departments, and its events, spans and log lines are kept. Every incident of the
benchmark is a copy of it with ids of its own: its events once, its spans in so many traces that the store has as many as are
wanted, copies of different incidents in turns, so that those of one are scattered over the file. Log files are full: as large
as the files of a city become before they are begun anew.

What is measured is all that the command does, from the id to the text: spans, log lines, four methods of the sagas, the status
of the process; in this process, and as a command with the start of Python. Beside it stand the same rows, read by plain SQL,
and a command that only says its version.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from citybrain.sagas.v1.saga_service_pb2 import SAGA_STATE_COMPLETED
from rich.text import Text

from benchmarks.kit.waiting import caught_up
from benchmarks.rows import Aim, Row, quantile
from citybrain.cli import configuration, groups
from citybrain.cli.incident import asking, log_lines, terminal
from citybrain.cli.saga_calls import asking as sagas_asked
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import NewEvent
from citybrain.local.child import MeshChild
from citybrain.mesh.settings.values import Log
from citybrain.observability.console import Terminal
from citybrain.observability.receiver import Receiver
from citybrain.observability.spans import Link, Span
from citybrain.observability.trace_store import OF_INCIDENT, TraceStore
from tests.helpers.callers import calling
from tests.helpers.paper_city import PaperCity

CITY = str(Path(sys.executable).parent / "city")
FULL, SMALL = (1000, 1_000_000), (50, 50_000)
"""So many incidents, and so many spans."""
_CAUGHT_UP_S = 900
_AT_ONCE = 10_000


def measure(full: bool) -> list[Row]:
    """All rows."""
    incidents, spans = FULL if full else SMALL
    with _filled(incidents, spans, full) as (data, child, filled):
        ids = [_id(number) for number in range(incidents)]
        random.Random(1).shuffle(ids)
        taken: dict[str, list[float]] = {}
        asked = ids[: 100 if full else 50]
        for incident_id in asked:
            taken.setdefault("query", []).append(_timed(partial(_query, incident_id, data, child.address)))
            taken.setdefault("rows", []).append(_timed(partial(_rows, incident_id, data)))
        parts = _parts(asked[:25], data, child.address)
        command = [CITY, "incident", "", "--json", "--data", str(data), "--gateway", child.address]
        for incident_id in ids[-(20 if full else 10) :]:
            command[2] = incident_id
            taken.setdefault("command", []).append(_timed(partial(_run, command)))
            taken.setdefault("version", []).append(_timed(partial(_run, [CITY, "--version"])))
    name = f"incident-query, {incidents:,} incidents and {spans:,} spans"
    aim, peer, start = Aim(500, "value", least=False), "the rows of its spans, by plain SQL", "`city --version`"

    def row(what: str, kind: str, beside: str, q: float, peer: str, aim: Aim | None = None, **profile: float) -> Row:
        ms = [quantile(taken[one], q) * 1000 for one in (kind, beside)]
        return Row(f"{name}{what} p{q * 100:.0f}", ms[0], "ms", f"{peer}, p{q * 100:.0f}", ms[1], aim, profile)

    start_ms, query_ms, command_ms = (quantile(taken[one], 0.5) * 1000 for one in ("version", "query", "command"))
    whole = {
        "start of Python and of `city`, ms": start_ms,
        "the query, ms": query_ms,
        "loading gRPC, contracts and keys, and JSON, ms": command_ms - start_ms - query_ms,
    }
    return [
        row("", "query", "rows", 0.5, peer),
        row("", "query", "rows", 0.95, peer, aim, **parts, **filled),
        row(", as a command", "command", "version", 0.5, start),
        row(", as a command", "command", "version", 0.95, start, aim, **whole),
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _query(incident_id: str, data: Path, address: str) -> None:
    """What the command does, in this process."""
    settings = configuration.load(None, remote=("--gateway", address), data=("--data", data))
    found = asking.gathered(incident_id, settings, lambda: sagas_asked(None, data, address))
    assert not found.missing, found.missing
    told = (len(found.spans), len(found.lines), len(found.sagas), len(found.events))
    assert min(told) > 0 and found.sagas[0].state == SAGA_STATE_COMPLETED, (incident_id, told, found.sagas)
    said = Terminal(file=io.StringIO(), width=160)
    for part in terminal.shown(found):
        said.print(part, soft_wrap=isinstance(part, Text))


def _rows(incident_id: str, data: Path) -> None:
    with contextlib.closing(sqlite3.connect(data / "traces.db")) as database:
        found = database.execute(f"SELECT * FROM spans WHERE {OF_INCIDENT}", (incident_id,)).fetchall()
    assert found


def _parts(incident_ids: list[str], data: Path, address: str) -> dict[str, float]:
    """What the parts of the work cost, in milliseconds."""
    settings = configuration.load(None, remote=("--gateway", address), data=("--data", data))
    taken: dict[str, list[float]] = {"spans": [], "log lines": [], "the city's events and sagas": [], "status of processes": []}
    number = 0
    for incident_id in incident_ids:
        with contextlib.closing(TraceStore(data / "traces.db")) as store:
            began = time.perf_counter()
            spans = store.by_incident(incident_id)
            taken["spans"].append(time.perf_counter() - began)
        number += len(spans)
        traces = {one.trace_id for one in spans}
        work: dict[str, Callable[[], object]] = {
            "log lines": partial(log_lines.lines_of, incident_id, traces, log_lines.files(data)),
            "the city's events and sagas": partial(asking.of_sagas, incident_id, partial(sagas_asked, None, data, address)),
            "status of processes": partial(groups.statuses, settings),
        }
        for part, one in work.items():
            taken[part].append(_timed(one))
    told = {f"{part}, ms": quantile(values, 0.5) * 1000 for part, values in taken.items()}
    return {**told, "spans of an incident": number / len(incident_ids)}


# -- filling -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Played:
    """An emergency as the mesh has written it."""

    incident_id: str
    events: list[dict[str, Any]]
    spans: list[Span]
    # Of the log, those of the incident and others, as they stand there.
    lines: list[str]


@contextmanager
def _filled(incidents: int, spans: int, full: bool) -> Iterator[tuple[Path, MeshChild, dict[str, float]]]:
    """A data folder with a process that has folded everything; and what filling it has cost."""
    with tempfile.TemporaryDirectory() as folder:
        played = _play(Path(folder) / "played")
        data = Path(folder) / "data"
        data.mkdir()
        asyncio.run(_write_events(data, played, incidents))
        took = _timed(lambda: _write_spans(data, played, incidents, spans))
        # As large as they become: each file with its older ones; the log of one process, and that of the gateway.
        log = Log()
        megabytes = 2 * log.file_mb * (1 + log.files_kept) if full else 4.0
        _write_lines(data, played, incidents, megabytes)
        told = {
            "filling the span store, spans a second": spans / took,
            "size of the span store, MB": sum(one.stat().st_size for one in data.glob("traces.db*")) / 1e6,
            "size of the log files, MB": sum(one.stat().st_size for one in data.glob("*.log*")) / 1e6,
        }
        with MeshChild(data, ["sagas"], {"CITY_LOG_LEVEL": "error", "OTEL_SDK_DISABLED": "true"}, name="asked") as child:
            with calling(child) as channel:
                caught_up(MeshServiceStub(channel), _CAUGHT_UP_S)
            yield data, child, told


def _play(data: Path) -> _Played:
    """One emergency, from its report to the end, in a mesh of all departments."""
    data.mkdir()
    receiver = Receiver(data / "traces.db")
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.start()}
    try:
        with MeshChild(data, ["--driven"], endpoint) as mesh:
            city = PaperCity(mesh.address, data)
            city.build()
            incident_id = city.report("played")
            city.until(lambda: bool(city.ambulance_of(incident_id)))
            city.drive(incident_id)
            city.until(lambda: city.ended(incident_id))
            city.rest()
            assert city.saga(incident_id).state == SAGA_STATE_COMPLETED
            city.close()
    finally:
        # The mesh sends what it still has when it ends.
        receiver.stop()
    with contextlib.closing(TraceStore(data / "traces.db")) as store:
        spans = store.by_incident(incident_id)
    with contextlib.closing(sqlite3.connect(data / "events.db")) as database:
        database.row_factory = sqlite3.Row
        query = "SELECT * FROM events WHERE correlation_id = ? ORDER BY position"
        events = [dict(row) for row in database.execute(query, (incident_id,))]
    lines = (data / "mesh.log").read_text(encoding="utf-8").splitlines()
    assert spans and events and any(incident_id in line for line in lines)
    return _Played(incident_id, events, spans, [line for line in lines if line.startswith("{")])


def _id(number: int) -> str:
    # As long as a real one: it stands in the bytes of events too.
    return f"inc-{number:012x}"


async def _write_events(data: Path, played: _Played, incidents: int) -> None:
    store = SqliteEventStore(data / "events.db")
    for first in range(0, incidents, 50):
        numbers = range(first, min(first + 50, incidents))
        await asyncio.gather(*(_write_events_of(store, played, number) for number in numbers))
    store.close()


async def _write_events_of(store: SqliteEventStore, played: _Played, number: int) -> None:
    """The events of one, in the order in which they came. What is no stream of the incident alone gets a number too."""
    mine, versions = _id(number), dict[str, int]()
    ids = {event["id"]: f"{number:08x}{place:024x}" for place, event in enumerate(played.events)}
    for event in played.events:
        stream = event["stream"].replace(played.incident_id, mine)
        stream = stream if mine in stream else f"{stream}-{number}"
        data = event["data"].replace(played.incident_id.encode(), mine.encode())
        new = NewEvent(
            ids[event["id"]], event["type"], data, occurred_at=event["occurred_at"] + number * 1_000_000,
            traceparent=event["traceparent"], correlation_id=mine, actor=event["actor"], district=event["district"],
            causation_id=ids.get(event["causation_id"], ""), classification=event["classification"],
        )  # fmt: skip
        at = versions.get(stream, 0)
        await store.append(stream, [new], at)
        versions[stream] = at + 1


def _write_spans(data: Path, played: _Played, incidents: int, spans: int) -> None:
    copies, rest = divmod(spans // incidents, len(played.spans))
    with contextlib.closing(TraceStore(data / "traces.db", max_spans=spans)) as store:
        waiting: list[Span] = []
        for copy in range(copies + bool(rest)):
            part = played.spans if copy < copies else played.spans[:rest]
            for number in range(incidents):
                waiting += (_copied(one, played.incident_id, number, copy) for one in part)
                if len(waiting) >= _AT_ONCE:
                    store.insert(waiting)
                    waiting = []
        store.insert(waiting)
        assert store.count() == spans


def _copied(span: Span, incident_id: str, number: int, copy: int) -> Span:
    ahead = (number + copy * 3600) * 1_000_000_000
    return replace(
        span,
        trace_id=_other(span.trace_id, number, copy),
        start_ns=span.start_ns + ahead,
        end_ns=span.end_ns + ahead,
        attributes={name: _id(number) if value == incident_id else value for name, value in span.attributes.items()},
        links=tuple(Link(_other(link.trace_id, number, copy), link.span_id) for link in span.links),
    )


def _other(trace_id: str, number: int, copy: int) -> str:
    """A trace id for a copy. As if by chance, as real ones are: those of one incident are no neighbours in an index."""
    return hashlib.blake2b(f"{trace_id} {number} {copy}".encode(), digest_size=16).hexdigest()


def _write_lines(data: Path, played: _Played, incidents: int, megabytes: float) -> None:
    """Copies of the log, of one incident after the other, until the files are full."""
    traces = {one.trace_id for one in played.spans}
    number, left = 0, megabytes * 1024 * 1024
    with (data / "mesh.log").open("w", encoding="utf-8") as file:
        while left > 0:
            of = number % incidents
            text = "\n".join(played.lines).replace(played.incident_id, _id(of)) + "\n"
            for trace_id in traces:
                text = text.replace(trace_id, _other(trace_id, of, 0))
            left -= file.write(text)
            number += 1
