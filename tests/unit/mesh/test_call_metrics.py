"""Every call is counted once, with how it ended: also one that is refused, that nobody waits for any more, or that fails."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.probe.v1 import guarded_pb2 as pb
from citybrain.probe.v1.guarded_pb2_grpc import GuardedServiceStub
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import format_trace_id
from typing_extensions import override

from citybrain.mesh.errors import NotFound
from citybrain.mesh.runtime.greenlets import off_loop, wait
from citybrain.mesh.service import Service, rpc
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.observability import names
from citybrain.observability.metrics import Metrics

CONTRACT = "citybrain.probe.v1.GuardedService"
BEGUN = threading.Event()


class Counted(Service):
    """Does what the request says."""

    name = "counted"

    @rpc
    def Show(self, request: pb.ShowRequest) -> pb.ShowResponse:
        if request.answer.open == "missing":
            raise NotFound("there is none")
        if request.answer.open == "wrong":
            raise ValueError("a fault of the service")
        if request.answer.open == "slow":
            BEGUN.set()
            wait(asyncio.sleep(60))
        return request.answer

    @rpc
    def ShowSecret(self, request: pb.ShowRequest) -> pb.SecretResponse:
        return pb.SecretResponse()

    @rpc
    def Follow(self, request: pb.ShowRequest) -> Iterator[pb.ShowResponse]:
        yield request.answer
        yield request.answer

    @rpc
    def Inner(self, request: pb.ShowRequest) -> pb.ShowResponse:
        return request.answer


def points_of(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data: Any = reader.get_metrics_data()
    return [
        point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
        if point.attributes[names.CITY_SERVICE] == "counted"
    ]


def ended(
    tmp_path: Path,
    call: Callable[[GuardedServiceStub, dict[str, Any]], object],
    token: bool = True,
    reader: InMemoryMetricReader | None = None,
) -> dict[str, int]:
    """How many calls ended with each status, as the metrics have it, after one call."""
    reader = reader or InMemoryMetricReader()

    def counted() -> dict[str, int]:
        return {
            f"{point.attributes[names.RPC_METHOD].rpartition('/')[2]} {point.attributes[names.STATUS_CODE]}": point.count
            for point in points_of(reader, names.CALL_DURATION)
        }

    def test(parts: Parts) -> dict[str, int]:
        parts.add(Counted, CONTRACT)
        parts.start()
        options = {"metadata": [parts.bearer()] if token else []}

        def ask() -> None:
            with grpc.insecure_channel(parts.address) as channel, contextlib.suppress(grpc.RpcError):
                call(GuardedServiceStub(channel), options)

        off_loop(ask)
        # The caller may have its answer a moment before the call has ended here.
        parts.until(lambda: bool(counted()))
        return counted()

    return on_parts(tmp_path, test, metrics=Metrics(reader))


def said(text: str) -> pb.ShowRequest:
    return pb.ShowRequest(answer=pb.ShowResponse(open=text))


def given_up(stub: GuardedServiceStub, options: dict[str, Any]) -> None:
    call = stub.Show.future(said("slow"), **options)
    BEGUN.wait(30)
    call.cancel()


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda stub, options: stub.Show(said("a"), **options), "Show OK"),
        (lambda stub, options: stub.Show(said("missing"), **options), "Show NOT_FOUND"),
        (lambda stub, options: stub.Show(said("wrong"), **options), "Show INTERNAL"),
        (given_up, "Show CANCELLED"),
        (lambda stub, options: list(stub.Follow(said("a"), **options)), "Follow OK"),
    ],
    ids=["answered", "refused by the service", "failed", "given up", "a stream"],
)
def test_a_call_is_counted_with_how_it_ended(tmp_path: Path, call: Any, wanted: str) -> None:
    BEGUN.clear()
    assert ended(tmp_path, call) == {wanted: 1}


def test_a_call_whose_deadline_passes_is_counted_by_whoever_saw_that_first(tmp_path: Path) -> None:
    found = ended(tmp_path, lambda stub, options: stub.Show(said("slow"), timeout=0.5, **options))
    # The service itself, or the caller, who hangs up.
    assert found in ({"Show DEADLINE_EXCEEDED": 1}, {"Show CANCELLED": 1})


def test_a_call_without_a_token_is_counted_as_refused(tmp_path: Path) -> None:
    assert ended(tmp_path, lambda stub, options: stub.Show(said("a"), **options), token=False) == {"Show UNAUTHENTICATED": 1}


def test_a_call_that_was_not_let_in_is_counted_with_the_reason(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    ended(tmp_path, lambda stub, options: stub.Show(said("a"), **options), token=False, reader=reader)
    (refused,) = points_of(reader, names.CALLS_REFUSED)
    assert refused.value == 1
    assert (refused.attributes[names.STATUS_CODE], refused.attributes[names.ERROR_TYPE]) == ("UNAUTHENTICATED", "NO_TOKEN")


def test_a_call_that_was_let_in_counts_as_refused_nowhere(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    ended(tmp_path, lambda stub, options: stub.Show(said("missing"), **options), reader=reader)
    assert points_of(reader, names.CALLS_REFUSED) == []


@pytest.mark.parametrize("call", ["Show", "Follow"])
def test_how_long_a_call_took_leads_to_its_trace(tmp_path: Path, call: str) -> None:
    reader, trace_id = Exemplars(), "0af7651916cd43dd8448eb211c80319c"

    def ask(stub: GuardedServiceStub, options: dict[str, Any]) -> object:
        options["metadata"] = [*options["metadata"], ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01")]
        answer: Any = getattr(stub, call)(said("a"), **options)
        return list(answer) if call == "Follow" else answer

    ended(tmp_path, ask, reader=reader)
    assert {format_trace_id(one) for one in reader.traces} == {trace_id}


class Exemplars(InMemoryMetricReader):
    """Keeps the trace of every exemplar: they are told only once."""

    def __init__(self) -> None:
        super().__init__()
        self.traces: set[int] = set()

    @override
    def get_metrics_data(self) -> Any:
        data = super().get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.name == names.CALL_DURATION:
                    points: Any = metric.data.data_points
                    self.traces |= {one.trace_id for point in points for one in point.exemplars}
        return data
