"""A service with several hosts: one that cannot serve is left out for a while, an only one never is."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from typing_extensions import override

from citybrain.gateway.settings import GatewaySettings
from citybrain.local.envoy import Envoy
from citybrain.mesh.manifest import Manifest
from tests.gateway.conftest import EmergencyCommand, Identity, Upstream, call_json
from tests.gateway.test_kindness import stat
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

CANCEL = "/v1/incidents/inc-00000000000a:cancel"
REASON = {"reason": "a test"}
MANY = 30


class Failing(EmergencyCommand):
    """Fails each command with a code until it is well."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self.code = code
        self.well = threading.Event()
        self.calls = 0

    @override
    def CancelIncident(self, request: pb.CancelIncidentRequest, context: grpc.ServicerContext) -> pb.CancelIncidentResponse:
        self.calls += 1
        if not self.well.is_set():
            context.abort(self.code, "not here")
        return pb.CancelIncidentResponse()


@contextlib.contextmanager
def serving(service: EmergencyCommand) -> Iterator[str]:
    upstream = Upstream(service)
    upstream.start()
    try:
        yield f"127.0.0.1:{upstream.port}"
    finally:
        upstream.stop()


class Called:
    """A gateway before hosts of one service."""

    def __init__(self, envoy: Envoy, identity: Identity, name: str) -> None:
        self.envoy = envoy
        self._identity, self._name = identity, name

    def cancel(self) -> int:
        """The status of a command, which is never tried again once a service had it."""
        return call_json(self.envoy.address, "POST", CANCEL, REASON, self._identity.bearer()).status

    def left_out(self) -> int:
        """How often a host was left out."""
        return stat(self.envoy, f"cluster.{self._name}.outlier_detection.ejections_enforced_total")


@pytest.fixture
def before(tmp_path: Any, manifest: Manifest, descriptors: bytes, identity: Identity) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def make(*hosts: str) -> Called:
            settings = GatewaySettings(upstreams={manifest.name: ",".join(hosts)}, identity=identity.issuer)
            envoy = stack.enter_context(Envoy([manifest], descriptors, settings, tmp_path / "gateway"))
            return Called(envoy, identity, manifest.name)

        yield make


def test_a_host_that_says_it_cannot_serve_is_left_out_and_called_again_when_it_can(before: Any, upstream: Upstream) -> None:
    failing = Failing(grpc.StatusCode.UNAVAILABLE)
    with serving(failing) as address:
        called = before(f"127.0.0.1:{upstream.port}", address)
        until(lambda: called.cancel() == 503 or None, "the failing host has a share of the calls")
        until(lambda: called.cancel() and called.left_out() == 1, "it is left out")
        failing.well.set()
        # Nobody asks whether it is well: it is called again after a while.
        tried = failing.calls
        until(lambda: called.cancel() and failing.calls > tried, "it is called again")
        assert [called.cancel() for _ in range(MANY)] == [200] * MANY


def test_no_call_fails_by_a_host_that_is_down(before: Any, upstream: Upstream) -> None:
    with socket.socket() as down:
        # Nobody listens there, and nobody else takes the port.
        down.bind(("127.0.0.1", 0))
        called = before(f"127.0.0.1:{upstream.port}", f"127.0.0.1:{down.getsockname()[1]}")
        statuses = [called.cancel() for _ in range(MANY)]
        until(lambda: called.cancel() and called.left_out() == 1, "it is left out")
        assert statuses == [200] * MANY


def test_an_error_of_a_services_own_code_leaves_no_host_out(before: Any, upstream: Upstream) -> None:
    failing = Failing(grpc.StatusCode.INTERNAL)
    with serving(failing) as address:
        called = before(f"127.0.0.1:{upstream.port}", address)
        until(lambda: called.cancel() and failing.calls >= MANY, "it still has its share of the calls")
        assert called.left_out() == 0


def test_an_only_host_is_never_left_out(before: Any) -> None:
    failing = Failing(grpc.StatusCode.UNAVAILABLE)
    with serving(failing) as address:
        called = before(address)
        assert [called.cancel() for _ in range(MANY)] == [503] * MANY
        assert failing.calls == MANY, "each call came to it"
        assert called.left_out() == 0
        failing.well.set()
        assert called.cancel() == 200
