"""Nothing that is about a person, and no text that somebody wrote, comes into what a mesh tells, or into a key.

All services run in this process, with the sagas. Every method is called with marks in its texts and numbers of persons: with
requests that are let in, that are refused, and by callers who may not. Then each method, reaction, timer and window fails with
an error whose text holds what it was given. Afterwards lines, spans, metrics, topics, streams and keys are searched for marks.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from citybrain.probe.v1 import events_pb2 as ev
from citybrain.probe.v1 import probe_service_pb2 as pb
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from citybrain.mesh.entrypoints.calls import Rpc
from citybrain.mesh.entrypoints.passed import Passed
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.entrypoints.timers import Timer
from citybrain.mesh.entrypoints.windows import Windows
from citybrain.mesh.errors import ServiceError, Unavailable
from citybrain.mesh.identifiers import citizen_id_problem, uscc_problem
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.service import Log, Service, Streams, View, Window, rpc
from citybrain.mesh.startup.entry import load_entry
from citybrain.mesh.testing import running
from citybrain.mesh.testing.parts import Parts, greenlets
from citybrain.mesh.testing.running import Running
from citybrain.mesh.testing.setting import MORNING
from citybrain.observability.logs import set_level
from citybrain.observability.metrics import Metrics
from tests.helpers.contracts import MANIFESTS, services
from tests.helpers.marks import Filler, Marks
from tests.helpers.telemetry import Heard, listening, places

TURNS = 2
LIMIT_S = 20
PROBE = "citybrain.probe.v1.ProbeService"
# Whose it is, or how to reach them: sealed, or only a random id is kept in its place.
SEALED = (".phone", ".plate", ".uscc", ".citizen_id", "Contact.name")
# Roads first: most of the city's work is on one.
FIRST = "TrafficService"


@dataclass
class Told:
    """Where marks were found: the kind of place, the field whose mark it is, and what stands there."""

    found: set[tuple[str, str, str]] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    looked: Counter[str] = field(default_factory=Counter)


class City:
    """All services in this process, and a caller who marks what they send."""

    def __init__(self, data: Path) -> None:
        self.told = Told()
        self.data = data
        self.marks = Marks()
        self.reader = InMemoryMetricReader()
        self.parts = greenlets().run(self._begin)
        self.runs = {one.manifest.grpc: Running(self.parts, one) for one in self.parts.containers}
        self.any = next(iter(self.runs.values()))
        self.any.advance(to=MORNING)

    def _begin(self) -> Parts:
        parts = Parts(self.data, metrics=Metrics(self.reader))
        for manifest in MANIFESTS:
            parts.add(load_entry(manifest))
        parts.start()
        return parts

    def close(self) -> None:
        for run in self.runs.values():
            run.hang_up()
        greenlets().run(self.parts.stop)

    def call(self, service: ServiceDescriptor, method: Any, request: Any, **claims: Any) -> None:
        run = self.runs[service.full_name]
        try:
            answer = run.fire(method.name, [request] if method.client_streaming else request, deadline_s=LIMIT_S, **claims)
            if method.server_streaming:
                answer.cancel()
            else:
                self.marks.learn(answer)
                self.told.answered.add(method.full_name)
        except ServiceError as error:
            self.told.refused[error.code.name] += 1
        except ValueError:
            self.told.failed["call"] += 1

    def work(self) -> None:
        """Calls every method, turn by turn, so that what one makes the next ones use; and lets city time pass."""
        ordered = sorted(services(), key=lambda one: one.name != FIRST)
        for turn in range(TURNS):
            filler = Filler(self.marks, turn)
            for service in ordered:
                for method in service.methods:
                    self.call(service, method, filler.request(method), caller="wang")
            for heard in self.any.events():
                self.marks.learn(heard.data)
            self.any.advance(61)
        self.any.rest()
        for service in ordered:
            for method in service.methods:
                self.call(service, method, filler.refused(method))
                self.call(service, method, filler.request(method), scopes=["nothing.read"])

    def fail(self, heard: Heard) -> None:
        """The same where everything fails, with an error that holds what it was given."""
        filler = Filler(self.marks, 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Container, "_live", failing(Container._live))
            for service in services():
                for method in service.methods:
                    self.call(service, method, filler.request(method))
            for run in self.runs.values():
                self._fail_others(run, filler)
            # Through the log too, where an event that fails is tried again, and told of.
            for run in self.runs.values():
                for kind in sorted({kind for one in of(run, Subscribe) for kind in one.types})[:2]:
                    self._appended(run, kind, filler)
            greenlets().run(functools.partial(self.parts.until, lambda: self._groups_failed(heard) > 4))
        self.told.failed["group"] = self._groups_failed(heard)

    @staticmethod
    def _groups_failed(heard: Heard) -> int:
        return len({one["group"] for one in heard.lines if one["message"] == "event failed and is tried again"})

    def _appended(self, run: Running, kind: str, filler: Filler) -> None:
        # An event of an upcaster's past is not written any more.
        with contextlib.suppress(ServiceError, LookupError):
            run.tell(filler.message(descriptor_pool.Default().FindMessageTypeByName(kind), kind), stream=f"marks/{kind}")

    def _fail_others(self, run: Running, filler: Filler) -> None:
        for one in of(run, Subscribe, Timer, Windows, Passed):
            given: list[Any] = [None]
            if isinstance(one, Subscribe):
                kinds = [descriptor_pool.Default().FindMessageTypeByName(kind) for kind in one.types]
                given = [filler.message(kind, f"{kind.full_name} heard") for kind in kinds]
            elif isinstance(one, Windows):
                mark = self.marks.mark(OF_WINDOW, one.label)
                given = [Window(0, 60_000_000, {"channel": mark})]
            elif isinstance(one, Passed):
                given = [filler.message(one._owner.passed.DESCRIPTOR, one.label)]
            for what in given:
                with contextlib.suppress(ServiceError, LookupError):
                    try:
                        run.fire(one.method_name, what)
                    except ValueError:
                        self.told.failed[type(one).__name__] += 1

    def look(self, heard: Heard) -> None:
        for place, text in places(heard, self.data, self.reader):
            self.told.found |= {(place, whose, text[:300]) for whose in self.marks.found(text)}
            self.told.looked[place.partition(" ")[0]] += 1
        self.told.lines.update(line["message"] for line in heard.lines)


class _OfWindow:
    """Stands for the field of a reading: a window holds no message."""

    name = "reading"
    full_name = "a reading of a window"


OF_WINDOW = _OfWindow()


def of(run: Running, *kinds: type) -> Iterable[Any]:
    return [one for one in run._container.entrypoints if isinstance(one, kinds) and not isinstance(one, Rpc)]


def failing(live: Callable[..., None]) -> Callable[..., None]:
    """Work in which each method fails, as code does that cannot use what it was given: the error shows it."""

    def broken(*given: Any) -> None:
        raise ValueError(f"cannot use {[_shown(one) for one in given]}")

    def lives(self: Container, worker: Any, outcome: Any, run: Any, handle: Any) -> None:
        def fails(_: Any) -> Any:
            return broken(*worker.args) if run is None else run(broken)

        live(self, worker, outcome, fails, handle)

    return lives


def _shown(given: Any) -> str:
    return f"{getattr(given, 'data', '')} {getattr(given, 'states', '')} {given}".replace("\\", "\\\\")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    before = set_level("debug")
    with listening() as heard:
        city = City(tmp_path_factory.mktemp("city"))
        city.work()
        city.fail(heard)
        city.close()
        city.look(heard)
    set_level(before)
    return city.told


@pytest.mark.parametrize("service", [manifest.grpc.rpartition(".")[2] for manifest in MANIFESTS])
def test_what_callers_of_a_service_write_is_told_nowhere(told: Told, service: str) -> None:
    found = [one for one in told.found if one[1].startswith(f"{service}/") and not one[0].startswith("content")]
    assert not found, "\n".join(f"{whose} stands in a {place}: {text}" for place, whose, text in sorted(found))


def test_what_stands_in_events_and_readings_is_told_nowhere(told: Told) -> None:
    found = [one for one in told.found if "Service/" not in one[1] and not one[0].startswith("content")]
    assert not found, "\n".join(f"{whose} stands in a {place}: {text}" for place, whose, text in sorted(found))


def test_numbers_of_persons_and_whom_to_call_back_are_kept_nowhere_in_clear(told: Told) -> None:
    """Events that the test tells in place of a neighbour are not sealed: only what callers wrote counts."""
    found = [one for one in told.found if one[0].startswith("content") and "Service/" in one[1] and one[1].endswith(SEALED)]
    assert not found, "\n".join(f"{whose} stands in a {place}: {text}" for place, whose, text in sorted(found))
    assert any(place == "content events.data" for place, _, _ in told.found)


def test_enough_was_done_to_say_so(told: Told) -> None:
    """Where nothing is reached nothing is found."""
    methods = [method for service in services() for method in service.methods]
    assert len(told.answered) > len(methods) * 0.6
    assert told.refused["INVALID_ARGUMENT"] > len(methods) * 0.5 and told.refused["PERMISSION_DENIED"] > len(methods) * 0.9
    assert told.failed["call"] > len(methods) * 0.9
    assert all(told.failed[kind] for kind in ("Subscribe", "Every", "At", "Windows", "Passed", "group"))
    assert {"appended", "call refused", "call failed", "timer failed", "saga went on"} <= told.lines.keys()
    assert all(told.looked[kind] > 100 for kind in ("line", "span", "metric", "key"))


# -- that it would be found ---------------------------------------------------------------------------------------------------


class Leaky(Service):
    """Tells what it should not, in one place or another."""

    name = "leaky"
    log = Log()
    streams = Streams("notes", int, lambda count, event: count + 1)
    rows = View([ev.Written], lambda event: cast(ev.Written, event.data).text, lambda row, event: row or {}, row=dict[str, str])

    @rpc
    def Write(self, request: pb.WriteRequest) -> pb.WriteResponse:
        span = trace.get_current_span()
        match request.key:
            case "line":
                self.log.info("written", text=request.text)
            case "attribute":
                span.set_attribute("note", request.text)
            case "happens":
                span.add_event("noted", {"note": request.text})
            case "status":
                span.set_status(trace.Status(trace.StatusCode.ERROR, request.text))
            case "stream":
                self._write(request.text, "")
            case "row":
                self._write("k", request.text)
            case "error":
                raise ValueError(f"cannot use {request.text}")
            case "refusal":
                raise Unavailable(f"{request.text} is not known now", "NOT_KNOWN")
            case "object":
                self.log.error("failed", request=request, error=ValueError(request.text))
        return pb.WriteResponse()

    def _write(self, key: str, text: str) -> None:
        written = ev.Written(key=key, text=text)
        self.streams.handle(key, lambda count: [written], lambda count, events: None)


@pytest.mark.parametrize(
    ("leak", "place"),
    [
        ("line", "line written"),
        ("attribute", f"span {PROBE}/Write"),
        ("happens", f"span {PROBE}/Write"),
        ("status", f"span {PROBE}/Write"),
        ("stream", "key events.stream"),
        ("row", "key rows.key"),
        # What the kit keeps out.
        ("error", ""),
        ("refusal", ""),
        ("object", ""),
    ],
)
def test_a_mark_that_a_service_tells_is_found_and_what_the_kit_keeps_out_is_not(leak: str, place: str, tmp_path: Path) -> None:
    marks = Marks()
    mark = marks.mark(pb.WriteRequest.DESCRIPTOR.fields_by_name["text"], "ProbeService/Write")
    with listening() as heard, running(Leaky, contract=PROBE, folder=tmp_path) as leaky:
        with contextlib.suppress(ValueError, Unavailable):
            leaky.fire("Write", pb.WriteRequest(key=leak, text=mark))
        leaky.rest()
        found = {where for where, text in places(heard, tmp_path, InMemoryMetricReader()) if list(marks.found(text))}
    found = {where for where in found if not where.startswith("content")}
    assert (place in found) if place else not found


def test_a_mark_in_a_label_of_a_metric_and_in_the_name_of_a_file_is_found(tmp_path: Path) -> None:
    marks, reader = Marks(), InMemoryMetricReader()
    mark = marks.mark(pb.WriteRequest.DESCRIPTOR.fields_by_name["text"], "ProbeService/Write")
    Metrics(reader).of("health").refused("NOT_FOUND", mark)
    (tmp_path / f"{mark}.txt").touch()
    found = {where for where, text in places(Heard(), tmp_path, reader) if list(marks.found(text))}
    assert found == {"metric city.calls.refused", "file"}


@pytest.mark.parametrize("name", ["phone", "plate", "uscc", "citizen_id", "name"])
def test_a_mark_is_found_by_its_form(name: str) -> None:
    class Field:
        full_name = "a.v1.B.c"

    marks, one = Marks(), Field()
    one.name = name  # type: ignore[attr-defined]
    first, second = marks.mark(one, "S/M"), marks.mark(one, "S/N")
    assert first != second
    assert list(marks.found(f"x{second}y")) == ["S/N: a.v1.B.c"]
    assert not list(marks.found("13800138000 330106199003074412 inc-0123456789ab"))
    problem = {"uscc": uscc_problem, "citizen_id": citizen_id_problem}.get(name)
    assert problem is None or problem(first) == ""
