"""Who did what, when, in which department: the events of an incident, told for people, in English and Chinese."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from citybrain.district_hub.v1 import events_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command_api
from citybrain.emergency_command.v1 import events_pb2 as command
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import events_pb2 as health
from citybrain.health.v1 import health_service_pb2 as health_api
from citybrain.sagas.v1 import events_pb2 as sagas
from citybrain.traffic.v1 import events_pb2 as traffic
from citybrain.traffic.v1 import traffic_service_pb2 as traffic_api
from google.protobuf import json_format

from citybrain.mesh.events import message_class

DEPARTMENTS = {
    "emergency_command": ("Emergency command", "应急指挥"),
    "health": ("Health", "卫生健康"),
    "traffic": ("Traffic", "交通"),
    "district_hub": ("District hub", "区县中枢"),
    "sagas": ("Workflow", "跨部门协同"),
}

_CHANNEL_ZH = {
    command_api.CHANNEL_PHONE: "电话",
    command_api.CHANNEL_APP: "手机应用",
    command_api.CHANNEL_WEARABLE: "可穿戴设备",
    command_api.CHANNEL_PATROL: "巡逻人员",
}
_STAGES = {
    health_api.MISSION_STAGE_UNDER_WAY: ("{a} is on its way", "{a} 已出发"),
    health_api.MISSION_STAGE_AT_SCENE: ("{a} has reached the patient", "{a} 到达现场"),
    health_api.MISSION_STAGE_PATIENT_ON_BOARD: ("{a} drives on with the patient", "{a} 接上患者前往医院"),
    health_api.MISSION_STAGE_AT_HOSPITAL: ("{a} is at the hospital door", "{a} 到达医院"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline. `at` is city time in seconds since 1970; `event` the whole event as JSON, for a closer look."""

    at: float
    department: str
    english: str
    chinese: str
    event: dict[str, Any]


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


Words = Callable[[Any], tuple[str, str] | None]


def _mission(e: health.MissionReported) -> tuple[str, str]:
    english, chinese = _STAGES[e.stage]
    return english.format(a=e.ambulance_id), chinese.format(a=e.ambulance_id)


def _signal(e: traffic.SignalCommanded) -> tuple[str, str]:
    if e.vehicle_id and any(interval.purpose == "priority" for interval in e.intervals):
        return f"Signal {e.signal_id} turns green for {e.vehicle_id}", f"信号灯 {e.signal_id} 为 {e.vehicle_id} 放行"
    return f"Signal {e.signal_id} goes back to its plan ({e.reason})", f"信号灯 {e.signal_id} 恢复原方案"


def _reported(e: traffic.SignalReported) -> tuple[str, str] | None:
    if e.report != traffic_api.SIGNAL_REPORT_REFUSED:
        return None
    return f"Signal {e.signal_id} refused a command: it shows something else", f"信号灯 {e.signal_id} 拒绝了指令"


_WORDS: dict[type, Words] = {
    command.IncidentOpened: lambda e: (
        f"A report comes in by {command_api.Channel.Name(e.channel).removeprefix('CHANNEL_').lower()}: an incident is opened",
        f"接到{_CHANNEL_ZH[e.channel]}报警，事件立案",
    ),
    command.IncidentCancelled: lambda e: (f"False call: {e.reason}", f"误报：{e.reason}"),
    command.IncidentClosed: lambda e: (f"Closed: {e.outcome}", f"结案：{e.outcome}"),
    health.AmbulanceReserved: lambda e: (
        f"{e.ambulance_id} is assigned: {e.route.length_m / 1000:.1f} km, expected in {_minutes(e.route.travel_time_s)}",
        f"指派 {e.ambulance_id}：{e.route.length_m / 1000:.1f} 公里，预计 {_minutes(e.route.travel_time_s)}",
    ),
    health.AmbulanceChoiceRefused: lambda e: (
        f"{e.ambulance_id} was taken meanwhile: the next is chosen",
        f"{e.ambulance_id} 已被占用，另选",
    ),
    health.AmbulanceReleased: lambda e: (f"{e.ambulance_id} is free again ({e.reason})", f"{e.ambulance_id} 恢复待命"),
    health.BedReserved: lambda e: (f"{e.hospital_id} keeps an emergency place", f"{e.hospital_id} 预留急诊床位"),
    health.BedCancelled: lambda e: (f"{e.hospital_id} gets its place back ({e.reason})", f"{e.hospital_id} 取消床位预留"),
    health.PatientAnnounced: lambda e: (
        f"{e.hospital_id} is told: expected after {_minutes(e.expected_in_s)} of driving",
        f"通知 {e.hospital_id}：车程约 {_minutes(e.expected_in_s)}",
    ),
    health.MissionReported: _mission,
    health.PatientHandedOver: lambda e: (f"The patient is in the hands of {e.hospital_id}", f"患者移交 {e.hospital_id}"),
    traffic.PriorityGranted: lambda e: (
        f"Priority for {e.vehicle_id} at {len(e.signal_ids)} signals on its way",
        f"为 {e.vehicle_id} 沿途 {len(e.signal_ids)} 处信号灯开启绿波",
    ),
    traffic.PriorityReleased: lambda e: (f"Priority ends ({e.reason})", "绿波结束"),
    traffic.VehicleLost: lambda e: (
        f"{e.vehicle_id} has not said where it is for {e.silent_s:.0f} s: its signals are given back",
        f"{e.vehicle_id} 失去位置信号 {e.silent_s:.0f} 秒，归还信号灯",
    ),
    traffic.SignalCommanded: _signal,
    traffic.SignalReported: _reported,
    hub.DistrictNotified: lambda e: (
        f"District {e.district_id} is told: {len(e.edge_ids)} of its roads lie on the way",
        f"通知 {e.district_id}：途经 {len(e.edge_ids)} 条道路",
    ),
    hub.NoticeAcknowledged: lambda e: (f"District {e.district_id} has seen it", f"{e.district_id} 已确认"),
    hub.NoticeWithdrawn: lambda e: (f"District {e.district_id} hears that it is over", f"{e.district_id} 收到撤回通知"),
    sagas.StepSkipped: lambda e: (f"Goes on without {e.step}: {e.reason}", f"跳过 {e.step}"),
    sagas.UndoBegan: lambda e: (f"Everything that was done is undone: {e.reason}", "撤销已执行的步骤"),
    sagas.SagaNeedsHuman: lambda e: (f"A human is needed at {e.step}: {e.reason}", f"{e.step} 需要人工处理"),
}


def tell(events: Iterable[Event]) -> list[Line]:
    """The lines of a timeline, in the order in which the events were written."""
    lines = []
    for event in events:
        message = message_class(event.type).FromString(event.data.value)
        words = _WORDS.get(type(message))
        said = words(message) if words is not None else None
        if said is not None:
            content = json_format.MessageToDict(message)
            lines.append(
                Line(
                    at=event.occurred_at.seconds + event.occurred_at.nanos / 1e9,
                    department=event.stream.partition("/")[0],
                    english=said[0],
                    chinese=said[1],
                    event={
                        "id": event.id,
                        "type": event.type,
                        "stream": event.stream,
                        "version": event.version,
                        "cause": event.causation_id,
                        "actor": event.actor,
                        "trace": event.traceparent,
                        "content": content,
                    },
                )
            )
    return lines


def without_signal_detail(lines: list[Line]) -> list[Line]:
    """The same for a terminal: consecutive signal commands become one line."""
    shown: list[Line] = []
    for line in lines:
        if line.event["type"] == "citybrain.traffic.v1.SignalCommanded" and not line.english.endswith("for " + _vehicle(line)):
            continue
        shown.append(line)
    return shown


def _vehicle(line: Line) -> str:
    return str(line.event["content"].get("vehicleId", ""))
