"""The address where Prometheus reads: the series that OpenTelemetry's own exporter has, and exemplars that lead to traces."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from citybrain.observability.exposition import PATH
from citybrain.observability.metrics import Metrics
from citybrain.observability.numbers import BY_NAME
from tests.unit.observability.test_metrics import told

METHOD = "citybrain.health.v1.HealthService/GetIncident"


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    metrics = Metrics(listens="127.0.0.1:0")
    yield metrics
    metrics.shutdown()


def read(metrics: Metrics) -> list[Sample]:
    """What Prometheus reads there."""
    assert metrics.door is not None
    asked = urllib.request.Request(
        f"http://{metrics.door.address}{PATH}", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
        text = answer.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def keyed(samples: list[Sample]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The values by name and labels, as Prometheus tells series apart; without what OpenTelemetry adds about itself."""
    return {
        (
            one.name,
            frozenset(
                (key, f"{float(value):g}" if key == "le" else value)
                for key, value in one.labels.items()
                if value and not key.startswith("otel_scope")
            ),
        ): one.value
        for one in samples
        if not one.name.endswith("_created") and one.labels.get("city_service")
    }


def test_names_labels_and_values_are_those_of_opentelemetrys_own_exporter() -> None:
    metrics = Metrics(PrometheusMetricReader(), listens="127.0.0.1:0")
    try:
        told(metrics)
        theirs = keyed([sample for family in REGISTRY.collect() for sample in family.samples])
        assert keyed(read(metrics)) == theirs
        # All that a service counts is among them, under the name that the registry says.
        assert {one.prometheus for one in BY_NAME.values() if one.kind == "counter"} >= {
            name for name, _ in theirs if name.endswith("_total")
        }
    finally:
        metrics.shutdown()


def in_span(metrics: Metrics, seconds: float, sampler: Sampler = ALWAYS_ON) -> str:
    """A call inside a span; the span's trace."""
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("call") as span:
        metrics.of("health").called(METHOD, "OK", seconds)
        return trace.format_trace_id(span.get_span_context().trace_id)


def exemplars(samples: list[Sample]) -> dict[str, tuple[str, float]]:
    """The trace and the value of each exemplar, by the end of its bucket."""
    return {
        one.labels["le"]: (one.exemplar.labels["trace_id"], one.exemplar.value) for one in samples if one.exemplar is not None
    }


def test_a_bucket_leads_to_the_newest_trace_whose_value_is_in_it(metrics: Metrics) -> None:
    in_span(metrics, 0.02)
    second, slow = in_span(metrics, 0.021), in_span(metrics, 7.0)
    found = exemplars(read(metrics))
    assert found == {"0.025": (second, 0.021), "10": (slow, 7.0)}


def test_what_no_trace_is_kept_of_leads_nowhere(metrics: Metrics) -> None:
    in_span(metrics, 0.02, ALWAYS_OFF)
    metrics.of("health").called(METHOD, "OK", 0.02)
    samples = read(metrics)
    assert exemplars(samples) == {}
    assert sum(one.value for one in samples if one.name == "rpc_server_call_duration_seconds_count") == 2


def test_an_address_that_is_taken_is_told(metrics: Metrics) -> None:
    assert metrics.door is not None
    with pytest.raises(OSError, match=f"metrics cannot be read at {metrics.door.address}: .*: choose another one"):
        Metrics(listens=metrics.door.address)


def test_nobody_answers_after_the_end() -> None:
    metrics = Metrics(listens="127.0.0.1:0")
    assert metrics.door is not None and metrics.door.address != "127.0.0.1:0"
    metrics.shutdown()
    with pytest.raises(OSError, match="refused"):
        read(metrics)
