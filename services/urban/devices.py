"""A device in the street: what it is, and its anomalies. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from citybrain.urban.v1 import devices_pb2 as pb
from citybrain.urban.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.urban import control_chart, nearby
from citybrain.services.urban.kinds import DEVICES
from citybrain.services.urban.readings import MICROSECONDS, WINDOW_S

GAS_ALARM = 25.0
"""GB/T 50493-2019 (石油化工可燃气体和有毒气体检测报警设计标准), 5.5.2: the first alarm for burnable gas is at 25 % of the lower
explosive limit or below; this value belongs to it."""
REMEMBERED = 20
"""So many of the newest anomalies of a device can be corrected."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device. `anomalies`: the newest ones, by id; `open_id`: the one that goes on."""

    device: pb.Device | None = None
    open_id: str = ""
    anomalies: Mapping[str, pb.Anomaly] = field(default_factory=dict)
    # Anomaly → the moments of its readings that were corrected.
    corrected: Mapping[str, frozenset[int]] = field(default_factory=dict)
    found: int = 0
    # Where it was when it fell silent.
    silent_in: str | None = None


def evolve(state: DeviceState, event: Message) -> DeviceState:
    """The device after an event."""
    match event:
        case ev.DeviceRegistered():
            return replace(state, device=event.device)
        case ev.DeviceFellSilent():
            return replace(state, silent_in=event.district_id)
        case ev.DeviceHeardAgain():
            return replace(state, silent_in=None)
        case ev.AnomalyFound():
            kept = dict(list({**state.anomalies, event.anomaly.anomaly_id: event.anomaly}.items())[-REMEMBERED:])
            return replace(state, open_id=event.anomaly.anomaly_id, anomalies=kept, found=state.found + 1)
        case ev.AnomalyEnded():
            return replace(_with(state, event.anomaly_id, pb.Anomaly(ended_at=event.ended_at)), open_id="")
        case ev.AnomalyUpheld():
            return _corrected(state, event.anomaly_id, event.evidence, event.corrected)
        case ev.AnomalyRetracted():
            after = _corrected(state, event.anomaly_id, event.evidence, event.corrected)
            after = _with(after, event.anomaly_id, pb.Anomaly(retracted=True))
            open_id = "" if after.open_id == event.anomaly_id else after.open_id
            return replace(after, open_id=open_id, found=after.found - 1)
    return state


def _with(state: DeviceState, anomaly_id: str, more: pb.Anomaly) -> DeviceState:
    if anomaly_id not in state.anomalies:
        return state
    changed = pb.Anomaly()
    changed.CopyFrom(state.anomalies[anomaly_id])
    changed.MergeFrom(more)
    return replace(state, anomalies={**state.anomalies, anomaly_id: changed})


def _corrected(
    state: DeviceState, anomaly_id: str, evidence: Sequence[pb.WindowMean], moments: Sequence[Timestamp]
) -> DeviceState:
    if anomaly_id not in state.anomalies:
        return state
    changed = pb.Anomaly()
    changed.CopyFrom(state.anomalies[anomaly_id])
    del changed.evidence[:]
    changed.evidence.extend(evidence)
    known = state.corrected.get(anomaly_id, frozenset()) | {microseconds(one) for one in moments}
    return replace(
        state,
        anomalies={**state.anomalies, anomaly_id: changed},
        corrected={**state.corrected, anomaly_id: known},
    )


def district_of(state: DeviceState) -> str:
    """The district that it is in."""
    return state.device.district_id if state.device is not None else ""


def existing(state: DeviceState, device_id: str) -> pb.Device:
    """The device, or NotFound."""
    if state.device is None:
        raise NotFound(f"there is no device {device_id}: register it first", "NO_SUCH_DEVICE")
    return state.device


def check(index: int, device: pb.Device) -> None:
    """BadRequest where a device cannot be as it is said to be."""
    where = f"devices[{index}]"
    nearby.check(device.position, f"{where}.position")
    if device.kind not in DEVICES:
        raise BadRequest([(f"{where}.kind", f"{device.kind} is no kind of device: there are {', '.join(sorted(DEVICES))}")])
    if device.network_id and device.kind != "rain" and (device.kind != "water_pressure" or not device.node_id):
        problem = "is for a water_pressure sensor, together with node_id, and for a rain gauge of a drainage network"
        raise BadRequest([(f"{where}.network_id", problem)])
    has_alarm = bool(device.alarm_from or device.alarm_until)
    if not DEVICES[device.kind].charted and device.kind != "rain" and not has_alarm:
        problem = f"is missing: a {device.kind} has no chart, and without a limit it would never show anything"
        raise BadRequest([(f"{where}.alarm_from", problem)])
    if device.kind == "gas_leak" and device.alarm_from > GAS_ALARM:
        problem = f"is above {GAS_ALARM:g} % of the lower explosive limit, the highest first alarm by GB/T 50493-2019"
        raise BadRequest([(f"{where}.alarm_from", problem)])
    if has_alarm and device.alarm_until >= device.alarm_from:
        raise BadRequest([(f"{where}.alarm_until", "must be below alarm_from: an alarm that goes on and off helps nobody")])


def register(state: DeviceState, device: pb.Device) -> list[Message]:
    """Makes it known, or changed. Refused where its kind would change: that is another device."""
    if state.device == device:
        return []
    if state.device is not None and state.device.kind != device.kind:
        raise Refused(f"{device.device_id} is a {state.device.kind}: give a device of another kind another id", "OTHER_KIND")
    return [ev.DeviceRegistered(device=device, district_id=device.district_id)]


def relearn(state: DeviceState, request: pb.RelearnDeviceRequest, now: Timestamp) -> list[Message]:
    """What was learnt counts no more."""
    device = existing(state, request.device_id)
    if device.HasField("baseline"):
        raise Refused(f"{request.device_id} has a baseline that was given: register it with another one", "BASELINE_GIVEN")
    return [
        ev.BaselineDropped(device_id=request.device_id, reason=request.reason, district_id=device.district_id, dropped_at=now)
    ]


def anomaly_id(device_id: str, start: int) -> str:
    """The id of an anomaly that is found in a window: the same whenever it is found."""
    return f"ano-{hashlib.sha256(f'{device_id} {start}'.encode()).hexdigest()[:12]}"


def find(state: DeviceState, anomaly: pb.Anomaly) -> list[Message]:
    """An anomaly is found, once; none while another one goes on."""
    if state.device is None or state.open_id or anomaly.anomaly_id in state.anomalies:
        return []
    return [ev.AnomalyFound(anomaly=anomaly, device_id=anomaly.device_id, district_id=anomaly.district_id)]


def end(state: DeviceState, device_id: str, now: Timestamp) -> list[Message]:
    """The anomaly that goes on is over."""
    if not state.open_id:
        return []
    # Of the anomaly: the device may have moved since.
    district_id = state.anomalies[state.open_id].district_id
    return [ev.AnomalyEnded(anomaly_id=state.open_id, device_id=device_id, district_id=district_id, ended_at=now)]


def fall_silent(state: DeviceState, heard_until: int, now: Timestamp) -> list[Message]:
    """Nothing has come from it for hours: told once."""
    device = state.device
    if device is None or state.silent_in is not None:
        return []
    told = ev.DeviceFellSilent(device_id=device.device_id, kind=device.kind, district_id=device.district_id, told_at=now)
    if heard_until:
        told.heard_until.CopyFrom(timestamp(heard_until))
    return [told]


def hear(state: DeviceState, device_id: str, now: Timestamp) -> list[Message]:
    """Something comes from it again."""
    if state.silent_in is None:
        return []
    return [ev.DeviceHeardAgain(device_id=device_id, district_id=state.silent_in, heard_at=now)]


def correct(state: DeviceState, request: pb.CorrectReadingsRequest, now: Timestamp) -> list[Message]:
    """Computes the anomalies anew whose evidence is corrected: each is upheld or retracted."""
    existing(state, request.device_id)
    told: list[Message] = []
    for one in state.anomalies.values():
        if one.retracted:
            continue
        mine = [(index, each) for index, each in enumerate(request.corrections) if _window(one, each) is not None]
        if not mine:
            continue
        known = state.corrected.get(one.anomaly_id, frozenset())
        for index, each in mine:
            if microseconds(each.observed_at) in known:
                problem = f"this reading of {one.anomaly_id} was corrected before, and counts as it was corrected"
                raise BadRequest([(f"corrections[{index}].observed_at", problem)])
        evidence = _applied(one, mine)
        event = ev.AnomalyUpheld if supported(one, evidence) else ev.AnomalyRetracted
        made = event(
            anomaly_id=one.anomaly_id, device_id=one.device_id, district_id=one.district_id, evidence=evidence,
            reason=request.reason, corrected=[each.observed_at for _, each in mine],
        )  # fmt: skip
        if isinstance(made, ev.AnomalyRetracted):
            made.retracted_at.CopyFrom(now)
        told.append(made)
    return told


def _window(anomaly: pb.Anomaly, correction: pb.Correction) -> int | None:
    """The place of the window of the evidence that a correction is about."""
    at = microseconds(correction.observed_at)
    for place, window in enumerate(anomaly.evidence):
        start = microseconds(window.start)
        if start <= at < start + WINDOW_S * MICROSECONDS:
            return place
    return None


def _applied(anomaly: pb.Anomaly, corrections: Sequence[tuple[int, pb.Correction]]) -> list[pb.WindowMean]:
    """The windows with corrected readings. One without any reading is left out: nothing is known of it."""
    windows = [(one.start, one.mean * one.readings, one.readings, one.expected) for one in anomaly.evidence]
    for index, one in corrections:
        place = _window(anomaly, one)
        assert place is not None
        start, total, readings, expected = windows[place]
        if one.HasField("reported"):
            if readings == 0:
                raise BadRequest([(f"corrections[{index}].reported", "no reading is left in that minute")])
            total, readings = total - one.reported, readings - 1
        if one.HasField("corrected"):
            total, readings = total + one.corrected, readings + 1
        windows[place] = start, total, readings, expected
    return [
        pb.WindowMean(start=start, mean=total / n, readings=n, expected=expected) for start, total, n, expected in windows if n
    ]


def supported(anomaly: pb.Anomaly, evidence: Sequence[pb.WindowMean]) -> bool:
    """Whether windows support an anomaly by the rule that found it."""
    chart, means = anomaly.chart, [one.mean for one in evidence]
    if chart.rule == "LIMIT":
        last = means[-control_chart.PERSISTENCE :]
        return len(last) == control_chart.PERSISTENCE and all(mean > chart.limit for mean in last)
    if chart.rule == "MODEL":
        return len(evidence) >= control_chart.PERSISTENCE and all(
            abs(one.mean - one.expected) > chart.limit for one in evidence
        )
    base = chart.baseline
    begin = control_chart.State.of(chart.ewma, chart.cusum_high, chart.cusum_low, chart.windows)
    return control_chart.holds(begin, [(mean - base.mean) / base.sigma for mean in means])
