"""What a call in JSON must not say, for every method of every service, through a real Envoy."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from typing_extensions import override

from citybrain.gateway.methods import Route, routes
from citybrain.gateway.openapi import openapi
from citybrain.local.envoy import Envoy
from citybrain.mesh.manifest import find_manifests
from tests.gateway.conftest import ROOT, Answer, Identity, call_json, settings_before

pytestmark = pytest.mark.envoy

MANIFESTS = find_manifests([ROOT / "services", ROOT / "sagas"])
DESCRIPTORS = (ROOT / "build" / "descriptors.binpb").read_bytes()
ROUTES = routes(MANIFESTS, DESCRIPTORS, driven=True)
POOL = descriptor_pool.DescriptorPool()
for file in FileDescriptorSet.FromString(DESCRIPTORS).file:
    POOL.Add(file)
BINDINGS = [(route, verb, path, body) for route in ROUTES for verb, path, body in route.http]


@dataclass
class Anything(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """In the place of every service: answers every method with nothing, and keeps what it was asked."""

    asked: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @override
    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method
        streaming = {route.path: route.streaming for route in ROUTES}[path]
        self.headers.append({key: str(value) for key, value in handler_call_details.invocation_metadata})

        def one(request: bytes, _: Any) -> bytes:
            self.asked.append((path, request))
            return b""

        def many(request: bytes, _: Any) -> Iterator[bytes]:
            yield one(request, None)

        return grpc.unary_stream_rpc_method_handler(many) if streaming else grpc.unary_unary_rpc_method_handler(one)


@dataclass
class City:
    """A gateway for all contracts, and what came through it."""

    address: str
    behind: Anything

    def through(self, verb: str, path: str, body: Any = None, raw: bytes | None = None) -> tuple[Answer, list[Message]]:
        self.behind.asked.clear()
        answer = call_json(self.address, verb, path, body, raw=raw)
        return answer, [read(method, data) for method, data in self.behind.asked]


def read(path: str, data: bytes) -> Message:
    _, service, method = path.split("/")
    descriptor = POOL.FindServiceByName(service).methods_by_name[method]
    return message_factory.GetMessageClass(descriptor.input_type).FromString(data)


def request_of(route: Route) -> Descriptor:
    return POOL.FindMessageTypeByName(route.request)


def filled(path: str, value: str = "one") -> str:
    parts = path.split("{")
    return parts[0] + "".join(value + part.partition("}")[2] for part in parts[1:])


def bound(path: str) -> list[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:]]


def refused(answer: Answer) -> dict[str, str]:
    """The one field that was refused, as (field, description)."""
    assert (answer.status, answer.json()["code"]) == (400, 3), answer.body
    (bad,) = [detail for detail in answer.json()["details"] if detail["@type"].endswith("google.rpc.BadRequest")]
    (violation,) = bad["fieldViolations"]
    assert answer.json()["message"] == f"{violation['field']}: {violation['description']}"
    return dict(violation)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    behind = Anything()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[behind])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    upstreams = {manifest.name: f"127.0.0.1:{port}" for manifest in MANIFESTS}
    settings = settings_before(upstreams, Identity(tmp_path_factory.mktemp("identity")), driven=True)
    with Envoy(MANIFESTS, DESCRIPTORS, settings, tmp_path_factory.mktemp("gateway")) as envoy:
        yield City(envoy.address, behind)
    server.stop(None).wait()


def test_a_query_parameter_never_takes_the_place_of_what_the_path_says(city: City) -> None:
    asked = 0
    for route, verb, path, body in BINDINGS:
        for name in bound(path):
            known = request_of(route).fields_by_name[name]
            for spelt in {known.name, known.json_name, quote(known.name).replace("_", "%5F"), f"x=1&{known.name}"}:
                target = f"{filled(path)}?{spelt}=another"
                answer, came = city.through(verb, target, {} if body else None)
                assert not came, f"{verb} {target} reached the service"
                assert refused(answer)["field"].replace("_", "").lower() in {name.replace("_", ""), "x"}, target
                asked += 1
    assert asked > 20


def test_the_path_says_which_one_is_meant_for_every_method(city: City) -> None:
    for route, verb, path, body in BINDINGS:
        given: dict[str, tuple[str, int]] = {}
        for one in (request_of(route).fields_by_name[name] for name in bound(path)):
            if one.enum_type is not None:
                given[one.name] = one.enum_type.values[1].name, one.enum_type.values[1].number
            elif one.type != FieldDescriptor.TYPE_STRING:
                given[one.name] = "2026", 2026
        said = path
        for name, (text, _) in given.items():
            said = said.replace(f"{{{name}}}", text)
        for value in ("one", "one.two", "one%3Atwo", "%E4%B8%AD"):
            answer, came = city.through(verb, filled(said, value), {} if body else None)
            assert answer.status == 200, f"{verb} {path}: {answer.body!r}"
            (request,) = came
            assert all(getattr(request, name) == number for name, (_, number) in given.items())
            assert all(quote(getattr(request, name)) == value for name in bound(path) if name not in given)


def test_where_the_body_is_everything_the_query_is_nothing(city: City) -> None:
    for route, verb, path, body in BINDINGS:
        for known in request_of(route).fields if body == "*" else ():
            answer, came = city.through(verb, f"{filled(path)}?{known.name}=1", {})
            assert not came, f"{verb} {path} took {known.name} from the query"
            assert refused(answer)["field"] == known.name
    _, (report,) = city.through("GET", "/v1/incidents?page_size=3&pageToken=a%2Bb")
    assert json_format.MessageToDict(report) == {"pageSize": 3, "pageToken": "a+b"}


# -- bodies -----------------------------------------------------------------------------------------------------------------

BROKEN = [b"", b'"', b"\\", b",", b"}", b"]", b"0", b"'", b"\x00", b"\xff", b"null"]
BODIES = [(route, verb, path) for route, verb, path, body in BINDINGS if body == "*"]


def value_of(known: FieldDescriptor, dice: random.Random, deep: int) -> Any:
    """Any value that JSON can carry there."""
    kind = known.cpp_type
    if known.message_type is not None:
        if known.message_type.full_name == "google.protobuf.Timestamp":
            return message_factory.GetMessageClass(known.message_type)(
                seconds=dice.randrange(-(10**9), 10**9), nanos=dice.randrange(10**9) // 1000 * 1000
            )
        if known.message_type.full_name == "google.protobuf.Duration":
            return message_factory.GetMessageClass(known.message_type)(
                seconds=dice.randrange(10**9), nanos=dice.randrange(10**9) // 1000 * 1000
            )
        return message_of(known.message_type, dice, deep + 1)
    if known.enum_type is not None:
        return dice.choice(list(known.enum_type.values)).number
    if known.type == FieldDescriptor.TYPE_BYTES:
        return dice.randbytes(5)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return "".join(dice.choice('ab \\"/\n\t\x01{}[]:,中🚑\u2028é') for _ in range(dice.randrange(9)))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return dice.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return dice.choice([0.0, -1.5, 1e300 if kind == FieldDescriptor.CPPTYPE_DOUBLE else 1e30, 1e-7, math.inf, 3.0])
    least = -1 if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64) else 0
    wide = kind in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
    return dice.choice([0, 7, least, 2**53 if wide else 2**31 - 1])


def message_of(descriptor: Descriptor, dice: random.Random, deep: int = 0) -> Message:
    made = message_factory.GetMessageClass(descriptor)()
    for known in descriptor.fields:
        if deep > 4 or dice.random() < 0.2:
            continue
        if known.is_repeated:
            for _ in range(dice.randrange(3)):
                if known.message_type is not None:
                    getattr(made, known.name).add().CopyFrom(value_of(known, dice, deep))
                else:
                    getattr(made, known.name).append(value_of(known, dice, deep))
        elif known.message_type is not None:
            getattr(made, known.name).CopyFrom(value_of(known, dice, deep))
        else:
            setattr(made, known.name, value_of(known, dice, deep))
    return made


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_contract_allows_comes_through_as_it_was_said(city: City, seed: int) -> None:
    dice = random.Random(seed)
    for route, verb, path in BODIES:
        said = message_of(request_of(route), dice)
        for name in bound(path):
            said.ClearField(name)
        for proto_names, indent in ((True, None), (False, 2)):
            raw = json_format.MessageToJson(said, preserving_proto_field_name=proto_names, indent=indent).encode()
            answer, came = city.through(verb, filled(path), raw=raw)
            assert answer.status == 200, f"{verb} {path}: {raw!r}: {answer.body!r}"
            (request,) = came
            for name in bound(path):
                assert getattr(request, name) == "one"
                request.ClearField(name)
            assert request == said, raw


def places(descriptor: Descriptor, deep: int = 0) -> Iterator[tuple[list[str], str, Descriptor]]:
    """Every object of a request: the JSON names that lead to it, how an error writes it, and its message."""
    yield [], "", descriptor
    for known in descriptor.fields if deep < 4 else ():
        inner = known.message_type
        if inner is not None and not inner.full_name.startswith("google.protobuf."):
            for names, said, message in places(inner, deep + 1):
                at = f"{known.name}[0]" if known.is_repeated else known.name
                yield [known.json_name, *names], f"{at}.{said}".rstrip("."), message


def nested(descriptor: Descriptor, names: list[str], value: dict[str, Any]) -> dict[str, Any]:
    """A request that has a value at a place."""
    if not names:
        return value
    known = next(known for known in descriptor.fields if known.json_name == names[0])
    assert known.message_type is not None
    inner = nested(known.message_type, names[1:], value)
    return {names[0]: [inner] if known.is_repeated else inner}


def test_a_field_that_no_contract_has_is_refused_by_name_with_what_was_near_it_wherever_it_stands(city: City) -> None:
    asked = 0
    for route, verb, path in BODIES:
        for names, said, message in places(request_of(route)):
            known = {name for one in message.fields for name in (one.name, one.json_name)}
            for one in message.fields:
                wrong = one.json_name[:-1] if len(one.json_name) > 3 else one.json_name + "s"
                if wrong in known or (not names and one.name in bound(path)):
                    continue
                answer, came = city.through(verb, filled(path), nested(request_of(route), names, {wrong: 1}))
                assert not came, f"{verb} {path} dropped {said}.{wrong}"
                told = refused(answer)
                assert told["field"] == f"{said}.{wrong}".lstrip(".")
                assert "do you mean" in told["description"]
                asked += 1
            answer, came = city.through(verb, filled(path), nested(request_of(route), names, {"quiteAnother": {}}))
            assert not came and refused(answer)["field"] == f"{said}.quiteAnother".lstrip(".")
    assert asked > 60
    _, came = city.through("POST", "/v1/incidents", {"place": {"edgeId": "e", "position": 7}})
    assert not came


def test_a_value_of_another_kind_is_refused_by_the_name_of_its_field(city: City) -> None:
    asked = 0
    for route, verb, path in BODIES:
        for names, said, message in places(request_of(route)):
            for one in message.fields:
                if not names and one.name in bound(path):
                    continue
                wrong: Any = [[{}], {"a": 1}, [7]][asked % 3] if not one.is_repeated else "text"
                if one.message_type is not None and not one.message_type.full_name.startswith("google.protobuf."):
                    wrong = "text"
                answer, came = city.through(verb, filled(path), nested(request_of(route), names, {one.json_name: wrong}))
                assert not came, f"{verb} {path} took {wrong!r} for {one.full_name}"
                assert refused(answer)["field"] == f"{said}.{one.name}".lstrip(".")
                asked += 1
                if one.enum_type is None:
                    continue
                value: Any = "NO_SUCH_VALUE"
                body = nested(request_of(route), names, {one.json_name: [value] if one.is_repeated else value})
                told = refused(city.through(verb, filled(path), body)[0])
                assert told["field"].startswith(f"{said}.{one.name}".lstrip("."))
                assert one.enum_type.values[1].name in told["description"]
    assert asked > 80


def test_what_the_path_says_the_body_does_not(city: City) -> None:
    for _, verb, path in BODIES:
        for name in bound(path):
            answer, came = city.through(verb, filled(path), {name: "another"})
            assert not came and refused(answer)["field"] == name


def test_a_field_that_is_given_twice_is_refused_in_either_spelling(city: City) -> None:
    for twice in ('"edgeId": "a", "edgeId": "b"', '"edgeId": "a", "edge_id": "b"'):
        answer, came = city.through("POST", "/v1/incidents", raw=f'{{"place": {{{twice}}}}}'.encode())
        assert not came and refused(answer) == {"field": "place.edge_id", "description": "is given twice"}


@pytest.mark.parametrize("seed", range(4))
def test_what_comes_through_is_json_as_its_standard_says(city: City, seed: int) -> None:
    dice = random.Random(seed)
    route, verb, path = next(one for one in BODIES if one[2] == "/v1/signals")
    taken = 0
    for _ in range(150):
        raw = bytearray(json_format.MessageToJson(message_of(request_of(route), dice), indent=None).encode())
        for _ in range(dice.randrange(3)):
            at = dice.randrange(len(raw) + 1)
            raw[at : at + dice.randrange(3)] = dice.choice(BROKEN)
        answer, came = city.through(verb, path, raw=bytes(raw))
        assert answer.status in (200, 400), f"{bytes(raw)!r}: {answer.body!r}"
        if came and raw:
            json.loads(bytes(raw))
            taken += 1
    assert taken > 10


@pytest.mark.parametrize("open_, close", [("[", "]"), ('{"a":', "}")])
def test_nesting_without_end_is_refused_and_costs_nobody_anything(city: City, open_: str, close: str) -> None:
    for depth in (120, 100_000):
        answer, came = city.through("POST", "/v1/incidents", raw=f'{{"place": {open_ * depth}1{close * depth}}}'.encode())
        assert (answer.status, came) == (400, []), answer.body
    assert city.through("POST", "/v1/incidents", {})[0].status == 200


# -- the document of the API ----------------------------------------------------------------------------------------------


def sample(part: Any, components: Any) -> Any:
    """A value as a schema describes it, with all fields; of those of which there may be only one, with the first."""
    name = part.get("$ref", "").rpartition("/")[2]
    schema = (components["schemas"][name] if name else {}) | part
    if "enum" in schema:
        return next(value for value in schema["enum"] if value not in schema.get("not", {}).get("enum", [schema["enum"][0]]))
    if schema.get("format") == "date-time":
        return "2026-05-01T08:00:00Z"
    if schema.get("pattern", "").endswith("s$"):
        # A duration.
        return "1.500s"
    if schema["type"] == "object":
        choices = [one["oneOf"] for one in schema.get("allOf", ())]
        others = {name for choice in choices for one in choice[1:] for name in one.get("required", ())}
        return {key: sample(field, components) for key, field in schema["properties"].items() if key not in others}
    if schema["type"] == "array":
        return [sample(schema["items"], components)]
    plain = {"string": "1" if schema.get("format") in ("int64", "uint64") else "一", "boolean": True}
    return plain.get(schema["type"], int(schema.get("minimum", 0)) + 1)


def as_message(given: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a query as the message has them: `place.edgeId` is a field inside of another."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        *outer, last = name.split(".")
        inside = found
        for one in outer:
            inside = inside.setdefault(one, {})
        inside[last] = value
    return found


def test_every_call_that_the_document_describes_arrives_as_it_says(city: City) -> None:
    document = openapi(MANIFESTS, DESCRIPTORS, driven=True)
    asked = 0
    for path, verbs in document["paths"].items():
        for verb, one in verbs.items():
            parameters = [parameter for parameter in one["parameters"] if "$ref" not in parameter]
            given = {parameter["name"]: sample(parameter["schema"], document["components"]) for parameter in parameters}
            places = {parameter["name"]: parameter["in"] for parameter in parameters}
            said = path
            for name, value in given.items():
                said = said.replace(f"{{{name}}}", quote(str(value)))
            query = urlencode({name: value for name, value in given.items() if places[name] == "query"}, doseq=True)
            body = None
            if "requestBody" in one:
                body = sample(one["requestBody"]["content"]["application/json"]["schema"], document["components"])
            answer, (request,) = city.through(verb.upper(), f"{said}?{query}" if query else said, body)
            assert answer.status == 200, (path, answer.body)
            assert city.behind.asked[0][0] == one["x-grpc"]
            assert json_format.MessageToDict(request) == as_message(given) | (body or {}), path
            asked += 1
    assert asked == len(BINDINGS)
