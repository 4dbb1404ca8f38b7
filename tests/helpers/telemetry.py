"""What a mesh tells of itself, held against the registries of it: spans, what happens in them, lines, fields."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan

from citybrain.local.city import ROOT
from citybrain.observability import logs, names, tracing
from citybrain.observability.log_fields import ACCESS, COMMON, FIELDS, LINES
from citybrain.observability.span_kinds import ATTRIBUTES, EVENTS, OF_GATEWAY, SPANS, Holds, kind_of
from citybrain.observability.spans import Span, SpanEvent
from citybrain.observability.trace_store import TraceStore

# Words and stacks may be any text, and are looked at by tests of what stands in them.
_FORMS: dict[Holds, re.Pattern[str]] = {
    "name": re.compile(r"[!-~]{0,200}"),
    "id": re.compile(r"[^\s\"']{0,300}"),
    "number": re.compile(r"[-+0-9.:TZ]*[a-zA-Zμ]{0,2}|True|False|None"),
    "place": re.compile(r"[^\s]*(?: [^\s]*)*"),
}


def everything() -> set[str]:
    """Whatever is registered, and has to be told somewhere."""
    attributes = {f"attribute {name}" for name in ATTRIBUTES}
    return (
        {f"span {one.name} {one.kind}" for one in SPANS}
        | attributes
        | {f"happens {name}" for name in EVENTS}
        | {f"field {name}" for name in (*COMMON, *FIELDS)}
    )


def marked() -> set[str]:
    """What tests are marked with that tell it: `@pytest.mark.tells("span undo {step} internal")`."""
    found = set[str]()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.tells(" in text:
            found |= {name for one in ast.walk(ast.parse(text)) for name in _told_by(one)}
    return found


def _told_by(node: ast.AST) -> list[str]:
    is_mark = isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.tells"
    return [one.value for one in node.args if isinstance(one, ast.Constant)] if is_mark else []  # type: ignore[attr-defined,misc]


def wrong_spans(spans: Iterable[Span]) -> tuple[set[str], set[str]]:
    """What of these spans is not registered; and what was told that is."""
    wrong, told = set[str](), set[str]()
    for span in spans:
        if span.service == names.GATEWAY:
            wrong |= _wrong("gateway", span.attributes, OF_GATEWAY)
            continue
        kind = kind_of(span.name, span.kind)
        if kind is None:
            wrong.add(f"the span {span.name} {span.kind} is not registered")
            continue
        told |= {f"span {kind.name} {kind.kind}", *(f"attribute {name}" for name in span.attributes)}
        wrong |= _wrong(kind.name, span.attributes, ATTRIBUTES) | _amiss(kind.name, span.attributes, kind.has, kind.may)
        for event in span.events:
            told |= {f"happens {event.name}", *(f"attribute {name}" for name in event.attributes)}
            if event.name not in kind.events:
                wrong.add(f"{event.name} may not happen in {kind.name}")
            else:
                wrong |= _wrong(event.name, event.attributes, ATTRIBUTES) | _amiss(
                    event.name, event.attributes, *EVENTS[event.name]
                )
    return wrong, told


def wrong_lines(lines: Iterable[Mapping[str, Any]]) -> tuple[set[str], set[str]]:
    """The same of lines of a log."""
    holds = {name: what for name, (what, _) in (COMMON | FIELDS).items()}
    wrong, told = set[str](), set[str]()
    for line in lines:
        message = line.get("message", "")
        told |= {f"field {name}" for name in line}
        wrong |= _wrong(message, line, holds)
        # What libraries say is not ours; neither is what tests say.
        own = LINES.get(message)
        if own is not None:
            wrong |= _amiss(message, line, ("time", "level", "service", "message"), (*COMMON, *own))
    return wrong, told


def wrong_in_access_log(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    """What of the lines of the gateway's own log is not registered, or is missing."""
    return set().union(*(_wrong("access", line, ACCESS) | _amiss("access", line, tuple(ACCESS), ()) for line in lines))


def lines_in(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log file."""
    for text in file.read_text(encoding="utf-8").splitlines():
        yield json.loads(text)


def spans_in(file: Path) -> list[Span]:
    """All spans of a file of spans."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        traces = [str(trace) for (trace,) in database.execute("SELECT DISTINCT trace_id FROM spans")]
    with contextlib.closing(TraceStore(file)) as store:
        return [span for trace in traces for span in store.by_trace(trace)]


def _wrong(where: str, values: Mapping[str, Any], registered: Mapping[str, Holds]) -> set[str]:
    found = set()
    for name, value in values.items():
        holds = registered.get(name)
        if holds is None:
            found.add(f"{name} of {where} is not registered")
        elif (form := _FORMS.get(holds)) is not None:
            odd = [one for one in _leaves(value) if not form.fullmatch(str(one))]
            found |= {f"{name} of {where} holds {one!r}, which is no {holds}" for one in odd}
    return found


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _amiss(where: str, values: Mapping[str, Any], has: Iterable[str], may: Iterable[str]) -> set[str]:
    missing = {f"{name} is missing in {where}" for name in set(has) - values.keys()}
    return missing | {f"{name} may not stand in {where}" for name in values.keys() - {*has, *may}}


@dataclass
class Heard:
    """What the code of this process has told."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def told(self) -> set[str]:
        """What of it is registered."""
        return wrong_spans(self.spans)[1] | wrong_lines(self.lines)[1]


@contextmanager
def listening() -> Iterator[Heard]:
    """Hears every line and every span of this process, whoever gets them besides."""
    heard = Heard()
    # Whoever listens already goes on to.
    before = tracing._Correlation.on_end

    def hear(correlation: tracing._Correlation, span: ReadableSpan) -> None:
        heard.spans.append(_span(span))
        before(correlation, span)

    def keep(_: Any, __: str, line: Any) -> Any:
        # As it is written: of an object little is left there.
        heard.lines.append(json.loads(logs._dumps(line)))
        return line

    logs.logger("test")
    # In place: loggers that were used before hold this very list. The last one makes the text of it.
    steps = structlog.get_config()["processors"]
    steps.insert(len(steps) - 1, keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing._Correlation, "on_end", hear)
        try:
            yield heard
        finally:
            steps.remove(keep)


# What is kept, and not told: it is sealed, or shown by the rules of its contract. Everything else in a file is a key or a name.
_CONTENT = {"events.data", "events.sealed", "rows.row", "batches.data", "snapshots.state", "dropped.reason"}


def places(heard: Heard, data: Path, reader: InMemoryMetricReader) -> Iterator[tuple[str, str]]:
    """Whatever is told, and every key, name and content in a folder of data: the kind of place, and what stands there."""
    yield from ((f"line {line['message']}", str(line)) for line in heard.lines)
    yield from ((f"span {span.name}", str(span)) for span in heard.spans)
    numbers = reader.get_metrics_data()
    for resource in numbers.resource_metrics if numbers is not None else ():
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in metric.data.data_points:
                yield f"metric {metric.name}", f"{dict(point.attributes or {})} {getattr(point, 'exemplars', '')}"
    for path in sorted(data.rglob("*")):
        yield "file", path.name
        if path.suffix == ".db":
            yield from _keys(path)


def _keys(file: Path) -> Iterator[tuple[str, str]]:
    """Streams, topics, keys of rows, ids of requests and whatever else is no content; and what is."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        for table in [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]:
            rows = database.execute(f'SELECT * FROM "{table}"')
            names = [f"{table}.{column[0]}" for column in rows.description]
            for name, value in (pair for row in rows for pair in zip(names, row, strict=True)):
                kind = "content" if name in _CONTENT else "key"
                yield f"{kind} {name}", value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _span(span: ReadableSpan) -> Span:
    context = span.get_span_context()
    assert context is not None
    return Span(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_span_id=f"{span.parent.span_id:016x}" if span.parent else "",
        service=str(span.resource.attributes[names.SERVICE_NAME]),
        name=span.name,
        kind=span.kind.name.lower(),
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        status=span.status.status_code.name.lower(),
        status_message=span.status.description or "",
        attributes=dict(span.attributes or {}),
        events=tuple(SpanEvent(one.name, one.timestamp, dict(one.attributes or {})) for one in span.events),
    )
