"""grpc.health.v1: whether the services of this process, and what each depends on, are ready.

Names: a service has its full name, `citybrain.health.v1.HealthService`; each thing it depends on has a name below that,
`…HealthService/store`; the process as a whole has the empty name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer

from citybrain.mesh.errors import NotFound, status_of
from citybrain.mesh.runtime.refusing import abort

Status = health_pb2.HealthCheckResponse
_Context = grpc.aio.ServicerContext[Any, Any]


class Health(HealthServicer):  # type: ignore[misc]
    """Answers Check and List from what is set here, and sends every change to callers of Watch."""

    def __init__(self) -> None:
        self._ready: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self._ended = False

    def ready(self, name: str) -> bool | None:
        """Whether a name is ready; None: there is no such name."""
        return self._ready.get(name)

    def set(self, ready: Mapping[str, bool]) -> None:
        """Sets all names, and whether each is ready."""
        if not self._ended and ready != self._ready:
            self._ready = dict(ready)
            self._tell()

    def end(self) -> None:
        """Nothing is ready any more. Callers of Watch are told so, and their calls end."""
        self._ended = True
        self._ready = dict.fromkeys(self._ready, False)
        self._tell()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> health_pb2.HealthCheckResponse:
        """Whether a name is ready now; NOT_FOUND lists the known names."""
        if request.service not in self._ready:
            known = ", ".join(sorted(filter(None, self._ready)))
            await abort(context, status_of(NotFound(f"there is no {request.service} here; there are: {known}")))
        return Status(status=self._status(request.service))

    async def List(self, request: health_pb2.HealthListRequest, context: _Context) -> health_pb2.HealthListResponse:
        """All names, and whether each is ready now."""
        return health_pb2.HealthListResponse(statuses={name: Status(status=self._status(name)) for name in self._ready})

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Whether a name is ready, now and at each change. The name need not exist yet. Ends when the process stops."""
        sent = None
        while True:
            changed, ended, status = self._changed, self._ended, self._status(request.service)
            if status != sent:
                yield Status(status=status)
                sent = status
            if ended:
                return
            await changed.wait()

    def _status(self, name: str) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
        ready = self._ready.get(name)
        return Status.SERVICE_UNKNOWN if ready is None else Status.SERVING if ready else Status.NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
