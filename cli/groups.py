"""What processes of the mesh say of their consumer groups: how far each is, and what is parked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from citybrain.mesh.v1 import mesh_service_pb2 as pb
from google.protobuf import json_format
from rich.table import Table

from citybrain.cli.asking import NotHere, addresses, ask
from citybrain.cli.problems import Problem

_ASK_S = 30.0

Method = Callable[[Any], Any]


def groups(data: Path) -> list[tuple[int, pb.ConsumerGroup]]:
    """Each group with the process that works on it; where its partitions are shared by several, once for each."""
    rows: list[tuple[int, pb.ConsumerGroup]] = []
    for address in addresses(data):
        status = ask(address, lambda stub: stub.GetStatus(pb.GetStatusRequest(), timeout=_ASK_S))
        # A process that stands by has nothing to tell of a group that another one works on.
        rows += [(status.pid, g) for service in status.services for g in service.groups if g.role == pb.GROUP_ROLE_LEADS]
    return sorted(rows, key=lambda row: (row[1].name, row[0]))


def is_well(group: pb.ConsumerGroup) -> bool:
    """Nothing fails, hangs or waits."""
    return not (group.failing or group.parked or group.still.seconds)


def table(rows: list[tuple[int, pb.ConsumerGroup]]) -> Table:
    """For people."""
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for title in ("group", "process", "position", "behind", "parked", "restarts", "trouble"):
        shown.add_column(title, justify="left" if title in ("group", "trouble") else "right", no_wrap=title != "trouble")
    for pid, g in rows:
        still = f"nothing done for {g.still.seconds} s" if g.still.seconds else ""
        shown.add_row(g.name, *map(str, (pid, g.position, g.lag, g.parked, g.restarts)), g.failing or still)
    return shown


def parked(data: Path, group: str) -> list[pb.ParkedEvent]:
    """What is parked, each event once; Problem where no process knows the group."""
    found = {}
    for events in _all(data, lambda stub: _parked(stub, group)):
        found.update({(event.group, event.partition, event.position): event for event in events})
    return [found[key] for key in sorted(found)]


def _parked(stub: Any, group: str) -> list[pb.ParkedEvent]:
    """All pages of one process."""
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


def replay(data: Path, group: str, stream: str) -> int:
    """Has them tried again; returns how many there are."""
    request = pb.ReplayParkedRequest(group=group, stream=stream)
    asked: int = next(_all(data, lambda stub: stub.ReplayParked(request, timeout=_ASK_S))).asked
    return asked


def drop(data: Path, group: str, partition: str, position: int, reason: str, who: str) -> None:
    """Gives one up."""
    request = pb.DropParkedRequest(group=group, partition=partition, position=position, reason=reason, who=who)
    next(_all(data, lambda stub: stub.DropParked(request, timeout=_ASK_S)))


def plain(message: Any) -> dict[str, Any]:
    """For programs."""
    found: dict[str, Any] = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return found


def _all(data: Path, method: Method) -> Iterator[Any]:
    """What each process says that has to do with it; Problem where none has."""
    told: list[str] = []
    there = addresses(data)
    for address in there:
        try:
            yield ask(address, method)
        except NotHere as error:
            told.append(str(error))
    if len(told) == len(there):
        # One that knows the group tells more than one that does not.
        raise Problem(next((text for text in told if "parked" in text), told[0]))
