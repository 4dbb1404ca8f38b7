"""Whatever bytes a caller's header holds: the span that carries it is kept, and so are all others of the same batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from citybrain.observability.lenient import read
from citybrain.observability.receiver import Receiver
from citybrain.observability.spans import spans_of
from citybrain.observability.tracing import Tracing

MARK = "MARKMARK"
BAD = b"\xff\xfe" * 4
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def batch() -> ExportTraceServiceRequest:
    """A good span, and one with a text of a caller's wherever a text may be."""
    text = AnyValue(string_value=MARK)
    nested = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=MARK, value=text)]))
    values = AnyValue(array_value=ArrayValue(values=[text, nested]))
    odd = Span(trace_id=b"t" * 16, span_id=b"o" * 8, name=MARK, trace_state=MARK, start_time_unix_nano=2**64 - 1)
    odd.kind = -7  # type: ignore[assignment]
    odd.attributes.append(KeyValue(key="user_agent", value=values))
    odd.events.append(Span.Event(name=MARK))
    odd.links.append(Span.Link(trace_state=MARK))
    odd.status.message, odd.status.code = MARK, -3  # type: ignore[assignment]
    good = Span(trace_id=b"t" * 16, span_id=b"g" * 8, name="好", start_time_unix_nano=5, end_time_unix_nano=9)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[good, odd])])])


def spoilt(text: bytes) -> bytes:
    """The batch as it is sent, with other bytes where the texts of the caller stand."""
    return batch().SerializeToString().replace(MARK.encode(), text)


@given(st.binary(min_size=len(MARK), max_size=len(MARK)))
def test_whatever_bytes_stand_in_texts_every_span_of_a_batch_is_read(text: bytes) -> None:
    good, odd = spans_of(read(ExportTraceServiceRequest, spoilt(text)))
    assert (good.name, good.start_ns, good.end_ns) == ("好", 5, 9)
    meant = text.decode(errors="replace")
    assert (odd.name, odd.status_message, odd.events[0].name) == (meant, meant, meant)
    assert odd.attributes == {"user_agent": [meant, {meant: meant}]}


@given(st.binary(max_size=60))
def test_what_is_no_batch_is_refused_in_one_way(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        list(spans_of(read(ExportTraceServiceRequest, data)))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "traces.db")
    receiver.start()
    yield receiver
    receiver.stop()


def test_one_span_with_bytes_that_are_no_text_costs_no_other_and_nothing_is_printed(
    receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    with grpc.insecure_channel(receiver.endpoint.removeprefix("http://")) as channel:
        export = channel.unary_unary(EXPORT, None, response_deserializer=ExportTraceServiceResponse.FromString)
        export(spoilt(BAD), timeout=60)
        with pytest.raises(grpc.RpcError) as refused:
            export(b"\xff" * 9, timeout=60)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    kept = receiver.store.by_trace((b"t" * 16).hex())
    assert {(span.name, span.kind, span.status) for span in kept} == {
        ("好", "internal", "unset"),
        ("\ufffd" * 8, "internal", "unset"),
    }
    assert capfd.readouterr().err == ""


def test_half_a_letter_in_a_span_of_a_service_costs_no_other(receiver: Receiver, capfd: pytest.CaptureFixture[str]) -> None:
    tracing = Tracing(OTLPSpanExporter(endpoint=receiver.endpoint, insecure=True, timeout=5))
    tracer = tracing.tracer("health")
    with tracer.start_as_current_span("outer") as outer:
        with tracer.start_as_current_span("inner") as inner:
            inner.set_status(trace.StatusCode.ERROR, "what was \ud800 asked for")
        with tracer.start_as_current_span("beside"):
            pass
    tracing.shutdown()
    kept = receiver.store.by_trace(f"{outer.get_span_context().trace_id:032x}")
    assert {span.name for span in kept} == {"outer", "beside"}
    assert "Traceback" not in capfd.readouterr().err
