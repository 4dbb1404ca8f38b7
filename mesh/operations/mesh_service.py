"""The status of a process, its parked events and rebuilds, for operators. The methods have no scope, so no route leads here."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc.aio
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.event_store.feed import log_position
from citybrain.event_store.read_models import Parked, given_over
from citybrain.event_store.store import StoreError
from citybrain.mesh.access.limits import CLASSES
from citybrain.mesh.access.quotas import MOST_KNOWN, Use
from citybrain.mesh.errors import NotFound, ServiceError, status_of
from citybrain.mesh.events import timestamp
from citybrain.mesh.operations.fault_calls import FaultCalls
from citybrain.mesh.operations.readiness import Readiness
from citybrain.mesh.providers.paging import Key, one_page
from citybrain.mesh.providers.rows import RowUnreadable
from citybrain.mesh.providers.views import Rebuilding, View
from citybrain.mesh.providers.waiting import WaitsForPeople
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.runtime.refusing import Handler, abort
from citybrain.mesh.runtime.validation import check
from citybrain.mesh.settings.version import installed_version
from citybrain.mesh.subscriptions.groups import GroupMember
from citybrain.observability.logs import set_level

SERVICE = "citybrain.mesh.v1.MeshService"
_PARKED_PAGE = 500
_QUOTAS_PAGE = 500
_ROLES = {True: pb.GROUP_ROLE_LEADS, False: pb.GROUP_ROLE_STANDS_BY}
_Context = grpc.aio.ServicerContext[Any, Any]


def serve_status(process: Process, containers: Sequence[Container], readiness: Readiness) -> None:
    """Adds the methods to the server of the process."""
    started_at = _wall_clock()
    faults = FaultCalls(process, containers)

    async def get_status(_request: pb.GetStatusRequest, _context: _Context) -> pb.GetStatusResponse:
        await readiness.look()
        return pb.GetStatusResponse(
            version=installed_version(),
            pid=os.getpid(),
            started_at=started_at,
            now=_wall_clock(),
            ready=readiness.ready,
            services=[_service(container, readiness, await _waits(container)) for container in containers],
            log_position=log_position(process.store),
            open_streams=len(process.open_streams),
            max_streams=process.open_streams.limit,
            city_time=timestamp(process.clock.now()),
            driven=process.settings.time == "driven",
            faults=faults.shown(),
        )

    def member(group: str) -> GroupMember:
        members = _members(containers)
        if group not in members:
            known = ", ".join(sorted(members)) or "none"
            raise NotFound(f"there is no consumer group {group} here; there are: {known}", "NO_SUCH_GROUP")
        return members[group]

    async def list_parked(request: pb.ListParkedRequest) -> pb.ListParkedResponse:
        asked = {request.group: member(request.group)} if request.group else _members(containers)
        found: list[pb.ParkedEvent] = []
        for group, one in asked.items():
            for partition, parked in (await one.parked()).items():
                waiting = {event.position for event in given_over(parked)}
                found += [_parked(group, partition, event, event.position not in waiting) for event in parked]
        page, more = one_page(process.tokens, request, found, _place_of, newest_first=False, default=_PARKED_PAGE)
        return pb.ListParkedResponse(events=page, next_page_token=more)

    async def list_quotas(request: pb.ListQuotasRequest) -> pb.ListQuotasResponse:
        found = [_quota_use(one) for one in await process.quotas.today(MOST_KNOWN)]
        page, more = one_page(
            process.tokens, request, found, lambda one: (one.consumer,), newest_first=False, default=_QUOTAS_PAGE
        )
        anew = timestamp(int(process.quotas.begins_anew * 1_000_000))
        return pb.ListQuotasResponse(uses=page, next_page_token=more, begins_anew_at=anew)

    async def replay_parked(request: pb.ReplayParkedRequest) -> pb.ReplayParkedResponse:
        asked = await member(request.group).replay(request.stream)
        if not asked:
            raise _not_parked(request.group, f"of {request.stream}")
        return pb.ReplayParkedResponse(asked=asked)

    async def drop_parked(request: pb.DropParkedRequest) -> pb.DropParkedResponse:
        dropped = await member(request.group).drop(request.partition, request.position, request.reason, request.who)
        if not dropped:
            raise _not_parked(request.group, f"at {request.position}")
        return pb.DropParkedResponse()

    async def rebuild_view(request: pb.RebuildViewRequest) -> pb.RebuildViewResponse:
        view = _view(containers, request.service, request.view)
        await (view.give_up() if request.give_up else view.rebuild())
        return pb.RebuildViewResponse(rebuild=_rebuild(await view.rebuilding()))

    async def get_rebuild(request: pb.GetRebuildRequest) -> pb.GetRebuildResponse:
        view = _view(containers, request.service, request.view)
        return pb.GetRebuildResponse(rebuild=_rebuild(await view.rebuilding()))

    async def set_log_level(request: pb.SetLogLevelRequest) -> pb.SetLogLevelResponse:
        before = set_level(request.level)
        if request.HasField("lasts"):
            process.loop.call_later(request.lasts.ToTimedelta().total_seconds(), set_level, before)
        return pb.SetLogLevelResponse(before=before)

    process.server.add(SERVICE, "GetStatus", get_status, listed=False)
    process.server.add(SERVICE, "ListParked", _told(list_parked), listed=False)
    process.server.add(SERVICE, "ListQuotas", _told(list_quotas), listed=False)
    process.server.add(SERVICE, "ReplayParked", _told(replay_parked), listed=False)
    process.server.add(SERVICE, "DropParked", _told(drop_parked), listed=False)
    process.server.add(SERVICE, "RebuildView", _told(rebuild_view), listed=False)
    process.server.add(SERVICE, "GetRebuild", _told(get_rebuild), listed=False)
    process.server.add(SERVICE, "SetLogLevel", _told(set_log_level), listed=False)
    process.server.add(SERVICE, "SetFault", _told(faults.set), listed=False)
    process.server.add(SERVICE, "ClearFaults", _told(faults.clear), listed=False)
    process.server.add(SERVICE, "ListFaults", _told(faults.listed), listed=False)


def _members(containers: Sequence[Container]) -> dict[str, GroupMember]:
    """The consumer groups here, by name. A live read model's group has no generation in its name; one being built has."""
    members: dict[str, GroupMember] = {}
    for container in containers:
        for extension in container.extensions:
            if hasattr(extension, "member"):
                members[extension.member.group.partition("~")[0]] = extension.member
            if isinstance(extension, View) and extension.builder is not None:
                members[extension.builder.group] = extension.builder
    return members


def _view(containers: Sequence[Container], service: str, view: str) -> View[Any]:
    """A view of a service here. NotFound lists the views there are."""
    views = {
        (container.manifest.name, provider.attr_name): provider
        for container in containers
        for provider in container.dependencies
        if isinstance(provider, View)
    }
    if (service, view) not in views:
        known = ", ".join(sorted(f"{one} {name}" for one, name in views)) or "none"
        raise NotFound(f"no read model {view} of {service} runs here; there are: {known}", "NO_SUCH_VIEW")
    return views[service, view]


def _rebuild(one: Rebuilding) -> pb.Rebuild:
    return pb.Rebuild(
        live=one.live, building=one.building, position=one.position, head=one.head, parked=one.parked, problem=one.problem
    )


def _not_parked(group: str, where: str) -> NotFound:
    return NotFound(f"{group} has nothing parked {where}: `city events parked` lists what it has", "NOT_PARKED")


def _told(method: Callable[[Any], Awaitable[Any]]) -> Handler:
    """Checks the request, and answers the call with an error that `method` raises."""

    async def handle(request: Any, context: _Context) -> Any:
        try:
            check(request)
            return await method(request)
        except (ServiceError, StoreError) as error:
            await abort(context, status_of(error))

    return handle


def _parked(group: str, partition: str, event: Parked, tried: bool) -> pb.ParkedEvent:
    return pb.ParkedEvent(
        group=group, partition=partition, position=event.position, stream=event.stream, event_id=event.event_id,
        type=event.type, reason=event.reason, parked_at=timestamp(event.parked_at), being_tried=tried,
    )  # fmt: skip


def _quota_use(one: Use) -> pb.QuotaUse:
    who = one.principal
    classes = {name: pb.ClassUse(used=one.used.get(name, 0), limit=one.limits.get(name, 0)) for name in CLASSES}
    return pb.QuotaUse(
        consumer=one.consumer[:8].hex(), subject=who.subject if who else "", team=who.team if who else "", **classes
    )


def _place_of(event: pb.ParkedEvent) -> Key:
    return (event.group, event.partition, event.position)


def _wall_clock() -> Timestamp:
    """Only for people to read; nothing is decided by it."""
    return timestamp(time.time_ns() // 1000)


async def _waits(container: Container) -> pb.WaitsForPeople | None:
    """What waits for people in a service; None: nothing, or it cannot be read now (readiness says why)."""
    try:
        found = [await one.waits() for one in container.dependencies if isinstance(one, WaitsForPeople)]
    except (StoreError, RowUnreadable):
        return None
    some = [one for one in found if one is not None]
    if not some:
        return None
    oldest = min(some, key=lambda one: one.since)
    count = sum(one.count for one in some)
    return pb.WaitsForPeople(count=count, oldest=oldest.oldest, since=timestamp(oldest.since), reason=oldest.reason)


def _service(container: Container, readiness: Readiness, waits: pb.WaitsForPeople | None) -> pb.ServiceStatus:
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
                name=name,
                role=_ROLES[one.leads],
                position=one.position,
                lag=one.lag,
                parked=one.parked,
                failing=one.failing,
                still=Duration(seconds=int(one.still_s)),
                restarts=one.restarts,
            )
            for name, one in sorted(state.groups.items())
        ],
        calls_working=places.taken,
        calls_waiting=places.waiting,
        max_calls=places.limit,
        waits=waits,
    )
