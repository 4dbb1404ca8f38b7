"""Lines and spans that no emergency has: each is told when it is its turn."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import ClassVar

import pytest
from citybrain.probe.v1 import events_pb2 as ev
from citybrain.probe.v1 import probe_service_pb2 as pb
from typing_extensions import override

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import StoreError
from citybrain.mesh.audit import trail as trails
from citybrain.mesh.audit.entries import Entry
from citybrain.mesh.audit.trail import ChainedTrail
from citybrain.mesh.fault_kinds import Kind
from citybrain.mesh.providers.views import View
from citybrain.mesh.runtime.faults import Fault, Faults
from citybrain.mesh.service import Heard, Owner, Service, passed
from citybrain.mesh.testing import running
from tests.helpers.telemetry import listening

PROBE = "citybrain.probe.v1.ProbeService"
CALL = Entry(subject="test", method="a.v1.B/C")


def key(event: Heard) -> str:
    assert isinstance(event.data, ev.Written)
    return event.data.key


def text(_: dict[str, str] | None, event: Heard) -> dict[str, str]:
    assert isinstance(event.data, ev.Written)
    return {"text": event.data.text}


class Takes(Service):
    """Does what another process passes on, and folds."""

    name = "takes"
    numbers = Owner(pb.CountRequest)
    view = View([ev.Written], key, text, row=dict[str, str])
    taken: ClassVar[list[int]] = []

    @passed(numbers)
    def take(self, message: pb.CountRequest) -> None:
        if not message.to:
            raise ValueError("of whom")
        self.taken.append(message.to)


@pytest.mark.tells(
    "span passed {service.method} consumer", "attribute error.type", "attribute exception.type",
    "attribute exception.stacktrace", "happens exception",
)  # fmt: skip
def test_what_is_passed_on_is_a_span_which_says_where_it_failed_and_not_with_what() -> None:
    with listening() as heard, running(Takes, contract=PROBE) as takes:
        takes.fire("take", pb.CountRequest(to=3))
        with pytest.raises(ValueError, match="of whom"):
            takes.fire("take", pb.CountRequest(to=0))
    well, failed = heard.spans
    assert (well.name, well.status, Takes.taken) == ("passed takes.take", "unset", [3])
    assert (failed.status, failed.status_message, failed.attributes["error.type"]) == ("error", "ValueError", "ValueError")
    assert "in take" in failed.events[0].attributes["exception.stacktrace"]
    assert "of whom" not in failed.events[0].attributes["exception.stacktrace"].replace('ValueError("of whom")', "")


@pytest.mark.tells("field view")
def test_a_view_that_cannot_be_rebuilt_now_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(View, "_look", fails)
    with listening() as heard, running(Takes, contract=PROBE) as takes:
        takes.rest()
    assert {line["view"] for line in heard.lines if line["message"] == "view cannot be rebuilt now"} == {"view"}


@pytest.mark.tells(
    "field fault", "field kind", "field of", "field target", "field share", "field seconds", "field who", "field hits"
)
def test_a_fault_that_somebody_switches_on_is_told_and_not_why() -> None:
    async def on_and_off() -> None:
        faults = Faults()
        late = time.time() + 60
        faults.switch_on(Fault("f1", Kind.LATENCY, "health", late, who="engineer", reason="as Wang Xiaoming asked"))
        faults.switch_off("f1")

    with listening() as heard:
        asyncio.run(on_and_off())
    assert [line["message"] for line in heard.lines] == ["fault is on", "fault is off"]
    assert "Wang" not in str(heard.lines)


class Full(SqliteEventStore):
    """A store that takes nothing."""

    full = False

    @override
    async def append(self, *given: object, **named: object) -> object:  # type: ignore[override]
        if self.full:
            raise StoreError("the disk is full")
        return await super().append(*given, **named)  # type: ignore[arg-type]


@pytest.mark.tells("field chains", "field records")
def test_records_that_are_lost_and_chains_of_others_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trails, "_CLOSE_S", 0.01)

    async def kept_and_lost() -> None:
        store = Full(tmp_path / "events.db")
        trail = ChainedTrail(store, lambda: 1)
        await trail.keep(CALL)
        await trail._anchors.adopt(1, lambda name: False)
        store.full = True
        trail.note(CALL)
        await trail.close()
        store.close()

    with listening() as heard:
        asyncio.run(kept_and_lost())
    lost = "audit records are lost: the store took nothing while this process stopped"
    assert [line["records"] for line in heard.lines if line["message"] == lost] == [1]
