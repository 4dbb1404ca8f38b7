"""Spans from Zipkin: answers as its API documents them, from a server in this process."""

from __future__ import annotations

import json
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typing_extensions import override

from citybrain.cli.incident import zipkin
from citybrain.local.problems import Problem
from citybrain.observability.trace_tree import build

# As `GET /api/v2/traces` answers: a list of traces, each a list of spans; times are microseconds.
ANSWER = [
    [
        {
            "traceId": "5982fe77008310cc80f1da5e10147517", "id": "bd7a977555f6b982", "name": "post", "kind": "SERVER",
            "timestamp": 1458702548467000, "duration": 386000, "localEndpoint": {"serviceName": "gateway", "ipv4": "10.0.0.1"},
            "tags": {"incident.id": "inc-1", "http.path": "/v1/incidents"},
        },
        {
            "traceId": "5982fe77008310cc80f1da5e10147517", "parentId": "bd7a977555f6b982", "id": "ebf33e1a81dc6f71",
            "name": "citybrain.health.v1.healthservice/reservebed", "kind": "CLIENT", "timestamp": 1458702548478000,
            "duration": 354374, "localEndpoint": {"serviceName": "sagas"},
            "remoteEndpoint": {"serviceName": "health", "ipv4": "10.0.0.2", "port": 9411},
            "tags": {"incident.id": "inc-1", "error": "UNAVAILABLE", "otel.status_code": "ERROR"},
            "annotations": [{"timestamp": 1458702548479000, "value": "retry"}],
        },
        {
            "traceId": "5982fe77008310cc80f1da5e10147517", "parentId": "bd7a977555f6b982", "id": "ebf33e1a81dc6f71",
            "name": "citybrain.health.v1.healthservice/reservebed", "kind": "SERVER", "timestamp": 1458702548479000,
            "duration": 1000, "localEndpoint": {"serviceName": "health"}, "shared": True,
        },
    ],
    [{"traceId": "efee2ce6c0a83f2d", "id": "efee2ce6c0a83f2d", "timestamp": 1458702548400000, "localEndpoint": {}}],
]  # fmt: skip


class Server:
    """Answers every question with the same, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.answer, self.asked = 200, json.dumps(ANSWER), ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked = self.path
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(server.answer.encode())

            @override
            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_the_traces_of_an_incident_are_asked_for_by_its_tag(server: Server) -> None:
    zipkin.spans_of("inc-1 & more", server.address + "/")
    path, _, query = server.asked.partition("?")
    asked = urllib.parse.parse_qs(query)
    assert path == "/api/v2/traces" and asked["annotationQuery"] == ["incident.id=inc-1 & more"]
    assert int(asked["lookback"][0]) == 30 * 86_400_000 and asked["limit"] == ["100"]


def test_spans_are_read_with_their_parents_times_and_errors(server: Server) -> None:
    other, first, client, shared = zipkin.spans_of("inc-1", server.address)
    assert (other.trace_id, other.service, other.duration_ms) == ("efee2ce6c0a83f2d".zfill(32), "unknown", 0)
    assert (first.service, first.kind, first.parent_span_id, first.duration_ms) == ("gateway", "server", "", 386)
    assert first.start_ns == 1458702548467000_000 and first.incident_id == "inc-1" and first.status == "unset"
    assert (client.kind, client.status, client.status_message) == ("client", "error", "UNAVAILABLE")
    assert [(one.name, one.time_ns) for one in client.events] == [("retry", 1458702548479000_000)]
    # Both sides of a call under one id: no span is lost, and the one who was called hangs below.
    assert (shared.service, shared.parent_span_id) == ("health", client.span_id)
    assert len(build([other, first, client, shared])) == 2


@pytest.mark.parametrize(
    ("status", "answer", "word"),
    [
        (500, "", "HTTP 500"),
        (200, "no JSON", "does not tell"),
        (200, '[[{"id": 1}]]', "KeyError"),
        (200, '{"a": 1}', "does not tell"),
        (200, "[" * 100_000, "RecursionError"),
        (200, '[[{"traceId": "1", "id": "1", "timestamp": 1e999}]]', "OverflowError"),
    ],
)
def test_an_answer_that_is_none_is_told_in_one_line(server: Server, status: int, answer: str, word: str) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(Problem, match=word) as told:
        zipkin.spans_of("inc-1", server.address)
    assert server.address in str(told.value)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", b""])
def test_something_else_that_answers_there_is_told_in_one_line(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as caller:
                caller.recv(65536)
                caller.sendall(said)

        other = threading.Thread(target=answer)
        other.start()
        with pytest.raises(Problem, match="does not tell the spans"):
            zipkin.spans_of("inc-1", f"http://127.0.0.1:{listening.getsockname()[1]}")
        other.join()


def test_an_address_that_is_none_or_where_nobody_answers_is_told(server: Server) -> None:
    with pytest.raises(Problem, match="is no address of Zipkin"):
        zipkin.spans_of("inc-1", "file:///etc/passwd")
    for address in ("http://", "http://[", "http://127.0.0.1:port"):
        with pytest.raises(Problem, match="see whether it answers there"):
            zipkin.spans_of("inc-1", address)
    server.close()
    with pytest.raises(Problem, match="see whether it answers there"):
        zipkin.spans_of("inc-1", server.address)
