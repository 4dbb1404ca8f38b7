"""Who may call: tokens in all three protocols, through a real Envoy, and what callers without one are told."""

from __future__ import annotations

import base64
import json
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from joserfc import jws
from joserfc.jwk import OctKey
from typing_extensions import override

from citybrain.gateway.access import ACTOR, FROM_TOKEN, ISSUER, SUBJECT, WITHOUT_TOKEN
from citybrain.gateway.edge import REASON
from citybrain.gateway.errors import GatewayError
from citybrain.gateway.methods import routes
from citybrain.gateway.settings import GatewaySettings, Issuer
from citybrain.local.envoy import Envoy
from tests.gateway import conftest
from tests.gateway.conftest import Identity, Upstream
from tests.gateway.test_updates import Anything, standing_in
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

ONE = "/v1/incidents/inc-00000000000a"
PATH = "/citybrain.emergency_command.v1.EmergencyCommandService/GetIncident"
REQUEST = pb.GetIncidentRequest(incident_id="inc-00000000000a").SerializeToString()
# Here each call brings its own token, or none.
call_json = partial(conftest.call_json, token=False)
# gRPC code, reason, message
Outcome = tuple[int, str, str]


def reason_of(details: list[any_pb2.Any]) -> str:
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for packed in details if packed.Unpack(info)), "")


def in_json(address: str, headers: dict[str, str]) -> Outcome:
    answer = call_json(address, "GET", ONE, headers=headers)
    if answer.status == 200:
        return 0, "", ""
    told = answer.json()
    assert REASON not in answer.headers
    assert (answer.status == 401) == (told["code"] == 16), told
    reasons = [one["reason"] for one in told["details"] if one["@type"].endswith("ErrorInfo")]
    return told["code"], *reasons, told["message"]


def in_grpc(address: str, headers: dict[str, str]) -> Outcome:
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(PATH, bytes, bytes)(REQUEST, metadata=tuple(headers.items()), timeout=60)
        except grpc.RpcError as caught:
            error: Any = caught
            status = rpc_status.from_call(error)
            assert status is not None
            return error.code().value[0], reason_of(list(status.details)), error.details() or ""
    return 0, "", ""


def in_grpc_web(address: str, headers: dict[str, str]) -> Outcome:
    frame = struct.pack(">BI", 0, len(REQUEST)) + REQUEST
    sent = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers}
    answer = call_json(address, "POST", PATH, headers=sent, raw=frame)
    code = int(answer.headers.get("grpc-status", "0"))
    assert REASON not in answer.headers
    packed = answer.headers.get("grpc-status-details-bin", "")
    status = status_pb2.Status.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    return code, reason_of(list(status.details)), answer.headers.get("grpc-message", "")


PROTOCOLS = [in_json, in_grpc, in_grpc_web]
Call = Callable[[str, dict[str, str]], Outcome]


@pytest.fixture
def guarded(make_gateway: Any, identity: Identity) -> Envoy:
    envoy: Envoy = make_gateway(identity=identity.issuer)
    return envoy


@pytest.mark.parametrize("call", PROTOCOLS)
def test_a_token_is_taken_and_the_service_gets_it_but_nothing_that_only_looks_checked(
    guarded: Envoy, identity: Identity, upstream: Upstream, call: Call
) -> None:
    identity.keys = [identity.new_key("rsa", "RS256"), identity.new_key("curve")]
    identity.write()
    until(lambda: call(guarded.address, identity.bearer())[0] == 0, "the new keys are taken")
    for key in identity.keys:
        upstream.service.metadata.clear()
        token = identity.token(key=key)
        spoofed = {SUBJECT: "mayor", ACTOR: "service:health", ISSUER: identity.name, "authorization": f"Bearer {token}"}
        assert call(guarded.address, spoofed) == (0, "", "")
        (seen,) = upstream.service.metadata
        assert seen["authorization"] == f"Bearer {token}"
        assert not seen.keys() & set(FROM_TOKEN)


@pytest.mark.parametrize("call", PROTOCOLS)
def test_a_call_without_a_token_is_told_where_to_get_one(guarded: Envoy, upstream: Upstream, call: Call) -> None:
    code, reason, message = call(guarded.address, {})
    assert (code, reason) == (16, "NO_TOKEN")
    assert "This call needs a token" in message and "`city token` prints one" in message
    assert upstream.service.metadata == []


def forged(identity: Identity) -> dict[str, str]:
    """Tokens that must not be taken, by what is wrong with them."""
    now = int(time.time())
    public = json.dumps(identity.keys[0].as_dict(private=False))
    claims = {"iss": identity.name, "aud": identity.audience, "sub": "mayor", "exp": now + 600}

    def plain(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    good = identity.token()
    head, body, signature = good.split(".")
    confused = jws.serialize_compact(
        {"alg": "HS256", "kid": "first"}, json.dumps(claims), OctKey.import_key(public), algorithms=["HS256"]
    )
    return {
        "expired": identity.token(exp=now - 60),
        "not yet": identity.token(nbf=now + 600),
        "never expires": identity.token(exp=None),
        "another issuer": identity.token(iss="https://elsewhere.example"),
        "no issuer": identity.token(iss=None),
        "another audience": identity.token(aud="elsewhere"),
        "no audience": identity.token(aud=None),
        "of nobody": identity.token(sub=None),
        "of an empty name": identity.token(sub=""),
        "another key": identity.token(key=identity.new_key("first")),
        "unknown key": identity.token(key=identity.new_key("second")),
        "alg none": f"{plain({'alg': 'none'})}.{plain(claims)}.",
        "alg None with a key": f"{plain({'alg': 'None', 'kid': 'first'})}.{plain(claims)}.",
        "the public key as a secret": confused,
        "changed": f"{head}.{plain({**claims, 'sub': 'mayor'})}.{signature}",
        "without signature": f"{head}.{body}.",
        "half": good[: len(good) // 2],
        "no token at all": "x",
    }


@pytest.mark.parametrize("call", PROTOCOLS)
def test_what_is_no_good_token_is_refused_and_reaches_nobody(
    guarded: Envoy, identity: Identity, upstream: Upstream, call: Call
) -> None:
    for what, token in forged(identity).items():
        code, reason, message = call(guarded.address, {"authorization": f"Bearer {token}"})
        assert (code, reason) == (16, "BAD_TOKEN"), (what, message)
        assert "The token is not taken" in message and "`city token` prints one" in message
    for told in ("Basic bWF5b3I6eA==", identity.token(), ""):
        assert call(guarded.address, {"authorization": told})[0] == 16, told
    assert upstream.service.metadata == []


def test_a_method_that_nobody_has_is_unimplemented_in_grpc_web_too(guarded: Envoy, identity: Identity) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **identity.bearer()}
    answer = call_json(guarded.address, "POST", "/no.Such/Method", headers=headers, raw=b"\0\0\0\0\0")
    assert (answer.headers["grpc-status"], REASON in answer.headers) == ("12", False)


def test_a_token_counts_only_where_it_belongs(guarded: Envoy, identity: Identity, upstream: Upstream) -> None:
    token = identity.token()
    for where in (f"?access_token={token}", f"?authorization={token}"):
        assert call_json(guarded.address, "GET", ONE + where).status in (400, 401)
        # In gRPC no check of parameters comes before.
        frame = struct.pack(">BI", 0, len(REQUEST)) + REQUEST
        for kind in ("application/grpc", "application/grpc-web+proto"):
            answer = call_json(guarded.address, "POST", PATH + where, headers={"content-type": kind}, raw=frame)
            assert answer.headers["grpc-status"] == "16", answer
    assert in_grpc(guarded.address, {"cookie": f"access_token={token}", "x-authorization": f"Bearer {token}"})[0] == 16
    assert upstream.service.metadata == []


def test_of_two_tokens_none_is_taken(guarded: Envoy, identity: Identity, upstream: Upstream) -> None:
    good = f"Bearer {identity.token()}"
    for other in (f"Bearer {forged(identity)['alg none']}", "Basic bWF5b3I6eA==", "x", good):
        for given in ([good, other], [other, good]):
            with grpc.insecure_channel(guarded.address) as channel, pytest.raises(grpc.RpcError) as caught:
                metadata = tuple(("authorization", value) for value in given)
                channel.unary_unary(PATH, bytes, bytes)(REQUEST, metadata=metadata, timeout=60)
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED, given
    assert upstream.service.metadata == []


def test_every_method_needs_a_token_in_every_form_and_health_does_not(
    make_gateway: Any, guarded: Envoy, upstream: Upstream, manifest: Any, descriptors: bytes
) -> None:
    for route in routes([manifest], descriptors):
        with grpc.insecure_channel(guarded.address) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                list(channel.unary_stream(route.path, bytes, bytes)(b"", timeout=60))
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        for verb, path, body in route.http:
            asked = path.replace("{incident_id}", "inc-00000000000a")
            answer = call_json(guarded.address, verb, asked, {} if body else None)
            assert (answer.status, answer.json()["code"]) == (401, 16), route
    assert upstream.service.metadata == []
    with grpc.insecure_channel(guarded.address) as channel:
        # Nothing answers it behind this gateway; but the gateway let it through.
        with pytest.raises(grpc.RpcError) as caught:
            HealthStub(channel).Check(HealthCheckRequest(), timeout=60)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED and "Method not found" in (caught.value.details() or "")
        asked_all = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(asked_all.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=60))
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_where_no_token_is_asked_no_header_says_who_calls(make_gateway: Any, identity: Identity) -> None:
    anything = Anything()
    with standing_in(anything) as system:
        gateway = make_gateway(identity=identity.issuer, system_upstream=system)
        spoofed = ((SUBJECT, "mayor"), (ACTOR, "service:health"), (ISSUER, identity.name), ("x-caller", "health"))
        with grpc.insecure_channel(gateway.address) as channel:
            HealthStub(channel).Check(HealthCheckRequest(), metadata=spoofed, timeout=60)
    (seen,) = anything.headers
    assert not seen.keys() & {*FROM_TOKEN, "x-caller"}


@pytest.mark.parametrize("opened", ["/.well-known/jwks.json", *WITHOUT_TOKEN])
def test_what_needs_no_token_leads_to_no_method_that_does(guarded: Envoy, upstream: Upstream, opened: str) -> None:
    here = PATH.removeprefix("/")
    for path in (
        f"{opened}/../..{PATH}",
        f"{opened}/../../..{PATH}",
        f"{opened}/..%2f..%2f{here}",
        f"{opened}%2f..%2f..%2f{here}",
        f"{opened}/{here}",
        f"{opened};/../..{PATH}",
        f"/{opened}/..//..{PATH}",
        f"{PATH}#{opened}",
        f"{PATH}?x={opened}",
    ):
        for kind in ("application/grpc", "application/json", "application/grpc-web+proto"):
            call_json(guarded.address, "POST", path, headers={"content-type": kind}, raw=b"")
    for header in ("x-original-url", "x-rewrite-url", "x-envoy-original-path", "x-forwarded-uri", "x-http-method-override"):
        assert in_json(guarded.address, {header: opened})[0] == 16
        assert in_grpc(guarded.address, {header: opened})[0] == 16
    assert upstream.service.metadata == []


def test_the_citys_keys_are_public_and_hold_nothing_private(make_gateway: Any, identity: Identity) -> None:
    everything = [key.as_dict(private=True) for key in (identity.keys[0], identity.new_key("rsa", "RS256"))]
    identity.file.write_text(json.dumps({"keys": [*everything, OctKey.generate_key(256).as_dict(private=True)]}))
    gateway = make_gateway(identity=identity.issuer)
    answer = call_json(gateway.address, "GET", "/.well-known/jwks.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    told = answer.json()["keys"]
    assert [key["kid"] for key in told] == ["first", everything[1]["kid"]]
    assert all(set(key) <= {"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"} for key in told)
    assert in_json(gateway.address, identity.bearer())[0] == 0


def test_keys_change_while_calls_go_on_and_none_is_refused(guarded: Envoy, identity: Identity) -> None:
    pid, old, refused, end = guarded.pid, identity.keys[0], [], threading.Event()
    signing = [old]

    def on() -> None:
        while not end.wait(0.01):
            outcome = in_json(guarded.address, {"authorization": f"Bearer {identity.token(key=signing[0])}"})
            refused.extend([outcome] if outcome[0] else [])

    callers = [threading.Thread(target=on) for _ in range(3)]
    for caller in callers:
        caller.start()
    last = identity.token(key=old)
    try:
        for number in range(3):
            # A key is public before it signs, and goes when it does not sign any more.
            new = identity.new_key(f"key-{number}")
            identity.keys = [signing[0], new]
            identity.write()
            until(lambda new=new: shown(guarded) >= {new.kid}, "the new key is public")  # type: ignore[misc]
            signing[0] = new
    finally:
        end.set()
        for caller in callers:
            caller.join()
    assert refused == []
    assert in_json(guarded.address, {"authorization": f"Bearer {last}"})[0] == 16, "a key that is gone opens nothing"
    assert guarded.pid == pid


def shown(gateway: Envoy) -> set[str]:
    return {key["kid"] for key in call_json(gateway.address, "GET", "/.well-known/jwks.json").json()["keys"]}


def test_keys_that_cannot_be_read_change_nothing(guarded: Envoy, identity: Identity) -> None:
    last = identity.token()
    for wrong in ("no JSON", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'):
        identity.file.write_text(wrong)
        with pytest.raises(GatewayError, match=r"^the keys of issuer [^\n]+$"):
            guarded.update(*known(guarded))
    identity.file.unlink()
    with pytest.raises(GatewayError, match=r"^the keys of issuer [^\n]+ cannot be read[^\n]+$"):
        guarded.update(*known(guarded))
    assert in_json(guarded.address, {"authorization": f"Bearer {last}"})[0] == 0
    identity.keys = [identity.new_key("next")]
    identity.write()
    until(lambda: shown(guarded) == {"next"}, "good keys are taken again")


def known(gateway: Envoy) -> tuple[Any, Any, GatewaySettings]:
    return gateway._manifests, gateway._descriptors, gateway.settings


def test_another_issuer_is_taken_beside_the_citys_own_and_each_signs_only_for_itself(
    make_gateway: Any, identity: Identity, tmp_path: Path
) -> None:
    other = Identity(tmp_path / "other", "https://id.example", "partners")
    gateway = make_gateway(identity=identity.issuer, issuers=(other.issuer,))
    assert in_json(gateway.address, identity.bearer())[0] == 0
    assert in_json(gateway.address, other.bearer())[0] == 0
    assert in_json(gateway.address, other.bearer(aud="citybrain"))[0] == 16
    assert in_json(gateway.address, other.bearer(iss=identity.name, aud="citybrain"))[0] == 16
    assert in_grpc(gateway.address, {})[1] == "NO_TOKEN"
    assert shown(gateway) == {"first"}


@pytest.fixture
def published(identity: Identity, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of an issuer's keys, and the file of the authority that vouches for the server there."""
    from citybrain.local.certificates import Certificates

    made = Certificates(tmp_path / "tls", ("localhost", "127.0.0.1"))
    made.renew()

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(identity.file.read_bytes())

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Keys)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"https://localhost:{server.server_port}/keys", made.authority
    server.shutdown()
    serving.join()
    server.server_close()


def test_keys_of_an_issuer_are_fetched_over_tls_that_is_checked(
    make_gateway: Any, identity: Identity, published: tuple[str, Path], tmp_path: Path
) -> None:
    url, authority = published
    remote = Issuer(issuer=identity.name, audiences=(identity.audience,), jwks=url)
    gateway = make_gateway(identity=None, issuers=(remote,), authorities=authority)
    until(lambda: in_json(gateway.address, identity.bearer())[0] == 0, "the keys are fetched")
    assert in_grpc(gateway.address, identity.bearer(aud="elsewhere"))[:2] == (16, "BAD_TOKEN")
    assert call_json(gateway.address, "GET", "/.well-known/jwks.json").status == 404
    from citybrain.local.certificates import Certificates

    stranger = Certificates(tmp_path / "stranger", ("localhost",))
    stranger.renew()
    deceived = make_gateway(identity=None, issuers=(remote,), authorities=stranger.authority)
    code, reason, message = in_json(deceived.address, identity.bearer())
    assert (code, reason) == (16, "BAD_TOKEN") and "Jwks" in message


def test_keys_are_never_fetched_without_tls() -> None:
    with pytest.raises(ValueError, match="begins with https"):
        Issuer(issuer="i", audiences=("a",), jwks="http://id.example/keys")
