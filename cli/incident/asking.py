"""Gathers what is known of an incident: from the sagas of a city, its spans, its log files. What does not answer is named."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from citybrain.events.v1.event_pb2 import Event
from citybrain.mesh.v1 import mesh_service_pb2 as mesh
from citybrain.sagas.v1 import saga_service_pb2 as pb

from citybrain.cli import groups
from citybrain.cli.configuration import City
from citybrain.cli.incident import zipkin
from citybrain.cli.incident.log_lines import MOST, LogLine, files, lines_of
from citybrain.cli.incident.mesh_now import troubles
from citybrain.cli.incident.story import Finding, Incident, of_one
from citybrain.cli.saga_calls import Ask, listed
from citybrain.local.problems import Problem
from citybrain.local.traces import span_file
from citybrain.mesh.events import microseconds
from citybrain.observability.spans import Span
from citybrain.observability.trace_store import TraceStore

T = TypeVar("T")
Here = tuple[list[mesh.ParkedEvent], list[Finding], int, list[str]]
Told = tuple[list[pb.Saga], list[pb.Task], list[Event], bool]
_MOST_EVENTS = 10_000
_MOST_SAGAS = 100
_MOST_TASKS = 1000
# As the contract has it.
_LONGEST_ID = 120


def gathered(
    incident_id: str, settings: City, asking: Callable[[], Any], zipkin_at: str = "", logs: Sequence[Path] = ()
) -> Incident:
    """All that can be found. `asking`: opens a way to ask sagas; `zipkin_at`: whom to ask for spans, empty: the file here;
    `logs`: where log lines are read, empty: the files here.
    """
    missing: list[str] = []

    def some(what: str, get: Callable[[], T], otherwise: T) -> T:
        try:
            return get()
        except Problem as problem:
            missing.append(f"{what}: {problem}")
            return otherwise

    nothing: Told = ([], [], [], False)
    sagas, tasks, events, cut = some("the log and the sagas", lambda: of_sagas(incident_id, asking), nothing)
    if cut:
        missing.append(f"of the events only the first {len(events):,}: there are more")
    spans = of_one(incident_id, some("spans", lambda: _spans(incident_id, settings.data, zipkin_at), []))
    traces = {span.trace_id for span in spans}
    none: tuple[list[LogLine], bool] = ([], False)
    lines, more = some("log lines", lambda: lines_of(incident_id, traces, logs or files(settings.data)), none)
    if more:
        where = ", ".join(map(str, logs)) if logs else f"the files in {settings.data}"
        missing.append(f"of the log lines only the newest {MOST}: {where} have more")
    nobody: Here = ([], [], 0, [])
    parked, wrong, now, silent = some(
        "how the mesh is now", lambda: _here(settings, {event.stream for event in events}), nobody
    )
    missing += (f"how the mesh is now: {one}" for one in silent)
    return Incident(incident_id, events, sagas, tasks, spans, lines, parked, wrong, missing, now)


def of_sagas(incident_id: str, asking: Callable[[], Any]) -> Told:
    """What the sagas of the city tell: its sagas, their tasks, the events; and whether there are more."""
    with asking() as opened:
        ask: Ask = opened
        cut = False

        def events(method: str, request: Any) -> Any:
            nonlocal cut
            answer = ask(method, request)
            cut = cut or answer.cut
            return answer

        request = pb.ListIncidentEventsRequest(incident_id=incident_id)
        happened: list[Event] = listed(events, "ListIncidentEvents", request, "events", _MOST_EVENTS)
        rows: list[pb.Saga] = listed(
            ask, "ListSagas", pb.ListSagasRequest(correlation_id=incident_id), "sagas", _MOST_SAGAS
        )  # fmt: skip
        sagas = [ask("GetSaga", pb.GetSagaRequest(saga_id=row.saga_id)).saga for row in rows]
        mine = {saga.saga_id for saga in sagas}
        every: list[pb.Task] = listed(ask, "ListTasks", pb.ListTasksRequest(), "tasks", _MOST_TASKS) if mine else []
        return sagas, [task for task in every if task.saga_id in mine], happened, cut


def _spans(incident_id: str, data: Path, zipkin_at: str) -> list[Span]:
    if zipkin_at:
        return zipkin.spans_of(incident_id, zipkin_at)
    path = data / "traces.db"
    if not path.is_file():
        raise Problem(f"there is no trace store in {data}: name the --data of the city, or --zipkin where spans go there")
    with span_file(path), contextlib.closing(TraceStore(path)) as store:
        return store.by_incident(incident_id)


def _here(settings: City, streams: set[str]) -> Here:
    """What is parked of these streams, what is wrong, city time, and who does not answer, as the processes here tell."""
    statuses, silent = groups.statuses(settings)
    wrong = troubles(statuses, time.time_ns() // 1000)
    now = max((microseconds(one.city_time) for one in statuses), default=0)
    found, _ = groups.parked(settings, "")
    return [one for one in found if one.stream in streams], wrong, now, silent


def checked(incident_id: str) -> str:
    """The id. Problem: no incident and no saga has one of this form."""
    if not incident_id or len(incident_id.encode(errors="replace")) > _LONGEST_ID or not re.fullmatch(r"[!-~]+", incident_id):
        shown = f"{incident_id[:40]!r} is" if incident_id else "nothing is"
        raise Problem(f"{shown} no id of an incident: it has one word, like inc-0123456789ab; `city sagas list` names sagas")
    return incident_id


def known(data: Path) -> str:
    """The newest incidents, for people; empty: none is known here."""
    path = data / "traces.db"
    if not path.is_file():
        return ""
    try:
        with span_file(path), contextlib.closing(TraceStore(path)) as store:
            return ", ".join(store.incidents(5))
    except (Problem, sqlite3.Error):
        return ""
