"""Calls through a real Envoy: the same service in gRPC, JSON and gRPC-Web."""

from __future__ import annotations

import http.client
import json
import struct
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.options.v1 import options_pb2
from citybrain.roads.v1 import roads_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from tests.gateway.conftest import BEARER, call_json, channel_to

pytestmark = pytest.mark.envoy

PLACE = roads_pb2.RoadPlace(edge_id="e1", position_m=3)
REPORT = {"channel": "CHANNEL_PHONE", "severity": "SEVERITY_CRITICAL", "place": {"edgeId": "e1", "positionM": 3}}
PATH = "/citybrain.emergency_command.v1.EmergencyCommandService"


def test_grpc_call_keeps_its_request_id(stub: Any, upstream: Any) -> None:
    response = stub.ReportEmergency(
        pb.ReportEmergencyRequest(place=PLACE),
        timeout=60,
        metadata=[("x-request-id", "my wish/1"), ("x-caller", "mayor"), ("x-causation-id", "e1")],
    )
    assert response.incident.place == PLACE
    assert upstream.service.metadata[0]["x-request-id"] == "my wish/1"
    # Who calls, and because of what, is not for the caller to say.
    assert not upstream.service.metadata[0].keys() & {"x-caller", "x-causation-id"}


def test_json_call_keeps_its_request_id(gateway: Any, upstream: Any) -> None:
    answer = call_json(gateway.address, "POST", "/v1/incidents", REPORT, {"x-request-id": "my-wish-2", "x-caller": "mayor"})
    assert answer.status == 200, answer.body
    assert answer.json()["incident"]["incidentId"] == "inc-000000000001"
    # Zero values are told too.
    assert answer.json()["incident"]["outcome"] == ""
    assert answer.headers["x-request-id"] == "my-wish-2"
    assert upstream.service.metadata[0]["x-request-id"] == "my-wish-2"
    assert "x-caller" not in upstream.service.metadata[0]


def test_a_call_without_request_id_gets_one(gateway: Any, upstream: Any) -> None:
    answer = call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a")
    assert answer.json()["incident"]["incidentId"] == "inc-00000000000a"
    assert upstream.service.metadata[0]["x-request-id"] == answer.headers["x-request-id"]


def test_grpc_web_call(gateway: Any) -> None:
    message = pb.GetIncidentRequest(incident_id="inc-00000000000b").SerializeToString()
    frame = struct.pack(">BI", 0, len(message)) + message
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    answer = call_json(gateway.address, "POST", f"{PATH}/GetIncident", headers=headers, raw=frame)
    (size,) = struct.unpack(">I", answer.body[1:5])
    assert pb.GetIncidentResponse.FromString(answer.body[5 : 5 + size]).incident.incident_id == "inc-00000000000b"


def test_deadline_reaches_the_service(stub: Any, gateway: Any, upstream: Any) -> None:
    request = pb.GetIncidentRequest(incident_id="inc-00000000000a")
    stub.GetIncident(request, timeout=20)
    stub.GetIncident(request, timeout=3600)
    stub.GetIncident(request)
    call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a")
    own, too_long, none_given, json_call = upstream.service.time_left
    # gRPC rounds a deadline up on its way.
    assert own < 21
    assert too_long < gateway.settings.deadline_s + 1
    assert none_given < gateway.settings.deadline_s + 1
    assert json_call < gateway.settings.deadline_s + 1


def test_a_call_ends_at_its_deadline(make_gateway: Any, upstream: Any) -> None:
    gateway = make_gateway(deadline_s=0.3)
    answer = call_json(gateway.address, "GET", "/v1/incidents")
    assert (answer.status, answer.json()["code"]) == (504, 4)
    assert "Ask again under the same x-request-id" in answer.json()["message"]
    # The service is told that nobody waits any more.
    assert upstream.service.cancelled.wait(60)


def test_a_service_that_has_too_much_to_do_says_in_json_too_when_to_come_again(gateway: Any) -> None:
    answer = call_json(gateway.address, "GET", "/v1/incidents/busy")
    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (429, 8, "1")


def test_what_grpc_refuses_in_place_of_a_service_says_when_to_come_again(gateway: Any, stub: Any) -> None:
    answer = call_json(gateway.address, "GET", "/v1/incidents/stopping")
    assert (answer.status, answer.json()["code"], answer.headers.get("retry-after")) == (503, 14, "1")
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetIncident(pb.GetIncidentRequest(incident_id="stopping"), timeout=60)
    # An answer of headers alone: gRPC hands them over as what trails it.
    trailers: Any = caught.value.trailing_metadata()
    assert dict(trailers).get("retry-after") == "1"


def test_error_details_come_back(stub: Any, gateway: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ReportEmergency(pb.ReportEmergencyRequest(), timeout=60)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    trailers: Any = caught.value.trailing_metadata()
    details = dict(trailers)["grpc-status-details-bin"]
    violations = error_details_pb2.BadRequest()
    assert status_pb2.Status.FromString(details).details[0].Unpack(violations)
    assert violations.field_violations[0].field == "place"

    answer = call_json(gateway.address, "POST", "/v1/incidents", {"channel": "CHANNEL_PHONE"})
    assert answer.status == 400
    assert answer.json()["code"] == 3
    (detail,) = answer.json()["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    (told,) = detail["fieldViolations"]
    assert (told["field"], told["description"]) == ("place", "must be given")


def test_stream_in_grpc(stub: Any, upstream: Any) -> None:
    stream = stub.FollowIncident(pb.FollowIncidentRequest(incident_id="inc-00000000000a"))
    assert next(stream).resume_token == "token-0"  # noqa: S105
    assert next(stream).resume_token == "token-1"  # noqa: S105
    # The first answers came while the stream goes on.
    upstream.service.release.set()
    assert [response.resume_token for response in stream] == ["token-2"]
    # No limit of the gateway's: a stream lasts as long as both want.
    assert upstream.service.time_left[0] > 10**9


def test_stream_as_server_sent_events(gateway: Any, upstream: Any) -> None:
    connection = http.client.HTTPConnection(gateway.address, timeout=60)
    connection.request("GET", "/v1/incidents/inc-00000000000a:follow?resumeToken=a%2Bb", headers=BEARER)
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("content-type") == "text/event-stream"

    def event() -> Any:
        lines = iter(response.readline, b"")
        return json.loads(next(line for line in lines if line.startswith(b"data:")).removeprefix(b"data:"))

    first = event()
    assert first["resumeToken"] == "token-0"
    assert first["events"][0]["data"]["@type"] == "type.googleapis.com/citybrain.emergency_command.v1.IncidentOpened"
    assert event()["resumeToken"] == "token-1"
    upstream.service.release.set()
    assert event()["resumeToken"] == "token-2"
    connection.close()


def test_a_page_hears_that_its_stream_is_open_before_there_is_anything_to_tell(gateway: Any) -> None:
    connection = http.client.HTTPConnection(gateway.address, timeout=60)
    connection.request("GET", "/v1/incidents/inc-00000000000a:follow?resumeToken=nothing%20yet", headers=BEARER)
    response = connection.getresponse()
    assert (response.status, response.getheader("content-type")) == (200, "text/event-stream")
    connection.close()


def test_unknown_method_is_told_how_to_go_on(gateway: Any) -> None:
    with channel_to(gateway.address) as channel:
        call = channel.unary_unary("/citybrain.nothing.v1.NothingService/Nothing", bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "reflection" in str(caught.value.details())

    answer = call_json(gateway.address, "GET", "/v1/nothing")
    assert (answer.status, answer.json()["code"]) == (404, 5)
    assert "reflection" in answer.json()["message"]
    why, asked = answer.json()["details"]
    assert (why["reason"], why["domain"]) == ("NO_SUCH_METHOD", "citybrain.gateway")
    assert asked["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "raw"),
    [("GET", "/v1/incidents?pageSise=3", None), ("POST", "/v1/incidents", b"{bad"), ("GET", "/v1/incidents/a%2fb", None)],
    ids=["misspelt parameter", "broken body", "escaped slash"],
)
def test_bad_json_is_an_error_with_a_reason(gateway: Any, method: str, path: str, raw: bytes | None) -> None:
    answer = call_json(gateway.address, method, path, raw=raw)
    assert (answer.status, answer.json()["code"]) == (400, 3)
    assert answer.json()["message"]


def test_a_method_is_not_reached_around_the_transcoder(gateway: Any, upstream: Any) -> None:
    answer = call_json(gateway.address, "POST", f"{PATH}/GetIncident", {"incidentId": "inc-00000000000a"})
    assert answer.status == 404
    assert upstream.service.metadata == []


def test_a_method_without_scope_is_closed(make_gateway: Any, descriptors: bytes, upstream: Any) -> None:
    contracts = FileDescriptorSet.FromString(descriptors)
    for file in contracts.file:
        for service in file.service:
            for method in service.method:
                if method.name == "GetIncident":
                    method.options.ClearExtension(options_pb2.scope)  # type: ignore[arg-type]
    gateway = make_gateway(contracts.SerializeToString())
    with channel_to(gateway.address) as channel:
        call = channel.unary_unary(f"{PATH}/GetIncident", bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    answer = call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a")
    assert answer.status in (404, 501)
    assert "scope" in answer.json()["message"]
    assert upstream.service.metadata == []


def test_bodies_larger_than_the_buffers_of_a_connection(gateway: Any) -> None:
    edge = "e" * 300_000
    answer = call_json(gateway.address, "POST", "/v1/incidents", {"place": {"edgeId": edge}})
    assert answer.status == 200, answer.body
    assert answer.json()["incident"]["place"]["edgeId"] == edge


def test_a_body_that_is_too_large_is_refused_with_a_reason(make_gateway: Any, upstream: Any) -> None:
    gateway = make_gateway(max_request_bytes=2048)
    answer = call_json(gateway.address, "POST", "/v1/incidents", {"place": {"edgeId": "e" * 5000}})
    assert (answer.status, answer.json()["code"]) == (413, 8)
    assert upstream.service.metadata == []


def test_only_pages_of_given_origins_may_call(make_gateway: Any) -> None:
    gateway = make_gateway(cors_origins=("https://city.example",))

    def allowed(origin: str) -> str | None:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        answer = call_json(gateway.address, "OPTIONS", "/v1/incidents", headers=headers, token=False)
        return answer.headers.get("access-control-allow-origin")

    assert allowed("https://city.example") == "https://city.example"
    assert allowed("https://elsewhere.example") is None
    # A call that follows is answered to the page as well.
    answer = call_json(gateway.address, "POST", "/v1/incidents", REPORT, {"origin": "https://city.example"})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://city.example")
    # A path that does not exist stays one.
    assert call_json(gateway.address, "GET", "/v1/no", headers={"origin": "https://city.example"}).status == 404


def test_calls_are_counted_by_method(stub: Any, gateway: Any) -> None:
    stub.GetIncident(pb.GetIncidentRequest(incident_id="inc-00000000000a"), timeout=60)
    name = "grpc.citybrain.emergency_command.v1.EmergencyCommandService.GetIncident.success"
    stats = json.loads(gateway.ask(f"/stats?format=json&filter={name}"))["stats"]
    assert [stat["value"] for stat in stats] == [1]
