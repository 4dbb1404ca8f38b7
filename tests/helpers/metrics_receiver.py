"""A receiver of OTLP metrics, and what Prometheus would have of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from typing_extensions import override

Series = dict[str, list[dict[str, str]]]
"""The labels of each series, by the name of its metric."""


class MetricsReceiver(MetricsServiceServicer):
    """`with MetricsReceiver() as receiver`: its `endpoint` takes metrics in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: Series = {}

    def __enter__(self) -> MetricsReceiver:
        self._server = grpc.server(ThreadPoolExecutor(2))
        add_MetricsServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    @override
    def Export(self, request: ExportMetricsServiceRequest, context: Any) -> ExportMetricsServiceResponse:
        with self._lock:
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        for name, labels in _in_prometheus(metric):
                            self._series.setdefault(name, []).append(labels)
        return ExportMetricsServiceResponse()

    def series(self) -> Series:
        """Everything that has come."""
        with self._lock:
            return {name: list(labels) for name, labels in self._series.items()}


def _in_prometheus(metric: Metric) -> Iterator[tuple[str, dict[str, str]]]:
    kind = str(metric.WhichOneof("data"))
    data = getattr(metric, kind)
    base = metric.name.replace(".", "_") + {"s": "_seconds", "By": "_bytes"}.get(metric.unit, "")
    for point in data.data_points:
        labels = {one.key.replace(".", "_"): one.value.string_value for one in point.attributes}
        if kind == "histogram":
            yield f"{base}_bucket", labels | {"le": "+Inf"}
            yield f"{base}_count", labels
            yield f"{base}_sum", labels
        else:
            yield f"{base}_total" if kind == "sum" and data.is_monotonic else base, labels
