"""Metrics of the services of one process: as Prometheus has them, and only for the attributes that a dashboard asks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY
from prometheus_client.samples import Sample

from citybrain.observability import names
from citybrain.observability.metrics import GroupNumbers, Metrics, WaitingNumbers
from citybrain.observability.numbers import label
from tests.helpers.metrics_receiver import MetricsReceiver

METHOD = "citybrain.health.v1.HealthService/GetIncident"


def told(metrics: Metrics) -> None:
    """One of everything."""
    metrics.watch_groups(lambda: [GroupNumbers("health", "health.on_roads", lag=3, parked=2, still_s=1.5)])
    metrics.watch_waiting(lambda: [WaitingNumbers("health", "fire_command", count=2, oldest_s=60.0)])
    health = metrics.of("health")
    health.called(METHOD, "OK", 0.02, kind="read")
    health.called(METHOD, "NOT_FOUND", 0.3, kind="read")
    health.handled("health.on_roads", 0.1)
    health.handled("health.on_roads", 0.1, "ValueError")
    health.appended("citybrain.health.v1.BedReserved", 2)


@pytest.fixture
def samples() -> Iterator[list[Sample]]:
    reader = PrometheusMetricReader()
    metrics = Metrics(reader)
    told(metrics)
    yield [sample for family in REGISTRY.collect() for sample in family.samples]
    metrics.shutdown()


def of(samples: list[Sample], name: str) -> dict[frozenset[tuple[str, str]], float]:
    """The values of a metric by its labels."""
    ours = (
        names.CITY_SERVICE,
        names.RPC_METHOD,
        names.STATUS_CODE,
        names.CALL_CLASS,
        names.CONSUMER_GROUP,
        names.ERROR_TYPE,
        names.EVENT_TYPE,
        names.AUTHORITY,
    )
    known = {label(one) for one in ours} | {"le"}
    return {
        # For Prometheus an empty label is none.
        frozenset((key, value) for key, value in one.labels.items() if key in known and value): one.value
        for one in samples
        if one.name == name
    }


def test_every_number_is_there_under_the_name_that_dashboards_ask_for(samples: list[Sample]) -> None:
    service = ("city_service", "health")
    group = ("messaging_consumer_group_name", "health.on_roads")
    call, read = ("rpc_method", METHOD), ("city_call_class", "read")
    assert of(samples, "rpc_server_call_duration_seconds_count") == {
        frozenset({service, call, read, ("rpc_response_status_code", "OK")}): 1,
        frozenset({service, call, read, ("rpc_response_status_code", "NOT_FOUND")}): 1,
    }
    assert of(samples, "messaging_process_duration_seconds_count") == {
        frozenset({service, group}): 1,
        frozenset({service, group, ("error_type", "ValueError")}): 1,
    }
    event = ("event_type", "citybrain.health.v1.BedReserved")
    assert of(samples, "city_events_appended_total") == {frozenset({service, event}): 2}
    for name, value in (("city_group_lag", 3), ("city_group_parked", 2), ("city_group_still_seconds", 1.5)):
        assert of(samples, name) == {frozenset({service, group}): value}


def test_tasks_that_wait_for_people_are_told_by_authority(samples: list[Sample]) -> None:
    asked = frozenset({("city_service", "health"), ("city_authority", "fire_command")})
    assert of(samples, "city_tasks") == {asked: 2}
    assert of(samples, "city_tasks_age_seconds") == {asked: 60}


def test_short_calls_are_told_apart_to_the_millisecond(samples: list[Sample]) -> None:
    buckets = of(samples, "rpc_server_call_duration_seconds_bucket")
    ends = {float(value) for labels in buckets for key, value in labels if key == "le"}
    assert {0.001, 0.0025, 0.01, 0.1, 1, 10, 30} <= ends


def test_they_are_sent_to_a_receiver_with_the_same_names(samples: list[Sample]) -> None:
    with MetricsReceiver() as receiver:
        metrics = Metrics(endpoint=receiver.endpoint)
        told(metrics)
        # What there is at the end is sent then.
        metrics.shutdown()
        sent = receiver.series()
    ours = {one.name for one in samples if "city_service" in one.labels}
    assert sent.keys() == {name for name in ours if not name.endswith("_created")}


@pytest.mark.parametrize("environment", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_METRICS_EXPORTER": "none"}])
def test_the_standard_variables_switch_them_off(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with MetricsReceiver() as receiver:
        metrics = Metrics(endpoint=receiver.endpoint)
        told(metrics)
        metrics.shutdown()
        assert receiver.series() == {}


def test_without_a_receiver_nothing_is_sent_and_counting_costs_no_error() -> None:
    metrics = Metrics()
    told(metrics)
    metrics.shutdown()


def test_what_happens_again_is_added_for_each_service_and_type_of_its_own() -> None:
    reader = InMemoryMetricReader()
    metrics = Metrics(reader)
    for service, event, count in (("health", "A", 2), ("health", "A", 3), ("health", "B", 1), ("traffic", "A", 1)):
        metrics.of(service).appended(event, count)
    assert counted(reader) == {("health", "A"): 5, ("health", "B"): 1, ("traffic", "A"): 1}
    metrics.of("health").appended("A")
    assert counted(reader)["health", "A"] == 6
    metrics.shutdown()


def counted(reader: InMemoryMetricReader) -> dict[tuple[str, str], int]:
    """The events that were appended, by service and type."""
    data = reader.get_metrics_data()
    assert data is not None
    every = [metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics]
    (found,) = (metric for metric in every if metric.name == names.EVENTS_APPENDED)
    labels = (names.CITY_SERVICE, names.EVENT_TYPE)
    return {tuple(point.attributes[one] for one in labels): point.value for point in found.data.data_points}  # type: ignore[misc,index,union-attr]
