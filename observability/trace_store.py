"""Spans in one SQLite file, found by incident or trace. Their number is limited: the oldest are deleted first."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from citybrain.observability.spans import Link, Span, SpanEvent

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spans (
    seq INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_span_id TEXT NOT NULL,
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    status TEXT NOT NULL,
    status_message TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    attributes TEXT NOT NULL,
    links TEXT NOT NULL,
    events TEXT NOT NULL,
    UNIQUE (trace_id, span_id)
);
CREATE INDEX IF NOT EXISTS spans_incident ON spans (incident_id) WHERE incident_id != '';
"""
_COLUMNS = (
    "trace_id, span_id, parent_span_id, service, name, kind, start_ns, end_ns, status, status_message, incident_id,"
    " attributes, links, events"
)

# Said twice, so that SQLite takes the index: it holds spans of incidents only, and a parameter might be empty.
OF_INCIDENT = "trace_id IN (SELECT trace_id FROM spans WHERE incident_id = ? AND incident_id != '')"
"""Which spans are in a trace of an incident."""


class TraceStore:
    """The spans of a mesh. May be used from several threads, and read by other processes while one writes."""

    def __init__(self, path: Path, *, max_spans: int = 500_000) -> None:
        """Opens the file, and makes it if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_spans = max_spans
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def insert(self, spans: Iterable[Span]) -> None:
        """Keeps spans. Known ones are skipped, because exporters repeat a request without an answer."""
        rows = [_row(span) for span in spans]
        if not rows:
            return
        marks = ", ".join("?" * len(rows[0]))
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(f"INSERT OR IGNORE INTO spans ({_COLUMNS}) VALUES ({marks})", rows)
                self._db.execute("DELETE FROM spans WHERE seq <= (SELECT max(seq) FROM spans) - ?", (self._max_spans,))
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk has ended the transaction already: a ROLLBACK would fail and hide the first error.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def by_trace(self, trace_id: str) -> list[Span]:
        """All spans of one trace, by start."""
        return self._select("trace_id = ?", trace_id)

    def by_incident(self, incident_id: str) -> list[Span]:
        """All spans of every trace in which some span belongs to the incident, by start. Of an empty id there are none."""
        return self._select(OF_INCIDENT, incident_id)

    def incidents(self, limit: int = 50) -> list[str]:
        """The incidents that have spans, the newest first."""
        query = "SELECT incident_id FROM spans WHERE incident_id != '' GROUP BY incident_id ORDER BY max(seq) DESC LIMIT ?"
        with self._lock:
            return [row[0] for row in self._db.execute(query, (limit,))]

    def count(self) -> int:
        """How many spans are kept."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM spans").fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    def _select(self, condition: str, value: str) -> list[Span]:
        query = f"SELECT {_COLUMNS} FROM spans WHERE {condition} ORDER BY start_ns, seq"
        with self._lock:
            return [_span(row) for row in self._db.execute(query, (value,))]


def _row(span: Span) -> tuple[object, ...]:
    return (
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.service,
        span.name,
        span.kind,
        span.start_ns,
        span.end_ns,
        span.status,
        span.status_message,
        span.incident_id,
        _json(span.attributes),
        _json([[link.trace_id, link.span_id] for link in span.links]),
        _json([[event.name, event.time_ns, event.attributes] for event in span.events]),
    )


def _span(row: Sequence[object]) -> Span:
    (
        trace_id, span_id, parent, service, name, kind, start_ns, end_ns, status, message, _, attributes, links, events,
    ) = row  # fmt: skip
    return Span(
        trace_id=str(trace_id),
        span_id=str(span_id),
        parent_span_id=str(parent),
        service=str(service),
        name=str(name),
        kind=str(kind),
        start_ns=int(str(start_ns)),
        end_ns=int(str(end_ns)),
        status=str(status),
        status_message=str(message),
        attributes=json.loads(str(attributes)),
        links=tuple(Link(*pair) for pair in json.loads(str(links))),
        events=tuple(SpanEvent(*parts) for parts in json.loads(str(events))),
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
