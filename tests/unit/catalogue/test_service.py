"""The catalogue's service: every event of the log is counted, whosever it is, and still counted after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from citybrain.catalogue.v1 import catalogue_service_pb2 as pb
from citybrain.health.v1.events_pb2 import AmbulanceReleased, AmbulanceReserved

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import NewEvent, StoreError
from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import type_name
from citybrain.mesh.storage.embedded import Embedded
from citybrain.mesh.testing import Running, running
from citybrain.mesh.testing.parts import greenlets
from citybrain.services.catalogue.service import CatalogueService
from tests.helpers.waiting import until

RESERVED, RELEASED = type_name(AmbulanceReserved), type_name(AmbulanceReleased)
STRANGE = "citybrain.nowhere.v1.NothingKnown"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.mesh.providers.every_event.EveryEvent.pause_s", 0.01)


@pytest.fixture
def catalogue() -> Iterator[Running]:
    with running(CatalogueService) as catalogue:
        yield catalogue


def listed(catalogue: Running, **asked: object) -> pb.ListEventTypesResponse:
    answer = catalogue.fire("ListEventTypes", pb.ListEventTypesRequest(**asked))  # type: ignore[arg-type]
    assert isinstance(answer, pb.ListEventTypesResponse)
    return answer


def until_counted(catalogue: Running, kind: str, count: int) -> pb.EventType:
    catalogue.wait_for_row("events", kind, lambda row: row is not None and row.count == count)
    (found,) = listed(catalogue, type=kind).types
    return found


def write(catalogue: Running, kind: str, data: bytes, *, count: int = 1) -> None:
    """Appends events as bytes, as a service would whose contract this process does not have."""

    async def work() -> None:
        new = [NewEvent(f"{kind}-{number}", kind, data, occurred_at=1) for number in range(count)]
        await catalogue.parts.store.append(f"parks/{kind}", new, 0)

    greenlets().do(work())


def test_each_type_is_counted_with_its_oldest_and_its_newest_event(catalogue: Running) -> None:
    catalogue.tell(AmbulanceReserved(ambulance_id="a1"))
    catalogue.tell(AmbulanceReserved(ambulance_id="a2"))
    catalogue.tell(AmbulanceReleased(ambulance_id="a1"))
    reserved = until_counted(catalogue, RESERVED, 2)
    assert 0 < reserved.first_recorded_at.seconds <= reserved.last_recorded_at.seconds
    assert sum(day.count for day in reserved.days) == 2 and len(reserved.days[0].date) == 10
    assert reserved.HasField("lateness") and reserved.quality.unreadable == 0
    until_counted(catalogue, RELEASED, 1)
    assert [one.type for one in listed(catalogue).types] == [RELEASED, RESERVED]


def test_a_type_that_no_contract_here_has_is_counted_too(catalogue: Running) -> None:
    write(catalogue, STRANGE, b"\xff")
    strange = until_counted(catalogue, STRANGE, 1)
    assert strange.quality.unreadable == 0 and strange.quality.late == 1


def test_bytes_that_do_not_read_as_their_type_are_told(catalogue: Running) -> None:
    write(catalogue, RESERVED, b"\xff\xff")
    assert until_counted(catalogue, RESERVED, 1).quality.unreadable == 1


def test_the_counts_are_there_after_a_restart_and_no_event_counts_twice(tmp_path: Path) -> None:
    with running(CatalogueService, folder=tmp_path) as before:
        before.tell(AmbulanceReserved(ambulance_id="a1"))
        first = until_counted(before, RESERVED, 1)
    with running(CatalogueService, folder=tmp_path) as after:
        assert listed(after, type=RESERVED).types == [first]
        after.tell(AmbulanceReserved(ambulance_id="a2"))
        second = until_counted(after, RESERVED, 2)
        assert second.first_recorded_at == first.first_recorded_at


def test_behind_the_log_it_reads_page_after_page_without_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.mesh.providers.every_event.EveryEvent.pause_s", 3600.0)
    with running(CatalogueService, folder=tmp_path) as before:
        before.tell(AmbulanceReserved(ambulance_id="a1"))
        until_counted(before, RESERVED, 1)
        for part in range(11):
            write(before, f"{STRANGE}{part}", b"", count=100)
    with running(CatalogueService, folder=tmp_path) as after:
        assert until_counted(after, f"{STRANGE}10", 100)


def test_rest_does_not_wait_for_the_catalogue(catalogue: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.mesh.providers.every_event.EveryEvent.pause_s", 3600.0)
    catalogue.tell(AmbulanceReserved(ambulance_id="a1"))
    until_counted(catalogue, RESERVED, 1)
    catalogue.tell(AmbulanceReserved(ambulance_id="a2"))
    catalogue.rest()


def test_what_is_counted_is_behind_no_longer_although_it_pauses(catalogue: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.mesh.providers.every_event.EveryEvent.pause_s", 3600.0)
    member = catalogue._view("events").member
    write(catalogue, STRANGE, b"")
    until_counted(catalogue, STRANGE, 1)
    until(lambda: greenlets().do(member.standing()).lag == 0, "that nothing is left to do")
    # What comes meanwhile waits for the end of the pause, and nobody takes that for a stall.
    write(catalogue, RESERVED, b"")
    until(lambda: greenlets().do(member.standing()).lag == 1, "that there is something to do")
    assert [greenlets().do(member.standing()).still_s for _ in range(3)] == [0, 0, 0]


def test_types_come_in_pages_and_a_token_of_another_question_is_refused(catalogue: Running) -> None:
    for kind in ("a.v1.One", "a.v1.Two", "a.v1.Three"):
        write(catalogue, kind, b"")
        until_counted(catalogue, kind, 1)
    first = listed(catalogue, page_size=2)
    second = listed(catalogue, page_size=2, page_token=first.next_page_token)
    assert [one.type for one in (*first.types, *second.types)] == ["a.v1.One", "a.v1.Three", "a.v1.Two"]
    assert second.next_page_token == ""
    with pytest.raises(BadRequest):
        listed(catalogue, type="a.v1.One", page_token=first.next_page_token)


def test_while_city_time_is_driven_nothing_is_said_of_lateness(catalogue: Running) -> None:
    write(catalogue, STRANGE, b"")
    assert until_counted(catalogue, STRANGE, 1).HasField("lateness")
    process = catalogue.parts.process
    process.settings = process.settings.model_copy(update={"time": "driven"})
    (strange,) = listed(catalogue, type=STRANGE).types
    assert not strange.HasField("lateness") and strange.quality.late == 0 and strange.count == 1


def test_it_can_be_rebuilt_from_the_log(catalogue: Running) -> None:
    write(catalogue, STRANGE, b"", count=3)
    until_counted(catalogue, STRANGE, 3)
    view = catalogue._view("events")
    greenlets().do(view.rebuild())
    until(lambda: view._live == 1 or None, "the new generation is live")
    assert until_counted(catalogue, STRANGE, 3).count == 3


def test_a_part_of_the_log_that_appears_later_is_counted_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.mesh.providers.every_event._SERVICES_S", 0.0)
    real = SqliteEventStore.partitions
    known: list[bool] = []
    monkeypatch.setattr(SqliteEventStore, "partitions", lambda store, types=None: real(store, types) if known else [])
    with running(CatalogueService) as catalogue:
        write(catalogue, STRANGE, b"")
        assert listed(catalogue).types == []
        known.append(True)
        until_counted(catalogue, STRANGE, 1)


def test_that_not_all_services_are_known_now_keeps_nothing_from_being_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(engine: Embedded) -> None:
        raise StoreError("the broker does not say")

    monkeypatch.setattr(Embedded, "know_all", away)
    with running(CatalogueService) as catalogue:
        write(catalogue, STRANGE, b"")
        until_counted(catalogue, STRANGE, 1)
