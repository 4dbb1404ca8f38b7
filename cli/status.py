"""`city status`: what runs on a data folder or behind an address, whether it is ready, and why not.

Each process writes its address into a file in the data folder, and holds a lock on the file. So a killed process is never shown
as running.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from citybrain.cli import waiting
from citybrain.cli.asking import Process, Silent, ask_all
from citybrain.cli.configuration import City
from citybrain.cli.faults_on import sentence, together
from citybrain.cli.groups import plain
from citybrain.local.calling import PLAIN, tls_at, token_here
from citybrain.local.calling import channel as channel_to
from citybrain.local.problems import Problem
from citybrain.mesh.operations.presence import Present, present
from citybrain.mesh.settings.values import Settings

_ASK_S = 5.0
_ROLES = {pb.GROUP_ROLE_LEADS: "leads", pb.GROUP_ROLE_STANDS_BY: "stands by"}
_SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(slots=True)
class One:
    """A process of the mesh. `named`: for people. `status`: its answer; None: `problem` says why there is none."""

    pid: int
    address: str
    named: str
    status: pb.GetStatusResponse | None = None
    problem: str = ""


@dataclass(slots=True)
class Door:
    """A gateway. `problem`: why it takes no calls; empty: it takes them."""

    address: str
    pid: int = 0
    problem: str = ""


@dataclass(slots=True)
class Picture:
    """What runs. `names`: readiness by name, if only health checks could be asked.

    `gone`: processes that ended without removing their files. `down`: a sentence for each process that should run and does not.
    """

    where: str
    processes: list[One] = field(default_factory=list)
    gateways: list[Door] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    names: dict[str, bool] = field(default_factory=dict)

    def faults(self) -> list[pb.Fault]:
        """Those that are on, each once."""
        return together(fault for one in self.processes if one.status for fault in one.status.faults)

    def troubles(self) -> Iterator[str]:
        """A sentence for everything that is not ready."""
        yield from self.down
        for door in self.gateways:
            if door.problem:
                yield f"gateway {door.address}: {door.problem}"
        for one in self.processes:
            if one.status is None:
                yield f"{one.named} {one.problem}"
            else:
                for service in one.status.services:
                    yield from (f"{dependency.name}: {dependency.reason}" for dependency in out(service))
        for fault in self.faults():
            yield f"{fault.service}: {sentence(fault)}: `city fault clear {fault.fault_id}` ends it"
        yield from (f"{name or 'the process'}: is not ready" for name, ready in self.names.items() if not ready)


def on_folder(settings: Settings) -> Picture:
    """What runs on a data folder, and what should."""
    data = settings.data
    picture = Picture(str(data))
    found = present(data)
    running = [one for one in found if one.runs]
    if not any(one.said["kind"] == "city" for one in running):
        picture.down = list(_not_back(found))
    for one in running:
        if one.said["kind"] == "gateway":
            address, admin = one.said["address"], one.said["admin"]
            picture.gateways.append(Door(address, int(one.said["pid"]), _ask_gateway(admin)))
        elif one.said["kind"] == "city":
            picture.down = list(_down(one.said))
    asked = [Process.of(one) for one in running if one.said["kind"] == "mesh"]
    if asked:
        picture.processes = [_one(process, answer) for process, answer in ask_all(asked, _status_of, settings)]
    picture.gone = [_named(one) for one in found if not one.runs]
    return picture


def _down(said: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each process that is down, or ended often. `said`: by `city up`, which alone knows what should run."""
    for one in said["runs"]:
        others = list(one["services"]) not in ([], [one["name"]])
        named = f"{one['name']} ({', '.join(one['services'])})" if others else one["name"]
        ended, last = f"has ended {one['ends']} times in a row", " ".join(one["last"].split())
        if not one["up"]:
            yield f"{named} {f'{ended} and ' if one['ends'] > 1 else ''}does not run: it {last}"
        elif one["ends"] > 1 and time.time() - one["since_s"] < said["steady_s"]:
            yield f"{named} {ended}: it {last}"


def _not_back(found: Sequence[Present]) -> Iterator[str]:
    """A sentence for each ended process whose services no other process here has. For folders without `city up`."""
    mesh = [one for one in found if one.said["kind"] == "mesh"]
    served = {name for one in mesh if one.runs for name in one.said["services"]}
    if served:
        lost = [Process.of(one) for one in mesh if not one.runs and not served.issuperset(one.said["services"])]
        yield from (f"{one.named} ended unexpectedly, and is not back" for one in lost)


def _named(one: Present) -> str:
    if one.said["kind"] == "mesh":
        return Process.of(one).named
    return f"{one.said['kind']} (process {one.said['pid']})"


def _one(process: Process, answer: Any) -> One:
    if isinstance(answer, Silent):
        return One(process.pid, process.serves, process.named, problem="runs, and does not answer: its log may say why")
    if isinstance(answer, Problem):
        return One(process.pid, process.serves, process.named, problem=str(answer))
    return One(process.pid, process.serves, process.named, answer)


def _status_of(stub: Any) -> Any:
    return stub.GetStatus(pb.GetStatusRequest(), timeout=_ASK_S)


def behind(address: str, settings: City) -> Picture:
    """What answers at an address: the whole status of a process of the mesh, or what a gateway's health checks tell."""
    try:
        token = token_here(settings)
    except Problem:
        # Health checks need none.
        token = ""
    # What is not the configured gateway is a process, so far as anybody knows.
    tls = tls_at(address, settings, PLAIN if address == settings.asked else settings.tls)
    with channel_to(address, token, tls=tls) as channel:
        try:
            status = _status_of(MeshServiceStub(channel))  # type: ignore[no-untyped-call]
            return Picture(address, [One(status.pid, address, f"process {status.pid}", status)])
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED):
                raise Problem(f"{address} does not answer: {error.details()}: is it up? `city status` looks here") from None
        try:
            listed = HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=_ASK_S).statuses
        except grpc.RpcError as error:
            raise Problem(f"{address} tells nothing of its health: {error.details()}: is it a city's?") from None
        names = {name: listed[name].status == _SERVING for name in sorted(listed)}
        return Picture(address, gateways=[Door(address)], names=names)


def out(service: pb.ServiceStatus) -> list[pb.Dependency]:
    """The dependencies of a service that are not ready."""
    return [dependency for dependency in service.dependencies if not dependency.ready]


def as_json(picture: Picture) -> dict[str, Any]:
    """For programs."""
    return {
        "where": picture.where,
        "ready": is_ready(picture),
        "troubles": list(picture.troubles()),
        "processes": [
            {"pid": one.pid, "address": one.address, "problem": one.problem, "status": one.status and plain(one.status)}
            for one in picture.processes
        ],
        "gateways": [{"pid": door.pid, "address": door.address, "problem": door.problem} for door in picture.gateways],
        "names": picture.names,
        "gone": picture.gone,
        "down": picture.down,
    }


def is_ready(picture: Picture) -> bool:
    """Whether something runs, and nothing has a trouble."""
    return bool(picture.processes or picture.names) and not any(picture.troubles())


def shown(picture: Picture) -> RenderableType:
    """For people."""
    parts: list[RenderableType] = []
    parts += [_line(False, one) for one in picture.down]
    for door in picture.gateways:
        parts.append(_line(not door.problem, f"gateway {door.address}", door.problem or "takes calls"))
    widths = _widths(picture)
    for one in picture.processes:
        parts.append(_process(one, widths))
    parts += [
        _line(False, one.service, f"{sentence(one)}: `city fault clear {one.fault_id}` ends it") for one in picture.faults()
    ]
    parts += waiting.lines(one.status for one in picture.processes if one.status is not None)
    parts += [_line(ready, name or "the process") for name, ready in picture.names.items()]
    parts += [Text(f"{gone} ended unexpectedly", style="dim") for gone in picture.gone]
    return Group(*parts)


_COLUMNS = ("  service", "group", "", "position", "behind", "parked")


def _rows(service: pb.ServiceStatus) -> Iterator[list[str]]:
    """A row of cells for the service, and one for each of its groups."""
    waiting = f", {service.calls_waiting} wait" if service.calls_waiting else ""
    mark = "✓" if service.ready else "✗"
    yield [f"{mark} {service.name}", f"{service.calls_working} of {service.max_calls} calls{waiting}", "", "", "", ""]
    for group in service.groups:
        short = group.name.removeprefix(f"{service.name}.")
        # A process that stands by knows only the stored checkpoints of others: the difference is no lag.
        figures = ["", "", ""]
        if group.role == pb.GROUP_ROLE_LEADS:
            figures = [str(group.position), str(group.lag), str(group.parked)]
        yield ["", short, _ROLES.get(group.role, ""), *figures]


def _widths(picture: Picture) -> list[int]:
    """The widths of the columns, the same for every process."""
    rows = [row for one in picture.processes if one.status for service in one.status.services for row in _rows(service)]
    return [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]


def _process(one: One, widths: Sequence[int]) -> RenderableType:
    if one.status is None:
        return _line(False, f"{one.named} at {one.address}", one.problem)
    status = one.status
    minutes = (status.now.ToSeconds() - status.started_at.ToSeconds()) // 60
    said = (
        f"version {status.version or 'unknown'}, up {minutes} min, log at {status.log_position}, "
        f"streams {status.open_streams} of {status.max_streams}, city time {status.city_time.ToJsonString()[:19]}"
        f"{' (driven)' if status.driven else ''}"
    )
    parts: list[RenderableType] = [_line(status.ready, f"process {one.pid} at {one.address}", said)]
    table = Table(box=None, padding=(0, 1, 0, 0))
    for title, width in zip(_COLUMNS, widths, strict=True):
        right = title in ("position", "behind", "parked")
        table.add_column(title, min_width=width, no_wrap=right, overflow="fold", justify="right" if right else "left")
    for service in status.services:
        for first, *others, parked in _rows(service):
            mark = Text(first[:1], "green" if service.ready else "red") + Text(first[1:])
            table.add_row(mark, *others, Text(parked, "red" if parked not in ("", "0") else ""), style="bold" if first else "")
    parts.append(table)
    for service in status.services:
        parts += [_line(False, f"{service.name}: {d.name.partition('/')[2]}", d.reason) for d in out(service)]
    return Group(*parts)


def _line(ready: bool, what: str, said: str = "") -> Text:
    text = Text("✓ ", "green") if ready else Text("✗ ", "red")
    text.append(what, "bold")
    return text.append(f"  {said}" if said else "", "")


def _ask_gateway(admin: str) -> str:
    """Why a gateway takes no calls; empty: it takes them."""
    try:
        with urllib.request.urlopen(f"http://{admin}/ready", timeout=_ASK_S) as answer:
            said = answer.read().decode().strip()
    except (OSError, urllib.error.URLError) as error:
        return f"does not answer ({getattr(error, 'reason', error)}): its log is gateway/envoy.log in the data folder"
    return "" if said == "LIVE" else f"is not ready: {said}"
