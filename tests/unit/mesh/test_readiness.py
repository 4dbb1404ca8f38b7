"""Whether a service is ready: from its store, its read models, its subscriptions and its neighbours."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import grpc
import grpc.aio
import pytest
from citybrain.sagas.v1 import saga_service_pb2
from citybrain.traffic.v1 import events_pb2 as ev
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from citybrain.event_store.store import ANY, NewEvent
from citybrain.local.child import MeshChild
from citybrain.mesh.operations.readiness import Readiness
from citybrain.mesh.runtime.clock import MICROSECONDS, DrivenClock
from citybrain.mesh.runtime.greenlets import off_loop, wait
from citybrain.mesh.service import Client, Heard, Reading, Readings, Service, View, Window, every, subscribe, window
from citybrain.mesh.storage.leadership import Leadership
from citybrain.mesh.testing.parts import Parts, on_parts

SERVICE = "citybrain.traffic.v1.TrafficService"
VIEW, GROUP, TIMER = f"{SERVICE}/watched.view.seen", f"{SERVICE}/watched.hear", f"{SERVICE}/watched.tick"
NEIGHBOUR = saga_service_pb2.DESCRIPTOR.services_by_name["SagaService"].full_name
WINDOWS = f"{SERVICE}/watched.fold"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is looked at twenty times a second: a test waits for the next look."""
    monkeypatch.setattr("citybrain.mesh.operations.readiness._LOOK_S", 0.05)


@dataclass(frozen=True, slots=True)
class Seen:
    """A row: something was seen."""

    seen: int = 1


def add(total: int | None, value: int) -> int:
    return (total or 0) + value


class Watched(Service):
    """Has a read model, a subscription, a timer, windows and a neighbour; all can be made to fail or to hang."""

    name = "watched"
    broken: ClassVar[set[str]] = set()
    gate: ClassVar[asyncio.Event]

    @staticmethod
    def apply(row: Any, event: Heard) -> Any:
        if "view" in Watched.broken:
            raise OSError("a secret of the inside")
        return Seen()

    seen = View([ev.SignalReported], lambda event: "all", lambda row, event: Watched.apply(row, event), row=Seen)
    neighbour = Client(NEIGHBOUR)
    batches = Readings()

    @every(10)
    def tick(self) -> None:
        if "timer" in self.broken:
            raise OSError("a secret of the inside")

    @window(ev.SignalReported, seconds=10, readings=lambda batch: [Reading("k", 25 * MICROSECONDS, 1)], fold=add, late_s=0)
    def fold(self, window: Window) -> None:
        if "window" in self.broken:
            raise OSError("a secret of the inside")

    @subscribe(ev.SignalReported)
    def hear(self, event: Heard) -> None:
        if "subscription" in self.broken:
            raise OSError("a secret of the inside")
        if "hanging" in self.broken:
            wait(self.gate.wait())


class Ward:
    """The service in this process, with its readiness."""

    def __init__(self, parts: Parts) -> None:
        Watched.broken, Watched.gate = set(), asyncio.Event()
        self.parts, self.process = parts, parts.process

    def start(self, **patience: float) -> None:
        self.parts.add(Watched, SERVICE)
        self.readiness = Readiness(self.process, self.parts.containers, **patience)
        self.parts.start()
        self.channel = grpc.aio.insecure_channel(self.parts.address)
        self.stub: Any = HealthStub(self.channel)
        wait(self.readiness.begin())

    def close(self) -> None:
        Watched.gate.set()
        self.readiness.end()
        wait(self.channel.close(None))

    def report(self) -> None:
        event = ev.SignalReported(signal_id="s")
        (partition,) = self.parts.store.partitions()
        number = partition.head()
        new = NewEvent(str(number), "citybrain.traffic.v1.SignalReported", event.SerializeToString(), number)
        wait(self.parts.store.append("traffic/signal-s", [new], ANY))

    def check(self, name: str) -> int:
        return int(wait(self.stub.Check(health_pb2.HealthCheckRequest(service=name))).status)

    def until(self, name: str, status: int) -> None:
        self.parts.until(lambda: self.check(name) == status)

    def reason(self, name: str) -> str:
        trouble = self.readiness.states[SERVICE].troubles[name]
        return "" if trouble is None else trouble.reason


def ward(tmp_path: Path, test: Any) -> None:
    def run(parts: Parts) -> None:
        here = Ward(parts)
        try:
            test(here)
        finally:
            here.close()

    on_parts(tmp_path, run)


def test_a_service_whose_dependencies_are_well_is_ready_and_so_is_the_process(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start()
        here.report()
        for name in ("", SERVICE, VIEW, GROUP, f"{SERVICE}/store", f"{SERVICE}/views"):
            here.until(name, SERVING)

    ward(tmp_path, test)


def test_a_check_of_a_name_that_does_not_exist_says_which_do(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            here.check("citybrain.traffic.v1.Traffic")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert f"{SERVICE}/store" in str(caught.value.details())

    ward(tmp_path, test)


def test_a_list_has_every_name_that_can_be_checked(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start()
        listed = wait(here.stub.List(health_pb2.HealthListRequest())).statuses
        names = {"", SERVICE, VIEW, GROUP, TIMER, WINDOWS, f"{SERVICE}/store", f"{SERVICE}/views", f"{SERVICE}/{NEIGHBOUR}"}
        assert set(listed) == names
        assert {name: here.check(name) for name in names} == {name: listed[name].status for name in names}

    ward(tmp_path, test)


def test_nothing_is_ready_before_everything_is_started(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start()
        fresh = Readiness(here.process, here.parts.containers)
        assert (fresh.ready, here.check("")) == (False, NOT_SERVING)
        here.readiness._tell()

    ward(tmp_path, test)


def test_a_read_model_that_has_not_caught_up_keeps_its_service_from_being_ready(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.report()
        Watched.broken = {"view"}
        here.start(failing_s=60)
        assert [here.check(name) for name in ("", SERVICE, VIEW, f"{SERVICE}/store")] == [NOT_SERVING] * 3 + [SERVING]
        assert "has yet to read 1 event of the log" in here.reason(VIEW)
        Watched.broken = set()
        here.until("", SERVING)

    ward(tmp_path, test)


def test_a_read_model_that_fails_later_is_told_and_its_service_goes_on(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start(failing_s=0.1)
        here.until("", SERVING)
        Watched.broken = {"view"}
        here.report()
        here.until(VIEW, NOT_SERVING)
        assert here.check(SERVICE) == SERVING
        # Where and how it fails, without the text: that may hold what the event held.
        assert "SignalReported at 1: OSError in apply (test_readiness.py:" in here.reason(VIEW)
        assert "secret" not in here.reason(VIEW)
        Watched.broken = set()
        here.until(VIEW, SERVING)

    ward(tmp_path, test)


@pytest.mark.tells("field again_in_s", "field event_id", "field group", "field type", "field error", "field exception")
def test_a_subscription_that_fails_again_and_again_is_told_and_its_service_goes_on(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        Watched.broken = {"subscription"}
        here.report()
        here.start(failing_s=0.1)
        here.until(GROUP, NOT_SERVING)
        assert "fails again and again" in here.reason(GROUP)
        here.until(SERVICE, SERVING)
        Watched.broken = set()
        here.until(GROUP, SERVING)

    ward(tmp_path, test)


def test_what_is_not_well_in_the_store_though_it_takes_appends_is_told_and_the_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def test(here: Ward) -> None:
        monkeypatch.setattr("citybrain.mesh.operations.readiness._TRY_STORE_S", 0.0)
        here.start()
        here.until("", SERVING)
        monkeypatch.setattr(here.process.store, "unwell", lambda: "adopting writer w1 failed, and is tried again")
        here.until(f"{SERVICE}/store", NOT_SERVING)
        assert here.check(SERVICE) == SERVING
        assert "adopting writer w1" in here.reason(f"{SERVICE}/store")
        monkeypatch.undo()
        here.until(f"{SERVICE}/store", SERVING)

    ward(tmp_path, test)


def test_an_audit_trail_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(here: Ward) -> None:
        monkeypatch.setattr("citybrain.mesh.operations.readiness._TRY_STORE_S", 0.0)
        here.start()
        here.until("", SERVING)
        here.parts.trail.away = "the audit trail cannot be written: the disk is full"
        here.until(f"{SERVICE}/store", NOT_SERVING)
        assert "the disk is full" in here.reason(f"{SERVICE}/store")
        here.parts.trail.away = ""
        here.until(f"{SERVICE}/store", SERVING)

    ward(tmp_path, test)


def test_a_subscription_that_fails_once_is_not_worth_a_word(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        Watched.broken = {"subscription"}
        here.report()
        here.start(failing_s=60)
        (container,) = here.parts.containers
        member = next(entry.member for entry in container.entrypoints if hasattr(entry, "member"))
        here.parts.until(lambda: bool(wait(member.standing()).failing))
        wait(here.readiness.look())
        assert here.check(GROUP) == SERVING
        assert "OSError" in here.readiness.states[SERVICE].groups["watched.hear"].failing

    ward(tmp_path, test)


def test_a_subscription_that_does_not_move_is_told(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        Watched.broken = {"hanging"}
        here.start(stalled_s=0.3)
        here.report()
        here.until(GROUP, NOT_SERVING)
        assert "is stalled: nothing was done for" in here.reason(GROUP)
        Watched.gate.set()
        here.until(GROUP, SERVING)

    ward(tmp_path, test)


def test_a_timer_whose_last_run_failed_is_told_until_one_is_done(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start()
        clock = here.process.clock
        assert isinstance(clock, DrivenClock)
        assert here.check(TIMER) == SERVING
        for moment, broken, status in ((20, "timer", NOT_SERVING), (40, "", SERVING)):
            Watched.broken = {broken}
            wait(clock.advance(moment * MICROSECONDS))
            here.until(TIMER, status)
            assert here.check(SERVICE) == SERVING
        assert here.reason(TIMER) == ""

    ward(tmp_path, test)


@pytest.mark.tells("field start", "field window", "span window {service.method} consumer")
def test_a_window_that_cannot_be_told_is_told_of_until_it_can(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start()
        clock = here.process.clock
        assert isinstance(clock, DrivenClock)
        wait(clock.advance(26 * MICROSECONDS))
        ring = here.process.engine.readings
        wait(ring.put("citybrain.traffic.v1.SignalReported", clock.now(), ev.SignalReported().SerializeToString()))
        Watched.broken = {"window"}
        moving = here.process.loop.create_task(clock.advance(60 * MICROSECONDS))
        here.until(WINDOWS, NOT_SERVING)
        assert "a window cannot be told: OSError in fold" in here.reason(WINDOWS)
        Watched.broken = set()
        wait(moving)
        here.until(WINDOWS, SERVING)

    ward(tmp_path, test)


def test_a_process_that_stands_by_is_ready(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        leader = Leadership(tmp_path / "watched.lead")
        assert leader.take()
        here.report()
        here.start()
        here.until("", SERVING)
        standing = here.readiness.states[SERVICE].groups["watched.view.seen"]
        assert (standing.leads, standing.lag) == (False, 1)
        leader.give_up()
        here.parts.until(lambda: here.readiness.states[SERVICE].groups["watched.view.seen"].leads)

    ward(tmp_path, test)


def test_a_neighbour_that_is_out_is_named_and_the_service_goes_on(tmp_path: Path) -> None:
    neighbour = f"{SERVICE}/{NEIGHBOUR}"

    def test(here: Ward) -> None:
        here.start()
        assert [here.check(neighbour), here.check(SERVICE)] == [NOT_SERVING, SERVING]
        assert "runs nowhere" in here.reason(neighbour)
        with MeshChild(tmp_path / "neighbour", ["sagas"]) as child:
            here.process.outgoing.addresses[NEIGHBOUR] = child.address
            here.until(neighbour, SERVING)
            off_loop(child.kill)
            here.until(neighbour, NOT_SERVING)
            assert f"does not answer at {child.address}" in here.reason(neighbour)
            assert here.check(SERVICE) == SERVING
            off_loop(child.start)
            here.until(neighbour, SERVING)

    ward(tmp_path, test)


def test_who_watches_is_told_every_change_and_the_end(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start()
        told: list[int] = []

        async def watch() -> None:
            async for answer in here.stub.Watch(health_pb2.HealthCheckRequest(service=GROUP)):
                told.append(answer.status)

        watching = here.process.loop.create_task(watch())
        here.parts.until(lambda: told == [SERVING])
        health = here.process.server.health
        for ready in (False, False, True):
            health.set({"": True, GROUP: ready})
        here.parts.until(lambda: told[-1] == SERVING)
        here.readiness.end()
        wait(watching)
        assert told in ([SERVING, NOT_SERVING, SERVING, NOT_SERVING], [SERVING, NOT_SERVING])
        assert here.check(GROUP) == NOT_SERVING

    ward(tmp_path, test)


def test_a_name_that_does_not_exist_yet_can_be_watched(tmp_path: Path) -> None:
    def test(here: Ward) -> None:
        here.start()
        call = here.stub.Watch(health_pb2.HealthCheckRequest(service="later"))
        assert wait(call.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        here.process.server.health.set({"later": True})
        assert wait(call.read()).status == SERVING
        call.cancel()

    ward(tmp_path, test)
