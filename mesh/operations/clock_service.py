"""Rest and Advance: how a simulation drives city time. Only a process with a driven clock serves them."""

from __future__ import annotations

from typing import Any

import grpc.aio
from citybrain.clock.v1 import clock_pb2

from citybrain.event_store.feed import log_position
from citybrain.mesh.errors import Refused, ServiceError, status_of
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.runtime.clock import DrivenClock
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.runtime.refusing import abort
from citybrain.mesh.runtime.validation import check

SERVICE = "citybrain.clock.v1.ClockService"
_UNSEEN = "with this engine nobody sees that all is at rest: move city time with Advance alone, at a pace of your own"
_Context = grpc.aio.ServicerContext[Any, Any]


def serve_clock(process: Process, clock: DrivenClock) -> None:
    """Adds the clock's methods to the server of the process."""

    async def rest(_request: clock_pb2.RestRequest, context: _Context) -> clock_pb2.RestResponse:
        if not process.engine.features.rest_is_seen:
            await abort(context, status_of(Refused(_UNSEEN, "REST_IS_NOT_SEEN")))
        await process.activity.rest()
        return clock_pb2.RestResponse(sent=process.open_streams.sent(), position=log_position(process.store))

    async def advance(request: clock_pb2.AdvanceRequest, context: _Context) -> clock_pb2.AdvanceResponse:
        try:
            check(request)
        except ServiceError as error:
            await abort(context, status_of(error))
        with process.activity.working():
            now = await clock.advance(microseconds(request.time))
        return clock_pb2.AdvanceResponse(time=timestamp(now))

    process.server.add(SERVICE, "Rest", rest)
    process.server.add(SERVICE, "Advance", advance)
    process.activity.watch(process.open_streams.at_rest)
