"""Spans, attributes, log lines and their fields are a contract: the code tells what is registered, and no more."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from citybrain.local.city import ROOT
from citybrain.observability import names
from citybrain.observability.log_fields import COMMON, FIELDS, LINES
from citybrain.observability.numbers import BY_NAME, LABELS
from citybrain.observability.span_kinds import ATTRIBUTES, EVENTS, HOLDS, LEFT_OUT, OF_GATEWAY, SPANS, kind_of
from citybrain.observability.spans import spans_of
from tests.helpers.telemetry import everything, marked

ROOMS = ("cli", "event_store", "gateway", "local", "mesh", "observability", "sagas", "services")
TELLS = re.compile(r"log\b|logger\(|[sS]pan\b|record_exception|set_attribute|add_event")
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
# What stands on all spans of a process, and what such a thing is set to.
OF_PROCESS = {names.SERVICE_NAME, names.SERVICE_NAMESPACE, names.NAMESPACE, names.GATEWAY}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the code of the city, and where it stands."""
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        text = path.read_text(encoding="utf-8")
        # Most files tell nothing, and reading all takes long.
        for node in ast.walk(ast.parse(text)) if TELLS.search(text) else ():
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


CALLS = list(calls())


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for where, call in CALLS:
        called = call.func
        if isinstance(called, ast.Attribute) and called.attr in LEVELS and "log" in ast.unparse(called.value).lower():
            yield where, call


def messages(call: ast.Call) -> list[str]:
    """The messages that a call may write; none: they are made up when it runs."""
    said = call.args[0] if call.args else None
    either = [said.body, said.orelse] if isinstance(said, ast.IfExp) else [said]
    return [one.value for one in either if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def fields(call: ast.Call) -> tuple[str, ...]:
    given = [
        name for one in call.keywords for name in (("error", "exception") if one.arg == "exc_info" else (one.arg or "**",))
    ]
    return tuple(dict.fromkeys(given))


def test_every_line_of_the_log_is_registered_with_its_fields_and_every_registered_one_is_written() -> None:
    written: dict[str, set[str]] = {}
    for where, call in log_calls():
        assert messages(call), f"{where}: the message of a line is a text that never changes; what changes is a field"
        assert len(call.args) == 1, f"{where}: what changes in a line is a field with a name"
        for message in messages(call):
            written.setdefault(message, set()).update(fields(call))
    assert written == {message: set(of) for message, of in LINES.items()}


def test_every_field_is_registered_and_stands_in_some_line() -> None:
    assert {field for of in LINES.values() for field in of} == FIELDS.keys()
    assert not FIELDS.keys() & COMMON.keys()
    assert all(re.fullmatch("[a-z][a-z_]*", field) for field in (*FIELDS, *COMMON))


def test_no_text_of_an_error_is_put_into_a_line() -> None:
    """An error itself is given: the kit says of it what may be said."""
    for where, call in log_calls():
        for one in call.keywords:
            for inner in ast.walk(one.value):
                made = ast.unparse(inner.func) if isinstance(inner, ast.Call) else ""
                assert made != "repr", f"{where}: {one.arg} would show all of it"
                plain = made == "str" and isinstance(inner, ast.Call) and isinstance(inner.args[0], ast.Name)
                assert not plain, f"{where}: give {one.arg} as it is; of an error only what may be told is written"
                assert not isinstance(inner, ast.JoinedStr), f"{where}: {one.arg} is put together: make several fields of it"


def test_spans_are_made_by_the_kit_alone_which_leaves_the_texts_of_errors_out() -> None:
    made = [
        where for where, call in CALLS
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("start_span", "start_as_current_span", "record_exception", "set_attributes")
    ]  # fmt: skip
    assert [where.partition(":")[0] for where in made] == ["observability/tracing.py"]


def test_every_span_is_registered_by_what_its_name_begins_with() -> None:
    begun = set()
    for where, call in CALLS:
        if not (isinstance(call.func, ast.Name) and call.func.id in ("WorkSpan", "CurrentSpan")):
            continue
        name = call.args[1]
        if isinstance(name, ast.JoinedStr):
            first = name.values[0]
            assert isinstance(first, ast.Constant), where
            begun.add(first.value)
        else:
            # The path of a method, and what a saga does.
            assert ast.unparse(name) in ("self._path", "path", "what"), where
    assert begun == {one.begins for one in SPANS} - {"", "step ", "undo "}


def test_every_attribute_of_a_span_is_registered_and_every_registered_one_is_set() -> None:
    known = {name: value for name, value in vars(names).items() if name.isupper()}
    used = set[str]()
    for where, call in CALLS:
        called = ast.unparse(call.func).rpartition(".")[2]
        if called not in ("set_attribute", "add_event", "WorkSpan", "CurrentSpan"):
            continue
        keys = [call.args[0]] if called in ("set_attribute", "add_event") else []
        keys += [key for one in ast.walk(call) if isinstance(one, ast.Dict) for key in one.keys if key is not None]
        for key in keys:
            text = ast.unparse(key)
            assert text.startswith("names."), f"{where}: {text} is written out: names of attributes stand in names.py"
            used.add(known[text.removeprefix("names.")])
    # Those of a handled event are put together before its span is made.
    used |= {names.EVENT_ID, names.EVENT_TYPE, names.CONSUMER_GROUP}
    assert used == {*ATTRIBUTES, *EVENTS}


def test_names_follow_the_semantic_conventions_in_their_form() -> None:
    assert all(ATTRIBUTE.fullmatch(name) for name in (*ATTRIBUTES, *LABELS, *BY_NAME))


def test_every_name_is_of_something_that_is_registered() -> None:
    told = {value for name, value in vars(names).items() if name.isupper()}
    assert told - OF_PROCESS == {*ATTRIBUTES, *EVENTS, *LABELS, *BY_NAME}


def test_of_every_attribute_and_field_it_is_said_what_it_may_hold() -> None:
    registered = {*ATTRIBUTES.values(), *OF_GATEWAY.values(), *(holds for holds, _ in (COMMON | FIELDS).values())}
    assert registered == HOLDS.keys()
    assert all(about.endswith(".") for _, about in (COMMON | FIELDS).values())
    on_spans = {name for one in SPANS for name in (*one.has, *one.may)}
    in_events = {name for has, may in EVENTS.values() for name in (*has, *may)}
    assert on_spans | in_events == ATTRIBUTES.keys()
    assert {event for one in SPANS for event in one.events} == EVENTS.keys()


def test_a_mark_of_a_test_names_something_that_is_registered() -> None:
    assert marked() <= everything()


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("handle citybrain.health.v1.BedReserved", "consumer", "handle {event.type}"),
        ("citybrain.health.v1.HealthService/ReserveBed", "client", "{rpc.method}"),
        ("step reserve_bed", "internal", "step {step}"),
        ("step reserve_bed", "producer", None),
        ("reserve_bed", "internal", None),
    ],
)
def test_the_kind_of_a_span_is_known_by_its_name(name: str, kind: str, found: str | None) -> None:
    one = kind_of(name, kind)
    assert (one.name if one is not None else None) == found


def test_the_message_of_an_error_that_the_gateway_writes_down_is_not_kept() -> None:
    said = {"grpc.message": "the call of Wang is closed", "grpc.status_code": "9"}
    attributes = [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in said.items()]
    spans = [ScopeSpans(spans=[trace_pb2.Span(name="/a.v1.B/C", attributes=attributes)])]
    (kept,) = spans_of(ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=spans)]))
    assert kept.attributes == {"grpc.status_code": "9"}
    assert not set(LEFT_OUT) & OF_GATEWAY.keys()
