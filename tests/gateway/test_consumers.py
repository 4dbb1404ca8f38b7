"""How often each caller may call: a bucket for each subject, through a real Envoy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from citybrain.gateway.settings import GatewaySettings
from citybrain.local.envoy import Envoy
from tests.gateway.conftest import Identity, Upstream, call_json
from tests.gateway.test_tokens import PROTOCOLS, Call, in_grpc, in_json
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

ONE = "/v1/incidents/inc-00000000000a"


# So slow that what is said does not depend on the speed of this machine: buckets are never filled again.
@pytest.fixture
def limited(make_gateway: Any, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Envoy:
    from citybrain.gateway import consumers

    made = consumers._bucket

    def slow(per_s: int, seconds: float) -> dict[str, Any]:
        return {**made(per_s, seconds), "tokens_per_fill": 1, "fill_interval": "100000s"}

    monkeypatch.setattr(consumers, "_bucket", slow)
    gateway: Envoy = make_gateway(identity=identity.issuer, reads_per_s=1, commands_per_s=2, streams_per_s=1, burst_s=3.0)
    return gateway


@pytest.mark.parametrize("call", PROTOCOLS)
def test_who_calls_too_often_is_told_so_and_when_to_come_again(limited: Envoy, identity: Identity, call: Call) -> None:
    mine = identity.bearer("often")
    assert [call(limited.address, mine)[0] for _ in range(3)] == [0, 0, 0]
    code, reason, message = call(limited.address, mine)
    assert (code, reason) == (8, "TOO_MANY_CALLS")
    assert "You call too often" in message
    # With another token of the same subject too, and in every protocol.
    for other in PROTOCOLS:
        assert other(limited.address, identity.bearer("often", jti="another"))[0] == 8
    assert call(limited.address, identity.bearer("seldom"))[0] == 0


def test_the_headers_say_how_many_calls_are_left(limited: Envoy, identity: Identity) -> None:
    answers = [call_json(limited.address, "GET", ONE, headers=identity.bearer()) for _ in range(4)]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit"].startswith("3")
    assert (answers[3].status, answers[3].json()["code"]) == (429, 8)
    assert answers[3].headers["retry-after"] == "1"
    again, why, asked = answers[3].json()["details"]
    assert (again["retryDelay"], why["reason"]) == ("1s", "TOO_MANY_CALLS")
    assert asked["requestId"] == answers[3].headers["x-request-id"]


def test_grpc_callers_are_told_when_to_come_again(limited: Envoy, identity: Identity) -> None:
    with grpc.insecure_channel(limited.address) as channel:
        stub = pb_grpc.EmergencyCommandServiceStub(channel)
        metadata = tuple(identity.bearer().items())
        for _ in range(3):
            stub.GetIncident(pb.GetIncidentRequest(incident_id="a"), metadata=metadata, timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetIncident(pb.GetIncidentRequest(incident_id="a"), metadata=metadata, timeout=60)
    error: Any = caught.value
    assert dict(error.trailing_metadata())["retry-after"] == "1"
    info = error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)
    assert status is not None and any(packed.Unpack(info) for packed in status.details)
    assert info.retry_delay.seconds == 1


def test_each_kind_of_method_has_a_bucket_of_its_own(limited: Envoy, identity: Identity, upstream: Upstream) -> None:
    upstream.service.release.set()
    mine = identity.bearer()
    assert [in_json(limited.address, mine)[0] for _ in range(4)] == [0, 0, 0, 8]
    report = {"channel": "CHANNEL_PHONE", "severity": "SEVERITY_CRITICAL", "place": {"edgeId": "e1", "positionM": 3}}
    commands = [call_json(limited.address, "POST", "/v1/incidents", report, mine).status for _ in range(7)]
    assert commands == [200] * 6 + [429]
    streams = [call_json(limited.address, "GET", f"{ONE}:follow", headers=mine).status for _ in range(4)]
    assert streams == [200, 200, 200, 429]


def test_a_thousand_callers_have_a_thousand_buckets_and_none_is_forgotten(limited: Envoy, identity: Identity) -> None:
    with grpc.insecure_channel(limited.address) as channel:
        stub = pb_grpc.EmergencyCommandServiceStub(channel)

        def call(number: int) -> grpc.StatusCode:
            metadata = tuple(identity.bearer(f"caller-{number}").items())
            try:
                stub.GetIncident(pb.GetIncidentRequest(incident_id="a"), metadata=metadata, timeout=60)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        with ThreadPoolExecutor(8) as pool:
            for _ in range(3):
                assert set(pool.map(call, range(1000))) == {grpc.StatusCode.OK}
            # Who was first is remembered, though a thousand came after.
            assert set(pool.map(call, range(1000))) == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_services_of_the_mesh_are_not_limited_and_nobody_else_can_call_themselves_one(
    make_gateway: Any, identity: Identity, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from citybrain.gateway import consumers

    one_call = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "100000s"}
    unlimited = consumers._bucket(consumers._UNLIMITED, 1)
    monkeypatch.setattr(consumers, "_bucket", lambda per_s, _: unlimited if per_s == consumers._UNLIMITED else one_call)
    other = Identity(tmp_path / "other", "https://id.example")
    gateway = make_gateway(identity=identity.issuer, issuers=(other.issuer,))
    assert [in_grpc(gateway.address, identity.bearer("service:health"))[0] for _ in range(20)] == [0] * 20
    for_somebody = identity.bearer("citizen", act={"sub": "service:health"})
    assert [in_grpc(gateway.address, for_somebody)[0] for _ in range(20)] == [0] * 20
    for headers in (
        identity.bearer("clerk", act={"sub": "mayor"}),
        other.bearer("clerk", act={"sub": "service:health"}),
        other.bearer("service:health"),
        identity.bearer("mayor:service:health"),
        {**identity.bearer("citizen"), "x-token-subject": "service:health", "x-token-actor": "service:health"},
    ):
        assert [in_grpc(gateway.address, headers)[0] for _ in range(2)] == [0, 8], headers
    # The same name at another issuer is somebody else.
    assert in_grpc(gateway.address, other.bearer("citizen"))[0] == 0


def test_limits_change_while_the_gateway_runs(
    make_gateway: Any, identity: Identity, upstream: Upstream, manifest: Any, descriptors: bytes
) -> None:
    gateway = make_gateway(identity=identity.issuer)
    upstreams = {manifest.name: f"127.0.0.1:{upstream.port}"}
    changed = GatewaySettings(upstreams=upstreams, identity=identity.issuer, reads_per_s=7, burst_s=1)
    gateway.update([manifest], descriptors, changed)

    def limit() -> bool:
        answer = call_json(gateway.address, "GET", ONE, headers=identity.bearer())
        return answer.headers["x-ratelimit-limit"].startswith("7")

    until(limit, "the new limit")
