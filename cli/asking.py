"""Processes of the mesh on this machine, and what they answer to those who run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from citybrain.cli.problems import Problem
from citybrain.mesh.presence import present


class NotHere(Problem):
    """A process has nothing of what it is asked for."""


def addresses(data: Path) -> list[str]:
    """Where the processes on a data folder answer; Problem where none runs."""
    found = [one.said["address"] for one in present(data) if one.runs and one.said["kind"] == "mesh"]
    if not found:
        raise Problem(f"nothing runs on {data}: start it with `city up`, or name another --data")
    return found


def ask(address: str, method: Callable[[Any], Any]) -> Any:
    """What a process answers; NotHere, or Problem with what it says."""
    # Only now: what is loaded here is loaded for `--help` too.
    import grpc
    from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub

    with grpc.insecure_channel(address) as channel:
        try:
            return method(MeshServiceStub(channel))  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise NotHere(str(error.details())) from None
            raise Problem(f"the process at {address} said: {error.details()}") from None
