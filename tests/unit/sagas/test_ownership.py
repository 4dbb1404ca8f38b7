"""Who carries a saga on: whoever has its partition, and nobody else; whatever others append, and whoever ends."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev

from citybrain.event_store.feed import log_position
from citybrain.event_store.store import Partition, StoreError
from citybrain.mesh.errors import Refused, Unavailable
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing.parts import together
from citybrain.sagas.engine.definition import Parallel, Wait
from citybrain.sagas.engine.records import Known
from tests.unit.sagas.saga_city import City, Department, city, step

ASKS = step("a", otherwise="needs human")


def needs_human(city: City) -> City:
    """A saga whose first step was refused."""
    Department.fails = {"a": Refused("no")}
    city.start().open().rest()
    assert city.phase() == "needs human"
    Department.fails.clear()
    Department.calls.clear()
    return city


def test_what_is_resumed_at_a_process_that_stands_by_is_carried_on_by_the_one_that_leads(tmp_path: Path) -> None:
    def test(city: City) -> None:
        needs_human(city)
        Department.held["a"] = asyncio.Event()
        with city.beside() as other:
            assert other.runner.resume("s").phase == "running"
            city.parts.until(lambda: Department.calls == ["a"])
            assert other.runner._sagas == {}
        # The one that stood by is gone; its saga is not.
        assert city.phase() == "running"
        Department.held.pop("a").set()
        city.parts.until(lambda: city.phase() == "completed")
        assert Department.calls == ["a", "b"]

    city(tmp_path, test, ASKS, step("b"))


def test_a_state_is_shown_as_it_stands_whoever_wrote_last(tmp_path: Path) -> None:
    def test(city: City) -> None:
        needs_human(city)
        Department.held["a"] = asyncio.Event()
        with city.beside() as other:
            assert other.phase() == "needs human"
            other.runner.resume("s")
            # Before it could have come from the log.
            assert city.phase() == "running"
            Department.held.pop("a").set()
            city.parts.until(lambda: other.phase() == "completed")

    city(tmp_path, test, ASKS, step("b"))


def test_a_late_resume_of_what_somebody_else_resumed_does_nothing(tmp_path: Path) -> None:
    def test(city: City) -> None:
        needs_human(city)
        Department.held["a"] = asyncio.Event()
        with city.beside() as other:
            other.runner.resume("s")
            assert city.runner.resume("s").phase == "running"
            Department.held.pop("a").set()
            city.rest()
        assert city.recorded().count("SagaResumed") == 1
        assert Department.calls == ["a", "b"]

    city(tmp_path, test, ASKS, step("b"))


def test_what_the_one_that_led_had_out_is_sent_again_by_the_next(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        with city.beside() as other:
            Department.held["a"] = asyncio.Event()
            city.open()
            city.parts.until(lambda: Department.calls == ["a"])
            city.end()
            Department.held.pop("a").set()
            city.parts.until(lambda: other.phase() == "completed")
            assert other.recorded().count("StepAnswered") == 2

    city(tmp_path, test, step("a"), step("b"))


def test_the_deadlines_of_one_that_ended_are_kept_by_the_next(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        with city.beside() as other:
            city.open().rest()
            city.end()
            other.parts.until(lambda: other.runner._ownership.owns("s"))
            other.rest()
            other.advance(61)
            other.rest()
            assert other.phase() == "needs human"

    city(tmp_path, test, Wait("w", MissionReported, 60))


def test_what_others_append_is_work_in_progress_until_it_is_acted_on(tmp_path: Path) -> None:
    def test(city: City) -> None:
        needs_human(city)
        with city.beside() as other:
            other.runner.resume("s")
            city.parts.until(lambda: log_position(city.parts.store) >= log_position(other.parts.store))
            city.rest()
        assert (city.phase(), Department.calls) == ("completed", ["a", "b"])

    city(tmp_path, test, ASKS, step("b"))


class Shares:
    """An assignment that a test hands out."""

    def __init__(self, city: City) -> None:
        self._all = {partition.name: partition for partition in city.parts.store.partitions()}
        self._now: Mapping[str, Partition] = {}
        self._changed = asyncio.Event()
        city.parts.process.engine.assignment = lambda *_: self  # type: ignore[method-assign]

    def partitions(self) -> Mapping[str, Partition]:
        return self._now

    async def changed(self, known: Collection[str], timeout_s: float) -> None:
        if set(known) == self._now.keys():
            await self._changed.wait()
        self._changed.clear()

    def leave(self) -> None:
        self._now = {}

    def give(self) -> None:
        self._now = self._all
        self._changed.set()

    def take(self) -> None:
        self._now = {}
        self._changed.set()


def test_who_has_lost_a_saga_sends_nothing_keeps_nothing_and_takes_it_up_when_it_comes_back(tmp_path: Path) -> None:
    def test(city: City) -> None:
        shares = Shares(city)
        shares.give()
        city.start().open().rest()
        shares.take()
        city.parts.until(lambda: city.runner._sagas == {})
        # Heard here, and for another one to act on.
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.advance(100)
        city.rest()
        assert city.recorded()[-2:] == ["WaitEnded", "StepSent"]
        assert (Department.calls, city.runner._sagas) == ([], {})
        shares.give()
        city.parts.until(lambda: city.phase() == "completed")
        assert Department.calls == ["b"]

    city(tmp_path, test, Wait("w", MissionReported, 60), step("b", deadline_s=1000))


def test_what_was_out_when_a_saga_was_lost_is_recorded_all_the_same(tmp_path: Path) -> None:
    def test(city: City) -> None:
        shares = Shares(city)
        shares.give()
        Department.held["a"] = asyncio.Event()
        city.start().open()
        city.parts.until(lambda: Department.calls == ["a"])
        shares.take()
        city.parts.until(lambda: not city.runner._ownership.owns("s"))
        Department.held.pop("a").set()
        city.rest()
        assert city.recorded()[-2:] == ["StepAnswered", "StepSent"]
        assert (Department.calls, city.runner._sagas) == (["a"], {})

    city(tmp_path, test, step("a"), step("b"))


def test_an_error_in_what_looks_after_the_sagas_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.sagas.engine.ownership._AGAIN_S", 0.01)

    def test(city: City) -> None:
        (log,) = city.parts.store.partitions()
        read_log, failures = log.read_log, [StoreError("away"), LookupError("a defect"), StoreError("away")]

        async def failing(*arguments: Any, **options: Any) -> Any:
            if failures:
                raise failures.pop()
            return await read_log(*arguments, **options)

        needs_human(city)
        log.read_log = failing  # type: ignore[method-assign]
        with city.beside() as other:
            other.runner.resume("s")
            city.parts.until(lambda: city.phase() == "completed")
        assert not failures

    city(tmp_path, test, ASKS, step("b"))


def test_events_for_sagas_that_are_not_there_and_sagas_that_have_ended_leave_nothing(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        for number in range(20):
            city.hear(MissionReported(incident_id=f"nobody-{number}"), f"orphan-{number}")
            city.hear(IncidentOpened(incident_id=f"s{number}"), f"opened-{number}")
            city.hear(IncidentCancelled(incident_id=f"s{number}"), f"cancelled-{number}")
        city.rest()
        assert city.runner._sagas == {}

    city(tmp_path, test, step("a"), Wait("w", MissionReported, 60))


def test_what_comes_at_the_same_time_for_a_saga_that_is_not_there_yet_is_not_lost(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        together(
            lambda: city.hear(MissionReported(incident_id="s"), "early"),
            lambda: city.hear(IncidentOpened(incident_id="s")),
            lambda: city.hear(IncidentCancelled(incident_id="s"), "cancelled"),
        )
        city.parts.until(lambda: city.phase() in ("completed", "undone"))
        city.rest()
        assert city.runner._sagas == {}

    city(tmp_path, test, step("a"))


def test_of_two_who_record_the_same_input_in_other_words_the_second_reads_what_the_first_made_of_it(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.held["a"] = asyncio.Event()
        city.start().open()
        records = city.runner._records
        known = wait(records.read("s", Known()))
        first, second = (ev.StepFailed(step="a", key="s/a/1", code="INTERNAL", message=text) for text in ("one", "two"))
        assert wait(records.append("s", known, [first], known.state, 1)) is not None
        assert wait(records.append("s", known, [second], known.state, 1)) is None
        assert wait(records.read("s", known)).state.steps["a"].reason == "INTERNAL: one"
        # Else the end waits until the call is given up.
        Department.held.pop("a").set()

    city(tmp_path, test, step("a"))


def test_a_retry_that_is_due_is_sent_by_who_has_the_saga(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"a": Unavailable("not now")}
        city.start()
        with city.beside() as other:
            city.open().rest()
            assert city.status("a") == "pausing"
            city.end()
            Department.fails.clear()
            other.parts.until(lambda: other.runner._ownership.owns("s"))
            other.rest()
            other.advance(10)
            other.parts.until(lambda: other.phase() == "completed")
            assert other.recorded().count("StepSent") == 3

    city(tmp_path, test, Parallel(((step("a"),), (step("b"),))))
