"""Which sagas are taken up: those that must move. What rests is read by nobody, however much there is of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from hypothesis import example, given
from hypothesis import strategies as st

from citybrain.mesh.errors import Refused
from citybrain.mesh.manifest import ManifestError
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Service
from citybrain.mesh.testing.parts import on_parts
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.decider import due_timers, tries_out
from citybrain.sagas.engine.definition import Parallel, Wait
from citybrain.sagas.engine.moving import NOW, MovingRow, due, moved
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.engine.state import ENDED
from tests.unit.sagas.saga_city import City, Department, city, step
from tests.unit.sagas.test_decider import BRANCHES, Run
from tests.unit.sagas.test_decider import step as pure_step
from tests.unit.sagas.test_ownership import Shares

ASKS = step("a", otherwise="needs human")
ARRIVED = Wait("arrived", MissionReported, 60)
CALLS_OFF = {IncidentCancelled.DESCRIPTOR.full_name}

Happening = st.one_of(
    st.sampled_from(
        [
            "answer",
            "refuse",
            "fail",
            "resume",
            "fire",
            "hear",
            "cancel",
            "undone",
            "undo fails",
            "undo refused",
            "skip",
            "give up",
            "retry",
            "cancel by hand",
            "terminate",
        ]
    ),
    st.tuples(st.just("later"), st.integers(1, 40)),
)


def happen(run: Run, happening: Any, number: int) -> None:
    """One thing more happens to a saga."""
    out = list(tries_out(run.state))
    forward, undos = [one.step for one in out if not one.undo], [one.step for one in out if one.undo]
    phase = run.state.phase
    if happening in ("answer", "refuse", "fail") and forward:
        name = forward[number % len(forward)]
        run.answer(name) if happening == "answer" else run.fail(name, "UNAVAILABLE" if happening == "fail" else "NOT_FOUND")
    elif happening == "resume" and phase == "needs human":
        run.put(ev.SagaResumed())
    elif happening == "fire":
        run.at(run.now)
    elif happening in ("hear", "cancel") and phase not in ENDED:
        run.hear(MissionReported() if happening == "hear" else IncidentCancelled())
    elif happening == "undone" and undos:
        run.undone(undos[0])
    elif happening in ("undo fails", "undo refused") and undos:
        run.fail(undos[0], "UNAVAILABLE" if happening == "undo fails" else "NOT_FOUND")
    elif happening in ("skip", "give up", "retry") and run.state.steps:
        name = list(run.state.steps)[number % len(run.state.steps)]
        decide = {"skip": persons.skip, "give up": persons.fail, "retry": persons.retry}[happening]
        with contextlib.suppress(Refused):
            run.put(*decide(run.state, name, "so it is", "tester"))
    elif happening in ("cancel by hand", "terminate"):
        decided = persons.cancel if happening == "cancel by hand" else persons.terminate
        with contextlib.suppress(Refused):
            run.put(*decided(run.state, f"said {number}", "tester"))
    elif isinstance(happening, tuple):
        run.late(run.now + happening[1])


@given(st.lists(Happening, max_size=40))
@example(["answer", "answer", "answer", "answer", "answer", "give up", "undo refused", "cancel"])
def test_whatever_happens_a_row_says_what_is_out_and_never_later_than_it_is_when_something_is_due(
    happenings: list[Any],
) -> None:
    run = Run(Parallel(BRANCHES), pure_step("d", otherwise="needs human"))
    row: MovingRow | None = None
    seen = 0
    for number, happening in enumerate(["begun", *happenings]):
        happen(run, happening, number)
        for event in run.log[seen:]:
            row = moved(row, event, CALLS_OFF)
        seen = len(run.log)
        timers = [moment for moment, _ in due_timers(run.state)]
        if any(tries_out(run.state)):
            assert row is not None and due(row) == NOW
        elif timers:
            assert row is not None and (row.look or due(row) == min(timers))
        elif run.state.undo_begun and run.state.phase == "needs human":
            # Whether it is undone already, a row does not know: one that is called off once more is looked at once too often.
            assert row is None or (row.look and not row.steps)
        elif run.state.phase in (*ENDED, "needs human"):
            assert row is None, run.state.phase


def test_what_was_recorded_without_what_follows_from_it_is_taken_up_whenever_that_is() -> None:
    waiting = moved(moved(None, ev.SagaStarted(saga_id="s")), ev.WaitBegan(step="w"))
    assert waiting is not None and not waiting.look
    for unfinished in (ev.EventHeard(event_id="e"), ev.WaitEnded(step="w"), ev.TimerFired(timer="wait/w")):
        row = moved(waiting, unfinished)
        assert row is not None and due(row) == NOW
    # Also the false call that another release heard while a human was needed.
    heard = ev.EventHeard(event_id="e")
    heard.event.Pack(IncidentCancelled())
    assert moved(None, heard) is None
    called_off = moved(None, heard, CALLS_OFF)
    assert called_off is not None and due(called_off) == NOW


class Read:
    """What a process reads of events and rows, from now on."""

    def __init__(self, city: City) -> None:
        self.count: Counter[str] = Counter()
        store, (log,) = city.parts.store, city.parts.store.partitions()
        read, read_log, moving = store.read, log.read_log, city.runner._ownership._moving
        rows = moving.rows

        async def count_read(stream: str, *arguments: Any, **options: Any) -> Any:
            page = await read(stream, *arguments, **options)
            self.count[stream] += len(page)
            return page

        async def count_log(*arguments: Any, **options: Any) -> Any:
            page = await read_log(*arguments, **options)
            self.count["log"] += len(page.events)
            return page

        async def count_rows(*arguments: Any, **options: Any) -> Any:
            found = await rows(*arguments, **options)
            self.count["rows"] += len(found)
            return found

        store.read = count_read  # type: ignore[method-assign]
        log.read_log = count_log  # type: ignore[method-assign]
        moving.rows = count_rows  # type: ignore[method-assign]


def past(city: City, sagas: int) -> None:
    """Some sagas have ended, as many need a human; of the newest two one waits for an event, and one has a command out."""
    city.start()
    for number in range(sagas):
        city.hear(IncidentOpened(incident_id=f"done-{number}"), f"done-{number}")
        city.rest()
        city.hear(MissionReported(incident_id=f"done-{number}"), f"arrived-{number}")
        city.rest()
        city.hear(IncidentOpened(incident_id=f"stuck-{number}"), f"stuck-{number}")
        city.rest()
    city.advance(100)
    city.rest()
    Department.held["a"] = asyncio.Event()
    city.hear(IncidentOpened(incident_id="out"), "out")
    Department.fails.clear()
    city.parts.until(lambda: len(Department.calls) == 2 * sagas + 1)
    city.parts.until(lambda: wait(city.runner._ownership._moving.row("out")) is not None)


def count_of(tmp_path: Path, sagas: int) -> dict[str, int]:
    found: dict[str, int] = {}

    def before(city: City) -> None:
        past(city, sagas)
        phases = [city.runner.load(f"{kind}-{number}").phase for kind in ("done", "stuck") for number in range(sagas)]
        assert phases == ["completed"] * sagas + ["needs human"] * sagas
        city.runner.stop()
        Department.held["a"].set()

    def afterwards(city: City) -> None:
        read = Read(city)
        city.parts.start()
        city.parts.until(lambda: city.runner._ownership._at_rest() and city.runner.load("out").steps["a"].status == "done")
        found.update({what: number for what, number in read.count.items() if not what.startswith("sagas/saga-out")})

    city(tmp_path, before, step("a"), ARRIVED)
    city(tmp_path, afterwards, step("a"), ARRIVED)
    return found


def test_what_is_read_at_a_start_does_not_grow_with_the_sagas_that_rest(tmp_path: Path) -> None:
    few, many = (count_of(tmp_path / str(sagas), sagas) for sagas in (3, 30))
    assert many.pop("rows") == few.pop("rows") == 1
    # None of the streams of what rests, and of the log what came behind the last place that was kept: some events at most.
    assert {what for what in many if what.startswith("sagas/")} == set()
    assert many.get("log", 0) < 30


def test_what_rests_until_a_moment_is_read_at_that_moment_and_not_before(tmp_path: Path) -> None:
    def before(city: City) -> None:
        city.start().open().rest()
        assert city.status("arrived") == "waiting"
        city.runner.stop()

    def afterwards(city: City) -> None:
        read = Read(city)
        city.start().rest()
        city.advance(50)
        city.rest()
        assert (read.count["sagas/saga-s"], city.runner._sagas) == (0, {})
        city.advance(61)
        city.rest()
        assert (city.phase(), city.runner._later) == ("needs human", {})

    city(tmp_path, before, ARRIVED)
    city(tmp_path, afterwards, ARRIVED)


def test_what_rests_and_hears_of_its_event_goes_on_at_once_and_is_not_woken_later(tmp_path: Path) -> None:
    def before(city: City) -> None:
        city.start().open().rest()
        city.runner.stop()

    def afterwards(city: City) -> None:
        city.start().rest()
        assert list(city.runner._later) == ["s"]
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.rest()
        assert (city.phase(), Department.calls, city.runner._later) == ("completed", ["b"], {})

    city(tmp_path, before, ARRIVED, step("b"))
    city(tmp_path, afterwards, ARRIVED, step("b"))


def test_whoever_comes_to_have_a_partition_takes_up_what_must_move_and_lets_go_of_all_of_it(tmp_path: Path) -> None:
    def before(city: City) -> None:
        Department.fails = {"a": Refused("no")}
        city.start().open().rest()
        Department.fails.clear()
        assert city.phase() == "needs human"
        city.hear(IncidentOpened(incident_id="t"), "other")
        city.rest()
        city.runner.stop()

    def afterwards(city: City) -> None:
        shares, read = Shares(city), Read(city)
        city.start()
        for _ in range(2):
            shares.give()
            city.parts.until(lambda: list(city.runner._later) == ["t"])
            shares.take()
            city.parts.until(lambda: city.runner._later == {})
        assert read.count["sagas/saga-s"] == read.count["sagas/saga-t"] == 0
        # Nobody has it: a moment that passes here is somebody else's.
        city.advance(200)
        city.rest()
        assert city.runner.load("t").phase == "running"

    city(tmp_path, before, ASKS, ARRIVED)
    city(tmp_path, afterwards, ASKS, ARRIVED)


def test_a_service_that_runs_sagas_without_the_read_model_is_told_what_is_missing(tmp_path: Path) -> None:
    def test(parts: Any) -> None:
        host = type("Host", (Service,), {"name": "sagas", "runner": SagaRunner([])})
        with pytest.raises(ManifestError, match="has no Moving"):
            parts.add(host, "citybrain.sagas.v1.SagaService")

    on_parts(tmp_path, test)
