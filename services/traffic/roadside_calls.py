"""Methods of the register of roadside systems."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from citybrain.traffic.v1 import roadside_pb2 as pb

from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Provider, Reading, Readings, Streams, View, Window, every, rpc, window
from citybrain.services.traffic import roadside, street_views, views
from citybrain.services.traffic.safety_calls import SafetyCalls

MINUTE_S = 60
LATE_S = 5
DAY_US = 86_400_000_000
RECALLED_US = roadside.MISSED * DAY_US
"""So far back the readings that are kept are looked at after a restart: the longest that a device may be quiet."""


def heard(batch: pb.DevicesHeard) -> Iterator[Reading]:
    """The devices of a batch."""
    at = microseconds(batch.at)
    for device_id in batch.device_ids:
        yield Reading(device_id, at, at)


def newest(state: object, value: object) -> object:
    """When a device was heard last."""
    assert isinstance(value, int)
    return value if state is None else max(value, state) if isinstance(state, int) else value


class HeardLast:
    """When each device was heard last, in microseconds; `since`: from when on that is known."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}
        self.since: int | None = None

    def take(self, device_id: str, moment: int) -> None:
        """A device was heard."""
        self.at[device_id] = max(moment, self.at.get(device_id, 0))


class Listening(Provider):
    """One `HeardLast` for all calls of the process. It is not kept over a restart: the readings that are kept bring it back."""

    def setup(self) -> None:
        """Starts empty."""
        self._heard = HeardLast()

    def get_dependency(self, worker_ctx: Any) -> HeardLast:
        """What is known now."""
        return self._heard


class RoadsideCalls(SafetyCalls):
    """Roadside systems."""

    roadside_devices = Streams("roadside", roadside.Standing, roadside.evolve, district=roadside.district_of)
    roadside_list = View(roadside.ROADSIDE_EVENTS, roadside.device_key, roadside.device, row=Kept)
    heard_last = Listening()
    heartbeats = Readings()

    @rpc
    def RegisterRoadsideDevices(self, request: pb.RegisterRoadsideDevicesRequest) -> pb.RegisterRoadsideDevicesResponse:
        """Makes devices known, or changed."""
        roads, lengths = self.network_parts.derived(street_views.roads), self.road_list.derived(views.lengths)
        for index, one in enumerate(request.devices):
            roadside.check(index, one, lengths)
            self.caller.require_district(roads[one.edge_id].district_id)
        changed = 0
        for one in request.devices:
            changed += self.roadside_devices.handle(
                one.device_id,
                partial(roadside.register, device=one, district_id=roads[one.edge_id].district_id),
                lambda _after, events: len(events),
            )
        return pb.RegisterRoadsideDevicesResponse(changed=changed)

    @rpc
    def ReportDeviceStates(self, request: pb.ReportDeviceStatesRequest) -> pb.ReportDeviceStatesResponse:
        """How devices are."""
        known = self.roadside_list.derived(roadside.by_id)
        good = [one for one in request.reports if one.device_id in known and not known[one.device_id].device.retired]
        if good:
            now = timestamp(self.clock.now())
            self.heartbeats.put(pb.DevicesHeard(device_ids=[one.device_id for one in good], at=now))
        for one in good:
            standing = known[one.device_id]
            if (standing.state, standing.what) != (one.state, one.what):
                self.roadside_devices.handle(
                    one.device_id, partial(roadside.change, now=one.state, what=one.what), lambda _after, _: None
                )  # fmt: skip
        unknown = sorted({one.device_id for one in request.reports} - {one.device_id for one in good})
        return pb.ReportDeviceStatesResponse(accepted=len(good), unknown_device_ids=unknown[: roadside.SHOWN])

    @rpc
    def GetRoadsideDevice(self, request: pb.GetRoadsideDeviceRequest) -> pb.GetRoadsideDeviceResponse:
        """One of them."""
        row = self.roadside_list.get(request.device_id)
        standing = row.read(pb.RoadsideStanding) if row is not None else None
        return pb.GetRoadsideDeviceResponse(standing=roadside.existing(standing, request.device_id))

    @rpc
    def ListRoadsideDevices(self, request: pb.ListRoadsideDevicesRequest) -> pb.ListRoadsideDevicesResponse:
        """By kind, district and state, in pages."""
        known = self.roadside_list.derived(roadside.by_id)
        about = [one for one in known.values() if roadside.asked_for(one, request)]
        shown = [one for one in about if request.state in (0, one.state)]
        page, more = self.paging.page(request, shown, roadside.place_in_list, default=50)
        return pb.ListRoadsideDevicesResponse(devices=page, next_page_token=more, counts=roadside.counts(about))

    @window(pb.DevicesHeard, seconds=MINUTE_S, readings=heard, fold=newest, late_s=LATE_S)
    def devices_heard(self, window: Window) -> None:
        """When devices were heard last."""
        self._recall()
        for device_id, moment in window.states.items():
            self.heard_last.take(device_id, moment)

    @every(60)
    def look_for_silent_devices(self) -> None:
        """Tells of devices from which nothing comes any more."""
        self._recall()
        now, known = self.clock.now(), self.roadside_list.derived(roadside.by_id)
        assert self.heard_last.since is not None
        for device_id in roadside.silent(known, self.heard_last.at, self.heard_last.since, now):
            quiet = f"nothing came for {roadside.MISSED} times as long as it should"
            self.roadside_devices.handle(
                device_id, partial(roadside.change, now=pb.ROADSIDE_STATE_SILENT, what=quiet), lambda _after, _: None
            )  # fmt: skip

    def _recall(self) -> None:
        """What was in memory before a restart."""
        if self.heard_last.since is not None:
            return
        now = self.clock.now()
        self.heard_last.since = now
        for batches in self.heartbeats.kept(pb.DevicesHeard, now - RECALLED_US):
            for _, batch in batches:
                for device_id in batch.device_ids:
                    self.heard_last.take(device_id, microseconds(batch.at))
