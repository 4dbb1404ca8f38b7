"""Each append is counted, with how it ended, for the service whose stream it is; the store itself stays as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from typing_extensions import override

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import ANY, Committed, Conflict, EventStore, NewEvent, Publishing, StoreError, Undecided
from citybrain.mesh.runtime.measured import Measured
from citybrain.observability import names
from citybrain.observability.metrics import Metrics


@dataclass
class Opened:
    """An engine."""

    store: EventStore


class Behind(SqliteEventStore):
    """Says that it is behind."""

    @override
    def publishing(self) -> Publishing:
        return Publishing(3, 1.5, 2)


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    yield InMemoryMetricReader()


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
    return [point for scope in scopes for metric in scope.metrics if metric.name == name for point in metric.data.data_points]


def new(one: str) -> list[NewEvent]:
    return [NewEvent(one, "t", b"", 0)]


def test_appends_are_counted_by_service_and_by_how_they_ended(tmp_path: Path, reader: InMemoryMetricReader) -> None:
    traced: list[str] = []

    async def test() -> None:
        store = Measured(Opened(SqliteEventStore(tmp_path / "events.db")), Metrics(reader), "embedded")
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
        with tracer.start_as_current_span("call") as span:
            appending = store.append("health/x-1", new("a"), 0)
        traced.append(trace.format_trace_id(span.get_span_context().trace_id))
        assert isinstance(await appending, Committed)
        assert isinstance(await store.append("health/x-1", new("b"), 0), Conflict)
        with pytest.raises(Undecided):
            await store.append("traffic/x-1", new("c"), ANY, timeout_s=0)
        assert [event.id for event in await store.read("health/x-1")] == ["a"]
        store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.writable()

    asyncio.run(test())
    found = points(reader, names.STORE_DURATION)
    assert {(one.attributes[names.CITY_SERVICE], one.attributes.get(names.ERROR_TYPE, "")): one.count for one in found} == {
        ("health", ""): 1,
        ("health", "Conflict"): 1,
        ("traffic", "Undecided"): 1,
    }
    assert {(one.attributes[names.STORE], one.attributes[names.STORE_OPERATION]) for one in found} == {("embedded", "append")}
    # The one that was made inside a span leads to its trace.
    assert [trace.format_trace_id(one.trace_id) for point in found for one in point.exemplars] == traced


def test_how_far_publishing_is_behind_is_told(tmp_path: Path, reader: InMemoryMetricReader) -> None:
    async def test() -> dict[str, float]:
        store = Measured(Opened(Behind(tmp_path / "events.db")), Metrics(reader), "embedded")
        told = {name: points(reader, name)[0].value for name in (names.LOG_BEHIND, names.LOG_BEHIND_AGE, names.STORE_UNKNOWN)}
        store.close()
        return told

    assert asyncio.run(test()) == {names.LOG_BEHIND: 3, names.LOG_BEHIND_AGE: 1.5, names.STORE_UNKNOWN: 2}


def test_nothing_of_the_port_is_answered_by_the_port_itself() -> None:
    ports = {name for name in vars(EventStore) if not name.startswith("_")}
    assert ports - vars(Measured).keys() == set()
