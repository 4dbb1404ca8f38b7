"""A small OTLP/gRPC receiver that writes spans to a trace store. Run it outside of the mesh, so that it outlives a crash of it.

Alone: `python -m citybrain.observability.receiver --file traces.db --port 4317`.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from citybrain.observability.spans import spans_of
from citybrain.observability.trace_store import TraceStore

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, store: TraceStore) -> None:
        self._store = store

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self._store.insert(spans_of(request))
        return trace_service_pb2.ExportTraceServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    """Log records are taken and not kept: the lines on stderr are the logs."""

    def Export(
        self, request: logs_service_pb2.ExportLogsServiceRequest, context: grpc.ServicerContext
    ) -> logs_service_pb2.ExportLogsServiceResponse:
        return logs_service_pb2.ExportLogsServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Metrics are taken and not kept."""

    def Export(
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> metrics_service_pb2.ExportMetricsServiceResponse:
        return metrics_service_pb2.ExportMetricsServiceResponse()


class Receiver:
    """Takes spans over OTLP/gRPC and keeps them in `store`."""

    def __init__(self, path: Path, *, host: str = "127.0.0.1", port: int = 0, max_spans: int = 500_000) -> None:
        self._path = path
        self._host = host
        self._port = port
        self._max_spans = max_spans
        self._server: grpc.Server | None = None
        self.endpoint = ""
        self.store: TraceStore

    def start(self) -> str:
        """Listens; returns the endpoint for OTEL_EXPORTER_OTLP_ENDPOINT. OSError: a taken port; sqlite3.Error: the file."""
        server = grpc.server(
            ThreadPoolExecutor(4, thread_name_prefix="otlp"),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)],
        )
        try:
            port = server.add_insecure_port(f"{self._host}:{self._port}")
        except RuntimeError as error:
            raise OSError(f"port {self._port} on {self._host} is taken: stop what uses it, or choose another port") from error
        self.store = store = TraceStore(self._path, max_spans=self._max_spans)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(store), server)  # type: ignore[no-untyped-call]
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(), server)  # type: ignore[no-untyped-call]
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(), server)  # type: ignore[no-untyped-call]
        server.start()
        self._server = server
        self.endpoint = f"http://{self._host}:{port}"
        return self.endpoint

    def stop(self) -> None:
        """Finishes what was begun, takes no more, closes the file."""
        if self._server is not None:
            self._server.stop(grace=2).wait()
            self._server = None
            self.store.close()


def main() -> int:
    """Runs until SIGINT or SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="receiver", description="Keeps spans that come over OTLP/gRPC in a SQLite file.")
    parser.add_argument("--file", type=Path, required=True, help="where the spans are kept")
    parser.add_argument("--port", type=int, default=4317, help="0: any free port")
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    receiver = Receiver(arguments.file, host=arguments.host, port=arguments.port)
    try:
        endpoint = receiver.start()
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"receiver: {error}: see whether {arguments.file} can be written and is a file of spans\n")
        return 2
    sys.stdout.write(f"{endpoint}\n")
    sys.stdout.flush()
    stopped.wait()
    receiver.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
