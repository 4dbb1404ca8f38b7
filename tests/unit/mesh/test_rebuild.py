"""A view is folded anew beside the live one, which nothing touches until the new one takes its place (ES-11)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from citybrain.probe.v1 import events_pb2 as ev
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from citybrain.event_store import parking
from citybrain.event_store.read_models import FoldedBy
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.store import ANY
from citybrain.mesh.providers import views
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Heard, Service, View
from citybrain.mesh.storage.leadership import Leadership
from citybrain.mesh.subscriptions.generations import Generations, Switch, table
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.mesh.testing.setting import event_of

PROBE = "citybrain.probe.v1.ProbeService"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A row: as it was at first it had a count, now it has texts."""

    count: int = 0
    texts: tuple[str, ...] = ()


def counted(row: Shelf | None, event: Heard) -> Shelf | None:
    """As the view was defined at first."""
    return Shelf((row or Shelf()).count + 1)


def listed(row: Shelf | None, event: Heard) -> Shelf | None:
    """As it is defined now: what it holds is something else, and what does not come from it fails."""
    texts = (*(row or Shelf()).texts, event.data.text)  # type: ignore[attr-defined]
    if "broken" in event.data.text:  # type: ignore[attr-defined]
        raise ValueError("the new definition cannot fold this")
    return Shelf(texts=texts)


def opened(parts: Parts, apply: Callable[[Shelf | None, Heard], Shelf | None], code: str = "") -> View[Shelf]:
    """A process with the view in one of its definitions, whose code has a name."""

    class Named(View[Shelf]):
        @override
        def _folded_by(self) -> FoldedBy:
            return FoldedBy("shelf", code or apply.__name__)

    view = Named((ev.Written,), lambda event: event.data.key, apply, row=Shelf)  # type: ignore[attr-defined]
    service = type("Shelves", (Service,), {"name": "shelf", "rows": view})
    (found,) = parts.add(service, PROBE).dependencies
    assert isinstance(found, View)
    parts.start(serve=False)
    return found


def write(parts: Parts, *texts: str, key: str = "k") -> None:
    events = [event_of(ev.Written(key=key, text=text), occurred_at=1) for text in texts]
    wait(parts.store.append(f"shelf/{key}", events, ANY))


def counting(tmp_path: Path, *texts: str) -> None:
    """What there was before the definition changed."""

    def test(parts: Parts) -> None:
        write(parts, *texts)
        view = opened(parts, counted)
        wait(parts.process.activity.rest())
        assert view.get("k") == Shelf(len(texts))

    on_parts(tmp_path, test)


def test_a_view_whose_definition_changed_is_folded_anew_and_goes_on_live(tmp_path: Path) -> None:
    counting(tmp_path, "a", "b")

    def test(parts: Parts) -> None:
        view = opened(parts, listed)
        wait(parts.process.activity.rest())
        assert view.get("k") == Shelf(2), "until somebody asks, the old rows are read"
        wait(view.rebuild())
        parts.until(lambda: view.get("k") == Shelf(texts=("a", "b")))
        assert wait(view.rebuilding()) == views.Rebuilding(2, 0, 0, 0, 0, "")
        write(parts, "c")
        parts.until(lambda: view.get("k") == Shelf(texts=("a", "b", "c")))

    on_parts(tmp_path, test)

    def after(parts: Parts) -> None:
        view = opened(parts, listed)
        assert view.get("k") == Shelf(texts=("a", "b", "c")), "and so is it after a restart"
        write(parts, "d")
        parts.until(lambda: view.get("k") == Shelf(texts=("a", "b", "c", "d")))

    on_parts(tmp_path, after)


def others(parts: Parts, *texts: str) -> None:
    """Events that the view does not hear."""
    events = [event_of(ev.Noted(text=text), occurred_at=1) for text in texts]
    wait(parts.store.append("shelf/others", events, ANY))


@pytest.mark.parametrize("before", [(), ("a",)], ids=["nothing for the view", "something long ago"])
def test_a_view_that_hears_nothing_of_what_stands_last_in_the_log_is_rebuilt_all_the_same(
    tmp_path: Path, before: tuple[str, ...]
) -> None:
    def test(parts: Parts) -> None:
        for text in before:
            write(parts, text)
        others(parts, "x", "y")
        view = opened(parts, listed)
        wait(view.rebuild())
        parts.until(lambda: wait(view.rebuilding()).live == 2)
        assert view.get("k") == (Shelf(texts=("a",)) if before else None)
        others(parts, "z")
        write(parts, "b")
        parts.until(lambda: view.get("k") == Shelf(texts=(*before, "b")))

    on_parts(tmp_path, test)


def test_how_far_a_rebuild_has_come_is_known_to_processes_that_do_not_work_on_it(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        others(parts, "x", "y")
        view = opened(parts, listed)
        models = view.member.service_models.models
        parts.until(lambda: wait(models.position("shelf.view.rows")) is not None)
        wait(view.rebuild())
        parts.until(lambda: wait(view.rebuilding()).live == 2)
        assert wait(models.position("shelf.view.rows~2")) == 2

    on_parts(tmp_path, test)


def test_the_rows_of_the_old_generation_go_when_nobody_reads_them_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_OLD_S", 0.0)

    def test(parts: Parts) -> None:
        write(parts, "a")
        view = opened(parts, counted)
        models = view.member.service_models.models
        parts.until(lambda: view.get("k") is not None)
        for generation in (2, 3):
            wait(view.rebuild())
            parts.until(lambda generation=generation: wait(view.rebuilding()).live == generation)  # type: ignore[misc]
            parts.until(lambda generation=generation: not wait(models.scan(table("rows", generation - 1))))  # type: ignore[misc]
            assert view.get("k") == Shelf(1)

    on_parts(tmp_path, test)


def test_a_crash_in_the_middle_leaves_the_live_one_untouched_and_the_rebuild_goes_on(tmp_path: Path) -> None:
    counting(tmp_path, "a", "broken", "c")

    def crashes(parts: Parts) -> None:
        view = opened(parts, listed)
        wait(view.rebuild())
        parts.until(lambda: view.builder is not None and "ValueError" in wait(view.builder.standing()).failing)
        by = wait(view.member.service_models.models.keep_folded_by("shelf.view.rows~2", FoldedBy("of", "another")))
        assert by == view._by, "by what it is folded is said before anything is folded"
        assert view.get("k") == Shelf(3)
        assert wait(view.rebuilding()).live == 1

    on_parts(tmp_path, crashes)

    def goes_on(parts: Parts) -> None:
        # The same code by its name, without what failed: a crash is not a new release.
        view = opened(parts, lambda row, event: Shelf(texts=(*(row or Shelf()).texts, event.data.text)), "listed")  # type: ignore[attr-defined]
        assert view.get("k") == Shelf(3)
        parts.until(lambda: view.get("k") == Shelf(texts=("a", "broken", "c")))

    on_parts(tmp_path, goes_on)


def test_what_was_begun_by_other_code_is_not_gone_on_with_until_somebody_asks_again(tmp_path: Path) -> None:
    counting(tmp_path, "a", "broken")

    def begun(parts: Parts) -> None:
        view = opened(parts, listed)
        wait(view.rebuild())
        parts.until(lambda: view.builder is not None)

    on_parts(tmp_path, begun)

    def newer(parts: Parts) -> None:
        view = opened(parts, counted)
        wait(view._look())
        assert view.builder is None
        now = wait(view.rebuilding())
        assert (now.live, now.building) == (1, 2) and "begun by other code" in now.problem
        wait(view.rebuild())
        parts.until(lambda: wait(view.rebuilding()).live == 3)
        assert view.get("k") == Shelf(2)

    on_parts(tmp_path, newer)


def test_what_cannot_be_folded_whole_does_not_take_the_place_of_the_live_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "FIRST_PAUSE_S", 0.001)
    counting(tmp_path, "a", "broken")

    def test(parts: Parts) -> None:
        view = opened(parts, listed)
        wait(view.rebuild())
        parts.until(lambda: wait(view.rebuilding()).parked == 1)
        for _ in range(3):
            wait(view._look())
        now = wait(view.rebuilding())
        assert (now.live, now.building) == (1, 2) and "parked events: 1;" in now.problem
        assert view.get("k") == Shelf(2)
        wait(view.give_up())
        parts.until(lambda: view.builder is None)
        assert wait(view.rebuilding()).building == 0

    on_parts(tmp_path, test)


def test_asked_again_it_begins_anew_and_what_was_half_built_is_in_nothing(tmp_path: Path) -> None:
    counting(tmp_path, "a", "b")

    def test(parts: Parts) -> None:
        view = opened(parts, listed)
        for _ in range(4):
            wait(view.rebuild())
        parts.until(lambda: wait(view.rebuilding()).live == 5)
        assert view.get("k") == Shelf(texts=("a", "b"))

    on_parts(tmp_path, test)


def test_a_process_that_stands_by_reads_the_new_one_as_soon_as_another_has_switched(tmp_path: Path) -> None:
    async def elsewhere(models: SqliteReadModels, view: View[Shelf]) -> None:
        epoch, _ = await models.join("shelf.view.rows~2")
        await models.save("shelf.view.rows~2", epoch, 1, "rows~2", {"k": {"texts": ["a"]}})
        await Switch(models, "rows", "shelf.view.rows").change(lambda now: Generations(2, last=2))

    def test(parts: Parts) -> None:
        other = Leadership(tmp_path / "shelf.lead")
        assert other.take()
        view = opened(parts, listed)
        models = SqliteReadModels(tmp_path / "shelf.views.db")
        assert view.get("k") is None
        wait(elsewhere(models, view))
        parts.until(lambda: view.get("k") == Shelf(texts=("a",)))
        models.close()
        other.give_up()
        write(parts, "a", "b")
        parts.until(lambda: view.get("k") == Shelf(texts=("a", "b")))

    on_parts(tmp_path, test)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(st.sampled_from(["write", "write", "rebuild", "give up", "restart"]), min_size=3, max_size=10))
def test_whatever_happens_meanwhile_the_view_is_a_fold_of_the_log(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("shelf")
    written: dict[str, list[str]] = {"x": [], "y": []}

    def session(parts: Parts, steps: list[str]) -> None:
        view = opened(parts, listed)
        for number, step in enumerate(steps):
            if step == "write":
                key = "xy"[number % 2]
                text = f"{len(written[key])}"
                written[key].append(text)
                write(parts, text, key=key)
            elif step == "rebuild":
                wait(view.rebuild())
            else:
                wait(view.give_up())
        parts.until(lambda: not wait(view.rebuilding()).building)
        wait(parts.process.activity.rest())
        assert {key: list(row.texts) for key, row in view.scan()} == {key: texts for key, texts in written.items() if texts}

    while steps:
        end = steps.index("restart") if "restart" in steps else len(steps)
        on_parts(folder, functools.partial(session, steps=steps[:end]))
        steps = steps[end + 1 :]
