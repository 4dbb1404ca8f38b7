"""The processes of a city on one machine: which services share a process, and how many copies of it run.

This process holds the port of each group as long as the city lives. So every process knows from the start where all others
answer, and a restarted one has the same address. Copies in a group share its port (SO_REUSEPORT): the kernel spreads
connections over them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from citybrain.local.child import ChildError, MeshChild
from citybrain.local.supervisor import Life, Supervisor
from citybrain.mesh.manifest import Manifest, ManifestError
from citybrain.mesh.settings.engines import features_of
from citybrain.mesh.settings.values import Settings


@dataclass(frozen=True, slots=True)
class Group:
    """Services that share a process, and how many such processes there are."""

    services: tuple[str, ...]
    copies: int = 1


def groups_of(manifests: Sequence[Manifest], settings: Settings) -> list[Group]:
    """The configured groups, and one more for services that none of them names. ManifestError: the groups are impossible."""
    there = [manifest.name for manifest in manifests]
    wanted = settings.processes
    named = [name for group in wanted.groups for name in group]
    for name in dict.fromkeys([*named, *wanted.copies]):
        if name not in there:
            raise ManifestError(f"processes name {name}, and it is not among the services here: {', '.join(there)}")
        if named.count(name) > 1:
            raise ManifestError(f"processes.groups name {name} twice: one process answers for a service, or copies of one")
    rest = tuple(name for name in there if name not in named)
    all_groups = [*wanted.groups, *([rest] if rest else [])]
    groups = [Group(group, max(wanted.copies.get(name, 1) for name in group)) for group in all_groups if group]
    if len(groups) > 1 or groups[0].copies > 1:
        instead = "leave processes.groups and processes.copies out"
        if settings.time == "driven":
            raise ManifestError(f"driven city time is known to one process only: {instead}")
        if not features_of(settings.store).store.several_processes:
            raise ManifestError(f"the engine {settings.store} is for one process only: {instead}, or choose another engine")
    return groups


class Processes:
    """Runs groups of services, each in processes of its own, and keeps them up."""

    def __init__(
        self,
        groups: Sequence[Group],
        manifests: Sequence[Manifest],
        settings: Settings,
        say: Callable[[str], None],
        *,
        contracts: Path | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`contracts`: a file with the contracts of the whole city, for reflection. `arguments`: more, for every process.

        `changed`: see Supervisor.
        """
        self._held = [_hold(settings.host, settings.port if len(groups) == 1 else 0) for _ in groups]
        addresses = [f"{settings.host}:{held.getsockname()[1]}" for held in self._held]
        self.addresses = {name: address for group, address in zip(groups, addresses, strict=True) for name in group.services}
        """The address of each service."""
        self.children: dict[str, MeshChild] = {}
        """The processes by name."""
        self.services: dict[str, tuple[str, ...]] = {}
        """The services in each process."""
        for group, address in zip(groups, addresses, strict=True):
            peers = {m.grpc: self.addresses[m.name] for m in manifests if m.name not in group.services}
            own = settings.model_copy(update={"peers": {**settings.peers, **peers}, "share_port": True, "contracts": contracts})
            for number in range(group.copies):
                name = _name(group, len(groups)) + (f"-{number + 1}" if group.copies > 1 else "")
                child = MeshChild(settings.data, [*group.services, *arguments], environment, settings=own, name=name)
                child.address = address
                self.children[name] = child
                self.services[name] = group.services
        self._supervisor = Supervisor(list(self.children.items()), say, settings.processes.restarts, changed)

    @property
    def lives(self) -> dict[str, Life]:
        """The state of each process."""
        return self._supervisor.lives

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that run."""
        return [child.pid for child in self.children.values() if child.pid]

    def start(self) -> None:
        """Starts all processes, and waits until they answer. ChildError: one cannot start."""
        self._supervisor.start()

    def stop(self) -> None:
        """Asks all to stop, and waits until they have finished their calls."""
        self._supervisor.stop()

    def kill(self) -> None:
        """Ends all by SIGKILL, as a crash would."""
        self._supervisor.kill()

    def close(self) -> None:
        """Stops all, and frees the ports."""
        self.stop()
        for held in self._held:
            held.close()


def _name(group: Group, groups: int) -> str:
    if groups == 1:
        return "mesh"
    return group.services[0] if len(group.services) == 1 else f"{group.services[0]}+{len(group.services) - 1}"


def _hold(host: str, port: int) -> socket.socket:
    """A socket that is bound to a port and does not listen: our processes share the port, and no other program can take it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port:
        # A bind without sharing fails if another program has the port.
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(alone, host, port)
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(held, host, port)
    return held


def _bind(one: socket.socket, host: str, port: int) -> None:
    try:
        one.bind((host, port))
    except OSError as error:
        one.close()
        raise ChildError(
            f"port {port} on {host} is taken: stop what uses it, or choose another port ({error.strerror})"
        ) from error
