"""Workers: admitted in turn, answered whatever happens to them, counted as long as they are not done."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, ClassVar

import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.mesh.errors import Overloaded, Refused, Unavailable
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.shares import Asker
from citybrain.mesh.service import Service, rpc
from citybrain.mesh.testing.parts import Parts, on_parts, together


class Worker(Service):
    """Does what the request's signal id says."""

    name = "worker"
    gate: ClassVar[asyncio.Event]

    @rpc
    def GetSignal(self, request: traffic.GetSignalRequest) -> traffic.GetSignalResponse:
        how = request.signal_id
        if how == "wait":
            wait(self.gate.wait())
        elif how == "refuse":
            raise Refused("no")
        elif how == "cut off":
            raise asyncio.CancelledError
        elif how == "stop":
            raise StopIteration
        return traffic.GetSignalResponse(held_for=how)


class Ward:
    """One container with two places."""

    def __init__(self, parts: Parts) -> None:
        Worker.gate = asyncio.Event()
        self.parts = parts
        self.container = parts.add(Worker, "citybrain.traffic.v1.TrafficService")
        (self.entrypoint,) = self.container.entrypoints
        self.activity = parts.process.activity

    def begin(self, how: str, asker: Asker | None = None) -> asyncio.Task[Any]:
        request = traffic.GetSignalRequest(signal_id=how)
        return self.parts.process.loop.create_task(self.container.run_worker(self.entrypoint, request, asker=asker))

    def do(self, how: str) -> str:
        return str(wait(self.begin(how)).held_for)


def ward(tmp_path: Path, test: Any) -> None:
    on_parts(tmp_path, lambda parts: test(Ward(parts)), max_workers=2)


@pytest.mark.parametrize(
    ("how", "error"), [("refuse", Refused), ("cut off", Unavailable), ("stop", Exception), ("wait", Overloaded)]
)
def test_however_work_ends_its_place_is_free_again_and_nothing_counts_as_going_on(
    tmp_path: Path, how: str, error: type[Exception]
) -> None:
    def test(ward: Ward) -> None:
        def open_gate() -> str:
            Worker.gate.set()
            return ""

        results = together(*(lambda: ward.do(how) for _ in range(7)), open_gate)
        failed = [result for result in results if isinstance(result, BaseException)]
        assert failed and all(isinstance(result, error | Overloaded) for result in failed)
        assert together(*(lambda: ward.do("hello") for _ in range(4))) == ["hello"] * 4
        assert ward.activity.at_rest

    ward(tmp_path, test)


def test_a_caller_who_goes_while_waiting_for_a_place_leaves_the_place_to_the_next(tmp_path: Path) -> None:
    def test(ward: Ward) -> None:
        first = [ward.begin("wait"), ward.begin("wait")]
        impatient, patient = ward.begin("impatient"), ward.begin("patient")
        wait(asyncio.sleep(0))
        impatient.cancel()
        Worker.gate.set()
        assert wait(patient).held_for == "patient"
        assert [wait(task).held_for for task in first] == ["wait", "wait"]
        assert impatient.cancelled()
        assert ward.activity.at_rest

    ward(tmp_path, test)


def test_work_goes_on_when_its_caller_has_gone_and_counts_until_it_is_done(tmp_path: Path) -> None:
    def test(ward: Ward) -> None:
        gone = ward.begin("wait")
        ward.parts.until(lambda: not ward.activity.at_rest)
        gone.cancel()
        ward.parts.until(gone.done)
        assert not ward.activity.at_rest
        Worker.gate.set()
        wait(ward.activity.rest())
        assert ward.do("hello") == "hello"

    ward(tmp_path, test)


def test_between_two_workers_that_share_a_place_nothing_looks_at_rest(tmp_path: Path) -> None:
    def test(ward: Ward) -> None:
        looked: list[bool] = []
        changed = ward.activity.changed

        def look() -> None:
            looked.append(ward.activity.at_rest)
            changed()

        ward.activity.changed = look  # type: ignore[method-assign]
        tasks = [ward.begin("wait"), ward.begin("wait"), ward.begin("last")]
        wait(asyncio.sleep(0))
        Worker.gate.set()
        for task in tasks:
            wait(task)
        ward.parts.until(lambda: ward.activity.at_rest)
        assert looked == [False, False, True]

    ward(tmp_path, test)


def test_so_many_calls_are_admitted_and_not_one_more(tmp_path: Path) -> None:
    def test(ward: Ward) -> None:
        tasks = [ward.begin("wait") for _ in range(5)]
        # Two work and two wait; the fifth is refused at once, while all others still do.
        ward.parts.until(lambda: any(task.done() for task in tasks))
        assert [task.done() for task in tasks] == [False] * 4 + [True]
        assert isinstance(tasks[4].exception(), Overloaded)
        Worker.gate.set()
        assert [wait(task).held_for for task in tasks[:4]] == ["wait"] * 4

    ward(tmp_path, test)


@pytest.mark.parametrize("reads", [True, False])
def test_what_comes_from_outside_leaves_a_reserve_to_other_methods_to_commands_and_to_the_mesh(
    tmp_path: Path, reads: bool
) -> None:
    def test(ward: Ward) -> None:
        def ask(number: int, **asker: Any) -> list[asyncio.Task[Any]]:
            one = {"method": "Flooded", "reads": False, "outside": True, **asker}
            return [ward.begin("wait", Asker(**{"caller": f"c{n}", **one})) for n in range(number)]

        # Sixteen places, eight of which wait. One caller may have half of them.
        (*_, over) = alone = ask(9, caller="one", reads=reads)
        wait(asyncio.sleep(0))
        assert [task.done() for task in alone].count(True) == 1 and isinstance(over.exception(), Overloaded)
        Worker.gate.set()
        for task in alone[:8]:
            wait(task)
        Worker.gate.clear()
        flood = ask(20, reads=reads)
        # What only reads has its share together, whatever the method; a command of another method comes through.
        readers = ask(1, method="Another", reads=True)
        commands = ask(3, method="Command")
        mesh = ask(3, outside=False)
        wait(asyncio.sleep(0))
        refused = [sum(task.done() for task in tasks) for tasks in (flood, readers, commands, mesh)]
        assert refused == ([8, 1, 1, 1] if reads else [8, 0, 2, 1])
        Worker.gate.set()
        for task in (*flood, *readers, *commands, *mesh):
            with contextlib.suppress(Overloaded):
                wait(task)
        # All is given back.
        for task in ask(12, reads=reads):
            assert wait(task).held_for == "wait"

    on_parts(tmp_path, lambda parts: test(Ward(parts)), max_workers=8)
