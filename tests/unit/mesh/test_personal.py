"""What is personal is taken out whole and put back as it was, wherever in a message it stands (ES-12)."""

from __future__ import annotations

import pytest
from citybrain.probe.v1 import events_pb2 as ev
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.personal.fields import NobodysData, persons, put_in, take_out

TEXT = "绝密"
IDS = st.sampled_from(["per-1", "per-2"])
TEXTS = st.sampled_from(["", TEXT, f"{TEXT} x"])
WHOSE = st.builds(ev.Whose, who_id=IDS, text=TEXTS)


def packed(message: Message) -> PackedAny:
    one = PackedAny()
    one.Pack(message, deterministic=True)
    return one


def told(inside: st.SearchStrategy[ev.Told]) -> st.SearchStrategy[ev.Told]:
    return st.builds(
        ev.Told,
        key=st.sampled_from(["", "k"]),
        who_id=IDS,
        text=TEXTS,
        names=st.lists(TEXTS, max_size=2),
        about=st.none() | WHOSE,
        other=st.builds(ev.Whose, who_id=IDS, text=st.sampled_from(["", "open"])),
        inside=st.lists(inside, max_size=2),
        packed=st.none() | st.builds(packed, inside),
        more=st.lists(st.builds(packed, inside), max_size=2),
    )


LEAF = st.builds(ev.Told, key=st.just("leaf"), who_id=IDS, text=TEXTS)


@given(told(told(LEAF)))
def test_what_was_taken_out_is_nowhere_in_the_rest_and_put_back_it_is_the_message(message: ev.Told) -> None:
    before = message.SerializeToString(deterministic=True)
    rest, parts = take_out(message)
    assert message.SerializeToString(deterministic=True) == before, "the message itself stays as it is"
    assert TEXT.encode() not in rest.SerializeToString()
    assert set(parts) == set(persons(message))
    for part in parts.values():
        put_in(rest, part)
    assert rest == message


@given(told(LEAF))
def test_of_whom_is_not_put_back_nothing_is_there_and_all_of_the_others(message: ev.Told) -> None:
    rest, parts = take_out(message)
    parts.pop("per-2", None)
    for part in parts.values():
        put_in(rest, part)
    again, left = take_out(rest)
    assert set(left) == set(parts)
    assert again == take_out(message)[0]


def test_a_message_with_nothing_personal_is_not_even_copied() -> None:
    for message in (ev.Written(text="x"), ev.Told(key="k", who_id="per-1")):
        rest, parts = take_out(message)
        assert rest is message and parts == {}


def test_what_does_not_say_whose_it_is_is_refused_with_the_field_to_fill() -> None:
    with pytest.raises(NobodysData, match=r"Told\.text is personal, and who_id does not say whose it is"):
        take_out(ev.Told(text="x"))
    with pytest.raises(NobodysData, match=r"Told\.about is personal, and other\.who_id does not say"):
        take_out(ev.Told(about=ev.Whose(text="x")))


def test_something_packed_that_no_contract_here_has_is_left_alone() -> None:
    strange = PackedAny(type_url="type.googleapis.com/citybrain.nowhere.v1.Nothing", value=b"x")
    message = ev.Told(who_id="per-1", text="x", packed=strange)
    rest, parts = take_out(message)
    assert isinstance(rest, ev.Told)
    assert rest.packed == strange and list(parts) == ["per-1"]
