"""grpc.health.v1: whether the services of this process, and what each depends on, are ready.

A service answers by its full name, `citybrain.health.v1.HealthService`; what it depends on below that, `…HealthService/store`;
the process as a whole by the empty name.
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
    """What is set here is answered to Check and List, and every change is sent to those who Watch."""

    def __init__(self) -> None:
        self._ready: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self._ended = False

    def ready(self, name: str) -> bool | None:
        """Whether a name is ready; None where there is none of that name."""
        return self._ready.get(name)

    def set(self, ready: Mapping[str, bool]) -> None:
        """How everything stands from now on."""
        if not self._ended and ready != self._ready:
            self._ready = dict(ready)
            self._tell()

    def end(self) -> None:
        """Nothing is ready any more; whoever watches is told so, and their calls end."""
        self._ended = True
        self._ready = dict.fromkeys(self._ready, False)
        self._tell()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> health_pb2.HealthCheckResponse:
        """How a name stands now; NOT_FOUND lists those there are."""
        if request.service not in self._ready:
            known = ", ".join(sorted(filter(None, self._ready)))
            await abort(context, status_of(NotFound(f"there is no {request.service} here; there are: {known}")))
        return Status(status=self._status(request.service))

    async def List(self, request: health_pb2.HealthListRequest, context: _Context) -> health_pb2.HealthListResponse:
        """How everything stands now."""
        return health_pb2.HealthListResponse(statuses={name: Status(status=self._status(name)) for name in self._ready})

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """How a name stands, and again at each change; a name that does not exist may come to. Ends when the process stops."""
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
