"""Asks the processes of the mesh on this machine, for commands of operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from citybrain.local.problems import Problem
from citybrain.mesh.operations.presence import Present, present
from citybrain.mesh.settings.values import Settings, Tls


class NotHere(Problem):
    """A process does not have what it is asked for."""


class Silent(Problem):
    """A process runs, but does not answer."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a data folder, as its presence file says."""

    pid: int
    # The address where it alone answers, and the one that it shares with its copies.
    address: str
    serves: str
    services: tuple[str, ...]
    # The files with which it is called.
    tls: Tls

    @classmethod
    def of(cls, one: Present) -> Process:
        """From its presence file."""
        said = one.said
        return cls(int(said["pid"]), said["address"], said["serves"], tuple(said["services"]), Tls(**said.get("tls", {})))

    @property
    def named(self) -> str:
        """Its services and its id, for people."""
        return f"{', '.join(self.services)} (process {self.pid})"


def processes(settings: Settings) -> list[Process]:
    """The processes that run on a data folder. Problem: none runs."""
    data = settings.data
    found = [Process.of(one) for one in present(data) if one.runs and one.said["kind"] == "mesh"]
    if not found:
        raise Problem(f"nothing runs on {data}: start it with `city up`, or name another --data")
    return found


def ask_all(asked: list[Process], method: Callable[[Any], Any], settings: Settings) -> Iterator[tuple[Process, Any]]:
    """Each process with its answer, or its Problem. All are asked at the same time, so none waits for one that hangs."""

    from citybrain.local.calling import token_here

    token = token_here(settings)

    def one(process: Process) -> Any:
        try:
            return ask(process.address, method, token, process.tls)
        except Silent:
            return Silent(f"{process.named} does not answer: its log may say why; `city status` shows whether it comes back")
        except Problem as problem:
            return problem

    with ThreadPoolExecutor(len(asked)) as pool:
        yield from zip(asked, pool.map(one, asked), strict=True)


def ask(address: str, method: Callable[[Any], Any], token: str, tls: Tls) -> Any:
    """The answer of a process. `tls`: the files with which it is called.

    NotHere, Silent or Problem: it does not have this, does not answer, or refuses.
    """
    # Imported only now, so that `--help` is quick.
    import grpc
    from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub

    from citybrain.local.calling import channel as channel_to

    with channel_to(address, token, tls=tls) as channel:
        try:
            return method(MeshServiceStub(channel))  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise NotHere(str(error.details())) from None
            if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                raise Silent(f"the process at {address} does not answer: {error.details()}") from None
            raise Problem(f"the process at {address} said: {error.details()}") from None
