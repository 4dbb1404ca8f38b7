"""Pages of other origins that call with a token, in JSON and gRPC-Web, as browsers send it. Through a real Envoy."""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb

from citybrain.local.envoy import Envoy
from tests.gateway import conftest
from tests.gateway.conftest import Answer, Identity, Upstream

pytestmark = pytest.mark.envoy

# Here each call brings its own token, or none.
call_json = partial(conftest.call_json, token=False)
OURS, THEIRS = "https://city.example", "https://elsewhere.example"
ONE = "/v1/incidents/inc-00000000000a"
PATH = "/citybrain.emergency_command.v1.EmergencyCommandService/GetIncident"
MESSAGE = pb.GetIncidentRequest(incident_id="inc-00000000000a").SerializeToString()
FRAME = struct.pack(">BI", 0, len(MESSAGE)) + MESSAGE
WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}


@pytest.fixture
def paged(make_gateway: Any, identity: Identity) -> Envoy:
    envoy: Envoy = make_gateway(identity=identity.issuer, cors_origins=(OURS,))
    return envoy


def in_json(address: str, headers: dict[str, str]) -> Answer:
    return call_json(address, "GET", ONE, headers=headers)


def in_grpc_web(address: str, headers: dict[str, str]) -> Answer:
    return call_json(address, "POST", PATH, headers={**WEB, **headers}, raw=FRAME)


CALLS = [in_json, in_grpc_web]


@pytest.mark.parametrize(("verb", "path"), [("GET", ONE), ("POST", "/v1/incidents"), ("POST", PATH)])
def test_a_browser_asks_first_without_a_token_and_may_then_send_one(
    paged: Envoy, upstream: Upstream, verb: str, path: str
) -> None:
    asked = {"access-control-request-method": verb, "access-control-request-headers": "authorization,content-type,x-grpc-web"}
    told = call_json(paged.address, "OPTIONS", path, headers={"origin": OURS, **asked}).headers
    assert told["access-control-allow-origin"] == OURS
    assert verb in told["access-control-allow-methods"]
    assert {"authorization", "content-type", "x-exercise", "x-grpc-web"} <= set(
        told["access-control-allow-headers"].split(", ")
    )
    refused = call_json(paged.address, "OPTIONS", path, headers={"origin": THEIRS, **asked})
    assert "access-control-allow-origin" not in refused.headers
    assert upstream.service.metadata == []


@pytest.mark.parametrize("call", CALLS)
def test_a_page_reads_its_answers_and_its_errors_too(paged: Envoy, identity: Identity, call: Any) -> None:
    mine = {"origin": OURS, **identity.bearer()}
    answers = [call(paged.address, mine) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert b"inc-00000000000a" in answers[0].body
    nobody, late = call(paged.address, {"origin": OURS}), call(paged.address, {**mine, **identity.bearer(exp=1)})
    for answer in (*answers, nobody, late):
        assert answer.headers["access-control-allow-origin"] == OURS
        exposed = answer.headers["access-control-expose-headers"]
        assert "x-request-id" in exposed and "grpc-status-details-bin" in exposed and "retry-after" in exposed
    for answer in (nobody, late):
        assert (answer.status, answer.headers.get("grpc-status", "16")) == (401, "16")


@pytest.mark.parametrize("call", CALLS)
def test_a_page_of_another_origin_may_not_read_what_it_is_told(paged: Envoy, identity: Identity, call: Any) -> None:
    answer = call(paged.address, {"origin": THEIRS, **identity.bearer()})
    assert "access-control-allow-origin" not in answer.headers


def test_no_origin_and_no_asking_first_opens_what_needs_a_token(paged: Envoy, upstream: Upstream) -> None:
    for call in CALLS:
        assert call(paged.address, {"origin": OURS}).status == 401
    for path in (ONE, PATH):
        call_json(paged.address, "OPTIONS", path, headers={"origin": OURS})
        call_json(paged.address, "OPTIONS", path, headers={"access-control-request-method": "GET"})
        call_json(paged.address, "OPTIONS", path, headers={"origin": OURS, "access-control-request-method": "GET", **WEB})
    assert upstream.service.metadata == []
