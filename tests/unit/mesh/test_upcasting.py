"""Events of old types read as what they would be today, wherever they are read; what is stored stays as it is (ES-10)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import grpc.aio
import pytest
from citybrain.probe.v1 import events_pb2 as ev
from citybrain.probe.v1 import probe_service_pb2 as pb
from citybrain.probe.v1.probe_service_pb2_grpc import ProbeServiceStub
from google.protobuf.message import Message

from citybrain.event_store.store import ANY, StoredEvent
from citybrain.mesh.events import UnreadableEvent, decode, type_name
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.validation import EventRefused
from citybrain.mesh.service import Follow, Heard, Service, Streams, View, rpc, subscribe, upcast
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.mesh.testing.setting import event_of
from citybrain.mesh.upcasting import UpcastError, load_upcasters, modern, written_as
from citybrain.sagas.engine.state import pack, unpack

PROBE = "citybrain.probe.v1.ProbeService"
HISTORY = (ev.Jotted(line="k: one"), ev.Noted(about="k", text="two"), ev.Written(key="k", text="three"))
importlib.import_module("tests.unit.mesh.upcasters_of_probe")


def manifest(**given: Any) -> Manifest:
    return Manifest(name="probe", title="t", team="t", entry="m:S", grpc=PROBE, port=7999, **given)


@dataclass(frozen=True, slots=True)
class Texts:
    """A row: all texts of a key."""

    texts: tuple[str, ...] = ()


def texts(row: Texts | None, event: Heard) -> Texts | None:
    return Texts((*(row or Texts()).texts, event.data.text))  # type: ignore[attr-defined]


class Probe(Service):
    """Knows only what events are called today."""

    name = "probe"
    heard: ClassVar[list[str]] = []
    names = Streams("thing", tuple, lambda now, event: (*now, event.text))  # type: ignore[attr-defined]
    rows = View((ev.Written,), lambda event: event.data.key, texts, row=Texts)  # type: ignore[attr-defined]

    @subscribe(ev.Written)
    def note(self, event: Heard) -> None:
        self.heard.append(event.data.text)  # type: ignore[attr-defined]

    @rpc
    def FollowWritten(self, request: pb.FollowWrittenRequest) -> Follow:
        return Follow(purpose="written", types=(ev.Written,), concerns=lambda message: message.key == "k")  # type: ignore[attr-defined]


def with_history(tmp_path: Path, test: Any) -> None:
    def run(parts: Parts) -> None:
        container = parts.add(Probe, PROBE)
        Probe.heard.clear()
        wait(parts.store.append("probe/thing-k", [event_of(message, occurred_at=1) for message in HISTORY], ANY))
        parts.start()
        wait(parts.process.activity.rest())
        test(parts, {provider.attr_name: provider for provider in container.dependencies})

    on_parts(tmp_path, run)


def test_streams_views_and_reactions_know_only_what_events_are_called_today(tmp_path: Path) -> None:
    def test(parts: Parts, provided: dict[str, Any]) -> None:
        assert provided["names"].load("k") == ("one", "two", "three")
        assert provided["rows"].get("k") == Texts(("one", "two", "three"))
        assert Probe.heard == ["one", "two", "three"]

    with_history(tmp_path, test)


def test_followers_are_told_what_events_are_called_today(tmp_path: Path) -> None:
    async def follow(parts: Parts) -> list[tuple[str, str]]:
        async with grpc.aio.insecure_channel(parts.address) as channel:
            response = (
                await ProbeServiceStub(channel).FollowWritten(pb.FollowWrittenRequest(), metadata=[parts.bearer()]).read()
            )
        return [(event.type, ev.Written.FromString(event.data.value).text) for event in response.events]

    def test(parts: Parts, provided: dict[str, Any]) -> None:
        assert wait(follow(parts)) == [(type_name(ev.Written), text) for text in ("one", "two", "three")]

    with_history(tmp_path, test)


def test_what_is_stored_stays_as_it_was_written(tmp_path: Path) -> None:
    def test(parts: Parts, provided: dict[str, Any]) -> None:
        provided["names"].load("k")
        stored = wait(parts.store.read("probe/thing-k"))
        assert [(e.type, e.data) for e in stored] == [(type_name(m), m.SerializeToString()) for m in HISTORY]

    with_history(tmp_path, test)


def test_what_a_saga_has_kept_of_an_event_reads_as_today() -> None:
    assert unpack(pack(HISTORY[0])) == ev.Written(key="k", text="one")


def test_who_wants_a_type_gets_the_older_ones_that_read_as_it() -> None:
    old, between, today = (type_name(message) for message in HISTORY)
    assert set(written_as([today])) == {old, between, today}
    assert set(written_as([between])) == {between}, "events of a type that was given up are heard under the new one only"


def test_an_event_of_a_type_that_was_given_up_is_not_written_any_more(tmp_path: Path) -> None:
    def test(parts: Parts, provided: dict[str, Any]) -> None:
        context.enter(context.Call("tester", "city.Test/Do", "r1"))
        with pytest.raises(EventRefused, match="Noted is deprecated"):
            provided["names"].handle("k", lambda now: [HISTORY[1]], lambda now, mine: now)

    with_history(tmp_path, test)


def test_a_type_that_is_given_up_without_an_upcaster_is_told_when_the_service_starts() -> None:
    load_upcasters([manifest(publishes=[type_name(ev.Noted), type_name(ev.Written)])])
    with pytest.raises(UpcastError, match="Forgotten is deprecated, and nothing says how its events read today"):
        load_upcasters([manifest(publishes=[type_name(ev.Forgotten)])])


def test_a_module_of_upcasters_that_is_not_there_is_told_with_its_service() -> None:
    with pytest.raises(UpcastError, match=r"service probe: upcasters citybrain\.nowhere cannot be loaded"):
        load_upcasters([manifest(upcasters="citybrain.nowhere")])


def test_a_module_of_upcasters_that_fails_while_it_is_loaded_is_told_with_its_service_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_upcasters.py").write_text("raise LookupError('no key\\nhere')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UpcastError) as caught:
        load_upcasters([manifest(upcasters="broken_upcasters")])
    assert str(caught.value) == "service probe: upcasters broken_upcasters cannot be loaded: LookupError: no key here"
    twice = "from citybrain.mesh.upcasting import UpcastError\nraise UpcastError('keep one of the two')"
    (tmp_path / "twice_upcasters.py").write_text(twice, encoding="utf-8")
    with pytest.raises(UpcastError, match=r"^keep one of the two$"):
        load_upcasters([manifest(upcasters="twice_upcasters")])


def test_two_ways_to_read_one_type_are_refused() -> None:
    with pytest.raises(UpcastError, match=r"Jotted is turned into .*Noted already"):
        upcast(ev.Jotted, ev.Written)(lambda old: ev.Written())


def test_types_that_would_be_turned_into_each_other_for_ever_are_refused() -> None:
    with pytest.raises(UpcastError, match="never end"):
        upcast(ev.Written, ev.Jotted)(lambda old: ev.Jotted())
    assert modern(HISTORY[2]) == HISTORY[2]


def test_an_upcaster_that_makes_something_else_than_it_says_is_told() -> None:
    def wrong(old: Message) -> Any:
        return ev.Written()

    upcast(ev.Forgotten, ev.Answered)(wrong)
    try:
        with pytest.raises(UpcastError, match=r"made a .*Written; it says that it makes a .*Answered"):
            modern(ev.Forgotten())
    finally:
        from citybrain.mesh import upcasting

        del upcasting._STEPS[type_name(ev.Forgotten)]


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [("citybrain.nowhere.v1.Nothing", b"", "no contract here has that"), (type_name(ev.Written), b"\xff", "does not read as")],
)
def test_an_event_that_no_code_here_can_read_says_which_it_is_and_what_to_do(kind: str, data: bytes, told: str) -> None:
    event = StoredEvent("e1", kind, data, 1, "", "", "", "", "", 2, "s", 3, 1, 1)
    with pytest.raises(UnreadableEvent, match=rf"event e1 \(s, version 3\).*{told}"):
        decode(event)
