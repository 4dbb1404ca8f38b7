"""What happened in time counts, however late it is heard: a wait is over only when all has been heard that is in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported

from citybrain.event_store.store import StoreError
from citybrain.mesh.errors import Refused
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing.parts import together
from citybrain.sagas.engine.definition import Parallel, Wait
from tests.unit.sagas.saga_city import City, Department, city, step

ARRIVED = Wait("arrived", MissionReported, 60, otherwise="undo")


def crashed(city: City) -> None:
    """A saga waits; the process ends; what it waits for happens before its deadline."""
    city.start().write(IncidentOpened(incident_id="s"), "opened")
    city.rest()
    assert city.status("arrived") == "waiting"
    city.runner.stop()


def back(city: City, sagas: int = 1) -> None:
    """The process is there again and knows what is over, but it has heard nothing yet."""
    city.deaf = asyncio.Event()
    city.parts.start()
    city.parts.until(lambda: len(city.runner._later) == sagas)


def hears_again(city: City) -> None:
    assert city.deaf is not None
    city.deaf.set()


def test_an_event_that_happened_while_the_process_was_down_counts_though_its_wait_is_over_when_it_is_back(
    tmp_path: Path,
) -> None:
    def afterwards(city: City) -> None:
        city.write(MissionReported(incident_id="s"), "arrived", at_s=58)
        back(city)

        def lets_it_hear() -> None:
            # As long as nothing is heard, nothing is over.
            for _ in range(20):
                wait(asyncio.sleep(0.01))
            assert city.status("arrived") == "waiting"
            hears_again(city)

        for outcome in together(lambda: city.advance(75), lets_it_hear):
            assert outcome is None, outcome
        city.rest()
        assert (city.phase(), city.status("arrived")) == ("completed", "done")
        assert "StepTimedOut" not in city.recorded()

    city(tmp_path, crashed, ARRIVED, hears=True)
    city(tmp_path, afterwards, ARRIVED, hears=True)


def test_an_event_of_another_kind_that_is_heard_first_ends_no_wait(tmp_path: Path) -> None:
    def afterwards(city: City) -> None:
        city.write(MissionReported(incident_id="s", stage=1), "under-way", at_s=30)  # type: ignore[arg-type]
        city.write(MissionReported(incident_id="s", stage=2), "arrived", at_s=58)  # type: ignore[arg-type]
        back(city)
        hears_again(city)
        city.advance(75)
        city.rest()
        assert city.phase() == "completed"

    at_scene = Wait("arrived", MissionReported, 60, lambda s, event: event.stage == 2, otherwise="undo")  # type: ignore[attr-defined]
    city(tmp_path, crashed, at_scene, hears=True)
    city(tmp_path, afterwards, at_scene, hears=True)


def test_a_wait_that_is_over_is_over_when_all_is_heard_and_it_was_not_there(tmp_path: Path) -> None:
    def afterwards(city: City) -> None:
        city.write(MissionReported(incident_id="s"), "too-late", at_s=70)
        back(city)
        hears_again(city)
        city.advance(75)
        city.rest()
        assert city.phase() == "undone"

    city(tmp_path, crashed, ARRIVED, hears=True)
    city(tmp_path, afterwards, ARRIVED, hears=True)


@pytest.mark.tells("field heard", "field nothing_heard_for_s")
@pytest.mark.parametrize("trouble", ["nothing is heard", "nobody knows what is in the log"])
def test_city_time_goes_on_where_nothing_can_be_heard_for_too_long_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    def afterwards(city: City) -> None:
        async def away() -> None:
            raise StoreError("the log is away")

        city.write(MissionReported(incident_id="s"), "arrived", at_s=58)
        if trouble != "nothing is heard":
            city.parts.process.engine.up_to_now = away  # type: ignore[method-assign]
        back(city)
        city.runner._hearing._limit_s = 0.2
        city.advance(75)
        city.parts.until(lambda: city.phase() == "undone")
        hears_again(city)

    city(tmp_path, crashed, ARRIVED, hears=True)
    city(tmp_path, afterwards, ARRIVED, hears=True)
    said = capsys.readouterr()
    assert "a wait is over though not all is heard that is in the log" in said.err + said.out


def test_many_waits_that_are_over_at_once_are_over_together(tmp_path: Path) -> None:
    def crash(city: City) -> None:
        city.start()
        for number in range(30):
            city.write(IncidentOpened(incident_id=f"s{number}"), f"opened-{number}")
        city.rest()
        city.runner.stop()

    def afterwards(city: City) -> None:
        asked = 0
        known = city.parts.process.engine.up_to_now

        async def up_to_now() -> None:
            nonlocal asked
            asked += 1
            await known()

        city.parts.process.engine.up_to_now = up_to_now  # type: ignore[method-assign]
        city.write(MissionReported(incident_id="s0"), "arrived", at_s=58)
        back(city, 30)
        hears_again(city)
        city.advance(75)
        city.rest()
        phases = [city.runner.load(f"s{number}").phase for number in range(30)]
        assert phases == ["completed"] + ["undone"] * 29
        assert asked >= 1

    city(tmp_path, crash, ARRIVED, hears=True)
    city(tmp_path, afterwards, ARRIVED, hears=True)


def test_what_is_heard_while_a_human_is_needed_counts_and_what_pauses_meanwhile_is_not_undone(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"a": Refused("no"), "c": Refused("no")}
        city.start().open().rest()
        assert city.phase() == "needs human"
        city.hear(MissionReported(incident_id="s"), "arrived", at_s=30)
        city.advance(5000)
        city.rest()
        Department.fails.clear()
        city.runner.resume("s")
        city.rest()
        assert city.phase() == "completed"
        assert "UndoBegan" not in city.recorded()

    city(tmp_path, test, Parallel(((step("a", otherwise="needs human"),), (ARRIVED,), (step("b"),))))


def test_a_false_call_in_the_log_is_heard_before_a_wait_is_over(tmp_path: Path) -> None:
    def afterwards(city: City) -> None:
        city.write(IncidentCancelled(incident_id="s"), "cancelled", at_s=58)
        back(city)
        hears_again(city)
        city.advance(75)
        city.rest()
        assert city.phase() == "undone"
        assert "StepTimedOut" not in city.recorded()

    city(tmp_path, crashed, ARRIVED, hears=True)
    city(tmp_path, afterwards, ARRIVED, hears=True)
