"""`city incident --zipkin` against the real Zipkin: what was put there comes back as the same tree."""

from __future__ import annotations

import json
import random
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from citybrain.cli.incident import zipkin
from citybrain.cli.incident.critical_path import longest
from citybrain.local.errors import NotFetched
from citybrain.local.jars import class_path
from citybrain.local.java import java
from citybrain.local.tcp_ports import keep_free_port
from citybrain.observability.spans import Span
from citybrain.observability.trace_tree import build, edges
from tests.helpers.waiting import until
from tests.unit.incident.made import span

INCIDENTS, MOST = 200, 40


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Zipkin that keeps spans in memory."""
    try:
        jar = class_path("zipkin", print, Path(__file__).parent)
    except NotFetched as problem:
        pytest.skip(str(problem))
    with keep_free_port() as kept:
        port = kept.getsockname()[1]
    found = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("zipkin") / "zipkin.log"
    with log.open("w", encoding="utf-8") as said:
        server = subprocess.Popen([java(), f"-DQUERY_PORT={port}", "-jar", jar], stdout=said, stderr=said)
        try:
            until(lambda: asked(f"{found}/health"), f"Zipkin is up: {log}", limit_s=100)
            yield found
        finally:
            server.kill()
            server.wait(30)


def asked(url: str, body: Any = None) -> bool:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return bool(answer.status < 300)
    except OSError:
        return False


def as_zipkin(one: Span) -> dict[str, Any]:
    """A span as its API of version 2 takes it, as a collector sends it."""
    said: dict[str, Any] = {
        "traceId": one.trace_id, "id": one.span_id, "name": one.name, "timestamp": one.start_ns // 1000,
        "duration": max(1, (one.end_ns - one.start_ns) // 1000), "localEndpoint": {"serviceName": one.service},
        "tags": {name: str(value) for name, value in one.attributes.items()},
    }  # fmt: skip
    if one.parent_span_id:
        said["parentId"] = one.parent_span_id
    if one.kind != "internal":
        said["kind"] = one.kind.upper()
    if one.status == "error":
        said["tags"] |= {"error": one.status_message, "otel.status_code": "ERROR"}
    return said


def story(incident: str, seed: int, begin_ms: int) -> list[Span]:
    """Spans of one incident, one below the other by chance."""
    dice = random.Random(seed)
    given: dict[str, Any] = {"trace_id": f"{seed + 1:032x}", "attributes": {"incident.id": incident}}
    spans = [span("report", begin_ms, begin_ms + 50, service="gateway", kind="server", **given)]
    for number in range(dice.randrange(1, MOST)):
        parent = dice.choice(spans)
        start = parent.start_ns // 1_000_000 + dice.randrange(1, 40)
        kind, failed = dice.choice(["internal", "client", "server"]), dice.random() < 0.2
        status: dict[str, Any] = {"status": "error", "status_message": "UNAVAILABLE"} if failed else {}
        service = dice.choice(["health", "traffic", "sagas"])
        spans.append(
            span(f"work {number}", start, start + dice.randrange(1, 30), parent, service, kind=kind, **status, **given)
        )
    return spans


def test_each_of_many_incidents_comes_back_as_the_same_tree_with_the_same_critical_path(address: str) -> None:
    # Whole milliseconds: Zipkin keeps no nanoseconds.
    now = int(time.time()) * 1000 - 3_600_000
    stories: dict[str, Sequence[Span]] = {f"inc-{n:012x}": story(f"inc-{n:012x}", n, now + n) for n in range(INCIDENTS)}
    for spans in stories.values():
        assert asked(f"{address}/api/v2/spans", [as_zipkin(one) for one in spans])
    for incident, spans in stories.items():
        until(lambda i=incident, s=spans: len(zipkin.spans_of(i, address)) == len(s), "its spans are there")  # type: ignore[misc]
        found = zipkin.spans_of(incident, address)
        assert edges(found) == edges(spans)
        assert {one.span_id for one in found if one.status == "error"} == {
            one.span_id for one in spans if one.status == "error"
        }
        told = [[part.span.span_id for part in longest(build(some)) if not part.pause] for some in (found, spans)]
        assert told[0] == told[1]
