"""A read model that pauses after each page of the log: an event that fails does not make it pause after each event."""

from __future__ import annotations

from pathlib import Path

from citybrain.traffic.v1 import events_pb2 as ev

from citybrain.event_store.store import NewEvent
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Heard, Service, View
from citybrain.mesh.testing.parts import Parts, on_parts


def key(event: Heard) -> str:
    return str(event.data.command_id)  # type: ignore[attr-defined]


def apply(row: dict[str, str] | None, event: Heard) -> dict[str, str]:
    if key(event) == "bad":
        raise ValueError("it cannot be folded")
    return {"seen": key(event)}


class Unhurried(View[dict[str, str]]):
    """It pauses for as long as a test may take."""

    rests = False
    pause_s = 3600.0


class Shelf(Service):
    """Has such a read model."""

    name = "shelf"
    view = Unhurried((ev.SignalReported,), key, apply, row=dict[str, str])


def test_a_page_with_an_event_that_fails_is_folded_to_its_end_before_the_pause(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        for name in ("first", "bad", "last"):
            event = ev.SignalReported(signal_id="s", command_id=name)
            new = NewEvent(name, event.DESCRIPTOR.full_name, event.SerializeToString(), occurred_at=1)
            wait(parts.store.append(f"elsewhere/{name}", [new], 0))
        container = parts.add(Shelf, "citybrain.traffic.v1.TrafficService")
        (view,) = [one for one in container.dependencies if isinstance(one, View)]
        parts.start()
        parts.until(lambda: view.get("last") == {"seen": "last"})
        assert view.get("first") == {"seen": "first"}

    on_parts(tmp_path, test)
