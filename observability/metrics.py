"""Numbers of the services of one process: calls, events, consumer groups, sagas, the store, the process itself.

They go to an OTLP/gRPC receiver, and to whoever reads them at an address of this process (exposition.py). Every metric has
`city.service`, so what a service does can be told from what the others in its process do. Which metrics there are is said in
`numbers.py`. A value of a histogram that was recorded inside a span carries the span's trace as an exemplar.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader, PeriodicExportingMetricReader

from citybrain.observability import names
from citybrain.observability.numbers import BUCKETS_S, BY_NAME, STEP_BUCKETS_S
from citybrain.observability.otlp import PATIENCE_S, resource, sends, timeout_s

if TYPE_CHECKING:
    from citybrain.observability.exposition import Door

_EVERY_MS = 10_000
MESH = "mesh"
"""The `city.service` of what belongs to the process, and to none of its services alone."""
Numbers = Iterable[tuple[float, Mapping[str, str]]]
"""The values of a metric now, each with its labels."""


@dataclass(frozen=True, slots=True)
class GroupNumbers:
    """A consumer group now: its name, the service it is of, and what `names.py` says of the others."""

    service: str
    group: str
    lag: int
    parked: int
    still_s: float
    age_s: float = 0.0
    failing: bool = False
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class WaitingNumbers:
    """Tasks of a service that wait for an authority now: how many, and for how long the oldest has."""

    service: str
    authority: str
    count: int
    oldest_s: float


class _Sum:
    """A counter: sums by labels, asked for when the metrics are read. One thread counts.

    A counter of the SDK costs some twenty times as much each time.
    """

    def __init__(self, *labels: str) -> None:
        """`labels`: their names, the service first."""
        self._labels = labels
        self._sums: dict[tuple[str, ...], int] = {}

    def add(self, count: int, *values: str) -> None:
        """Counts. `values`: of the labels, in their order."""
        self._sums[values] = self._sums.get(values, 0) + count

    def numbers(self) -> Numbers:
        """The sums now. Another thread may count meanwhile."""
        return [(count, dict(zip(self._labels, values, strict=True))) for values, count in self._sums.copy().items()]


class ServiceMetrics:
    """The numbers of one service."""

    def __init__(self, service: str, histograms: Mapping[str, Histogram], sums: Mapping[str, _Sum]) -> None:
        self._name = service
        self._service = {names.CITY_SERVICE: service}
        self._histograms = histograms
        self._sums = sums

    def called(self, method: str, code: str, seconds: float, context: Context | None = None, *, kind: str = "command") -> None:
        """A call has ended. `method`: as the contract names it, `package.Service/Method`; `code`: NOT_FOUND …

        `context`: that of the call's span, if it is not the current one. `kind`: the class of the method: read, command …
        """
        told = {**self._service, names.RPC_METHOD: method, names.STATUS_CODE: code, names.CALL_CLASS: kind}
        self._histograms[names.CALL_DURATION].record(seconds, told, context)

    def has_called(self, method: str, code: str, seconds: float) -> None:
        """A call to another service has ended."""
        told = {**self._service, names.RPC_METHOD: method, names.STATUS_CODE: code}
        self._histograms[names.CLIENT_DURATION].record(seconds, told)

    def refused(self, code: str, reason: str) -> None:
        """A call was not let in. `reason`: as its error gives it to programs."""
        self._sums[names.CALLS_REFUSED].add(1, self._name, code, reason)

    def handled(self, group: str, seconds: float, error: str = "") -> None:
        """An event was handled. `error`: the class of what went wrong; empty: nothing."""
        told = {**self._service, names.CONSUMER_GROUP: group}
        self._histograms[names.HANDLING_DURATION].record(seconds, told | {names.ERROR_TYPE: error} if error else told)

    def appended(self, event_type: str, count: int = 1) -> None:
        """Events of a type were written."""
        self._sums[names.EVENTS_APPENDED].add(count, self._name, event_type)

    def stored(self, engine: str, seconds: float, error: str = "") -> None:
        """An append has ended. `error`: why it wrote nothing, or is not known to have written; empty: it wrote."""
        told = {**self._service, names.STORE: engine, names.STORE_OPERATION: "append"}
        self._histograms[names.STORE_DURATION].record(seconds, told | {names.ERROR_TYPE: error} if error else told)

    def saga_started(self, workflow: str) -> None:
        """A saga began."""
        self._sums[names.SAGAS_STARTED].add(1, self._name, workflow)

    def saga_ended(self, workflow: str, state: str) -> None:
        """A saga ended."""
        self._sums[names.SAGAS_ENDED].add(1, self._name, workflow, state)

    def step_ended(self, workflow: str, step: str, state: str, seconds: float) -> None:
        """A step of a saga ended, after so many seconds of city time."""
        told = {**self._service, names.WORKFLOW: workflow, names.STEP: step, names.STATE: state}
        self._histograms[names.STEP_DURATION].record(seconds, told)

    def loop_delayed(self, seconds: float) -> None:
        """The event loop went on so much later than asked for."""
        self._histograms[names.LOOP_DELAY].record(seconds, self._service)


class Metrics:
    """The metrics of one process. Make one, close it with `shutdown()`."""

    def __init__(self, reader: MetricReader | None = None, *, endpoint: str = "", listens: str = "") -> None:
        """`reader` takes the numbers out; or they are sent to an OTLP/gRPC endpoint; or to nobody.

        `listens`: an address, host:port, where they may be read besides. OSError: it is taken.
        """
        reader = reader or _reader(endpoint)
        readers = [] if reader is None else [reader]
        self.door: Door | None = None
        if listens:
            # Loaded only where it is used: it takes long.
            from citybrain.observability.exposition import Door

            own = InMemoryMetricReader()
            self.door = Door(listens, own.get_metrics_data)
            readers.append(own)
        # A process may serve many services, so it is told apart by an id of its own.
        told = resource(MESH, instance=True)
        self._provider = MeterProvider(readers, told, TraceBasedExemplarFilter(), shutdown_on_exit=False)
        self._meter: Meter = self._provider.get_meter("citybrain")
        recorded = [one for one in BY_NAME.values() if one.kind == "histogram"]
        self._histograms = {
            one.name: self._meter.create_histogram(
                one.name, one.unit, one.about,
                explicit_bucket_boundaries_advisory=STEP_BUCKETS_S if one.name == names.STEP_DURATION else BUCKETS_S,
            )
            for one in recorded
        }  # fmt: skip
        self._services: dict[str, ServiceMetrics] = {}
        self._watched: dict[str, list[Callable[[], Numbers]]] = {}
        self._sums = {
            names.CALLS_REFUSED: _Sum(names.CITY_SERVICE, names.STATUS_CODE, names.ERROR_TYPE),
            names.EVENTS_APPENDED: _Sum(names.CITY_SERVICE, names.EVENT_TYPE),
            names.SAGAS_STARTED: _Sum(names.CITY_SERVICE, names.WORKFLOW),
            names.SAGAS_ENDED: _Sum(names.CITY_SERVICE, names.WORKFLOW, names.STATE),
        }
        for name, one in self._sums.items():
            self.watch(name, one.numbers)

    def of(self, service: str) -> ServiceMetrics:
        """The numbers of a service of this process."""
        known = self._services.get(service)
        if known is None:
            known = self._services[service] = ServiceMetrics(service, self._histograms, self._sums)
        return known

    def watch(self, name: str, ask: Callable[[], Numbers]) -> None:
        """Asks for the values of a metric each time the metrics are read; from a thread of its own. Several may tell of one."""
        asked = self._watched.get(name)
        if asked is not None:
            asked.append(ask)
            return
        asked = self._watched[name] = [ask]
        one = BY_NAME[name]

        def observed(_options: CallbackOptions) -> Iterable[Observation]:
            return (Observation(float(value), dict(labels)) for ask in asked for value, labels in ask())

        make = self._meter.create_observable_counter if one.kind == "counter" else self._meter.create_observable_gauge
        make(name, [observed], one.unit, one.about)

    def watch_groups(self, groups: Callable[[], Iterable[GroupNumbers]]) -> None:
        """Asks for the numbers of the consumer groups."""
        told: dict[str, Callable[[GroupNumbers], float]] = {
            names.GROUP_LAG: lambda one: one.lag,
            names.GROUP_AGE: lambda one: one.age_s,
            names.GROUP_PARKED: lambda one: one.parked,
            names.GROUP_FAILING: lambda one: one.failing,
            names.GROUP_STILL: lambda one: one.still_s,
            names.GROUP_RESTARTS: lambda one: one.restarts,
        }
        for name, value in told.items():
            self.watch(name, lambda value=value: [  # type: ignore[misc]
                (value(one), {names.CITY_SERVICE: one.service, names.CONSUMER_GROUP: one.group}) for one in groups()
            ])  # fmt: skip

    def watch_waiting(self, waiting: Callable[[], Iterable[WaitingNumbers]]) -> None:
        """Asks for the tasks that wait for people."""
        told: dict[str, Callable[[WaitingNumbers], float]] = {
            names.TASKS: lambda one: one.count,
            names.TASKS_AGE: lambda one: one.oldest_s,
        }
        for name, value in told.items():
            self.watch(name, lambda value=value: [  # type: ignore[misc]
                (value(one), {names.CITY_SERVICE: one.service, names.AUTHORITY: one.authority}) for one in waiting()
            ])  # fmt: skip

    def shutdown(self) -> None:
        """Sends what there is, and stops the threads that send and that answer."""
        if self.door is not None:
            self.door.close()
        self._provider.shutdown()


def _reader(endpoint: str) -> MetricReader | None:
    if not sends("METRICS", endpoint):
        return None
    exporter = OTLPMetricExporter(endpoint=endpoint, timeout=timeout_s("METRICS"))
    every = None if "OTEL_METRIC_EXPORT_INTERVAL" in os.environ else _EVERY_MS
    return PeriodicExportingMetricReader(exporter, export_interval_millis=every, export_timeout_millis=PATIENCE_S * 1000)
