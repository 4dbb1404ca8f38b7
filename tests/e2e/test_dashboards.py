"""What the dashboards show is what the services really send: two emergencies on paper, and every expression finds its numbers.

There is no metric that is not registered, none that is registered and never sent, and no series that grows with the traffic.
The same holds for spans, their attributes, and the fields of log lines.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import grpc
import promql_parser
import pytest
from citybrain.identity.v1 import identity_service_pb2 as identity
from citybrain.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.safety.v1.safety_service_pb2_grpc import SafetyServiceStub
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from citybrain.local.child import MeshChild
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.operations import targets
from citybrain.mesh.providers.views import View
from citybrain.mesh.settings.values import Metrics, Settings, Traces
from citybrain.mesh.startup.entry import entrypoints, load_entry
from citybrain.observability import names
from citybrain.observability.numbers import LABELS, NUMBERS, label
from citybrain.observability.objectives import RATIO, WINDOWS
from citybrain.observability.receiver import Receiver
from citybrain.observability.spans import Span
from citybrain.sagas.engine.definition import Human
from citybrain.sagas.engine.state import Phase
from citybrain.sagas.workflows import published
from tests.helpers.contracts import MANIFESTS, services
from tests.helpers.metrics_receiver import MetricsReceiver, Series
from tests.helpers.paper_city import PaperCity
from tests.helpers.prometheus import Prometheus
from tests.helpers.promql import selectors
from tests.helpers.telemetry import everything, lines_in, marked, spans_in, wrong_lines, wrong_spans
from tools.prometheus import NotHere, programs

FOLDER = Path(__file__).parents[2] / "observability" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
OF_SERVICES = [name for name in DASHBOARDS if not name.startswith("city-")]
# What the gateway tells is looked at where there is one: tests/gateway/test_metrics.py.
EXPRESSIONS = [
    (name, panel["title"], target["expr"])
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel["targets"]
    if name != "city-gateway"
]
RECORDED = {f"{RATIO}{window}": {label(names.CITY_SERVICE), "objective"} for window in WINDOWS}
# What Prometheus adds.
ADDED = {"instance"}
LIMIT_S = 20
# What a process answers itself.
OWN = ("citybrain.clock.v1.ClockService", "citybrain.mesh.v1.MeshService")
# Of events that do not happen in an emergency.
HAPPENS = {
    "city_events_appended_total",
    "messaging_process_duration_seconds_count",
    "messaging_process_duration_seconds_bucket",
    "rpc_client_call_duration_seconds_count",
    "rpc_client_call_duration_seconds_bucket",
    "db_client_operation_duration_seconds_count",
    "db_client_operation_duration_seconds_bucket",
    "city_calls_refused_total",
    "city_sagas_open",
}
# Only where something fails.
SELDOM = {label(names.ERROR_TYPE)}


@dataclass(frozen=True, slots=True)
class Ride:
    """What a mesh has told of itself: sent by its end, and read after each of two emergencies."""

    sent: Series
    once: list[Sample]
    twice: list[Sample]
    # What a real Prometheus has of it while the mesh runs, and after it was killed; None: there is no Prometheus here.
    seen: Seen | None
    # Its log, and its spans.
    lines: list[dict[str, Any]]
    spans: list[Span]


@dataclass(frozen=True, slots=True)
class Seen:
    """What Prometheus says of a mesh."""

    targets: list[Any]
    rules: list[Any]
    values: dict[str, dict[frozenset[tuple[str, str]], float]]
    exemplars: list[Any]
    alerts: list[Any]


@pytest.fixture(scope="module")
def ride(tmp_path_factory: pytest.TempPathFactory) -> Ride:
    data, seen = tmp_path_factory.mktemp("city"), None
    traces = Receiver(data / "traces.db")
    with MetricsReceiver() as receiver:
        settings = Settings(
            time="driven",
            metrics=Metrics(endpoint=receiver.endpoint, listen="127.0.0.1:0"),
            traces=Traces(endpoint=traces.start()),
        )
        with MeshChild(data, settings=settings) as mesh:
            city = PaperCity(mesh.address, data)
            city.build()
            smoke = safety.ReportSignalRequest(
                source=safety.SIGNAL_SOURCE_119, kind=safety.EVENT_KIND_FIRE, place=RoadPlace(edge_id="e3", position_m=20)
            )
            city.call(SafetyServiceStub(city.channel).ReportSignal, smoke)
            city.call(IdentityServiceStub(city.channel).RotateKeys, identity.RotateKeysRequest(reason="as every month"))
            for service in services():
                _called(city.channel, service)
            # Nobody who brings no token is let in.
            with grpc.insecure_channel(mesh.address) as channel, contextlib.suppress(grpc.RpcError):
                IdentityServiceStub(channel).RotateKeys(identity.RotateKeysRequest(), timeout=LIMIT_S)
            _emergency(city, "first")
            once = _read(data)
            _emergency(city, "second")
            twice = _read(data)
            with contextlib.suppress(NotHere):
                programs()
                # Begun last: each of its readings keeps a mesh of all services busy for half a second.
                with Prometheus(tmp_path_factory.mktemp("prometheus"), data / targets.FOLDER) as prometheus:
                    seen = _seen(prometheus, city)
            city.close()
        traces.stop()
        return Ride(receiver.series(), once, twice, seen, list(lines_in(data / "mesh.log")), spans_in(data / "traces.db"))


def _seen(prometheus: Prometheus, city: PaperCity) -> Seen:
    """What Prometheus says once it has seen some calls, and evaluated every rule."""
    ended = 'city_sagas_ended_total{city_saga_workflow="emergency_response"}'
    prometheus.until(lambda: 2 in prometheus.values(ended).values())
    health = next(one for one in services() if one.name == "HealthService")
    _called(city.channel, health)
    recorded = 'city:slo_errors:ratio_rate5m{city_service="health"}'
    # Objectives are recorded one after the other. That of streams has no numbers: nobody opens one.
    commands = f'{recorded[:-1]},objective="command answered"}} == 0'
    prometheus.until(lambda: len(prometheus.values(recorded)) >= 5 and prometheus.values(commands))

    def rules() -> list[Any] | None:
        found = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else None

    evaluated = prometheus.until(rules)
    asked = (ended, "up", recorded)
    now = time.time()
    exemplars = prometheus.ask(
        "query_exemplars", query="rpc_server_call_duration_seconds_bucket", start=str(now - 600), end=str(now + 60)
    )
    return Seen(
        prometheus.ask("targets")["activeTargets"],
        evaluated,
        {one: prometheus.values(one) for one in asked},
        exemplars,
        prometheus.ask("alerts")["alerts"],
    )


@pytest.fixture(scope="module")
def series(ride: Ride) -> Series:
    """What the mesh has sent by its end."""
    return ride.sent


def _emergency(city: PaperCity, name: str) -> None:
    incident = city.report(name)
    city.until(lambda: bool(city.ambulance_of(incident)))
    city.drive(incident)
    city.until(lambda: city.ended(incident))
    city.rest()


def _read(data: Path) -> list[Sample]:
    """What Prometheus reads, at the address that the process has told it."""
    (file,) = (data / targets.FOLDER).glob("mesh-*.json")
    (group,) = json.loads(file.read_text(encoding="utf-8"))
    address = f"http://{group['targets'][0]}{group['labels']['__metrics_path__']}"
    asked = urllib.request.Request(address, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(asked, timeout=LIMIT_S) as answer:  # noqa: S310
        text = answer.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def _called(channel: grpc.Channel, service: ServiceDescriptor) -> None:
    """Calls every method that is no stream with nothing: whatever is answered, it is a call."""
    for method in service.methods:
        if not method.client_streaming and not method.server_streaming:
            with contextlib.suppress(grpc.RpcError):
                channel.unary_unary(f"/{service.full_name}/{method.name}", bytes, bytes)(b"", timeout=LIMIT_S)


def test_there_is_a_dashboard_for_every_service(series: Series) -> None:
    seen = {labels[label(names.CITY_SERVICE)] for found in series.values() for labels in found}
    assert set(OF_SERVICES) == seen - {"mesh"}


@pytest.mark.parametrize(("dashboard", "panel", "expression"), EXPRESSIONS, ids=[f"{one[0]}-{one[1]}" for one in EXPRESSIONS])
def test_a_panel_finds_numbers(dashboard: str, panel: str, expression: str, series: Series) -> None:
    parsed = promql_parser.parse(expression.replace("$__rate_interval", "5m"))
    asked = list(selectors(parsed))
    assert asked
    for name, wanted, used in asked:
        if dashboard in OF_SERVICES:
            assert wanted[label(names.CITY_SERVICE)] == dashboard
        if name in RECORDED:
            # That these are recorded, for this service, a real Prometheus tells.
            assert used <= RECORDED[name]
            continue
        fitting = [one for one in series.get(name, []) if wanted.items() <= one.items()]
        if not fitting and name in HAPPENS:
            # Nothing of it happens in an emergency: then the form is that of the others.
            fitting = [{**one, **wanted} for one in series[name]]
        assert fitting, f"{panel}: nothing sends {name} with {wanted}; there are {sorted(series)}"
        assert all(used - SELDOM - ADDED <= one.keys() for one in fitting)


def test_every_registered_metric_is_sent_and_no_other_one(series: Series) -> None:
    parts = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}
    assert series.keys() == {f"{one.prometheus}{part}" for one in NUMBERS for part in parts[one.kind]}
    for one in NUMBERS:
        found = {name for part in parts[one.kind] for labels in series[f"{one.prometheus}{part}"] for name in labels}
        assert found - {"le"} <= {label(name) for name in one.labels}


def test_every_span_and_every_field_of_a_line_is_registered_and_every_registered_one_is_told(ride: Ride) -> None:
    wrong, told = wrong_spans(ride.spans)
    wrong_too, told_too = wrong_lines(ride.lines)
    assert wrong | wrong_too == set()
    # What an emergency does not tell, a test tells that is marked with it: if it did not, it would fail.
    untold = everything() - told - told_too - marked()
    assert not untold, "\n".join(sorted(untold))


def test_what_is_sent_can_be_read_too(ride: Ride) -> None:
    assert ride.sent.keys() == {one.name for one in ride.twice if not one.name.endswith("_created")}


def test_every_label_has_values_out_of_a_list_that_no_caller_makes(ride: Ride) -> None:
    contracts = [*services(), *(descriptor_pool.Default().FindServiceByName(name) for name in OWN)]
    leaves = [(workflow.name, leaf) for workflow in published() for leaf in workflow.leaves()]
    asked = {who for _, leaf in leaves if isinstance(leaf, Human) for who in leaf.who}
    known: dict[str, Callable[[str], object]] = {
        names.CITY_SERVICE: {*OF_SERVICES, "mesh"}.__contains__,
        names.RPC_METHOD: {f"{one.full_name}/{method.name}" for one in contracts for method in one.methods}.__contains__,
        names.CALL_CLASS: {"read", "command", "stream"}.__contains__,
        names.STATUS_CODE: {code.name for code in grpc.StatusCode}.__contains__,
        names.ERROR_TYPE: re.compile(r"[A-Z][A-Za-z]+|[A-Z_]+").fullmatch,
        names.CONSUMER_GROUP: {group for manifest in MANIFESTS for group in _groups(manifest)}.__contains__,
        names.EVENT_TYPE: {event for manifest in MANIFESTS for event in manifest.publishes}.__contains__,
        names.AUTHORITY: {*asked, *(getattr(leaf, "clearance", "") for _, leaf in leaves)}.__contains__,
        names.WORKFLOW: {workflow for workflow, _ in leaves}.__contains__,
        names.STEP: {leaf.name for _, leaf in leaves}.__contains__,
        names.STATE: {*get_args(Phase), "done", "failed", "timed out", "skipped"}.__contains__,
        names.STORE: {"embedded"}.__contains__,
        names.STORE_OPERATION: {"append"}.__contains__,
        names.CPU_MODE: {"user", "system"}.__contains__,
    }
    assert known.keys() == LABELS.keys()
    for attribute, holds in known.items():
        values = {value for one in ride.twice if (value := one.labels.get(label(attribute)))}
        assert {value for value in values if not holds(value)} == set(), attribute
    assert {name for one in ride.twice for name in one.labels} - {"le"} <= {label(one) for one in LABELS}


def _groups(manifest: Manifest) -> Iterator[str]:
    """The consumer groups that a service's class has."""
    service = load_entry(manifest)
    yield from (f"{manifest.name}.{method}" for method in entrypoints(service, Subscribe))
    views = inspect.getmembers(service, lambda member: isinstance(member, View))
    yield from (f"{manifest.name}.view.{name}" for name, _ in views)


def test_a_second_emergency_adds_no_series(ride: Ride) -> None:
    def kept(samples: list[Sample]) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        # How calls and tries that fail are told depends on what happens at the same time.
        passing = {label(names.ERROR_TYPE), label(names.STATUS_CODE)}
        return {
            (one.name, frozenset((name, value) for name, value in one.labels.items() if name not in passing)) for one in samples
        }

    assert kept(ride.twice) - kept(ride.once) == set()


def test_sagas_are_counted_from_their_beginning_to_their_end(ride: Ride) -> None:
    def of(name: str, **wanted: str) -> list[float]:
        told = {"city_saga_workflow": "emergency_response", **wanted}
        return [one.value for one in ride.twice if one.name == name and told.items() <= one.labels.items()]

    assert of("city_sagas_started_total") == [2]
    assert of("city_sagas_ended_total", city_saga_state="completed") == [2]
    assert of("city_sagas_open", city_saga_state="running") == [0]
    took = "city_saga_step_duration_seconds"
    assert of(f"{took}_count", city_saga_step="reserve_ambulance", city_saga_state="done") == [2]
    # In city time: the test lets five seconds pass between two reports of the terminal.
    assert of(f"{took}_sum", city_saga_step="on_board", city_saga_state="done")[0] >= 10


@pytest.fixture
def seen(ride: Ride) -> Seen:
    if ride.seen is None:
        pytest.skip("there is no Prometheus here")
    return ride.seen


def test_a_real_prometheus_finds_the_mesh_by_its_file_and_reads_it(seen: Seen) -> None:
    assert [(one["health"], one["lastError"], one["labels"]["job"]) for one in seen.targets] == [("up", "", "city-mesh")]
    (ended,) = seen.values['city_sagas_ended_total{city_saga_workflow="emergency_response"}']
    assert {"city_service": "sagas", "city_saga_state": "completed", "job": "city-mesh"}.items() <= dict(ended).items()


def test_a_real_prometheus_evaluates_every_rule_without_an_error(seen: Seen) -> None:
    assert len(seen.rules) > 400
    assert [(rule["name"], rule["lastError"]) for rule in seen.rules if rule["health"] != "ok"] == []
    recorded = seen.values['city:slo_errors:ratio_rate5m{city_service="health"}']
    # Nobody has opened a stream.
    promised = {"read answered", "read within 0.1 s", "command answered", "command within 0.25 s"}
    assert {dict(labels)["objective"] for labels in recorded} == {*promised, "events fresh"}
    answered = {dict(labels)["objective"]: value for labels, value in recorded.items()}
    assert answered["command answered"] == 0


def test_no_alert_fires_in_a_city_that_is_well(seen: Seen) -> None:
    # Other services than those of the mesh are not there, and this one ends after all calls with nothing.
    firing = [one for one in seen.alerts if one["state"] == "firing"]
    assert [one["labels"]["alertname"] for one in firing] == []


def test_in_a_real_prometheus_a_bucket_leads_to_a_trace(seen: Seen) -> None:
    found = [one["labels"]["trace_id"] for series in seen.exemplars for one in series["exemplars"]]
    assert found and all(re.fullmatch("[0-9a-f]{32}", one) for one in found)


@pytest.mark.parametrize("service", DASHBOARDS)
def test_a_dashboard_has_the_form_that_grafana_reads(service: str) -> None:
    kept: Any = Dashboard.from_json(DASHBOARDS[service]).to_json()
    panels = DASHBOARDS[service]["panels"]
    assert kept["title"] == DASHBOARDS[service]["title"]
    assert [one.to_json()["title"] for one in kept["panels"]] == [panel["title"] for panel in panels]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in panels})
