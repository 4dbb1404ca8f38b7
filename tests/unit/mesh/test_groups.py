"""A process as a member of consumer groups: when it is at rest, and when another one leads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from citybrain.traffic.v1 import events_pb2 as ev

from citybrain.event_store.contract import ANY, NewEvent, Partition, StoreError
from citybrain.event_store.read_models import Row
from citybrain.event_store.subscription import Batch
from citybrain.event_store.views import ViewFile
from citybrain.mesh.engine import AllOrNothing
from citybrain.mesh.events import type_name
from citybrain.mesh.groups import GroupMember, Part
from citybrain.mesh.leadership import Leadership
from citybrain.mesh.runtime import wait
from citybrain.mesh.service import Heard, Service, View
from citybrain.mesh.testing.parts import Parts, on_parts

TRAFFIC = "citybrain.traffic.v1.TrafficService"
REPORTED = type_name(ev.SignalReported)


def apply(row: Row | None, event: Heard) -> Row | None:
    return {"id": event.stored.id}


class Shelf(Service):
    """Folds one view."""

    name = "shelf"
    rows = View((ev.SignalReported,), lambda event: event.data.signal_id, apply)  # type: ignore[attr-defined]


def write(parts: Parts) -> None:
    new = NewEvent(id="a", type=REPORTED, data=ev.SignalReported(signal_id="s").SerializeToString(), occurred_at=1)
    wait(parts.store.append("s", [new], ANY))


def shelf(parts: Parts) -> View:
    write(parts)
    (view,) = parts.add(Shelf, TRAFFIC).dependencies
    assert isinstance(view, View)
    parts.start(serve=False)
    return view


def test_a_process_that_has_just_begun_is_not_at_rest_before_it_has_heard_what_was(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        heard: list[str] = []

        async def handle(part: Part, batch: Batch) -> None:
            heard.extend(event.id for event in batch.events)

        write(parts)
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        assert not parts.process.activity.at_rest
        wait(parts.process.activity.rest())
        assert heard == ["a"]
        member.leave()

    on_parts(tmp_path, test)


def test_a_process_that_stands_by_is_at_rest_and_folds_once_it_leads(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        other = Leadership(tmp_path / "shelf.lead")
        assert other.take()
        view = shelf(parts)
        wait(parts.process.activity.rest())
        assert view.get("s") is None
        other.give_up()
        parts.until(lambda: view.get("s") == {"id": "a"})

    on_parts(tmp_path, test)


def test_a_subscription_that_hangs_is_begun_again_and_says_so(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        tries: list[str] = []

        async def handle(part: Part, batch: Batch) -> None:
            tries.extend(event.id for event in batch.events)
            if len(tries) == 1:
                await asyncio.Event().wait()
            await part.save(batch)

        write(parts)
        parts.process.settings = parts.process.settings.model_copy(update={"stalled_s": 0.2})
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        parts.until(lambda: len(tries) == 2)
        parts.until(lambda: wait(member.standing()).lag == 0)
        standing = wait(member.standing())
        assert (standing.restarts, standing.position, tries) == (1, 1, ["a", "a"])
        member.leave()

    on_parts(tmp_path, test)


def test_a_group_with_nothing_to_do_is_never_taken_for_one_that_hangs(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        async def handle(part: Part, batch: Batch) -> None:
            await part.save(batch)

        parts.process.settings = parts.process.settings.model_copy(update={"stalled_s": 0.05})
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        write(parts)
        for _ in range(10):
            wait(asyncio.sleep(0.03))
        assert wait(member.standing()).restarts == 0
        member.leave()

    on_parts(tmp_path, test)


def test_read_models_that_do_not_answer_for_a_while_end_no_membership(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(parts: Parts) -> None:
        other = Leadership(tmp_path / "shelf.lead")
        assert other.take()
        away = {"join": 1, "changes": 3}

        def failing(name: str, whole: Any) -> Any:
            async def ask(models: ViewFile, *given: Any) -> Any:
                if away[name]:
                    away[name] -= 1
                    raise StoreError("does not answer")
                return await whole(models, *given)

            return ask

        for name in away:
            monkeypatch.setattr(ViewFile, name, failing(name, getattr(ViewFile, name)))
        view = shelf(parts)
        parts.until(lambda: not away["changes"])
        other.give_up()
        parts.until(lambda: view.get("s") == {"id": "a"})
        assert not away["join"]

    on_parts(tmp_path, test)


def test_a_lead_that_cannot_be_taken_for_a_while_is_taken_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(parts: Parts) -> None:
        take, failures = Leadership.take, [OSError("too many open files")] * 3

        def failing(lead: Leadership) -> bool:
            if failures:
                raise failures.pop()
            return take(lead)

        monkeypatch.setattr(Leadership, "take", failing)
        view = shelf(parts)
        parts.until(lambda: view.get("s") == {"id": "a"})

    on_parts(tmp_path, test)


def test_a_defect_in_what_looks_after_a_membership_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.mesh.groups._AFTER_LOSS_S", 0.01)

    def test(parts: Parts) -> None:
        partitions, failures = AllOrNothing.partitions, [LookupError("a defect")] * 3

        def failing(assignment: AllOrNothing) -> Mapping[str, Partition]:
            if failures:
                raise failures.pop()
            return partitions(assignment)

        monkeypatch.setattr(AllOrNothing, "partitions", failing)
        view = shelf(parts)
        parts.until(lambda: view.get("s") == {"id": "a"})

    on_parts(tmp_path, test)
