"""What the dashboards show is what the services really send: one emergency on paper, and every expression finds its numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import promql_parser
import pytest
from citybrain.identity.v1 import identity_service_pb2 as identity
from citybrain.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.safety.v1.safety_service_pb2_grpc import SafetyServiceStub
from google.protobuf.descriptor import ServiceDescriptor
from grafana_foundation_sdk.models.dashboard import Dashboard

from citybrain.local.child import MeshChild
from citybrain.mesh.settings.values import Metrics, Settings
from citybrain.observability import names
from citybrain.observability.dashboards import label
from tests.helpers.contracts import services
from tests.helpers.metrics_receiver import MetricsReceiver, Series
from tests.helpers.paper_city import PaperCity

FOLDER = Path(__file__).parents[2] / "observability" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
EXPRESSIONS = [
    (service, panel["title"], target["expr"])
    for service, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel["targets"]
]
LIMIT_S = 20
# Of events that do not happen in an emergency.
HAPPENS = {
    "city_events_appended_total",
    "messaging_process_duration_seconds_count",
    "messaging_process_duration_seconds_bucket",
}
# Only where something fails.
SELDOM = {label(names.ERROR_TYPE)}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Series]:
    """What a mesh has sent by its end."""
    with MetricsReceiver() as receiver:
        settings = Settings(time="driven", metrics=Metrics(endpoint=receiver.endpoint))
        with MeshChild(tmp_path_factory.mktemp("city"), settings=settings) as mesh:
            city = PaperCity(mesh.address, mesh.log_path.parent)
            city.build()
            incident = city.report("call")
            city.until(lambda: bool(city.ambulance_of(incident)))
            city.drive(incident)
            city.until(lambda: city.ended(incident))
            smoke = safety.ReportSignalRequest(
                source=safety.SIGNAL_SOURCE_119, kind=safety.EVENT_KIND_FIRE, place=RoadPlace(edge_id="e3", position_m=20)
            )
            city.call(SafetyServiceStub(city.channel).ReportSignal, smoke)
            city.call(IdentityServiceStub(city.channel).RotateKeys, identity.RotateKeysRequest(reason="as every month"))
            for service in services():
                _called(city.channel, service)
            city.close()
        yield receiver.series()


def _called(channel: grpc.Channel, service: ServiceDescriptor) -> None:
    """Calls every method that is no stream with nothing: whatever is answered, it is a call."""
    for method in service.methods:
        if not method.client_streaming and not method.server_streaming:
            with contextlib.suppress(grpc.RpcError):
                channel.unary_unary(f"/{service.full_name}/{method.name}", bytes, bytes)(b"", timeout=LIMIT_S)


def test_there_is_a_dashboard_for_every_service(series: Series) -> None:
    seen = {labels[label(names.CITY_SERVICE)] for found in series.values() for labels in found}
    assert DASHBOARDS.keys() == seen - {"mesh"}


@pytest.mark.parametrize(("service", "panel", "expression"), EXPRESSIONS, ids=[f"{one[0]}-{one[1]}" for one in EXPRESSIONS])
def test_a_panel_finds_numbers_of_its_service(service: str, panel: str, expression: str, series: Series) -> None:
    parsed = promql_parser.parse(expression.replace("$__rate_interval", "5m"))
    selectors = list(walked(parsed))
    assert selectors
    for name, wanted, used in selectors:
        fitting = [one for one in series.get(name, []) if wanted.items() <= one.items()]
        if not fitting and name in HAPPENS:
            # Nothing of it happens in an emergency: then the form is that of the others.
            fitting = [{**one, label(names.CITY_SERVICE): service} for one in series[name]]
        assert fitting, f"{panel}: nothing sends {name} with {wanted}; there are {sorted(series)}"
        assert wanted[label(names.CITY_SERVICE)] == service
        assert all(used - SELDOM <= one.keys() for one in fitting)


@pytest.mark.parametrize("service", DASHBOARDS)
def test_a_dashboard_has_the_form_that_grafana_reads(service: str) -> None:
    kept: Any = Dashboard.from_json(DASHBOARDS[service]).to_json()
    panels = DASHBOARDS[service]["panels"]
    assert kept["title"] == DASHBOARDS[service]["title"]
    assert [one.to_json()["title"] for one in kept["panels"]] == [panel["title"] for panel in panels]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in panels})


def walked(part: Any, used: frozenset[str] = frozenset()) -> Iterator[tuple[str, dict[str, str], frozenset[str]]]:
    """Each selector in an expression: its metric, the values it asks for, and every label that the expression uses of it."""
    match part:
        case promql_parser.VectorSelector():
            matchers = part.matchers.matchers
            wanted = {one.name: one.value for one in matchers if one.op == promql_parser.MatchOp.Equal}
            yield str(part.name), wanted, used | {one.name for one in matchers}
        case promql_parser.MatrixSelector():
            yield from walked(part.vector_selector, used)
        case promql_parser.AggregateExpr():
            yield from walked(part.expr, used | set(part.modifier.labels if part.modifier else ()))
        case promql_parser.Call():
            for one in part.args:
                yield from walked(one, used)
        case promql_parser.BinaryExpr():
            yield from walked(part.lhs, used)
            yield from walked(part.rhs, used)
        case promql_parser.NumberLiteral():
            pass
        case _:
            raise AssertionError(f"an expression holds what this test cannot read: {part}")
