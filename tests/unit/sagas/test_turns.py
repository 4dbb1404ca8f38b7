"""A new emergency does not stand behind what is old: old work takes turns."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1.events_pb2 import StepSent
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.mesh.errors import Unavailable
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing.parts import on_parts
from citybrain.sagas.engine.definition import Command, Step, Wait
from citybrain.sagas.engine.turns import AT_A_TIME, Turns
from tests.unit.sagas.saga_city import GET, SECOND, City, Department

MANY = 3 * AT_A_TIME
OLD = [f"old-{number}" for number in range(MANY)]
ASKS = Step(
    "asks", Command(GET, lambda state, key: traffic.GetSignalRequest(signal_id=state.saga_id)), deadline_s=900, pause_s=5
)
ARRIVED = Wait("arrived", MissionReported, 100, lambda state, event: True)


def test_of_what_waits_for_a_turn_what_was_tried_least_goes_first_and_what_is_new_waits_for_nobody() -> None:
    began: list[str] = []

    async def test() -> None:
        turns, go_on = Turns(2), asyncio.Event()

        async def work(name: str, tries: int) -> None:
            async with turns.turn("ask", tries):
                began.append(name)
                await go_on.wait()

        order = [("a", 9), ("b", 9), ("often", 5), ("gone", 1), ("once", 1), ("again", 5), ("new", 0)]
        tasks = {name: asyncio.create_task(work(name, tries)) for name, tries in order}
        await asyncio.sleep(0)
        assert began == ["a", "b", "new"]
        tasks["gone"].cancel()
        async with turns.turn("another kind", 9):
            began.append("of another kind")
        go_on.set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert began == ["a", "b", "new", "of another kind", "once", "often", "again"]
        assert turns._kinds == {}

    asyncio.run(test())


def test_a_turn_that_comes_to_who_has_just_gone_goes_to_the_next() -> None:
    async def test() -> None:
        turns = Turns(1)

        async def work() -> None:
            async with turns.turn("ask", 1):
                pass

        async with turns.turn("ask", 1):
            second, third = (asyncio.create_task(work()) for _ in range(2))
            await asyncio.sleep(0)
        # Its turn has come, and it did not run yet.
        second.cancel()
        async with asyncio.timeout(60):
            await third
        assert second.cancelled()
        assert turns._kinds == {}

    asyncio.run(test())


def opened(city: City) -> None:
    """Many emergencies for which nobody is free yet."""
    Department.fails = {name: Unavailable("nobody is free") for name in OLD}
    city.start()
    for name in OLD:
        city.hear(IncidentOpened(incident_id=name), name)
    city.rest()
    assert all(city.runner.load(name).steps["asks"].status == "pausing" for name in OLD)


def test_a_new_emergency_is_asked_for_at_once_while_many_old_ones_are_due(tmp_path: Path) -> None:
    def before(city: City) -> None:
        opened(city)
        city.runner.stop()

    def afterwards(city: City) -> None:
        Department.held = {name: asyncio.Event() for name in OLD}
        city.start().rest()
        city.advance(60)
        city.parts.until(lambda: len(Department.calls) >= AT_A_TIME)
        city.hear(IncidentOpened(incident_id="new"), "new", at_s=61)
        city.parts.until(lambda: city.runner.load("new").phase == "completed")
        for held in Department.held.values():
            city.parts.process.loop.call_soon_threadsafe(held.set)
        # On a busy machine some calls had no answer in time, and are made again.
        for moment in range(70, 140, 10):
            city.advance(moment)
            city.rest()
        assert {city.runner.load(name).phase for name in OLD} == {"completed"}
        # Some rounds of old ones at most: a call that nobody answers ends after five seconds.
        assert Department.calls.index("new") < MANY

    on_parts(tmp_path, lambda parts: before(City(parts, ASKS)), max_workers=MANY)
    on_parts(tmp_path, lambda parts: afterwards(City(parts, ASKS)), max_workers=MANY)


def test_of_many_sagas_that_are_taken_up_at_a_start_a_few_are_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0

    def before(city: City) -> None:
        Department.held = {name: asyncio.Event() for name in OLD}
        city.start()
        for name in OLD:
            city.hear(IncidentOpened(incident_id=name), name)
        city.parts.until(lambda: len(Department.calls) == MANY)
        city.runner.stop()
        for held in Department.held.values():
            city.parts.process.loop.call_soon_threadsafe(held.set)

    def afterwards(city: City) -> None:
        records, now = city.runner._records, 0
        read = records.read

        async def counted(saga_id: str, known: Any) -> Any:
            nonlocal most, now
            now += 1
            most = max(most, now)
            try:
                return await read(saga_id, known)
            finally:
                now -= 1

        monkeypatch.setattr(records, "read", counted)
        city.start().rest()
        # On a busy machine some calls had no answer in time before the end, and are made again later.
        for moment in range(10, 60, 10):
            city.advance(moment)
            city.rest()
        assert {city.runner.load(name).steps["arrived"].status for name in OLD} == {"waiting"}

    on_parts(tmp_path, lambda parts: before(City(parts, ASKS, ARRIVED)), max_workers=MANY)
    on_parts(tmp_path, lambda parts: afterwards(City(parts, ASKS, ARRIVED)), max_workers=MANY)
    assert most == AT_A_TIME


@pytest.mark.parametrize("looked_at", ["_woken", "_fired"])
def test_of_many_sagas_that_are_due_at_one_moment_a_few_are_moved_at_a_time(tmp_path: Path, looked_at: str) -> None:
    def before(city: City) -> None:
        opened(city)
        city.runner.stop()

    def afterwards(city: City) -> None:
        runner, most, now = city.runner, 0, 0
        append = runner._records.append

        async def counted(saga_id: str, known: Any, events: Any, *others: Any) -> Any:
            nonlocal most, now
            sends = any(isinstance(event, StepSent) for event in events)
            now += sends
            most = max(most, now)
            try:
                return await append(saga_id, known, events, *others)
            finally:
                now -= sends

        runner._records.append = counted  # type: ignore[assignment,method-assign]
        city.start().rest()
        if looked_at == "_fired":
            for name in OLD:
                runner.look_at(name, 0, False)
            city.rest()
        city.parts.process.clock._now = 60 * SECOND  # type: ignore[attr-defined]

        async def all_at_once() -> None:
            if looked_at == "_woken":
                await asyncio.gather(*(runner._woken(name) for name in OLD))
            else:
                due = [(name, running, running.due) for name, running in runner._sagas.items() if running.due]
                assert len(due) == MANY
                await asyncio.gather(*(runner._fired(name, running, *moment) for name, running, moment in due if moment))

        wait(all_at_once())
        city.rest()
        assert {city.runner.load(name).phase for name in OLD} == {"completed"}
        assert most == AT_A_TIME

    on_parts(tmp_path, lambda parts: before(City(parts, ASKS)), max_workers=MANY)
    on_parts(tmp_path, lambda parts: afterwards(City(parts, ASKS)), max_workers=MANY)
