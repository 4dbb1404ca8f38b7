"""Numbers of the services of one process: calls, events, and how far consumer groups are. They go to an OTLP/gRPC receiver.

Every metric has `city.service`, so what a service does can be told from what the others in its process do. Names and
meanings are in `names.py`. No attribute takes values that callers choose.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

from citybrain.observability import names
from citybrain.observability.otlp import PATIENCE_S, resource, sends, timeout_s

N = TypeVar("N")
_EVERY_MS = 10_000
# From what a cache answers to what nobody waits for.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class GroupNumbers:
    """A consumer group now: its name, the service it is of, and what `names.py` says of lag, parked and still."""

    service: str
    group: str
    lag: int
    parked: int
    still_s: float


@dataclass(frozen=True, slots=True)
class WaitingNumbers:
    """Tasks of a service that wait for an authority now: how many, and for how long the oldest has."""

    service: str
    authority: str
    count: int
    oldest_s: float


class ServiceMetrics:
    """The numbers of one service."""

    def __init__(self, service: str, calls: Histogram, handled: Histogram, appended: Counter) -> None:
        self._service = service
        self._calls = calls
        self._handled = handled
        self._appended = appended

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call has ended. `method`: as the contract names it, `package.Service/Method`; `code`: NOT_FOUND …"""
        told = {names.CITY_SERVICE: self._service, names.RPC_METHOD: method, names.STATUS_CODE: code}
        self._calls.record(seconds, told)

    def handled(self, group: str, seconds: float, error: str = "") -> None:
        """An event was handled. `error`: the class of what went wrong; empty: nothing."""
        told = {names.CITY_SERVICE: self._service, names.CONSUMER_GROUP: group}
        self._handled.record(seconds, told | {names.ERROR_TYPE: error} if error else told)

    def appended(self, event_type: str, count: int = 1) -> None:
        """Events of a type were written."""
        self._appended.add(count, {names.CITY_SERVICE: self._service, names.EVENT_TYPE: event_type})


class Metrics:
    """The metrics of one process. Make one, close it with `shutdown()`."""

    def __init__(self, reader: MetricReader | None = None, *, endpoint: str = "") -> None:
        """`reader` takes the numbers out; or they are sent to an OTLP/gRPC endpoint, or nowhere."""
        reader = reader or _reader(endpoint)
        # A process may serve many services, so it is told apart by an id of its own.
        told = resource("mesh", instance=True)
        self._provider = MeterProvider([reader] if reader is not None else [], told, shutdown_on_exit=False)
        self._meter: Meter = self._provider.get_meter("citybrain")
        self._calls = self._seconds(names.CALL_DURATION, "How long calls took until their end.")
        self._handling = self._seconds(names.HANDLING_DURATION, "How long the handling of one event took.")
        self._appended = self._meter.create_counter(names.EVENTS_APPENDED, "{event}", "Events that were written.")

    def of(self, service: str) -> ServiceMetrics:
        """The numbers of a service of this process."""
        return ServiceMetrics(service, self._calls, self._handling, self._appended)

    def watch_groups(self, groups: Callable[[], Iterable[GroupNumbers]]) -> None:
        """Asks for the numbers of the consumer groups each time the metrics are read; from a thread of its own."""

        def whose(one: GroupNumbers) -> dict[str, str]:
            return {names.CITY_SERVICE: one.service, names.CONSUMER_GROUP: one.group}

        watched = functools.partial(self._gauge, groups, whose)
        watched(names.GROUP_LAG, "{event}", "What a group has yet to look at.", lambda one: one.lag)
        watched(names.GROUP_PARKED, "{event}", "Events of a group that wait for a person.", lambda one: one.parked)
        watched(names.GROUP_STILL, "s", "For how long a group has done nothing though there is work.", lambda one: one.still_s)

    def watch_waiting(self, waiting: Callable[[], Iterable[WaitingNumbers]]) -> None:
        """Asks for the tasks that wait for people each time the metrics are read; from a thread of its own."""

        def whose(one: WaitingNumbers) -> dict[str, str]:
            return {names.CITY_SERVICE: one.service, names.AUTHORITY: one.authority}

        watched = functools.partial(self._gauge, waiting, whose)
        watched(names.TASKS, "{task}", "Tasks that wait for people.", lambda one: one.count)
        watched(names.TASKS_AGE, "s", "For how long the oldest task has waited.", lambda one: one.oldest_s)

    def _gauge(
        self,
        asked: Callable[[], Iterable[N]],
        whose: Callable[[N], dict[str, str]],
        name: str,
        unit: str,
        description: str,
        value: Callable[[N], float],
    ) -> None:
        def observed(_options: CallbackOptions) -> Iterable[Observation]:
            return (Observation(value(one), whose(one)) for one in asked())

        self._meter.create_observable_gauge(name, [observed], unit, description)

    def shutdown(self) -> None:
        """Sends what there is, and stops the thread that sends."""
        self._provider.shutdown()

    def _seconds(self, name: str, description: str) -> Histogram:
        return self._meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS)


def _reader(endpoint: str) -> MetricReader | None:
    if not sends("METRICS", endpoint):
        return None
    exporter = OTLPMetricExporter(endpoint=endpoint, timeout=timeout_s("METRICS"))
    every = None if "OTEL_METRIC_EXPORT_INTERVAL" in os.environ else _EVERY_MS
    return PeriodicExportingMetricReader(exporter, export_interval_millis=every, export_timeout_millis=PATIENCE_S * 1000)
