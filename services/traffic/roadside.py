"""The register of roadside systems: six kinds of devices, and how each is. Pure.

A device says how it is at least every so many seconds. Only another state is an event; that it was heard at all is telemetry.
One that was not heard for three times as long is silent, and is what it says again when it is heard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import roadside_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.mesh.kept import Kept
from citybrain.mesh.roads import beyond_the_end
from citybrain.services.traffic.detectors import MICROSECONDS

MISSED = 3
"""A device is silent when nothing has come for so many of its intervals."""
SHOWN = 100
ROADSIDE_EVENTS = (ev.RoadsideDeviceRegistered, ev.RoadsideStateChanged)
State = pb.RoadsideState


@dataclass(frozen=True, slots=True)
class Standing:
    """A device, and how it is."""

    device: pb.RoadsideDevice | None = None
    district_id: str = ""
    state: State = pb.ROADSIDE_STATE_UNSPECIFIED
    what: str = ""


def evolve(state: Standing, event: Message) -> Standing:
    """The device after an event."""
    match event:
        case ev.RoadsideDeviceRegistered():
            return replace(state, device=event.device, district_id=event.district_id)
        case ev.RoadsideStateChanged():
            return replace(state, state=event.state, what=event.what)
    return state


def district_of(state: Standing) -> str:
    """The district of its road."""
    return state.district_id


def check(index: int, device: pb.RoadsideDevice, lengths_m: Mapping[str, float]) -> None:
    """BadRequest where a device cannot be where it is said to be."""
    if device.edge_id not in lengths_m:
        what = f"{device.edge_id!r} is not in the published network: name a road that is, or publish it"
        raise BadRequest([(f"devices[{index}].edge_id", what)])
    if wrong := beyond_the_end(lengths_m, device.edge_id, device.position_m):
        raise BadRequest([(f"devices[{index}].position_m", wrong)])


def register(state: Standing, device: pb.RoadsideDevice, district_id: str) -> list[Message]:
    """Makes it known, or changed. Refused where it would be of another kind: that is another device."""
    if (state.device, state.district_id) == (device, district_id):
        return []
    if state.device is not None and state.device.kind != device.kind:
        raise Refused(f"{device.device_id} is a device of another kind: give another one another id", "OTHER_KIND")
    return [ev.RoadsideDeviceRegistered(device=device, district_id=district_id)]


def change(state: Standing, now: State, what: str) -> list[Message]:
    """Another state, or another reason for it."""
    device = state.device
    if device is None or device.retired or (state.state, state.what) == (now, what):
        return []
    return [
        ev.RoadsideStateChanged(
            device_id=device.device_id, kind=device.kind, edge_id=device.edge_id, district_id=state.district_id, state=now,
            old_state=state.state, what=what,
        )
    ]  # fmt: skip


def existing(standing: pb.RoadsideStanding | None, device_id: str) -> pb.RoadsideStanding:
    """The device, or NotFound."""
    if standing is None:
        what = f"there is no roadside device {device_id}: register it first (RegisterRoadsideDevices)"
        raise NotFound(what, "NO_SUCH_DEVICE")
    return standing


def silent(known: Mapping[str, pb.RoadsideStanding], heard: Mapping[str, int], since: int, now: int) -> list[str]:
    """The devices in use that are not silent yet, and of which nothing came for too long.

    `heard`: when each was heard last; `since`: from when on that is known. All in microseconds.
    """
    found = []
    for device_id, one in sorted(known.items()):
        if one.device.retired or one.state == pb.ROADSIDE_STATE_SILENT:
            continue
        # What it said last counts, too: what was heard is known a minute later.
        last = max(heard.get(device_id, 0), since, microseconds(one.since))
        if now - last > MISSED * one.device.reports_every_s * MICROSECONDS:
            found.append(device_id)
    return found


def device_key(event: Heard) -> str:
    """The device."""
    data = event.data
    assert isinstance(data, ev.RoadsideDeviceRegistered | ev.RoadsideStateChanged)
    return data.device.device_id if isinstance(data, ev.RoadsideDeviceRegistered) else data.device_id


def device(row: Kept | None, event: Heard) -> Kept | None:
    """The device and its state."""
    data = event.data
    one = row.read(pb.RoadsideStanding) if row is not None else pb.RoadsideStanding()
    if isinstance(data, ev.RoadsideDeviceRegistered):
        one.device.CopyFrom(data.device)
        one.district_id = data.district_id
    elif isinstance(data, ev.RoadsideStateChanged):
        one.state, one.what = data.state, data.what
        one.since.CopyFrom(timestamp(event.stored.occurred_at))
    return Kept.of(one)


def by_id(rows: Iterable[Kept]) -> dict[str, pb.RoadsideStanding]:
    """All devices, in order."""
    return {one.device.device_id: one for one in sorted((row.read(pb.RoadsideStanding) for row in rows), key=place_in_list)}


def place_in_list(one: pb.RoadsideStanding) -> tuple[int | str, ...]:
    """What devices are ordered by."""
    return (one.device.device_id,)


def asked_for(one: pb.RoadsideStanding, request: pb.ListRoadsideDevicesRequest) -> bool:
    """Whether a device is of the district and of the kind, and in use."""
    return not one.device.retired and request.district_id in ("", one.district_id) and request.kind in (0, one.device.kind)


def counts(some: Iterable[pb.RoadsideStanding]) -> pb.RoadsideCounts:
    """How many there are in each state."""
    found = Counter(one.state for one in some)
    return pb.RoadsideCounts(
        working=found[pb.ROADSIDE_STATE_WORKING], degraded=found[pb.ROADSIDE_STATE_DEGRADED],
        broken=found[pb.ROADSIDE_STATE_BROKEN], maintenance=found[pb.ROADSIDE_STATE_MAINTENANCE],
        silent=found[pb.ROADSIDE_STATE_SILENT], not_heard=found[pb.ROADSIDE_STATE_UNSPECIFIED],
    )  # fmt: skip
