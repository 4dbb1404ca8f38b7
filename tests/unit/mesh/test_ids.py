"""What is put together from ids can be taken apart again, in every place where that is done, whatever letters ids have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1.events_pb2 import SignalCommanded
from hypothesis import example, given
from hypothesis import strategies as st

from citybrain.mesh.ids import in_header, joined, parted
from citybrain.mesh.runtime.context import current
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Service, Streams, rpc
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.sagas import listing
from citybrain.services.traffic.domain import command_id, commanded_at

# Each letter of one and of two bytes, and some of those of three and four.
CODES = (*range(0x800), *range(0x800, 0x3000, 16), *range(0x4E00, 0x4F00), 0x1F691)
LETTERS = [chr(code) for code in CODES if chr(code).isprintable()]
SHAPES = ("{0}", "a{0}b", "{0}{0}", "a.{0}", "{0}.1", "a/{0}/1", "%{0}", "{0}%2E")
IDS = [shape.format(letter) for letter in LETTERS for shape in SHAPES]


def test_ids_that_are_joined_are_found_again_and_no_others_look_alike() -> None:
    for one in IDS:
        for others in (("west",), (one,), ("west", one), (one, "2")):
            assert parted(joined(one, *others)) == (one, *others)
    assert len({joined(one, "west") for one in IDS}) == len(set(IDS))
    assert joined("inc-0123456789ab", "west-1", "2") == "inc-0123456789ab.west-1.2"
    assert joined("事件-1", "west") == "事件-1.west"


@given(st.lists(st.text(), min_size=2, max_size=3), st.lists(st.text(), min_size=2, max_size=3))
@example(["a.b", "c"], ["a", "b.c"])
@example(["a", "b", "2"], ["a", "b.2"])
def test_no_two_lists_of_ids_are_joined_to_the_same(one: list[str], other: list[str]) -> None:
    assert parted(joined(*one)) == tuple(one)
    assert (joined(*one) == joined(*other)) == (one == other)


def test_in_a_header_an_id_is_printable_ascii_and_no_other_id() -> None:
    for one in IDS:
        header = in_header(one)
        assert header.isascii() and header.isprintable() and header == header.strip()
        assert unquote(header) == one
    assert in_header("inc-1/reserve ambulance/1") == "inc-1/reserve ambulance/1"


class Target(Service):
    """Keeps the request ids it is given."""

    name = "target"
    asked: ClassVar[list[str]] = []

    @rpc
    def GetSignal(self, request: traffic.GetSignalRequest) -> traffic.GetSignalResponse:
        self.asked.append(current().request_id)
        return traffic.GetSignalResponse()


def test_a_call_to_another_service_can_be_sent_whatever_its_request_id(tmp_path: Path) -> None:
    ids = [f"事件 {letter}/1" for letter in LETTERS[:300]]

    def test(parts: Parts) -> None:
        parts.add(Target, "citybrain.traffic.v1.TrafficService")
        parts.start()
        Target.asked.clear()
        parts.process.outgoing.tokens.grant("sagas", ["traffic.read"])
        for one in ids:
            path = "citybrain.traffic.v1.TrafficService/GetSignal"
            wait(parts.process.outgoing.call("sagas", path, traffic.GetSignalRequest(signal_id="s"), request_id=one))
        assert len(set(Target.asked)) == len(ids)

    on_parts(tmp_path, test)


def test_streams_of_two_kinds_never_have_the_same_name(tmp_path: Path) -> None:
    kinds = {kind: Streams(kind, int, lambda state, _: state) for kind in ("bed", "bed-search")}
    twofold = type("Twofold", (Service,), {"name": "twofold", "__doc__": "Has two kinds.", **kinds})

    def test(parts: Parts) -> None:
        with pytest.raises(ValueError, match="none begins with the other"):
            parts.add(twofold, "citybrain.traffic.v1.TrafficService")

    on_parts(tmp_path, test)


def test_the_list_of_sagas_finds_the_id_in_the_name_of_the_stream() -> None:
    for one in (*IDS, "a/saga-b"):
        heard: Any = SimpleNamespace(stored=SimpleNamespace(stream=f"sagas/saga-{one}"))
        assert listing.key(heard) == one


def test_a_command_says_when_it_was_made_whatever_the_signal_is_called() -> None:
    for one in IDS:
        assert commanded_at(SignalCommanded(command_id=command_id(one, 12.345))) == 12.345
    assert len({command_id(one, 7) for one in IDS}) == len(set(IDS))
