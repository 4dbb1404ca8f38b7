"""A small OTLP/gRPC receiver that writes spans to a trace store. Run it outside of the mesh, so that it outlives a crash there.

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
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from typing_extensions import override

from citybrain.observability.lenient import read
from citybrain.observability.spans import spans_of
from citybrain.observability.trace_store import TraceStore

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class _Traces(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Takes spans, also with texts that are not UTF-8, which may come from a caller's header.

    Logs and metrics are accepted and not kept: the log lines are on stderr.
    """

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """The handler of a method."""
        method = _METHODS.get(handler_call_details.method)
        return None if method is None else grpc.unary_unary_rpc_method_handler(self._export if method == "spans" else _nothing)

    def _export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            self._store.insert(spans_of(read(trace_service_pb2.ExportTraceServiceRequest, request)))
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no request to keep spans")
        except sqlite3.Error as error:
            # The sender tries again for a while.
            context.abort(grpc.StatusCode.UNAVAILABLE, f"spans cannot be kept now: {error}")
        return b""


_EXPORT = "/opentelemetry.proto.collector.{0}.v1.{1}Service/Export"
_METHODS = {
    _EXPORT.format("trace", "Trace"): "spans", _EXPORT.format("logs", "Logs"): "", _EXPORT.format("metrics", "Metrics"): "",
}  # fmt: skip


def _nothing(request: bytes, context: grpc.ServicerContext) -> bytes:
    return b""


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
        server.add_generic_rpc_handlers((_Traces(store),))
        server.start()
        self._server = server
        self.endpoint = f"http://{self._host}:{port}"
        return self.endpoint

    def stop(self) -> None:
        """Takes no more, finishes begun work, closes the file."""
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
