"""A real Envoy before a small service of ours, written by hand here."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as pb_grpc
from citybrain.emergency_command.v1 import events_pb2
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from typing_extensions import override

from citybrain.gateway.settings import GatewaySettings, Issuer
from citybrain.local.calling import channel as with_token
from citybrain.local.envoy import Envoy
from citybrain.mesh.manifest import Manifest, read_manifest
from citybrain.observability.receiver import Receiver

ROOT = Path(__file__).parents[2]


class EmergencyCommand(pb_grpc.EmergencyCommandServiceServicer):
    """Answers from nothing, and remembers what it saw of each call."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []
        self.time_left: list[float | None] = []
        self.release = threading.Event()
        self.cancelled = threading.Event()

    def _saw(self, context: grpc.ServicerContext) -> None:
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        self.time_left.append(context.time_remaining())

    @override
    def ReportEmergency(self, request: pb.ReportEmergencyRequest, context: grpc.ServicerContext) -> pb.ReportEmergencyResponse:
        self._saw(context)
        if not request.HasField("place"):
            violation = error_details_pb2.BadRequest.FieldViolation(field="place", description="must be given")
            detail = any_pb2.Any()
            detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
            status = status_pb2.Status(code=3, message="place: must be given", details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, status.message)
        return pb.ReportEmergencyResponse(incident=pb.Incident(incident_id="inc-000000000001", place=request.place))

    @override
    def GetIncident(self, request: pb.GetIncidentRequest, context: grpc.ServicerContext) -> pb.GetIncidentResponse:
        self._saw(context)
        if request.incident_id == "stopping":
            # As gRPC itself refuses in place of a server that is going away: no details, no word about when.
            context.abort(grpc.StatusCode.UNAVAILABLE, "Server shutdown")
        if request.incident_id == "busy":
            context.set_trailing_metadata((("retry-after", "1"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much to do")
        return pb.GetIncidentResponse(incident=pb.Incident(incident_id=request.incident_id))

    @override
    def CancelIncident(self, request: pb.CancelIncidentRequest, context: grpc.ServicerContext) -> pb.CancelIncidentResponse:
        self._saw(context)
        return pb.CancelIncidentResponse()

    @override
    def ListIncidents(self, request: pb.ListIncidentsRequest, context: grpc.ServicerContext) -> pb.ListIncidentsResponse:
        """Answers when nobody waits any more."""
        self._saw(context)
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(60)
        return pb.ListIncidentsResponse()

    @override
    def FollowIncident(
        self, request: pb.FollowIncidentRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.FollowIncidentResponse]:
        """Three batches; the last when the test has seen the others."""
        self._saw(context)
        if request.resume_token == "nothing yet":  # noqa: S105
            context.send_initial_metadata(())
            self.release.wait(60)
            return
        for number in range(3):
            if number == 2:
                self.release.wait(60)
            response = pb.FollowIncidentResponse(resume_token=f"token-{number}")
            response.events.add(id=f"event-{number}", type="citybrain.emergency_command.v1.IncidentOpened").data.Pack(
                events_pb2.IncidentOpened()
            )
            yield response


@dataclass
class Upstream:
    """The service on a port it keeps."""

    service: EmergencyCommand = field(default_factory=EmergencyCommand)
    port: int = 0
    # With them it takes TLS alone.
    credentials: grpc.ServerCredentials | None = None
    _server: grpc.Server | None = None

    def start(self) -> None:
        """Serves; again on the same port."""
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_EmergencyCommandServiceServicer_to_server(self.service, self._server)
        address = f"127.0.0.1:{self.port}"
        if self.credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self.credentials)
        self._server.start()

    def stop(self) -> None:
        """Is gone at once."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None


@dataclass
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def call_json(
    address: str,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    raw: bytes | None = None,
    *,
    token: bool = True,
) -> Answer:
    """One HTTP call. It has a good token, unless the headers have another or `token` is false."""
    connection = http.client.HTTPConnection(address, timeout=60)
    content = raw if raw is not None else (None if body is None else json.dumps(body).encode())
    sent = {"content-type": "application/json", **(BEARER if token else {}), **(headers or {})}
    connection.request(method, path, content, sent)
    response = connection.getresponse()
    answer = Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
    connection.close()
    return answer


def channel_to(address: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
    """A channel whose calls have a good token."""
    return with_token(address, TOKEN, options)


def in_bytes(request: bytes) -> bytes:
    """A request in HTTP/1.1 as it is sent, with a good token as its first header."""
    line, end, rest = request.partition(b"\r\n")
    return line + end + f"authorization: {BEARER['authorization']}\r\n".encode() + rest


CITY = "https://citybrain.local/identity"
AUDIENCE = "citybrain"


def signed(key: Key, subject: str = "dispatcher-7", **claims: Any) -> str:
    """A token, without more of the city's own for ten minutes. A claim that is None is left out."""
    now = int(time.time())
    known = {"iss": CITY, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600, **claims}
    header = {"alg": "RS256" if isinstance(key, RSAKey) else "ES256", "kid": key.kid}
    return jwt.encode(header, {name: told for name, told in known.items() if told is not None}, key)


class Identity:
    """An issuer of tokens with its keys in a file, as the city's own has them."""

    def __init__(self, folder: Path, name: str = CITY, audience: str = AUDIENCE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.audience = name, audience
        self.file = folder / "jwks.json"
        self.keys: list[Key] = [KEY if name == CITY else self.new_key("first")]
        self.write()

    @staticmethod
    def new_key(kid: str, kind: str = "ES256") -> Key:
        if kind == "RS256":
            return RSAKey.generate_key(2048, {"kid": kid, "alg": kind, "use": "sig"})
        return ECKey.generate_key("P-256", {"kid": kid, "alg": kind, "use": "sig"})

    @property
    def issuer(self) -> Issuer:
        return Issuer(issuer=self.name, audiences=(self.audience,), jwks=str(self.file))

    def write(self) -> None:
        """Replaces the file by rename."""
        written = self.file.with_suffix(".new")
        written.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]}))
        written.replace(self.file)

    def token(self, subject: str = "dispatcher-7", key: Key | None = None, **claims: Any) -> str:
        return signed(key or self.keys[-1], subject, **{"iss": self.name, "aud": self.audience, **claims})

    def bearer(self, subject: str = "dispatcher-7", **claims: Any) -> dict[str, str]:
        """The header of a call."""
        return {"authorization": f"Bearer {self.token(subject, **claims)}"}


# The first key of the city's own issuer in every test, and a token that its gateways take for as long as tests may last.
KEY = Identity.new_key("first")
TOKEN = signed(KEY, exp=int(time.time()) + 24 * 3600)
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path / "identity")


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return read_manifest(ROOT / "services" / "emergency_command" / "manifest.yaml")


@pytest.fixture(scope="session")
def descriptors() -> bytes:
    return (ROOT / "build" / "descriptors.binpb").read_bytes()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    upstream.start()
    yield upstream
    upstream.service.release.set()
    upstream.service.cancelled.set()
    upstream.stop()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "traces.db")
    receiver.start()
    yield receiver
    receiver.stop()


def settings_before(upstreams: Mapping[str, str], identity: Identity, /, **settings: Any) -> GatewaySettings:
    """Settings for the city's own issuer, without a limit that a test could meet only because its machine is fast."""
    limits = dict.fromkeys(("reads_per_s", "commands_per_s", "streams_per_s"), 1_000_000)
    return GatewaySettings(**{"upstreams": upstreams, "identity": identity.issuer, **limits, **settings})


MakeGateway = Callable[..., Envoy]


@pytest.fixture
def make_gateway(
    tmp_path: Path, manifest: Manifest, descriptors: bytes, upstream: Upstream, identity: Identity
) -> Iterator[MakeGateway]:
    """Starts gateways before the upstream, with other settings or contracts where a test wants them."""
    made: list[Envoy] = []

    def make(contracts: bytes = descriptors, **settings: Any) -> Envoy:
        chosen = settings_before({manifest.name: f"127.0.0.1:{upstream.port}"}, identity, **settings)
        envoy = Envoy([manifest], contracts, chosen, tmp_path / f"gateway-{len(made)}")
        made.append(envoy)
        envoy.start()
        return envoy

    yield make
    for envoy in made:
        envoy.stop()


@pytest.fixture
def gateway(make_gateway: MakeGateway) -> Envoy:
    return make_gateway()


@pytest.fixture
def stub(gateway: Envoy) -> Iterator[pb_grpc.EmergencyCommandServiceStub]:
    with channel_to(gateway.address) as channel:
        yield pb_grpc.EmergencyCommandServiceStub(channel)
