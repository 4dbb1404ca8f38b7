"""The list of sagas in the memory of each process: what the log says, whoever writes it and wherever a process begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from citybrain.event_store.read_models import Row
from citybrain.event_store.store import NewEvent, StoredEvent
from citybrain.mesh.events import hear
from citybrain.mesh.providers.rows import RowUnreadable
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing import Running, running
from citybrain.mesh.testing.parts import Parts, greenlets, on_parts
from citybrain.sagas import listing
from citybrain.sagas.engine.definition import Parallel
from citybrain.sagas.engine.state import pack
from citybrain.sagas.kept import Sagas
from citybrain.sagas.listing import SagaRow
from citybrain.sagas.service import SagaService
from tests.helpers.waiting import until
from tests.unit.sagas.test_decider import BRANCHES, Run
from tests.unit.sagas.test_decider import step as pure_step
from tests.unit.sagas.test_moving import Happening, happen
from tests.unit.sagas.test_service import away, listed, opened


def view_of(container: Container) -> Sagas:
    (view,) = [one for one in container.dependencies if isinstance(one, Sagas)]
    return view


def append(parts: Parts, saga_id: str, *events: Message | NewEvent) -> None:
    stream = f"sagas/saga-{saga_id}"
    version = len(wait(parts.store.read(stream)))
    new = [
        event
        if isinstance(event, NewEvent)
        else NewEvent(f"{saga_id}-{version + n}", event.DESCRIPTOR.full_name, event.SerializeToString(), occurred_at=1)
        for n, event in enumerate(events)
    ]
    wait(parts.store.append(stream, new, version))


def started(saga_id: str) -> ev.SagaStarted:
    """Of a workflow that no release has, so that nobody carries it on."""
    return ev.SagaStarted(saga_id=saga_id, workflow="of_others", workflow_version=1, input=pack(IncidentOpened()))


def names(parts: Parts, container: Container, **question: Any) -> list[str]:
    (entrypoint,) = [one for one in container.entrypoints if one.method_name == "ListSagas"]
    answer = wait(container.run_worker(entrypoint, pb.ListSagasRequest(**question)))
    return sorted(saga.saga_id for saga in answer.sagas)


def test_each_process_lists_what_any_of_them_writes(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        # Nobody has folded this one when the first process begins.
        append(parts, "old", started("old"))
        first = parts.add(SagaService, "citybrain.sagas.v1.SagaService")
        parts.start()
        parts.until(lambda: names(parts, first) == ["old"])
        other = Parts(parts.process.settings.data)
        try:
            second = other.add(SagaService, "citybrain.sagas.v1.SagaService")
            other.start(serve=False)
            append(parts, "a", started("a"))
            parts.until(lambda: names(other, second) == ["a", "old"])
            append(other, "b", started("b"))
            append(other, "a", ev.SagaCompleted())
            completed = {"states": [pb.SAGA_STATE_COMPLETED]}
            parts.until(lambda: names(parts, first) == ["a", "b", "old"] and names(parts, first, **completed) == ["a"])
        finally:
            other.stop()

    on_parts(tmp_path, test)


def test_after_a_restart_a_process_lists_the_same_whatever_its_rows_hold_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(sagas: Running) -> Sequence[pb.Saga]:
        sagas.rest()
        return list(sagas.fire("ListSagas", pb.ListSagasRequest()).sagas)

    with running(SagaService, away(), folder=tmp_path) as sagas:
        for number in range(3):
            opened(sagas, f"i{number}")
        sagas.fire("CancelSaga", pb.CancelSagaRequest(saga_id="i1", reason="a test"))
        sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i2", reason="a test"))
        before = shown(sagas)
    with running(SagaService, away(), folder=tmp_path) as sagas:
        assert shown(sagas) == before
        # A view of Cassandra may hold more than its position says.
        view = view_of(sagas._container)
        models = view.member.service_models.models

        async def nowhere(group: str) -> int | None:
            return None

        monkeypatch.setattr(models, "position", nowhere)

        def anew() -> None:
            # In this order, and on its loop: else it may be read before it is said to be unread.
            view._read.clear()
            view._keep_anew()

        greenlets().run(anew)
        assert shown(sagas) == before


@example(["refuse", "skip", ("later", 1), "refuse"], 1)
@given(st.lists(Happening, max_size=30), st.integers(0, 100))
def test_a_row_passes_over_events_that_are_in_it_already(happenings: list[Any], first_again: int) -> None:
    run = Run(Parallel(BRANCHES), pure_step("d", otherwise="needs human"))
    for number, happening in enumerate(happenings):
        happen(run, happening, number)

    def folded(row: SagaRow | None, first: int) -> SagaRow | None:
        for number in range(first, len(run.log)):
            event, at = run.log[number], run.times[number]
            kind, data_of = event.DESCRIPTOR.full_name, event.SerializeToString()
            kept = StoredEvent(str(number), kind, data_of, at, "", "", "", "", "", 0, "sagas/saga-s", number + 1, 0, number + 1)
            row = listing.apply(row, hear(kept))
        return row

    row = folded(None, 0)
    assert row is not None and (row.state, row.reason, row.since) == (run.state.phase, run.state.reason, run.state.since)
    assert folded(row, first_again) == row


def test_a_view_that_was_rebuilt_is_listed_anew() -> None:
    with running(SagaService, away()) as sagas:
        opened(sagas, "i1")
        view = view_of(sagas._container)
        greenlets().run(lambda: view._ordered.put(SagaRow("ghost", 1)))
        assert listed(sagas) == ["i1", "ghost"]
        greenlets().do(view.rebuild())
        until(lambda: listed(sagas) == ["i1"], "the list without the ghost")


def test_a_list_of_rows_that_cannot_be_read_says_what_to_do_until_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(SagaService, away()) as sagas:
        opened(sagas, "i1")
        view = view_of(sagas._container)

        async def unreadable(after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
            raise RowUnreadable("`city rebuild sagas sagas` folds all of them anew")

        monkeypatch.setattr(view, "rows", unreadable)
        view._read.clear()
        view._at_end = lambda: False
        greenlets().run(view._keep_anew)
        # What cannot be read is not waited for.
        sagas.rest()
        with pytest.raises(RowUnreadable, match="city rebuild sagas sagas"):
            listed(sagas)
        monkeypatch.undo()

        def again() -> bool:
            try:
                return listed(sagas) == ["i1"]
            except RowUnreadable:
                return False

        until(again, "the list")


def test_a_process_is_at_rest_only_when_its_list_has_come_to_the_end_of_the_log() -> None:
    with running(SagaService, away()) as sagas:
        sagas.rest()
        view_of(sagas._container)._at_end = lambda: False
        assert not sagas._process.activity.at_rest


def test_an_event_that_cannot_be_read_hides_no_other_saga(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        container = parts.add(SagaService, "citybrain.sagas.v1.SagaService")
        parts.start()
        append(parts, "broken", NewEvent("x", ev.SagaStarted.DESCRIPTOR.full_name, b"\xff", occurred_at=1))
        append(parts, "a", started("a"))
        parts.until(lambda: names(parts, container) == ["a"])

    on_parts(tmp_path, test)
