"""A mesh in a few lines, to drive the simulation against: it sends the nearest free ambulance, and knows no durability."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from citybrain.clock.v1 import clock_pb2 as clock
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1 import events_pb2 as hub_events
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import events_pb2 as health_events
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace, Route
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message
from typing_extensions import override

from citybrain.simulation.network import Edge
from citybrain.simulation.routing import tree_from, way

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Refusal(Exception):
    """The mesh says no."""

    def __init__(self, code: grpc.StatusCode, why: str) -> None:
        super().__init__(why)
        self.code = code


class FakeMesh:
    """Serves on a free port of 127.0.0.1. `stop` and `start` again keep its state, as a store would."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.reached: dict[str, int] = {}
        self.logs: dict[str, list[Event]] = {}
        self.sent: dict[str, int] = {}
        self.seen: dict[str, Message] = {}
        self.requests: list[tuple[str, Message, dict[str, str]]] = []
        self.time = 0
        self.times_told_since_start = 0
        self.edges: dict[str, RoadEdge] = {}
        self.ambulances: dict[str, RoadPlace] = {}
        self.busy: dict[str, str] = {}
        self.hospitals: dict[str, RoadPlace] = {}
        self.on_observation: Callable[[traffic.ReportObservationsRequest], list[Message]] = lambda request: []
        self.port = 0
        self._server: grpc.Server | None = None
        self._ending = False

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> FakeMesh:
        """Serves; after a stop on the same port as before, and without a time until it is told."""
        self._ending = False
        self.times_told_since_start = 0
        self.sent.clear()
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=24))
        server.add_generic_rpc_handlers([_Handlers(self)])
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Drops everybody."""
        self._ending = True
        with self.lock:
            self.lock.notify_all()
        if self._server is not None:
            self._server.stop(grace=0).wait()

    def __enter__(self) -> FakeMesh:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def publish(self, log: str, message: Message, correlation_id: str) -> None:
        """Appends an event to what one stream carries."""
        with self.lock:
            events = self.logs.setdefault(log, [])
            event = Event(
                id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{log}/{len(events)}")), type=message.DESCRIPTOR.full_name, stream=log,
                version=len(events) + 1, traceparent=TRACE, correlation_id=correlation_id,
            )  # fmt: skip
            event.data.Pack(message)
            events.append(event)
            self.lock.notify_all()

    def serves(self, method: str) -> bool:
        """Whether there is such a method."""
        return True

    # -- calls ----------------------------------------------------------------------------------------------------------

    def answer(self, method: str, request: Any, metadata: dict[str, str]) -> Message:
        """Answers one call, once per request id."""
        request_id = metadata.get("x-request-id", "")
        key = f"{method} {request_id}"
        with self.lock:
            self.requests.append((method, request, metadata))
            if request_id and key in self.seen:
                return self.seen[key]
            answered: Message = getattr(self, f"_{method.split('/')[-1]}")(request)
            self.seen[key] = answered
            return answered

    def _Advance(self, request: clock.AdvanceRequest) -> Message:
        self.time = max(self.time, request.time.seconds)
        self.times_told_since_start += 1
        return clock.AdvanceResponse(time=request.time)

    def _Rest(self, request: clock.RestRequest) -> Message:
        # At rest when every open stream has sent all that its log holds.
        def all_sent() -> bool:
            return all(self.reached[stream_id] >= len(self.logs.get(_log(stream_id), [])) for stream_id in self.sent)

        self.lock.wait_for(lambda: self._ending or all_sent(), 5)
        return clock.RestResponse(sent=self.sent, position=sum(map(len, self.logs.values())))

    def _RegisterDistrict(self, request: hub.RegisterDistrictRequest) -> Message:
        return hub.RegisterDistrictResponse()

    def _PublishRoads(self, request: traffic.PublishRoadsRequest) -> Message:
        assert len(request.edges) <= 200
        self.edges.update({edge.edge_id: edge for edge in request.edges})
        return traffic.PublishRoadsResponse(edges_known=len(self.edges))

    def _RegisterSignal(self, request: traffic.RegisterSignalRequest) -> Message:
        return traffic.RegisterSignalResponse()

    def _RegisterAmbulance(self, request: health.RegisterAmbulanceRequest) -> Message:
        self.ambulances[request.ambulance_id] = request.station
        return health.RegisterAmbulanceResponse()

    def _RegisterHospital(self, request: health.RegisterHospitalRequest) -> Message:
        self.hospitals[request.hospital_id] = request.entrance
        return health.RegisterHospitalResponse()

    def _ReportObservations(self, request: traffic.ReportObservationsRequest) -> Message:
        for commanded in self.on_observation(request):
            self.publish("signals", commanded, "")
        return traffic.ReportObservationsResponse()

    def _ReportSignal(self, request: traffic.ReportSignalRequest) -> Message:
        return traffic.ReportSignalResponse()

    def _AcknowledgeNotice(self, request: hub.AcknowledgeNoticeRequest) -> Message:
        return hub.AcknowledgeNoticeResponse()

    def _ReportEmergency(self, request: command.ReportEmergencyRequest) -> Message:
        incident = command.Incident(incident_id=f"inc-{len(self.busy) + 1:012x}", place=request.place)
        net = self._network()
        free = {a: tree_from(net, p.edge_id) for a, p in self.ambulances.items() if a not in self.busy.values()}
        scene = request.place.edge_id
        unit = min((a for a in free if scene in free[a]), key=lambda a: (free[a][scene][0], a))
        self.busy[incident.incident_id] = unit
        onward = tree_from(net, scene)
        hospital = min((h for h, p in self.hospitals.items() if p.edge_id in onward), key=lambda h: onward[self._at(h)][0])
        self.publish(
            "missions",
            health_events.AmbulanceReserved(
                ambulance_id=unit, incident_id=incident.incident_id, reservation_id="r", station=self.ambulances[unit],
                place=request.place, route=Route(edge_ids=way(free[unit], scene), travel_time_s=free[unit][scene][0]),
            ),
            incident.incident_id,
        )  # fmt: skip
        self.publish(
            "missions",
            health_events.BedReserved(
                hospital_id=hospital, incident_id=incident.incident_id, reservation_id="b", ambulance_id=unit,
                entrance=self.hospitals[hospital], route=Route(edge_ids=way(onward, self._at(hospital))),
            ),
            incident.incident_id,
        )  # fmt: skip
        notice = hub_events.DistrictNotified(notice_id="n1", incident_id=incident.incident_id, district_id="north-east")
        self.publish("district-north-east", notice, incident.incident_id)
        return command.ReportEmergencyResponse(incident=incident)

    def _ReportMission(self, request: health.ReportMissionRequest) -> Message:
        if request.stage == health.MISSION_STAGE_AT_HOSPITAL:
            incident_id = request.incident_id
            self.publish(
                "missions",
                health_events.PatientHandedOver(incident_id=incident_id, ambulance_id=request.ambulance_id),
                incident_id,
            )
            self.publish(
                "missions",
                health_events.AmbulanceReleased(incident_id=incident_id, ambulance_id=request.ambulance_id),
                incident_id,
            )
        return health.ReportMissionResponse()

    def _at(self, hospital: str) -> str:
        return self.hospitals[hospital].edge_id

    def _network(self) -> dict[str, Edge]:
        return {
            e.edge_id: Edge(e.edge_id, e.length_m, e.free_speed_mps, tuple(e.next_edge_ids), (0, 0), (), (), "")
            for e in self.edges.values()
        }

    # -- streams --------------------------------------------------------------------------------------------------------

    def follow(self, response: type[Any], stream_id: str, token: str) -> Iterator[Message]:
        """What is in a log from a token on, then live; two events a message at most."""
        log = _log(stream_id)
        with self.lock:
            self.reached[stream_id] = int(token or 0)
            self.sent[stream_id] = 0
            self.lock.notify_all()
        try:
            while True:
                with self.lock:
                    at = self.reached[stream_id]
                    while not self._ending and len(self.logs.get(log, [])) <= at:
                        self.lock.wait(0.5)
                    if self._ending:
                        return
                    events = self.logs[log][at : at + 2]
                    self.sent[stream_id] += 1
                message = response(events=events, resume_token=str(at + len(events)))
                yield message
                with self.lock:
                    self.reached[stream_id] = at + len(events)
                    self.lock.notify_all()
        finally:
            with self.lock:
                self.sent.pop(stream_id, None)
                self.lock.notify_all()


def _log(stream_id: str) -> str:
    return stream_id.split("~")[0]


_FILES = (clock, hub, command, health, traffic)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, mesh: FakeMesh) -> None:
        self._mesh = mesh

    @override
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        service, method = details.method.strip("/").split("/")
        if not self._mesh.serves(method):
            return None
        file = next(f for f in _FILES if service.split(".")[-1] in f.DESCRIPTOR.services_by_name)
        described = file.DESCRIPTOR.services_by_name[service.split(".")[-1]].methods_by_name[method]
        request_type, response_type = (
            getattr(file, described.input_type.name),
            getattr(file, described.output_type.name),
        )
        metadata = {key: str(value) for key, value in details.invocation_metadata}
        if described.server_streaming:
            return grpc.unary_stream_rpc_method_handler(
                lambda request, context: self._mesh.follow(response_type, metadata["x-stream-id"], request.resume_token),
                request_deserializer=request_type.FromString,
                response_serializer=response_type.SerializeToString,
            )

        def unary(request: Any, context: grpc.ServicerContext) -> Message:
            try:
                return self._mesh.answer(details.method.strip("/"), request, metadata)
            except Refusal as refusal:
                context.abort(refusal.code, str(refusal))
                raise

        return grpc.unary_unary_rpc_method_handler(
            unary,
            request_deserializer=request_type.FromString,
            response_serializer=response_type.SerializeToString,
        )
