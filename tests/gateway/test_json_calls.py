"""What a call in JSON must not say, for every method of every service, through a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from citybrain.gateway.envoy import Envoy
from citybrain.gateway.methods import Route, routes
from citybrain.gateway.settings import GatewaySettings
from citybrain.mesh.manifest import find_manifests
from tests.gateway.conftest import ROOT, Answer, call_json

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
    settings = GatewaySettings(upstreams=upstreams, driven=True)
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
    for _, verb, path, body in BINDINGS:
        for value in ("one", "one.two", "one%3Atwo", "%E4%B8%AD"):
            answer, came = city.through(verb, filled(path, value), {} if body else None)
            assert answer.status == 200, f"{verb} {path}: {answer.body!r}"
            (request,) = came
            for name in bound(path):
                assert quote(getattr(request, name)) == value


def test_where_the_body_is_everything_the_query_is_nothing(city: City) -> None:
    for route, verb, path, body in BINDINGS:
        for known in request_of(route).fields if body == "*" else ():
            answer, came = city.through(verb, f"{filled(path)}?{known.name}=1", {})
            assert not came, f"{verb} {path} took {known.name} from the query"
            assert refused(answer)["field"] == known.name
    _, (report,) = city.through("GET", "/v1/incidents?page_size=3&pageToken=a%2Bb")
    assert json_format.MessageToDict(report) == {"pageSize": 3, "pageToken": "a+b"}
