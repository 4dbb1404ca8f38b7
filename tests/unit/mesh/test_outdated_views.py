"""A view whose shape or code changed: what can be read is read, and readiness says what to do until the view is rebuilt."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from citybrain.probe.v1 import events_pb2 as ev

from citybrain.event_store import parking
from citybrain.event_store.store import ANY
from citybrain.mesh.operations.mesh_service import _waits
from citybrain.mesh.operations.readiness import Readiness, Trouble
from citybrain.mesh.providers.rows import RowUnreadable
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Heard, Service, Task, View, Waiting, WaitsForPeople
from citybrain.mesh.storage.leadership import Leadership
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.mesh.testing.setting import event_of

PROBE = "citybrain.probe.v1.ProbeService"
VIEW = f"{PROBE}/shelf.view.rows"
COMMAND = "`city rebuild shelf rows` folds all of them anew"
CODE = f"its rows were folded by other code than runs here: {COMMAND}"
SHAPE = f"its rows have another shape than the code that runs here: {COMMAND}"


@dataclass(frozen=True, slots=True)
class First:
    """A row as it was at first."""

    text: str


@dataclass(frozen=True, slots=True)
class Wider:
    """The same with something added that has a default."""

    text: str
    length: int = 0


@dataclass(frozen=True, slots=True)
class Stricter:
    """The same with something added that has none."""

    text: str
    length: int


def key(event: Heard) -> str:
    return str(event.data.key)  # type: ignore[attr-defined]


def first(row: First | None, event: Heard) -> First | None:
    return First(event.data.text)  # type: ignore[attr-defined]


def louder(row: First | None, event: Heard) -> First | None:
    return First(event.data.text.upper())  # type: ignore[attr-defined]


def wider(row: Wider | None, event: Heard) -> Wider | None:
    return Wider(event.data.text, len(event.data.text))  # type: ignore[attr-defined]


def stricter(row: Stricter | None, event: Heard) -> Stricter | None:
    return Stricter(event.data.text, len(event.data.text))  # type: ignore[attr-defined]


class Shelf:
    """A process with the view in one of its definitions, and its readiness."""

    def __init__(self, parts: Parts, view: View[Any]) -> None:
        self.parts = parts
        service = type("Shelves", (Service,), {"name": "shelf", "rows": view})
        (self.view,) = parts.add(service, PROBE).dependencies
        self.readiness = Readiness(parts.process, parts.containers, failing_s=0.0)
        parts.start(serve=False)
        wait(parts.process.activity.rest())

    def trouble(self, name: str = VIEW) -> Trouble | None:
        wait(self.readiness.look())
        return self.readiness.states[PROBE].troubles[name]

    @property
    def ready(self) -> bool:
        return self.readiness.states[PROBE].ready

    def write(self, text: str, key: str = "k") -> None:
        wait(self.parts.store.append(f"shelf/{key}", [event_of(ev.Written(key=key, text=text), occurred_at=1)], ANY))

    def rebuild(self) -> None:
        live = self.view._live
        wait(self.view.rebuild())
        self.parts.until(lambda: bool(self.view._live != live))


def on_shelf(
    folder: Path, test: Callable[[Shelf], None], apply: Any, row: Any, events: Any = (ev.Written,), **named: Any
) -> None:
    on_parts(folder, lambda parts: test(Shelf(parts, View(events, key, apply, row=row, **named))))


@pytest.fixture
def folded(tmp_path: Path) -> Path:
    """A data folder in which the first definition has folded something."""

    def test(shelf: Shelf) -> None:
        shelf.write("a")
        wait(shelf.parts.process.activity.rest())
        assert (shelf.view.get("k"), shelf.trouble()) == (First("a"), None)

    on_shelf(tmp_path, test, first, First)
    return tmp_path


def test_a_view_whose_code_is_what_folded_it_says_nothing(folded: Path) -> None:
    on_shelf(folded, lambda shelf: equal(shelf.trouble(), None), first, First)


def equal(found: object, expected: object) -> None:
    assert found == expected


def test_where_apply_changed_the_rows_are_served_and_readiness_tells_the_command_until_it_is_rebuilt(folded: Path) -> None:
    def test(shelf: Shelf) -> None:
        assert shelf.trouble() == Trouble(CODE, stops=False)
        assert shelf.ready and shelf.view.get("k") == First("a")
        shelf.write("b", "l")
        wait(shelf.parts.process.activity.rest())
        assert shelf.trouble() == Trouble(CODE, stops=False), "what comes is folded by the new code, what was is as it was"
        assert dict(shelf.view.scan()) == {"k": First("a"), "l": First("B")}
        shelf.rebuild()
        assert shelf.trouble() is None
        assert dict(shelf.view.scan()) == {"k": First("A"), "l": First("B")}

    on_shelf(folded, test, louder, First)
    on_shelf(folded, lambda shelf: equal(shelf.trouble(), None), louder, First)
    on_shelf(folded, lambda shelf: equal(shelf.trouble(), Trouble(CODE, stops=False)), first, First)


def test_a_field_with_a_default_is_added_and_the_rows_that_were_are_read_until_they_are_rebuilt(folded: Path) -> None:
    def test(shelf: Shelf) -> None:
        assert shelf.view.get("k") == Wider("a", 0)
        assert (shelf.trouble(), shelf.ready) == (Trouble(SHAPE, stops=False), True)
        shelf.rebuild()
        assert (shelf.view.get("k"), shelf.trouble()) == (Wider("a", 1), None)

    on_shelf(folded, test, wider, Wider)


UNREADABLE = f"row 'k' of shelf rows cannot be read: it has no field length, and length has no default; {COMMAND}"


def test_a_row_that_lacks_a_field_is_an_error_with_view_field_and_command_and_the_service_is_not_ready(folded: Path) -> None:
    def test(shelf: Shelf) -> None:
        assert (shelf.trouble(), shelf.ready) == (Trouble(UNREADABLE, stops=True), False), "before anybody has asked for it"
        for read in (lambda: shelf.view.get("k"), shelf.view.scan, lambda: shelf.view.derived(len)):
            with pytest.raises(RowUnreadable) as caught:
                read()
            assert str(caught.value) == UNREADABLE
        shelf.rebuild()
        assert (shelf.trouble(), shelf.ready, shelf.view.get("k")) == (None, True, Stricter("a", 1))

    on_shelf(folded, test, stricter, Stricter)


def test_an_event_whose_row_cannot_be_read_stands_aside_and_others_are_folded(
    folded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "FIRST_PAUSE_S", 0.001)

    def test(shelf: Shelf) -> None:
        shelf.write("b")
        shelf.write("cc", "l")
        shelf.parts.until(lambda: wait(shelf.view.row("l")) == Stricter("cc", 2))
        ((parked,),) = wait(shelf.view.member.parked()).values()
        assert parked.stream == "shelf/k" and parked.reason.startswith("RowUnreadable")
        shelf.rebuild()
        shelf.parts.until(lambda: dict(shelf.view.scan()) == {"k": Stricter("b", 1), "l": Stricter("cc", 2)})

    on_shelf(folded, test, stricter, Stricter)


def test_that_rows_cannot_be_read_is_told_before_that_an_event_fails_for_it(folded: Path) -> None:
    def test(shelf: Shelf) -> None:
        shelf.write("b")
        shelf.parts.until(lambda: bool(wait(shelf.view.member.standing()).failing))
        assert shelf.trouble() == Trouble(UNREADABLE, stops=True)

    on_shelf(folded, test, stricter, Stricter)


def test_a_reader_that_is_late_with_a_row_of_the_old_generation_says_nothing_of_the_new_one(folded: Path) -> None:
    def test(shelf: Shelf) -> None:
        shelf.rebuild()
        with pytest.raises(RowUnreadable):
            wait(shelf.view._opened(1, {"k": {"text": "a"}}))
        assert (shelf.trouble(), shelf.ready) == (None, True)

    on_shelf(folded, test, stricter, Stricter)


def test_what_a_view_hears_and_what_of_it_is_personal_are_of_its_definition(folded: Path) -> None:
    def more(shelf: Shelf) -> None:
        assert shelf.trouble() == Trouble(CODE, stops=False)

    on_shelf(folded, more, first, First, events=(ev.Written, ev.Told))


@dataclass(frozen=True, slots=True)
class Open:
    """Who said what."""

    who: str = ""
    said: str | None = None


def said(row: Open | None, event: Heard) -> Open | None:
    return Open("per-1")


def test_a_field_that_becomes_personal_is_told_since_what_is_kept_of_it_is_not_sealed(tmp_path: Path) -> None:
    on_shelf(tmp_path, lambda shelf: equal(shelf.trouble(), None), said, Open)
    told = Trouble(SHAPE, stops=False)
    on_shelf(tmp_path, lambda shelf: equal(shelf.trouble(), told), said, Open, personal={"said": "who"})


def test_what_was_folded_before_this_was_kept_counts_as_folded_by_the_code_that_opens_it_first(folded: Path) -> None:
    with contextlib.closing(sqlite3.connect(folded / "shelf.views.db")) as older:
        older.execute("DROP TABLE folded_by")
    on_shelf(folded, lambda shelf: equal(shelf.trouble(), None), louder, First)
    on_shelf(folded, lambda shelf: equal(shelf.trouble(), Trouble(CODE, stops=False)), first, First)


def test_of_code_that_has_no_source_nothing_is_said(folded: Path) -> None:
    on_shelf(folded, lambda shelf: equal(shelf.trouble(), None), functools.partial(louder), First)


def test_a_process_that_stands_by_tells_it_too_and_is_silent_when_another_has_rebuilt(folded: Path) -> None:
    def test(shelf: Shelf) -> None:
        assert shelf.trouble() == Trouble(CODE, stops=False)
        elsewhere = wait(shelf.view._switch.change(lambda now: type(now)(now.live, 2, shelf.view._code, 2)))
        assert elsewhere.building == 2
        other.give_up()
        shelf.parts.until(lambda: shelf.trouble() is None)
        assert shelf.view.get("k") == First("A")

    other = Leadership(folded / "shelf.lead")
    assert other.take()
    on_shelf(folded, test, louder, First)


def waiting(row: Waiting | None, event: Heard) -> Waiting | None:
    return Waiting((Task("trouble", "", "so it is", 1),))


def test_what_waits_for_people_is_not_told_where_it_cannot_be_read_and_readiness_says_why(tmp_path: Path) -> None:
    def write(shelf: Shelf) -> None:
        shelf.write("a")
        wait(shelf.parts.process.activity.rest())
        assert wait(shelf.view.waits()).oldest == "k"

    def test(shelf: Shelf) -> None:
        trouble = shelf.trouble()
        assert trouble is not None and trouble.stops and "it has no field tasks" in trouble.reason
        (container,) = shelf.parts.containers
        assert wait(_waits(container)) is None

    on_parts(tmp_path, lambda parts: write(Shelf(parts, WaitsForPeople((ev.Written,), key, waiting))))
    with spoilt(tmp_path, '{"since": 1}'):
        on_parts(tmp_path, lambda parts: test(Shelf(parts, WaitsForPeople((ev.Written,), key, waiting))))


@contextlib.contextmanager
def spoilt(folder: Path, row: str) -> Iterator[None]:
    """The view file with another row in it."""
    with contextlib.closing(sqlite3.connect(folder / "shelf.views.db", isolation_level=None)) as file:
        assert file.execute("UPDATE rows SET row = ? WHERE view = 'rows'", (row,)).rowcount == 1
    yield
