"""The address where Prometheus reads the metrics of a process: OpenMetrics with exemplars, or Prometheus' own older text.

`prometheus_client` writes the text and serves it, in a thread of its own. OpenTelemetry's exporter for it is not used:
it leaves exemplars out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Metric, MetricsData, Sum
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from typing_extensions import override

from citybrain.observability.numbers import BY_NAME, label

PATH = "/metrics"
"""Where the metrics are, at the address."""


class Door:
    """Answers at an address until `close()`. `host:0` takes any free port; `address` is what was taken."""

    def __init__(self, address: str, read: Callable[[], MetricsData | None]) -> None:
        """OSError: the address is taken, or is none of this machine."""
        host, _, port = address.rpartition(":")
        registry = CollectorRegistry()
        registry.register(_Read(read))
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise OSError(f"metrics cannot be read at {address}: {error.strerror or error}: choose another one") from error
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Read(Collector):
    """The metrics as `prometheus_client` takes them."""

    def __init__(self, read: Callable[[], MetricsData | None]) -> None:
        self._read = read

    @override
    def collect(self) -> Iterator[Family]:
        data = self._read()
        found = data.resource_metrics if data is not None else ()
        for metric in (metric for resource in found for scope in resource.scope_metrics for metric in scope.metrics):
            yield _family(metric)


def _family(metric: Metric) -> Family:
    name, points = BY_NAME[metric.name].family, list[Any](metric.data.data_points)
    keys = sorted({key for point in points for key in point.attributes or ()})
    labels, about = [label(key) for key in keys], metric.description or ""
    if isinstance(metric.data, Histogram):
        histogram = HistogramMetricFamily(name, about, labels=labels)
        for point in metric.data.data_points:
            histogram.add_metric(_values(point, keys), _buckets(point), point.sum)
        return histogram
    is_counter = isinstance(metric.data, Sum)
    family = CounterMetricFamily(name, about, labels=labels) if is_counter else GaugeMetricFamily(name, about, labels=labels)
    for one in points:
        family.add_metric(_values(one, keys), one.value)
    return family


def _values(point: Any, keys: Sequence[str]) -> list[str]:
    return [str(point.attributes.get(key, "")) for key in keys]


def _buckets(point: HistogramDataPoint) -> list[Any]:
    """Each bucket with the count of all values up to its end, and with the newest value in it of which there is a trace."""
    ends = [*point.explicit_bounds, float("inf")]
    newest: dict[int, Any] = {}
    for one in point.exemplars:
        # Only values inside a span that is kept are remembered as exemplars.
        place = next(number for number, end in enumerate(ends) if one.value <= end)
        if place not in newest or newest[place].time_unix_nano < one.time_unix_nano:
            newest[place] = one
    made: list[Any] = []
    count = 0
    for number, (end, more) in enumerate(zip(ends, point.bucket_counts, strict=True)):
        count += more
        bucket = "+Inf" if end == float("inf") else f"{end:g}"
        found = newest.get(number)
        made.append((bucket, count, _exemplar(found)) if found is not None else (bucket, count))
    return made


def _exemplar(found: Any) -> Exemplar:
    trace = {"trace_id": format_trace_id(found.trace_id), "span_id": format_span_id(found.span_id)}
    return Exemplar(trace, found.value, found.time_unix_nano / 1e9)
