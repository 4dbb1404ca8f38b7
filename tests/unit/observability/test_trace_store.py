"""What is kept of spans, and found again."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

from citybrain.observability.receiver import Receiver
from citybrain.observability.spans import Link, Span, SpanEvent
from citybrain.observability.trace_store import OF_INCIDENT, TraceStore
from citybrain.observability.tracing import Tracing, context_from


def span(trace: str, number: int, **others: object) -> Span:
    return Span(trace, str(number), "", "health", "reserve", "server", number, number + 5, **others)  # type: ignore[arg-type]


def test_a_span_comes_back_as_it_was(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db")
    kept = span(
        "t1", 1, status="error", status_message="没有空车",
        attributes={"incident.id": "inc-1", "n": 3, "list": ["a", 1.5, True]},
        links=(Link("t0", "7"),), events=(SpanEvent("event appended", 3, {"event.id": "e"}),),
    )  # fmt: skip
    store.insert([kept])
    # Sent again: kept once.
    store.insert([kept])
    assert store.by_trace("t1") == [kept]
    store.close()
    again = TraceStore(tmp_path / "traces.db")
    assert again.by_trace("t1") == [kept]
    again.close()


def test_an_incident_is_every_trace_it_touches_whole(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db")
    store.insert([span("t1", 2, attributes={"incident.id": "inc-1"}), span("t1", 1), span("t2", 3), span("t3", 4)])
    store.insert([span("t3", 5, attributes={"incident.id": "inc-1"}), span("t2", 6, attributes={"incident.id": "inc-2"})])
    assert [(found.trace_id, found.span_id) for found in store.by_incident("inc-1")] == [
        ("t1", "1"), ("t1", "2"), ("t3", "4"), ("t3", "5"),
    ]  # fmt: skip
    assert store.by_incident("inc-9") == [] and store.by_incident("") == []
    assert store.incidents() == ["inc-2", "inc-1"]
    store.close()


def test_the_spans_of_an_incident_are_found_without_looking_at_all_others(tmp_path: Path) -> None:
    TraceStore(tmp_path / "traces.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "traces.db")) as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN SELECT * FROM spans WHERE {OF_INCIDENT}", ("inc-1",)).fetchall()
    steps = [str(row[3]) for row in plan]
    assert any("USING INDEX spans_incident" in step for step in steps) and not any(step.startswith("SCAN") for step in steps)


def test_the_oldest_go_first(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db", max_spans=10)
    for number in range(25):
        store.insert([span("t1", number)])
    assert [found.span_id for found in store.by_trace("t1")] == [str(number) for number in range(15, 25)]
    assert store.count() == 10
    store.close()


def test_of_spans_that_cannot_be_kept_together_nothing_stays_and_the_next_are_kept(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db")
    # More than a number of the file holds.
    with pytest.raises(OverflowError):
        store.insert([span("t1", 1), span("t1", 2**63)])
    store.insert([span("t1", 3)])
    assert [found.span_id for found in store.by_trace("t1")] == ["3"]
    store.close()


def test_another_process_may_read_while_one_writes(tmp_path: Path) -> None:
    writer, reader = TraceStore(tmp_path / "traces.db"), TraceStore(tmp_path / "traces.db")
    for number in range(3):
        writer.insert([span("t1", number)])
        assert len(reader.by_trace("t1")) == number + 1
    writer.close()
    reader.close()


def test_the_receiver_takes_logs_and_metrics_too(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "traces.db")
    with grpc.insecure_channel(receiver.start().removeprefix("http://")) as channel:
        logs = logs_service_pb2_grpc.LogsServiceStub(channel)
        metrics = metrics_service_pb2_grpc.MetricsServiceStub(channel)
        assert logs.Export(logs_service_pb2.ExportLogsServiceRequest(), timeout=60) is not None
        assert metrics.Export(metrics_service_pb2.ExportMetricsServiceRequest(), timeout=60) is not None
    receiver.stop()
    receiver.stop()


def test_a_busy_port_of_the_receiver_says_what_to_do(tmp_path: Path) -> None:
    first = Receiver(tmp_path / "a.db")
    port = int(first.start().rpartition(":")[2])
    with pytest.raises(OSError, match=f"port {port} on 127.0.0.1 is taken: stop what uses it"):
        Receiver(tmp_path / "b.db", port=port).start()
    first.stop()


def test_the_receiver_runs_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "citybrain.observability.receiver", "--file", str(tmp_path / "traces.db"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        tracing = Tracing(OTLPSpanExporter(endpoint=endpoint, insecure=True))
        with tracing.tracer("health").start_as_current_span("reserve", context=context_from("", {"incident.id": "inc-1"})):
            pass
        tracing.shutdown()
        process.terminate()
        assert process.wait(60) == 0
    store = TraceStore(tmp_path / "traces.db")
    assert [found.name for found in store.by_incident("inc-1")] == ["reserve"]
    store.close()
