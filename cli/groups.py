"""Asks processes of the mesh about their consumer groups: how far each is, and what is parked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from citybrain.mesh.v1 import mesh_service_pb2 as pb
from google.protobuf import json_format
from rich.table import Table

from citybrain.cli.asking import NotHere, Process, Silent, ask_all, processes
from citybrain.local.problems import Problem
from citybrain.mesh.settings.values import Settings

_ASK_S = 10.0

Method = Callable[[Any], Any]


def groups(settings: Settings) -> tuple[list[tuple[int, pb.ConsumerGroup]], list[str]]:
    """Each group with each process that works on it; and a sentence for each process that does not answer."""
    rows: list[tuple[int, pb.ConsumerGroup]] = []
    answers, silent = _all(settings, lambda stub: stub.GetStatus(pb.GetStatusRequest(), timeout=_ASK_S))
    for status in answers:
        # A process that stands by has nothing to tell about a group.
        rows += [(status.pid, g) for service in status.services for g in service.groups if g.role == pb.GROUP_ROLE_LEADS]
    return sorted(rows, key=lambda row: (row[1].name, row[0])), silent


def statuses(settings: Settings) -> tuple[list[pb.GetStatusResponse], list[str]]:
    """What each process that answers says of itself; and a sentence for each that does not answer."""
    return _all(settings, lambda stub: stub.GetStatus(pb.GetStatusRequest(), timeout=_ASK_S))


def is_well(group: pb.ConsumerGroup) -> bool:
    """Whether nothing fails, hangs or waits for a person."""
    return not (group.failing or group.parked or group.still.seconds)


def table(rows: list[tuple[int, pb.ConsumerGroup]]) -> Table:
    """For people."""
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for title in ("group", "process", "position", "behind", "parked", "restarts"):
        left = title == "group"
        shown.add_column(title, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for pid, g in rows:
        shown.add_row(g.name, *map(str, (pid, g.position, g.lag, g.parked, g.restarts)))
    return shown


def troubles(rows: list[tuple[int, pb.ConsumerGroup]]) -> Iterator[str]:
    """One line for each group that fails or is stalled: no column is wide enough for this."""
    for pid, g in rows:
        still = f"nothing done for {g.still.seconds} s" if g.still.seconds else ""
        if trouble := g.failing or still:
            yield f"✗ {g.name} (process {pid}): {trouble}"


def parked(settings: Settings, group: str) -> tuple[list[pb.ParkedEvent], list[str]]:
    """The parked events, each once, and a sentence for each process that does not answer. Problem: nobody knows the group."""
    found = {}
    answers, silent = _all(settings, lambda stub: _parked(stub, group))
    for events in answers:
        found.update({(event.group, event.partition, event.position): event for event in events})
    return [found[key] for key in sorted(found)], silent


def _parked(stub: Any, group: str) -> list[pb.ParkedEvent]:
    """All parked events of one process, page by page."""
    events: list[pb.ParkedEvent] = []
    request = pb.ListParkedRequest(group=group)
    while True:
        answer = stub.ListParked(request, timeout=_ASK_S)
        events += answer.events
        if not answer.next_page_token:
            return events
        request.page_token = answer.next_page_token


def lines(event: pb.ParkedEvent) -> str:
    """For people."""
    place = f"{event.partition} {event.position}".strip()
    state = "being tried again" if event.being_tried else "parked"
    return f"{event.group}  {place}  {event.stream}  {event.type}\n    {state}: {event.reason}"


def replay(settings: Settings, group: str, stream: str) -> int:
    """Asks that the parked events of a stream are tried again; returns how many there are."""
    request = pb.ReplayParkedRequest(group=group, stream=stream)
    asked: int = _first(settings, lambda stub: stub.ReplayParked(request, timeout=_ASK_S)).asked
    return asked


def drop(settings: Settings, group: str, partition: str, position: int, reason: str, who: str) -> None:
    """Gives a parked event up."""
    request = pb.DropParkedRequest(group=group, partition=partition, position=position, reason=reason, who=who)
    _first(settings, lambda stub: stub.DropParked(request, timeout=_ASK_S))


def plain(message: Any) -> dict[str, Any]:
    """For programs."""
    found: dict[str, Any] = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return found


def _all(settings: Settings, method: Method) -> tuple[list[Any], list[str]]:
    """The answers, and a sentence for each process that does not answer. Problem: no process has what was asked for."""
    return _sorted(answer for _, answer in ask_all(processes(settings), method, settings))


def _first(settings: Settings, method: Method) -> Any:
    """The answer of the first process that has what was asked for; the others are not asked."""
    (answer, *_), _ = _sorted(_until_answered(processes(settings), method, settings))
    return answer


def _until_answered(asked: list[Process], method: Method, settings: Settings) -> Iterator[Any]:
    for process in asked:
        ((_, answer),) = ask_all([process], method, settings)
        yield answer
        if not isinstance(answer, Problem):
            return


def _sorted(answers: Iterable[Any]) -> tuple[list[Any], list[str]]:
    found, silent, told = [], [], []
    for answer in answers:
        if isinstance(answer, Silent):
            silent.append(str(answer))
        elif isinstance(answer, NotHere):
            told.append(str(answer))
        elif isinstance(answer, Problem):
            raise answer
        else:
            found.append(answer)
    if not found:
        # A process that does not answer may have it, so that comes first. Then an answer of a process that knows the group.
        raise Problem(next(iter(silent), "") or next((text for text in told if "parked" in text), "") or told[0])
    return found, silent
