"""GetStatus: how a process of the mesh stands, for those who run it. Its contract has no scope, so no route leads here."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import grpc.aio
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.event_store.feed import log_position
from citybrain.mesh.container import Container
from citybrain.mesh.events import timestamp
from citybrain.mesh.process import Process
from citybrain.mesh.readiness import Readiness
from citybrain.mesh.version import installed_version

SERVICE = "citybrain.mesh.v1.MeshService"
_ROLES = {True: pb.GROUP_ROLE_LEADS, False: pb.GROUP_ROLE_STANDS_BY}
_Context = grpc.aio.ServicerContext[Any, Any]


def serve_status(process: Process, containers: Sequence[Container], readiness: Readiness) -> None:
    """Adds GetStatus to the server of the process."""
    started_at = _wall_clock()

    async def get_status(_request: pb.GetStatusRequest, _context: _Context) -> pb.GetStatusResponse:
        await readiness.look()
        return pb.GetStatusResponse(
            version=installed_version(),
            pid=os.getpid(),
            started_at=started_at,
            now=_wall_clock(),
            ready=readiness.ready,
            services=[_service(container, readiness) for container in containers],
            log_position=log_position(process.store),
            open_streams=len(process.streams),
            max_streams=process.streams.limit,
            city_time=timestamp(process.clock.now()),
            driven=process.settings.time == "driven",
        )

    process.server.add(SERVICE, "GetStatus", get_status, listed=False)


def _wall_clock() -> Timestamp:
    """Only for people to read; nothing is decided by it."""
    return timestamp(time.time_ns() // 1000)


def _service(container: Container, readiness: Readiness) -> pb.ServiceStatus:
    state, places = readiness.states[container.manifest.grpc], container.places
    return pb.ServiceStatus(
        name=container.manifest.name,
        grpc=container.manifest.grpc,
        ready=state.ready,
        dependencies=[
            pb.Dependency(name=name, ready=trouble is None, reason="" if trouble is None else trouble.reason)
            for name, trouble in state.troubles.items()
        ],
        groups=[
            pb.ConsumerGroup(
                name=name, role=_ROLES[one.leads], position=one.position, lag=one.lag, parked=one.parked, failing=one.failing
            )
            for name, one in sorted(state.groups.items())
        ],
        calls_working=places.taken,
        calls_waiting=places.waiting,
        max_calls=places.limit,
    )
