"""Whatever callers send to any method, through the real gateway: an answer or a typed error that helps, and nothing broken."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import random
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.clock.v1 import clock_pb2
from google.protobuf import descriptor_pool, json_format, message_factory, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from citybrain.gateway.methods import HEALTH, REFLECTION, Route, routes
from citybrain.local.city import LocalCity
from citybrain.local.contracts import descriptors
from citybrain.local.reflection import Remote
from citybrain.mesh.manifest import find_manifests
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.startup.serve import rooms
from tests.gateway.conftest import Answer, call_json
from tests.helpers.callers import channel
from tests.helpers.contracts import services

pytestmark = pytest.mark.envoy

LIMIT_S = 20
OUR_FAULT = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
CLOCK = "/citybrain.clock.v1.ClockService/Rest"
REPORT = {"channel": "CHANNEL_PHONE", "severity": "SEVERITY_CRITICAL", "place": {"edgeId": "e1", "positionM": 3}}


class Door:
    """A city, its methods by reflection, and calls that say what was wrong with the answer."""

    def __init__(self, city: LocalCity, remote: Remote) -> None:
        self.address = address_of(city)
        self.bearer = {"authorization": f"Bearer {city.token()}"}
        self._channel = channel(self.address, city.data)
        self._events = city.data / "events.db"
        # Where the last event stands, as long as no other call was made since.
        self._known: int | None = None
        self._rest: Any = self._channel.unary_unary(
            CLOCK,
            request_serializer=clock_pb2.RestRequest.SerializeToString,
            response_deserializer=clock_pb2.RestResponse.FromString,
        )
        known = {service.full_name for service in services()}
        self.methods: list[MethodDescriptor] = []
        for service in remote.services():
            if service.startswith("citybrain."):
                # By the built contracts: message classes made at run time are for people at the command line.
                self.methods += descriptor_pool.Default().FindServiceByName(service).methods
        told = {method.containing_service.full_name for method in self.methods}
        assert told == known | {"citybrain.clock.v1.ClockService"}

    def close(self) -> None:
        self._channel.close()

    def call_json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, raw: bytes | None = None
    ) -> Answer:
        self._known = None
        return call_json(self.address, method, path, body, {**self.bearer, **(headers or {})}, raw)

    def rest(self) -> Any:
        return self._rest(clock_pb2.RestRequest(), timeout=LIMIT_S)

    def kept(self) -> int:
        """Where the last event stands, when all is at rest. Records of the audit trail do not count: refusals have them too."""
        self.rest()
        with contextlib.closing(sqlite3.connect(self._events)) as database:
            sql = "SELECT position FROM events WHERE stream NOT LIKE 'audit/%' ORDER BY position DESC LIMIT 1"
            return sum(next(database.execute(sql), (0,)))

    def broken(self, method: MethodDescriptor, request: Message) -> str | None:
        """What is wrong with the answer to a request; None when nothing is."""
        before = self.kept() if self._known is None else self._known
        error = self._stream(method, request) if method.server_streaming else self._unary(method, request)
        fault = _fault(error)
        if fault is None and error is not None and error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            self._known = self.kept()
            fault = None if self._known == before else f"refused, but the log went from {before} to {self._known}"
        if fault is None:
            return None
        return f"{method.full_name} {text_format.MessageToString(request, as_one_line=True):.300}\n    {fault}"

    def _make(self, method: MethodDescriptor) -> Any:
        self._known = None
        make: Any = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        answer = message_factory.GetMessageClass(method.output_type)
        return make(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    def _unary(self, method: MethodDescriptor, request: Message) -> Any:
        try:
            self._make(method)(request, timeout=LIMIT_S)
        except grpc.RpcError as error:
            return error
        return None

    def _stream(self, method: MethodDescriptor, request: Message) -> Any:
        """Opens it, waits until it stands or was refused, and hangs up."""
        name = f"test-{uuid.uuid4()}"
        stream = self._make(method)(request, metadata=[("x-stream-id", name)])
        until(lambda: not stream.is_active() or name in self.rest().sent, f"{method.full_name} opens or is refused")
        if not stream.is_active():
            return stream
        stream.cancel()
        until(lambda: name not in self.rest().sent, f"{method.full_name} is closed")
        return None


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        pause.wait(0.005)


def _fault(error: Any) -> str | None:
    if error is None:
        return None
    if error.code() in OUR_FAULT:
        return f"{error.code().name}: {error.details()}"
    if not (error.details() or "").strip():
        return f"{error.code().name} without a message"
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT and not _fields(error):
        return f"INVALID_ARGUMENT names no field: {error.details()}"
    return None


def _fields(error: Any) -> list[str]:
    status = rpc_status.from_call(error)
    fields = []
    for packed in status.details if status is not None else ():
        bad = error_details_pb2.BadRequest()
        if packed.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations if violation.field]
    return fields


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with (
        LocalCity(Settings(data=tmp_path_factory.mktemp("doors"), time="driven")) as city,
        Remote(address_of(city), city.token()) as remote,
    ):
        door = Door(city, remote)
        yield door
        door.close()


def address_of(city: LocalCity) -> str:
    assert city.gateway is not None
    return city.gateway.address


# -- requests -------------------------------------------------------------------------------------------------------------

# Protobuf has two kinds of descriptors, of which its types know one here and the other there.
Leaf = Callable[[Any], Any]
INT_TYPES = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
UINT_TYPES = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
REAL_TYPES = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def fill(message: Message, leaf: Leaf, entries: Callable[[], int] = lambda: 1) -> Message:
    """Sets every field, those of inner messages too."""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            for _ in range(entries()):
                if field.message_type is not None:
                    fill(getattr(message, field.name).add(), leaf, entries)
                else:
                    getattr(message, field.name).append(leaf(field))
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), leaf, entries)
        else:
            setattr(message, field.name, leaf(field))
    return message


def request_for(method: MethodDescriptor) -> Message:
    made: Message = message_factory.GetMessageClass(method.input_type)()
    return made


def plausible(field: FieldDescriptor) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        known = {"incident_id": "inc-0123456789ab", "state": "Gr"}
        if field.full_name.startswith("citybrain.safety.v1."):
            known = {"incident_id": "saf-0123456789ab", "other_incident_id": "saf-ba9876543210"}
        return b"x" if field.type == FieldDescriptor.TYPE_BYTES else known.get(field.name, "x")
    return field.cpp_type == FieldDescriptor.CPPTYPE_BOOL or 1


def with_text(text: str) -> Leaf:
    def leaf(field: FieldDescriptor) -> Any:
        return text if field.type == FieldDescriptor.TYPE_STRING else plausible(field)

    return leaf


def with_number(real: float, lowest: bool) -> Leaf:
    def leaf(field: FieldDescriptor) -> Any:
        bits = 32 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
        if field.cpp_type in REAL_TYPES:
            return real
        if field.cpp_type in INT_TYPES:
            return -(2 ** (bits - 1)) if lowest else 2 ** (bits - 1) - 1
        if field.cpp_type in UINT_TYPES:
            return 0 if lowest else 2**bits - 1
        return plausible(field)

    return leaf


def in_calendar(leaf: Leaf, moment: Leaf = plausible) -> Leaf:
    """The same, but with moments that a calendar has: others are a test of their own."""
    name = Timestamp.DESCRIPTOR.full_name
    return lambda field: moment(field) if field.containing_type.full_name == name else leaf(field)


def with_enum(number: int) -> Leaf:
    def leaf(field: FieldDescriptor) -> Any:
        return number if field.enum_type is not None else plausible(field)

    return leaf


def has(descriptor: Descriptor, wanted: Callable[[FieldDescriptor], bool]) -> bool:
    return any(wanted(f) or (f.message_type is not None and has(f.message_type, wanted)) for f in descriptor.fields)


def texts(descriptor: Descriptor) -> set[str]:
    """Full names of the text fields, those of inner messages too."""
    found = {field.full_name for field in descriptor.fields if field.type == FieldDescriptor.TYPE_STRING}
    return found.union(*(texts(field.message_type) for field in descriptor.fields if field.message_type is not None))


def random_leaf(dice: random.Random) -> Leaf:
    texts = ["a", "b", "inc-0123456789ab", "Gr", "", "北 京", "a/b.c|d", "\x00\n\t", "e" * 130, "%s%00", "-1"]

    def leaf(field: FieldDescriptor) -> Any:
        usual = dice.random() < 0.8
        if field.type == FieldDescriptor.TYPE_STRING:
            return plausible(field) if dice.random() < 0.3 else dice.choice(texts[:4] if usual else texts)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return dice.randbytes(dice.randrange(9))
        if field.enum_type is not None:
            return dice.choice(field.enum_type.values).number if usual else dice.randrange(-(2**31), 2**31)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return dice.random() < 0.5
        if field.cpp_type in REAL_TYPES:
            return dice.uniform(0, 50) if usual else dice.choice([math.nan, math.inf, -math.inf, -0.0, -1.0, 1e308, 5e-324])
        if usual:
            return dice.randrange(100)
        return with_number(0, dice.random() < 0.5)(field)

    return leaf


# -- gRPC -----------------------------------------------------------------------------------------------------------------


def every_method(door: Door, leaf: Leaf | None, entries: Callable[[], int] = lambda: 1) -> list[str]:
    found = []
    for method in door.methods:
        request = request_for(method)
        found.append(door.broken(method, request if leaf is None else fill(request, leaf, entries)))
    return [fault for fault in found if fault is not None]


def test_reflection_through_the_gateway_names_every_method_of_every_contract(door: Door) -> None:
    open_methods = {route.path for route in _routes()}
    assert {f"/{m.containing_service.full_name}/{m.name}" for m in door.methods} == open_methods
    assert len(open_methods) > 30


def test_an_empty_request_is_answered_or_told_which_fields_are_missing(door: Door) -> None:
    assert not every_method(door, None)


@pytest.mark.parametrize("text", ["x" * 20_000, "京" * 7_000], ids=["ascii", "chinese"])
def test_text_that_is_far_too_long_is_refused_by_name_and_never_kept(door: Door, text: str) -> None:
    before = door.kept()
    for method in door.methods:
        fault = door.broken(method, fill(request_for(method), with_text(text)))
        assert fault is None, fault
        kept, before = before, door.kept()
        if has(method.input_type, lambda field: field.type == FieldDescriptor.TYPE_STRING):
            assert before == kept, f"{method.full_name} kept text of {len(text)} characters"


def test_one_text_larger_than_an_event_may_be_is_refused_by_name(door: Door) -> None:
    faults = []
    for method in door.methods:
        for wanted in sorted(texts(method.input_type)):

            def leaf(field: FieldDescriptor, wanted: str = wanted) -> Any:
                return "x" * 300_000 if field.full_name == wanted else plausible(field)

            faults.append(door.broken(method, fill(request_for(method), leaf)))
    assert not [fault for fault in faults if fault is not None]


@pytest.mark.parametrize(
    ("real", "lowest"),
    [(math.nan, True), (math.nan, False), (-1.0, True), (-math.inf, True), (math.inf, False), (1e308, False)],
)
def test_numbers_out_of_range_are_refused_by_name(door: Door, real: float, lowest: bool) -> None:
    assert not every_method(door, in_calendar(with_number(real, lowest)))


@pytest.mark.parametrize("number", [-1, 99, 2**31 - 1])
def test_numbers_that_no_enum_has_are_refused_by_name(door: Door, number: int) -> None:
    assert not every_method(door, with_enum(number))
    for method in door.methods:
        if has(method.input_type, lambda field: field.enum_type is not None):
            with pytest.raises(grpc.RpcError) as caught:
                answer = door._make(method)(fill(request_for(method), with_enum(number)), timeout=LIMIT_S)
                if method.server_streaming:
                    next(answer)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, method.full_name


def test_moments_that_no_calendar_has_are_refused_by_name(tmp_path: Path) -> None:
    """In a city of its own: city time that was moved beyond the calendar stays there."""
    with LocalCity(Settings(data=tmp_path, time="driven")) as city, Remote(address_of(city), city.token()) as remote:
        door = Door(city, remote)
        for seconds, nanos in ((0, -1), (0, 10**9), (253_402_300_800, 0), (-62_135_596_801, 0), (2**63 - 1, 0), (-(2**63), 0)):
            moment = {"seconds": seconds, "nanos": nanos}
            leaf = in_calendar(plausible, lambda field, moment=moment: moment[field.name])  # type: ignore[misc]
            assert not every_method(door, leaf), moment


def test_lists_with_too_many_broken_entries_still_come_back_as_errors_that_can_be_read(door: Door) -> None:
    faults = []
    for method in door.methods:
        request = request_for(method)
        for field in request.DESCRIPTOR.fields:
            if field.is_repeated:
                for _ in range(5000):
                    if field.message_type is not None:
                        getattr(request, field.name).add()
                    else:
                        getattr(request, field.name).append("x" * 200 if field.type == FieldDescriptor.TYPE_STRING else 0)
        faults.append(door.broken(method, request))
    assert not [fault for fault in faults if fault is not None]


@pytest.mark.parametrize("seed", range(8))
def test_any_well_typed_message_is_answered_or_refused_in_words(door: Door, seed: int) -> None:
    dice = random.Random(seed)
    leaf = in_calendar(random_leaf(dice), lambda field: dice.randrange(10**9) * (1 if field.name == "nanos" else 4))
    assert not every_method(door, leaf, lambda: dice.choice([0, 1, 1, 2, 3]))


def test_after_all_that_the_city_still_takes_a_call(door: Door) -> None:
    answer = door.call_json("POST", "/v1/incidents", REPORT)
    assert answer.status == 200, answer.body
    incident = answer.json()["incident"]["incidentId"]
    assert door.call_json("GET", f"/v1/incidents/{incident}").json()["incident"]["incidentId"] == incident


def test_bytes_that_are_no_message_are_refused_by_every_method(door: Door) -> None:
    kinds = {f"/{method.containing_service.full_name}/{method.name}": method.server_streaming for method in door.methods}
    kinds |= {f"/{HEALTH}/Check": False, f"/{HEALTH}/List": False, f"/{HEALTH}/Watch": True}
    for path, streams in kinds.items():
        make: Any = door._channel.unary_stream if streams else door._channel.unary_unary
        with pytest.raises(grpc.RpcError) as caught:
            answer = make(path, bytes, bytes)(b"\xff\xff", metadata=[("x-request-id", "wish-1")], timeout=LIMIT_S)
            assert not streams or list(answer)
        unread(caught.value, path)


def test_bytes_that_are_no_question_about_contracts_are_refused_and_those_before_are_answered(door: Door) -> None:
    make: Any = door._channel.stream_stream
    ask = make(f"/{REFLECTION[0]}/ServerReflectionInfo")
    asked = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    answers = ask(iter([asked, b"\xff\xff", asked]), metadata=[("x-request-id", "wish-1")], timeout=LIMIT_S)
    known = reflection_pb2.ServerReflectionResponse.FromString(next(answers)).list_services_response.service
    assert HEALTH in {service.name for service in known}
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    unread(caught.value, "reflection")


def unread(error: Any, what: str) -> None:
    """The error says in plain words that bytes are no message, and of which request."""
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, f"{what}: {error.details()}"
    assert "its bytes cannot be read as one" in error.details() and "class" not in error.details(), what
    assert _fields(error) == ["request"], what
    which = error_details_pb2.RequestInfo()
    assert rpc_status.from_call(error).details[-1].Unpack(which) and which.request_id == "wish-1", what


# -- JSON -----------------------------------------------------------------------------------------------------------------


def _routes() -> list[Route]:
    return routes(find_manifests(rooms()), descriptors().read_bytes(), driven=True)


def refused(answer: Answer, what: str) -> Any:
    """The error as a JSON object with code and message; fails on anything else."""
    assert 400 <= answer.status < 500, f"{what}: {answer.status} {answer.body!r}"
    assert answer.headers.get("content-type", "").startswith("application/json"), f"{what}: {answer.headers}"
    told = json.loads(answer.body)
    assert isinstance(told["code"], int) and told["code"] not in (0, 2, 13), f"{what}: {told}"
    assert isinstance(told["message"], str) and told["message"].strip(), f"{what}: {told}"
    kinds = [detail["@type"].rpartition(".")[2] for detail in told["details"]]
    # One shape, whoever refuses: what was wrong, why for programs, which request it was.
    assert kinds[-2:] == ["ErrorInfo", "RequestInfo"], f"{what}: {told}"
    assert told["details"][-2]["reason"], f"{what}: {told}"
    assert told["details"][-1]["requestId"] == answer.headers.get("x-request-id"), f"{what}: {told}"
    return told


def _example(path: str) -> str:
    """A path with its fields filled in."""
    return "/".join(f"x{part.partition('}')[2]}" if part.startswith("{") else part for part in path.split("/"))


def test_every_json_method_tells_what_is_wrong_with_a_body_that_is_no_json(door: Door) -> None:
    for route in _routes():
        for verb, path, _ in route.http:
            if verb == "GET":
                continue
            for body in (b"{", b"not json", b"[1, 2]", b'"text"', b"\xff\xfe"):
                refused(door.call_json(verb, _example(path), raw=body), f"{verb} {path} {body!r}")


def test_every_json_method_tells_of_a_query_parameter_that_it_does_not_know(door: Door) -> None:
    for route in _routes():
        for verb, path, _ in route.http:
            body: dict[str, Any] | None = None if verb == "GET" else {}
            answer = door.call_json(verb, f"{_example(path)}?no_such_thing=1", body)
            refused(answer, f"{verb} {path}")


@pytest.mark.parametrize(
    "body",
    [
        {**REPORT, "channel": "CHANNEL_PIGEON"},
        {**REPORT, "severity": True},
        {**REPORT, "place": "e1"},
        {**REPORT, "place": {"edgeId": 7, "positionM": "far"}},
        {**REPORT, "place": {"edgeId": "e1", "positionM": "NaN"}},
        {**REPORT, "place": None},
        {},
    ],
)
def test_json_of_the_wrong_types_opens_no_incident(door: Door, body: dict[str, Any]) -> None:
    before = door.kept()
    refused(door.call_json("POST", "/v1/incidents", body), str(body))
    assert door.kept() == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/incidents", {}),
        ("/v1/incidents", {**REPORT, "place": {"positionM": -1}}),
        ("/v1/incidents", {**REPORT, "place": {"edgeId": "京" * 61, "positionM": "Infinity"}}),
        ("/v1/roads", {"edges": [{"edgeId": "e", "lengthM": 1, "freeSpeedMps": 1}, {"nextEdgeIds": ["e" * 181]}]}),
        ("/v1/signals", {"signal": {"signalId": "s", "phases": [{"state": "?", "durationS": 0}]}}),
        (
            "/v1/priorities",
            {"incidentId": "i", "grantId": "g", "vehicleId": "v", "edgeIds": ["e"], "stops": [{"positionM": -1}]},
        ),
        (
            "/v1/observations",
            {"observedAt": "2026-01-01T00:00:00Z", "signals": [{"signalId": "s", "state": "G", "sinceS": [-1]}]},
        ),
        ("/v1/districts", {"districtId": "a\n", "name": ""}),
    ],
)
def test_what_a_request_breaks_is_told_in_json_as_in_grpc(door: Door, path: str, body: dict[str, Any]) -> None:
    told = refused(door.call_json("POST", path, body), path)
    (bad,) = [detail for detail in told["details"] if detail["@type"].endswith("google.rpc.BadRequest")]
    (route,) = [route for route in _routes() if ("POST", path, "*") in route.http]
    (method,) = [m for m in door.methods if f"/{m.containing_service.full_name}/{m.name}" == route.path]
    with pytest.raises(grpc.RpcError) as caught:
        door._make(method)(json_format.ParseDict(body, request_for(method)), timeout=LIMIT_S)
    assert (told["code"], told["message"]) == (3, caught.value.details())
    assert [violation["field"] for violation in bad["fieldViolations"]] == _fields(caught.value)
    assert _fields(caught.value)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/nothing"),
        ("GET", "/v1/incidents:nothing"),
        ("GET", "/v1/incidents/a%2Fb"),
        ("GET", "/v1/incidents/%00"),
        ("GET", "/v1/incidents?page_size=many"),
        ("GET", "/v1/incidents?page_size=-1"),
        ("GET", "/v1/incidents?page_token=invented"),
        ("DELETE", "/v1/incidents"),
        ("PUT", "/v1/incidents/inc-0123456789ab"),
        ("GET", "/v1/incidents/inc-0123456789ab:cancel"),
        ("POST", "/v1/incidents/inc-0123456789ab:follow"),
        ("GET", "/v1/incidents/inc-ffffffffffff"),
        ("GET", "/v1/incidents/no-id:follow"),
        ("GET", "/v1/missions:follow?resume_token=invented"),
        ("GET", "/citybrain.emergency_command.v1.EmergencyCommandService/ListIncidents"),
        ("POST", "/citybrain.emergency_command.v1.EmergencyCommandService/NoSuchMethod"),
    ],
)
def test_a_wrong_path_method_or_parameter_is_an_error_in_json(door: Door, verb: str, path: str) -> None:
    refused(door.call_json(verb, path, None if verb == "GET" else {}), f"{verb} {path}")


@pytest.mark.parametrize(
    "text",
    [
        b"GET /v1/incidents HTTP/1.1\r\nhost: city\r\nx_caller: mayor\r\n\r\n",
        b"GET /v1/incidents HTTP/1.1\r\nhost: city\r\nno colon\r\n\r\n",
        b"GET /v1/incidents HTTP/1.1\r\n\r\n",
        b"POST /v1/incidents HTTP/1.1\r\nhost: city\r\ncontent-type: application/json\r\ncontent-length: many\r\n\r\n",
        b"GET /v1/incidents HTTP/1.1\r\nhost: city\r\nx-long: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["underscore", "no colon", "no host", "length", "long header"],
)
def test_http_that_is_broken_is_an_error_in_json(door: Door, text: bytes) -> None:
    host, _, port = door.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT_S) as connection:
        connection.sendall(text)
        response = http.client.HTTPResponse(connection)
        response.begin()
        headers = {key.lower(): value for key, value in response.getheaders()}
        refused(Answer(response.status, headers, response.read()), str(text[:80]))


def test_headers_that_the_gateway_lets_through_the_services_take(door: Door) -> None:
    headers = {f"x-{number}": "x" * 980 for number in range(14)}
    for path in ("/v1/incidents", f"/v1/incidents?page_token={'x' * 900}"):
        assert door.call_json("GET", path, headers=headers).status == (400 if "?" in path else 200)


def test_a_body_of_many_megabytes_is_refused_in_json(door: Door) -> None:
    body = b'{"channel": "' + b"x" * (5 * 1024 * 1024) + b'"}'
    refused(door.call_json("POST", "/v1/incidents", raw=body), "5 MB")


@pytest.mark.parametrize("request_id", ["wish-1", "一 wish/2?", "x" * 2000], ids=["short", "odd", "long"])
def test_the_same_request_id_twice_is_one_incident_and_the_same_answer(door: Door, request_id: str) -> None:
    def listed() -> list[str]:
        until(lambda: door.rest(), "rest")
        answer = door.call_json("GET", "/v1/incidents?page_size=500").json()
        return [incident["incidentId"] for incident in answer["incidents"]]

    before = listed()
    header = {"x-request-id": request_id.encode().decode("latin-1")}
    # Else it would be one with those of the other tests.
    report = REPORT | {"anotherPatient": True}
    first = door.call_json("POST", "/v1/incidents", report, header)
    second = door.call_json("POST", "/v1/incidents", report, header)
    assert first.status == 200, first.body
    assert first.body == second.body
    new = [incident for incident in listed() if incident not in before]
    assert new == [first.json()["incident"]["incidentId"]]
