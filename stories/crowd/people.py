"""The people of that day: staff at the gate, operators, the district, and those who command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.events_pb2 import DistrictNotified
from citybrain.events.v1.event_pb2 import Event
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.safety.v1.events_pb2 import JointCommandCalled
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.tourism.v1 import peaks_pb2 as peaks
from citybrain.tourism.v1.events_pb2 import MeasureOrdered
from citybrain.traffic.v1 import transport_pb2 as transport
from citybrain.traffic.v1.events_pb2 import TransportRequested
from google.protobuf.message import Message

from citybrain.simulation.crowd_run import HUB, SAFETY, TOURISM, TRAFFIC
from citybrain.simulation.gateway_client import Gateway
from citybrain.stories.driven import unpacked

R = TypeVar("R", bound=Message)

SAGAS = "citybrain.sagas.v1.SagaService"
LOOKED_FOR = 3
"""So many minutes after people stand apart again somebody has looked, and lets others in."""
_CARRIED_OUT = (peaks.MEASURE_KIND_STOP_ENTRY, peaks.MEASURE_KIND_DISPERSE)


@dataclass(slots=True)
class People:
    """Acts for all of them. `joint`: the incidents on which departments act together."""

    gateway: Gateway
    joint: list[str] = field(default_factory=list)
    planned: int = 0
    """How often somebody has decided that departments prepare."""
    cleared: list[float] = field(default_factory=list)
    """When somebody has cleared that others are let in again, seconds of the run."""

    def hear(self, event: Event) -> None:
        """Whoever is told or asked answers."""
        if (notice := unpacked(event, DistrictNotified)) is not None:
            seen = hub.AcknowledgeNoticeRequest(notice_id=notice.notice_id, district_id=notice.district_id)
            self._call(f"{HUB}/AcknowledgeNotice", seen, hub.AcknowledgeNoticeResponse)
        elif (asked := unpacked(event, TransportRequested)) is not None:
            answer = transport.AnswerTransportRequest(request_id=asked.request.request_id, accepted=True, note="已安排")
            self._call(f"{TRAFFIC}/AnswerTransport", answer, transport.AnswerTransportResponse)
        elif (ordered := unpacked(event, MeasureOrdered)) is not None and ordered.measure.kind in _CARRIED_OUT:
            done = peaks.AcknowledgeMeasureRequest(place_id=ordered.place_id, measure_id=ordered.measure.measure_id)
            self._call(f"{TOURISM}/AcknowledgeMeasure", done, peaks.AcknowledgeMeasureResponse)
        elif (called := unpacked(event, JointCommandCalled)) is not None:
            self.joint.append(called.incident_id)

    def plan(self) -> None:
        """A person decides that departments prepare."""
        for task in self._tasks("plan"):
            self._answer(task, "prepare", "提前准备")
            self.planned += 1

    def clear(self, second: int) -> None:
        """Somebody has looked: nobody is in danger any more. What waits for that is answered, joint command stands down."""
        for incident_id in self.joint:
            over = safety.OrderStandDownRequest(incident_id=incident_id, outcome="人群已疏散")
            self._call(f"{SAFETY}/OrderStandDown", over, safety.OrderStandDownResponse)
        self.joint.clear()
        for task in self._tasks("clear_entry"):
            self._answer(task, "clear", "现场已确认安全")
            self.cleared.append(second)

    def _tasks(self, step: str) -> list[sagas.Task]:
        """The questions of this name that wait for somebody."""
        waiting = self._call(f"{SAGAS}/ListTasks", sagas.ListTasksRequest(), sagas.ListTasksResponse).tasks
        return [task for task in waiting if task.step == step]

    def _answer(self, task: sagas.Task, option: str, reason: str) -> None:
        answer = sagas.AnswerQuestionRequest(saga_id=task.saga_id, question=task.step, option=option, reason=reason)
        self._call(f"{SAGAS}/AnswerQuestion", answer, sagas.AnswerQuestionResponse)

    def _call(self, method: str, request: Message, answer: type[R]) -> R:
        return self.gateway.call(method, request, answer, f"people/{self.gateway.calls}")
