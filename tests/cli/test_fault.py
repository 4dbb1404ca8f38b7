"""`city fault`: what is switched on in a process happens there, is shown, ends, and leaves what it has led to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub

from citybrain.mesh.errors import Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.operations.fault_calls import FaultCalls
from citybrain.mesh.runtime.faults import Faults
from citybrain.mesh.settings.values import Settings
from tests.contract.runtime.probing import PROBE, Probe
from tests.contract.runtime.test_nameko import Nameko
from tests.helpers.city_command import refused, run
from tests.helpers.waiting import until

GROUP = "probe.answer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def probe(folder: Path) -> Iterator[Probe]:
    running = Nameko.launch(folder / "data", PROBE, ["probe"], driven=False, port=0, environment={})
    running.start()
    here = Probe(running)
    yield here
    here.close()
    running.stop()


@pytest.fixture(autouse=True)
def _none_left(folder: Path, probe: Probe) -> Iterator[None]:
    yield
    MeshServiceStub(probe.channel).ClearFaults(pb.ClearFaultsRequest(), timeout=60)


def switch_on(folder: Path, *words: str) -> str:
    done = run(folder, "fault", "set", "probe", *words, "--json")
    assert done.returncode == 0, done
    said = json.loads(done.stdout)
    assert said["processes"] == 1
    return str(said["fault_id"])


def status(probe: Probe) -> Any:
    return MeshServiceStub(probe.channel).GetStatus(pb.GetStatusRequest(), timeout=60)


def test_calls_of_one_method_fail_until_it_is_switched_off_and_it_is_shown_meanwhile(folder: Path, probe: Probe) -> None:
    fault = switch_on(folder, "errors", "--target", "Do", "--reason", "a game day")
    with pytest.raises(grpc.RpcError, match=rf"fault {fault} is switched on here: `city fault list` shows it"):
        probe.do("twice")
    probe.notes("answered")
    (row,) = json.loads(run(folder, "fault", "list", "--json").stdout)
    assert (row["fault_id"], row["kind"], row["target"], row["hits"], row["reason"]) == (fault, "errors", "Do", 1, "a game day")
    assert fault in run(folder, "fault", "list").stdout
    shown = run(folder, "status", "--json")
    (trouble,) = json.loads(shown.stdout)["troubles"]
    assert shown.returncode == 1 and trouble.startswith(f"probe: the fault {fault} is on: errors of Do, it has met 1, until ")
    assert trouble.endswith(f": a game day: `city fault clear {fault}` ends it")
    assert f"✗ probe  the fault {fault} is on: errors of Do" in run(folder, "status").stdout
    assert "switched off" in run(folder, "fault", "clear", fault).stdout
    probe.do("twice")
    assert "no fault is on" in run(folder, "fault", "list").stdout
    assert f"no fault {fault} is on" in refused(folder, "fault", "clear", fault)


def test_calls_take_longer_and_it_ends_by_itself(folder: Path, probe: Probe) -> None:
    switch_on(folder, "latency", "--seconds", "0.5", "--for", "3")
    began = time.monotonic()
    probe.do("twice")
    assert time.monotonic() - began >= 0.5
    until(lambda: not status(probe).faults, "its end")


def test_a_part_of_the_calls_is_met(folder: Path, probe: Probe) -> None:
    switch_on(folder, "latency", "--seconds", "0", "--share", "0.5", "--target", "Do")
    for _ in range(100):
        probe.do("twice")
    (fault,) = status(probe).faults
    # Fewer than 10 or more than 90 of 100 come once in 10^16 runs.
    assert 10 <= fault.hits <= 90


def test_an_event_that_cannot_be_handled_is_parked_and_handled_when_it_is_replayed(folder: Path, probe: Probe) -> None:
    switch_on(folder, "poison", "--target", GROUP)
    probe.write("poisoned", "once")

    def parked() -> list[Any]:
        found = MeshServiceStub(probe.channel).ListParked(pb.ListParkedRequest(group=GROUP), timeout=60).events
        return [one for one in found if not one.being_tried]

    (event,) = until(parked, "parked")
    assert "Poisoned" in event.reason
    run(folder, "fault", "clear")
    assert "once" not in probe.notes("answered")
    assert run(folder, "events", "replay", GROUP, event.stream).returncode == 0
    probe.until_notes("answered", lambda notes: "once" in notes)


def test_a_subscription_stands_still_while_calls_go_on(folder: Path, probe: Probe) -> None:
    switch_on(folder, "stall", "--target", GROUP)
    probe.write("stalled", "later")
    (fault,) = until(lambda: [one for one in status(probe).faults if one.hits], "stalled")
    assert "later" not in probe.notes("answered")
    run(folder, "fault", "clear", fault.fault_id)
    probe.until_notes("answered", lambda notes: "later" in notes)


def test_a_process_that_loses_its_lead_stands_by_and_leads_again_afterwards(folder: Path, probe: Probe) -> None:
    def roles() -> set[int]:
        return {group.role for service in status(probe).services for group in service.groups if group.name == GROUP}

    until(lambda: roles() == {pb.GROUP_ROLE_LEADS}, "leads")
    switch_on(folder, "lost-lead")
    until(lambda: roles() == {pb.GROUP_ROLE_STANDS_BY}, "stands by")
    probe.write("led", "by nobody")
    run(folder, "fault", "clear")
    until(lambda: roles() == {pb.GROUP_ROLE_LEADS}, "leads again")
    probe.until_notes("answered", lambda notes: "by nobody" in notes)


def test_its_clock_is_ahead(folder: Path, probe: Probe) -> None:
    switch_on(folder, "clock-skew", "--seconds", "3600")
    said = status(probe)
    assert 3599 <= said.city_time.seconds - said.now.seconds <= 3601
    run(folder, "fault", "clear")
    said = status(probe)
    assert abs(said.city_time.seconds - said.now.seconds) <= 1


def test_twenty_are_on_at_a_time_and_one_of_them_may_be_changed(folder: Path, probe: Probe) -> None:
    mesh = MeshServiceStub(probe.channel)
    until_ = timestamp((time.time_ns() // 1000) + 60_000_000)

    def on(number: int, share: float = 0.5) -> None:
        fault = pb.Fault(
            fault_id=f"f{number}", kind=pb.FAULT_KIND_ERRORS, service="probe", target="Sum",
            share=share, until=until_, who="test",
        )  # fmt: skip
        mesh.SetFault(pb.SetFaultRequest(fault=fault), timeout=60)

    for number in range(20):
        on(number)
    on(0, 0.25)
    with pytest.raises(grpc.RpcError, match="20 faults are on here"):
        on(20)
    assert [fault.share for fault in mesh.ListFaults(pb.ListFaultsRequest(), timeout=60).faults if fault.fault_id == "f0"] == [
        0.25
    ]
    assert mesh.ClearFaults(pb.ClearFaultsRequest(), timeout=60).cleared == 20


def test_production_takes_none(tmp_path: Path) -> None:
    process = SimpleNamespace(settings=Settings(profile="production"), faults=Faults())
    calls = FaultCalls(process, [])  # type: ignore[arg-type]
    with pytest.raises(Refused, match="the profile here is production, which takes no faults"):
        asyncio.run(calls.set(pb.SetFaultRequest()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody", "errors"), "nobody does not run here; here run: probe"),
        (("probe", "errors", "--target", "Undo"), "probe has no Undo; it has: Count, Do,"),
        (("probe", "stall", "--target", "Do"), "probe has no Do; it has: probe.answer"),
        (("probe", "lost-lead", "--target", GROUP), "a fault of kind lost-lead is of the process: leave it empty"),
        (("probe", "latency", "--seconds", "-1"), "nothing takes less than no time: give 0 or more"),
        (("probe", "latency", "--for", "22000"), "it must end within 6 hours"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(folder: Path, probe: Probe, words: tuple[str, ...], said: str) -> None:
    assert said in refused(folder, "fault", "set", *words)
    assert not status(probe).faults
